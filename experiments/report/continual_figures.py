"""Figures of streams: the matrix R, and one for each finding. Numbers in, figures out."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.windows import FloatArray
from experiments.report.continual import CHOSEN, GIVEN, OTHER, Comparison, Spread
from experiments.report.continual_words import named, percent
from experiments.report.diagnosed import CHANCE_OVERLAP, DIAGNOSTICS, NOISE, STEP, Diagnosed
from experiments.report.words import number
from experiments.statistics import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Told apart with any colour vision (Okabe & Ito 2008), and by shape without any."""

_GREY, _BAND = "#555555", "#e6e6e6"
_WIDTH = 10.0
"""Inches."""

_MATRICES_A_ROW = 4
_NUMBERS_UP_TO = 8
"""Subjects up to which the cells of a matrix have room for their numbers."""

_Points = Mapping[int, Summary] | Mapping[float, Summary]
"""Means with their intervals, by where they stand."""

_SHARES = {"order": "#0072b2", "seed": "#e69f00", "rest": "#bbbbbb"}
_FAMILIES = {CHOSEN: ("#0072b2", "o"), GIVEN: ("#009e73", "s"), OTHER: ("#cc79a7", "D")}
"""Colour and shape of each family of comparisons."""


def as_png(figure: Figure) -> bytes:
    """Image of a figure; the same bytes for the same values and the same version of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return content.getvalue()


def matrices(of: Mapping[str, FloatArray], score: str, chance: float | None) -> Figure:
    """R of several configurations on one scale, by position in the stream.

    Parameters
    ----------
    of : mapping of str to ndarray, shape (T + 1, T)
        R by the label of its configuration, at least one.
    score : str
        What the numbers are.
    chance : float or None
        Chance level, marked on the scale; None where there is no such.
    """
    from matplotlib.figure import Figure

    columns = min(_MATRICES_A_ROW, len(of))
    rows = -(-len(of) // columns)
    side = _WIDTH / _MATRICES_A_ROW
    # Without panels enough for a row, they are as large as with them.
    figure = Figure(figsize=(max(columns * side + 1.2, 5.0), rows * (side + 0.35) + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    marked = [] if chance is None else [chance]
    known = np.concatenate([*(R[~np.isnan(R)] for R in of.values()), marked])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    for axes, (label, R) in zip(panels.flat, of.items(), strict=False):
        shown = axes.imshow(R, cmap="cividis", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        _tell_matrix(axes, R, label, low + 0.45 * (high - low))
    for axes in panels.flat[len(of) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("subjects learned from")
    for axes in panels.flat[max(0, len(of) - columns) : len(of)]:
        axes.set_xlabel("position of the scored subject")
    bar = figure.colorbar(shown, ax=list(panels.flat[: len(of)]), fraction=0.03, pad=0.02)
    bar.set_label(score)
    if chance is not None:
        bar.ax.axhline(chance, color=_COLOURS[1], linewidth=2.5)
        bar.set_label(f"{score}; line: chance {number(chance)}")
    _take_as_written(figure)
    return figure


def reliability(of: Sequence[Diagnosed]) -> Figure:
    """F1: agreement of importance by the halves of a subject, with noise, and by subjects that follow each other."""
    figure, panels = _grid(len(of), 3)
    places = _places(of, DIAGNOSTICS["f1"])
    noisy = {
        "f1_spearman": "rank correlation\nof the halves",
        "f1_overlap": "overlap of the halves'\ntop tenths (Jaccard)",
    }
    for (first, second, third), one in zip(panels, of, strict=True):
        for axes, (name, told) in zip((first, second), noisy.items(), strict=True):
            for label in one.configurations([f"{name}{suffix}" for suffix in NOISE]):
                points = {spot: one.mean(label, f"{name}{suffix}") for spot, suffix in enumerate(NOISE)}
                _draw(axes, points, places[label], label)
                _draw_bars(axes, points, places[label])
            axes.set_xticks(range(len(NOISE)), list(NOISE.values()))
            axes.set_xlim(-0.4, len(NOISE) - 0.6)
            axes.set_xlabel("noise in the windows")
            axes.set_ylabel(told)
        _draw_categories(third, one, places, {"f1_previous_spearman": ""}, "rank correlation with\nthe subject before")
        for axes, nothing in ((first, 0), (second, CHANCE_OVERLAP), (third, 0)):
            axes.axhline(nothing, color=_GREY, linewidth=0.8, linestyle="--", label="nothing in common")
    _finish(figure, panels, [one.group.place for one in of])
    return figure


def interference(of: Sequence[Diagnosed]) -> Figure:
    """F2: whether the penalty's gradient opposes the one of the new subject's loss."""
    figure, panels = _grid(len(of), 2)
    places = _places(of, DIAGNOSTICS["f2"])
    for (first, second), one in zip(panels, of, strict=True):
        cosines = {"f2_cosine": "most important\nweights", "f2_cosine_all": "all weights"}
        _draw_categories(first, one, places, cosines, "mean cosine of the gradients\nof loss and penalty")
        first.axhline(0, color=_GREY, linewidth=0.8)
        _draw_categories(second, one, places, {"f2_opposing": ""}, "share of steps at which\nthey oppose")
        second.axhline(0.5, color=_GREY, linewidth=0.8)
        second.set_ylim(-0.03, 1.03)
    _finish(figure, panels, [one.group.place for one in of])
    return figure


def stiffness(of: Sequence[Diagnosed]) -> Figure:
    """F3: remembered importance, rigidity, and how far weights move, along the stream; fine-tuning beside them."""
    from matplotlib.ticker import MaxNLocator

    told = {
        "f3_importance": "sum of remembered\nimportance",
        "f3_rigidity": "rigidity: penalty's share\nof the curvature",
        STEP: "distance that a subject\nmoves the weights",
    }
    figure, panels = _grid(len(of), len(told))
    # How far weights move without any penalty, fine-tuning shows.
    places = _places(of, DIAGNOSTICS["f3"], [one.group.reference for one in of if one.group.reference is not None])
    for row, one in zip(panels, of, strict=True):
        for axes, (name, label_of_axis) in zip(row, told.items(), strict=True):
            for label in filter(places.__contains__, one.configurations([name])):
                points = one.by_step(label, name)
                _draw(axes, points, places[label], label)
                _draw_band(axes, points, places[label])
            axes.set_xlabel("subjects learned from")
            axes.set_ylabel(label_of_axis)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _span_decades(row[0])
        row[1].set_ylim(-0.03, 1.03)
    _finish(figure, panels, [one.group.place for one in of])
    return figure


def shares(of: Sequence[Spread], titles: Mapping[str, str]) -> Figure:
    """F4: shares of order, seed and rest in the variance over runs.

    Parameters
    ----------
    of : sequence of Spread
        At least one.
    titles : mapping of str to str
        Name of each measure among them; a panel each.
    """
    rows = list(dict.fromkeys((one.place, one.configuration) for one in of))
    figure, panels = _tall(rows, len(titles))
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        for one in (spread for spread in of if spread.measure == measure):
            place, left = rows.index((one.place, one.configuration)), 0.0
            for source, share in one.components.shares.items():
                if math.isnan(share):
                    continue
                axes.barh(place, share, left=left, height=0.7, color=_SHARES[source], label=source)
                if share >= 0.08:
                    colour = "white" if source == "order" else "black"
                    axes.text(left + share / 2, place, percent(share), ha="center", va="center", color=colour)
                left += share
            if left == 0:
                axes.text(0.02, place, "not known", va="center", color=_GREY)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_xlabel("share of the variance over runs")
        axes.set_title(title, fontsize=10, loc="left")
    _finish(figure, np.array([panels]), [""])
    return figure


def differences(of: Sequence[Comparison], titles: Mapping[str, str], margin: float) -> Figure:
    """F5: differences to fine-tuning, their intervals, and what counts as none.

    Parameters
    ----------
    of : sequence of Comparison
        At least one.
    titles : mapping of str to str
        Name of each measure among them; a panel each.
    margin : float
        Difference that is as good as none.
    """
    from matplotlib.ticker import MaxNLocator

    rows = list(dict.fromkeys((one.place, one.configuration) for one in of))
    figure, panels = _tall(rows, len(titles))
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        axes.axvspan(-margin, margin, color=_BAND, linewidth=0, label=f"within the margin of {number(margin)}")
        axes.axvline(0, color=_GREY, linewidth=0.8)
        for one in (comparison for comparison in of if comparison.measure == measure):
            place = rows.index((one.place, one.configuration))
            colour, marker = _FAMILIES[one.family]
            paired, equal = one.paired, one.equivalence
            axes.plot([paired.low, paired.high], [place] * 2, color=colour, linewidth=1.2, label=f"{one.family}, 95 %")
            axes.plot([equal.low, equal.high], [place] * 2, color=colour, linewidth=4, label=f"{one.family}, 90 %")
            axes.plot([paired.shift], [place], marker, color=colour, markersize=6)
            if paired.n:
                told, spot = number(paired.shift, signed=True), (paired.shift, place)
                axes.annotate(told, spot, (0, 7), textcoords="offset points", ha="center", fontsize=8)
            else:
                axes.text(0, place, "no pairs", va="center", color=_GREY)
        axes.set_xlabel("difference to fine-tuning")
        axes.set_title(title, fontsize=10, loc="left")
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    _finish(figure, np.array([panels]), [""])
    return figure


def _tell_matrix(axes: Axes, R: FloatArray, label: str, bright: float) -> None:
    count = R.shape[1]
    axes.set_title("\n".join(textwrap.wrap(label, 26)), fontsize=10)
    every = max(1, -(-count // 6))
    axes.set_xticks(range(0, count, every), [str(place) for place in range(1, count + 1, every)], fontsize=8)
    axes.set_yticks(range(0, count + 1, every), [str(met) for met in range(0, count + 1, every)], fontsize=8)
    # Below the stairs the subject was met already.
    steps = np.arange(count + 1)
    axes.plot(np.repeat(steps, 2)[1:-1] - 0.5, np.repeat(steps[:-1], 2) + 0.5, color="white", linewidth=1.2)
    if count <= _NUMBERS_UP_TO:
        for (row, column), value in np.ndenumerate(R):
            colour = "black" if value > bright else "white"
            told = "–" if math.isnan(value) else f"{value:.2f}".removeprefix("0")
            axes.text(column, row, told, ha="center", va="center", fontsize=8, color=colour)


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Rows are figures of their own: a long title over one panel would push the others aside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 3.3 * rows + 0.5), layout="constrained")
    return figure, np.array([row.subplots(1, columns) for row in figure.subfigures(rows, 1, squeeze=False)[:, 0]])


def _tall(rows: Sequence[tuple[str, str]], columns: int) -> tuple[Figure, np.ndarray]:
    """Panels beside each other, with a line for each configuration; its place is told where there are several."""
    from matplotlib.figure import Figure

    places = [place for place, _ in rows]
    names = ["\n".join(textwrap.wrap(named(label, place, places), 34, break_long_words=False)) for place, label in rows]
    figure = Figure(figsize=(_WIDTH, 0.46 * len(rows) + 1.6), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    return figure, panels


def _places(of: Sequence[Diagnosed], names: Sequence[str], more: Sequence[str] = ()) -> dict[str, int]:
    """Place of each configuration among colours, the same in all panels, since one legend tells of all."""
    labels = dict.fromkeys([*(label for one in of for label in one.configurations(names)), *more])
    return {label: place for place, label in enumerate(labels)}


def _draw(axes: Axes, points: _Points, place: int, label: str, *, joined: bool = True) -> None:
    """Means, in the colour and shape of a configuration."""
    again, colour = divmod(place, len(_COLOURS))
    axes.plot(
        list(points),
        [one.mean for one in points.values()],
        marker=_MARKERS[(colour + again) % len(_MARKERS)],
        color=_COLOURS[colour],
        label=label,
        linewidth=1.4 * joined,
        linestyle="--" if again % 2 else "-",
        markersize=5,
    )


def _draw_bars(axes: Axes, points: _Points, place: int) -> None:
    """Intervals, a line each."""
    low, high = ([getattr(one, end) for one in points.values()] for end in ("low", "high"))
    axes.vlines(list(points), low, high, color=_COLOURS[place % len(_COLOURS)], linewidth=1.6)


def _draw_band(axes: Axes, points: _Points, place: int) -> None:
    """Intervals, as one area."""
    low, high = ([getattr(one, end) for one in points.values()] for end in ("low", "high"))
    axes.fill_between(list(points), low, high, color=_COLOURS[place % len(_COLOURS)], alpha=0.18, linewidth=0)


def _draw_categories(
    axes: Axes, one: Diagnosed, places: Mapping[str, int], names: Mapping[str, str], told: str
) -> None:
    """Measurements side by side, and in each the configurations."""
    labels = one.configurations(list(names))
    width = 0.6 / max(len(labels), 1)
    for turn, label in enumerate(labels):
        shift = (turn - (len(labels) - 1) / 2) * width
        points = {spot + shift: one.mean(label, name) for spot, name in enumerate(names)}
        _draw(axes, points, places[label], label, joined=False)
        _draw_bars(axes, points, places[label])
    axes.set_xticks(range(len(names)), list(names.values()))
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(told)


def _span_decades(axes: Axes) -> None:
    """A scale of decades, its numbers written out, where there is something above zero to show."""
    from matplotlib.ticker import LogFormatter

    if any((np.asarray(line.get_ydata(), dtype=float) > 0).any() for line in axes.lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        # Between decades, where there are few: Matplotlib's own numbers there are formulas, which none is taken for.
        axes.yaxis.set_minor_formatter(LogFormatter())


def _finish(figure: Figure, panels: np.ndarray, titles: Sequence[str]) -> None:
    """Title of each row of panels, light grid, and one legend for all below."""
    for row, title in zip(panels, titles, strict=True):
        if title:
            told = "\n".join(textwrap.wrap(title, 110))
            row[0].get_figure(root=False).suptitle(told, x=0.01, ha="left", fontsize=10, fontweight="bold")
        for axes in row:
            axes.grid(color="#e8e8e8", linewidth=0.6)
            axes.set_axisbelow(True)
    handles = {
        label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    _take_as_written(figure)


def _take_as_written(figure: Figure) -> None:
    """Names are the user's own: a dollar sign in one is no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
