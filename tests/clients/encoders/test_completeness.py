"""Every encoder of the table through the same checks; an entry without a case fails."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from benchmarks.parts import build, find
from clients.encoders.contract import Encoder
from clients.encoders.table import ENCODERS
from clients.training import seeded


@dataclass(frozen=True)
class Case:
    """Values of a study file, and shapes of windows that the encoder takes; behind a slash, what is special in it."""

    values: dict[str, object]
    shapes: tuple[tuple[int, ...], ...]


CASES = {
    "braindecode": Case({"model": "EEGNet", "values": {"F1": 4, "kernel_length": 16}}, ((4, 32), (19, 64))),
    "braindecode/no batch norm": Case(
        {"model": "ShallowFBCSPNet", "values": {"batch_norm": False, "n_filters_spat": 8}}, ((6, 128), (19, 128))
    ),
    "mlp": Case({"hidden": [7, 6], "dropout": 0.5}, ((5,), (19, 5), (4, 32))),
    "mlp/batch norm": Case({"hidden": [7, 6], "batch_norm": True}, ((5,), (4, 32))),
}
CHECKED = [(name, shape) for name, case in CASES.items() for shape in case.shapes]
every_encoder = pytest.mark.parametrize(("name", "shape"), CHECKED)


def encoder(name: str) -> Encoder:
    described = build(find(name.partition("/")[0], ENCODERS, "encoder"), {}, CASES[name].values, "encoder")
    assert isinstance(described, Encoder)
    return described


def network(name: str, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    with seeded(seed):
        return encoder(name).build(shape, 3)


def inputs(shape: tuple[int, ...], n: int = 12) -> Tensor:
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(1))


def test_every_entry_has_a_case() -> None:
    assert {name.partition("/")[0] for name in CASES} == set(ENCODERS)


@every_encoder
def test_outputs_have_their_shape_and_type(name: str, shape: tuple[int, ...]) -> None:
    mine = network(name, shape)
    for n in (1, 12):
        out = mine.eval()(inputs(shape, n))
        assert (out.shape, out.dtype) == ((n, 3), torch.float32)
        assert torch.isfinite(out).all()
    assert {p.dtype for p in mine.parameters()} == {torch.float32}


@every_encoder
def test_weights_and_outputs_are_functions_of_the_seed(name: str, shape: tuple[int, ...]) -> None:
    x = inputs(shape)
    first = network(name, shape).eval()(x)
    assert torch.equal(network(name, shape).eval()(x), first)
    assert not torch.isclose(network(name, shape, seed=1).eval()(x), first).all()


@every_encoder
def test_one_description_builds_separate_networks(name: str, shape: tuple[int, ...]) -> None:
    described = encoder(name)
    first, second = described.build(shape, 3), described.build(shape, 3)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


@every_encoder
def test_gradients_reach_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    mine = network(name, shape)
    with seeded("dropout"):
        nn.functional.cross_entropy(mine(inputs(shape, 64)), torch.arange(64) % 3).backward()
    for parameter_name, parameter in mine.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_encoder
def test_a_window_is_judged_alone_once_training_is_over(name: str, shape: tuple[int, ...]) -> None:
    mine, x = network(name, shape).eval(), inputs(shape)
    alone = torch.cat([mine(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, mine(x), rtol=1e-4, atol=1e-5)
