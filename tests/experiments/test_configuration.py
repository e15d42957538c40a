"""Configurations: how choices multiply, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import StudyError
from benchmarks.normalization import Stream, SubjectUnlabelled, Training
from clients.encoders.mlp import MLP
from experiments.configuration import Configuration, configurations
from experiments.study import Choice, Study
from strategies.federated.averaging import FedAvg
from strategies.grids.auto import Auto
from strategies.grids.in_process import InProcess

BASE = {"study": "s", "dataset": "simulated", "windows": {"length_s": 4}}
FEDERATED = {"name": "federated", "rounds": 2}


def made(
    entries: dict[str, object], *, default: str | None = "differential_entropy", **more: object
) -> list[Configuration]:
    study = Study.model_validate({**BASE, **more, "configurations": entries})
    return list(configurations(study, default))


def labels(entries: dict[str, object], **more: object) -> list[str]:
    return [configuration.label for configuration in made(entries, **more)]


def test_lists_multiply_and_only_what_varies_is_in_the_label() -> None:
    entry = {
        "strategy": "pooled",
        "normalization": ["training", "none"],
        "encoder": [{"name": "mlp"}, "clients.encoders.mlp:MLP"],
    }
    assert labels({"net": entry}) == [
        "net/training/mlp",
        "net/training/clients.encoders.mlp:MLP",
        "net/none/mlp",
        "net/none/clients.encoders.mlp:MLP",
    ]
    assert labels({"net": {"strategy": "pooled", "normalization": "none"}}) == ["net"]


def test_alternatives_of_one_name_are_told_apart_by_their_values() -> None:
    encoders = [{"name": "mlp", "hidden": [8]}, {"name": "mlp", "hidden": [64]}]
    assert labels({"net": {"strategy": "pooled", "encoder": encoders}}) == [
        "net/mlp(hidden=[8])",
        "net/mlp(hidden=[64])",
    ]


def test_values_of_the_file_reach_the_parts() -> None:
    (one,) = made(
        {"net": {"strategy": {"name": "pooled", "epochs": 3}, "encoder": {"name": "mlp", "hidden": [5, 7]}}},
        training={"learning_rate": 0.5},
    )
    assert one.strategy.encoder == MLP(hidden=(5, 7))  # type: ignore[attr-defined]
    assert one.strategy.epochs == 3  # type: ignore[attr-defined]
    assert one.strategy.training.learning_rate == 0.5  # type: ignore[attr-defined]
    assert one.described["strategy"]["encoder"] == {
        "part": "clients.encoders.mlp:MLP",
        "hidden": [5, 7],
        "dropout": 0.0,
        "batch_norm": False,
    }


def test_a_choice_of_the_study_holds_for_all_and_one_of_the_entry_wins() -> None:
    one, other = made(
        {"a": {"strategy": "lda"}, "b": {"strategy": "lda", "normalization": "training"}},
        normalization="subject_unlabelled",
    )
    assert isinstance(one.strategy.normalization, SubjectUnlabelled)  # type: ignore[attr-defined]
    assert isinstance(other.strategy.normalization, Training)  # type: ignore[attr-defined]
    assert (one.transductive, other.transductive) == (True, False)


def test_the_default_normalisation_fits_how_a_strategy_meets_subjects() -> None:
    together, in_sequence = made({"a": {"strategy": "pooled"}, "b": {"strategy": "finetuning"}})
    assert isinstance(together.strategy.normalization, Training)  # type: ignore[attr-defined]
    assert isinstance(in_sequence.strategy.normalization, Stream)  # type: ignore[attr-defined]


def test_a_strategy_that_looks_at_no_window_is_not_repeated_for_what_it_ignores() -> None:
    assert labels(
        {"m": {"strategy": "majority"}},
        representation=["raw", "differential_entropy"],
        normalization=["training", "none"],
    ) == ["m"]


def test_ready_made_features_have_no_representation() -> None:
    (one,) = made({"l": {"strategy": "lda"}}, default=None)
    assert one.representation is None
    with pytest.raises(StudyError, match=r"configurations\.l\.representation: .*its own features"):
        made({"l": {"strategy": "lda", "representation": "raw"}}, default=None)


def test_a_users_own_part_is_taken_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from dataclasses import dataclass
from clients.encoders.mlp import MLP

@dataclass(frozen=True)
class Wide(MLP):
    factor: int = 2
"""
    (tmp_path / "my_own_encoder.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (one,) = made({"net": {"strategy": "pooled", "encoder": {"name": "my_own_encoder:Wide", "factor": 5}}})
    assert one.strategy.encoder.factor == 5  # type: ignore[attr-defined]
    assert one.described["strategy"]["encoder"]["part"] == "my_own_encoder:Wide"


def test_aggregators_and_grids_multiply_and_stand_in_the_label() -> None:
    aggregators = ["fedavg", {"name": "fedavg", "fraction": 0.5}]
    entry = {"strategy": FEDERATED, "aggregator": aggregators, "grid": ["auto", "in_process"]}
    found = made({"f": entry})
    assert [one.label for one in found] == [
        f"f/{aggregator}/{grid}" for aggregator in ("fedavg", "fedavg(fraction=0.5)") for grid in ("auto", "in_process")
    ]
    parts = [(one.strategy.aggregator, one.strategy.grid) for one in found]  # type: ignore[attr-defined]
    assert parts == [(a, g) for a in (FedAvg(), FedAvg(fraction=0.5)) for g in (Auto(), InProcess())]


def test_a_federation_that_names_neither_averages_where_it_is_fastest() -> None:
    (one,) = made({"f": {"strategy": FEDERATED}})
    assert (one.strategy.aggregator, one.strategy.grid) == (FedAvg(), Auto())  # type: ignore[attr-defined]
    assert (one.choices["aggregator"], one.choices["grid"]) == (Choice(name="fedavg"), Choice(name="auto"))


def test_an_aggregator_of_the_study_is_for_its_federations_alone() -> None:
    pooled, federated = made(
        {"p": {"strategy": "pooled"}, "f": {"strategy": FEDERATED}},
        aggregator={"name": "fedavg", "fraction": 0.5},
        grid="in_process",
    )
    assert (pooled.choices["aggregator"].name, pooled.choices["grid"].name) == ("none", "none")
    assert federated.strategy.aggregator == FedAvg(fraction=0.5)  # type: ignore[attr-defined]
    assert federated.strategy.grid == InProcess()  # type: ignore[attr-defined]


def test_a_variant_tells_the_strategy_and_how_and_where_it_federates() -> None:
    entry = {"strategy": FEDERATED, "aggregator": {"name": "fedavg", "fraction": 0.5}, "grid": "in_process"}
    federated, pooled = made({"f": entry, "p": {"strategy": {"name": "pooled", "epochs": 3}}})
    assert federated.variant == "federated(rounds=2), aggregator=fedavg(fraction=0.5), grid=in_process"
    assert pooled.variant == "pooled(epochs=3)"


def test_a_users_own_aggregator_says_what_it_rests_on_and_what_it_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from dataclasses import dataclass
from strategies.federated.averaging import FedAvg

@dataclass(frozen=True)
class Curious(FedAvg):
    share: float = 0.5
    modules = ("my_own_secret",)

    @property
    def transductive(self):
        return self.share > 0
"""
    (tmp_path / "my_own_aggregator.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    name = "my_own_aggregator:Curious"
    curious, blind = made({"f": {"strategy": FEDERATED, "aggregator": [name, {"name": name, "share": 0}]}})
    assert (curious.transductive, blind.transductive) == (True, False)
    own = {"my_own_aggregator", "my_own_secret", "strategies.grids.auto", "strategies.federated.federation"}
    assert own <= curious.modules
    assert curious.described["strategy"]["aggregator"] == {"part": name, "fraction": 1.0, "share": 0.5}


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (
            {"name": "ewc", "strength": [1, 10]},
            r"strategy\.strength: .*valid number, found \[1, 10\]\. To compare several, give strategy as a list, "
            r"with an entry for each\. To have one of them chosen, write strength: \{choose: \[1, 10\]\}\.$",
        ),
        (
            {"name": "ewc", "strength": {"chose": [1, 10]}},
            r"found \{'chose': \[1, 10\]\}\. Values to choose from are written strength: \{choose: \[1, 10\]\}\.$",
        ),
        ({"name": "mas", "strength": {"choose": [1, 2], "of": 3}}, r"are written strength: \{choose: \[\.\.\.\]\}\.$"),
        ("si", r"strategy: strength must be given\. To have one of several chosen, write strength: \{choose: \[\.\.\."),
        ({"name": "pooled", "epochs": [1, 2]}, r"found \[1, 2\]\. To compare several, .* with an entry for each\.$"),
        ({"name": "pooled", "epochs": {"a": 1}}, r"found \{'a': 1\}\.$"),
        ("federated", r"strategy: rounds must be given\.$"),
        ({"name": "ewc", "strength": -1}, r"strength: .*, found -1\.$"),
        ({"name": "ewc", "strenth": [1, 2]}, r"strenth: no such key.* Did you mean 'strength'\?$"),
    ],
)
def test_where_several_values_may_have_been_meant_the_message_says_how_to_ask(strategy: object, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        made({"c": {"strategy": strategy}})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"strategy": "ldaa"}, "Unknown strategy 'ldaa'. Legal: .*lda.*Did you mean 'lda'"),
        ({"strategy": {"name": "fedavg", "rounds": 2}}, "fedavg is an aggregator: write strategy: .name: federated"),
        ({"strategy": "json:dumps"}, "json:dumps is no strategy: expected a class that inherits strategies.contract"),
        (
            {"strategy": "pooled", "encoder": "strategies.classical:LDA"},
            "is no encoder: expected a class that inherits",
        ),
        ({"strategy": "no_such_module:X"}, "No module 'no_such_module' for strategy"),
        ({"strategy": "strategies.classical:Nope"}, "'strategies.classical' has no 'Nope'"),
        ({"strategy": "lda", "encoder": "mlp"}, r"configurations\.c\.encoder: strategy lda takes no encoder"),
        ({"strategy": "lda", "training": {}}, r"configurations\.c\.training: strategy lda takes no training"),
        (
            {"strategy": "lda", "aggregator": "fedavg"},
            r"configurations\.c\.aggregator: strategy lda takes no aggregator",
        ),
        ({"strategy": "pooled", "grid": "auto"}, r"configurations\.c\.grid: strategy pooled takes no grid"),
        ({"strategy": FEDERATED, "aggregator": "fedavgg"}, "Unknown aggregator 'fedavgg'.*Did you mean 'fedavg'"),
        ({"strategy": FEDERATED, "grid": "stakced"}, "Unknown grid 'stakced'.*Did you mean 'stacked'"),
        (
            {"strategy": FEDERATED, "aggregator": "clients.encoders.mlp:MLP"},
            "is no aggregator: expected a class that inherits strategies.federated.contract:Aggregation",
        ),
        (
            {"strategy": FEDERATED, "aggregator": {"name": "fedavg", "fraction": 2}},
            r"configurations\.c\.aggregator\.fraction: .*less than or equal to 1, found 2",
        ),
        (
            {"strategy": FEDERATED, "aggregator": ["fedavg", "fedprox"]},
            r"configurations\.c\.aggregator\.fedprox: mu must be given",
        ),
        ({"strategy": FEDERATED, "grid": {"name": "in_process", "n": 2}}, r"configurations\.c\.grid\.n: no such key"),
        ({"strategy": {"name": "pooled", "epoch": 3}}, r"configurations\.c\.strategy\.epoch: no such key.*'epochs'"),
        ({"strategy": {"name": "pooled", "epochs": 0}}, r"configurations\.c\.strategy\.epochs: .*greater than 0"),
        ({"strategy": {"name": "pooled", "epochs": "many"}}, r"configurations\.c\.strategy\.epochs: .*integer"),
        ({"strategy": "pooled", "encoder": {"name": "mlp", "hidden": [0]}}, r"configurations\.c\.encoder\.hidden\.0: "),
        ({"strategy": "pooled", "training": {"learning_rate": -1}}, r"configurations\.c\.training\.learning_rate: "),
        (
            {"strategy": "pooled", "normalization": "stream"},
            r"configurations\.c\.strategy: Normalisation Stream grows subject by subject",
        ),
        ({"strategy": "finetuning", "normalization": "training"}, "still to come would leak"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(entry: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        made({"c": entry})
