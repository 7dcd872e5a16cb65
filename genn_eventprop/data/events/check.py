"""Checks of event arrays: each says which data set, sample and event is wrong, and what to do about it.

The checks walk over the events in blocks, so that a memory-mapped data set is never read into memory as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import DataError, is_whole, shown, whole
from .disk import OnDisk

BLOCK = 1 << 18  # events looked at together: 3 MB of times and channels
MAX_CHANNELS = 2**31


class Annotated(Protocol):
    """What samples have besides their spikes or currents."""

    @property
    def labels(self) -> np.ndarray | None: ...
    @property
    def groups(self) -> np.ndarray | None: ...
    @property
    def targets(self) -> Any: ...


class Recordings(Annotated, Protocol):
    """The arrays of `Events`, for what `Events` itself calls: its checks, statistics, rasters and files."""

    @property
    def times(self) -> np.ndarray: ...
    @property
    def channels(self) -> np.ndarray: ...
    @property
    def offsets(self) -> np.ndarray: ...
    @property
    def n_channels(self) -> int: ...
    @property
    def n_classes(self) -> int | None: ...
    @property
    def name(self) -> str: ...
    @property
    def counts(self) -> np.ndarray: ...
    @property
    def durations(self) -> np.ndarray: ...
    @property
    def duration(self) -> float: ...
    def __len__(self) -> int: ...
    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...


def unmasked(values: Any, where: str) -> np.ndarray:
    """`values` as an array; a masked one hides no number, or what it hides would be taken for data."""
    if np.ma.is_masked(values):
        hidden = np.ma.count_masked(values)
        raise DataError(
            f"{where}: a masked array, of which {hidden} numbers are hidden: leave them out, or array.filled(0)"
        )
    return np.asarray(values)


def as_vector(values: Any, dtype: type, where: str) -> np.ndarray:
    """`values` as a one-dimensional array of `dtype`; a float array is no integer array unless every value is whole."""
    array = unmasked(values, where)
    if array.ndim != 1:
        raise DataError(f"{where} must be one-dimensional, got shape {array.shape}")
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "iuf" and array.size:
        raise DataError(f"{where} must be numbers, got dtype {array.dtype}")
    if np.issubdtype(dtype, np.integer) and array.size:
        check_whole(array, dtype, where)
    return array.astype(dtype)


ROWS = "of an array a of rows (time, channel) write (a[:, 0], a[:, 1])"


def pair(sample: Any, where: str) -> tuple[Any, Any]:
    """(times, channels) of one sample."""
    try:
        times, channels = sample
    except (TypeError, ValueError):
        raise DataError(
            f"{where} is {shown(sample)}; every sample is a pair (times in ms, channels) of two lists of one length"
            f"{_of_rows(sample) or how_to_read(sample)}"
        ) from None
    if _two_rows(sample):
        raise DataError(
            f"{where} may be two events (time, channel) or the times and the channels of two; give a pair of lists, "
            f"([times], [channels]); {ROWS}"
        )
    return times, channels


def _two_rows(sample: Any) -> bool:
    """Whether a sample of two events may be rows of a time and a channel, which has the form of a pair too."""
    if isinstance(sample, np.ndarray):
        return sample.shape == (2, 2)
    return isinstance(sample, list) and all(isinstance(part, tuple) and len(part) == 2 for part in sample)


def _of_rows(sample: Any) -> str:
    """How an array with a row (time, channel) for every event is a sample."""
    rows = isinstance(sample, np.ndarray) and sample.ndim == 2 and sample.shape[1] == 2
    return f"; {ROWS}" if rows else ""


def how_to_read(value: Any) -> str:
    """How spikes in an array, or in a file, become events; "" for anything else."""
    if isinstance(value, str) or hasattr(value, "suffix"):
        return "; genn_eventprop.data.open.open_events(path) reads a file or folder"
    if len(getattr(value, "shape", ())) >= 2:
        return (
            ", or of spike counts (samples, steps, channels) with "
            "genn_eventprop.data.readers.structured.from_dense(array, dt, labels); real numbers are "
            "Currents(array, dt, labels=labels), for a network with net.current(...)"
        )
    return ""


def check_whole(array: np.ndarray, dtype: type, where: str) -> None:
    """Raises unless every value is an integer that `dtype` can hold: a cast would wrap or cut it without a word."""
    if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):
        bad = int(np.flatnonzero(array != np.floor(array))[0])
        raise DataError(f"{where} must be integers, got {array[bad]} at position {bad}")
    limits = np.iinfo(dtype)
    low, high = array.min(), array.max()
    if low < limits.min or high > limits.max:
        raise DataError(f"{where} has values from {low} to {high}, outside {limits.min} .. {limits.max}")


def n_channels(value: Any, where: str) -> int:
    """The number of channels as an int from 1 to 2^31."""
    if not is_whole(value, 1) or value > MAX_CHANNELS:
        raise DataError(f"{where}: n_channels must be an integer from 1 to 2^31, got {value!r}")
    return int(value)


def offsets(values: np.ndarray, n_times: int, n_channels: int, where: str) -> None:
    """Offsets start at 0, never fall, and end at the number of events."""
    if n_times != n_channels:
        raise DataError(f"{where}: {n_times} times but {n_channels} channels; give one channel for each time")
    if len(values) == 0 or values[0] != 0 or values[-1] != n_times:
        ends = "nothing" if len(values) == 0 else f"{values[0]} .. {values[-1]}"
        raise DataError(f"{where}: offsets must run from 0 to the number of events, 0 .. {n_times}, got {ends}")
    falls = np.flatnonzero(np.diff(values) < 0)
    if len(falls):
        i = int(falls[0])
        raise DataError(f"{where}: sample {i} ends before it starts: offsets[{i}] = {values[i]}, next {values[i + 1]}")


def place(position: int, offsets: np.ndarray) -> str:
    """'sample i, event j' of a position in the flat arrays; 'event j' where there is one sample only."""
    if len(offsets) == 2:
        return f"event {position}"
    sample = int(np.searchsorted(offsets, position, side="right")) - 1
    return f"sample {sample}, event {position - int(offsets[sample])}"


def events(times: np.ndarray, channels: np.ndarray, offsets: np.ndarray, n_channels: int, where: str) -> None:
    """Times finite, not negative, ascending within a sample; channels in range."""
    for start in range(0, len(times), BLOCK):
        stop = min(start + BLOCK, len(times))
        t, c = times[start:stop], channels[start:stop]
        wrong = ~np.isfinite(t) | (t < 0)
        if wrong.any():
            k = start + int(np.argmax(wrong))
            raise DataError(
                f"{where}: {place(k, offsets)}: time {times[k]} ms; times must be finite and not negative "
                "(ms from the start of the trial)"
            )
        if c.min() < 0 or c.max() >= n_channels:
            k = start + int(np.argmax((c < 0) | (c >= n_channels)))
            raise DataError(
                f"{where}: {place(k, offsets)}: channel {channels[k]} is outside 0 .. {n_channels - 1}; "
                "give a larger n_channels or correct the channels"
            )
        check_order(times, offsets, start, stop, where)


def check_order(times: np.ndarray, offsets: np.ndarray, start: int, stop: int, where: str) -> None:
    """No event of start + 1 .. stop is earlier than the one before it, unless it opens a sample."""
    later = times[start + 1 : stop + 1]
    falls = start + 1 + np.flatnonzero(later < times[start : start + len(later)])
    falls = falls[offsets[np.searchsorted(offsets, falls)] != falls]
    if len(falls):
        k = int(falls[0])
        raise DataError(
            f"{where}: {place(k, offsets)}: time {times[k]} ms comes after {times[k - 1]} ms; "
            "events of a sample must be in order of time (Events.from_samples(..., sort=True) sorts them)"
        )


def labels(values: Any, n_samples: int, n_classes: int | None, where: str) -> tuple[np.ndarray | None, int | None]:
    """Labels as (S,) int64 in -1 .. n_classes - 1, and the number of classes."""
    if n_classes is not None:
        whole(n_classes, f"{where}: n_classes", DataError)
    if values is None:
        return None, n_classes
    shape, kind = np.shape(values), np.asarray(values).dtype.kind
    if len(shape) == 2:
        raise DataError(
            f"{where}: labels must be one-dimensional, got shape {shape}; of one-hot rows give array.argmax(1)"
        )
    if kind in "US":
        raise DataError(
            f"{where}: labels must be numbers, got {shown(np.asarray(values).flat[0].item())}; number the names with "
            "names, labels = numpy.unique(labels, return_inverse=True)"
        )
    array = as_vector(values, np.int64, f"{where}: labels")
    if len(array) != n_samples:
        raise DataError(f"{where}: {len(array)} labels for {n_samples} samples; give one label for each sample")
    classes = int(n_classes) if n_classes is not None else max(int(array.max(initial=0)) + 1, 1)
    wrong = (array < -1) | (array >= classes)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"{where}: sample {i}: label {array[i]} is outside 0 .. {classes - 1} (-1: no label); "
            "count classes from 0, or give a larger n_classes"
        )
    return array, classes


def targets(values: Any, n_samples: int, where: str) -> np.ndarray | None:
    """Targets as an (S, ...) float64 array, finite or nan; of several by name a structured array (S,), see
    `named_targets`."""
    if values is None:
        return None
    array = values if isinstance(values, Mapping) else unmasked(values, f"{where}: targets")
    if isinstance(array, Mapping) or array.dtype.names:
        return named_targets(array, n_samples, where)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where}: targets must be numbers in one array, got dtype {array.dtype}")
    if array.ndim < 2 or len(array) != n_samples:
        raise DataError(
            f"{where}: targets of shape {array.shape} for {n_samples} samples; the first axis is the sample, "
            "the others are those of the loss"
        )
    if np.isinf(array).any():
        raise DataError(f"{where}: targets of sample {int(np.argwhere(np.isinf(array))[0][0])} are infinite")
    return array.astype(np.float64)


def named_targets(values: Mapping[str, Any] | np.ndarray, n_samples: int, where: str) -> np.ndarray | None:
    """Several targets as one structured array (S,): fields of classes (int64, -1 for none), or of numbers (float64)."""
    names = list(values if isinstance(values, Mapping) else values.dtype.names or ())
    if not names:
        return None
    fields: dict[str, np.ndarray] = {}
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise DataError(f"{where}: a target's name is letters, digits and underscores, got {name!r}")
        try:
            array = np.asanyarray(values[name])
        except ValueError:
            raise DataError(f"{where}: target {name!r} is no array: its parts have different lengths") from None
        array = unmasked(array, f"{where}: target {name!r}")
        if array.ndim == 1 and array.dtype.kind in "iu" and len(array) == n_samples:
            fields[name] = labels(array, n_samples, None, f"{where}: target {name!r}")[0]  # type: ignore[assignment]
            continue
        if array.ndim == 1:
            raise DataError(
                f"{where}: target {name!r} is {array.shape} {array.dtype}; give {n_samples} classes (integers), or "
                f"numbers of shape ({n_samples}, ...)"
            )
        fields[name] = targets(array, n_samples, f"{where}: target {name!r}")  # type: ignore[assignment]
    every = np.empty(n_samples, np.dtype([(n, a.dtype, a.shape[1:]) for n, a in fields.items()]))
    for name, array in fields.items():
        every[name] = array
    return every


def groups(values: Any, n_samples: int, where: str) -> np.ndarray | None:
    """Groups as an (S,) array of integers or texts."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (n_samples,):
        raise DataError(f"{where}: groups of shape {array.shape} for {n_samples} samples; give one for each sample")
    if array.dtype.kind not in "iuU" and array.size:
        raise DataError(f"{where}: groups must be integers or strings, got dtype {array.dtype}")
    return array


def sample_indices(index: Any, n_samples: int, where: str) -> np.ndarray:
    """`index` (integer, slice, indices, mask) as indices 0 .. n_samples - 1."""
    if isinstance(index, slice):
        return np.arange(n_samples)[index]
    array = np.atleast_1d(np.asarray(index))
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype == bool:
        if array.shape != (n_samples,):
            raise DataError(f"{where}: a mask of shape {array.shape} cannot select from {n_samples} samples")
        return np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{where}: samples are selected by integers, a slice or a mask, got {index!r}")
    outside = (array < -n_samples) | (array >= n_samples)
    if outside.any():
        raise DataError(f"{where}: no sample {array[np.argmax(outside)]}; there are {n_samples}, counted from 0")
    return np.where(array < 0, array + n_samples, array).astype(np.int64)


def same_annotations(parts: Sequence[Annotated]) -> None:
    """Raises unless labels, groups and targets are in all parts, or in none."""
    if not parts:
        raise DataError("nothing to concatenate: give at least one data set")
    first = parts[0]
    for i, part in enumerate(parts):
        for field in ("labels", "groups", "targets"):
            if (getattr(part, field) is None) != (getattr(first, field) is None):
                raise DataError(f"part {i} and part 0: only one of them has {field}; all parts need them, or none")
        if part.targets is not None and first.targets is not None:
            here, there = (e.targets.dtype.names or e.targets.shape[1:] for e in (part, first))
            if here != there:
                raise DataError(f"part {i} has targets {here}, part 0 {there}")


def same_layout(parts: Sequence[Recordings]) -> None:
    """Raises unless the parts can be one data set."""
    same_annotations(parts)
    for i, part in enumerate(parts):
        if part.n_channels != parts[0].n_channels:
            raise DataError(
                f"part {i} has {part.n_channels} channels, part 0 has {parts[0].n_channels}; they must agree"
            )


def is_mapped(array: Any) -> bool:
    """Whether an array is memory-mapped or read from disk, or part of one that is."""
    if isinstance(array, OnDisk):
        return True
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
