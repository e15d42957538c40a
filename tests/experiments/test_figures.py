from __future__ import annotations

import io
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments import figures
from experiments.figures import Caption, confusion_png, mean_confusion, subjects_png
from experiments.records import PredictionRecord
from experiments.statistics import summary

CAPTION = Caption("lda", "small", ("transductive",), "held-out people")
NAN = math.nan


def record_of(subject: str, true: list[int], said: list[int], classes: int = 2) -> PredictionRecord:
    count = len(true)
    return PredictionRecord(
        subject, "unseen", np.eye(classes)[said], np.array(true), np.array(["s/t"] * count), np.zeros(count)
    )


def png_of(scores: dict[str, float], **changes: Any) -> bytes:
    values = {
        "summary": summary(np.array(list(scores.values()))),
        "metric": "balanced_accuracy",
        "level": "window",
        "chance": 0.5,
        "control": None,
        "caption": CAPTION,
    }
    return subjects_png(scores, **{**values, **changes})


@pytest.fixture
def drawn(monkeypatch) -> list[Any]:
    """Figures as they are before they become bytes."""
    drawn: list[Any] = []
    original = figures._png

    def kept(figure, axes, title):
        drawn.append(figure)
        return original(figure, axes, title)

    monkeypatch.setattr(figures, "_png", kept)
    return drawn


def texts_of(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


# --- what is mistaken for what --------------------------------------------------------------------------------------


def test_every_person_weighs_the_same_however_many_windows_there_are():
    # One person of 2 windows, all right; one of 200, all wrong: halves.
    few, many = record_of("A", [0, 1], [0, 1]), record_of("B", [0, 1] * 100, [1, 0] * 100)
    confusion = mean_confusion([few, many], 2)
    np.testing.assert_array_equal(confusion.shares, [[0.5, 0.5], [0.5, 0.5]])
    assert confusion.n == 2


def test_seeds_are_averaged_before_people():
    # A: 1 and 0 of class 0 over two seeds, so 0.5; B: 1 of one seed. Of all records it would be 2/3.
    records = [record_of("A", [0], [0]), record_of("A", [0], [1]), record_of("B", [0], [0])]
    assert mean_confusion(records, 2).shares[0].tolist() == [0.75, 0.25]


def test_a_class_that_a_person_does_not_have_is_no_mistake_of_theirs():
    records = [record_of("A", [0, 0, 1], [0, 1, 1], 3), record_of("B", [0], [0], 3)]
    confusion = mean_confusion(records, 3)
    np.testing.assert_array_equal(confusion.shares, [[0.75, 0.25, 0], [0, 1, 0], [NAN, NAN, NAN]])
    assert confusion.people.tolist() == [2, 1, 0]


def test_the_most_probable_class_counts_and_of_equal_ones_the_first():
    record = PredictionRecord(
        "A",
        "unseen",
        np.array([[0.4, 0.35, 0.25], [0.3, 0.3, 0.4], [0.5, 0.5, 0.0]]),
        np.array([0, 0, 0]),
        np.array(["s/t"] * 3),
        np.zeros(3),
    )
    np.testing.assert_allclose(mean_confusion([record], 3).shares[0], [2 / 3, 0, 1 / 3])


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1), min_size=1, max_size=6))
def test_rows_are_shares_and_the_diagonal_is_the_mean_recall(people):
    records = [record_of(str(i), [t for t, _ in mine], [p for _, p in mine], 3) for i, mine in enumerate(people)]
    shares = mean_confusion(records, 3).shares
    for label in range(3):
        recalls = [
            np.mean([said == label for true, said in mine if true == label])
            for mine in people
            if any(true == label for true, _ in mine)
        ]
        if recalls:
            assert shares[label].sum() == pytest.approx(1)
            assert shares[label, label] == pytest.approx(np.mean(recalls))
        else:
            assert np.isnan(shares[label]).all()


def test_the_matrix_tells_shares_names_and_marks(drawn):
    records = [record_of("A", [0, 0, 0, 1], [0, 0, 1, 1]), record_of("B", [0], [0])]
    confusion_png(mean_confusion(records, 2), ("rest", "arithmetic"), CAPTION)
    told = texts_of(drawn[0])
    for expected in ("83 %", "17 %", "100 %", "rest\n(2 people)", "arithmetic\n(1 people)", "2 held-out people"):
        assert expected in told
    assert "lda (transductive)" in told


def test_nobody_with_a_class_is_told_apart_from_nobody_right(drawn):
    confusion_png(mean_confusion([record_of("A", [0], [0])], 2), ("rest", "arithmetic"), CAPTION)
    assert "–" in texts_of(drawn[0])


# --- how far people differ ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("balanced_accuracy", ["B", "C", "A", "D"]), ("brier", ["A", "B", "C", "D"])],
)
def test_people_stand_from_worst_to_best_and_those_without_a_value_last(drawn, metric, expected):
    png_of({"A": 0.9, "C": 0.3, "B": 0.3, "D": NAN}, metric=metric)
    names = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert names == expected
    assert "a person without a value" in texts_of(drawn[0])


def test_scores_controls_and_levels_stand_where_they_belong(drawn):
    scores = {"A": 0.9, "B": 0.6, "C": 0.7, "D": 0.8, "E": 0.65}
    told = summary(np.array(list(scores.values())))
    png_of(scores, summary=told, control=("time_forest", {"A": 0.5, "B": 0.7, "C": NAN, "X": 0.1}))
    lines = {str(line.get_label()): line for line in drawn[0].axes[0].lines}
    people = lines["a person, mean over seeds and orders"]
    assert people.get_ydata().tolist() == [0.6, 0.65, 0.7, 0.8, 0.9]
    control = lines["the same person, best control: time_forest"]
    assert list(zip(control.get_xdata(), control.get_ydata(), strict=True)) == [(0, 0.7), (4, 0.5)]
    assert lines["chance 0.5"].get_ydata() == [0.5, 0.5]
    mean = lines[f"mean {told.mean:.3f}, 95 % interval {told.low:.3f} to {told.high:.3f}"]
    assert mean.get_ydata() == [told.mean, told.mean]


def test_no_interval_chance_or_control_is_drawn_where_there_is_none(drawn):
    png_of({"A": 0.5, "B": 0.7}, chance=None, control=("time_forest", {"X": 0.5}))
    told = texts_of(drawn[0])
    assert "mean 0.600" in told
    for absent in ("interval", "chance", "control"):
        assert absent not in told


def test_a_score_below_zero_is_inside_the_figure(drawn):
    png_of({"A": -0.2, "B": 0.4}, metric="cohen_kappa", chance=0.0)
    low, high = drawn[0].axes[0].get_ylim()
    assert low < -0.2
    assert high > 0.4


@pytest.mark.parametrize("count", [8, 36, 100])
def test_every_name_has_room(drawn, count):
    png_of({f"S{number:03d}": number / count for number in range(count)})
    figure = drawn[0]
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


# --- images ---------------------------------------------------------------------------------------------------------


def test_the_same_values_are_the_same_bytes_and_other_values_are_not():
    confusion = mean_confusion([record_of("A", [0, 1], [0, 0])], 2)
    first = confusion_png(confusion, ("rest", "arithmetic"), CAPTION)
    assert confusion_png(confusion, ("rest", "arithmetic"), CAPTION) == first
    other = mean_confusion([record_of("A", [0, 1], [0, 1])], 2)
    assert confusion_png(other, ("rest", "arithmetic"), CAPTION) != first
    scores = {"A": 0.5, "B": 0.75}
    assert png_of(scores) == png_of(dict(reversed(scores.items())))
    assert png_of(scores) != png_of({"A": 0.5, "B": 0.7})


def test_images_carry_neither_date_nor_program():
    for content in (
        png_of({"A": 0.5}),
        confusion_png(mean_confusion([record_of("A", [0], [0])], 2), ("rest", "arithmetic"), CAPTION),
    ):
        image = Image.open(io.BytesIO(content))
        assert image.format == "PNG"
        assert image.info.keys() <= {"dpi"}


def test_names_are_shown_as_they_are(drawn):
    odd = Caption("mlp($x", "a_study", (), "held-out people")
    png_of({"$S_1$": 0.5, "S$2": 0.6}, caption=odd, control=("$forest$", {"S$2": 0.4}))
    confusion_png(mean_confusion([record_of("A", [0], [0])], 2), ("$rest$", "$a"), odd)
    for figure, names in zip(drawn, (["$S_1$", "S$2", "$forest$"], ["$rest$", "$a"]), strict=True):
        for text in figure.findobj(lambda one: hasattr(one, "get_parse_math")):
            if text.get_visible() and any(name in text.get_text() for name in [*names, "mlp($x"]):
                assert not text.get_parse_math(), text.get_text()


def test_nobody_with_a_value_is_an_image_too():
    assert png_of({"A": NAN, "B": NAN}).startswith(b"\x89PNG")


def test_nothing_global_is_touched():
    # To ask for the backend is to choose one, so that one setting is left out.
    told = """
        import matplotlib, sys
        settings = lambda: {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}
        before = settings()
        from tests.experiments.test_figures import png_of
        png_of({"A": 0.5})
        print(settings() == before, "matplotlib.pyplot" in sys.modules)
    """
    said = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in told.splitlines())],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert said.stdout.split() == ["True", "False"]
