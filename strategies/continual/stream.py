"""Learning from subjects one after another, whatever is done against forgetting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avalanche.core import SupervisedPlugin

from benchmarks.errors import LearningError
from benchmarks.normalization import STATISTICS, Normalization
from clients.encoders.contract import Encoder
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.training import Training, class_counts
from strategies.continual.experience import SubjectExperience
from strategies.continual.stopping import EarlyStopping
from strategies.continual.template import StreamTemplate
from strategies.contract import Learning, Observer, check_classes


def learn_stream(
    learning: Learning,
    observer: Observer,
    *,
    normalization: Normalization,
    encoder: Encoder,
    objective: Objective,
    training: Training,
    epochs: int,
    patience: int = 5,
    plugins: Sequence[SupervisedPlugin] = (),
    template: Callable[..., StreamTemplate] = StreamTemplate,
) -> NetworkPredictor:
    """Train one network on the training subjects in their order.

    A subject is normalised, shuffled and weighted from itself and those before it alone. So the network after a
    subject does not depend on who comes later, and the order of a subject's minibatches not on who came before.

    Parameters
    ----------
    learning : Learning
        The subjects and their order. Where it has validation windows of the subjects themselves, each one's training
        stops early on its own; those of other people are not looked at.
    observer : callable
        Called before any learning, and after each subject with a copy of the network.
    normalization, encoder, objective, training
        As for every strategy that trains a network. The loss counts the classes of the current subject.
    epochs : int
        Training epochs with each subject, at most.
    patience : int
        Epochs in a row without a better validation score, after which a subject's training stops.
    plugins : sequence of SupervisedPlugin
        What is done against forgetting, as new plugins for Avalanche's template.
    template : callable
        Makes the template, by the parameters of `StreamTemplate`.

    Returns
    -------
    NetworkPredictor
        The network after the last subject.

    Raises
    ------
    LearningError
        A class occurs in no subject, some subjects have validation windows and others none, or the loss explodes.
    """
    check_classes(learning)
    seed, classes = learning.seed, len(learning.classes)
    network = initial_network(encoder, objective, learning.training.x.shape[1:], classes, seed)
    normalizer = normalization.start(learning.geometry)
    predictor = NetworkPredictor(network, normalizer, objective)
    observer(0, predictor.snapshot())

    if learning.validation is not None and _of_themselves(learning.training.subjects, learning.validation.subjects):
        plugins = [EarlyStopping(learning.validation, objective, patience), *plugins]
    meeting = template(network=network, training=training, epochs=epochs, plugins=plugins)
    for position, (subject, windows) in enumerate(learning.training.by_subject()):
        if normalization.shares:
            normalizer = normalizer.learn(STATISTICS[learning.geometry](windows.x))
        experience = SubjectExperience(position, windows, normalizer)
        meeting.meet(experience, objective, class_counts(windows.labels, classes), (seed, "subject", subject))
        # A plugin may have put another network in the place of the first.
        predictor = NetworkPredictor(meeting.model, normalizer, objective)
        observer(position + 1, predictor.snapshot())
    return predictor


def _of_themselves(subjects: Sequence[str], validated: Sequence[str]) -> bool:
    """Whether subjects have validation windows of their own; those of other people alone are nobody's."""
    without = [subject for subject in subjects if subject not in validated]
    if 0 < len(without) < len(subjects):
        raise LearningError(
            f"Subjects {', '.join(without)} have no validation windows of their own, and others have: the training of "
            f"all of them stops early, or that of none."
        )
    return not without
