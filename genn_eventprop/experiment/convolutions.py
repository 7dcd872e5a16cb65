"""Layers of images between the input and the hidden layers of a layered network, written in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import SettingError
from ..modelling import Conv2D, Network, Normal, Pool2D, Population
from ..modelling.neuron import Neuron
from .specs import make, parse_specs


def image_layers(
    network: Network, source: Any, text: str, neuron: Neuron, stochastic: dict[str, Any], where: str = "--convolutions"
) -> Population:
    """The last of the populations that `text` describes, each over the one before, the first over `source`.

    ``"conv(8, kernel=5, stride=2, padding=2, weight=(0.1, 0.3)), pool(2, scale=4)"``: `conv` learns kernels that start
    with `weight` as mean and standard deviation, `pool` averages windows and learns one scale.

    Raises:
        SettingError: `source` is no image, or a layer that is not known.
    """
    if len(source.shape) != 3:
        raise SettingError(f"{where}: the input of this experiment is not an image, it has shape {source.shape}")
    table: dict[str, Callable[..., Conv2D | Pool2D]] = {"conv": _conv, "pool": Pool2D}
    for i, spec in enumerate(parse_specs(text, where)):
        kind = make(table, spec, where)
        name = f"{spec.name}{i + 1}"
        layer = network.population(neuron, name=name, shape=kind.output_shape(source.shape), **stochastic)
        network.connect(source, layer, kind)
        source = layer
    return source


def _conv(
    channels: int,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    weight: tuple[float, float] = (0.1, 0.3),
) -> Conv2D:
    return Conv2D(Normal(*weight), kernel, channels, stride=stride, padding=padding, dilation=dilation)
