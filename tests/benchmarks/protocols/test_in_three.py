"""Windows of a subject to learn from, to validate on and to score: splits by hand, laws, and real recordings."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Dataset, Places
from benchmarks.datasets.eegmat import Eegmat
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.errors import DataError
from benchmarks.preprocessing import Preprocessing
from benchmarks.protocols.within_subject import SplitError, Within, early_and_late, in_three
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.raw import RawWindows
from benchmarks.windows import Windows, concatenate
from tests.benchmarks.protocols.test_within_subject import Stretch, onsets, subject_of, subjects

Starts = tuple[list[float], list[float], list[float]]


def parts(within: Within) -> list[np.ndarray]:
    """Masks in the order of time."""
    return [within.learned, within.validation, within.scored]


def told(windows: Windows, within: Within, trial: str) -> Starts:
    learned, validation, scored = (onsets(windows, mask, trial) for mask in parts(within))
    return learned, validation, scored


def names(windows: Windows, mask: np.ndarray) -> list[str]:
    return sorted(set(windows.trial[mask].tolist()))


def evenly(labels: Sequence[int], every_s: float = 60.0) -> Windows:
    """Trials of five windows each, one every so many seconds."""
    return subject_of(*(Stretch(label, every_s * k, 20.0) for k, label in enumerate(labels)))


def test_a_half_and_two_quarters_of_a_trial_besides_the_gaps() -> None:
    windows = subject_of(Stretch(0, 100.0, 40.0), Stretch(1, 300.0, 42.0))
    within = in_three(windows, 4.0)
    assert within.grouping == "block"
    # Of 40 s, two gaps of 4 s leave 32 s: scored from 132 s on; validated on from 120 to 128 s; learned up to 116 s.
    assert told(windows, within, "t0") == ([100, 104, 108, 112], [120, 124], [132, 136])
    # The last window ends at 340 s, not at the trial's end.
    assert told(windows, within, "t1") == ([300, 304, 308, 312], [320, 324], [332, 336])


def test_films_with_clocks_of_their_own_stay_in_the_order_in_which_they_were_shown() -> None:
    """Whether a film's first window is usable must not decide which films are scored."""
    films = subject_of(*(Stretch(k % 2, 0.0, 20.0) for k in range(6)))
    flawed = films.select(~((films.trial == "t0") & (films.onset == 0)))
    assert len(flawed) == len(films) - 1
    for windows in (films, flawed):
        within = in_three(windows, 4.0)
        assert names(windows, within.scored) == ["t4", "t5"]
        assert names(windows, within.validation) == ["t2", "t3"]


def test_nine_minutes_in_overlapping_windows_of_one() -> None:
    rest, task = (Stretch(k, 1000.0 * k, 541.0, step_s=30.0, length_s=60.0) for k in (0, 1))
    windows = subject_of(rest, task)
    # 540 s less two minutes: a quarter is 105 s. Scored from 435 s on; validated on from 285 to 390 s.
    assert told(windows, in_three(windows, 60.0), "t0") == (list(range(0, 181, 30)), [300, 330], [450, 480])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ([], [], [0])),
        (2, ([], [], [4])),
        (3, ([0], [], [8])),
        (4, ([0, 4], [], [12])),
        (5, ([0], [8], [16])),
        (6, ([0, 4], [12], [20])),
        (7, ([0, 4, 8], [16], [24])),
        (8, ([0, 4, 8, 12], [20], [28])),
    ],
)
def test_a_trial_of_five_windows_is_enough_and_a_shorter_one_is_not_validated_on(count: int, expected: Starts) -> None:
    windows = subject_of(Stretch(0, 0.0, 4.0 * count), Stretch(0, 100.0, 40.0), Stretch(1, 200.0, 40.0))
    within = in_three(windows, 4.0)
    assert told(windows, within, "t0") == expected
    if count < 5:
        two = early_and_late(windows, 4.0)
        assert (onsets(windows, two.learned, "t0"), onsets(windows, two.scored, "t0")) == (expected[0], expected[2])


@pytest.mark.parametrize("count", [5, 6, 9, 10, 14, 45, 200])
def test_how_many_windows_each_block_has(count: int) -> None:
    windows = subject_of(*(Stretch(k, 5000.0 * k, 4.0 * count) for k in (0, 1)))
    quarter = max((count - 2) // 4, 1)
    assert [int(mask.sum()) for mask in parts(in_three(windows, 4.0))] == [
        2 * (count - 2 - 2 * quarter),
        2 * quarter,
        2 * quarter,
    ]


def test_missing_windows_leave_the_others_where_they_are() -> None:
    whole = subject_of(Stretch(0, 0.0, 84.0), Stretch(1, 100.0, 40.0))
    assert whole.onset is not None
    windows = whole.select((whole.trial == "t1") | (whole.onset < 16) | (whole.onset == 80))
    # No window lies in the quarter to validate on: the last one before it is taken.
    assert told(windows, in_three(windows, 4.0), "t0") == ([0, 4], [12], [80])


def test_a_step_that_does_not_divide_the_window_keeps_the_gaps() -> None:
    windows = subject_of(*(Stretch(k, 100.0 * k, 22.0, step_s=3.0) for k in (0, 1)))
    # Scored is 18 to 22 s; the last window that ends by 14 s starts at 9 s; the last that ends by 5 s, at 0 s.
    assert told(windows, in_three(windows, 4.0), "t0") == ([0], [9], [18])


def test_where_a_trial_of_five_windows_has_no_three_blocks_on_its_grid_it_has_two() -> None:
    windows = subject_of(Stretch(0, 0.0, 21.0, step_s=3.5), Stretch(0, 100.0, 40.0), Stretch(1, 200.0, 40.0))
    # Starts are 0, 3.5, ..., 14 s, the last end is 18 s: nothing ends 4 s before a window that ends 4 s before 14 s.
    assert told(windows, in_three(windows, 4.0), "t0") == ([0, 3.5], [], [14])


def test_last_trials_of_each_class_are_scored_and_those_before_validated_on() -> None:
    windows = evenly([0, 1, 0, 1, 1, 0])
    within = in_three(windows, 4.0)
    assert within.grouping == "trial"
    assert [names(windows, mask) for mask in parts(within)] == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"]]
    assert np.logical_or.reduce(parts(within)).all(), "trials are held out as a whole"


@pytest.mark.parametrize(
    ("of_class", "trials"),
    [
        ((5, 5, 5), (9, 3, 3)),  # SEED
        ((9, 9), (10, 4, 4)),  # DREAMER, and the other shares that its ratings can have
        ((8, 10), (12, 3, 3)),
        ((4, 14), (12, 3, 3)),
        ((3, 15), (10, 4, 4)),
        ((3, 3), (2, 2, 2)),
        ((4, 4), (4, 2, 2)),
    ],
)
def test_a_sixth_of_the_trials_of_each_class(of_class: tuple[int, ...], trials: tuple[int, int, int]) -> None:
    labels = [label for label, count in enumerate(of_class) for _ in range(count)]
    windows = evenly(labels)
    within = in_three(windows, 4.0)
    assert within.grouping == "trial"
    assert tuple(len(names(windows, mask)) for mask in parts(within)) == trials


def test_a_class_of_two_trials_makes_blocks_of_all() -> None:
    within = in_three(evenly([0, 0, 1, 0, 1, 0]), 4.0)
    assert within.grouping == "block"


def test_trials_one_right_after_another_keep_a_windows_time_apart() -> None:
    # Learned from, validated on, scored, learned from, validated on, scored.
    windows = evenly([0, 0, 0, 1, 1, 1], every_s=20.0)
    within = in_three(windows, 4.0)
    assert [told(windows, within, f"t{k}") for k in range(6)] == [
        ([0, 4, 8, 12], [], []),  # 16 to 20 s yields to what is validated on
        ([], [20, 24, 28, 32], []),  # 36 to 40 s yields to what is scored
        ([], [], [40, 44, 48, 52, 56]),
        ([64, 68, 72], [], []),  # yields on both sides
        ([], [80, 84, 88, 92], []),
        ([], [], [100, 104, 108, 112, 116]),
    ]


def test_blocks_of_trials_one_right_after_another_keep_a_windows_time_apart() -> None:
    windows = subject_of(Stretch(0, 0.0, 40.0), Stretch(1, 40.0, 40.0))
    within = in_three(windows, 4.0)
    assert told(windows, within, "t0") == ([0, 4, 8, 12], [20, 24], [32, 36])
    assert told(windows, within, "t1") == ([44, 48, 52], [60, 64], [72, 76])


def test_nothing_yields_to_windows_that_have_yielded_themselves() -> None:
    # A trial of one window to validate on, between one that is scored and one that is learned from, of other classes.
    first = [Stretch(0, 100.0 * k, 20.0) for k in range(5)]
    scored = [Stretch(1, 600.0, 20.0), Stretch(1, 700.0, 20.0), Stretch(1, 800.0, 20.0)]
    between = Stretch(0, 820.0, 4.0)
    after = [Stretch(2, 824.0, 20.0), *(Stretch(2, 1000.0 + 100 * k, 20.0) for k in range(2))]
    last = [Stretch(0, 1300.0 + 100 * k, 20.0) for k in range(3)]
    windows = subject_of(*first, *scored, between, *after, *last)
    within = in_three(windows, 4.0)
    assert told(windows, within, "t7") == ([], [], [800, 804, 808, 812, 816])
    assert told(windows, within, "t8") == ([], [], [])
    assert told(windows, within, "t9") == ([824, 828, 832, 836, 840], [], [])


def test_recordings_with_clocks_of_their_own_are_not_compared() -> None:
    # As in EEGMAT: two files of one session, which both start at zero.
    windows = subject_of(Stretch(0, 0.0, 180.0), Stretch(1, 0.0, 60.0))
    within = in_three(windows, 4.0)
    assert told(windows, within, "t0") == (list(range(0, 92, 4)), list(range(96, 136, 4)), list(range(140, 180, 4)))
    assert told(windows, within, "t1") == (list(range(0, 28, 4)), [32, 36, 40], [48, 52, 56])


def test_two_parts_have_no_windows_to_validate_on() -> None:
    windows = evenly([0, 1])
    within = early_and_late(windows, 4.0)
    np.testing.assert_array_equal(within.validation, np.zeros(len(windows), dtype=bool))
    masks = np.array([True, False]), np.array([False, True])
    np.testing.assert_array_equal(Within(*masks, "block").validation, [False, False])
    np.testing.assert_array_equal(Within(*masks, "block", masks[1]).validation, masks[1])


def split(windows: Windows, length_s: float) -> Within | None:
    try:
        return in_three(windows, length_s)
    except DataError:
        return None  # what can always be split is seen to below


def check_laws(windows: Windows, length_s: float, within: Within) -> None:
    """The laws that no split breaks, where trials of one session are on one clock."""
    assert windows.onset is not None
    assert np.sum(parts(within), axis=0).max() == 1
    for label in set(windows.labels.tolist()):
        assert all((mask & (windows.labels == label)).any() for mask in parts(within))
    for one, other in combinations(parts(within), 2):
        for session in set(windows.session.tolist()):
            here = windows.session == session
            between_s = np.abs(windows.onset[here & one][:, None] - windows.onset[here & other]) - length_s
            assert (between_s >= length_s - 1e-5).all()
        for place in set(zip(windows.session.tolist(), windows.trial.tolist(), strict=True)):
            inside = (windows.session == place[0]) & (windows.trial == place[1])
            earlier_s, later_s = windows.onset[inside & one], windows.onset[inside & other]
            assert (earlier_s[:, None] < later_s).all()
            assert within.grouping == "block" or not (len(earlier_s) and len(later_s))


@given(subjects(), st.sampled_from([0.0, 0.3]), st.integers(0, 999))
def test_parts_are_disjoint_apart_and_in_the_order_of_time(
    case: tuple[Windows, float], missing: float, seed: int
) -> None:
    windows, length_s = case
    present = np.random.default_rng(seed).random(len(windows)) >= missing
    windows = windows.select(present | (np.arange(len(windows)) == 0))
    within = split(windows, length_s)
    if within is not None:
        check_laws(windows, length_s, within)


@given(subjects(shortest=6.0))
def test_trials_of_six_windows_can_always_be_split(case: tuple[Windows, float]) -> None:
    within = in_three(*case)
    assert all(mask.any() for mask in parts(within))


@given(subjects(shortest=5.0, trials=3))
def test_trials_of_a_class_follow_each_other_from_part_to_part(case: tuple[Windows, float]) -> None:
    windows, length_s = case
    within = in_three(windows, length_s)
    assert within.grouping == "trial"
    sessions = list(dict.fromkeys(windows.session.tolist()))
    assert windows.onset is not None
    time = np.array([sessions.index(name) for name in windows.session]) * 1e6 + windows.onset
    for label in set(windows.labels.tolist()):
        mine = windows.labels == label
        for one, other in combinations(parts(within), 2):
            assert time[mine & one].max() < time[mine & other].min()


@given(subjects(), st.integers(0, 999))
def test_neither_names_nor_the_place_among_the_windows_move_a_split(case: tuple[Windows, float], seed: int) -> None:
    windows, length_s = case
    rng = np.random.default_rng(seed)
    sessions = dict.fromkeys(windows.session.tolist())
    order = np.concatenate([rng.permutation(np.flatnonzero(windows.session == name)) for name in sessions])
    renamed = Windows(
        windows.x,
        windows.subject,
        np.char.add("on day ", windows.session),
        np.char.add("part ", windows.trial),
        windows.onset,
        1 - windows.labels,
    ).select(order)
    within, again = split(windows, length_s), split(renamed, length_s)
    assert (within is None) == (again is None)
    if within is not None and again is not None:
        assert again.grouping == within.grouping
        for mask, moved in zip(parts(within), parts(again), strict=True):
            np.testing.assert_array_equal(moved, mask[order])


def test_a_class_without_windows_to_validate_on_is_refused_with_what_to_do() -> None:
    windows = subject_of(Stretch(0, 0.0, 40.0), Stretch(1, 100.0, 16.0), Stretch(1, 200.0, 12.0))
    words = (
        r"S1: class 1 \(trials: 't1' of 16 s, 't2' of 12 s\) has no window left to validate on\. .*\(4 s\) apart, each "
        r"class needs three trials \(class 0 has 1\), or one of six windows' time .*\. Make windows\.length_s shorter, "
        r".*protocol: \{name: loso\}"
    )
    with pytest.raises(DataError, match=words):
        in_three(windows, 4.0)
    shorter = subject_of(*(Stretch(k, 100.0 * k, 16.0, step_s=2.0, length_s=2.0) for k in (0, 1)))
    assert in_three(shorter, 2.0).validation.any()


@pytest.mark.parametrize(("start_s", "duration_s"), [(100.0, 8.0), (40.0, 20.0)])
def test_a_class_without_windows_to_learn_from_is_refused(start_s: float, duration_s: float) -> None:
    # Two windows are too few; so are five right after a scored one, to which the only one to learn from yields.
    windows = subject_of(Stretch(0, 0.0, 40.0), Stretch(1, start_s, duration_s))
    with pytest.raises(DataError, match="S1: class 1 .* has no window left to learn from"):
        in_three(windows, 4.0)


def test_a_validating_trial_too_near_to_scored_ones_is_missed() -> None:
    # Class 1 validates on one window, right before the trial of class 0 that is scored.
    starts = [(0, 0.0, 20.0), (0, 100.0, 20.0), (1, 200.0, 20.0), (1, 300.0, 4.0), (0, 304.0, 20.0), (1, 400.0, 20.0)]
    windows = subject_of(*(Stretch(*start) for start in starts))
    with pytest.raises(DataError, match="S1: class 1 .*'t3' of 4 s.* has no window left to validate on") as caught:
        in_three(windows, 4.0)
    # Each class has three trials, so it is not for want of trials.
    assert "follow each other too closely, or are too short" in str(caught.value)
    assert "needs three" not in str(caught.value)


def test_an_error_of_somebody_is_the_same_after_a_journey_between_processes() -> None:
    windows = subject_of(Stretch(0, 0.0, 8.0), Stretch(1, 100.0, 8.0))
    with pytest.raises(SplitError) as caught:
        in_three(windows, 4.0)
    there = pickle.loads(pickle.dumps(caught.value))
    assert (str(there), there.subject) == (str(caught.value), "S1")
    assert str(there) == f"S1: {there.found} {there.remedy}"


@pytest.mark.parametrize(("onset", "length_s", "lacks"), [(False, 4.0, "dataset.onset"), (True, None, "dataset.leng")])
def test_without_times_there_are_no_three_parts(onset: bool, length_s: float | None, lacks: str) -> None:
    windows = evenly([0, 1]).without(onset=not onset)
    with pytest.raises(DataError, match=rf"S1: when its windows start .* lacks {lacks}.*protocol: \{{name: loso\}}"):
        in_three(windows, length_s)


def test_several_subjects_or_no_labels_are_a_mistake() -> None:
    windows = evenly([0, 1])
    other = Windows(windows.x, np.full(len(windows), "S2"), windows.session, windows.trial, windows.onset, windows.y)
    with pytest.raises(ValueError, match=r"one subject, found \['S1', 'S2'\]"):
        in_three(concatenate([windows, other]), 4.0)
    with pytest.raises(ValueError, match="labels"):
        in_three(windows.without(labels=True), 4.0)


def real(dataset: Dataset, task: str, signal: str, windows: WindowLength, subjects: Sequence[str]) -> list[Windows]:
    recipe = Recipe(signal, Preprocessing(), windows, RawWindows())
    cohort = build_cohort(dataset, task, subjects, recipe, None)
    return [mine for _, mine in cohort.windows.by_subject()]


@pytest.mark.real_data
@pytest.mark.parametrize(("length_s", "arithmetic"), [(4.0, [7, 3, 3]), (2.0, [15, 7, 7])])
def test_real_eeg_is_split_by_blocks(real_data: Path, tmp_path: Path, length_s: float, arithmetic: list[int]) -> None:
    dataset = Eegmat(Places(real_data, tmp_path, real_data))
    people = real(dataset, "rest_vs_arithmetic", "eeg", WindowLength(length_s), dataset.subjects()[:2])
    for windows in people:
        within = in_three(windows, length_s)
        assert within.grouping == "block"
        assert [int(mask[windows.labels == 1].sum()) for mask in parts(within)] == arithmetic
        rest = [int(mask[windows.labels == 0].sum()) for mask in parts(within)]
        assert sum(rest) == (windows.labels == 0).sum() - 2, "but for two gaps, of a window each"
        assert rest[1] == rest[2] == (sum(rest) // 4)


@pytest.mark.real_data
@pytest.mark.parametrize("length_s", [30.0, 20.0])
def test_real_wristbands_are_split_by_blocks(real_data: Path, tmp_path: Path, length_s: float) -> None:
    dataset = StressPredict(Places(real_data, tmp_path, real_data))
    cut = WindowLength(length_s, length_s / 2)
    for windows in real(dataset, "interview_vs_flanking_rests", "eda", cut, ["S05", "S06"]):
        within = in_three(windows, length_s)
        assert within.grouping == "block"
        check_laws(windows, length_s, within)


@pytest.mark.real_data
def test_rests_of_three_minutes_are_too_short_for_windows_of_one(real_data: Path, tmp_path: Path) -> None:
    dataset = StressPredict(Places(real_data, tmp_path, real_data))
    people = real(dataset, "interview_vs_flanking_rests", "eda", WindowLength(60.0, 30.0), ["S05", "S06"])
    with pytest.raises(DataError, match="S06: class 0 .*of 180 s.* has no window left to validate on"):
        in_three(people[1], 60.0)
