"""Sequential fine-tuning: nothing is done against forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from benchmarks.normalization import Normalization
from clients.encoders.contract import Encoder
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.continual.stream import learn_stream
from strategies.contract import Learning, Observer, Strategy


@dataclass(frozen=True)
class FineTuning(Strategy):
    """One network, trained on one subject after another; what it knew of earlier ones may be overwritten.

    It is the baseline that continual learning has to beat. Each subject is trained on for a fixed number of training
    epochs: validation subjects would have to be met before the stream ends, and a subject's own held-out blocks are
    not part of `Learning`. So nothing is chosen on validation subjects, and they are learned from like all others.

    Parameters
    ----------
    normalization : Normalization
        Whose statistics make subjects comparable; ``stream`` knows the subjects met so far.
    encoder : Encoder
        The network.
    objective : Objective
        The loss; classes are counted anew in each subject.
    training : Training
        How weights are updated; the optimiser starts anew with each subject.
    epochs : int
        Training epochs with each subject.

    Raises
    ------
    StudyError
        The normalisation needs subjects still to come.
    """

    sequential: ClassVar[bool] = True

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    training: Training
    epochs: Annotated[int, Field(gt=0)] = 20

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        """See `Strategy`; a step is a subject."""
        return learn_stream(
            learning,
            observer,
            normalization=self.normalization,
            encoder=self.encoder,
            objective=self.objective,
            training=self.training,
            epochs=self.epochs,
        )
