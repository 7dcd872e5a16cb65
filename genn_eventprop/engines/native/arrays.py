"""Arrays as generated C++ reads them: they start on cache lines, and rows are padded to whole vectors of neurons."""

from __future__ import annotations

import numpy as np


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
