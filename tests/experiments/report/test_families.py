"""Who is comparable with whom."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from experiments.header import Header
from experiments.report.families import ALONE, UPPER_BOUND, Group, entrants, groups
from tests.experiments.stream_rows import cell_of_stream, header_of_streams

POOLED = {"normalization": "training"}
NO_NETWORK = {"normalization": "none", "encoder": "none", "objective": "none"}


def cells_of(*cells) -> pd.DataFrame:
    return pd.DataFrame([asdict(cell) for cell in cells])


def made(header: Header, cells: pd.DataFrame, in_sequence, together=()) -> list[Group]:
    return groups(header, "dreamer", entrants(header, cells), set(in_sequence), set(together))


def labels(entered) -> list[str]:
    return [one.label for one in entered]


def test_joint_training_and_controls_stand_beside_the_streams_of_their_network():
    names = ("majority", "untrained", "finetuning", "ewc", "pooled", "lda", "other_pooled")
    header = header_of_streams(*names, controls=("majority", "untrained"))
    cells = cells_of(
        cell_of_stream("majority", representation="raw", **NO_NETWORK),
        cell_of_stream("untrained"),
        cell_of_stream("finetuning"),
        cell_of_stream("ewc"),
        cell_of_stream("pooled", **POOLED),
        cell_of_stream("lda", **NO_NETWORK),
        cell_of_stream("other_pooled", **{**POOLED, "encoder": "eegnet"}),
    )
    (group,) = made(header, cells, ("finetuning", "ewc"), ("majority", "untrained", "pooled", "lda", "other_pooled"))
    assert (group.place, group.reference) == ("dreamer", "finetuning")
    assert labels(group.in_sequence) == ["finetuning", "ewc"]
    assert labels(group.beside) == ["majority", "untrained", "pooled", "lda"]
    assert labels(group.all) == ["finetuning", "ewc", "majority", "untrained", "pooled", "lda"]


def test_networks_are_families_of_their_own_and_told_apart():
    header = header_of_streams("a", "b", "a2", "untrained", controls=("untrained",))
    eegnet = {"encoder": "eegnet"}
    cells = cells_of(
        cell_of_stream("finetuning", configuration="a"),
        cell_of_stream("finetuning", configuration="b", **eegnet),
        cell_of_stream("ewc", configuration="a2"),
        cell_of_stream("untrained", **eegnet),
    )
    first, second = made(header, cells, ("a", "b", "a2"), ("untrained",))
    assert labels(first.all) == ["a", "a2"]
    # A network that learned nothing is the zero line of its own kind.
    assert labels(second.all) == ["b", "untrained"]
    assert first.place == "dreamer: differential_entropy, stream, mlp(hidden=[64]), cross_entropy"
    assert second.place == "dreamer: differential_entropy, stream, eegnet, cross_entropy"


def test_marks_warn_of_what_is_no_method_for_a_stream():
    header = header_of_streams(
        "dann", "cumulative", "from_scratch", "untrained", simulated=True, controls=("untrained",)
    )
    cells = cells_of(*(cell_of_stream(name, transductive=name == "dann") for name in header.configurations))
    marks = {one.label: one.marks for one in entrants(header, cells)}
    assert marks == {
        "dann": ("sim", "transductive"),
        "cumulative": ("sim", UPPER_BOUND),
        "from_scratch": ("sim", ALONE),
        "untrained": ("sim", "control"),
    }


def test_of_several_finetunings_the_reference_of_the_study_is_compared_with_or_else_the_first():
    header = header_of_streams("short", "long", "ewc", reference="long")
    cells = cells_of(
        cell_of_stream("finetuning", configuration="short"),
        cell_of_stream("finetuning", configuration="long"),
        cell_of_stream("ewc"),
    )
    everyone = header.configurations
    (named,) = made(header, cells, everyone)
    (unnamed,) = made(header_of_streams(*everyone, reference="ewc"), cells, everyone)
    assert (named.reference, unnamed.reference) == ("long", "short")
    (without,) = made(header, cells[cells["strategy"] == "ewc"], ("ewc",))
    assert without.reference is None
    assert without.first("finetuning") is None


def test_a_configuration_without_scores_stands_in_its_own_family_alone():
    header = header_of_streams("finetuning", "ewc", "si")
    cells = cells_of(
        cell_of_stream("finetuning"), cell_of_stream("ewc"), cell_of_stream("si", normalization="subject_unlabelled")
    )
    (group,) = made(header, cells, ("finetuning",))
    assert labels(group.beside) == ["ewc"]


def test_who_learns_from_the_scored_person_alone_is_left_out():
    header = header_of_streams("finetuning", "personal", seen=("personal",))
    cells = cells_of(cell_of_stream("finetuning"), cell_of_stream("personal"))
    assert labels(entrants(header, cells)) == ["finetuning"]
    # Nor is anybody of whom no cell was computed.
    assert labels(entrants(header_of_streams("finetuning", "ewc"), cells)) == ["finetuning"]
