"""All that a study says, as tables one below the other, from its results file alone."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.report.clients import read_clients, render_clients
from experiments.report.federation import read_costs, render_costs
from experiments.report.table import render, summarise
from experiments.report.words import plural
from experiments.results import Results


def page(results: Results) -> Group:
    """The study's table; below it what its federations cost, and its seen people, where there are such.

    Parameters
    ----------
    results : Results
        Open for reading.

    Raises
    ------
    ResultsError
        The results cannot be read, or the study was never run.
    """
    header, digests = results.header(), results.planned()
    cells = results.cells(digests)
    lines = summarise(header, cells, results.judged(digests, header, final=True))
    parts: list[RenderableType] = [render(header, lines)]
    if missing := len(digests) - len(cells):
        all_of_them = plural(len(digests), "cell")
        unfinished = f"Not finished: {missing} of {all_of_them} are not computed yet, and scores are of the rest."
        parts = [Text(unfinished, style="bold"), "", *parts]
    if told := read_costs(results, header, digests):
        parts += ["", render_costs(header, told)]
    if people := read_clients(results, header, digests):
        parts += ["", render_clients(header, people)]
    return Group(*parts)
