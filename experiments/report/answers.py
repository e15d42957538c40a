"""Sentences of the five findings on regularisation in streams (F1 to F5), made of numbers and of thresholds stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import numpy as np

from experiments.report.continual import (
    ALPHA,
    CHOSEN,
    COMPARED,
    EQUIVALENT,
    GIVEN,
    INCONCLUSIVE,
    SPREAD,
    WITHIN,
    Comparison,
    Spread,
)
from experiments.report.continual_words import TITLES, chance_of, percent, told
from experiments.report.diagnosed import CHANCE_OVERLAP, DIAGNOSTICS, NOISE, RATIOS, STEP, Diagnosed
from experiments.report.words import amount, number, plural
from experiments.statistics import MIN_SUBJECTS, Summary, minimum_p, signed_rank

RELIABLE = 0.7
"""Correlation from which on a measurement is commonly called reliable (Nunnally 1978, Psychometric Theory)."""

OPPOSING = 0.5
"""Share of steps at which gradients that have nothing to do with each other oppose."""

Standing = Literal["above", "below", "open", "unknown"]


@dataclass(frozen=True)
class Answer:
    """What a page says of a finding.

    Parameters
    ----------
    claim : str
        The finding, as a question.
    verdict : str
        In how many cases it holds, and what "holds" means.
    details : tuple of str
        Each case with its numbers.
    limits : str
        What the numbers do not show.
    """

    claim: str
    verdict: str
    details: tuple[str, ...]
    limits: str


def standing(found: Summary, line: float) -> Standing:
    """Whether the interval of a mean lies above a line, below it, or holds it; unknown without an interval."""
    if found.low > line:
        return "above"
    if found.high < line:
        return "below"
    return "open" if found.low <= line <= found.high else "unknown"


def reliability_answer(of: Sequence[Diagnosed]) -> Answer:
    """F1: is importance reliable, and does noise make it less so."""
    found = [(one, label) for one in of for label in one.configurations(["f1_spearman"])]
    plain = [standing(one.mean(label, "f1_spearman"), RELIABLE) for one, label in found]
    noisy = [label in one.configurations([_NOISIEST]) for one, label in found]
    drops = [one.difference(label, "f1_spearman", _NOISIEST) for one, label in found]
    noise = [standing(drop, 0) for drop in drops]
    words: Mapping[Standing, str] = {
        "above": "reliable",
        "below": "not reliable",
        "open": f"either side of {number(RELIABLE)} is possible",
        "unknown": _NO_INTERVAL,
    }
    harms: Mapping[Standing, str] = {
        "above": "noise makes it less reliable",
        "below": "noise makes it more alike",
        "open": "no effect of noise is shown",
        "unknown": _NO_INTERVAL,
    }
    details = [
        f"{_place(one, label, of)}: the halves agree with a rank correlation of {told(one.mean(label, 'f1_spearman'))} "
        f"({words[how]})"
        + (f"; with noise of {_LOUDEST} it is {told(one.mean(label, _NOISIEST))}, " * with_noise)
        + (f"{told(drop)} less ({harms[what]})" * with_noise)
        + f". Their top tenths overlap by {told(one.mean(label, 'f1_overlap'))}, where random ones do by "
        f"{number(CHANCE_OVERLAP)}; the rank correlation with the subject before is "
        f"{told(one.mean(label, 'f1_previous_spearman'))}."
        for (one, label), how, with_noise, drop, what in zip(found, plain, noisy, drops, noise, strict=True)
    ]
    louder = _counted([what for what, with_noise in zip(noise, noisy, strict=True) if with_noise], harms)
    return Answer(
        claim="Is importance reliable, and what does noise do to it?",
        verdict=(
            f"Importance is measured twice on each subject, by either half of the windows or, where it comes of the "
            f"way of training as in SI, of the training steps. It is called reliable where the interval of the rank "
            f"correlation of both lies above {number(RELIABLE)}. Of {_cases(found)}: {_counted(plain, words)}. With "
            f"noise of {_LOUDEST} added to the windows, where importance is a function of them: {louder}."
        ),
        details=tuple(details),
        limits=(
            "This says how far one half of a subject tells what the other half would; halves of the training steps "
            "share their windows, the squared way that both are divided by, and the momentum of Adam, so they agree "
            "more easily. It does not show that reliable importance protects what "
            "was learned, nor that unreliable importance fails to: of that the scores speak."
        ),
    )


def interference_answer(of: Sequence[Diagnosed]) -> Answer:
    """F2: does the penalty work against what a new subject asks for."""
    found = [(one, label) for one in of for label in one.configurations(["f2_cosine", "f2_opposing"])]
    cosines = [standing(one.mean(label, "f2_cosine"), 0) for one, label in found]
    opposing = [standing(one.mean(label, "f2_opposing"), OPPOSING) for one, label in found]
    words: Mapping[Standing, str] = {
        "below": "against the new subject",
        "above": "with the new subject",
        "open": "neither shown",
        "unknown": _NO_INTERVAL,
    }
    often: Mapping[Standing, str] = {
        "above": "more than half",
        "below": "less than half",
        "open": "neither shown",
        "unknown": _NO_INTERVAL,
    }
    details = [
        f"{_place(one, label, of)}: on the most important weights the mean cosine of both gradients is "
        f"{told(one.mean(label, 'f2_cosine'), signed=True)} ({words[how]}), and they oppose in a share of "
        f"{told(one.mean(label, 'f2_opposing'))} of the steps ({often[what]}); on all weights the cosine is "
        f"{told(one.mean(label, 'f2_cosine_all'), signed=True)}. Lengths: loss "
        f"{amount(one.mean(label, 'f2_task_norm').mean)}, penalty {amount(one.mean(label, 'f2_penalty_norm').mean)}."
        for (one, label), how, what in zip(found, cosines, opposing, strict=True)
    ]
    return Answer(
        claim="Does the penalty interfere with what a new subject asks for?",
        verdict=(
            f"The penalty pulls against the new subject where the interval of the mean cosine, of its gradient and the "
            f"loss's, lies below 0. Of {_cases(found)}: {_counted(cosines, words)}. Share of steps at which they "
            f"oppose, of those at which neither is zero on these weights, against {number(OPPOSING)}: "
            f"{_counted(opposing, often)}."
        ),
        details=tuple(details),
        limits=(
            "Every penalty that does anything opposes the loss at times: that is its purpose. Opposing gradients show "
            "a conflict, not that the new subject is learned worse; learning accuracy and plasticity in the tables do."
        ),
    )


def stiffness_answer(of: Sequence[Diagnosed]) -> Answer:
    """F3: does accumulated importance leave weights less free to move."""
    found = [(one, label) for one in of for label in one.configurations(DIAGNOSTICS["f3"])]
    rigid = [standing(one.change(label, "f3_rigidity"), 0) for one, label in found]
    steps = [standing(one.change(label, STEP), 1) for one, label in found]
    words: Mapping[Standing, str] = {
        "above": "grows",
        "below": "falls",
        "open": "no change shown",
        "unknown": _NO_INTERVAL,
    }
    longer: Mapping[Standing, str] = {
        "above": "longer",
        "below": "shorter",
        "open": "no change shown",
        "unknown": _NO_INTERVAL,
    }
    details = [
        f"{_place(one, label, of)}: importance changes by a factor of {_change(one, label, 'f3_importance')}, rigidity "
        f"changes by {_change(one, label, 'f3_rigidity')} ({words[how]}), and weights move "
        f"{_change(one, label, STEP)} times as far ({longer[what]})."
        for (one, label), how, what in zip(found, rigid, steps, strict=True)
    ]
    plain = [
        f"{_place(one, reference, of)}, which nothing holds: weights move {_change(one, reference, STEP)} times as far."
        for one in of
        if (reference := one.group.reference) in one.configurations([STEP]) and reference is not None
    ]
    return Answer(
        claim="Does importance that piles up leave weights less free?",
        verdict=(
            f"From the second subject to the last. Rigidity, the penalty's share of the curvature, of "
            f"{_cases(found)}: {_counted(rigid, words)}. How far a subject moves the weights: "
            f"{_counted(steps, longer)}. A change is shown where its interval leaves out none (0, or a factor of 1)."
        ),
        details=(*details, *plain),
        limits=(
            "Weights that move less may have less to learn: fine-tuning, where it was measured, tells how much of that "
            "comes without any penalty. Whether the rest is too much, learning accuracy and intransigence say."
        ),
    )


def order_answer(of: Sequence[Spread]) -> Answer:
    """F4: does the result depend on the order of subjects."""
    known = [one for one in of if not math.isnan(one.components.p)]
    matters = [one.components.p < ALPHA for one in known]
    negative = sum(len(one.components.negative) for one in known)
    if not known:
        verdict = (
            "Not to be told: the variance is taken apart where there are two orders or more, with two seeds or more in "
            "each."
        )
    else:
        shares = ", ".join(
            f"{TITLES[key]} ({_span(one.components.shares['order'] for one in known if one.measure == key)})"
            for key in SPREAD
        )
        verdict = (
            f"The order makes a difference where an F test of the orders gives a p below {number(ALPHA)}, each test on "
            f"its own: in {sum(matters)} of {_cases(known)}. Share of the variance that comes of the order: {shares}."
        )
    return Answer(
        claim="Does the result depend on the order of the subjects?",
        verdict=verdict,
        details=(
            f"{negative} of {plural(3 * len(known), 'estimate')} were negative and are shown as 0: differences so "
            f"small come of the rest alone.",
        )
        * bool(negative),
        limits=(
            "A share says nothing of size: of a small variance the order may explain all. The range over orders does, "
            "but it grows with their number. Shares of so few orders and seeds are rough."
        ),
    )


def transfer_answer(of: Sequence[Comparison], margin: float) -> Answer:
    """F5: do regularisers carry more over to the next subject than fine-tuning does."""
    families = {name: mine for name in _FAMILIES if (mine := [one for one in of if one.family == name])}
    verdict = (
        f"Against fine-tuning of the same kind and in the same runs. Better or worse: the Wilcoxon signed-rank test "
        f"over orders gives a p below {number(ALPHA)} after Holm's correction over the comparisons of a family in the "
        f"same score, and the sum of its ranks the direction. Equivalent: two one-sided tests show that the difference "
        f"is below {number(margin)} either way. "
        + " ".join(f"{_FAMILIES[name]}, {_made(mine)} a score: {_verdicts(mine)}" for name, mine in families.items())
    )
    return Answer(
        claim="Do regularisers carry more over to the next subject than plain fine-tuning?",
        verdict=verdict
        if families
        else "Nothing to compare: there is no regulariser beside a fine-tuning of its kind.",
        details=tuple(line for name, mine in families.items() for line in _reach(_FAMILIES[name], mine)),
        limits=(
            "An inconclusive comparison shows neither a difference nor that there is none: it asks for more orders. "
            "Equivalence is of the mean over people, and says nothing of single ones; p of equivalence are not "
            "corrected, so a claim that all are equivalent holds as it stands, and one of a single method picked from "
            "many does not. The difference in the next subject's score is that in forward transfer."
        ),
    )


_FAMILIES = {
    CHOSEN: "Regularisers whose value was chosen beforehand",
    GIVEN: "Regularisers with a value given by the study",
}
"""Families that the question is asked of, in words."""

_NO_INTERVAL = "without an interval"
_NOISIEST = f"f1_spearman{list(NOISE)[-1]}"
_LOUDEST = list(NOISE.values())[-1]


def _place(one: Diagnosed, label: str, of: Sequence[Diagnosed]) -> str:
    return label if len(of) == 1 else f"{label} ({one.group.place})"


def _cases(found: Sequence[object]) -> str:
    return plural(len(found), "case")


def _counted(standings: Iterable[Standing], words: Mapping[Standing, str]) -> str:
    """How often each outcome came, in the order of the words."""
    counts = Counter(standings)
    return ", ".join(f"{word} in {counts[one]}" for one, word in words.items() if counts[one]) or "none"


def _change(one: Diagnosed, label: str, name: str) -> str:
    found = one.change(label, name)
    if name not in RATIOS:
        return told(found, signed=True)
    if math.isnan(found.low):
        return amount(found.mean)
    return f"{amount(found.mean)} [{amount(found.low)}, {amount(found.high)}]"


def _span(values: Iterable[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "not known"
    low, high = percent(min(known)), percent(max(known))
    return low if low == high else f"{low} to {high}"


def _made(of: Sequence[Comparison]) -> str:
    return plural(_per_measure(of), "comparison")


def _per_measure(of: Sequence[Comparison]) -> int:
    """How many comparisons of a measure are corrected for at most: those that could be made."""
    return max(Counter(one.measure for one in of if one.paired.n).values(), default=0)


def _verdicts(of: Sequence[Comparison]) -> str:
    counts = {key: Counter(one.verdict for one in of if one.measure == key) for key in COMPARED}
    order = ("better", f"better, {WITHIN}", EQUIVALENT, f"worse, {WITHIN}", "worse", INCONCLUSIVE)
    return " ".join(
        f"{TITLES[key].capitalize() if TITLES[key].islower() else TITLES[key]}: "
        + ", ".join(f"{found[verdict]} {verdict}" for verdict in order if found[verdict])
        + "."
        for key, found in counts.items()
        if found
    )


def _reach(name: str, of: Sequence[Comparison]) -> Iterator[str]:
    """What so few orders could not have shown, whatever the scores, and how far they have to agree to show it."""
    made, sizes = _per_measure(of), sorted({one.paired.n for one in of})
    least = min(1.0, made * minimum_p(sizes[-1]))
    if least >= ALPHA:
        yield (
            f"{name}: no difference can be shown, since the smallest p that {plural(sizes[-1], 'order')} and "
            f"{plural(made, 'comparison')} can give is {chance_of(least)}."
        )
    else:
        yield from (f"{name}: {_room(orders, made)}" for orders in sizes)
    if sizes[0] < MIN_SUBJECTS:
        yield f"{name}: with {plural(sizes[0], 'order')} no equivalence can be shown, that takes {MIN_SUBJECTS}."


def _room(orders: int, made: int) -> str:
    """How many of the orders may disagree with the others for a verdict."""
    if minimum_p(orders) >= ALPHA:
        return (
            f"no difference over {plural(orders, 'order')} can be shown, since the smallest p, before correction, is "
            f"{chance_of(minimum_p(orders))}."
        )
    most = disagreeing(orders, made)
    if most is None:
        return (
            f"over {plural(orders, 'order')} a difference can be shown only after others of the "
            f"{plural(made, 'comparison')}, for which there is less to correct then."
        )
    if most == 0:
        told = f"all {orders} orders have to agree"
    else:
        told = f"at most {most} of {orders} orders may disagree, and only with the smallest differences"
    if made == 1:
        return f"for a difference to be shown, {told}."
    return (
        f"for a difference to be shown before any other of the {plural(made, 'comparison')}, {told}; after others, "
        f"there is less to correct."
    )


def disagreeing(orders: int, made: int) -> int | None:
    """How many orders at most may disagree with the others for a p below `ALPHA`, corrected for so many comparisons.

    They disagree least where their differences are the smallest, and none is a tie: the sum of k such ranks is
    k (k + 1) / 2.

    Parameters
    ----------
    orders : int
        Pairs of the signed-rank test, at least 1.
    made : int
        Comparisons, at least 1: Holm's first factor.

    Returns
    -------
    int or None
        None where agreement of all is not enough.
    """
    sizes = np.arange(1.0, orders + 1)
    p = (2 * made * signed_rank(np.where(sizes <= against, -sizes, sizes)).greater for against in range(orders + 1))
    shown = sum(1 for _ in takewhile(lambda one: one < ALPHA, p))
    return shown - 1 if shown else None
