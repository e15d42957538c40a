"""How learning from one subject after another went: what was learned, kept, and carried over to subjects not yet met.

Every function takes a matrix R of shape (T + 1, T), or the curve of the held-out subjects. R[i, j] is the score on the
j-th subject of the stream after i subjects have been learned from: row 0 comes before any learning, columns are in the
order of the stream, and the formulas below count subjects from 1, so that R[j, j] is the score on a subject just
learned from and R[j - 1, j] that on the next one, still unseen. Higher scores are better.

NaN is a score that is undefined. Every mean is over the terms that are defined, and NaN where there is none; a
difference is defined where both of its scores are. So what compares two subjects is NaN for a stream of one.
"""

from __future__ import annotations

from math import nan

import numpy as np

from benchmarks.windows import FloatArray

# --- subjects learned from -------------------------------------------------------------------------------------------


def average_accuracy(R: FloatArray) -> float:
    """Score on all subjects after the last one, ACC (Lopez-Paz & Ranzato 2017, arXiv:1706.08840).

    Mean of R[T, j] over j = 1..T.

    Parameters
    ----------
    R : ndarray, shape (T + 1, T)
        Scores after every step (row) on every subject of the stream (column), T at least 1.

    Raises
    ------
    ValueError
        Another shape.
    """
    return _mean(_after(R)[-1])


def backward_transfer(R: FloatArray) -> float:
    """What later subjects did to the score on earlier ones, BWT; below 0 is a loss.

    Mean of R[T, j] - R[j, j] over j = 1..T-1 (Lopez-Paz & Ranzato 2017, arXiv:1706.08840); R as in `average_accuracy`.
    """
    after = _after(R)
    return _mean((after[-1] - after.diagonal())[:-1])


def forgetting(R: FloatArray) -> float:
    """What was lost of the best score on each earlier subject (Chaudhry et al. 2018, arXiv:1801.10112).

    Mean of max R[l, j] - R[T, j] over j = 1..T-1; R as in `average_accuracy`. The paper lets l run from 1; here it runs
    from j to T-1: a good score on somebody before they were learned from is transfer, and cannot be forgotten. The
    value is below 0 where the last score is the best. (Avalanche's forgetting takes R[j, j] in the place of the best,
    which is `backward_transfer` with its sign changed.)
    """
    after = _after(R)
    kept = np.where(np.tri(len(after) - 1, dtype=bool), after[:-1, :-1], nan)
    return _mean(np.fmax.reduce(kept, axis=0, initial=nan) - after[-1, :-1])


def stability(R: FloatArray) -> float:
    """One minus `forgetting`: 1 is nothing lost, and more than 1 a gain; R as in `average_accuracy`."""
    return 1.0 - forgetting(R)


def average_incremental_accuracy(R: FloatArray) -> float:
    """Score on the subjects met so far, mean over the steps, AIA (Rebuffi et al. 2017, arXiv:1611.07725).

    Mean over i = 1..T of the mean of R[i, j] over j = 1..i, so that a step weighs the same early and late; R as in
    `average_accuracy`. The paper scores all that was met so far as one set; here every subject weighs the same.
    """
    return _mean(np.array([_mean(row[:met]) for met, row in enumerate(_after(R), start=1)]))


# --- the subject in turn ---------------------------------------------------------------------------------------------


def learning_accuracy(R: FloatArray) -> float:
    """Score on each subject just after it was learned from, LA (Riemer et al. 2019, arXiv:1810.11910).

    Mean of R[j, j] over j = 1..T; R as in `average_accuracy`. Without NaN, ACC = LA + BWT (T - 1) / T.
    """
    return _mean(_after(R).diagonal())


def adaptation_gain(R: FloatArray) -> float:
    """What learning from a subject did to the score on that subject, the plasticity of Zhou et al. (BrainUICL, 2025).

    Mean of R[j, j] - R[j - 1, j] over j = 2..T; R as in `average_accuracy`. The first subject is left out: their
    learner is trained before the stream, ours knows nothing before the first subject.
    """
    return _mean((_after(R).diagonal() - _before(R))[1:])


def intransigence(R: FloatArray, reference: FloatArray) -> float:
    """How far a learner of all subjects so far at once is ahead (Chaudhry et al. 2018, arXiv:1801.10112).

    Mean of reference[k, k] - R[k, k] over k = 1..T, where the paper reports each k; below 0 the stream is the better
    way to learn.

    Parameters
    ----------
    R : ndarray, shape (T + 1, T)
        As in `average_accuracy`.
    reference : ndarray, shape (T + 1, T)
        The same of a learner that after k subjects was trained on the windows of all k together.

    Raises
    ------
    ValueError
        Another shape, or two.
    """
    return _learned_over(reference, R)


def plasticity(R: FloatArray, alone: FloatArray) -> float:
    """What a stream adds to, or takes from, the score that a subject reaches on its own.

    Mean of R[j, j] - alone[j, j] over j = 1..T: the transfer of Veniat et al. (2021, arXiv:2012.12631) of every
    subject instead of the last one only. The first difference is 0 where both learners start alike.

    Parameters
    ----------
    R : ndarray, shape (T + 1, T)
        As in `average_accuracy`.
    alone : ndarray, shape (T + 1, T)
        The same of a learner that starts anew with each subject, so that row j knows subject j only.

    Raises
    ------
    ValueError
        Another shape, or two.
    """
    return _learned_over(R, alone)


# --- subjects not yet met --------------------------------------------------------------------------------------------


def next_subject(R: FloatArray) -> float:
    """Score on the next subject of the stream, nothing of whom was learned from: forward transfer without a baseline.

    Mean of R[j - 1, j] over j = 2..T; R as in `average_accuracy`.
    """
    return _mean(_before(R)[1:])


def forward_transfer(R: FloatArray, baseline: FloatArray) -> float:
    """What earlier subjects give to the next one, FWT (Lopez-Paz & Ranzato 2017, arXiv:1706.08840).

    Mean of R[j - 1, j] - baseline[j] over j = 2..T. Of two learners over the same subjects in the same order the
    baselines cancel: what a method against forgetting gives to, or costs, the next subject (the question of Peire et
    al. 2026, arXiv:2601.07858) is the difference of their `next_subject`.

    Parameters
    ----------
    R : ndarray, shape (T + 1, T)
        As in `average_accuracy`.
    baseline : ndarray, shape (T,)
        Score of untrained networks on each subject of the stream. One network's is chance with a large spread, so the
        mean of several is wanted, the same for all learners that are compared.

    Raises
    ------
    ValueError
        Other shapes.
    """
    before, baseline = _before(R), np.asarray(baseline, dtype=np.float64)
    if baseline.shape != before.shape:
        raise ValueError(f"one baseline for each of {len(before)} subjects expected, found shape {baseline.shape}")
    return _mean((before - baseline)[1:])


def forward_transfer_all(R: FloatArray) -> float:
    """Score on all subjects still to come, mean over steps and subjects (Díaz-Rodríguez et al. 2018, arXiv:1810.13166).

    Mean of R[i, j] over 1 <= i < j <= T; R as in `average_accuracy`. No baseline is taken off.
    """
    after = _after(R)
    return _mean(after[np.triu_indices(len(after), k=1)])


def forward_transfer_over_chance(R: FloatArray, chance: float) -> float:
    """`forward_transfer` over the chance level, which is the expected baseline where the score has one.

    Parameters
    ----------
    R : ndarray, shape (T + 1, T)
        As in `average_accuracy`.
    chance : float
        As by `benchmarks.metrics.table.chance_level`.
    """
    return next_subject(R) - chance


def forward_transfer_over_previous(R: FloatArray, alone: FloatArray) -> float:
    """What the subjects before the previous one add to the score on the next one.

    Mean of R[j - 1, j] - alone[j - 1, j] over j = 2..T: the `forward_transfer` of Lopez-Paz & Ranzato with a learner
    that knows the previous subject only in the place of an untrained one. The first difference is 0 where both
    learners start alike. Parameters as in `plasticity`.
    """
    _check_alike(R, alone)
    return forward_transfer(R, _before(alone))


# --- subjects never met ----------------------------------------------------------------------------------------------


def average_held_out(curve: FloatArray) -> float:
    """Score on held-out subjects at any time of the stream, the AAA of Zhou et al. (BrainUICL, 2025, ICLR).

    Mean over steps 1..T of the mean over subjects. Theirs pools the windows of all subjects, and starts with a learner
    that was trained before the stream: here that is the one of step 1, the first that learned from anybody.

    Parameters
    ----------
    curve : ndarray, shape (T + 1, H)
        Score on each of H held-out subjects before any learning (row 0) and after each step; T and H at least 1.

    Raises
    ------
    ValueError
        Another shape.
    """
    return _mean(np.array([_mean(row) for row in _learned(curve)]))


def final_held_out(curve: FloatArray) -> float:
    """Score on held-out subjects after the last step, mean over subjects; `curve` as in `average_held_out`."""
    return _mean(_learned(curve)[-1])


def forgetting_rate(curve: FloatArray) -> float:
    """How far the score on held-out subjects went from where it began, FR (Zhou et al., BrainUICL, 2025, ICLR).

    |a_1 - a_T| / a_1, with a_i the mean over subjects after step i, of the subjects with both scores; `curve` as in
    `average_held_out`, and step 1 in the place of a learner trained before the stream. Despite its name, a gain counts
    like a loss. It is NaN for a stream of one subject, and where a_1 is not above 0.
    """
    learned = _learned(curve)
    both = ~np.isnan(learned[0] + learned[-1])
    first, last = _mean(learned[0, both]), _mean(learned[-1, both])
    return abs(first - last) / first if len(learned) > 1 and first > 0 else nan


def _mean(values: FloatArray) -> float:
    """Mean of what is defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else nan


def _matrix(R: FloatArray) -> FloatArray:
    matrix = np.asarray(R, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 1 or matrix.shape[0] != matrix.shape[1] + 1:
        raise ValueError(
            f"a matrix of T + 1 steps, the first before any learning, and T subjects expected, found {matrix.shape}"
        )
    return matrix


def _after(R: FloatArray) -> FloatArray:
    """Scores after learning from each subject, shape (T, T)."""
    return _matrix(R)[1:]


def _before(R: FloatArray) -> FloatArray:
    """Score on each subject just before it was learned from, shape (T,)."""
    return _matrix(R).diagonal()


def _check_alike(R: FloatArray, other: FloatArray) -> None:
    if _matrix(R).shape != _matrix(other).shape:
        raise ValueError(f"two matrices of the same stream expected, found {np.shape(R)} and {np.shape(other)}")


def _learned_over(R: FloatArray, other: FloatArray) -> float:
    """By how much a learner is ahead of another on the subject just learned from."""
    _check_alike(R, other)
    return _mean((_after(R) - _after(other)).diagonal())


def _learned(curve: FloatArray) -> FloatArray:
    """Scores on held-out subjects after each step, shape (T, H)."""
    scores = np.asarray(curve, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 1:
        raise ValueError(
            f"a curve of T + 1 steps, the first before any learning, and H subjects expected, found {scores.shape}"
        )
    return scores[1:]
