"""Models of braindecode."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.archive import Archive
from benchmarks.digest import digest
from benchmarks.errors import StudyError
from benchmarks.parts import build, find
from clients.encoders.braindecode import Braindecode
from clients.encoders.contract import Encoder
from clients.encoders.table import ENCODERS
from clients.network import Blueprint
from clients.training import Training, seeded, torch_generator, train_epoch

ROOT = Path(__file__).resolve().parents[3]
SHAPES = {"EEGNet": (19, 64), "ShallowFBCSPNet": (19, 128), "Deep4Net": (16, 448), "EEGTCNet": (4, 64)}
CROSS_ENTROPY = nn.functional.cross_entropy
WITHOUT_NORM: dict[str, Any] = {"batch_norm": False, "n_filters_time": 8, "n_filters_spat": 6}

every_model = pytest.mark.parametrize("model", SHAPES)
differentiated = pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (Braindecode("EEGNet"), (19, 64)),
        (Braindecode("EEGNet"), (6, 256)),
        (Braindecode("ShallowFBCSPNet"), (19, 128)),
        (Braindecode("ShallowFBCSPNet"), (6, 256)),
        (Braindecode("ShallowFBCSPNet", values=WITHOUT_NORM), (19, 128)),
        (Braindecode("Deep4Net", values={"n_filters_time": 10, "n_filters_spat": 10}), (16, 448)),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else value.model,
)


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What is slow to import is no test's time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import braindecode.models  # noqa: F401


def network(encoder: Encoder, shape: tuple[int, ...], outputs: int = 3) -> nn.Module:
    with seeded("network"):
        return encoder.build(shape, outputs)


def inputs(shape: tuple[int, ...], n: int = 6) -> Tensor:
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(1))


def size(mine: nn.Module) -> int:
    return sum(parameter.numel() for parameter in mine.parameters())


# --- what is built ---------------------------------------------------------------------------------------------------


def test_eegnet_has_the_weights_of_its_paper() -> None:
    # Lawhern et al. 2018, table 2: F1 = 8 filters of 64 samples, D = 2, F2 = 16 of 16 samples, pools of 4 and 8.
    filters = 8 * 64 + 19 * 16 + (16 * 16 + 16 * 16)
    norms = 2 * (8 + 16 + 16)
    assert size(network(Braindecode("EEGNet"), (19, 512))) == filters + norms + (16 * (512 // 32) * 3 + 3)


def test_the_shallow_network_has_the_weights_of_its_paper() -> None:
    # Schirrmeister et al. 2017: 40 filters of 25 samples, 40 over channels, means of 75 samples every 15.
    places = (512 - 25 + 1 - 75) // 15 + 1
    assert size(network(Braindecode("ShallowFBCSPNet"), (19, 512))) == (
        (40 * 25 + 40) + 40 * 40 * 19 + 2 * 40 + (40 * places * 3 + 3)
    )


@every_model
def test_it_computes_what_braindecode_does_from_the_same_weights(model: str) -> None:
    import braindecode.models

    channels, samples = SHAPES[model]
    with seeded("network"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(braindecode.models, model)(n_chans=channels, n_times=samples, n_outputs=3)
    mine = network(Braindecode(model), SHAPES[model])
    for ours, other in zip(mine.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert ours[0] == f"network.{other[0]}"
        assert torch.equal(ours[1], other[1])
    x = inputs(SHAPES[model])
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


@every_model
def test_outputs_are_neither_probabilities_nor_their_logarithms(model: str) -> None:
    out = network(Braindecode(model), SHAPES[model]).eval()(inputs(SHAPES[model]))
    assert out.dtype == torch.float32
    for total in (out.sum(dim=1), out.exp().sum(dim=1)):
        assert not torch.isclose(total, torch.ones(())).all()


def test_values_reach_the_model() -> None:
    values = {"F1": 4, "D": 3, "F2": 5, "kernel_length": 10, "drop_prob": 0.1, "activation": "ReLU"}
    mine = network(Braindecode("EEGNet", values=values), (7, 64))
    layers = dict(mine.network.named_children())
    assert layers["conv_temporal"].weight.shape == (4, 1, 1, 10)
    assert layers["conv_separable_point"].weight.shape == (5, 12, 1, 1)
    kinds = [type(layer) for layer in layers.values()]
    assert nn.ReLU in kinds
    assert nn.ELU not in kinds
    assert {layer.p for layer in mine.modules() if isinstance(layer, nn.Dropout)} == {0.1}


def test_a_model_with_filters_in_hertz_takes_the_rate() -> None:
    fast, slow = (network(Braindecode("SCCNet", rate), (4, 256)) for rate in (128.0, 64.0))
    assert size(fast) != size(slow)


def test_no_batch_norm_where_it_is_not_wanted() -> None:
    assert not [
        module
        for module in network(Braindecode("ShallowFBCSPNet", values=WITHOUT_NORM), (19, 256)).modules()
        if isinstance(module, nn.BatchNorm2d)
    ]


def test_building_says_nothing_and_leaves_the_filters_of_warnings() -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(Braindecode("EEGNet"), (4, 64))
    assert warnings.filters == before


@every_model
def test_only_the_weights_are_drawn(model: str) -> None:
    import braindecode.models

    channels, samples = SHAPES[model]
    with seeded("network"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(braindecode.models, model)(n_chans=channels, n_times=samples, n_outputs=3)
        expected = torch.rand(2)
    with seeded("network"):
        Braindecode(model).build(SHAPES[model], 3)
        assert torch.equal(torch.rand(2), expected)


# --- what is done with it --------------------------------------------------------------------------------------------


@differentiated
def test_gradients_in_single_precision_are_those_in_double(encoder: Encoder, shape: tuple[int, ...]) -> None:
    """Those of braindecode's own first layer are not, on CPUs with AVX-512 and for 14 to 19 channels."""
    single = network(encoder, shape).eval()
    double = copy.deepcopy(single).double()
    x, y = inputs(shape), torch.arange(6) % 3
    found = torch.autograd.grad(CROSS_ENTROPY(single(x), y), list(single.parameters()))
    expected = torch.autograd.grad(CROSS_ENTROPY(double(x.double()), y), list(double.parameters()))
    for (name, _), mine, true in zip(single.named_parameters(), found, expected, strict=True):
        assert (mine.double() - true).abs().max() < 1e-3 * true.abs().max() + 1e-7, name


@differentiated
def test_gradients_of_single_windows_are_those_one_by_one(encoder: Encoder, shape: tuple[int, ...]) -> None:
    mine = network(encoder, shape).eval()
    x, y = inputs(shape, n=3), torch.arange(3)
    weights = {name: parameter.detach() for name, parameter in mine.named_parameters()}
    buffers = dict(mine.named_buffers())

    def loss(weights: dict[str, Tensor], window: Tensor, label: Tensor) -> Tensor:
        return CROSS_ENTROPY(functional_call(mine, (weights, buffers), (window[None],)), label[None])

    together = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    for i in range(3):
        alone = torch.autograd.grad(CROSS_ENTROPY(mine(x[i : i + 1]), y[i : i + 1]), list(mine.parameters()))
        for (name, found), true in zip(together.items(), alone, strict=True):
            assert (found[i] - true).abs().max() < 1e-3 * true.abs().max() + 1e-6, name


@every_model
def test_a_minibatch_of_one_window_can_be_learned_from(model: str) -> None:
    mine = network(Braindecode(model), SHAPES[model]).train()
    with seeded("dropout"):
        value = CROSS_ENTROPY(mine(inputs(SHAPES[model], n=1)), torch.tensor([1]))
        value.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value)
    assert all(torch.isfinite(parameter.grad).all() for parameter in mine.parameters() if parameter.grad is not None)
    assert mine.training


@pytest.mark.parametrize(
    ("model", "values"),
    # Its running statistics would otherwise follow by a hundredth a minibatch, and there are 36 of them.
    [("EEGNet", {"batch_norm_momentum": 0.1}), ("ShallowFBCSPNet", {}), ("ShallowFBCSPNet", WITHOUT_NORM)],
)
def test_it_learns_who_has_a_rhythm(model: str, values: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    y = torch.arange(65) % 2
    rhythm = np.sin(2 * np.pi * (10 * np.arange(128) / 64 + rng.random((65, 3, 1))))
    x = torch.tensor(rng.standard_normal((65, 3, 128)) + rhythm * y.numpy()[:, None, None], dtype=torch.float32)
    mine = network(Braindecode(model, values=values), (3, 128), outputs=2)
    optimizer = Training(learning_rate=0.003).optimizer_of(mine.parameters())
    with seeded("dropout"):
        for epoch in range(12):  # The last minibatch of each is one window.
            train_epoch(mine, (x, y), CROSS_ENTROPY, optimizer, 32, torch_generator("order", epoch))
    assert (mine.eval()(x).argmax(dim=1) == y).float().mean() > 0.9


@every_model
def test_copies_and_pickles_compute_the_same(model: str) -> None:
    blueprint = Blueprint(Braindecode(model), SHAPES[model], 3)
    with seeded("network"):
        mine = blueprint.build()
    x = inputs(SHAPES[model])
    with seeded("dropout"):
        mine.train()(x)  # Now its statistics are not those that it was built with.
    mine.eval()
    for other in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine)), blueprint.filled(mine.state_dict()).eval()):
        assert torch.equal(other(x), mine(x))
        assert Blueprint.of(other) == blueprint
    assert blueprint.fits(mine.state_dict())


def test_a_blueprint_comes_back_from_its_archive() -> None:
    encoder = Braindecode("EEGNet", 64.0, {"F1": 4, "drop_prob": 0.25, "activation": "ReLU", "pool_mode": "max"})
    blueprint = Blueprint(encoder, (6, 128), 2)
    archive = Archive.from_bytes(blueprint.archive().to_bytes())
    assert archive.part("encoder").kind == "braindecode"
    assert Blueprint.restore(archive, frozenset()) == blueprint


def test_a_digest_tells_models_and_values_apart() -> None:
    described = [Braindecode("EEGNet"), Braindecode("Deep4Net"), Braindecode("EEGNet", 64.0)]
    described += [Braindecode("EEGNet", values={"F1": filters}) for filters in (4, 8)]
    assert len({digest(each) for each in described}) == 5


@pytest.mark.parametrize("shape", [(10**6, 10**6), (10**9, 10**9)])
def test_a_blueprint_of_made_up_size_takes_no_memory(shape: tuple[int, ...]) -> None:
    started = time.perf_counter()
    assert not Blueprint(Braindecode("EEGNet"), shape, 3).fits({})
    assert time.perf_counter() - started < 60


FRESH = """
import random, sys
import numpy as np
import torch
from clients.encoders.braindecode import Braindecode
from clients.network import Blueprint
assert "braindecode" not in sys.modules and "mne" not in sys.modules, "imported before it was used"
blueprint = Blueprint(Braindecode("ShallowFBCSPNet"), (4, 128), 2)
states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
blueprint.fits({})  # on the meta device, where nothing of the library must be left
assert "braindecode" in sys.modules
assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
torch.manual_seed(0)
first = blueprint.build()
torch.manual_seed(0)
second = blueprint.build()
assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
assert torch.isfinite(first(torch.randn(5, 4, 128))).all()
print("well")
"""


@pytest.mark.slow
def test_the_library_is_imported_when_a_network_is_built_and_moves_no_random_state() -> None:
    command = [sys.executable, "-c", FRESH]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout.strip(), done.returncode) == ("well", 0), done.stderr
    assert "Warning" not in done.stderr


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "told"), [("EEGnet", "Did you mean 'EEGNet'?"), ("REVE", "ShallowFBCSPNet")])
def test_an_unknown_model_or_one_that_asks_for_electrodes(model: str, told: str) -> None:
    with pytest.raises(StudyError, match=f"encoder.model: '{model}' is no model") as raised:
        Braindecode(model).build((4, 256), 2)
    assert told in str(raised.value)


@pytest.mark.parametrize("shape", [(5,), (4, 5, 6), ()])
def test_windows_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match=r"\(channels, samples\), found .*raw or multirate"):
        Braindecode("EEGNet").build(shape, 2)


@pytest.mark.parametrize(
    ("model", "samples", "enough"), [("EEGNet", 5, 40), ("ShallowFBCSPNet", 98, 196), ("Deep4Net", 440, 880)]
)
def test_windows_that_are_too_short(model: str, samples: int, enough: int) -> None:
    with pytest.raises(StudyError, match=f"Windows of {samples} samples are too short for {model}; {enough} would do"):
        Braindecode(model).build((4, samples), 2)
    Braindecode(model).build((4, enough), 2)


def test_the_shortest_windows_are_taken() -> None:
    # 25 samples of a filter, and 75 of the mean.
    assert network(Braindecode("ShallowFBCSPNet"), (4, 99)).eval()(inputs((4, 99))).shape == (6, 3)


def test_windows_that_are_wrong_in_another_way_are_not_called_short() -> None:
    with pytest.raises(StudyError, match="SleepStagerBlanco2020 cannot be built for windows of 19 channels and 512"):
        Braindecode("SleepStagerBlanco2020").build((19, 512), 2)


def test_a_model_that_tells_each_sample_apart() -> None:
    with pytest.raises(StudyError, match=r"NeuroPose does not tell one class for each window: .*\(2, 512, 3\)"):
        Braindecode("NeuroPose", 128.0).build((16, 512), 3)


def test_a_model_that_cannot_be_copied() -> None:
    with pytest.raises(StudyError, match="EEGMiner keeps what it computed last"):
        Braindecode("EEGMiner", 128.0).build((4, 256), 3)


def test_a_model_that_needs_the_rate() -> None:
    with pytest.raises(StudyError, match="SCCNet needs the rate of the windows. Give sampling_rate_hz"):
        Braindecode("SCCNet").build((4, 256), 2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kernel": 2}, r"encoder\.values\.kernel: EEGNet takes no such value.*Did you mean 'kernel_length'"),
        ({"n_chans": 2}, r"encoder\.values\.n_chans: EEGNet takes no such value"),
        ({"activation": "os.system"}, r"encoder\.values\.activation: expected the name of a layer in torch\.nn"),
        ({"activation": "Parameter"}, r"encoder\.values\.activation: expected the name of a layer in torch\.nn"),
        ({"activation": 3}, r"encoder\.values\.activation: expected the name of a layer in torch\.nn"),
        ({"F1": "many"}, "EEGNet cannot be built for windows of 4 channels and 64 samples"),
        ({"F1": 0}, "EEGNet cannot be built for windows of 4 channels and 64 samples"),
    ],
)
def test_values_that_the_model_does_not_take(values: dict[str, object], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        Braindecode("EEGNet", values=values).build((4, 64), 2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "model must be given"),
        ({"model": "EEGNet", "filters": 3}, r"encoder\.filters: no such key"),
        ({"model": "EEGNet", "sampling_rate_hz": 0}, r"encoder\.sampling_rate_hz"),
        ({"model": "EEGNet", "sampling_rate_hz": float("inf")}, r"encoder\.sampling_rate_hz"),
        ({"model": "EEGNet", "values": 3}, r"encoder\.values"),
        ({"model": "EEGNet", "values": {"F1": {}}}, r"encoder: values\.F1: expected a number up to 10000"),
        ({"model": "EEGNet", "values": {"F1": 10**9}}, r"encoder: values\.F1: expected a number up to 10000"),
        ({"model": "EEGNet", "values": {"drop_prob": float("nan")}}, r"encoder: values\.drop_prob: expected a number"),
        ({"model": "EEGNet", "values": {"F1": [[1, 10**9]]}}, r"encoder: values\.F1: expected a number up to 10000"),
    ],
)
def test_values_of_a_study_file_that_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        build(find("braindecode", ENCODERS, "encoder"), {}, values, "encoder")
