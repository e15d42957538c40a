"""Study files: what is read, what can be changed, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import StudyError
from experiments.study import SHIPPED, Choice, locate_study, read_studies, read_study

GOOD = """
study: good
dataset: {name: simulated, subjects: 4}
windows: {length_s: 4}
seeds: 3
normalization: training
configurations:
  lda: {strategy: lda, normalization: [training, subject_unlabelled]}
  pooled: {strategy: {name: pooled, epochs: 7}, encoder: mlp}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def test_short_and_long_forms_of_a_part_are_equal(good: Path) -> None:
    study = read_study(good)
    assert study.dataset == Choice(name="simulated", values={"subjects": 4})
    assert study.normalization == (Choice(name="training"),)
    assert study.configurations["lda"].normalization == (Choice(name="training"), Choice(name="subject_unlabelled"))
    assert study.configurations["pooled"].strategy == (Choice(name="pooled", values={"epochs": 7}),)


def test_a_number_of_seeds_counts_them_and_a_list_names_them(good: Path) -> None:
    assert read_study(good).seeds == (0, 1, 2)
    assert read_study(good, ["seeds=[7, 3]"]).seeds == (7, 3)


def test_subjects_may_be_numbers_as_in_many_tables(good: Path) -> None:
    assert read_study(good, ["exclude=[3, S04]"]).exclude == ("3", "S04")


def test_a_change_reaches_the_place_it_names_and_no_other(good: Path) -> None:
    changed = read_study(good, ["dataset.subjects=9", "configurations.lda.strategy.priors=empirical"])
    assert changed.dataset.values == {"subjects": 9}
    assert changed.configurations["lda"].strategy == (Choice(name="lda", values={"priors": "empirical"}),)
    assert changed.configurations["pooled"] == read_study(good).configurations["pooled"]


def test_a_value_of_a_part_that_the_file_leaves_out_goes_to_the_default_part(good: Path) -> None:
    changes = ["protocol.validation_subjects=1", "encoder.hidden=[8]", "aggregator.fraction=0.5", "grid.actors=2"]
    changed = read_study(good, changes)
    assert changed.protocol == Choice(name="loso", values={"validation_subjects": 1})
    assert changed.encoder == (Choice(name="mlp", values={"hidden": [8]}),)
    assert changed.aggregator == (Choice(name="fedavg", values={"fraction": 0.5}),)
    assert changed.grid == (Choice(name="auto", values={"actors": 2}),)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_valid_and_carry_the_name_of_their_file(path: Path) -> None:
    assert {study.study.partition(".")[0] for study in read_studies(path)} == {path.stem}


def test_a_shipped_study_is_found_by_name_and_a_file_by_path(good: Path) -> None:
    assert locate_study("demo") == SHIPPED / "demo.yaml"
    assert locate_study(str(good)) == good


def test_a_study_in_this_folder_is_found_without_its_ending(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good.parent)
    assert locate_study("good") == Path("good.yaml")


def test_a_study_can_be_cut_down_to_some_configurations(good: Path) -> None:
    study = read_study(good)
    assert list(study.only(["pooled"]).configurations) == ["pooled"]
    assert study.only(None) == study.only([]) == study
    with pytest.raises(StudyError, match="--only poold: no such configuration.*Did you mean 'pooled'"):
        study.only(["poold"])


def test_an_unknown_study_lists_the_shipped_ones_and_suggests_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"eegmatt.*demo, eegmat.*Did you mean 'eegmat'"):
        locate_study("eegmatt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("qualty=drop", "qualty: no such key.*quality.*Did you mean 'quality'"),
        ("configurations.lda.normalisation=training", "configurations.lda.normalisation: no such key.*'normalization'"),
        ("quality=dropp", "quality: .*'drop', 'keep', 'impute' or 'fail', found 'dropp'"),
        ("seeds=0", "seeds: .*at least 1"),
        ("seeds=[0, 0]", "seeds: .*0 stands twice"),
        ("exclude=[a, a]", "exclude: .*'a' stands twice"),
        ("seeds=[-1]", "seeds.0: .*greater than or equal to 0"),
        ("orders=0", "orders: .*greater than 0"),
        ("level=epoch", "level: .*'window' or 'trial'"),
        ("study=../up", "study: "),
        ("dataset=3", "dataset: .*a part is its name"),
        ("configurations={}", "configurations: .*at least 1"),
        ("configurations.lda={}", "configurations.lda.strategy: must be given"),
    ],
)
def test_a_wrong_value_is_told_with_its_field(good: Path, change: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        read_study(good, [change])


@pytest.mark.parametrize("change", ["seeds", "=3", "seeds.first=1", "seeds=[1"])
def test_a_malformed_change_is_refused(good: Path, change: str) -> None:
    with pytest.raises(StudyError, match="--set"):
        read_study(good, [change])


@pytest.mark.parametrize("text", ["", "- a\n- list", "study: [", "a: \x00"])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"bad\.yaml"):
        read_study(path)


def test_a_configuration_named_twice_is_refused_rather_than_silently_replaced(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(GOOD + "  lda: {strategy: majority}\n")
    with pytest.raises(StudyError, match="'lda' stands twice"):
        read_study(path)
