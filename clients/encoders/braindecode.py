"""Models of braindecode, by name."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Annotated, Any, TypeGuard

import torch
from pydantic import Field
from torch import nn

from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from clients.encoders.contract import Encoder
from clients.encoders.merged_convolution import MergedConvolution
from clients.encoders.remade import Remade
from clients.training import seeded

_OF_WINDOWS = frozenset({"n_chans", "n_times", "n_outputs", "sfreq", "input_window_seconds", "chs_info"})
"""Arguments of every model that follow from the windows and the classes."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

_LARGEST = 10_000
"""No sensible size is larger, and a made-up one must not ask for a network that no memory holds."""

_DOUBLINGS = 5
"""How often the length of a window that a model does not take is doubled, to tell one that it takes."""


@dataclass(frozen=True)
class Braindecode(Encoder):
    """A model of braindecode (Schirrmeister et al. 2017, doi:10.1002/hbm.23730) on raw windows (C, T), untrained.

    Its outputs are what the objective expects, neither softmax nor logarithm. Most models have batch norm, whose
    statistics mix the subjects of a minibatch (see `MLP`); those of EEGNet follow by a hundredth a minibatch, too
    slowly for a short phase of training unless ``batch_norm_momentum`` says otherwise. Models that ask where the
    electrodes are, which windows do not tell, are not offered, and a model is refused for windows that are too short,
    where braindecode itself would shrink its kernels and warn. A few models (EEGConformer, EEGSimpleConv, TCFormer)
    cannot be laid out without computing, so their predictors are not published.

    Parameters
    ----------
    model : str
        Name of a class in ``braindecode.models``: EEGNet, ShallowFBCSPNet, Deep4Net, ...
    sampling_rate_hz : float or None
        Rate of the windows, for models that need it (those with filters in hertz).
    values : mapping of str to value
        Further arguments of the model, as braindecode calls them: numbers, texts, truth values, lists of them, and for
        activations the name of a class in ``torch.nn``. What is not named is as braindecode has it.

    Raises
    ------
    ValueError
        A value is none of these.
    """

    model: str
    sampling_rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not _is_plain(value):
                raise ValueError(
                    f"values.{name}: expected a number up to {_LARGEST}, a text, a truth value, nothing, or a list of "
                    f"them, found {value!r}"
                )

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Encoder`.

        Raises
        ------
        StudyError
            There is no such model or value of it, it needs the sampling rate, or it does not take such windows.
        """
        if len(shape) != 2:
            raise StudyError(
                f"Models of braindecode take windows of shape (channels, samples), found {shape}. Choose a "
                f"representation of raw windows: raw or multirate."
            )
        try:
            return self._network(shape, outputs)
        except StudyError:
            raise
        except Exception as error:  # Each model fails in its own way on what it does not take.
            raise self._refused(shape, outputs, error) from error

    def _network(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        library = _library()
        needs = {name: needed for name, needed, _ in library.models_mandatory_parameters if "chs_info" not in needed}
        if self.model not in needs:
            raise StudyError(
                f"encoder.model: {self.model!r} is no model of braindecode that takes windows alone. "
                f"{nearest(self.model, needs)}"
            )
        if "sfreq" in needs[self.model] and self.sampling_rate_hz is None:
            raise StudyError(f"encoder: {self.model} needs the rate of the windows. Give sampling_rate_hz.")
        model = getattr(library, self.model)
        channels, samples = shape
        of_windows = {"n_chans": channels, "n_times": samples, "n_outputs": outputs, "sfreq": self.sampling_rate_hz}
        with _strict():
            network = model(**of_windows, **self._arguments(inspect.signature(model).parameters))
            _merge_convolutions(network)
            built = Remade(network, self, shape, outputs).train()
            _try(built, self.model, shape, outputs)
        return built

    def _arguments(self, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
        legal = {
            name: parameter.default
            for name, parameter in parameters.items()
            if name not in _OF_WINDOWS and parameter.kind in _NAMED
        }
        for name in self.values:
            if name not in legal:
                raise StudyError(f"encoder.values.{name}: {self.model} takes no such value. {nearest(name, legal)}")
        return {name: _layer(name, value) if _is_layer(legal[name]) else value for name, value in self.values.items()}

    def _refused(self, shape: tuple[int, ...], outputs: int, error: Exception) -> StudyError:
        channels, samples = shape
        longer = self._long_enough(channels, samples, outputs)
        if longer is not None:
            return StudyError(
                f"Windows of {samples} samples are too short for {self.model}; {longer} would do. Cut longer windows, "
                f"keep a higher rate, or give the model shorter kernels and pools in encoder.values."
            )
        told = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        return StudyError(
            f"{self.model} cannot be built for windows of {channels} channels and {samples} samples: {told}. Check "
            f"encoder.values and sampling_rate_hz, or choose another model."
        )

    def _long_enough(self, channels: int, samples: int, outputs: int) -> int | None:
        """Samples of a window that the model takes, some doublings longer; None where that is not what is wrong."""
        for doublings in range(_DOUBLINGS + 1):
            longer = samples << doublings
            try:
                with torch.device("meta"):  # Nothing is computed there.
                    self._network((channels, longer), outputs)
            except StudyError:
                return None
            except Exception:
                continue
            return longer if doublings else None
        return None


def _library() -> ModuleType:
    """All models of braindecode, which take seconds to import; no random state shows that they were."""
    with seeded("import"), torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import braindecode.models
    library: ModuleType = braindecode.models
    return library


@contextmanager
def _strict() -> Iterator[None]:
    """Inside, a model that would shrink itself to short windows fails; all other advice is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*smaller than the minimum required")
        yield


def _merge_convolutions(network: nn.Module) -> None:
    from braindecode.modules import CombinedConv

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is CombinedConv:
                layers: Any = child
                setattr(parent, name, MergedConvolution(layers.conv_time, layers.conv_spat))


def _try(network: nn.Module, model: str, shape: tuple[int, ...], outputs: int) -> None:
    """Use a copy of the network as training and prediction will, down to a minibatch of one window.

    Raises
    ------
    StudyError
        Its outputs have another shape, or it cannot be copied afterwards.
    Exception
        Whatever it fails with for windows of that shape.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        tried = _copied(network, model).eval()
        found = tuple(tried(torch.zeros(2, *shape)).shape)
        if found != (2, outputs):
            raise StudyError(
                f"{model} does not tell one class for each window: two windows give outputs of shape {found}, expected "
                f"{(2, outputs)}. Choose another model."
            )
        _copied(tried, model).train()(torch.zeros(1, *shape))


def _copied(network: nn.Module, model: str) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except RuntimeError as error:
        raise StudyError(
            f"{model} keeps what it computed last, so that it cannot be copied while it learns. Choose another model."
        ) from error


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    return value is None or isinstance(value, str)


def _is_layer(value: object) -> TypeGuard[type[nn.Module]]:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _layer(name: str, value: object) -> type[nn.Module]:
    found = getattr(nn, value, None) if isinstance(value, str) else None
    if not _is_layer(found):
        raise StudyError(
            f"encoder.values.{name}: expected the name of a layer in torch.nn, such as ELU, found {value!r}."
        )
    return found
