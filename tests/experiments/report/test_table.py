from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.report.scores import subject_means
from experiments.report.table import render, summarise, table_console
from experiments.statistics import holm, paired_difference, summary
from tests.experiments.studies import SmallStudy, cell_of, failure_of, header_of, outcome_of

MAJORITY = [0.5] * 5
LDA = [0.625, 0.75, 0.875, 0.5, 0.75]
POOLED = [0.625, 0.5, 0.375, 0.75, 0.875]


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    header = header_of("majority", "lda", "pooled")
    study = SmallStudy(tmp_path / "small.sqlite", header)
    study.fill({"majority": MAJORITY, "lda": LDA, "pooled": POOLED})
    return study


def lines_of(study: SmallStudy, **changes):
    return summarise(replace(study.header, **changes), *study.frames(final=True))


def text_of(study: SmallStudy, width: int = 120, **changes) -> str:
    file = io.StringIO()
    header = replace(study.header, **changes)
    Console(file=file, width=width).print(render(header, lines_of(study, **changes)))
    return file.getvalue()


def row_of(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label + " ")]
    return line.split()


# --- known answers --------------------------------------------------------------------------------------------------


def test_statistics_of_a_hand_computed_study(study):
    majority, lda, pooled = lines_of(study)
    assert lda.primary == summary(np.array(LDA))
    assert (lda.primary.mean, lda.primary.worst, lda.primary.n) == (0.7, 0.5, 5)
    assert lda.macro_f1 == 0.7
    # Differences .125 .25 .375 0 .25, all positive but a zero: doubled ranks 4 7 10 2 7, p = 2 / 2^4.
    assert lda.paired == paired_difference(np.array(LDA), np.array(MAJORITY))
    assert lda.paired.difference == pytest.approx(0.2)
    assert lda.paired.p == 0.125
    assert majority.paired is None
    assert [lda.p, pooled.p] == holm([lda.paired.p, pooled.paired.p])
    assert lda.p == 0.25
    assert lda.compute_s == 2.5


def test_the_row_of_a_configuration(study):
    low, high = (f"{value:.3f}"[1:] for value in (lambda s: (s.low, s.high))(summary(np.array(LDA))))
    assert row_of(text_of(study), "lda") == [
        "lda", "5", ".700", f"[{low},", f"{high}]", ".500", ".700", "+.200", ".2500", "2.5",
    ]  # fmt: skip
    assert row_of(text_of(study), "majority") == [
        "majority", "5", ".500", "[.500,", ".500]", ".500", ".500", "ref.", "2.5",
    ]  # fmt: skip


def test_seeds_and_orders_are_averaged_for_each_subject_first(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda"))
    study.add(cell_of("lda", "S00"), outcome_of("S00", 0.5))
    for seed, stream, value in ((0, 0, 0.75), (1, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0)):
        study.add(cell_of("lda", "S01", seed, stream), outcome_of("S01", value))
    (line,) = lines_of(study)
    assert (line.primary.mean, line.primary.n) == ((0.5 + 0.9375) / 2, 2)
    assert (line.seeds, line.orders, line.cells) == (2, 2, 5)
    assert "up to 2 seeds and 2 orders averaged for each" in text_of(study)


def test_only_final_rows_at_the_level_count(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda"))
    study.add(cell_of("lda", "S00"), outcome_of("S00", 0.75, curve=[0.1, 0.2]))
    cells, rows = study.frames(final=True)
    rows.loc[rows["level"] == "trial", "value"] = 1.0
    means = [
        summarise(replace(study.header, level=level), cells, rows)[0].primary.mean for level in ("window", "trial")
    ]
    assert means == [0.75, 1.0]
    assert subject_means(rows).index.get_level_values("subject").unique().tolist() == ["S00"]


# --- controls and seen people ---------------------------------------------------------------------------------------

WEAK = [0.55, 0.6, 0.5, 0.58, 0.62, 0.57, 0.53, 0.6]
STRONG = [value + 0.2 + 0.01 * number for number, value in enumerate(WEAK)]


@pytest.fixture
def controlled(tmp_path: Path) -> SmallStudy:
    """Two controls, of which `time` is the better one, a strong configuration, a weak one and a seen one."""
    header = header_of(
        "majority", "time", "strong", "weak", "personal", controls=("majority", "time"), seen=("personal",)
    )
    study = SmallStudy(tmp_path / "small.sqlite", header)
    mixed = [value + sign * 0.02 for value, sign in zip(WEAK, (1, -1) * 4, strict=True)]
    study.fill({"majority": [0.5] * 8, "time": WEAK, "strong": STRONG, "weak": mixed})
    for number in range(8):
        subject = f"S{number:02d}"
        study.add(cell_of("personal", subject), outcome_of(subject, 0.9, target="seen"))
    return study


def test_a_configuration_that_does_not_beat_its_best_control_is_marked(controlled):
    lines = {line.configuration: line for line in lines_of(controlled)}
    assert {label: line.marks for label, line in lines.items()} == {
        "majority": ("control",),
        "time": ("control",),
        "strong": (),
        "weak": ("= control",),
        "personal": ("seen",),
    }
    strong = lines["strong"]
    # All eight differences are positive: the smallest p that eight pairs can give, twice for two comparisons.
    assert strong.best_control == "time"
    assert strong.to_control == paired_difference(np.array(STRONG), np.array(WEAK))
    assert strong.p_control == 2 * 2 / 2**8
    text = " ".join(text_of(controlled).split())
    assert "= control: not significantly better than its best control, time (.569)" in text
    assert "Holm-corrected over 2 comparisons" in text


def test_a_configuration_that_is_significantly_worse_than_a_control_does_not_beat_it(controlled):
    worse = [value - 0.2 - 0.01 * number for number, value in enumerate(WEAK)]
    controlled.fill({"worse": worse})
    line = lines_of(controlled, configurations=("majority", "time", "worse"))[2]
    assert line.p_control < 0.05
    assert line.marks == ("= control",)


def test_a_lower_score_beats_where_lower_is_better(controlled):
    changes = {"metric": "brier", "configurations": ("majority", "time", "low"), "controls": ("time",)}
    controlled.fill({"low": [value - 0.2 for value in WEAK]})
    cells, rows = controlled.frames(final=True)
    rows["metric"] = rows["metric"].replace("balanced_accuracy", "brier")
    lines = summarise(replace(controlled.header, **changes), cells, rows)
    assert lines[2].marks == ()


def test_a_transductive_control_is_for_transductive_configurations(tmp_path):
    labels = ("majority", "movement/own", "inductive", "transductive")
    study = SmallStudy(tmp_path / "small.sqlite", header_of(*labels, controls=labels[:2]))
    for label in labels:
        for number in range(6):
            cell = cell_of(label, f"S{number:02d}", transductive=label in ("movement/own", "transductive"))
            study.add(cell, outcome_of(f"S{number:02d}", 0.5 if label == "majority" else 0.8))
    best = {line.configuration: line.best_control for line in lines_of(study)}
    assert best == {
        "majority": None, "movement/own": None, "inductive": "majority", "transductive": "movement/own",
    }  # fmt: skip


def test_scores_of_seen_people_are_shown_and_compared_with_nothing(controlled):
    line = lines_of(controlled)[4]
    assert line.primary.mean == pytest.approx(0.9)
    assert (line.paired, line.to_control, line.best_control) == (None, None, None)
    text = text_of(controlled)
    assert row_of(text, "personal")[:3] == ["personal", "seen", "8"]
    assert "ref." not in row_of(text, "personal")
    assert "Holm-corrected over 3 comparisons." in " ".join(text.split())
    assert "seen: learned from the scored person alone" in " ".join(text.split())


def test_a_control_counts_only_where_it_has_all_the_people(controlled):
    # Two lucky folds of a control that is not finished are no better control.
    controlled.fill({"lucky": [1.0, 1.0]})
    changes = {"configurations": ("majority", "time", "lucky", "strong"), "controls": ("majority", "time", "lucky")}
    line = lines_of(controlled, **changes)[3]
    assert (line.best_control, line.marks) == ("time", ())


def test_what_has_no_score_is_compared_with_no_control(controlled):
    controlled.add(cell_of("broken", "S00"), failure_of("no"))
    changes = {"configurations": ("majority", "time", "strong", "broken", "not_begun")}
    lines = {line.configuration: line for line in lines_of(controlled, **changes)}
    assert [lines[label].marks for label in ("broken", "not_begun")] == [(), ()]
    assert "best control, time (.569) (paired Wilcoxon, Holm-corrected over 1 comparison)" in " ".join(
        text_of(controlled, **changes).split()
    )


def test_a_configuration_that_learns_from_seen_people_is_one_before_it_has_a_score(controlled):
    line = lines_of(controlled, configurations=("majority", "late"), seen=("late",))[1]
    assert (line.target, line.paired, line.to_control) == ("seen", None, None)


def test_nothing_is_marked_where_too_few_people_could_show_a_difference(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda", controls=("majority",)))
    study.fill({"majority": [0.5] * 5, "lda": [0.9] * 5})
    line = lines_of(study)[1]
    assert not line.control_beatable
    assert line.marks == ()
    assert "Where too few people are compared" in " ".join(text_of(study).split())


def test_a_study_without_controls_marks_nothing(study):
    assert all("= control" not in line.marks and line.best_control is None for line in lines_of(study))


def test_the_worst_brier_score_is_the_highest(study):
    cells, rows = study.frames(final=True)
    rows["metric"] = rows["metric"].replace("balanced_accuracy", "brier")
    line = summarise(replace(study.header, metric="brier"), cells, rows)[1]
    assert line.primary.worst == 0.875


# --- marks, chance and what is compared -----------------------------------------------------------------------------


def test_marks(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda", simulated=True))
    study.add(cell_of("majority", "S00"), outcome_of("S00", 0.5))
    study.add(cell_of("lda", "S00", transductive=True), outcome_of("S00", 0.5))
    text = text_of(study)
    assert row_of(text, "majority")[1] == "sim"
    assert row_of(text, "lda")[1:3] == ["sim", "transductive"]
    assert "simulated" in text.splitlines()[1]
    assert "sim: simulated people" in text
    assert "transductive: unlabelled windows of the scored subject" in text


def test_real_people_and_inductive_configurations_carry_no_mark(study):
    text = text_of(study)
    assert "sim" not in text
    assert "transductive" not in text


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("balanced_accuracy", "Chance level of balanced accuracy: .500."),
        ("cohen_kappa", "Chance level of cohen kappa: .000."),
        ("macro_f1", "Chance level of macro f1: depends on how frequent the classes are"),
        ("their.own:metric", "Chance level of metric: depends on"),
    ],
)
def test_chance_stands_in_every_table(study, metric, told):
    assert told in text_of(study, metric=metric)


def test_chance_knows_the_number_of_classes(study):
    assert "Chance level of balanced accuracy: .250." in text_of(study, classes=("a", "b", "c", "d"))


def test_the_footer_says_what_is_compared_and_holds_the_notes(study):
    text = " ".join(text_of(study, notes=("Windows of 4 s.", "S07 left out: no rest.")).split())
    assert "paired difference to majority" in text
    assert "two-sided Wilcoxon signed-rank over subjects, Holm-corrected over 2 comparisons" in text
    assert "Windows of 4 s." in text
    assert "S07 left out: no rest." in text


@pytest.mark.parametrize(
    ("subjects", "configurations", "told"),
    [
        (5, 2, "the smallest p that 5 subjects and 1 comparison can give is .0625"),
        (8, 11, "the smallest p that 8 subjects and 10 comparisons can give is .0781"),
        (6, 2, None),
        (9, 11, None),
    ],
)
def test_a_p_that_nobody_can_reach_is_said(tmp_path, subjects, configurations, told):
    labels = [f"c{number}" for number in range(configurations)]
    study = SmallStudy(tmp_path / "small.sqlite", header_of(*labels))
    study.fill({label: [0.5 + number / 20] * subjects for number, label in enumerate(labels)})
    text = " ".join(text_of(study).split())
    assert ("can be significant" in text) == (told is not None)
    assert (told or "") in text
    if told is not None:
        # What is said to be the smallest is reached by differences that all point one way.
        assert row_of(text_of(study), labels[-1])[-2] == told[-5:]


def test_a_comparison_over_few_subjects_is_said_to_be_out_of_reach(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda", "pooled"))
    study.fill({"majority": [0.5] * 12, "lda": [0.75] * 12, "pooled": [0.75] * 3})
    assert "A difference over 3 subjects cannot be significant" in text_of(study)
    assert "No difference can be" not in text_of(study)


def test_the_reference_may_be_any_configuration(study):
    text = text_of(study, reference="pooled")
    assert "ref." in row_of(text, "pooled")
    assert row_of(text, "lda")[-3] == "+.075"
    assert row_of(text, "majority")[-3] == "-.125"


# --- nothing is dropped silently ------------------------------------------------------------------------------------


def test_failed_cells_are_counted_with_their_causes(study):
    for fold in ("S05", "S06", "S07"):
        study.add(cell_of("lda", fold), failure_of("worker died" if fold == "S07" else "LearningError: diverged."))
    (line,) = [line for line in lines_of(study) if line.configuration == "lda"]
    assert line.failed == {"LearningError: diverged.": 2, "worker died": 1}
    assert line.cells == 8
    text = " ".join(text_of(study).split())
    assert "lda: 3 of 8 cells failed: LearningError: diverged (in 2 cells); worker died (in 1 cell)." in text


def test_a_configuration_of_which_some_cells_failed_is_marked_as_partial(study):
    assert "partial" not in text_of(study)
    study.add_all((cell_of("lda", fold), failure_of("diverged")) for fold in ("S05", "S06", "S07"))
    study.add(cell_of("broken", "S00"), failure_of("no"))
    shown = ("majority", "lda", "broken")
    lines = {line.configuration: line for line in lines_of(study, configurations=shown)}
    marks = {label: [mark for mark in line.marks if "partial" in mark] for label, line in lines.items()}
    assert marks == {"majority": [], "lda": ["partial: 5 of 8 cells"], "broken": []}, "what has no score says so itself"
    text = " ".join(text_of(study, configurations=shown).split())
    assert "partial: some of its cells failed, so its scores are of the folds, orders and seeds that did not" in text


def test_many_causes_are_cut_and_counted(study):
    study.add_all((cell_of("lda", f"F{number}"), failure_of(f"cause {number}")) for number in range(5))
    told = "cause 0 (in 1 cell); cause 1 (in 1 cell); cause 2 (in 1 cell); and 2 more."
    assert told in " ".join(text_of(study).split())


def test_undefined_scores_are_counted_with_their_reasons(study):
    study.add(cell_of("pooled", "S05"), outcome_of("S05", math.nan, reason="one class only"))
    line = lines_of(study)[2]
    assert line.primary == replace(summary(np.array(POOLED)), undefined=1)
    assert line.undefined == {"balanced accuracy: one class only": 1, "macro f1: one class only": 1}
    told = "pooled: 2 undefined scores: balanced accuracy: one class only (in 1 score)"
    assert told in " ".join(text_of(study).split())


def test_a_configuration_without_a_finished_cell_shows_as_such(study):
    study.add(cell_of("riemann", "S00"), failure_of("no"))
    text = text_of(study, configurations=("majority", "lda", "riemann", "not_begun"))
    assert row_of(text, "riemann")[1:5] == ["0", "no", "finished", "cell"]
    assert row_of(text, "not_begun")[1:5] == ["0", "no", "finished", "cell"]
    assert "Holm-corrected over 1 comparison." in " ".join(text.split())


def test_a_configuration_without_a_defined_score_shows_as_such(study):
    study.fill({"riemann": [math.nan, math.nan]})
    text = text_of(study, configurations=("majority", "lda", "riemann"))
    assert row_of(text, "riemann")[1:4] == ["0", "undefined", "-"]


def test_comparisons_take_the_subjects_that_both_have(study):
    study.fill({"riemann": [0.75, 0.75]})
    lines = lines_of(study, configurations=("majority", "lda", "riemann"))
    assert lines[2].paired.n == 2
    text = " ".join(text_of(study, configurations=("majority", "lda", "riemann")).split())
    assert "Subjects compared: 2 to 5" in text


def test_a_study_with_no_cell_at_all(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda"))
    study.add(cell_of("other", "S00"), outcome_of("S00", 0.5))
    study.digests = []
    assert "Nothing to compare" in text_of(study)


# --- how it looks ---------------------------------------------------------------------------------------------------


def test_the_same_rows_give_the_same_text_in_any_order(study):
    cells, rows = study.frames(final=True)
    mixed = [frame.sample(frac=1, random_state=3) for frame in (cells, rows)]
    texts = []
    for frames in ((cells, rows), mixed):
        file = io.StringIO()
        Console(file=file, width=110).print(render(study.header, summarise(study.header, *frames)))
        texts.append(file.getvalue())
    assert texts[0] == texts[1]


LONG = ("majority", "lda/training", "finetuning/subject_unlabelled")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_nothing_is_cut_at_usual_widths(tmp_path, width):
    study = SmallStudy(tmp_path / "small.sqlite", header_of(*LONG, simulated=True))
    study.add_all(
        (
            cell_of(label, f"S{number:02d}", transductive=label == LONG[2]),
            outcome_of(f"S{number:02d}", 0.5 + number / 100, compute_s=100.0),
        )
        for label in LONG
        for number in range(12)
    )
    text = text_of(study, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for word in ("finetuning/", "subject_unlabelled", "sim transductive", "[95 % interval]", "CPU s", ".555 [", "1200"):
        assert word in text
    assert ("finetuning/subject_unlabelled" in text) == (width > 80)


def test_what_is_no_terminal_gets_a_wide_table_and_no_control_characters(study, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    file = io.StringIO()
    console = table_console(file)
    console.print(render(study.header, lines_of(study)))
    assert console.width >= 110
    assert "\x1b" not in file.getvalue()


def test_words_of_the_user_are_no_markup(study):
    text = text_of(study, question="Does [bold]it[/bold] work [for all]?", notes=("[x] marks the spot",))
    assert text.startswith("Does [bold]it[/bold] work [for all]?\n")
    assert "[x] marks the spot" in text


def test_a_difference_that_rounds_to_nothing_has_no_sign(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda"))
    study.fill({"majority": [0.5, 0.5], "lda": [0.4999, 0.4999]})
    assert row_of(text_of(study), "lda")[-3] == ".000"


def test_a_perfect_score_keeps_its_one(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda"))
    study.fill({"majority": [0.0] * 5, "lda": [1.0] * 5})
    assert row_of(text_of(study), "lda")[2:5] == ["1.000", "[1.000,", "1.000]"]
    assert row_of(text_of(study), "lda")[-3] == "+1.000"


def test_intervals_over_few_subjects_are_told_to_be_too_narrow(tmp_path):
    for n, told in ((4, True), (8, True), (15, False)):
        study = SmallStudy(tmp_path / f"{n}.sqlite", header_of("majority", "lda"))
        study.fill({"majority": [0.5] * n, "lda": [0.6 + i / 100 for i in range(n)]})
        assert (f"With {n} subjects a bootstrap interval is too narrow" in " ".join(text_of(study).split())) is told
