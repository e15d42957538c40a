"""Why SI is ours: Avalanche's own changes nothing where networks live on the CPU."""

from __future__ import annotations

import pytest
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import SynapticIntelligencePlugin

from strategies.continual.finetuning import FineTuning
from strategies.continual.si import SI
from strategies.contract import Learning
from tests.strategies.continual.opposed import opposed
from tests.strategies.continual.streams import made, same
from tests.strategies.learnings import ignore

LAMBDA = 1e4


class WithStock(FineTuning):
    """Fine-tuning with Avalanche's SI."""

    def plugins(self, learning: Learning, tell: object) -> tuple[SupervisedPlugin, ...]:
        return (SynapticIntelligencePlugin(si_lambda=LAMBDA),)


@pytest.mark.usefixtures("recwarn")  # it calls what Avalanche deprecates
def test_avalanches_si_is_fine_tuning_to_the_bit_whatever_its_strength() -> None:
    """It keeps the weights themselves where it means to keep copies, so that no weight ever seems to have moved."""
    problem = opposed(("a", "b", "c"))
    plain, stock = (made(kind).fit(problem, ignore) for kind in (FineTuning, WithStock))
    assert same(plain, stock), "Avalanche's SI is mended on the CPU: compare strategies.continual.si with it."
    ours = made(SI, strength=1.0).fit(problem, ignore)
    assert not same(plain, ours)
