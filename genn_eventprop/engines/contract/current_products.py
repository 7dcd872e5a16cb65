"""u = c W: the product of currents with the weights of a connection, and back, by what suits its form.

Dense weights are a matrix. A convolution adds the products of one cell of its window after the other, each a matrix
product for all places. Other tables become a matrix where they fill enough of it; where they do not, their products are
summed synapse by synapse.

Axis letters: R rows (samples and times, any leading axes), M channels, N neurons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ...errors import EngineError
from ...modelling.connectivity.synapses import Synapses
from ...modelling.connectivity.window_rows import WindowRows
from ...modelling.memory import check_fits
from ...plan import ConnectionRecord

SMALL = 2**16  # numbers of a matrix that costs no more than anything else
SPARSE = 1 / 50  # of a matrix: with fewer weights than that, sums over synapses cost less
AT_ONCE = 2**22  # numbers of a temporary array


class Product(Protocol):
    """The weights of a connection, copied."""

    def ahead(self, x: np.ndarray) -> np.ndarray:
        """(..., M) -> (..., N)."""

    def back(self, y: np.ndarray) -> np.ndarray:
        """(..., N) -> (..., M)."""

    def by_weight(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The sum of x_m y_n over rows for every weight, x (..., M), y (..., N), in the shape of the weights."""


def product(c: ConnectionRecord, weight: np.ndarray, dtype: np.dtype, table: Callable[[], Synapses]) -> Product:
    """weight: in its shape. table: called where it is needed."""
    weight = np.array(weight, dtype)
    if c.form == "dense":
        return Matrix(weight)
    if c.windows is not None and c.pre * c.post > SMALL:
        return Convolution(weight, c.windows)
    synapses = table()
    if c.pre * c.post > SMALL and len(synapses) < SPARSE * c.pre * c.post:
        return Sum(weight, synapses)
    advice = "use fewer channels or neurons"
    check_fits(c.pre * c.post * dtype.itemsize, f"connection {c.name!r} as a matrix", advice, EngineError)
    return TableMatrix(weight, synapses)


class Matrix:
    """weight: (M, N)."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def ahead(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight

    def back(self, y: np.ndarray) -> np.ndarray:
        return y @ self.weight.T

    def by_weight(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _rows(x).T @ _rows(y)


class TableMatrix(Matrix):
    """The matrix of a table that fills a good part of it."""

    def __init__(self, weight: np.ndarray, table: Synapses) -> None:
        full = np.zeros((table.pre, table.post), weight.dtype)
        full[table.source, table.target] = weight.ravel()[table.weights]
        super().__init__(full)
        self.table, self.shape = table, weight.shape

    def by_weight(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        each = super().by_weight(x, y)[self.table.source, self.table.target]
        return np.bincount(self.table.weights, each, math.prod(self.shape)).reshape(self.shape)


class Sum:
    """Of a table with few synapses: their products one by one, for some rows at a time."""

    def __init__(self, weight: np.ndarray, table: Synapses) -> None:
        self.table, self.shape, self.each = table, weight.shape, weight.ravel()[table.weights]

    def ahead(self, x: np.ndarray) -> np.ndarray:
        return self._sum(x, self.table.source, self.table.target, self.table.post)

    def back(self, y: np.ndarray) -> np.ndarray:
        return self._sum(y, self.table.target, self.table.source, self.table.pre)

    def _sum(self, x: np.ndarray, of: np.ndarray, into: np.ndarray, size: int) -> np.ndarray:
        rows, order = _rows(x), np.argsort(into, kind="stable")
        of, each = of[order], self.each[order]
        first = np.flatnonzero(np.diff(into[order], prepend=-1))
        out = np.zeros((len(rows), size), x.dtype)
        for some in _some(len(rows), len(each)):
            if len(each):
                out[some, into[order][first]] = np.add.reduceat(rows[some][:, of] * each, first, axis=1)
        return out.reshape(*x.shape[:-1], size)

    def by_weight(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = _rows(x), _rows(y)
        each = np.zeros(len(self.each), x.dtype)
        for some in _some(len(x), len(each)):
            each += np.einsum("re,re->e", x[some][:, self.table.source], y[some][:, self.table.target])
        return np.bincount(self.table.weights, each, math.prod(self.shape)).reshape(self.shape)


class Convolution:
    """weight: (kh, kw, c_in / groups, c_out); channels are innermost in source and target."""

    def __init__(self, weight: np.ndarray, rows: WindowRows) -> None:
        self.rows, self.shape = rows, weight.shape
        kh, kw = rows.windows.kernel
        # (groups, depth, width) of every cell of the window
        self.weight = weight.reshape(kh, kw, rows.depth, rows.groups, rows.width).transpose(0, 1, 3, 2, 4)
        down, across = rows.windows.axes(*rows.source[:2])
        # (cell of the window, pixels, places): places of a window rise by one, its pixels by the stride
        self.cells = [
            ((a, b), _grid(down, a, rows.windows.stride[0]), _grid(across, b, rows.windows.stride[1]))
            for a in range(kh) if a in down[2]
            for b in range(kw) if b in across[2]
        ]  # fmt: skip

    def ahead(self, x: np.ndarray) -> np.ndarray:
        image, out = self._image(x, self.rows.source), self._empty(x, self.rows.target)
        for cell, (p, r), (q, s) in self.cells:
            out[:, :, r, s] += _by_group(image[:, :, p, q], self.weight[cell])
        return self._flat(x, out)

    def back(self, y: np.ndarray) -> np.ndarray:
        image, out = self._image(y, self.rows.target), self._empty(y, self.rows.source)
        for cell, (p, r), (q, s) in self.cells:
            out[:, :, p, q] += _by_group(image[:, :, r, s], self.weight[cell].swapaxes(1, 2))
        return self._flat(y, out)

    def by_weight(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y, out = self._image(x, self.rows.source), self._image(y, self.rows.target), np.zeros_like(self.weight)
        for cell, (p, r), (q, s) in self.cells:
            a, b = (v.reshape(len(v), -1, v.shape[-1]) for v in (x[:, :, p, q], y[:, :, r, s]))
            out[cell] = a.swapaxes(1, 2) @ b
        return out.transpose(0, 1, 3, 2, 4).reshape(self.shape)

    def _image(self, x: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """(groups, R, height, width, channels of a group)."""
        height, width, channels = shape
        groups = self.rows.groups
        return np.ascontiguousarray(np.moveaxis(x.reshape(-1, height, width, groups, channels // groups), 3, 0))

    def _empty(self, x: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        height, width, channels = shape
        groups = self.rows.groups
        return np.zeros((groups, math.prod(x.shape[:-1]), height, width, channels // groups), x.dtype)

    def _flat(self, x: np.ndarray, image: np.ndarray) -> np.ndarray:
        return np.moveaxis(image, 0, 3).reshape(*x.shape[:-1], -1)


def _grid(axis: tuple[np.ndarray, ...], cell: int, stride: int) -> tuple[slice, slice]:
    """(pixels, places) of a cell of the window along one axis."""
    pixel, place, cells = axis
    p, r = (np.sort(a[cells == cell]) for a in (pixel, place))
    return slice(p[0], p[-1] + 1, stride), slice(r[0], r[-1] + 1)


def _by_group(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(G, R, h, w, m) times (G, m, n)."""
    return (x.reshape(len(x), -1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], -1)


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def _some(rows: int, each: int) -> list[slice]:
    """Slices of the rows, so that temporary arrays of `each` numbers a row stay small."""
    step = max(1, AT_ONCE // max(each, 1))
    return [slice(i, i + step) for i in range(0, rows, step)]
