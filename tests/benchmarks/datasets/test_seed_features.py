from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Places
from benchmarks.datasets.seed_features import SeedFeatures
from benchmarks.errors import DataError, SignalError, StudyError
from benchmarks.parts import build
from benchmarks.protocols.within_subject import early_and_late
from benchmarks.quality import SubjectWindows
from tests.benchmarks.datasets.seed_files import (
    DAYS,
    LABELS,
    ROWS,
    features_of,
    write_labels,
    write_seed,
    write_seed_features,
    write_session,
)


def features(places: Places, **values: Any) -> SeedFeatures:
    """As a study file asks for it: `dataset: {name: seed_features, ...}`."""
    return build(SeedFeatures, {"places": places}, values, "dataset")


def load(dataset: SeedFeatures, subject: str = "S01") -> SubjectWindows:
    return dataset.load(subject, dataset.task(None), None)


@pytest.fixture
def folder(places: Places) -> Path:
    """Two subjects of three sessions, with four windows a film."""
    return write_seed_features(places.data / "seed")


def test_windows_of_files_written_by_hand(folder: Path, places: Places) -> None:
    dataset = features(places)
    assert dataset.subjects() == ("S01", "S02")
    assert (dataset.window_s, dataset.one_clock, dataset.signals_of(["S01"])) == (1, False, ())
    assert dataset.task(None).classes == ("negative", "neutral", "positive")
    for number, subject in enumerate(dataset.subjects(), 1):
        found = load(dataset, subject)
        windows, written = found.windows, features_of(number, 1, 4)
        assert windows.x.shape == (15 * 4, 62 * 5)
        assert windows.subjects == (subject,)
        assert windows.session.tolist() == ["1"] * 60
        assert windows.trial.tolist() == [f"film_{film:02d}" for film in range(1, 16) for _ in range(4)]
        assert windows.labels.tolist() == [label + 1 for label in LABELS for _ in range(4)]
        assert windows.onset is not None
        assert windows.onset.tolist() == [0, 1, 2, 3] * 15
        assert (found.report.windows, found.report.dropped, found.report.unusable) == (60, 0, {})
        # Window 2 of film 9, electrode 10, band 3.
        assert windows.x[8 * 4 + 2, 10 * 5 + 3] == written["de_LDS9"][10, 2, 3]
        np.testing.assert_array_equal(windows.x[4], written["de_LDS2"][:, 0].ravel())


@settings(max_examples=8, deadline=None)
@given(kind=st.sampled_from(sorted(ROWS)), smoothing=st.sampled_from(["LDS", "movingAve"]), windows=st.integers(1, 3))
def test_every_feature_and_smoothing(
    tmp_path_factory: pytest.TempPathFactory, kind: str, smoothing: str, windows: int
) -> None:
    places = Places(*(tmp_path_factory.mktemp(name) for name in ("data", "cache", "study")))
    folder = places.data / "seed" / "ExtractedFeatures"
    written = features_of(
        1, 1, windows, kinds=["dasm", "asm", kind] if kind not in ("dasm", "asm") else ["dasm", "asm"]
    )
    for session in (1, 2, 3):
        write_session(folder, 1, session, written)
    write_labels(folder)
    x = load(features(places, feature=kind, smoothing=smoothing)).windows.x
    assert x.shape == (15 * windows, ROWS[kind] * 5)
    np.testing.assert_array_equal(x[-1], written[f"{kind}_{smoothing}15"][:, -1].ravel())


def test_sessions_are_in_the_order_in_which_they_were_recorded(folder: Path, places: Places) -> None:
    windows = load(features(places, sessions=[3, 1])).windows
    assert windows.session.tolist() == ["1"] * 60 + ["3"] * 60
    np.testing.assert_array_equal(windows.x[60], features_of(1, 3, 4)["de_LDS1"][:, 0].ravel())


def test_films_of_different_lengths(folder: Path, places: Places) -> None:
    films = features_of(1, 1, 4)
    films["de_LDS3"] = films["de_LDS3"][:, :2]
    write_session(folder, 1, 1, films)
    windows = load(features(places)).windows
    assert (windows.trial == "film_03").sum() == 2
    assert len(windows) == 58


def test_later_films_are_held_out_of_earlier_ones(folder: Path, places: Places) -> None:
    windows = load(features(places)).windows
    within = early_and_late(windows, 1.0)
    assert within.grouping == "trial"
    # The last of five of each: negative are 3 4 7 12 15, neutral 2 5 8 11 13, positive 1 6 9 10 14.
    assert sorted(set(windows.trial[within.scored])) == ["film_13", "film_14", "film_15"]
    assert not within.learned[within.scored].any()


def test_windows_without_all_features_are_left_out_and_reported(folder: Path, places: Places) -> None:
    films = features_of(1, 1, 4)
    films["de_LDS1"][3, 1, 2] = np.nan
    films["de_LDS4"][0, 0, 0] = -np.inf
    write_session(folder, 1, 1, films)
    found = load(features(places))
    assert (found.report.windows, found.report.dropped, found.report.unusable) == (60, 2, {"nan": 2})
    assert found.windows.onset is not None
    assert found.windows.onset[:3].tolist() == [0, 2, 3]
    assert found.windows.trial.tolist().count("film_04") == 3
    write_session(folder, 1, 1, {name: np.full_like(values, np.nan) for name, values in films.items()})
    with pytest.raises(SignalError, match="S01: each of its 60 windows has a missing or infinite value of de_LDS"):
        load(features(places))


def test_a_cohort_of_ready_made_windows(folder: Path, places: Places) -> None:
    cohort = build_cohort(features(places), None, None, None, None)
    assert (cohort.geometry, cohort.length_s, len(cohort.windows)) == ("vector", 1, 120)


def test_fingerprint_follows_files_and_settings(folder: Path, places: Places) -> None:
    def fingerprints(**values: Any) -> list[str]:
        return [features(places, **values).fingerprint(subject) for subject in ("S01", "S02")]

    before = fingerprints()
    assert before == fingerprints(feature="de", smoothing="LDS", sessions=[1])
    for values in ({"feature": "psd"}, {"smoothing": "movingAve"}, {"sessions": [2]}):
        assert not set(before) & set(fingerprints(**values))
    write_session(folder, 2, 1, features_of(2, 1, 5))
    assert [one == other for one, other in zip(fingerprints(), before, strict=True)] == [True, False]


def test_recordings_and_features_lie_in_one_place(folder: Path, places: Places) -> None:
    assert SeedFeatures.present(places) == places.data / "seed"
    shutil.rmtree(folder)
    assert SeedFeatures.present(places) is None
    write_seed(places.data / "seed", seconds=0.1)
    assert SeedFeatures.present(places) is None, "recordings are no features"
    with pytest.raises(DataError, match=r"(?s)folder 'seed' .*with files 'ExtractedFeatures.*bcmi\.sjtu"):
        features(places).subjects()


def test_a_recipe_is_refused(folder: Path, places: Places) -> None:
    dataset = features(places)
    with pytest.raises(StudyError, match="Remove signal, preprocessing, windows.*or use 'seed'"):
        dataset.load("S01", dataset.task(None), object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"feature": "DE"}, "dataset.feature"),
        ({"smoothing": "none"}, "dataset.smoothing"),
        ({"sessions": [2, 2]}, "sessions: .* names a session twice"),
    ],
)
def test_settings_that_are_wrong(places: Places, values: dict[str, Any], field: str) -> None:
    with pytest.raises(StudyError, match=field):
        features(places, **values)


FILMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing film": (lambda films: films.pop("de_LDS2"), r"found de_LDS1, de_LDS3.*films 1 to 15"),
    "no such feature": (
        lambda films: [films.pop(name) for name in list(films) if "LDS" in name],
        r"found none of the variables 'de_LDS.*', among de_movingAve1",
    ),
    "fewer electrodes": (
        lambda films: films.update(de_LDS4=films["de_LDS4"][:61]),
        r"de_LDS4: found an array of shape \(61, 4, 5\)\. Expected 62 rows of de by windows by 5 bands",
    ),
    "band before window": (
        lambda films: films.update(de_LDS4=films["de_LDS4"].transpose(0, 2, 1)),
        r"de_LDS4: found an array of shape \(62, 5, 4\)",
    ),
    "one band": (lambda films: films.update(de_LDS4=films["de_LDS4"][:, :, 0]), r"found an array of shape \(62, 4\)"),
    "no window": (
        lambda films: films.update(de_LDS4=np.zeros((62, 0, 5))),
        r"de_LDS4: found an array of shape \(62, 0, 5\)",
    ),
}


@pytest.mark.parametrize("case", FILMS)
def test_films_that_are_wrong(folder: Path, places: Places, case: str) -> None:
    spoil, message = FILMS[case]
    films: dict[str, Any] = features_of(1, 1, 4)
    spoil(films)
    file = write_session(folder, 1, 1, films)
    with pytest.raises(DataError, match=message) as caught:
        load(features(places))
    assert str(file) in str(caught.value)
    assert len(load(features(places), "S02").windows) == 60


def test_files_that_do_not_tell_the_sessions(folder: Path, places: Places) -> None:
    (folder / f"1_{DAYS[1][2]}.mat").unlink()
    with pytest.raises(DataError, match=r"S01 has 2 files"):
        load(features(places))
    (folder / "label.mat").unlink()
    with pytest.raises(DataError, match=r"Cannot read .*label\.mat"):
        load(features(places), "S02")
