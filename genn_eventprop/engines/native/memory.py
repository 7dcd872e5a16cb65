"""Weights, parameters and gradients of a native engine, in rows padded to whole vectors of neurons."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...codegen.cpp import Source, padded
from ...plan import Plan


class NativeMemory:
    """`parameters`, `gradients`: views without the padding; `gradient` holds all gradients, one after the other."""

    def __init__(self, plan: Plan, source: Source, parameters: Mapping[str, np.ndarray], dtype: np.dtype) -> None:
        self.plan, self.dtype = plan, dtype
        self.padded: dict[str, np.ndarray] = {}
        self.parameters: dict[str, np.ndarray] = {}
        pairs = {c.pairs for c in plan.weighted if c.drawn}
        for key, value in parameters.items():
            if key in pairs:
                self.parameters[key] = np.array(value, np.int32, order="C")
            else:
                self._place(key, np.asarray(value, dtype=dtype))
        self.gradient = aligned((source.gradient_size,), dtype)
        self.gradients: dict[str, np.ndarray] = {}
        self._totals: list[tuple[np.ndarray, np.ndarray]] = []
        for name, (offset, rows, columns) in source.gradients.items():
            full = self.gradient[offset : offset + rows * columns].reshape(rows, columns)
            self.gradients[name] = self._without_padding(name, full)

    def _place(self, key: str, value: np.ndarray) -> None:
        if value.ndim == 2:
            full = aligned((value.shape[0], padded(value.shape[1])), self.dtype)
            view = full[:, : value.shape[1]]
        else:
            full = aligned((padded(value.size),), self.dtype)
            view = full[: value.size].reshape(value.shape)
        view[...] = value
        self.padded[key], self.parameters[key] = full, view

    def _without_padding(self, key: str, full: np.ndarray) -> np.ndarray:
        """The gradient of a parameter in `full` (rows, columns); a sum of its own where neurons share the parameter."""
        shape = self.parameters[key].shape
        if len(shape) == 2:
            return full[:, : shape[1]]
        if any(key in c.values for c in self.plan.weighted):
            return full[0, : math.prod(shape)].reshape(shape)
        size = self.plan.population(key.split(".")[0]).size
        if shape == (1,) and size > 1:
            total = np.zeros(1, self.dtype)
            self._totals.append((total, full[0, :size]))
            return total
        return full[0, : shape[0]]

    def sum_shared(self) -> None:
        """Gradients of parameters that all neurons of a population have in common."""
        for total, full in self._totals:
            total[0] = full.sum(dtype=np.float64)


def padded_last(table: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    """The last axis padded to `size` with its last value: whole vectors of neurons, or 1 where they share a number."""
    full = aligned((*table.shape[:-1], size), dtype)
    full[..., : table.shape[-1]] = table
    full[..., table.shape[-1] :] = table[..., -1:]
    return full


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A zeroed array that starts on a cache line."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
