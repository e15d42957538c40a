"""Times of sides in alternation, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.performance.process import Facts, SideError

_ALIKE = 0.05
"""Share by which the final losses of two sides may differ: each has its own order of windows."""


@dataclass
class Series:
    """What a side told in each repeat.

    Parameters
    ----------
    facts : list of dict
        A repeat each.
    failed : str or None
        Why the side could not do its work; there are no facts then.
    """

    facts: list[Facts] = field(default_factory=list)
    failed: str | None = None

    def of(self, name: str = "seconds") -> tuple[float, ...]:
        """One fact of all repeats."""
        return tuple(facts[name] for facts in self.facts)

    def medians(self, *names: str) -> Facts:
        """Median over the repeats of each of these facts; nothing where the side failed."""
        return {name: median(self.of(name)) for name in names} if self.facts else {}

    def mapped(self, told: Callable[[Facts], Facts]) -> Series:
        """The same repeats, each with what is made of its facts."""
        return Series([told(facts) for facts in self.facts], self.failed)


def alternate(sides: Mapping[str, Callable[[], Facts]], repeats: int) -> dict[str, Series]:
    """What each side told: A B C A B C ..., so that what else the machine does hits all alike.

    A side that cannot do its work is left out from then on.
    """
    series = {name: Series() for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            if series[name].failed is None:
                try:
                    series[name].facts.append(side())
                except SideError as error:
                    series[name] = Series(failed=str(error))
    return series


@dataclass(frozen=True)
class Target:
    """What a comparison has to show.

    Parameters
    ----------
    limit : float
        At most so many times the peer's time; with `faster`, at least so many times as fast.
    faster : bool
        Which of the two is meant.
    """

    limit: float
    faster: bool = False

    def met(self, ratio: float) -> bool:
        """Whether our time over the peer's is good enough."""
        return 1 / ratio >= self.limit if self.faster else ratio <= self.limit

    def __str__(self) -> str:
        return f">= {self.limit:g} x faster" if self.faster else f"<= {self.limit:g} x"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Parameters
    ----------
    entry : str
        Which benchmark it belongs to.
    work : str
        What was done.
    ours, peer : str
        Who has done it.
    ours_all, peer_all : tuple of float
        What was measured in each repeat; the repeats of both belong together.
    target : Target or None
        None where the ratio is only reported.
    facts : mapping of str to float
        What else was measured.
    failed : str or None
        Why nothing was measured.
    unit : str
        Of what was measured.
    """

    entry: str
    work: str
    ours: str
    peer: str
    ours_all: tuple[float, ...]
    peer_all: tuple[float, ...]
    target: Target | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    failed: str | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Median over the repeats of our time over the peer's."""
        return paired_ratio(self.ours_all, self.peer_all)

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None where there is none."""
        if self.target is None:
            return None
        return self.failed is None and self.target.met(self.ratio)


def paired_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median over the repeats of our time over the peer's.

    Raises
    ------
    ValueError
        No repeat, or not as many of both.
    """
    if not ours:
        raise ValueError("no repeat was measured")
    return median(a / b for a, b in zip(ours, peer, strict=True))


def share(name: str, part: Series, whole: Series) -> Facts:
    """Median share of the time of `whole` that `part` takes, by name; nothing where one of them failed."""
    if part.failed or whole.failed:
        return {}
    return {name: paired_ratio(part.of(), whole.of())}


def compared(
    entry: str,
    work: str,
    ours: tuple[str, Series],
    peer: tuple[str, Series],
    target: Target | None = None,
    facts: Mapping[str, float] | None = None,
    of: str = "seconds",
    unit: str = "s",
) -> Row:
    """Row of two series that were measured in alternation.

    The losses that both have reached stand in its facts. Where they differ, the times say nothing, so the row failed.
    """
    losses = {
        name: series.of("loss")[-1]
        for name, (_, series) in {"loss_ours": ours, "loss_peer": peer}.items()
        if series.facts and "loss" in series.facts[-1]
    }
    failed = ours[1].failed or peer[1].failed or _other_work(*losses.values())
    if failed is not None:
        return Row(entry, work, ours[0], peer[0], (), (), target, failed=failed, unit=unit)
    told = {**losses, **_of_processor(ours[1], peer[1]), **(facts or {})}
    return Row(entry, work, ours[0], peer[0], ours[1].of(of), peer[1].of(of), target, told, unit=unit)


def _other_work(*losses: float) -> str | None:
    """What to say where the losses of the two sides are not alike."""
    if not losses or max(losses) <= (1 + _ALIKE) * min(losses):
        return None
    return f"they have not done the same work: the loss is {losses[0]:.4g}, and the peer's {losses[-1]:.4g}"


def _of_processor(ours: Series, peer: Series) -> Facts:
    """The ratio in processor time, where both tell it: other work on the machine hardly touches it."""
    name = "processor_seconds"
    if not all(name in series.facts[-1] for series in (ours, peer)):
        return {}
    return {"ratio_of_processor_time": paired_ratio(ours.of(name), peer.of(name))}
