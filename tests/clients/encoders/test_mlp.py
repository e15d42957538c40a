"""The multilayer perceptron."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.errors import StudyError
from benchmarks.parts import build
from clients.encoders.mlp import MLP


def test_two_layers_by_hand() -> None:
    network = MLP(hidden=(2,)).build((2,), 1)
    values = {"1.weight": [[1.0, 0.0], [0.0, -1.0]], "1.bias": [0.0, 1.0], "3.weight": [[2.0, 3.0]], "3.bias": [0.5]}
    network.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    # Hidden: relu(4), relu(-5 + 1); relu(-4), relu(-0.5 + 1).
    out = network(torch.tensor([[4.0, 5.0], [-4.0, 0.5]]))
    torch.testing.assert_close(out, torch.tensor([[8.5], [2.0]]))


def test_no_hidden_layer_is_a_linear_model() -> None:
    network = MLP(hidden=()).build((3, 2), 4)
    assert [tuple(p.shape) for p in network.parameters()] == [(4, 6), (4,)]


def test_number_of_parameters() -> None:
    network = MLP(hidden=(8, 5)).build((19, 5), 3)
    assert sum(p.numel() for p in network.parameters()) == (95 * 8 + 8) + (8 * 5 + 5) + (5 * 3 + 3)


@pytest.mark.parametrize(("dropout", "layers"), [(0.0, 0), (0.3, 2)])
def test_dropout_follows_each_hidden_layer(dropout: float, layers: int) -> None:
    found = [m for m in MLP(hidden=(4, 4), dropout=dropout).build((3,), 2) if isinstance(m, nn.Dropout)]
    assert [layer.p for layer in found] == [dropout] * layers


@pytest.mark.parametrize(
    "values", [{"hidden": [0]}, {"hidden": [8, -1]}, {"hidden": 8}, {"dropout": 1.0}, {"dropout": -0.1}, {"width": 8}]
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(StudyError, match=rf"encoder\.{next(iter(values))}"):
        build(MLP, {}, values, "encoder")


def test_the_list_of_a_study_file_becomes_widths() -> None:
    assert build(MLP, {}, {"hidden": [8, 4], "dropout": 0.5}, "encoder") == MLP((8, 4), 0.5)
