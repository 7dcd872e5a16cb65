"""`WindowRows`: the synapses of windows over an image as rows of weights, from two short lists instead of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .synapses import Synapses
from .windows import Windows


@dataclass(frozen=True, eq=False)
class Axis:
    """Which windows are over the pixels of one axis: those over pixel p are ``start[p]:start[p + 1]``.

    start (n + 1,); target, weight (E,): what a window adds to the numbers of the first target and the first weight of a
    row, targets rising within a pixel. All int32.
    """

    start: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """(E,) the pixel that each is over."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    @classmethod
    def of(cls, n: int, windows: tuple[np.ndarray, ...], target: int, weight: int) -> Axis:
        """windows: (pixel, place, cell) of `Windows.axes`; target, weight: from one place, one cell to the next."""
        pixel, place, cell = windows
        order = np.lexsort((place, pixel))
        start = np.searchsorted(pixel[order], np.arange(n + 1))
        return cls(*(np.ascontiguousarray(a, np.int32) for a in (start, place[order] * target, cell[order] * weight)))


@dataclass(frozen=True, eq=False)
class WindowRows:
    """Weights (kh, kw, c_in / groups, c_out) between images of neurons, channels innermost in both.

    A source neuron (y, x, i) is in group g = i // `depth`. For every entry a of `down` over y and b of `across` over x
    it has one row of `width` neighbouring weights, from a.weight + b.weight + (i % depth) c_out + g width on, to as
    many neighbouring targets, from a.target + b.target + g width on.

    source, target: (height, width, channels) of the populations.
    """

    source: tuple[int, int, int]
    target: tuple[int, int, int]
    windows: Windows
    groups: int
    down: Axis
    across: Axis

    @classmethod
    def of(cls, windows: Windows, source: tuple[int, ...], channels: int, groups: int = 1) -> WindowRows:
        height, width, c_in = source
        rows, columns = windows.places(height, width)
        down, across = windows.axes(height, width)
        cell = c_in // groups * channels  # weights of a cell of the window
        return cls(
            (height, width, c_in), (rows, columns, channels), windows, groups,
            Axis.of(height, down, columns * channels, windows.kernel[1] * cell),
            Axis.of(width, across, channels, cell),
        )  # fmt: skip

    @property
    def depth(self) -> int:
        """Sources of a pixel that are in one group."""
        return self.source[2] // self.groups

    @property
    def width(self) -> int:
        """Targets of a row."""
        return self.target[2] // self.groups

    @property
    def cells(self) -> int:
        """Of a window; no source has more rows."""
        return math.prod(self.windows.kernel)

    def __len__(self) -> int:
        """The number of synapses."""
        return len(self.down.target) * len(self.across.target) * self.source[2] * self.width

    def by_source(self, each: np.ndarray) -> np.ndarray:
        """(M,) the sum over the synapses of every source of a number for each weight."""
        (kh, kw), cell = self.windows.kernel, self.depth * self.target[2]
        over = []
        for axis, cells, step in ((self.down, kh, kw * cell), (self.across, kw, cell)):
            count = np.zeros((len(axis.start) - 1, cells), each.dtype)  # 1 where a cell of some window is over a pixel
            count[axis.pixels, axis.weight // step] = 1
            over.append(count)
        rows = each.reshape(kh, kw, self.depth, self.groups, self.width).sum(-1)
        return np.einsum("yk,xl,klig->yxgi", *over, rows, optimize=True).ravel()

    def synapses(self) -> Synapses:
        """The same as a table."""
        _, width, c_in = self.source
        y, x = self.down.pixels, self.across.pixels
        pixel, target, weight = (
            (a[:, None] + b).reshape(-1, 1)
            for a, b in ((y * width, x), (self.down.target, self.across.target), (self.down.weight, self.across.weight))
        )
        i, o = (a.ravel() for a in np.meshgrid(np.arange(c_in), np.arange(self.width), indexing="ij"))
        o += i // self.depth * self.width
        pairs = np.stack([(pixel * c_in + i).ravel(), (target + o).ravel()], axis=1)
        weight_of = (weight + i % self.depth * self.target[2] + o).ravel()
        return Synapses.of_pairs(pairs, math.prod(self.source), math.prod(self.target), weight_of)
