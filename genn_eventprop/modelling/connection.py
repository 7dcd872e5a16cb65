"""`Connection`, and how the first values of its weights, delays and pairs are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import NetworkError
from .connectivity import Connectivity, Shape
from .delay import Delay
from .memory import in_words, physical_memory
from .parameters import Array, Constant, check_bounds_fit, is_open
from .places import Input, Population


@dataclass(frozen=True, eq=False)
class Connection:
    """Weights from one population (or input) to another, and their delays. Built by `Network.connect`.

    Args:
        delay: ms from a spike to its arrival, >= 0, of all synapses. On the grid it is rounded to whole steps,
            floor(delay / dt + 0.5); the engine's `reason` says where that changed it.
        delays: delays that are values, one a synapse, source or target, instead; `delay` is 0 then.
        receptor: the input of the target's model that the spikes act on.
        trainable: learn the weights.
    """

    name: str
    source: Input | Population
    target: Population
    connectivity: Connectivity
    delay: float
    delays: Delay | None
    receptor: str
    trainable: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N), sources and targets."""
        return (self.source.size, self.target.size)

    @property
    def weight_shape(self) -> Shape:
        """Of the weights; (M, N) if they are dense."""
        return self.connectivity.weight_shape(self.source.shape, self.target.shape)

    @property
    def delay_shape(self) -> Shape | None:
        """Of the delays, if they are values."""
        return self.delays.shape(self.weight_shape, *self.shape) if self.delays else None


def draw(c: Connection, stream: Callable[[str], np.random.Generator]) -> dict[str, np.ndarray]:
    """First values of a connection's parameters; stream: name of one -> its random stream.

    Raises:
        NetworkError: arrays of the wrong shape, values outside their bounds, more than the machine's memory.
    """
    kind, between = c.connectivity, (c.source.shape, c.target.shape)
    key = f"{c.name}.weight"
    _check_memory(c)
    values: dict[str, np.ndarray] = {}
    pairs = kind.draw_pairs(stream(f"{c.name}.pairs"), *between)
    if pairs is not None:
        values[f"{c.name}.pairs"] = pairs
    try:
        weight = kind.weight.sample(stream(key), c.weight_shape, kind.fan_in(*between))
    except NetworkError as error:
        rows = f" (rows are neurons of {c.source.name!r})" if kind.form == "dense" else ""
        raise NetworkError(f"{key}: {error}{rows}") from None
    values[key] = _within_bounds(weight, kind, key)
    if c.delays is not None and c.delay_shape is not None:
        values[f"{c.name}.delay"] = c.delays.draw(stream(f"{c.name}.delay"), c.delay_shape, f"{c.name}.delay")
    return values


def _check_memory(c: Connection) -> None:
    M, N = c.shape
    needed = 8 * math.prod(c.weight_shape)
    if c.connectivity.form != "dense":
        needed = 8 * c.connectivity.count(c.source.shape, c.target.shape)
    if needed > physical_memory():
        what = f"{M} x {N} weights" if c.connectivity.form == "dense" else f"{needed // 8} synapses"
        raise NetworkError(
            f"{c.name}.weight: {what} take {in_words(needed)}, this "
            f"machine has {in_words(physical_memory())} of memory; use smaller populations"
        )


def _within_bounds(weight: np.ndarray, connectivity: Connectivity, key: str) -> np.ndarray:
    """Random draws are clipped to the bounds, as they will be after every step; given values must lie inside."""
    check_bounds_fit(connectivity.bounds, weight.shape, key)
    clipped = weight if is_open(connectivity.bounds) else np.clip(weight, *connectivity.bounds)
    if isinstance(connectivity.weight, (Array, Constant)) and not np.array_equal(clipped, weight):
        raise NetworkError(
            f"{key}: given weights of {weight.min():g} to {weight.max():g} lie outside the bounds {connectivity.bounds}"
        )
    return clipped
