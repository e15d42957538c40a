"""Values that a study leaves open, as in ``strength: {choose: [1, 10]}``: chosen on people whom it never scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.errors import StudyError
from benchmarks.metrics.table import LOWER_IS_BETTER
from experiments.study import CHOOSE, Choice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a configuration.

    Parameters
    ----------
    configuration : str
        Its label.
    value : str or None
        What was chosen, as ``strength=10``; None where no candidate could be learned.
    scores : mapping of str to float
        Score of every candidate, by what would have been chosen; NaN where it could not be learned in every order.
    causes : mapping of str to str
        Why not, by candidate.
    """

    configuration: str
    value: str | None
    scores: Mapping[str, float]
    causes: Mapping[str, str]

    @property
    def told(self) -> str:
        """What was chosen, or why nothing was, and which candidates could not be learned."""
        failed = "; ".join(f"{value}: {cause}" for value, cause in self.causes.items())
        if self.value is None:
            return f"{self.configuration} is left out: no candidate could be learned ({failed})"
        return f"{self.configuration}: {self.value}" + (f" (could not be learned: {failed})" if failed else "")


def candidates(choice: Choice, where: str) -> dict[str, Choice]:
    """All ways to fill the open values of a part, by what is chosen in each; none where nothing is open.

    Raises
    ------
    StudyError
        There is nothing to choose from, or the same twice.
    """
    open_values = {key: value[CHOOSE] for key, value in choice.values.items() if is_open(value)}
    for key, values in open_values.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise StudyError(f"{where}.{key}.{CHOOSE}: expected a list of values to choose from, found {values!r}.")
        if len(values) == 1:
            raise StudyError(f"{where}.{key}.{CHOOSE}: there is one value, so nothing to choose: {key}: {values[0]}.")
        repeated = [value for place, value in enumerate(values) if value in values[:place]]
        if repeated:
            raise StudyError(f"{where}.{key}.{CHOOSE}: {repeated[0]!r} stands twice.")
    if not open_values:
        return {}
    filled = [dict(zip(open_values, values, strict=True)) for values in itertools.product(*open_values.values())]
    return {
        ", ".join(f"{key}={value}" for key, value in one.items()): choice.model_copy(
            update={"values": {**choice.values, **one}}
        )
        for one in filled
    }


def is_open(value: Any) -> bool:
    """Whether a value of a study is left to be chosen."""
    return isinstance(value, Mapping) and set(value) == {CHOOSE}


def hint(values: Mapping[str, Any], refused: str, may_choose: bool) -> str:
    """How several values of a strategy are asked for, where one that was refused looks as if they were meant.

    Parameters
    ----------
    values : mapping
        Of the strategy, as the study has them.
    refused : str
        Name of the value that was refused.
    may_choose : bool
        Whether values of it can be left open.

    Returns
    -------
    str
        A sentence; empty where nothing of the kind was meant, or can be.
    """
    value = values.get(refused)
    if isinstance(value, Mapping):
        offered = next(iter(value.values()), None) if len(value) == 1 else None
        told = offered if isinstance(offered, list) else "[...]"
        return f"Values to choose from are written {refused}: {{{CHOOSE}: {told}}}." if may_choose else ""
    if isinstance(value, list):
        each = "To compare several, give strategy as a list, with an entry for each."
        left_open = f" To have one of them chosen, write {refused}: {{{CHOOSE}: {value}}}."
        return each + left_open * may_choose
    missing = refused not in values and may_choose
    return f"To have one of several chosen, write {refused}: {{{CHOOSE}: [...]}}." if missing else ""


def choose(
    configuration: str,
    cells: Mapping[str, Sequence[str]],
    rows: pd.DataFrame,
    causes: Mapping[str, str],
    metric: str,
) -> Chosen:
    """The candidate that does best on people whom its streams have not met yet.

    Its score is the mean, over the steps after the first subject and the people still to come, of the study's metric
    of windows; then over the orders. Of equals, the first is taken.

    Parameters
    ----------
    configuration : str
        Label of what is chosen for.
    cells : mapping of str to sequence of str
        Digests of the cells of each candidate.
    rows : DataFrame
        Rows of these cells at every step, see `experiments.results.Results.tracked`.
    causes : mapping of str to str
        Why cells failed, by digest.
    metric : str
        The study's.
    """
    unmet = rows[(rows["target"] == "unseen") & (rows["step"] > 0) & (rows["level"] == "window")]
    means = unmet.groupby("digest", observed=True)["value"].mean()
    scores = {value: float(means.reindex(list(digests)).mean(skipna=False)) for value, digests in cells.items()}
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    learned = {value: sign * score for value, score in scores.items() if not math.isnan(score)}
    failed = {
        value: next((causes[one] for one in cells[value] if one in causes), "its score is not defined")
        for value in scores
        if value not in learned
    }
    best = max(learned, key=lambda value: learned[value]) if learned else None
    return Chosen(configuration, best, scores, failed)
