"""What a kind of connectivity says: the shape of its weights, and which synapses there are."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import NetworkError, is_whole
from ..parameters import FromData, Initialiser, as_initialiser, check_bounds
from .synapses import Synapses
from .window_rows import WindowRows
from .windows import Windows

Shape = tuple[int, ...]
"""Of a population: (N,), or (height, width, channels), whose neuron (y, x, c) has number (y width + x) channels + c."""


class Connectivity:
    """Base of all kinds. `source` and `target` are the shapes of the two populations, `rng` is a random stream.

    Args:
        weight: initialiser, number, or array of the shape of the weights; None: scaled from data (`FromData`).
        bounds: (lower, upper), None for open; a number for all weights, or an array with one for each.

    Example:
        >>> Dense().weight_shape(inp.shape, hidden.shape), Dense().fan_in(inp.shape, hidden.shape)
        ((4, 8), 4)
    """

    form: ClassVar[str] = "synapses"
    """"dense"; "windows" for those with `rows`; "synapses" for those with a table of synapses."""
    arguments: ClassVar[tuple[str, ...]] = ()
    """What it takes besides weight and bounds, and can be described by."""

    def __init__(self, weight: Any = None, bounds: tuple[Any, Any] = (None, None)) -> None:
        self.weight: Initialiser = FromData() if weight is None else as_initialiser(weight, type(self).__name__)
        check_bounds(bounds, type(self).__name__)
        self.bounds = bounds

    def check(self, source: Shape, target: Shape) -> None:
        """Raise `NetworkError` if the kind does not fit between these populations."""

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """Shape of the weight parameter."""
        raise NotImplementedError

    def fan_in(self, source: Shape, target: Shape) -> int:
        """Synapses that a target has, on average, as `FanIn` counts them."""
        return max(1, round(self.count(source, target) / math.prod(target)))

    def count(self, source: Shape, target: Shape) -> int:
        """S, the number of synapses."""
        table = self.synapses(source, target)
        return math.prod(self.weight_shape(source, target)) if table is None else len(table)

    def synapses(self, source: Shape, target: Shape) -> Synapses | None:
        """The table where it follows from the shapes; None for dense, and where pairs are drawn."""
        return None

    def rows(self, source: Shape) -> WindowRows | None:
        """The rows of weights of a kind with windows over the source."""
        return None

    def draw_pairs(self, rng: np.random.Generator, source: Shape, target: Shape) -> np.ndarray | None:
        """(S, 2) int32 pairs (source, target) where they are drawn or listed, else None."""
        return None

    def options(self) -> dict[str, Any]:
        """The values of `arguments`."""
        return {}


class Windowed(Connectivity):
    """One whose targets, with shape=(height, width, channels), each see a window of the source."""

    windows: Windows
    channels: int | None = None
    """Of the target; None: those of the source."""

    def output_shape(self, source: Shape) -> tuple[int, int, int]:
        """(height, width, channels) of the target over a `source` of this shape."""
        height, width, channels = image(source, "source", type(self).__name__)
        return (*self.windows.places(height, width), self.channels or channels)

    def check(self, source: Shape, target: Shape) -> None:
        made, kind = self.output_shape(source), type(self).__name__
        if image(target, "target", kind) != made:
            raise NetworkError(
                f"{kind} over a source of shape {source} gives {made}, but the target has shape {target}"
            )


def pair_of(value: Any, where: str, least: int) -> tuple[int, int]:
    """An integer, or two, as (vertical, horizontal)."""
    both = (value, value) if isinstance(value, (int, np.integer)) else value
    fits = isinstance(both, (tuple, list)) and len(both) == 2
    if isinstance(value, bool) or not (fits and all(is_whole(v, least) for v in both)):
        raise NetworkError(f"{where} must be an integer >= {least}, or two (vertical, horizontal); got {value!r}")
    return int(both[0]), int(both[1])


def image(shape: Shape, which: str, kind: str) -> tuple[int, int, int]:
    """A population's shape as (height, width, channels).

    Raises:
        NetworkError: it has none.
    """
    if len(shape) != 3:
        raise NetworkError(
            f"{kind} needs a {which} with shape=(height, width, channels), this one has {shape[0]} neurons"
        )
    return shape[0], shape[1], shape[2]


def as_mask(value: Any, where: str) -> np.ndarray:
    """A boolean array of True and False, or 1 and 0.

    Raises:
        NetworkError: anything else.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise NetworkError(f"{where} must be an array of True and False, got {value!r}")
    return array.astype(bool)
