"""Where spikes and currents come from and go to: inputs, currents, and populations of neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import NetworkError, check_known, is_number, is_whole, whole
from .connectivity import Shape
from .neuron import Neuron, NeuronModel


@dataclass(frozen=True, eq=False)
class Input:
    """A source of spikes from the data. Built by `Network.input`.

    Args:
        name: in the network.
        size: number of channels, one of the data each.
        shape: (size,), or (height, width, channels) of an image.

    Example:
        >>> net.input(shape=(8, 8, 2), name="camera").size
        128
    """

    name: str
    size: int
    shape: Shape

    def __repr__(self) -> str:
        return f"<input {self.name!r}: {_sizes(self.size, self.shape)} channels>"


@dataclass(frozen=True, eq=False)
class Current:
    """A source of given currents. Built by `Network.current`, which describes the arguments `name`, `size`, `shape`,
    `dt` and `interpolation`.

    Example:
        >>> net.current(3, dt=2.0, name="stim")
        <current 'stim': 3 channels, constant over 2 ms>
    """

    name: str
    size: int
    shape: Shape
    dt: float
    interpolation: str = "constant"

    def __repr__(self) -> str:
        sizes = _sizes(self.size, self.shape)
        return f"<current {self.name!r}: {sizes} channels, {self.interpolation} over {self.dt:g} ms>"


@dataclass(frozen=True, eq=False)
class Population:
    """`size` neurons of one model. Built by `Network.population`.

    Args:
        name: in the network; parameters are called "name.tau_mem", ...
        size: N, number of neurons.
        shape: (size,), or (height, width, channels).
        neuron: the model with its parameters.
        noise, dropout, dropped_reset: see `Network.population`.

    Example:
        >>> hidden.size, hidden.model.name
        (8, 'LIF')
    """

    name: str
    size: int
    shape: Shape
    neuron: Neuron
    noise: float = 0.0
    dropout: float = 0.0
    dropped_reset: bool = False

    @property
    def model(self) -> NeuronModel:
        """The equations of its neurons."""
        return self.neuron.model

    def __repr__(self) -> str:
        """Size, model, and every parameter with whether it is learned."""
        neuron = repr(self.neuron).removeprefix("<neuron ").removesuffix(">")
        random = f", noise {self.noise:g}" * (self.noise > 0) + f", dropout {self.dropout:g}" * (self.dropout > 0)
        return f"<population {self.name!r}: {_sizes(self.size, self.shape)} {neuron}{random}>"


def _sizes(size: int, shape: Shape) -> str:
    return str(size) if len(shape) == 1 else f"{' x '.join(map(str, shape))} = {size}"


INTERPOLATIONS = ("constant", "linear")


def check_current(dt: Any, interpolation: Any, name: str) -> None:
    """Raise `NetworkError` for a time grid or an interpolation that no current has."""
    if not is_number(dt) or not (math.isfinite(dt) and dt > 0):
        raise NetworkError(f"current {name!r}: dt is the time in ms between its values, > 0; got {dt!r}")
    check_known(interpolation, INTERPOLATIONS, NetworkError, f"current {name!r}: interpolation={interpolation!r} (")


def size_and_shape(size: Any, shape: Any, name: str) -> tuple[int, Shape]:
    """The number of neurons and the shape, of which one was given, or both that agree.

    Raises:
        NetworkError: neither, or not integers >= 1, or a size that is not that of the shape.
    """
    if shape is None:
        return (number := whole(size, f"{name!r}: the size", NetworkError)), (number,)
    if not isinstance(shape, (tuple, list)) or len(shape) != 3 or not all(is_whole(n, 1) for n in shape):
        raise NetworkError(f"{name!r}: shape must be (height, width, channels), integers >= 1; got {shape!r}")
    sides = tuple(int(n) for n in shape)
    if size is not None and size != math.prod(sides):
        raise NetworkError(f"{name!r}: shape={sides} has {math.prod(sides)} neurons, size={size!r}; leave out the size")
    return math.prod(sides), sides
