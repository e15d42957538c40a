"""What a plan would compute, as a table: its cells, and what choosing open values costs."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.plan import Cell, Plan, cells_of
from experiments.report.words import plural

_TOLD = ("representation", "normalization", "encoder")


def planned_table(plan: Plan) -> Group:
    """Cells by configuration; below, how often a person is learned from to choose values, against the study itself."""
    counts = Counter(cell.configuration.label for cell in plan.cells())
    choosing = {
        label: sum(len(group.cells) for groups in of.values() for group in groups)
        for label, of in plan.choosing().items()
    }
    table = Table(
        title=f"{plan.study.study}: {plan.dataset.card.name}, {plan.task_name}, {len(plan.subjects)} subjects"
    )
    for column in ("configuration", *_TOLD, "strategy"):
        table.add_column(column, overflow="fold")
    table.add_column("cells", justify="right")
    if choosing:
        table.add_column("to choose", justify="right")
    for one in plan.configurations:
        told = [one.choices[name].text for name in _TOLD]
        extra = [str(choosing.get(one.label, ""))] if choosing else []
        table.add_row(one.label, *told, one.variant, str(counts[one.label]), *extra)
    table.add_section()
    extra = [str(sum(choosing.values()))] if choosing else []
    table.add_row("all", "", "", "", "", str(counts.total()), *extra)
    parts: list[RenderableType] = [table]
    if choosing:
        parts += [Text(_cost(plan))]
    return Group(*parts)


def _cost(plan: Plan) -> str:
    """How much more learning the choice asks for: a person of a stream is learned from once."""
    cells = list(cells_of(group for of in plan.choosing().values() for groups in of.values() for group in groups))
    chosen = sum(len(cell.fold.learners) for cell in cells)
    streams = [cell for cell in plan.cells() if _meets_people(cell)]
    itself = sum(len(cell.fold.learners) for cell in streams)
    return (
        f"Choosing values: {plural(len(cells), 'stream')} of {len(cells[0].fold.learners)} people who are set aside, "
        f"{chosen:,} times that a person is learned from; the study's own streams have {itself:,} "
        f"({chosen / itself:.0%} on top)."
    )


def _meets_people(cell: Cell) -> bool:
    strategy = cell.configuration.strategy
    return strategy.sequential and strategy.order_matters
