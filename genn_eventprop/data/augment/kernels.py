"""Compiled inner loops of the data path (kernels.cpp), where this machine has a compiler; `library` is None otherwise.

They release the interpreter's lock while they run, so that batches are prepared beside the engine. Every function here
takes and returns the flat arrays of `Events`; a `Batch` says where each of its samples starts, and how long it is.

Axis letters: B samples, E events.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ToolchainError

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(times (E,) float64 ms, channels (E,) int32, offsets (B + 1,) int64)."""


@lru_cache(maxsize=1)
def library() -> Any:
    """The compiled kernels; None without a compiler (`genn-eventprop engines` says why): then NumPy does it all."""
    from ...toolchain import build

    try:
        return build(Path(__file__).with_name("kernels.cpp").read_text())
    except ToolchainError:
        return None


def usable(*flat: np.ndarray) -> bool:
    """Whether the kernels can run on these flat arrays: float64 or int32, one element after the other."""
    return library() is not None and all(a.flags.c_contiguous and a.dtype in (np.float64, np.int32) for a in flat)


def pointer(array: np.ndarray | None) -> Any:
    """Address of an array's data, null for None."""
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


class Batch:
    """Some samples of flat arrays, as the kernels take them."""

    def __init__(self, times: np.ndarray, channels: np.ndarray, start: np.ndarray, n: np.ndarray) -> None:
        self.start, self.n = np.ascontiguousarray(start, np.int64), np.ascontiguousarray(n, np.int64)
        self.total = int(self.n.sum())
        self.arrays = (times, channels)  # alive as long as their addresses are used
        self.arguments = (
            pointer(times), pointer(channels), pointer(self.start), pointer(self.n), ctypes.c_int64(len(self.n)),
        )  # fmt: skip

    def output_arrays(self, factor: int = 1) -> Arrays:
        """Uninitialised output arrays for `factor` times all events."""
        size = factor * self.total
        return np.empty(size), np.empty(size, np.int32), np.empty(len(self.n) + 1, np.int64)


def trim(arrays: Arrays) -> Arrays:
    """The arrays cut to the events that were written."""
    times, channels, offsets = arrays
    end = int(offsets[-1])
    return times[:end], channels[:end], offsets


def thresholds(keep: np.ndarray) -> np.ndarray:
    """uint64: a random number's upper 53 bits are below it exactly where the number is below `keep`."""
    return np.ceil(np.clip(keep, 0.0, 1.0) * 2.0**53).astype(np.uint64)


def select(
    batch: Batch,
    n_channels: int,
    shift_time: np.ndarray | None = None,
    shift_channel: np.ndarray | None = None,
    keys: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    t_first: float = -np.inf,
    t_end: float = np.inf,
) -> Arrays:
    """Samples moved by shift_time (B,) and shift_channel (B,), without events outside [t_first, t_end) or the channels.

    Of the rest each event stays with probability keep (B,), by the random numbers of keys (B,).
    """
    size = len(batch.n)
    by_time = np.zeros(size) if shift_time is None else np.ascontiguousarray(shift_time, np.float64)
    by_channel = np.zeros(size, np.int32) if shift_channel is None else np.ascontiguousarray(shift_channel, np.int32)
    share = None if keep is None else thresholds(keep)
    out = batch.output_arrays()
    library().select_events(
        *batch.arguments, pointer(by_time), pointer(by_channel), pointer(keys), pointer(share),
        ctypes.c_double(t_first), ctypes.c_double(t_end), ctypes.c_int64(n_channels), *map(pointer, out),
    )  # fmt: skip
    return trim(out)


def blend(parts: Sequence[tuple[Batch, np.ndarray, np.ndarray, np.ndarray, np.ndarray]], n_channels: int) -> Arrays:
    """Two recordings of each sample mixed.

    Args:
        parts: for either recording the batch, shift_time, shift_channel, keys and keep of `select`; a negative number
            of events in the second batch: the first recording as it is.
    """
    arguments: list[Any] = []
    references = []  # alive as long as their addresses are used
    for batch, by_time, by_channel, keys, keep in parts:
        arrays = (batch.start, batch.n, np.ascontiguousarray(by_time), by_channel, keys, thresholds(keep))
        references.append(arrays)
        arguments += map(pointer, arrays)
    first, second = parts[0][0], parts[1][0]
    total, longest = (int(f(first.n) + f(np.maximum(second.n, 0))) for f in (np.sum, np.max))
    out = (np.empty(total), np.empty(total, np.int32), np.empty(len(first.n) + 1, np.int64))
    scratch = (np.empty(2 * longest), np.empty(2 * longest, np.int32))
    library().blend(
        *first.arguments[:2], *arguments, ctypes.c_int64(len(first.n)), ctypes.c_double(0.0), ctypes.c_double(np.inf),
        ctypes.c_int64(n_channels), ctypes.c_int64(longest), *(pointer(a) for a in (*scratch, *out)),
    )  # fmt: skip
    return trim(out)


def jitter(
    batch: Batch, n_channels: int, keys: np.ndarray, cumulative: np.ndarray, guide: np.ndarray, first: int
) -> Arrays:
    """Channels moved by first + j, j the number of cumulative probabilities that a random number is not below.

    guide (16384,) int32: j of the random numbers 0, 1/16384, ..., where the search begins.
    """
    out = batch.output_arrays()
    library().jitter(
        *batch.arguments, pointer(keys), pointer(cumulative), ctypes.c_int64(len(cumulative)), pointer(guide),
        ctypes.c_int64(first), ctypes.c_int64(n_channels), *map(pointer, out),
    )  # fmt: skip
    return trim(out)


def to_steps(times: np.ndarray, dt: float, shift: float, last: int, steps: np.ndarray) -> int:
    """steps (E,) int32 = min(floor(times / dt + shift), last); returns how many were beyond `last`."""
    function = library().to_steps
    function.restype = ctypes.c_int64
    return int(
        function(
            pointer(times), ctypes.c_int64(len(times)), ctypes.c_double(dt), ctypes.c_double(shift),
            ctypes.c_int32(last), pointer(steps),
        )
    )  # fmt: skip


def sums(batch: Batch) -> np.ndarray:
    """(2, B) sum of times and sum of channels of each sample."""
    total = np.empty((2, len(batch.n)))
    library().sums(*batch.arguments, pointer(total[0]), pointer(total[1]))
    return total


def bin_times(batch: Batch, n_channels: int, dt: float) -> Arrays:
    """Times on the grid, the first event of each channel and step only."""
    out, last = batch.output_arrays(), np.empty(n_channels)
    library().bin(
        *batch.arguments, ctypes.c_double(dt), ctypes.c_int64(n_channels), pointer(last), *map(pointer, out)
    )  # fmt: skip
    return trim(out)


def delay_line(batch: Batch, n_channels: int, shifts: np.ndarray) -> Arrays:
    """Each event len(shifts) times, copy j later by shifts[j] and on channels of its own."""
    times, channels, offsets = batch.output_arrays(len(shifts))
    shifts = np.ascontiguousarray(shifts, np.float64)
    buckets = max(2, len(shifts) * int(batch.n.max(initial=0)))
    scratch = np.empty(buckets + 1, np.int64)
    library().delay_line(
        *batch.arguments, ctypes.c_int64(len(shifts)), pointer(shifts), ctypes.c_int64(n_channels),
        ctypes.c_int64(buckets), pointer(scratch), pointer(times), pointer(channels),
    )  # fmt: skip
    np.cumsum(len(shifts) * batch.n, out=offsets[1:])
    offsets[0] = 0
    return times, channels, offsets
