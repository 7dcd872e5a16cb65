"""Numbers in files larger than the memory: slices are read when they are asked for, and the next ones ahead of that.

Nothing is mapped, so that what has been read does not stay in the memory of the process.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

BLOCK = 1 << 18
"""Numbers that are read together."""
KEPT = 4
"""Blocks of an array in memory, with the one that is read ahead."""


class OnDisk(ABC):
    """A row of numbers of which `read` gives slices; NumPy takes them for an array, which then is in memory."""

    ndim = 1

    def __init__(self, size: int, dtype: Any) -> None:
        self.size, self.shape, self.dtype = size, (size,), np.dtype(dtype)

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Numbers start .. stop - 1."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.size)
            return self.read(start, max(start, stop))[::step] if step > 0 else self.read(0, self.size)[index]
        index = np.asarray(index)
        if index.ndim == 0:
            at = int(index) + (self.size if index < 0 else 0)
            return self.read(at, at + 1)[0]
        found = np.empty(index.shape, self.dtype)
        for block in np.unique(index // BLOCK):
            here = index // BLOCK == block
            found[here] = self.read(block * BLOCK, min(block * BLOCK + BLOCK, self.size))[index[here] - block * BLOCK]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(0, self.size).astype(dtype or self.dtype)

    def max(self) -> Any:
        """The largest."""
        return max(self.read(k, min(k + BLOCK, self.size)).max() for k in range(0, self.size, BLOCK))


class FileNumbers(OnDisk):
    """Read by a function, in blocks: one thread reads the next block while what is here is used, in either direction.

    Args:
        load: (start, stop) -> numbers. scale: what they are multiplied with.
    """

    def __init__(self, load: Callable[[int, int], np.ndarray], size: int, dtype: Any, scale: float = 1.0) -> None:
        super().__init__(size, dtype)
        self._load, self._scale, self._last = load, scale, 0
        self._blocks: OrderedDict[int, Future[np.ndarray]] = OrderedDict()
        self._lock, self._pid = Lock(), 0
        self._reader: ThreadPoolExecutor

    def read(self, start: int, stop: int) -> np.ndarray:
        blocks = range(start // BLOCK, max(-(-stop // BLOCK), start // BLOCK + 1))
        parts = [self._block(k)[max(start - k * BLOCK, 0) : max(stop - k * BLOCK, 0)] for k in blocks if stop > start]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.dtype), *parts])

    def _block(self, k: int) -> np.ndarray:
        with self._lock:
            if self._pid != os.getpid():  # a forked child has no threads
                self._pid, self._reader = os.getpid(), ThreadPoolExecutor(1)
                self._blocks.clear()
            ahead = k + (1 if k >= self._last else -1)
            for number in (k, ahead):
                if number not in self._blocks and 0 <= number * BLOCK < self.size:
                    self._blocks[number] = self._reader.submit(self._read, number)
            self._last, found = k, self._blocks[k]
            self._blocks.move_to_end(k)
            while len(self._blocks) > KEPT:
                self._blocks.popitem(last=False)
        return found.result()

    def _read(self, k: int) -> np.ndarray:
        numbers = np.asarray(self._load(k * BLOCK, min(k * BLOCK + BLOCK, self.size)), self.dtype)
        return numbers if self._scale == 1 else numbers * self.dtype.type(self._scale)


def raw(path: Path, offset: int, kind: str, size: int) -> Callable[[int, int], np.ndarray]:
    """Reads numbers that stand in a file as they are, from byte `offset` on."""

    def load(start: int, stop: int) -> np.ndarray:
        dtype = np.dtype(kind)
        return np.fromfile(path, dtype, stop - start, offset=offset + start * dtype.itemsize)

    return load


class Derived(OnDisk):
    """What a function makes of each of other numbers."""

    def __init__(self, numbers: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any) -> None:
        super().__init__(len(numbers), dtype)
        self._numbers, self._function = numbers, function

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._function(self._numbers[start:stop])


class Search:
    """Finds places in numbers that ascend within parts, without reading all between them."""

    def __init__(self, numbers: Any) -> None:
        self._numbers = numbers
        self._firsts = np.array([numbers[k] for k in range(0, len(numbers), BLOCK)])

    def find(self, value: float, start: int, stop: int) -> int:
        """The first place in start .. stop - 1, which is in one part, with a number that is not below `value`."""
        block = start // BLOCK + 1
        inside = self._firsts[block : -(-stop // BLOCK)]
        block += int(np.searchsorted(inside, value))
        return bisect_left(self._numbers, value, max(start, (block - 1) * BLOCK), min(stop, block * BLOCK))
