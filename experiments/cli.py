"""The command `unseen`. Heavy libraries are imported by the command that needs them, so that help is instant."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from typer.core import TyperGroup

from benchmarks.errors import UnseenError
from experiments.environment import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.datasets.contract import Places
    from experiments.study import Study


class _Commands(TyperGroup):
    """Tells the commands in plain text: to draw boxes around it, rich would be imported for most of the time."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command`."""
        click.Group.format_help(self, ctx, formatter)


app = typer.Typer(
    cls=_Commands,
    name="unseen",
    help="How well does it work on the person it has never seen?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Click suggests already.
    suggest_commands=False,
)

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", envvar="UNSEEN_DATA", help="Folder of the data sets. Default: the user's cache."),
]
ResultsFolder = Annotated[Path, typer.Option("--results", help="Folder of the results files.")]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME", help="Only this entry of the study's configurations; may be repeated."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the study, as in --set protocol.name=loso."),
]

Across = Annotated[
    list[str] | None,
    typer.Option("--across", metavar="NAME", help="Of a study across data sets only this one; may be repeated."),
]

BAD_INPUT, CELLS_FAILED, STOPPED = 2, 1, 130


@app.command("run")
def run_(
    study: StudyName,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at once. Default: all cores.")] = None,
    changes: Changes = None,
    only: Only = None,
    across: Across = None,
    ray: Annotated[str, typer.Option(metavar="ADDRESS", help="Ray cluster to join, as in --ray auto.")] = "local",
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow server. Default: a file beside the results.")] = None,
) -> None:
    """Compute what is missing of a study, and show its table. Ctrl-C stops; the same command goes on."""
    from rich.console import Console

    from benchmarks.cache import Cache
    from benchmarks.errors import StudyError
    from experiments.folders import Folders
    from experiments.plan import Plan
    from experiments.runner import Report, run

    if workers is not None and ray != "local":
        raise StudyError("--workers is for this machine; a cluster (--ray) has the workers that it has.")
    console = Console(stderr=True)
    reports: list[Report] = []

    def compute(one: Study, places: Places) -> None:
        plan, cache = Plan(one, places), Cache(places.cache / "representations")
        try:
            report = run(
                plan, Folders(results), cache, console, workers=workers, address=ray, tracking_uri=tracking_uri
            )
        except KeyboardInterrupt:
            console.print("Stopped. What was finished is kept; the same command computes the rest.")
            raise typer.Exit(STOPPED) from None
        reports.append(report)
        _show(plan.study.study, results)
        console.print(
            f"{report.computed - report.failed} cells computed in {report.seconds:.1f} s; logging took "
            f"{report.logging_s:.1f} s beside them. Browse: unseen ui --results {results}",
            soft_wrap=True,
        )
        if report.problem:
            console.print(f"[yellow]MLflow is behind:[/yellow] {report.problem} The results are complete.")

    problems = _each(study, data, changes, only, across, compute)
    failed = sum(report.failed for report in reports)
    if problems:
        raise typer.Exit(BAD_INPUT)
    if failed:
        console.print(
            f"[red]cells failed: {failed}[/red]; the table says which and why. The same command computes them again, "
            f"with the same numbers: that helps where something else was the cause, as a lack of memory. What cannot "
            f"be learned, or diverged, fails until the study is changed.",
            soft_wrap=True,
        )
        raise typer.Exit(CELLS_FAILED)


@app.command("plan")
def plan_(
    study: StudyName, data: DataFolder = None, changes: Changes = None, only: Only = None, across: Across = None
) -> None:
    """Cells by configuration, and what choosing open values costs; nothing is computed."""
    from experiments.plan import Plan
    from experiments.report.planned import planned_table
    from experiments.report.table import table_console

    if _each(study, data, changes, only, across, lambda one, at: table_console().print(planned_table(Plan(one, at)))):
        raise typer.Exit(BAD_INPUT)


@app.command()
def show(study: StudyName, results: ResultsFolder = Path("results"), across: Across = None) -> None:
    """The table of a study again, from its results file alone."""
    for name in _known(study, results, across)[0]:
        _show(name, results)


@app.command()
def report(
    study: StudyName,
    results: ResultsFolder = Path("results"),
    across: Across = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the page. Default: that of the results.")] = None,
    margin: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Differences within it count as none: what equivalence means.")
    ] = 0.02,
) -> None:
    """Write the page of a study of streams, Markdown and HTML with figures, from its results files alone."""
    from experiments.folders import Folders
    from experiments.report.continual_page import write_page

    known, absent = _known(study, results, across)
    for path in write_page(known, Folders(results), output or results, margin, absent):
        typer.echo(path)


@app.command()
def ui(
    results: ResultsFolder = Path("results"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 5000, or the next free one.")] = None,
) -> None:
    """Browse all results in MLflow, on 127.0.0.1."""
    from experiments.folders import Folders
    from experiments.server import serve

    folders = Folders(results)
    serve(folders.tracking_uri, folders.artifacts, port)


@app.command()
def new(name: Annotated[str, typer.Argument(help="Name of the study; the file is NAME.yaml.")]) -> None:
    """Write a commented study file to edit."""
    from benchmarks.errors import StudyError
    from experiments.study import STUDY_NAME

    name = name.removesuffix(".yaml")
    if not re.fullmatch(STUDY_NAME, name):
        raise StudyError(f"{name!r} is no name of a study: letters, digits, '.', '_' and '-', no folder.")
    path = Path(f"{name}.yaml")
    if path.exists():
        raise StudyError(f"{path} exists already; choose another name.")
    template = (Path(__file__).parent / "template.yaml").read_text(encoding="utf-8")
    path.write_text(template.replace("NAME", name), encoding="utf-8")
    typer.echo(f"{path} is written. Edit it, then: unseen run {path}")


datasets_app = typer.Typer(help="Data sets: which there are, and how to get them.", invoke_without_command=True)
app.add_typer(datasets_app, name="datasets")


@datasets_app.callback()
def datasets(context: typer.Context, data: DataFolder = None) -> None:
    """All data sets: subjects, signals, labels, licence, and whether they are on this machine."""
    from benchmarks.errors import StudyError

    if context.invoked_subcommand is not None:
        named = context.get_parameter_source("data")
        if named is not None and named.name == "COMMANDLINE":
            raise StudyError(
                f"--data belongs behind the command: unseen datasets {context.invoked_subcommand} ... --data"
            )
        return
    from rich.table import Table

    from benchmarks.datasets.table import DATASETS
    from benchmarks.parts import find
    from experiments.report.table import table_console

    places = _places(data, Path.cwd())
    caption = "get: unseen datasets get NAME"
    table = Table(title=f"Data sets, looked for in {places.data}", caption=caption, show_lines=True)
    for column in ("name", "what", "signals", "labels", "licence", "here"):
        table.add_column(column, overflow="fold")
    for name in DATASETS:
        part = find(name, DATASETS, "data set")
        card, place = part.card, part.present(places)
        what = f"{card.title}. {card.subjects}.\n{card.page}\nCite: {card.citation}"
        missing = "no" if card.source is None else "no: get"
        table.add_row(name, what, card.signals, card.labels, card.licence, missing if place is None else "yes")
    table_console().print(table)


@datasets_app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="Name of an openly licensed data set.")], data: DataFolder = None
) -> None:
    """Bring an openly licensed data set from its publisher. Ctrl-C stops; the same command goes on."""
    from rich.console import Console

    from benchmarks.datasets.download import get as bring

    console = Console(stderr=True)
    try:
        place = bring(name, _places(data, Path.cwd()), console)
    except KeyboardInterrupt:
        console.print("Stopped. Files that came whole are kept; the same command fetches the others.")
        raise typer.Exit(STOPPED) from None
    typer.echo(place)


@app.command()
def publish(
    study: StudyName,
    tracking_uri: Annotated[str, typer.Option(help="MLflow server, or sqlite:///FILE.")],
    results: ResultsFolder = Path("results"),
    across: Across = None,
) -> None:
    """Rebuild the view of a study on any MLflow server, from its results file alone. Twice is as good as once."""
    from experiments.folders import Folders
    from experiments.publishing import publish as rebuild

    for name in _known(study, results, across)[0]:
        typer.echo(rebuild(name, Folders(results), tracking_uri))


def _places(data: Path | None, study: Path) -> Places:
    from platformdirs import user_cache_path

    from benchmarks.datasets.contract import Places

    named = os.environ.get("UNSEEN_CACHE")
    cache = Path(named) if named else user_cache_path("unseen")
    return Places(data=data or cache / "datasets", cache=cache, study=study)


def _each(
    name: str,
    data: Path | None,
    changes: list[str] | None,
    only: list[str] | None,
    across: list[str] | None,
    act: Callable[[Study, Places], None],
) -> int:
    """Act on a study, or on those data sets of several that are here or that were asked for.

    What is wrong with one of several is told, and the others go on; how many these were is returned.
    """
    from benchmarks.errors import StudyError
    from experiments.plan import is_here
    from experiments.study import locate_study, read_studies

    path = locate_study(name)
    places = _places(data, path.resolve().parent)
    studies = read_studies(path, changes or [], across)
    here = [study for study in studies if across or len(studies) == 1 or is_here(study, places)]
    for study in studies:
        if study not in here:
            typer.echo(f"{study.study} is left out: its data are not in {places.data}.", err=True)
    if not here:
        raise StudyError(f"None of the data sets of {path} is in {places.data}: name their folder with --data.")
    problems = 0
    for study in here:
        try:
            act(study.only(only), places)
        except UnseenError as error:
            if len(here) == 1:
                raise
            typer.echo(f"unseen: {study.study}: {error}", err=True)
            problems += 1
    return problems


def _known(study: str, results: Path, across: list[str] | None) -> tuple[list[str], list[str]]:
    """Names of the studies that a name means and that were run, and of those that were not.

    One that has results is known by its name alone, where its file is elsewhere. Where none was run, the first stands
    among those that were: its absence is then told.
    """
    from experiments.folders import Folders
    from experiments.study import locate_study, read_studies

    folders = Folders(results)
    if folders.results(study).is_file():
        return [study], []
    names = [one.study for one in read_studies(locate_study(study), across=across)]
    known = [name for name in names if folders.results(name).is_file()] or names[:1]
    return known, [name for name in names if name not in known]


def _show(study: str, folder: Path) -> None:
    from experiments.folders import Folders
    from experiments.report.page import page
    from experiments.report.table import table_console
    from experiments.results import Results

    with Results(Folders(folder).results(study), writable=False) as results:
        table_console().print(page(results))


def main() -> None:
    """Entry point: errors of ours are told in a line, without a traceback."""
    prepare()
    # A user's own parts, named as package.module:Name, lie where the command is given; last, so that a statistics.py
    # there replaces nobody else's.
    sys.path.append(str(Path.cwd()))
    try:
        app()
    except UnseenError as error:
        typer.echo(f"unseen: {error}", err=True)
        sys.exit(BAD_INPUT)
