"""What a reader must know of a study before its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.choosing import Chosen


@dataclass(frozen=True)
class Header:
    """Name, question and terms of a study, as the table, the tracker and the pages show them.

    Parameters
    ----------
    study, question, dataset, task : str
        Names, and the question in the user's words.
    classes : tuple of str
        Names of the classes.
    configurations : tuple of str
        Labels in the order of the study file.
    reference : str
        Label of the configuration that all others are compared with.
    metric, level : str
        Primary metric, and the level at which it is shown (``"window"`` or ``"trial"``).
    simulated : bool
        True where no person ever was in the cohort.
    notes : tuple of str
        Lines under the table: preprocessing, windows, left-out subjects, unusable signals.
    controls : tuple of str
        Labels of the configurations that show what can be told without the physiology in question.
    seen : tuple of str
        Labels of those that score people whom they learned from, in other windows.
    target_score : float or None
        Mean score over people, in the study's metric, whose first round is told of each federation.
    choices : tuple of Chosen
        What was chosen on people who are set aside, where the study left values open.
    """

    study: str
    question: str
    dataset: str
    task: str
    classes: tuple[str, ...]
    configurations: tuple[str, ...]
    reference: str
    metric: str
    level: str
    simulated: bool
    notes: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    target_score: float | None = None
    choices: tuple[Chosen, ...] = ()
