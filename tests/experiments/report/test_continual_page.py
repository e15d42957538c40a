"""The page of streams: what stands on it, for one data set and for several, and where little is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import ResultsError
from experiments import cli
from experiments.choosing import Chosen
from experiments.folders import Folders
from experiments.report import continual_figures, stream_sections
from experiments.report.continual_page import page, write_page
from experiments.report.document import Bullets, Document, Heading, Paragraph, Table
from experiments.report.stream_study import StreamStudy
from tests.experiments.stream_rows import (
    cell_of_stream,
    header_of_streams,
    outcome_of_all_together,
    outcome_of_stream,
    study_of,
)
from tests.experiments.studies import SmallStudy, failure_of

SUBJECTS = ("A", "B", "C")
IN_SEQUENCE = ("finetuning", "ewc", "si", "replay", "cumulative", "from_scratch")
FINDINGS = ("F1", "F2", "F3", "F4", "F5")
NO_NETWORK = {"normalization": "none", "encoder": "none", "objective": "none"}


@contextmanager
def imageless() -> Iterator[None]:
    """Figures are drawn and not turned into images, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (continual_figures, stream_sections):
            patch.setattr(module, "as_png", lambda figure: b"image")
        yield


@pytest.fixture
def no_images() -> Iterator[None]:
    with imageless():
        yield


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The page of a whole study."""
    with imageless():
        return page([whole(tmp_path_factory.mktemp("whole"))], "small")


def streamed(strategy: str, order: int, seed: int, rng: np.random.Generator, **changes):
    """A cell with plausible numbers; regularisers are diagnosed."""
    R = 0.5 + 0.3 * np.tri(4, 3, -1) + rng.normal(0, 0.03, (4, 3))
    curve = {person: list(0.5 + 0.02 * np.arange(4) + rng.normal(0, 0.02, 4)) for person in ("X", "Y")}
    measured = {(step, "f3_step"): 3.0 / step for step in (1, 2, 3)}
    if strategy in ("ewc", "si"):
        noise = ("", "_20db", "_10db", "_0db")
        measured |= {(step, f"f1_spearman{suffix}"): rng.normal(0.6, 0.1) for step in (1, 2, 3) for suffix in noise}
        measured |= {(step, f"f1_overlap{suffix}"): rng.normal(0.3, 0.1) for step in (1, 2, 3) for suffix in noise}
        measured |= {(step, "f3_importance"): float(step) for step in (1, 2, 3)}
        for name in ("f1_previous_spearman", "f2_cosine", "f2_cosine_all", "f2_opposing", "f3_rigidity"):
            measured |= {(step, name): rng.normal(0.3, 0.05) for step in (2, 3)}
    order_of = [SUBJECTS[place] for place in np.random.default_rng(order).permutation(3)]
    outcome = outcome_of_stream(order_of, R, curve, trial=R, measured=measured)
    return cell_of_stream(strategy, order, seed, **changes), outcome


def cells_of(strategies=IN_SEQUENCE, orders: int = 6, seeds: int = 2, **changes):
    rng = np.random.default_rng(0)
    return [
        streamed(strategy, order, seed, rng, **changes)
        for strategy in strategies
        for order in range(orders)
        for seed in range(seeds)
    ]


def beside_of(**changes):
    networks = np.random.default_rng(1).normal(0.5, 0.02, (5, 3))
    learners, held_out = dict.fromkeys(SUBJECTS, 0.75), dict.fromkeys("XY", 0.5)
    parts = {"normalization": "training", **changes}
    return [
        (cell_of_stream("majority", **{**changes, **NO_NETWORK}), outcome_of_all_together(held_out, held_out)),
        (cell_of_stream("untrained", **changes), outcome_of_stream(SUBJECTS, networks, {"X": [0.5] * 5}, unmet=True)),
        (cell_of_stream("pooled", **parts), outcome_of_all_together(learners, held_out)),
    ]


def whole(folder: Path, orders: int = 6, **changes) -> StreamStudy:
    told = {
        "controls": ("majority", "untrained"),
        "notes": ("Data: made up.", "Windows of 4 s every 4 s."),
        "choices": (Chosen("ewc", "strength=10", {"strength=1": 0.5, "strength=10": 0.625}, {}),),
    }
    return study_of(folder, [*cells_of(orders=orders), *beside_of()], **{**told, **changes})


def table_of(document: Document, caption: str) -> Table:
    (found,) = [block for block in document.blocks if isinstance(block, Table) and caption in block.caption]
    return found


def text_of(document: Document) -> str:
    return "\n".join(block.text for block in document.blocks if isinstance(block, Paragraph))


def column(table: Table, name: str) -> list[str]:
    return [row[table.columns.index(name)] for row in table.rows]


# --- all of it -------------------------------------------------------------------------------------------------------


def test_a_whole_study_has_all_sections_tables_and_figures(document: Document):
    assert document.title == "small: What is carried over?"
    sections = [block.text for block in document.blocks if isinstance(block, Heading) and block.level == 2]
    assert sections[:2] == ["What was done", "Scores"]
    assert [section.partition(".")[0] for section in sections[2:7]] == list(FINDINGS)
    assert sections[7:] == ["Failed cells and undefined scores", "Notes"]
    names = ["r1_1", "f1_reliability", "f2_interference", "f3_stiffness", "f4_shares", "f5_differences"]
    assert [figure.name for figure in document.figures] == names
    assert document.blocks[-1] == Bullets(
        (
            "Data: made up.",
            "Windows of 4 s every 4 s.",
            "Made from the results of small alone; its table: unseen show small",
        )
    )


def test_tables_hold_everybody_with_marks_and_what_can_be_told_of_them(document: Document):
    scores = table_of(document, "Balanced accuracy of windows: scores")
    marks = dict(zip(column(scores, "configuration"), column(scores, "marks"), strict=True))
    assert list(marks) == [*IN_SEQUENCE, "majority", "untrained", "pooled"]
    assert (marks["cumulative"], marks["pooled"], marks["majority"]) == ("upper bound", "upper bound", "control")
    last = scores.rows[-1]
    assert [last[scores.columns.index(name)] for name in ("orders", "ACC", "held-out, final", "next subject")] == [
        "1", ".750", ".500", "-",
    ]  # fmt: skip
    assert all(re.fullmatch(r"\.\d{3} \[\.\d{3}, \.\d{3}\]", cell) for cell in column(scores, "ACC")[:6])
    transfers = table_of(document, "Balanced accuracy of windows: what subjects do to each other")
    assert column(transfers, "configuration") == list(IN_SEQUENCE)
    assert {"FWT", "FWT over previous", "BWT", "intransigence", "plasticity"} <= set(transfers.columns)
    assert column(transfers, "intransigence")[4] == ".000 [.000, .000]"
    assert column(table_of(document, "accuracy of trials: scores"), "configuration") == column(scores, "configuration")
    further = table_of(document, "Balanced accuracy of windows: further metrics")
    assert further.columns == ("configuration", "FWT over all", "FWT over chance", "adaptation gain", "forgetting rate")
    assert column(further, "configuration") == list(IN_SEQUENCE)
    following = [float(cell.split()[0]) for cell in column(scores, "next subject")[:6]]
    over_chance = [float(cell.split()[0]) for cell in column(further, "FWT over chance")]
    assert over_chance == pytest.approx([value - 0.5 for value in following], abs=1e-9)


def test_what_was_done_is_told_in_numbers(document: Document):
    text = text_of(document)
    assert "3 subjects of eegmat were learned from one after another, in 6 orders with 2 seeds each" in text
    assert "2 subjects were held out" in text
    assert "whole trials (3 subjects)" in text
    assert "Protocol: stream(held_out=2, choosing_subjects=3)." in text
    assert "chance is .500" in text
    chosen = table_of(document, "What was chosen")
    edge = "strength is the highest of those offered"
    assert chosen.rows == (("ewc", "strength=10", "strength=1: .500, strength=10: .625", edge),)
    assert "Beyond a value at the edge of those offered" in text
    assert "Not on this page" not in text
    assert "(3 learners and 2 held-out subjects)" in text


def test_differences_are_those_of_ranks_with_their_families(document: Document):
    compared = table_of(document, "Against fine-tuning")
    families = dict(zip(column(compared, "configuration"), column(compared, "family"), strict=True))
    assert families == {
        "ewc": "regulariser, value chosen",
        "si": "regulariser, value given",
        "replay": "other method",
    }
    assert "mean difference" not in compared.columns
    for score, people in zip(column(compared, "score"), column(compared, "people better / worse"), strict=True):
        assert re.fullmatch(r"[012] / [012]" if score.startswith("held-out") else "-", people)
    text = text_of(document)
    assert "Intervals are of one comparison each and not corrected" in text
    assert "A difference is the Hodges-Lehmann estimate over orders" in text
    assert "Regularisers whose value was chosen beforehand, 1 comparison a score:" in text
    assert "Regularisers with a value given by the study, 1 comparison a score:" in text
    assert "Runs of which only" not in text
    told = next(block for block in document.blocks if isinstance(block, Bullets) and "have to agree" in str(block))
    assert len(told.items) == 2


@pytest.mark.usefixtures("no_images")
def test_the_table_of_differences_shows_the_shift_and_not_the_mean(tmp_path: Path):
    gains = np.append(np.linspace(0.010, 0.020, 11), -0.40)
    cells = [
        (cell_of_stream(label, order), outcome_of_stream(("A", "B"), np.full((3, 2), score), {"X": [0.5] * 3}))
        for order, gain in enumerate(gains)
        for label, score in (("finetuning", 0.5), ("ewc", 0.5 + gain))
    ]
    compared = table_of(page([study_of(tmp_path, cells)], "small", margin=0.005), "Against fine-tuning")
    (row,) = [row for row in compared.rows if row[3] == "ACC"]
    told = dict(zip(compared.columns, row, strict=True))
    assert gains.mean() < 0
    assert told["difference"].startswith("+.01")
    assert told["verdict"] == "better"


@pytest.mark.usefixtures("no_images")
def test_runs_that_only_one_of_two_has_are_counted(tmp_path: Path):
    cells = [
        (cell, outcome)
        for cell, outcome in cells_of(("finetuning", "ewc", "replay"), orders=3, seeds=2)
        if (cell.strategy, cell.stream, cell.seed) not in {("ewc", 0, 1), ("ewc", 2, 0)}
    ]
    document = page([study_of(tmp_path, cells)], "small")
    assert "Runs of which only one of the two has a score are left out:" in text_of(document)
    (told,) = [block for block in document.blocks if isinstance(block, Bullets) and "2 runs" in str(block)]
    assert told.items == ("ewc (eegmat): 2 runs in next subject; 2 runs in held-out, final; 2 runs in ACC.",)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize(("mode", "said"), [("stream", True), ("subject_unlabelled", False)])
def test_what_is_seen_before_the_first_person_is_told_of_the_mode_that_it_comes_of(tmp_path: Path, mode, said):
    cells = cells_of(("replay",), orders=1, seeds=1, normalization=mode)
    text = text_of(page([study_of(tmp_path, cells, classes=("low", "middle", "high"))], "small"))
    assert ("Before the first nothing is known to normalise with: row 0 of R" in text) == said
    assert ("which is a balanced accuracy of .333." in text) == said


@pytest.mark.usefixtures("no_images")
def test_several_data_sets_share_findings_and_corrections(tmp_path: Path):
    one = whole(tmp_path, 2, study="both.dreamer", dataset="dreamer")
    two = whole(tmp_path, 2, study="both.seed", dataset="seed")
    document = page([one, two], "both")
    assert document.title == "both: What is carried over?"
    assert [figure.name for figure in document.figures][:2] == ["r1_1", "r2_1"]
    compared = table_of(document, "Against fine-tuning")
    assert set(column(compared, "data")) == {"dreamer", "seed"}
    assert len(compared.rows) == 2 * 3 * 3
    assert "Regularisers whose value was chosen beforehand, 2 comparisons a score" in text_of(document)
    assert "Regularisers with a value given by the study, 2 comparisons a score" in text_of(document)
    headings = [block.text for block in document.blocks if isinstance(block, Heading) and block.level == 3]
    assert headings.count("dreamer") == headings.count("seed") == 2


@pytest.mark.usefixtures("no_images")
def test_data_sets_without_results_are_named(tmp_path: Path):
    study_of(tmp_path, cells_of(("replay",), orders=1, seeds=1))
    write_page(["small"], Folders(tmp_path), tmp_path, absent=["dreamer", "seed"])
    assert "Not on this page: dreamer, seed." in (tmp_path / "small.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_images")
def test_rules_of_accumulation_are_told_within_the_finding_on_what_piles_up(tmp_path: Path):
    rng = np.random.default_rng(0)
    variants = {"summed": "mas(strength=2)", "largest": "mas(strength=2, accumulation=max)"}
    cells = [
        streamed("mas", order, 0, rng, configuration=label, variant=variant)
        for label, variant in variants.items()
        for order in range(6)
    ]
    document = page([study_of(tmp_path, cells)], "small")
    table = table_of(document, "Rules of accumulation less the sum")
    assert column(table, "configuration") == ["largest"]
    headings = [block.text for block in document.blocks[: document.blocks.index(table)] if isinstance(block, Heading)]
    assert headings[-1].startswith("F3.")


@pytest.mark.usefixtures("no_images")
def test_one_person_was_held_out_and_not_were(tmp_path: Path):
    outcome = outcome_of_stream(("A", "B"), np.full((3, 2), 0.5), {"X": [0.5] * 3})
    text = text_of(page([study_of(tmp_path, [(cell_of_stream("replay"), outcome)])], "small"))
    assert "1 subject was held out" in text
    assert "2 subjects of eegmat were learned" in text


@pytest.mark.usefixtures("no_images")
def test_studies_of_one_data_set_are_told_apart_by_their_names(tmp_path: Path):
    studies = [whole(tmp_path, 2, study=name) for name in ("s.mlp", "s.eegnet")]
    assert set(column(table_of(page(studies, "s"), "Against fine-tuning"), "data")) == {"s.mlp", "s.eegnet"}


# --- little of it ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_images")
def test_one_order_of_one_strategy_is_a_page_that_says_what_it_cannot(tmp_path: Path):
    document = page([study_of(tmp_path, cells_of(("replay",), orders=1, seeds=1))], "small")
    text = text_of(document)
    assert "With 1 order there are no statistics" in text
    assert "Nothing to compare" in text
    assert "Not to be told" in text
    assert text.count("Not measured") == 3
    assert "for want of what they are measured against: FWT (untrained), " in text
    assert "No value was left open" in text
    assert [figure.name for figure in document.figures] == ["r1_1"]
    assert re.fullmatch(r"\.\d{3}", table_of(document, "windows: scores").rows[0][3])


@pytest.mark.usefixtures("no_images")
def test_where_the_page_says_that_there_are_no_statistics_it_has_no_p_and_no_interval(tmp_path: Path):
    document = page([study_of(tmp_path, cells_of(("finetuning", "ewc", "mas"), orders=4, seeds=2))], "small")
    text = text_of(document)
    assert "With 4 orders there are no statistics" in text
    compared = table_of(document, "Against fine-tuning")
    for name in ("p (Holm)", "p of equivalence", "95 % interval"):
        assert set(column(compared, name)) == {"-"}
    assert set(column(table_of(document, "Shares of the variance"), "p of order")) == {"-"}
    assert "Not to be told: a test of the orders is made where there are 5 or more" in text
    details = str([block.items for block in document.blocks if isinstance(block, Bullets)])
    assert "over 4 orders nothing is tested, that takes 5." in details
    assert "smallest p" not in text + details


@pytest.mark.usefixtures("no_images")
def test_failed_cells_missing_ones_and_undefined_scores_are_told_with_their_causes(tmp_path: Path):
    R = [[0.5, 0.5], [float("nan"), 0.5], [0.5, 0.5]]
    cells = [
        (cell_of_stream("finetuning"), outcome_of_stream(("A", "B"), R, {"X": [0.5, 0.5, 0.5]})),
        (cell_of_stream("ewc", 0), failure_of("LearningError: diverged")),
        (cell_of_stream("ewc", 1), failure_of("LearningError: diverged")),
    ]
    document = page([study_of(tmp_path, cells)], "small")
    assert table_of(document, "2 of 3 cells failed").rows == (("ewc", "2", "LearningError: diverged"),)
    assert table_of(document, "are undefined").rows == (("finetuning", "1", "a class is absent"),)
    scores = table_of(document, "windows: scores")
    assert scores.rows[-1][:3] == ("ewc", "", "-")
    assert "2 of 3 cells failed, so that numbers of ewc are of fewer runs than those beside them" in text_of(document)
    assert "blocks of trials, where a class has too few of them (2 subjects)" in text_of(document)


@pytest.mark.usefixtures("no_images")
def test_the_command_of_the_table_is_named_without_marks_of_code(tmp_path: Path):
    told = page([study_of(tmp_path, cells_of(("replay",), orders=1, seeds=1))], "small").markdown("figures")
    assert "its table: unseen show small" in told
    assert r"\`" not in told


@pytest.mark.usefixtures("no_images")
def test_cells_still_to_come_are_counted(tmp_path: Path):
    study = SmallStudy(tmp_path / "results" / "small.sqlite", header_of_streams("ewc"))
    study.add_all(cells_of(("ewc",), orders=1, seeds=1))
    study.digests.append("still to come")
    study.add_all([])
    write_page(["small"], Folders(tmp_path / "results"), tmp_path)
    told = (tmp_path / "small.md").read_text(encoding="utf-8")
    assert told.index("1 of 2 cells are not computed yet, and numbers are of the rest") < told.index("## Scores")


@pytest.mark.usefixtures("no_images")
def test_the_margin_is_the_callers(tmp_path: Path):
    study_of(tmp_path, cells_of(("finetuning", "ewc"), orders=1, seeds=1))
    write_page(["small"], Folders(tmp_path), tmp_path, margin=0.125)
    assert "the difference is below .125 either way" in (tmp_path / "small.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="margin above 0"):
        write_page(["small"], Folders(tmp_path), tmp_path, margin=0.0)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_are_written_whole_and_the_same_twice(tmp_path: Path):
    whole(tmp_path, 3)
    written = [write_page(["small"], Folders(tmp_path), tmp_path / name) for name in ("one", "two")]
    assert written[0] == [tmp_path / "one" / "small.md", tmp_path / "one" / "small.html"]
    contents = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]
    text = written[0][0].read_text(encoding="utf-8")
    images = re.findall(r"\]\((small_figures/\w+\.png)\)", text)
    assert len(images) == 6
    assert all((tmp_path / "one" / image).read_bytes().startswith(b"\x89PNG") for image in images)
    assert written[0][1].read_text(encoding="utf-8").count('src="data:image/png;base64,') == 6


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["small"], "small"),
        (["s.dreamer"], "s.dreamer"),
        (["s.dreamer", "s.deap"], "s"),
        (["a.b.x", "a.b.y"], "a.b"),
        (["x", "y"], "x_y"),
    ],
)
def test_the_page_of_several_studies_is_called_by_what_they_share(tmp_path: Path, names, expected):
    for name in names:
        study_of(tmp_path, cells_of(("ewc",), orders=1, seeds=1), study=name)
    written = write_page(names, Folders(tmp_path), tmp_path / "out")
    assert [path.name for path in written] == [f"{expected}.md", f"{expected}.html"]


def test_no_results_no_streams_and_no_place_to_write_are_told(tmp_path: Path, no_images: None):
    folders = Folders(tmp_path)
    with pytest.raises(ResultsError, match="No results at .*run the study first"):
        write_page(["small"], folders, tmp_path)
    SmallStudy(tmp_path / "small.sqlite", header_of_streams("pooled")).add_all(beside_of()[-1:])
    with pytest.raises(ResultsError, match="small: .*no scores of people who are learned from one after another"):
        write_page(["small"], folders, tmp_path)
    study_of(tmp_path, cells_of(("ewc",), orders=1, seeds=1), study="streams")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="Cannot write the page to .*--output DIR"):
        write_page(["streams"], folders, tmp_path / "file")


# --- the command -----------------------------------------------------------------------------------------------------


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["unseen", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


def test_the_command_writes_the_page_of_all_data_sets_of_a_study_and_says_where(
    tmp_path: Path, no_images: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("both.yaml").write_text(
        "study: both\ndataset: simulated\nwindows: {length_s: 4}\nconfigurations: {ewc: {strategy: lda}}\n"
        "across: {one: {}, two: {}, three: {}}\n"
    )
    for name in ("one", "two"):
        study_of(Path("results"), cells_of(("replay",), orders=1, seeds=1), study=f"both.{name}", dataset=name)
    assert called(monkeypatch, "report", "both.yaml") == 0
    assert capsys.readouterr().out.split() == ["results/both.md", "results/both.html"]
    assert called(monkeypatch, "report", "both.yaml", "--across", "two", "--output", "out") == 0
    assert capsys.readouterr().out.split() == ["out/both.two.md", "out/both.two.html"]
    assert sorted(path.name for path in Path("out", "both.two_figures").iterdir()) == ["r1_1.png"]


def test_the_command_without_results_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, "report", "demo") == cli.BAD_INPUT
    assert "run the study first" in capsys.readouterr().err
    assert called(monkeypatch, "report", "nothing") == cli.BAD_INPUT
    assert "No study file 'nothing'" in capsys.readouterr().err
