"""Sentences of the findings on regularisation in streams (F1 to F4), made of numbers and of thresholds stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.report.continual import ALPHA, SPREAD, Spread
from experiments.report.continual_words import TITLES, factor, named, percent, told
from experiments.report.diagnosed import CHANCE_OVERLAP, DIAGNOSTICS, NOISE, RATIOS, RELIABILITY, STEP, Diagnosed
from experiments.report.words import amount, number, plural, were
from experiments.statistics import MIN_SUBJECTS, Summary

RELIABLE = 0.7
"""From which on a measurement of full length is commonly called reliable (Nunnally 1978, Psychometric Theory)."""

OPPOSING = 0.5
"""Share of steps at which gradients that have nothing to do with each other oppose."""

_UNIT = (
    " The unit is the order, and all orders are of the same few people: intervals say what other orders of them would "
    "give, and nothing beyond these people."
)
"""What holds of all measurements."""

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
    plain = [standing(one.mean(label, RELIABILITY), RELIABLE) for one, label in found]
    noisy = [label in one.configurations([_NOISIEST]) for one, label in found]
    changes = [one.difference(label, _NOISIEST, "f1_spearman") for one, label in found]
    noise = [standing(change, 0) for change in changes]
    words: Mapping[Standing, str] = {
        "above": "reliable",
        "below": "not reliable",
        "open": f"either side of {number(RELIABLE)} is possible",
        "unknown": _NO_INTERVAL,
    }
    harms: Mapping[Standing, str] = {
        "below": "noise makes it less reliable",
        "above": "noise makes the halves more alike",
        "open": "no effect of noise is shown",
        "unknown": _NO_INTERVAL,
    }
    details = [
        f"{place_of(one, label, of)}: the halves agree with a rank correlation of "
        f"{told(one.mean(label, 'f1_spearman'))}, which makes a reliability of {told(one.mean(label, RELIABILITY))} "
        f"of the whole ({words[how]})"
        + (f"; with noise of {_LOUDEST} the halves agree with {told(one.mean(label, _NOISIEST))}, " * with_noise)
        + (f"a change of {told(change, signed=True)} ({harms[what]})" * with_noise)
        + f". Their top tenths overlap by {told(one.mean(label, 'f1_overlap'))}, where random ones do by "
        f"{number(CHANCE_OVERLAP)}; the rank correlation with the subject before is "
        f"{told(one.mean(label, 'f1_previous_spearman'))}."
        for (one, label), how, with_noise, change, what in zip(found, plain, noisy, changes, noise, strict=True)
    ]
    louder = _counted([what for what, with_noise in zip(noise, noisy, strict=True) if with_noise], harms)
    return Answer(
        claim="Is importance reliable, and what does noise do to it?",
        verdict=(
            f"Importance is measured twice on each subject, by either half of the windows or, where it comes of the "
            f"way of training as in SI, of the training steps. The penalty uses the importance of all windows, so the "
            f"rank correlation r of the halves is stepped up to their whole, 2r / (1 + r) of each subject before any "
            f"mean (Spearman 1910, Brown 1910). Importance is called reliable where the interval of that lies above "
            f"{number(RELIABLE)} (Nunnally 1978). Of {_cases(found)}: {_counted(plain, words)}. With noise of "
            f"{_LOUDEST} added to the windows, where importance is a function of them, by the halves: {louder}."
        ),
        details=tuple(details),
        limits=(
            "This says how far one half of a subject tells what the other half would, and stepping up takes the halves "
            "for parallel; halves of the training steps share their windows, the squared way that both are divided by, "
            "and the momentum of Adam, so they agree more easily. It does not show that reliable importance protects "
            "what was learned, nor that unreliable importance fails to: of that the scores speak." + _UNIT
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
        f"{place_of(one, label, of)}: on the most important weights the mean cosine of both gradients is "
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
            + _UNIT
        ),
    )


def stiffness_answer(of: Sequence[Diagnosed]) -> Answer:
    """F3: does accumulated importance leave weights less free to move."""
    found = [(one, label) for one in of for label in one.configurations(DIAGNOSTICS["f3"])]
    rigid = [standing(one.change(label, "f3_rigidity"), 0) for one, label in found]
    steps = [standing(one.change(label, STEP), 0) for one, label in found]
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
        f"{place_of(one, label, of)}: importance changes by a factor of {_change(one, label, 'f3_importance')}, "
        f"rigidity changes by {_change(one, label, 'f3_rigidity')} ({words[how]}), and weights move "
        f"{_change(one, label, STEP)} times as far ({longer[what]})."
        for (one, label), how, what in zip(found, rigid, steps, strict=True)
    ]
    plain = [
        f"{place_of(one, reference, of)}, which nothing holds: weights move {_change(one, reference, STEP)} times as "
        f"far ({longer[standing(one.change(reference, STEP), 0)]})."
        for one in of
        if (reference := one.group.reference) in one.configurations([STEP]) and reference is not None
    ]
    return Answer(
        claim="Does importance that piles up leave weights less free?",
        verdict=(
            f"From the second subject to the last. Rigidity, the penalty's share of the curvature, of "
            f"{_cases(found)}: {_counted(rigid, words)}. How far a subject moves the weights: "
            f"{_counted(steps, longer)}. A change is shown where its interval leaves out none (0, or a factor of 1); "
            f"a factor is the geometric mean over orders, and its interval that of the mean logarithm."
        ),
        details=(*details, *plain),
        limits=(
            "Weights that move less may have less to learn: fine-tuning, where it was measured, tells how much of that "
            "comes without any penalty. Whether the rest is too much, learning accuracy and intransigence say." + _UNIT
        ),
    )


def order_answer(of: Sequence[Spread]) -> Answer:
    """F4: does the result depend on the order of subjects."""
    told_of = [one for one in of if one.components.orders > 1 and one.components.seeds > 1]
    known = [one for one in told_of if not one.bound and not math.isnan(one.components.p)]
    matters = [one.components.p < ALPHA for one in known]
    negative = sum(len(one.components.negative) for one in told_of)
    # The rest is a sum of squares.
    estimates = plural(2 * len(told_of), "estimate")
    if not known:
        verdict = (
            f"Not to be told: a test of the orders is made where there are {MIN_SUBJECTS} or more, with two seeds or "
            f"more in each."
        )
    else:
        shares = ", ".join(
            f"{TITLES[key]} ({_span(one.components.shares['order'] for one in known if one.measure == key)})"
            for key in SPREAD
        )
        verdict = (
            f"The order makes a difference where an F test of the orders gives a p below {number(ALPHA)}, each test on "
            f"its own and not corrected: in {sum(matters)} of {_cases(known)}, bounds left out, of which chance alone "
            f"would give {ALPHA * len(known):.1f} if the order never made any. Share of the variance that comes of the "
            f"order: {shares}."
        )
    return Answer(
        claim="Does the result depend on the order of the subjects?",
        verdict=verdict,
        details=(
            f"{negative} of {estimates} of order and seed {were(negative)} negative and shown as 0: differences so "
            f"small come of the rest alone.",
        )
        * bool(negative),
        limits=(
            "A share says nothing of size: of a small variance the order may explain all. The range over orders does, "
            "but it grows with their number. Shares of so few orders and seeds are rough, and cases "
            "share their people and orders, so that they tend to agree."
        ),
    )


_NO_INTERVAL = "no interval (too few orders, or too few values)"
_NOISIEST = f"f1_spearman{list(NOISE)[-1]}"
_LOUDEST = list(NOISE.values())[-1]


def place_of(one: Diagnosed, label: str, of: Sequence[Diagnosed]) -> str:
    """Label of a configuration among those of these groups."""
    return named(label, one.group.place, [each.group.place for each in of])


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
    return factor(found.mean, found.low, found.high)


def _span(values: Iterable[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "not known"
    low, high = percent(min(known)), percent(max(known))
    return low if low == high else f"{low} to {high}"
