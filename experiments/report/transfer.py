"""What the page says of differences to fine-tuning (F5), and what so few orders could have shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from experiments.report.answers import Answer, place_of
from experiments.report.continual import (
    ALPHA,
    CHOSEN,
    COMPARED,
    EQUIVALENT,
    GIVEN,
    INCONCLUSIVE,
    WITHIN,
    Comparison,
)
from experiments.report.continual_words import TITLES, chance_of
from experiments.report.diagnosed import Diagnosed
from experiments.report.words import number, plural
from experiments.statistics import MIN_SUBJECTS, minimum_p, signed_rank

_FAMILIES = {
    CHOSEN: "Regularisers whose value was chosen beforehand",
    GIVEN: "Regularisers with a value given by the study",
}
"""Families that the question is asked of, in words."""

IDLE = 0.015
"""Length of the penalty's gradient, as a share of that of the loss's, from which on it is more than about 1 %."""


def transfer_answer(of: Sequence[Comparison], margin: float, people: str, measured: Sequence[Diagnosed]) -> Answer:
    """F5: do regularisers carry more over to the next subject than fine-tuning does.

    Parameters
    ----------
    of : sequence of Comparison
        All of the page.
    margin : float
        Difference of scores that is as good as none.
    people : str
        How many there are, learners and held-out ones, in words.
    measured : sequence of Diagnosed
        Tells which of the penalties pull at all.
    """
    families = {name: mine for name in _FAMILIES if (mine := [one for one in of if one.family == name])}
    verdict = (
        f"Against fine-tuning of the same kind and in the same runs. Better or worse: the Wilcoxon signed-rank test "
        f"over orders gives a p below {number(ALPHA)} after Holm's correction over the comparisons of a family in the "
        f"same score, and the sum of its ranks the direction. Equivalent: two one-sided tests show that the difference "
        f"is below {number(margin)} either way. "
        + " ".join(f"{_FAMILIES[name]}, {_made(mine)}: {_verdicts(mine)}" for name, mine in families.items())
        + _idle([one for mine in families.values() for one in mine], measured)
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
            "many does not. The difference in the next subject's score is that in forward transfer. The unit is the "
            f"order, and all orders are of the same few people ({people}): what holds over orders of them, with the "
            "same people held out, is not shown of any others."
        ),
    )


def _idle(of: Sequence[Comparison], measured: Sequence[Diagnosed]) -> str:
    """Which regularisers' penalties pull next to nothing beside the loss, so that they could only be equivalent."""
    compared = {(one.place, one.configuration) for one in of}
    shares = {
        place_of(one, label, measured): one.share(label, "f2_penalty_norm", "f2_task_norm")
        for one in measured
        for label in one.configurations(["f2_penalty_norm"])
        if (one.group.place, label) in compared
    }
    idle = [f"{place} ({100 * share:.1f} %)" for place, share in shares.items() if share < IDLE]
    if not idle:
        return ""
    return (
        f" The penalty hardly pulled in {', '.join(idle)}: in brackets the mean length of its gradient, of that "
        f"of the loss's; below {100 * IDLE:g} % it is told here. Equivalent says there only that the penalty did next "
        f"to nothing, and not that holding weights does nothing."
    )


def _made(of: Sequence[Comparison]) -> str:
    made, tested = _per_measure(of, 1), _per_measure(of, MIN_SUBJECTS)
    told = f"{plural(made, 'comparison')} a score"
    return told if tested in (0, made) else f"{told}, {tested} of them tested, the others over too few orders"


def _per_measure(of: Sequence[Comparison], orders: int) -> int:
    """How many comparisons over so many orders or more there are at most of a measure."""
    return max(Counter(one.measure for one in of if one.paired.n >= orders).values(), default=0)


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
    tested = [one for one in of if one.paired.n >= MIN_SUBJECTS]
    for few in sorted({one.paired.n for one in of} - {one.paired.n for one in tested}):
        yield f"{name}: over {plural(few, 'order')} nothing is tested, that takes {MIN_SUBJECTS}."
    if not tested:
        return
    made, sizes = _per_measure(tested, 1), sorted({one.paired.n for one in tested})
    least = min(1.0, made * minimum_p(sizes[-1]))
    if least >= ALPHA:
        yield (
            f"{name}: no difference can be shown, since the smallest p that {plural(sizes[-1], 'order')} and "
            f"{plural(made, 'comparison')} can give is {chance_of(least)}."
        )
    else:
        yield from (f"{name}: {_room(orders, made)}" for orders in sizes)


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
