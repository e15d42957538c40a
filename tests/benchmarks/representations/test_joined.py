from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.datasets.contract import Places
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.digest import digest
from benchmarks.errors import StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.contract import FeatureRepresentation, Represented, Signal, Sources
from benchmarks.representations.joined import Joined
from benchmarks.source import source_files
from benchmarks.windows import FloatArray, Windows
from tests.benchmarks.recordings import task_of, worn, wristband


@dataclass(frozen=True)
class Level(FeatureRepresentation):
    """Mean and number of the samples of a signal; the mean is missing where a sample is, or where it is negative."""

    of: str = "eda"
    scale: float = 1.0

    @property
    def control(self) -> bool:
        return self.of == "acc"

    def sources(self, signal: str) -> tuple[str, ...]:
        return (signal, self.of) if self.of != signal else (signal,)

    def features(self, length_s: float) -> tuple[str, ...]:
        del length_s
        return ("mean", f"{self.of}_samples")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        signal = sources.signals[self.of]
        length = signal.length(length_s)
        cut = np.stack([signal.data[0, start : start + length] for start in signal.starts(onsets_s)])
        means = self.scale * cut.mean(axis=1)
        x = np.column_stack([np.where(means < 0, np.nan, means), np.full(len(cut), length)])
        return Represented(x, {"a gap": np.isnan(means), f"{self.of} negative": means < 0})


LEVEL = f"{__name__}:Level"
SOURCES = Sources(
    {
        "eda": Signal(np.arange(40.0)[None], 4.0),
        "bvp": Signal(np.where(np.arange(640) == 70, np.nan, 2.0)[None], 64.0),
        "acc": Signal(np.where(np.arange(320) < 32, -1.0, 1.0)[None], 32.0),
    }
)


def made(*parts: object) -> Joined:
    joined = build(Joined, {}, {"parts": list(parts)}, "configurations.all.representation")
    assert isinstance(joined, Joined)
    return joined


def test_columns_and_reasons_of_all_parts() -> None:
    joined = made(LEVEL, {"name": LEVEL, "of": "bvp", "scale": 3}, Level("acc"))
    found = joined.represent(SOURCES, np.array([0.0, 1.0, 2.0]), 1.0)
    np.testing.assert_array_equal(found.x[:, 0], [1.5, 5.5, 9.5])
    np.testing.assert_array_equal(found.x[:, 2], [6, np.nan, 6])
    np.testing.assert_array_equal(found.x[:, 4], [np.nan, 1, 1])
    np.testing.assert_array_equal(found.x[:, [1, 3, 5]], [[4, 64, 32]] * 3)
    assert {reason: mask.tolist() for reason, mask in found.missing.items()} == {
        "a gap": [False, True, False],
        "eda negative": [False] * 3,
        "bvp negative": [False] * 3,
        "acc negative": [True, False, False],
    }


def test_signals_of_all_parts_each_once() -> None:
    joined = made(LEVEL, {"name": LEVEL, "of": "bvp"}, {"name": LEVEL, "of": "acc"})
    assert joined.sources("bvp") == ("bvp", "eda", "acc")


def test_a_name_that_two_parts_use_tells_the_part() -> None:
    joined = made(LEVEL, {"name": LEVEL, "of": "bvp"})
    assert joined.features(60.0) == ("Level1.mean", "eda_samples", "Level2.mean", "bvp_samples")
    assert made(LEVEL).features(60.0) == ("mean", "eda_samples")


def test_by_default_all_that_a_wristband_tells_of_the_body() -> None:
    joined = Joined()
    kinds = [type(part).__name__ for part in joined.parts]
    assert kinds == ["Electrodermal", "Cardiac", "Respiration", "Temperature", "Movement"]
    assert made("electrodermal", "cardiac", "respiration", "temperature", "movement") == joined
    sources, onsets = wristband(), np.array([0.0, 120.0])
    one_by_one = [part.represent(sources, onsets, 60.0).x for part in joined.parts]
    np.testing.assert_array_equal(joined.represent(sources, onsets, 60.0).x, np.concatenate(one_by_one, axis=1))


def test_values_of_a_study_reach_the_parts() -> None:
    joined = made(LEVEL, {"name": LEVEL, "of": "bvp", "scale": 2})
    assert joined.parts == (Level(), Level("bvp", 2.0))
    assert joined == Joined((Level(), Level("bvp", 2.0)))
    assert pickle.loads(pickle.dumps(joined)) == joined


def test_a_digest_tells_the_parts_their_values_and_their_order() -> None:
    joined = Joined((Level(), Level("bvp")))
    others = [
        Joined((Level("bvp"), Level())),
        Joined((Level(),)),
        Joined((Level(), Level("bvp", 2.0))),
        Joined((Level(), Level("acc"))),
    ]
    assert digest(joined) == digest(made(LEVEL, {"name": LEVEL, "of": "bvp"}))
    assert len({digest(one) for one in (joined, *others)}) == 5


def test_an_edit_of_a_part_is_an_edit_of_what_it_is_joined_in() -> None:
    modules = Joined((Level(),)).modules
    assert set(modules) == {"benchmarks.representations.joined", __name__}
    files = {path for module in modules for path in source_files(module).values()}
    assert Path(__file__) in files
    assert "benchmarks.representations.electrodermal" in made("electrodermal").modules


def test_only_controls_make_a_control() -> None:
    assert made({"name": LEVEL, "of": "acc"}, {"name": LEVEL, "of": "acc", "scale": 2}).control
    assert not made({"name": LEVEL, "of": "acc"}, LEVEL).control
    assert made("movement").control


def test_windows_with_parts_that_lack_something_are_imputed_or_dropped() -> None:
    recipe = Recipe("eda", Preprocessing(), WindowLength(1.0), made(LEVEL, {"name": LEVEL, "of": "bvp"}), "impute")
    recording, task = worn(SOURCES), task_of((0.0, 10.0, 0))
    found = recipe([recording], task)
    assert found.windows.x.shape == (10, 4)
    assert np.argwhere(np.isnan(found.windows.x)).tolist() == [[1, 2]]
    assert (found.report.unusable, found.report.dropped, found.report.imputed) == ({"a gap": 1}, 0, 1)
    assert len(replace(recipe, treatment="drop")([recording], task).windows) == 9


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], r"representation\.parts: "),
        (["electrodermall"], "Unknown part of a joined representation 'electrodermall'.*Did you mean 'electrodermal'"),
        ([3], r"representation\.parts\.0: .*a part is its name, or a mapping with a 'name'.*found 3"),
        ([{"of": "eda"}], r"representation\.parts\.0: .*a part is its name, or a mapping with a 'name'"),
        (["raw"], "RawWindows is no part of a joined representation"),
        ([{"name": LEVEL, "of": 3}], r"Level\.of: input should be a valid string, found 3"),
        ([{"name": LEVEL, "off": "eda"}], r"Level\.off: no such key\. Legal: of, scale\. Did you mean 'of'\?"),
        ([{"name": "joined", "parts": [LEVEL]}], "cannot be part of another. Name its parts instead"),
        ([LEVEL, {"name": LEVEL, "of": "bvp"}, {"name": LEVEL, "of": "eda"}], "Level stands twice with the same"),
    ],
)
def test_parts_that_cannot_be(parts: list[str | Mapping[str, object]], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        made(*parts)


@pytest.mark.real_data
def test_real_windows_are_those_of_each_part(real_data: Path, tmp_path: Path) -> None:
    dataset = StressPredict(Places(real_data, tmp_path, tmp_path))
    recordings = dataset.read("S02")

    def cut(part: FeatureRepresentation) -> Windows:
        recipe = Recipe("eda", Preprocessing(), WindowLength(60.0, 30.0), part, "impute")
        return recipe(recordings, dataset.task(None)).windows

    joined = Joined()
    whole, parts = cut(joined), [cut(part) for part in joined.parts]
    np.testing.assert_array_equal(whole.x, np.concatenate([part.x for part in parts], axis=1))
    for part in parts:
        np.testing.assert_array_equal(part.onset, whole.onset)
    assert len(joined.features(60.0)) == whole.x.shape[1]
