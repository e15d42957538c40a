from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from benchmarks.datasets.contract import Places
from benchmarks.datasets.simulated import Simulated
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.differential_entropy import DifferentialEntropy

NOWHERE = Places(data=Path("/nowhere"), cache=Path("/nowhere"), study=Path("/nowhere"))
THETA, ALPHA = (4, 8), (8, 13)


def simulated(**parameters: Any) -> Simulated:
    return build(Simulated, {"places": NOWHERE}, parameters, "dataset")


def signal(dataset: Simulated, subject: str, name: str) -> np.ndarray:
    return dataset.read(subject)[0].signals[name].get_data()


def by_trial(signal: np.ndarray, trials: int) -> np.ndarray:
    """From (C, T) to (trials, C, samples)."""
    return signal.reshape(len(signal), trials, -1).swapaxes(0, 1)


def band_power(x: np.ndarray, band: tuple[float, float], sfreq: float = 128.0) -> np.ndarray:
    """Mean periodogram of the last axis over a band; half a hertz at its edges is left out for leakage."""
    density = np.abs(np.fft.rfft(x * np.hanning(x.shape[-1]))) ** 2
    frequency = np.fft.rfftfreq(x.shape[-1], 1 / sfreq)
    return density[..., (frequency >= band[0] + 0.5) & (frequency < band[1] - 0.5)].mean(axis=-1)


def drive(dataset: Simulated, subject: str, trial_s: float = 20.0) -> np.ndarray:
    """s(t) at each sample of the electrodermal signal."""
    return np.repeat(dataset.truth(subject).true_labels, round(4 * trial_s))


def test_ode_is_recovered_exactly_where_the_sensor_has_no_noise() -> None:
    dataset = simulated(eda_noise=0.0)
    for subject in dataset.subjects():
        truth, eda = dataset.truth(subject), signal(dataset, subject, "eda")[0]
        s = drive(dataset, subject)
        # E[k+1] = phi E[k] + (1 - phi) (e0 + b s[k] / a0), phi = exp(-a0 dt), while s is constant over a step.
        design = np.column_stack([eda[:-1], np.ones(eda.size - 1), s[:-1]])
        phi, constant, slope = np.linalg.lstsq(design * [1, 1e-6, 1e-6], eda[1:], rcond=None)[0] * [1, 1e-6, 1e-6]
        a0 = -4 * np.log(phi)
        assert a0 == pytest.approx(truth.a0, rel=1e-6)
        assert constant / (1 - phi) == pytest.approx(truth.e0, rel=1e-6)
        assert slope / (1 - phi) * a0 == pytest.approx(truth.b, rel=1e-6)


def test_decay_rate_is_recovered_through_the_sensors_noise() -> None:
    dataset = simulated()
    for subject in dataset.subjects():
        truth, eda, s = dataset.truth(subject), signal(dataset, subject, "eda")[0] * 1e6, drive(dataset, subject)

        def residual(parameters: np.ndarray, eda: np.ndarray = eda, s: np.ndarray = s) -> np.ndarray:
            a0, b, e0 = parameters
            path, value = np.empty_like(eda), e0
            for k in range(eda.size):
                path[k] = value
                level = e0 + b * s[k] / a0
                value = level + (value - level) * np.exp(-a0 / 4)
            return path - eda

        fitted = least_squares(residual, x0=[0.2, 0.1, 3.0])
        np.testing.assert_allclose(fitted.x, [truth.a0, truth.b * 1e6, truth.e0 * 1e6], rtol=0.03)
        assert np.std(fitted.fun) == pytest.approx(0.01, rel=0.1)


def test_band_power_changes_between_classes_as_set() -> None:
    dataset = simulated(subjects=1, trials=40, effect=1.0, trial_spread=0.0)
    truth = dataset.truth("sim000")
    sources = np.linalg.solve(truth.gain * truth.mixing, signal(dataset, "sim000", "eeg"))
    trials = by_trial(sources, truth.true_labels.size)

    def ratio(band: tuple[float, float]) -> np.ndarray:
        power = band_power(trials, band)
        return power[truth.true_labels == 1].mean(axis=0) / power[truth.true_labels == 0].mean(axis=0)

    np.testing.assert_allclose(ratio(THETA)[:4], np.e, rtol=0.15)
    np.testing.assert_allclose(ratio(ALPHA)[4:], 1 / np.e, rtol=0.15)
    np.testing.assert_allclose(np.concatenate([ratio(THETA)[4:], ratio(ALPHA)[:4]]), 1, rtol=0.15)
    np.testing.assert_allclose([ratio((1, 4)), ratio((13, 30)), ratio((30, 45))], 1, rtol=0.15)


def test_background_falls_as_one_over_frequency() -> None:
    dataset = simulated(subjects=1, trials=20, shift=0.0, effect=0.0, trial_spread=0.0)
    eeg = signal(dataset, "sim000", "eeg")
    edges = np.array([14, 18, 24, 32, 44, 60])
    power = [band_power(eeg, (low, high)).mean() for low, high in pairwise(edges)]
    slope = np.polyfit(np.log((edges[:-1] + edges[1:]) / 2), np.log(power), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)
    assert band_power(eeg, ALPHA).mean() / band_power(eeg, (14, 18)).mean() == pytest.approx(4 * 16 / 10.5, rel=0.15)
    assert 5e-6 < eeg.std() < 20e-6, "scalp EEG is some ten microvolts"


def test_subjects_differ_by_the_shift_and_without_it_not_at_all() -> None:
    same, near, far = (simulated(shift=shift) for shift in (0.0, 0.5, 1.0))
    for subject in same.subjects():
        truth = same.truth(subject)
        assert (truth.a0, truth.b, truth.e0, truth.gain) == (0.1, 0.2e-6, 4e-6, 1.0)
        np.testing.assert_array_equal(truth.mixing, np.eye(8))
        np.testing.assert_array_equal(truth.rhythms, 1)
        half, whole = near.truth(subject), far.truth(subject)
        np.testing.assert_allclose(2 * (half.mixing - np.eye(8)), whole.mixing - np.eye(8), atol=1e-12)
        assert 2 * np.log(half.gain) == pytest.approx(np.log(whole.gain))
        assert 2 * np.log(half.a0 / 0.1) == pytest.approx(np.log(whole.a0 / 0.1))
    assert len({far.truth(subject).a0 for subject in far.subjects()}) == 8


def test_without_label_noise_annotations_tell_the_truth() -> None:
    dataset = simulated()
    task = dataset.task(None)
    for subject in dataset.subjects():
        (recording,) = dataset.read(subject)
        truth, trials = dataset.truth(subject), task.cut(recording)
        np.testing.assert_array_equal(truth.given_labels, truth.true_labels)
        assert [trial.label for trial in trials] == truth.true_labels.tolist()
        assert [(trial.start_s, trial.stop_s) for trial in trials] == [(20.0 * k, 20.0 * k + 20) for k in range(12)]
        assert len({trial.name for trial in trials}) == 12
        for name in ("eeg", "eda"):
            assert recording.signals[name].n_times == 240 * recording.signals[name].info["sfreq"]


def test_label_noise_flips_given_labels_with_its_probability_and_leaves_signals_alone() -> None:
    clean, noisy = simulated(subjects=40, trials=25), simulated(subjects=40, trials=25, label_noise=0.2)
    flipped = []
    for subject in noisy.subjects():
        truth = noisy.truth(subject)
        np.testing.assert_array_equal(truth.true_labels, clean.truth(subject).true_labels)
        flipped.append(np.mean(truth.given_labels != truth.true_labels))
    assert np.mean(flipped) == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 2000))
    np.testing.assert_array_equal(signal(noisy, "sim000", "eda"), signal(clean, "sim000", "eda"))
    given = [trial.label for trial in noisy.task(None).cut(noisy.read("sim000")[0])]
    assert given == noisy.truth("sim000").given_labels.tolist()


def test_shuffled_labels_are_a_permutation_within_each_subject() -> None:
    plain, shuffled = simulated(trials=10), simulated(trials=10, shuffle_labels=True)
    agreement = []
    for subject in shuffled.subjects():
        truth = shuffled.truth(subject)
        np.testing.assert_array_equal(np.bincount(truth.given_labels), [10, 10])
        np.testing.assert_array_equal(truth.true_labels, plain.truth(subject).true_labels)
        agreement.append(np.mean(truth.given_labels == truth.true_labels))
    assert np.mean(agreement) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(160))
    np.testing.assert_array_equal(signal(plain, "sim000", "eeg"), signal(shuffled, "sim000", "eeg"))


def test_subject_is_the_same_in_a_larger_cohort() -> None:
    small, large = simulated(subjects=2), simulated(subjects=30)
    assert large.subjects()[:2] == small.subjects()
    assert list(large.subjects()) == sorted(large.subjects())
    for subject in small.subjects():
        assert small.fingerprint(subject) == large.fingerprint(subject)
        for name in ("eeg", "eda"):
            np.testing.assert_array_equal(signal(small, subject, name), signal(large, subject, name))


def test_subjects_and_seeds_are_independent() -> None:
    first, second = simulated(shift=0.0), simulated(shift=0.0, seed=1)
    eeg = [signal(first, "sim000", "eeg"), signal(first, "sim001", "eeg"), signal(second, "sim000", "eeg")]
    correlation = np.corrcoef([x[0] for x in eeg])
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 7}, {"trial_s": 21.0}, {"channels": 9}, {"sfreq": 100.0}, {"effect": 0.7}, {"shift": 0.7},
        {"trial_spread": 0.7}, {"eda_noise": 0.7}, {"label_noise": 0.7}, {"shuffle_labels": True}, {"seed": 7},
        {"order": "calm_first"}, {"drift": 0.7},
    ],
    ids=str,
)  # fmt: skip
def test_every_parameter_of_a_subject_changes_its_fingerprint_and_its_data(change: Mapping[str, Any]) -> None:
    def told(dataset: Simulated) -> tuple[Any, ...]:
        (recording,) = dataset.read("sim000")
        return (
            *(recording.signals[name].get_data().tobytes() for name in ("eeg", "eda")),
            tuple(recording.annotations.description),
        )

    plain, changed = simulated(), simulated(**change)
    assert plain.fingerprint("sim000") != changed.fingerprint("sim000")
    assert told(plain) != told(changed)


def test_the_default_cohort_stays_what_it_was() -> None:
    # As this file had it before it knew of orders and drift; studies of the default cohort stay comparable.
    eeg, eda = (signal(simulated(), "sim003", name)[0, 500:503] * 1e6 for name in ("eeg", "eda"))
    np.testing.assert_allclose(eeg, [10.09055118503311, 7.99486166290171, 2.4801700476254234], rtol=1e-9)
    np.testing.assert_allclose(eda, [4.905029503584573, 4.915142062654925, 4.865589257010979], rtol=1e-9)


def test_calm_first_is_the_same_people_in_another_order() -> None:
    paired, sorted_ = simulated(effect=0.0), simulated(effect=0.0, order="calm_first")
    for subject in sorted_.subjects():
        np.testing.assert_array_equal(sorted_.truth(subject).true_labels, [0] * 6 + [1] * 6)
        # Without an effect, the order reaches the EEG in no way.
        np.testing.assert_array_equal(signal(sorted_, subject, "eeg"), signal(paired, subject, "eeg"))
    (recording,) = sorted_.read("sim000")
    assert list(recording.annotations.description) == ["calm"] * 6 + ["task"] * 6


def test_rhythms_drift_by_what_is_set_and_the_background_does_not() -> None:
    dataset = simulated(subjects=2, trials=40, effect=0.0, trial_spread=0.0, drift=2.0)
    for subject in dataset.subjects():
        truth = dataset.truth(subject)
        sources = np.linalg.solve(truth.gain * truth.mixing, signal(dataset, subject, "eeg"))
        trials = by_trial(sources, 80)
        middle = (np.arange(80) + 0.5) / 80

        def slope(band: tuple[float, float], trials: np.ndarray = trials, middle: np.ndarray = middle) -> float:
            return float(np.polyfit(middle, np.log(band_power(trials, band).mean(axis=1)), 1)[0])

        # The rhythm stands on nothing else: all power of its band is scaled.
        np.testing.assert_allclose([slope(THETA), slope(ALPHA)], truth.drift, atol=0.1)
        np.testing.assert_allclose([slope((1, 4)), slope((13, 30))], 0, atol=0.1)


def test_everyone_drifts_as_far_in_a_direction_of_their_own() -> None:
    dataset = simulated(subjects=400, drift=1.5)
    drift = np.array([dataset.truth(subject).drift for subject in dataset.subjects()])
    np.testing.assert_allclose(np.hypot(*drift.T), 1.5)
    # The mean of n directions has a standard error of 1.5 / sqrt(2 n) on each axis.
    np.testing.assert_allclose(drift.mean(axis=0), 0, atol=4 * 1.5 / np.sqrt(800))


@given(seed=st.integers(0, 2**31), trials=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_time_tells_nothing_of_the_class(seed: int, trials: int) -> None:
    labels = Simulated(NOWHERE, trials=trials, seed=seed).truth("sim000").true_labels
    np.testing.assert_array_equal(labels.reshape(trials, 2).sum(axis=1), 1)


def test_order_of_the_classes_is_random() -> None:
    labels = np.array([simulated(trials=10, subjects=40).truth(f"sim{k:03d}").true_labels for k in range(40)])
    assert labels[:, 0::2].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))


def test_default_cohort_is_learnable_across_subjects_and_better_once_each_is_standardised() -> None:
    training, unlabelled = leave_one_subject_out(simulated())
    assert 0.6 < training < unlabelled - 0.1
    assert unlabelled < 0.95


def leave_one_subject_out(dataset: Simulated) -> tuple[float, float]:
    """Accuracy of LDA on differential entropy, standardised with the training subjects or each subject alone."""
    recipe = Recipe("eeg", Preprocessing(), WindowLength(4.0), DifferentialEntropy())
    x, y = {}, {}
    for subject in dataset.subjects():
        windows = dataset.load(subject, dataset.task(None), recipe).windows
        x[subject], y[subject] = windows.x.reshape(len(windows), -1), windows.y

    def score(standardised: Callable[[str, list[str]], np.ndarray]) -> float:
        found = []
        for left_out in x:
            others = [subject for subject in x if subject != left_out]
            lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
            lda.fit(
                np.concatenate([standardised(subject, others) for subject in others]),
                np.concatenate([y[subject] for subject in others]),
            )
            # Classes are balanced, so accuracy is balanced accuracy.
            found.append(np.mean(lda.predict(standardised(left_out, others)) == y[left_out]))
        return float(np.mean(found))

    def with_training(subject: str, others: list[str]) -> np.ndarray:
        pooled = np.concatenate([x[other] for other in others])
        return (x[subject] - pooled.mean(axis=0)) / pooled.std(axis=0)

    def with_own(subject: str, others: list[str]) -> np.ndarray:
        return (x[subject] - x[subject].mean(axis=0)) / x[subject].std(axis=0)

    return score(with_training), score(with_own)


def test_it_says_everywhere_that_it_is_simulated() -> None:
    card = Simulated.card
    assert card.simulated
    for text in (card.name, card.title, card.subjects, card.signals, card.labels, card.licence, card.citation):
        assert "simulated" in text.lower()
    assert all(subject.startswith("sim") for subject in simulated().subjects())
    assert simulated().default_signal in simulated().read("sim000")[0].signals


def test_signals_of_a_recording_with_one_clock() -> None:
    assert simulated().one_clock
    assert simulated().signals_of(["sim000"]) == tuple(simulated().read("sim000")[0].signals)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"subjects": 0}, "dataset.subjects"),
        ({"subjects": 1001}, "dataset.subjects"),
        ({"trials": 0}, "dataset.trials"),
        ({"trial_s": 0.5}, "dataset.trial_s"),
        ({"channels": 1}, "dataset.channels"),
        ({"sfreq": 20}, "dataset.sfreq"),
        ({"effect": -1}, "dataset.effect"),
        ({"shift": float("nan")}, "dataset.shift"),
        ({"order": "task_first"}, "dataset.order.*'paired' or 'calm_first'"),
        ({"drift": -1}, "dataset.drift"),
        ({"label_noise": 1.5}, "dataset.label_noise"),
        ({"seed": "many"}, "dataset.seed"),
        ({"subject": 3}, "dataset.subject.*Did you mean 'subjects'"),
    ],
)
def test_parameters_out_of_range(parameters: Mapping[str, Any], field: str) -> None:
    with pytest.raises(StudyError, match=field):
        simulated(**parameters)


@pytest.mark.parametrize("ask", ["read", "truth", "fingerprint"])
def test_unknown_subject(ask: str) -> None:
    with pytest.raises(DataError, match="'sim008': there are sim000 to sim007"):
        getattr(simulated(), ask)("sim008")
