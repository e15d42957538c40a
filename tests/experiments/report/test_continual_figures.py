"""Figures of streams hold the numbers that they are given."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.equivalence import equivalence
from experiments.report.continual import CHOSEN, GIVEN, OTHER, Comparison, Spread
from experiments.report.continual_figures import (
    as_png,
    differences,
    interference,
    matrices,
    reliability,
    shares,
    stiffness,
)
from experiments.report.diagnosed import NOISE
from experiments.statistics import paired_difference, summary
from experiments.variance import variance_components
from tests.experiments.report.measured import diagnosed_of

NAN = math.nan
R = np.array([[0.5, 0.4], [0.8, 0.45], [0.7, 0.9]])


def texts_of(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


def curves_of(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Data of labelled lines."""
    lines = {str(line.get_label()): line for line in axes.lines}
    return {label: (list(line.get_xdata()), list(line.get_ydata())) for label, line in lines.items() if label[0] != "_"}


def legend_of(figure: Any) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


# --- R ---------------------------------------------------------------------------------------------------------------


def test_matrices_share_one_scale_that_holds_chance():
    figure = matrices({"ewc": R, "si": R - 0.3}, "balanced accuracy", 0.5)
    first, second, bar = figure.axes
    for axes, expected in ((first, R), (second, R - 0.3)):
        (image,) = axes.images
        np.testing.assert_array_equal(np.asarray(image.get_array()), expected)
        assert image.get_clim() == (pytest.approx(0.1), 0.9)
    assert [axes.get_title() for axes in (first, second)] == ["ewc", "si"]
    (line,) = [line for line in bar.lines if list(line.get_ydata()) == [0.5, 0.5]]
    assert line.get_linewidth() > 1
    assert "balanced accuracy; line: chance .500" in texts_of(figure)


def test_rows_begin_with_nobody_and_columns_with_the_first_subject():
    axes = matrices({"ewc": R}, "accuracy", None).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    # The stairs part the subjects met, each from the row after its own on.
    (stairs,) = axes.lines
    assert list(zip(stairs.get_xdata(), stairs.get_ydata(), strict=True)) == [
        (-0.5, 0.5), (0.5, 0.5), (0.5, 1.5), (1.5, 1.5),
    ]  # fmt: skip


def test_chance_out_of_reach_is_on_the_scale_too():
    figure = matrices({"ewc": R}, "balanced accuracy", 0.25)
    assert figure.axes[0].images[0].get_clim() == (0.25, 0.9)


def test_numbers_stand_in_matrices_that_have_room_and_gaps_are_marked():
    told = texts_of(matrices({"ewc": np.array([[0.5], [NAN]])}, "accuracy", None))
    assert ".50" in told
    assert "–" in told
    assert ".50" not in texts_of(matrices({"ewc": np.full((21, 20), 0.5)}, "accuracy", None))


def test_nothing_defined_and_many_panels_are_figures_too():
    assert len(matrices({"ewc": np.full((3, 2), NAN)}, "accuracy", None).axes) == 2
    assert len(matrices({f"c{place}": R for place in range(6)}, "accuracy", 0.5).axes) == 7


# --- F1 to F3 --------------------------------------------------------------------------------------------------------


def test_reliability_stands_by_noise_with_its_intervals():
    orders = [0.5, 0.625, 0.75, 0.5, 0.625]
    told = {
        ("ewc", f"f1_spearman{suffix}"): {1: [value - spot / 8 for value in orders]}
        for spot, suffix in enumerate(NOISE)
    }
    figure = reliability([diagnosed_of({**told, ("ewc", "f1_previous_spearman"): {2: [0.25] * 5}})])
    first, second, third = figure.axes
    expected = [summary(np.array(orders) - spot / 8) for spot in range(4)]
    assert curves_of(first)["ewc"] == ([0, 1, 2, 3], [one.mean for one in expected])
    (bars,) = first.collections
    np.testing.assert_allclose(
        [segment[:, 1] for segment in bars.get_segments()], [[one.low, one.high] for one in expected]
    )
    assert [label.get_text() for label in first.get_xticklabels()] == ["none", "20 dB", "10 dB", "0 dB"]
    assert "ewc" not in curves_of(second)
    assert curves_of(third)["ewc"][1] == [0.25]
    assert legend_of(figure) == ["ewc", "nothing in common"]


def test_interference_shows_cosines_and_shares():
    told = {
        (label, name): {2: [value] * 5}
        for label, shift in (("ewc", 0.0), ("si", 0.125))
        for name, value in (("f2_cosine", -0.25 + shift), ("f2_cosine_all", -0.125), ("f2_opposing", 0.5 + shift))
    }
    first, second = interference([diagnosed_of(told)]).axes
    assert curves_of(first)["ewc"][1] == [-0.25, -0.125]
    assert curves_of(first)["si"][1] == [-0.125, -0.125]
    assert curves_of(second)["si"][1] == [0.625]
    assert [label.get_text() for label in first.get_xticklabels()] == ["most important\nweights", "all weights"]


def test_stiffness_runs_along_the_stream_with_fine_tuning_beside_it_and_nobody_else():
    told = {
        ("finetuning", "f3_step"): {1: [3.0] * 5, 2: [2.0] * 5},
        ("replay", "f3_step"): {1: [3.0] * 5},
        ("ewc", "f3_step"): {1: [2.0] * 5, 2: [1.0] * 5},
        ("ewc", "f3_importance"): {1: [10.0] * 5, 2: [1000.0] * 5},
        ("ewc", "f3_rigidity"): {2: [0.5] * 5},
    }
    figure = stiffness([diagnosed_of(told, reference="finetuning")])
    importance, rigidity, step = figure.axes
    assert curves_of(importance) == {"ewc": ([1, 2], [10, 1000])}
    assert importance.get_yscale() == "log"
    assert curves_of(rigidity) == {"ewc": ([2], [0.5])}
    assert curves_of(step) == {"ewc": ([1, 2], [2, 1]), "finetuning": ([1, 2], [3, 2])}
    as_png(figure)
    assert not any("$" in text for text in texts_of(figure))


def test_a_row_of_panels_for_each_group_named_by_it():
    groups = [diagnosed_of({("ewc", "f2_cosine"): {2: [0.5]}}, place=place) for place in ("dreamer", "seed")]
    figure = interference(groups)
    assert len(figure.axes) == 4
    assert [row.get_suptitle() for row in figure.subfigs] == ["dreamer", "seed"]


def test_neither_a_long_name_nor_less_than_a_decade_pushes_panels_aside():
    told = {
        ("ewc", name): {2: [value] * 5, 3: [8 * value] * 5} for name, value in (("f3_importance", 4e4), ("f3_step", 1))
    }
    figure = stiffness([diagnosed_of(told, place="a representation, " * 10)])
    as_png(figure)
    widths = [axes.get_window_extent().width for axes in figure.axes]
    assert min(widths) > 0.9 * max(widths)
    assert not any("$" in text for text in texts_of(figure))


def test_a_configuration_has_one_colour_in_all_panels_whoever_else_is_there():
    more = diagnosed_of({("ewc", "f1_spearman"): {1: [0.5]}, ("si", "f1_spearman"): {1: [0.6]}}, place="dreamer")
    less = diagnosed_of({("si", "f1_overlap"): {1: [0.5]}, ("si", "f1_previous_spearman"): {2: [0.5]}}, place="seed")
    figure = reliability([more, less])
    looks = {
        (line.get_color(), line.get_marker()) for axes in figure.axes for line in axes.lines if line.get_label() == "si"
    }
    assert len(looks) == 1
    assert legend_of(figure) == ["ewc", "si", "nothing in common"]


def test_rows_are_called_by_their_label_and_by_their_data_set_where_there_are_several():
    def ticks(*places: str) -> list[str]:
        table = np.array([[0.5, 0.6], [0.7, 0.9]])
        of = [Spread(place, f"c{spot}", "acc", variance_components(table), False) for spot, place in enumerate(places)]
        return [label.get_text() for label in shares(of, {"acc": "ACC"}).axes[0].get_yticklabels()]

    # What the groups of a data set share is long, and labels are unique in it.
    assert ticks("dreamer: raw, eegnet", "dreamer: differential_entropy, mlp") == ["c0", "c1"]
    assert ticks("dreamer: raw, eegnet", "seed") == ["c0 (dreamer)", "c1 (seed)"]


def test_more_configurations_than_colours_are_told_apart():
    told = {(f"c{place}", "f2_opposing"): {2: [0.5]} for place in range(12)}
    _, axes = interference([diagnosed_of(told)]).axes
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines if str(line.get_label())[0] == "c"}
    assert len(looks) == 12


# --- F4 and F5 -------------------------------------------------------------------------------------------------------


def test_shares_of_the_variance_lie_side_by_side():
    table = np.array([[1.0, 3.0], [4.0, 4.0], [7.0, 11.0]])  # Shares 36, 4 and 6 of 46, see the tests of variance.
    spread = [
        Spread("here", "ewc", "acc", variance_components(table), False),
        Spread("here", "ewc", "held_out", variance_components(np.array([[0.5, 0.6]])), False),
    ]
    figure = shares(spread, {"acc": "ACC", "held_out": "held-out"})
    first, second = figure.axes
    assert [(bar.get_x(), bar.get_width()) for bar in first.patches] == [
        (0, pytest.approx(36 / 46)),
        (pytest.approx(36 / 46), pytest.approx(4 / 46)),
        (pytest.approx(40 / 46), pytest.approx(6 / 46)),
    ]
    assert "78 %" in texts_of(figure)
    assert not second.patches
    assert "not known" in texts_of(figure)
    assert legend_of(figure) == ["order", "seed", "rest"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["ewc"]


def comparison_of(place: str, label: str, values: np.ndarray, *, family: str = CHOSEN) -> Comparison:
    zeros = np.zeros(len(values))
    paired, equal = paired_difference(values, zeros), equivalence(values, zeros, 0.02)
    return Comparison(place, label, "finetuning", "acc", family, paired, paired.p, equal, 0)


def test_differences_stand_with_both_intervals_in_the_margin():
    values = np.linspace(-0.01, 0.05, 8)
    one = comparison_of("dreamer", "ewc", values)
    other = comparison_of("seed", "replay", -values, family=OTHER)
    given = comparison_of("seed", "mas_sum", values, family=GIVEN)
    figure = differences([one, other, given], {"acc": "ACC"}, 0.02)
    (axes,) = figure.axes
    curves = curves_of(axes)
    assert curves["regulariser, value chosen, 95 %"] == ([one.paired.low, one.paired.high], [0, 0])
    assert curves["regulariser, value given, 95 %"] == ([given.paired.low, given.paired.high], [2, 2])
    assert curves["regulariser, value chosen, 90 %"] == ([one.equivalence.low, one.equivalence.high], [0, 0])
    assert curves["other method, 95 %"] == ([other.paired.low, other.paired.high], [1, 1])
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"] == [[one.paired.shift]]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (-0.02, 0.04)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["ewc (dreamer)", "replay (seed)", "mas_sum (seed)"]
    assert len({line.get_color() for line in axes.lines if line.get_linewidth() == 4}) == 3
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # The first stands on top.


def test_what_could_not_be_compared_is_said():
    figure = differences([comparison_of("here", "ewc", np.full(3, NAN))], {"acc": "ACC"}, 0.02)
    assert "no pairs" in texts_of(figure)


# --- images ----------------------------------------------------------------------------------------------------------


def test_the_same_values_are_the_same_bytes():
    first, again, other = (as_png(matrices({"ewc": R + shift}, "accuracy", 0.5)) for shift in (0, 0, 0.01))
    assert first.startswith(b"\x89PNG")
    assert first == again
    assert first != other


def test_names_are_shown_as_they_are():
    figure = matrices({"$S_1$": R}, "$m$", 0.5)
    for text in figure.findobj(lambda one: hasattr(one, "get_parse_math")):
        if "$" in text.get_text():
            assert not text.get_parse_math()


def test_nothing_global_is_touched():
    told = """
        import matplotlib, sys
        settings = lambda: {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}
        before = settings()
        from experiments.report.continual_figures import as_png, matrices
        import numpy
        as_png(matrices({"ewc": numpy.eye(3)[:, :2]}, "accuracy", 0.5))
        print(settings() == before, "matplotlib.pyplot" in sys.modules)
    """
    said = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in told.splitlines())],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert said.stdout.split() == ["True", "False"]
