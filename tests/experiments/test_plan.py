"""Plans: how many cells, what their digests cover, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import experiments.plan
from benchmarks.datasets.contract import Places
from benchmarks.digest import digest
from benchmarks.errors import DataError, StudyError, UnseenError
from benchmarks.source import source_files
from experiments.plan import Plan, cells_of, is_here
from experiments.study import SHIPPED, Study, read_studies
from strategies.table import STRATEGIES

BASE: dict[str, Any] = {
    "study": "s",
    "dataset": {"name": "simulated", "subjects": 4},
    "windows": {"length_s": 4},
    "protocol": {"name": "loso", "validation_subjects": 1},
    "controls": ["majority"],
    "configurations": {"lda": {"strategy": "lda"}, "pooled": {"strategy": "pooled"}},
}

FEDERATED = {"name": "federated", "rounds": 2}
FEDERATION: dict[str, Any] = {"configurations": {"federated": {"strategy": FEDERATED}}}
NOBODY_ASIDE = {"name": "loso", "validation_subjects": 0}


def plan(folder: Path, **changes: Any) -> Plan:
    return Plan(Study.model_validate({**BASE, **changes}), Places(folder / "data", folder / "cache", folder))


def digests(folder: Path, **changes: Any) -> dict[tuple[str, str, int, int], str]:
    cells = plan(folder, **changes).cells()
    return {(c.configuration.label, c.fold.name, c.seed, c.stream): c.digest for c in cells}


def test_seeds_are_for_what_is_random_and_orders_for_what_is_met_in_sequence(tmp_path: Path) -> None:
    names = {"lda": "lda", "pooled": "pooled", "tuned": "finetuning", "new": "untrained"}
    entries = {label: {"strategy": name} for label, name in names.items()}
    found = digests(tmp_path, configurations=entries, seeds=3, orders=2)
    counts = {label: sum(key[0] == label for key in found) for label in ("majority", *entries)}
    assert counts == {"majority": 4, "lda": 4, "pooled": 4 * 3, "tuned": 4 * 3 * 2, "new": 4 * 3}


def test_digests_are_unique_and_the_same_in_a_new_plan(tmp_path: Path) -> None:
    found = digests(tmp_path, seeds=2)
    assert len(set(found.values())) == len(found)
    assert digests(tmp_path, seeds=2) == found


def sizes(made: Plan, label: str) -> list[int]:
    return [len(group.cells) for group in made.groups() if group.configuration.label == label]


@pytest.mark.parametrize(
    ("subjects", "expected"), [(2, [2]), (15, [15]), (16, [16]), (17, [9, 8]), (34, [12, 11, 11]), (36, [12, 12, 12])]
)
def test_folds_that_are_learned_side_by_side_make_balanced_groups_in_their_order(
    tmp_path: Path, subjects: int, expected: list[int]
) -> None:
    made = plan(tmp_path, **FEDERATION, dataset={"name": "simulated", "subjects": subjects}, protocol=NOBODY_ASIDE)
    assert sizes(made, "federated") == expected
    assert sizes(made, "majority") == [1] * subjects
    cells = [cell for group in made.groups() for cell in group.cells]
    assert cells == list(made.cells())
    folds = [cell.fold.name for cell in cells if cell.configuration.label == "federated"]
    assert folds == list(made.subjects)


def test_a_group_is_of_one_configuration_seed_and_order(tmp_path: Path) -> None:
    entries = {
        "a": {"strategy": FEDERATED},
        "b": {"strategy": FEDERATED, "aggregator": {"name": "fedavg", "fraction": 0.5}},
    }
    made = plan(tmp_path, configurations=entries, seeds=[3, 1])
    met = [(g.configuration.label, c.seed, c.stream) for g in made.groups() for c in g.cells[:1] if g.cells[1:]]
    assert met == [("a", 3, 0), ("a", 1, 0), ("b", 3, 0), ("b", 1, 0)]
    for group in made.groups():
        assert len({(cell.configuration.label, cell.seed, cell.stream) for cell in group.cells}) == 1


def test_a_federation_whose_grid_trains_one_fold_at_a_time_is_not_grouped(tmp_path: Path) -> None:
    assert sizes(plan(tmp_path, **FEDERATION, grid="in_process"), "federated") == [1, 1, 1, 1]


def test_which_folds_are_stacked_together_is_part_of_the_digest_of_a_group_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"configurations": {**BASE["configurations"], **FEDERATION["configurations"]}}
    before = digests(tmp_path, **entries)
    monkeypatch.setattr(experiments.plan, "_SIDE_BY_SIDE", 2)
    after = digests(tmp_path, **entries)
    assert {key[0] for key in before if before[key] != after[key]} == {"federated"}
    assert not {key for key in before if key[0] == "federated" and before[key] == after[key]}


STREAMS: Mapping[str, Any] = {
    "dataset": {"name": "simulated", "subjects": 6},
    "protocol": {"name": "stream", "held_out": 1},
    "configurations": {"tuned": {"strategy": "finetuning"}},
}


@pytest.mark.parametrize(
    ("orders", "seeds", "expected"),
    [
        (1, 1, [1]),
        (1, 3, [1, 1, 1]),
        (2, 2, [4]),
        (10, 3, [15, 15]),
        (12, 3, [15, 15, 6]),
        (11, 3, [15, 15, 1, 1, 1]),
        (2, 20, [20, 20]),
    ],
)
def test_orders_and_seeds_of_a_stream_make_groups_that_keep_the_seeds_of_an_order_together(
    tmp_path: Path, orders: int, seeds: int, expected: list[int]
) -> None:
    made = plan(tmp_path, **STREAMS, orders=orders, seeds=seeds)
    assert sizes(made, "tuned") == expected
    places = [(cell.stream, cell.seed) for cell in made.cells() if cell.configuration.label == "tuned"]
    assert places == [(stream, seed) for stream in range(orders) for seed in range(seeds)]


def test_folds_of_a_stream_are_grouped_with_its_orders(tmp_path: Path) -> None:
    made = plan(tmp_path, configurations=STREAMS["configurations"], orders=3, seeds=2)
    assert sizes(made, "tuned") == [16, 8]
    assert len({cell.fold.name for group in made.groups() if group.cells[1:] for cell in group.cells}) == 4


def test_more_orders_leave_full_groups_as_they_are(tmp_path: Path) -> None:
    before, after = (digests(tmp_path, **STREAMS, orders=orders, seeds=3) for orders in (7, 12))
    kept = {key[3] for key in before if key[0] == "tuned" and before[key] == after[key]}
    assert kept == set(range(5)), "of sixteen cells, all seeds of five orders"


@pytest.mark.parametrize(
    "entry",
    [
        {
            "strategy": "finetuning",
            "encoder": {"name": "braindecode", "model": "ShallowFBCSPNet"},
            "representation": "raw",
        },
        {"strategy": "finetuning", "encoder": {"name": "mlp", "batch_norm": True}},
        {"strategy": {"name": "replay", "memory": 10}},
    ],
    ids=["a network that does not stack well", "batch norm", "a strategy that changes what is learned from"],
)
def test_streams_that_are_learned_one_by_one_are_not_grouped(tmp_path: Path, entry: dict[str, Any]) -> None:
    made = plan(tmp_path, **{**STREAMS, "configurations": {"tuned": entry}}, orders=3, seeds=2)
    assert sizes(made, "tuned") == [1] * 6


def test_orders_on_which_a_strength_is_chosen_are_learned_side_by_side(tmp_path: Path) -> None:
    entries = {"ewc": {"strategy": {"name": "ewc", "strength": {"choose": [1, 10]}}}}
    protocol = {"name": "stream", "held_out": 1, "choosing_subjects": 3, "choosing_orders": 5}
    values = {"dataset": {"name": "simulated", "subjects": 8}, "configurations": entries}
    of = plan(tmp_path, **values, protocol=protocol).choosing()["ewc"]
    assert {value: [len(g.cells) for g in groups] for value, groups in of.items()} == {
        "strength=1": [5],
        "strength=10": [5],
    }
    fewer = plan(tmp_path, **values, protocol={**protocol, "choosing_orders": 4}).choosing()["ewc"]
    for value, (group,) in of.items():
        assert not {cell.digest for cell in group.cells} & {cell.digest for cell in cells_of(fewer[value])}
        assert not any(cell.keeps_model for cell in group.cells)


def test_a_cell_by_itself_is_told_by_its_determinants_fold_seed_and_order(tmp_path: Path) -> None:
    made = plan(tmp_path, seeds=[2])
    for cell in made.cells():
        shared = made._determinants(cell.configuration)
        recorded = made._recorded(cell.fold)
        assert cell.digest == digest([shared, cell.fold, recorded, cell.seed, cell.stream, cell.keeps_model])


def test_rows_tell_aggregators_apart(tmp_path: Path) -> None:
    made = plan(tmp_path, **FEDERATION, aggregator={"name": "fedavg", "fraction": 0.5})
    records = [made.record(cell, "c") for cell in made.cells() if cell.configuration.label == "federated"]
    assert {record.strategy for record in records} == {"federated"}
    assert {record.variant for record in records} == {"federated(rounds=2), aggregator=fedavg(fraction=0.5), grid=auto"}


def test_what_a_strategy_does_not_use_is_not_in_its_digest(tmp_path: Path) -> None:
    before = digests(tmp_path, seeds=[0])
    after = digests(tmp_path, seeds=[3, 0], protocol={"name": "loso", "validation_subjects": 2})
    assert {key[0] for key in before if after.get(key) == before[key]} == {"majority", "lda"}


def test_validation_is_asked_only_of_those_who_use_it(tmp_path: Path) -> None:
    everyone = {"name": "loso", "validation_subjects": 3}
    assert plan(tmp_path, protocol=everyone, configurations={"lda": {"strategy": "lda"}})
    with pytest.raises(DataError, match="none is left"):
        plan(tmp_path, protocol=everyone)


def test_orders_of_subjects_are_paired_over_folds_and_seeds(tmp_path: Path) -> None:
    made = plan(tmp_path, dataset={"name": "simulated", "subjects": 6})
    folds = list(made.protocol.folds(made.subjects))
    for stream in range(5):
        first, second = (fold.order(fold.learners, stream) for fold in folds[:2])
        common = set(first) & set(second)
        assert [s for s in first if s in common] == [s for s in second if s in common]


def test_more_orders_than_the_people_of_a_fold_have_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    stream = {"name": "stream", "held_out": 1, "choosing_subjects": 2}
    entries = {"tuned": {"strategy": {"name": "mas", "strength": {"choose": [1, 2]}}}}
    values = {"dataset": {"name": "simulated", "subjects": 6}, "protocol": stream, "configurations": entries}
    made = plan(tmp_path, orders=6, **values)
    assert len({cell.stream for cell in made.cells()}) == 6
    assert [len(list(cells_of(groups))) for of in made.choosing().values() for groups in of.values()] == [2, 2], (
        "all there are"
    )
    with pytest.raises(DataError, match="3 subjects to learn from, .* in 6 orders, and order number 7 is asked for"):
        plan(tmp_path, orders=7, **values)


def test_more_orders_to_choose_in_than_the_people_aside_have_are_refused(tmp_path: Path) -> None:
    def orders_of(asked: int) -> set[int]:
        protocol = {**ASIDE["protocol"], "choosing_subjects": 3, "choosing_orders": asked}
        made = plan(tmp_path, **{**ASIDE, "protocol": protocol}, configurations={"a": penalty({"choose": [1, 2]})})
        return {len(list(cells_of(groups))) for of in made.choosing().values() for groups in of.values()}

    assert orders_of(6) == {6}
    words = r"protocol\.choosing_orders: 7 orders .* 3 people .* in 6: 6 is the largest possible number"
    with pytest.raises(StudyError, match=words):
        orders_of(7)


def test_adding_configurations_seeds_or_a_question_keeps_finished_cells(tmp_path: Path) -> None:
    before = digests(tmp_path)
    more = {**BASE["configurations"], "other": {"strategy": "lda", "normalization": "none"}}
    after = digests(tmp_path, configurations=more, seeds=3, question="Why?", study="renamed")
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"windows": {"length_s": 2}}, set()),
        ({"quality": "keep"}, set()),
        ({"preprocessing": {"band_hz": [1, 40]}}, set()),
        ({"dataset": {"name": "simulated", "subjects": 4, "seed": 1}}, set()),
        ({"dataset": {"name": "simulated", "subjects": 5}}, set()),
        ({"encoder": {"name": "mlp", "hidden": [3]}}, {"majority", "lda"}),
        ({"training": {"learning_rate": 0.01}}, {"majority", "lda"}),
        ({"objective": {"name": "cross_entropy", "label_smoothing": 0.1}}, {"majority", "lda"}),
        ({"normalization": "none"}, {"majority"}),
    ],
)
def test_a_digest_changes_with_what_determines_the_cell_and_with_nothing_else(
    tmp_path: Path, change: dict[str, Any], kept: set[str]
) -> None:
    before, after = digests(tmp_path), digests(tmp_path, **change)
    same = {key[0] for key in before if after.get(key) == before[key]}
    assert same == kept


def test_a_cell_rests_on_the_files_of_its_own_parts_and_not_on_those_of_others() -> None:
    shared = set(source_files("experiments.cell"))
    lda, pooled = (set(source_files(STRATEGIES[name].partition(":")[0])) | shared for name in ("lda", "pooled"))
    assert "strategies.classical" in lda - pooled
    assert {"clients.network", "strategies.pooled"} <= pooled - lda
    # Tables name all parts, so a cell that rested on one would change with every part that joins.
    assert not any(name.endswith(".table") for name in lda | pooled)
    assert {"experiments.cell", "benchmarks.metrics.scoring", "benchmarks.cohort", "benchmarks.recipe"} <= lda & pooled


def test_an_edited_file_changes_the_digest_of_the_cells_that_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import benchmarks.source

    edited = Path(source_files("strategies.pooled")["strategies.pooled"])
    before = digests(tmp_path)
    honest = benchmarks.source._content_digest
    monkeypatch.setattr(benchmarks.source, "_content_digest", lambda path: "edited" if path == edited else honest(path))
    after = digests(tmp_path)
    assert {key[0] for key in before if before[key] == after[key]} == {"majority", "lda"}


def test_the_reference_is_majority_if_none_is_named_and_it_joins_the_study(tmp_path: Path) -> None:
    assert plan(tmp_path).reference == "majority"
    assert [c.label for c in plan(tmp_path).configurations] == ["majority", "lda", "pooled"]
    named = plan(tmp_path, reference="lda")
    assert named.reference == "lda"
    assert [c.label for c in named.configurations] == ["majority", "lda", "pooled"]


def test_subjects_can_be_named_and_left_out(tmp_path: Path) -> None:
    everyone = plan(tmp_path).subjects
    assert len(everyone) == 4
    assert plan(tmp_path, exclude=[everyone[0]]).subjects == everyone[1:]
    assert plan(tmp_path, subjects=everyone[:3]).subjects == everyone[:3]


def test_a_users_own_metric_can_be_the_primary_one(tmp_path: Path) -> None:
    own = "benchmarks.metrics.classification:cohen_kappa"
    assert own in plan(tmp_path, metric=own).metrics["window"]


def test_a_table_of_features_brings_its_own_windows(tmp_path: Path) -> None:
    rows = "\n".join(f"{s},{t},{t % 2},{s * t}.5" for s in range(3) for t in range(6))
    (tmp_path / "my.csv").write_text("id,phase,stress,eda_mean\n" + rows)
    dataset = {
        "name": "table",
        "path": "my.csv",
        "subject": "id",
        "label": "stress",
        "trial": "phase",
        "features": ["eda_*"],
    }
    entries = {"lda": {"strategy": "lda"}}
    made = plan(tmp_path, dataset=dataset, windows=None, configurations=entries)
    assert len(list(made.cells())) == 2 * 3
    assert made.recipe(made.configurations[0]) is None
    with pytest.raises(StudyError, match="windows: .*brings its own features"):
        plan(tmp_path, dataset=dataset, configurations=entries)
    with pytest.raises(StudyError, match="quality: .*brings its own features"):
        plan(tmp_path, dataset=dataset, windows=None, quality="fail", configurations=entries)
    of_one = {"lda": {"strategy": "lda", "quality": "fail"}}
    with pytest.raises(StudyError, match=r"configurations\.lda\.quality: .*brings its own features"):
        plan(tmp_path, dataset=dataset, windows=None, configurations=of_one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "simulatd"}, "Unknown data set 'simulatd'.*Did you mean 'simulated'"),
        ({"dataset": {"name": "simulated", "subject": 3}}, r"dataset\.subject: no such key.*'subjects'"),
        ({"dataset": {"name": "simulated", "subjects": 0}}, r"dataset\.subjects: "),
        ({"dataset": {"name": "simulated", "subjects": 1}}, "nobody to learn from"),
        ({"dataset": "eegmat"}, "physionet"),
        ({"task": "rest"}, "Unknown task 'rest'"),
        ({"protocol": "lo_so"}, "Unknown protocol 'lo_so'.*'loso'"),
        ({"protocol": {"name": "loso", "validation_subjects": 3}}, "none is left"),
        ({"windows": None}, "windows: must be given"),
        ({"windows": {"length_s": 4, "lenth": 4}}, "windows.lenth: no such key.*Did you mean 'length_s'"),
        ({"windows": {"step_s": 4}}, "windows: length_s must be given"),
        ({"windows": {"length_s": 0}}, "windows.length_s: .*greater than 0, found 0"),
        ({"windows": {"length_s": "long"}}, "windows.length_s: .*valid number.*found 'long'"),
        ({"metric": "json:decoder"}, "json:decoder is no metric: expected something to call"),
        ({"metric": "ece", "level": "trial"}, "ece is scored on windows only"),
        ({"configurations": {"a": {"strategy": "lda"}, "b": {"strategy": "lda"}}}, "'a' and 'b' are the same in all"),
        ({"metric": "balanced_acuracy"}, "Unknown metric.*Did you mean 'balanced_accuracy'"),
        ({"reference": "ldaa"}, "reference: no configuration 'ldaa'.*Did you mean 'lda'"),
        ({"subjects": ["nobody"]}, "Unknown subject 'nobody' of simulated"),
        ({"exclude": ["nobody"]}, "Unknown subject 'nobody' of simulated"),
        ({"preprocessing": {"notch": 50}}, r"preprocessing\.notch: no such key.*'notch_hz'"),
        ({"representation": "de"}, "Unknown representation 'de'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnseenError, match=words):
        plan(tmp_path, **change)


def penalty(strength: object, **more: object) -> dict[str, Any]:
    return {"strategy": {"name": "mas", "strength": strength, **more}}


ASIDE: dict[str, Any] = {
    "dataset": {"name": "simulated", "subjects": 6},
    "protocol": {"name": "stream", "held_out": 1, "choosing_subjects": 2},
}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": penalty({"choose": [1, 10]}), "b": penalty(1)}, "'a' may choose strength=1, which 'b' has: "),
        ({"b": penalty(10.0), "a": penalty({"choose": [1, 10]})}, "'a' may choose strength=10, which 'b' has: "),
        (
            {"a": penalty({"choose": [1, 10, 2]}), "b": penalty({"choose": [2, 3, 10]})},
            "'a' may choose strength=10 and strength=2, which 'b' may too: ",
        ),
    ],
)
def test_a_value_that_may_be_chosen_and_stands_elsewhere_is_named(
    tmp_path: Path, entries: dict[str, Any], words: str
) -> None:
    with pytest.raises(StudyError, match=f"configurations: {words}.* one configuration; give each other values"):
        plan(tmp_path, configurations=entries, **ASIDE)
    apart = {"a": penalty({"choose": [1, 10]}), "b": penalty({"choose": [1, 10]}, accumulation="max"), "c": penalty(2)}
    assert len(plan(tmp_path, configurations=apart, **ASIDE).open) == 2


def test_missing_data_names_the_publisher_the_licence_the_citation_and_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        plan(tmp_path, dataset="eegmat")
    for words in ("physionet.org", "ODC-By", "10.3390/data4010014", str(tmp_path / "data")):
        assert words in str(told.value)


def test_one_fitted_predictor_a_fold_is_kept_and_its_cell_says_so(tmp_path: Path) -> None:
    entries = {"pooled": {"strategy": "pooled"}, "tuned": {"strategy": "finetuning"}, "own": {"strategy": "personal"}}
    made = plan(tmp_path, configurations=entries, seeds=[3, 1], orders=2)
    kept = {(c.configuration.label, c.seed, c.stream) for c in made.cells() if made.job(c).keep_model}
    assert kept == {("pooled", 3, 0), ("tuned", 3, 0)}
    # A cell that was computed without its predictor has to be computed again before it can be offered.
    fewer = digests(tmp_path, configurations=entries, seeds=[1])
    both = digests(tmp_path, configurations=entries, seeds=[3, 1])
    assert all(both[key] != fewer[key] for key in fewer if key[0] == "pooled")
    assert all(both[key] == fewer[key] for key in fewer if key[0] == "majority")


def test_another_function_under_the_name_of_a_metric_makes_new_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(tmp_path)
    other = "benchmarks.metrics.classification:accuracy"
    monkeypatch.setitem(experiments.plan.METRICS, "balanced_accuracy", other)
    after = digests(tmp_path)
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("change", [{"signal": "eda"}, {"preprocessing": {"notch_hz": 50}}])
def test_what_no_representation_reads_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    entries = {"lda": {"strategy": "lda", "representation": "electrodermal"}}
    with pytest.raises(StudyError, match="no representation of this study takes it"):
        plan(tmp_path, configurations=entries, **change)


def test_only_a_control_may_ask_for_the_onset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clockwork.py").write_text(
        "from typing import ClassVar\n"
        "from strategies.time_only import TimeForest\n"
        "class Sly(TimeForest):\n    control: ClassVar[bool] = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match="Sly asks for the onset of windows, which only a control may"):
        plan(tmp_path, configurations={"sly": {"strategy": "clockwork:Sly"}})


def test_a_part_that_is_not_whole_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfway.py").write_text("from strategies.contract import Strategy\nclass Half(Strategy):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match="halfway:Half is no whole strategy: it lacks fit"):
        plan(tmp_path, configurations={"half": {"strategy": "halfway:Half"}})


@pytest.mark.parametrize("known", [{}, {"onset": "when"}, {"length_s": 4.0}])
def test_a_table_that_does_not_say_when_cannot_be_split_in_time(tmp_path: Path, known: dict[str, Any]) -> None:
    (tmp_path / "t.csv").write_text("id,label,f,when\na,x,1,0\na,y,2,4\nb,x,1,0\nb,y,2,4\n")
    table = {"name": "table", "path": "t.csv", "subject": "id", "label": "label", "features": ["f"]}
    own = {"configurations": {"own": {"strategy": "personal"}}}
    seen = {"configurations": {"lda": {"strategy": "lda"}}, "protocol": {"name": "loso", "seen": True}}
    for study, words in ((own, "own learns"), (seen, r"protocol: people who are learned from")):
        with pytest.raises(StudyError, match=words + r".* give dataset\.onset and dataset\.length_s"):
            plan(tmp_path, dataset={**table, **known}, windows=None, **study)
        assert plan(tmp_path, dataset={**table, "onset": "when", "length_s": 4.0}, windows=None, **study)


def test_a_configuration_has_a_treatment_of_its_own_for_flawed_windows(tmp_path: Path) -> None:
    """Only vectors of features can be imputed, so that one study may need two treatments."""
    entries = {
        "features": {"strategy": "pooled"},
        "raw": {"strategy": "pooled", "representation": "raw", "quality": "drop"},
    }
    made = plan(tmp_path, quality="impute", configurations=entries)
    recipes = {one.label: made.recipe(one) for one in made.configurations}
    assert {label: recipe.treatment for label, recipe in recipes.items() if recipe} == {
        "majority": "impute",
        "features": "impute",
        "raw": "drop",
    }
    kept = {**entries, "kept": {"strategy": "pooled", "quality": "keep"}}
    assert len({cell.digest for cell in plan(tmp_path, configurations=kept).cells()}) == 4 * 4
    del entries["raw"]["quality"]
    unlike = plan(tmp_path, quality="impute", configurations=entries)
    with pytest.raises(StudyError, match="quality: impute is for vectors of features, and RawWindows gives none"):
        list(unlike.cells())


@pytest.mark.real_data
@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_can_be_planned_to_the_last_cell(real_data: Path, tmp_path: Path, path: Path) -> None:
    places = Places(real_data, tmp_path, tmp_path)
    studies = [study for study in read_studies(path) if is_here(study, places)]
    assert studies
    for study in studies:
        made = Plan(study, places)
        chosen_on = {c.digest for of in made.choosing().values() for groups in of.values() for c in cells_of(groups)}
        assert not chosen_on & {cell.digest for cell in made.cells()}
