"""What augmentations share: the protocol of a step, and operations on whole batches of events.

Axis letters: E events of a batch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...errors import DataError
from ..events.events import Events, gather
from . import kernels
from .counter import Draw


class Step(Protocol):
    """What an augmentation must be able to do."""

    def __call__(self, events: Events, draw: Draw) -> Events: ...


def changed(
    events: Events,
    times: np.ndarray | None = None,
    channels: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    n_channels: int | None = None,
) -> Events:
    """`events` with other times or channels, without the events where `keep` is False; order must not change."""
    times = events.times if times is None else times
    channels = events.channels if channels is None else channels
    offsets = events.offsets
    if keep is not None:
        kept = np.flatnonzero(keep)
        if len(kept) < len(keep):
            times, channels, offsets = times.take(kept), channels.take(kept), np.searchsorted(kept, offsets)
    width = events.n_channels if n_channels is None else n_channels
    channels = channels.astype(np.int32, copy=False)
    return Events.trusted(
        times, channels, offsets, width, events.labels, events.groups, events.n_classes, events.name, events.targets
    )


def whole(events: Events) -> kernels.Batch | None:
    """All samples for the compiled kernels, None where they cannot run."""
    if not kernels.usable(events.times, events.channels):
        return None
    return kernels.Batch(events.times, events.channels, events.offsets[:-1], events.counts)


def with_arrays(events: Events, arrays: kernels.Arrays, n_channels: int | None = None) -> Events:
    """`events` with other times, channels and offsets."""
    width = events.n_channels if n_channels is None else n_channels
    return Events.trusted(
        *arrays, width, events.labels, events.groups, events.n_classes, events.name, events.targets
    )  # fmt: skip


def sliced(events: Events, first: np.ndarray, last: np.ndarray, start: float | np.ndarray) -> Events:
    """Events first[b] .. last[b] - 1 (numbers of the whole batch) of sample b, `start` ms (or (B,)) earlier."""
    counts = last - first
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times, channels = (gather(a, first, counts, offsets) for a in (events.times, events.channels))
    if np.any(start):
        times = times - (np.repeat(start, counts) if isinstance(start, np.ndarray) else start)
    return with_arrays(events, (times, channels, offsets))


def inside(channels: np.ndarray, n_channels: int) -> np.ndarray:
    """(E,) whether the channel exists."""
    return (channels >= 0) & (channels < n_channels)


def in_order(times: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One sample put in order of time; the stable sort merges parts that are in order already, in linear time."""
    order = times.argsort(kind="stable")
    return times[order], channels[order]


def joined(samples: list[tuple[np.ndarray, np.ndarray]], about: Events, n_channels: int) -> Events:
    """Events of (times, channels) in order, with the labels, groups and name of `about`."""
    times = np.concatenate([np.empty(0), *(t for t, _ in samples)])
    channels = np.concatenate([np.empty(0, np.int32), *(c for _, c in samples)]).astype(np.int32, copy=False)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t, _ in samples])]).astype(np.int64)
    return Events.trusted(
        times, channels, offsets, n_channels, about.labels, about.groups, about.n_classes, about.name, about.targets
    )


def check_range(what: str, value: float, low: float, high: float) -> None:
    """Raises unless low <= value <= high."""
    if isinstance(value, bool) or not low <= value <= high:
        raise DataError(f"{what} must be from {low:g} to {high:g}, got {value!r}")


def check_whole(what: str, value: int, low: int, high: int) -> None:
    """Raises unless low <= value <= high and value is an integer."""
    check_range(what, value, low, high)
    if not isinstance(value, (int, np.integer)):
        raise DataError(f"{what} must be a whole number, got {value!r}")
