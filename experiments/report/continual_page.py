"""The page of a study of streams, from its results files alone: what was done, the scores, and five findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.errors import ResultsError
from experiments.folders import Folders
from experiments.report import continual_figures as figures
from experiments.report.accumulation import contrasts
from experiments.report.accumulation_section import accumulation
from experiments.report.answers import (
    Answer,
    interference_answer,
    order_answer,
    reliability_answer,
    stiffness_answer,
)
from experiments.report.continual import (
    COMPARED,
    MARGIN,
    SPREAD,
    Comparison,
    Spread,
    comparisons,
    spreads,
)
from experiments.report.continual_words import TITLES, chance_of, interval, percent
from experiments.report.diagnosed import DIAGNOSTICS, Diagnosed, diagnosed
from experiments.report.document import Block, Bullets, Document, Figure, Heading, Paragraph, Table
from experiments.report.stream_sections import Chapter, counted, done, meanings, scores, troubles
from experiments.report.stream_study import StreamStudy, read_stream_study, scored
from experiments.report.transfer import transfer_answer
from experiments.report.words import NOTHING, number, plural
from experiments.results import Results


def write_page(
    names: Sequence[str], folders: Folders, output: Path, margin: float = MARGIN, absent: Sequence[str] = ()
) -> list[Path]:
    """Write the page of one or several studies as Markdown, with its figures in a folder beside it, and as HTML.

    Parameters
    ----------
    names : sequence of str
        Names of the studies; the page of several is called by what their names have in common.
    folders : Folders
        Where their results lie.
    output : Path
        Folder of the page.
    margin : float
        Difference of scores that is as good as none, above 0.
    absent : sequence of str
        What the study asks too and has no results of, as it is to be named on the page.

    Returns
    -------
    list of Path
        The Markdown file and the HTML file.

    Raises
    ------
    ResultsError
        There are no results of a study, they cannot be read or are not of streams, or the page cannot be written.
    ValueError
        A margin that is no positive number.
    """
    name = _common(names)
    document = page([_read(folders.results(one)) for one in names], name, margin, absent)
    folder = f"{name}_figures"
    written = {output / f"{name}.md": document.markdown(folder), output / f"{name}.html": document.html()}
    try:
        (output / folder).mkdir(parents=True, exist_ok=True)
        for figure in document.figures:
            (output / folder / figure.file).write_bytes(figure.png)
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"Cannot write the page to {output}: {error}. Another folder: --output DIR.") from error
    return list(written)


def page(studies: Sequence[StreamStudy], name: str, margin: float = MARGIN, absent: Sequence[str] = ()) -> Document:
    """The page of studies that ask the same of several data sets, or of one.

    Parameters
    ----------
    studies : sequence of StreamStudy
        At least one.
    name : str
        What they are called together.
    margin : float
        Difference of scores that is as good as none, above 0.
    absent : sequence of str
        What is asked too and has no results, by name.

    Raises
    ------
    ValueError
        A margin that is no positive number.
    """
    datasets = Counter(study.header.dataset for study in studies)
    chapters = []
    for study in studies:
        header = study.header
        called = header.dataset if datasets[header.dataset] == 1 else header.study
        chapters.append(Chapter(called, study, tuple(scored(study, called))))
    questions = dict.fromkeys(study.header.question for study in studies if study.header.question)
    return Document(": ".join([name, *questions]), list(_blocks(chapters, margin, absent)))


def _blocks(chapters: Sequence[Chapter], margin: float, absent: Sequence[str]) -> Iterator[Block]:
    yield Heading(2, "What was done")
    if absent:
        yield Paragraph(
            f"Not on this page: {', '.join(absent)}. The study asks the same there, and no results of it are here."
        )
    for chapter in chapters:
        yield from done(chapter)
    yield Heading(2, "Scores")
    yield from meanings(chapters)
    for place, chapter in enumerate(chapters, start=1):
        yield from scores(chapter, f"r{place}")
    yield from _findings(chapters, margin)
    yield Heading(2, "Failed cells and undefined scores")
    yield from [block for chapter in chapters for block in troubles(chapter)] or [Paragraph("None.")]
    yield Heading(2, "Notes")
    yield from _notes(chapters)


def _findings(chapters: Sequence[Chapter], margin: float) -> Iterator[Block]:
    groups = [(chapter, one) for chapter in chapters for one in chapter.main]
    measured = [diagnosed(chapter.study, one.group) for chapter, one in groups]
    yield from _diagnosis("F1", "f1_reliability", measured, reliability_answer, figures.reliability, _F1)
    yield from _diagnosis("F2", "f2_interference", measured, interference_answer, figures.interference, _F2)
    yield from _diagnosis("F3", "f3_stiffness", measured, stiffness_answer, figures.stiffness, _F3)
    yield from accumulation(contrasts([(one, of) for (_, one), of in zip(groups, measured, strict=True)]))
    spread = [found for _, one in groups for found in spreads(one)]
    titles = {key: TITLES[key] for key in SPREAD}
    shown: list[Block] = [_spread_table(spread)]
    if any(one.components.orders > 1 and one.components.seeds > 1 for one in spread):
        shown.insert(0, Figure("f4_shares", figures.as_png(figures.shares(spread, titles)), _F4))
    yield from _answered("F4", order_answer(spread), *shown)
    compared = comparisons([one for _, one in groups], margin)
    titles = {key: TITLES[key] for key in COMPARED}
    shown = []
    if compared:
        drawn = figures.differences(compared, titles, margin)
        shown = [Figure("f5_differences", figures.as_png(drawn), _F5), _comparison_table(compared), Paragraph(_TESTED)]
        if any(one.left_out for one in compared):
            shown += [Paragraph(_LEFT_OUT), Bullets(tuple(_left_out(compared)))]
    yield from _answered("F5", transfer_answer(compared, margin, _people(chapters), measured), *shown)


_F1 = (
    "Agreement of importance by two halves of each subject's windows, at growing noise, and with the subject before. "
    "Mean over steps, seeds and orders, with the 95 % interval over orders."
)
_F2 = (
    "Gradients of the new subject's loss and of the penalty: mean cosine, and share of steps at which they oppose on "
    "the most important weights. Mean over steps, seeds and orders, with the 95 % interval over orders."
)
_F3 = (
    "Sum of remembered importance (each method has a unit of its own; decades), share of the penalty in the curvature, "
    "and distance that a subject moves the weights, after each subject. Mean over seeds and orders, with the 95 % "
    "interval over orders. Fine-tuning shows how far weights move that nothing holds."
)
_F4 = "Share of order, seed and rest in the variance of final scores over runs; an estimate below 0 counts as 0."
_F5 = (
    "Differences to fine-tuning over orders: Hodges-Lehmann estimate, 95 % interval (thin) and 90 % interval (thick). "
    "Within the grey band lies the margin: a thick line inside it is what the equivalence test asks for."
)
_TESTED = (
    "A difference is the Hodges-Lehmann estimate over orders with its interval, and no mean: the test is of signed "
    "ranks, and better or worse is what they say, while one order far off may turn a mean the other way. p is "
    "corrected over the comparisons of its family in the same score, those of all data sets together: regularisers "
    "whose value was chosen beforehand, on people who are set aside; regularisers with a value given by the study; "
    "other methods. Intervals are of one comparison each and not corrected: one that leaves out 0 is no difference "
    "shown while p (Holm) is not below the level. People better / worse: on how many held-out people the configuration "
    "scores higher, and lower, than fine-tuning in the mean over runs, which no test is of."
)
_LEFT_OUT = (
    "Both are compared over the same runs, each an order with a seed, and seeds are averaged then. Runs of which only "
    "one of the two has a score are left out:"
)


def _diagnosis(
    finding: str,
    name: str,
    measured: Sequence[Diagnosed],
    answer: Callable[[Sequence[Diagnosed]], Answer],
    draw: Callable[[Sequence[Diagnosed]], Any],
    caption: str,
) -> Iterator[Block]:
    """A finding on measurements, of the groups that have them."""
    names = DIAGNOSTICS[finding.lower()]
    having = [one for one in measured if one.configurations(names)]
    if having:
        yield from _answered(finding, answer(having), Figure(name, figures.as_png(draw(having)), caption))
    else:
        yield Heading(2, f"{finding}. {answer([]).claim}")
        yield Paragraph(
            "Not measured: no cell here has such diagnostics. Regularisers tell them with the value diagnostics: true."
        )


def _answered(finding: str, answer: Answer, *shown: Block) -> Iterator[Block]:
    yield Heading(2, f"{finding}. {answer.claim}")
    yield Paragraph(answer.verdict)
    yield from shown
    if answer.details:
        yield Bullets(answer.details)
    yield Paragraph(answer.limits)


def _spread_table(of: Sequence[Spread]) -> Table:
    rows = []
    for one in of:
        found = one.components
        shares = [percent(share) for share in found.shares.values()]
        span = f"{number(found.lowest)} to {number(found.highest)}"
        size = f"{found.orders} x {found.seeds}"
        rows.append((one.place, one.configuration, TITLES[one.measure], size, *shares, chance_of(found.p), span))
    columns = ("data", "configuration", "score", "orders x seeds", "order", "seed", "rest", "p of order", "orders from")
    return Table(columns, tuple(rows), "Shares of the variance over runs, and range over orders", frozenset({0, 1, 2}))


def _comparison_table(of: Sequence[Comparison]) -> Table:
    rows = tuple(
        (
            one.place,
            one.configuration,
            one.family,
            TITLES[one.measure],
            str(one.paired.n),
            number(one.paired.shift, signed=True),
            interval(one.paired.low, one.paired.high, signed=True),
            chance_of(one.p),
            chance_of(one.equivalence.p),
            NOTHING if one.people is None else " / ".join(map(str, one.people)),
            one.verdict,
        )
        for one in of
    )
    columns = (
        "data", "configuration", "family", "score", "orders", "difference", "95 % interval", "p (Holm)",
        "p of equivalence", "people better / worse", "verdict",
    )  # fmt: skip
    return Table(columns, rows, "Against fine-tuning", frozenset({0, 1, 2, 3, 10}))


def _people(chapters: Sequence[Chapter]) -> str:
    told = []
    for chapter in chapters:
        learners, held_out = counted(chapter)
        of = f"{plural(learners, 'learner')} and {plural(held_out, 'held-out subject')}"
        told.append(of if len(chapters) == 1 else f"{chapter.name}: {of}")
    return "; ".join(told)


def _left_out(of: Sequence[Comparison]) -> Iterator[str]:
    """How many runs of each configuration, by score."""
    for place, label in dict.fromkeys((one.place, one.configuration) for one in of if one.left_out):
        mine = [one for one in of if (one.place, one.configuration) == (place, label) and one.left_out]
        told = "; ".join(f"{plural(one.left_out, 'run')} in {TITLES[one.measure]}" for one in mine)
        yield f"{label} ({place}): {told}."


def _notes(chapters: Sequence[Chapter]) -> Iterator[Block]:
    for chapter in chapters:
        header = chapter.study.header
        yield Heading(3, chapter.name)
        left_out = (f"Not on this page, learned from the scored person alone: {', '.join(header.seen)}.",)
        yield Bullets(
            (
                *header.notes,
                *left_out * bool(header.seen),
                f"Made from the results of {header.study} alone; its table: unseen show {header.study}",
            )
        )


def _read(path: Path) -> StreamStudy:
    with Results(path, writable=False) as results:
        return read_stream_study(results)


def _common(names: Sequence[str]) -> str:
    """Name of the study that asks several data sets: theirs are STUDY.NAME."""
    parts = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(first for first, *others in takewhile(lambda part: len(set(part)) == 1, parts)) or "_".join(names)
