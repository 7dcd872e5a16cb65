"""What augmentations share: the protocol of a step, and operations on whole batches of events.

Axis letters: E events of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real
from typing import Protocol

import numpy as np

from ...errors import DataError
from ..currents.currents import Currents
from ..events.events import Events, gather
from . import kernels
from .counter import CounterRNG


class Step(Protocol):
    """What an augmentation must be able to do: from a batch of events, make another one.

    Attributes (False where a step has none, so a plain function is a step too):
        fixed: the step changes the form of the input, in the same way in every epoch: evaluation sets need it too.
        moves_times: the step moves events in time, so that a crop to the trial must come after it.
    """

    def __call__(self, events: Events, rng: CounterRNG) -> Events: ...


class CurrentStep(ABC):
    """The same for currents; its attribute `fixed` as in `Step`."""

    @abstractmethod
    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        """The batch, changed."""


def is_fixed(step: Step | CurrentStep) -> bool:
    """Whether evaluation sets need the step too."""
    return bool(getattr(step, "fixed", False))


def moves_times(step: Step) -> bool:
    """Whether the step moves events in time."""
    return bool(getattr(step, "moves_times", False))


def replace_events(
    events: Events,
    times: np.ndarray | None = None,
    channels: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    n_channels: int | None = None,
) -> Events:
    """`events` with other times or channels, without the events where `keep` (E,) is False.

    The order of the events of a sample must stay that of time: nothing is checked or sorted here.
    """
    times = events.times if times is None else times
    channels = events.channels if channels is None else channels
    offsets = events.offsets
    if keep is not None:
        index = np.flatnonzero(keep)
        if len(index) < len(keep):
            times, channels, offsets = times.take(index), channels.take(index), np.searchsorted(index, offsets)
    return replace_arrays(events, (times, channels.astype(np.int32, copy=False), offsets), n_channels)


def kernel_batch(events: Events) -> kernels.Batch | None:
    """All samples for the compiled kernels, None where they cannot run."""
    if not kernels.usable(events.times, events.channels):
        return None
    return kernels.Batch(events.times, events.channels, events.offsets[:-1], events.counts)


def replace_arrays(events: Events, arrays: kernels.Arrays, n_channels: int | None = None) -> Events:
    """`events` with other times, channels and offsets; labels, groups, targets and name stay."""
    width = events.n_channels if n_channels is None else n_channels
    return Events.trusted(
        *arrays, width, events.labels, events.groups, events.n_classes, events.name, events.targets
    )  # fmt: skip


def slice_samples(events: Events, first: np.ndarray, last: np.ndarray, start: float | np.ndarray) -> Events:
    """Events first[b] .. last[b] - 1 (numbers of the whole batch) of sample b, `start` ms (or (B,)) earlier."""
    counts = last - first
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times, channels = (gather(a, first, counts, offsets) for a in (events.times, events.channels))
    if np.any(start):
        times = times - (np.repeat(start, counts) if isinstance(start, np.ndarray) else start)
    return replace_arrays(events, (times, channels, offsets))


def channel_in_range(channels: np.ndarray, n_channels: int) -> np.ndarray:
    """(E,) whether the channel exists."""
    return (channels >= 0) & (channels < n_channels)


def sort_by_time(times: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One sample put in order of time; the stable sort merges parts that are in order already, in linear time."""
    order = times.argsort(kind="stable")
    return times[order], channels[order]


def concatenate(samples: list[tuple[np.ndarray, np.ndarray]], template: Events, n_channels: int) -> Events:
    """Events of (times, channels) pairs, one a sample, with the labels, groups and name of `template`."""
    times = np.concatenate([np.empty(0), *(t for t, _ in samples)])
    channels = np.concatenate([np.empty(0, np.int32), *(c for _, c in samples)]).astype(np.int32, copy=False)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t, _ in samples])]).astype(np.int64)
    return replace_arrays(template, (times, channels, offsets), n_channels)


def check_range(what: str, value: float, low: float, high: float) -> None:
    """Raises unless low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        raise DataError(f"{what} must be from {low:g} to {high:g}, got {value!r}")


def check_whole(what: str, value: int, low: int, high: int) -> None:
    """Raises unless low <= value <= high and value is an integer."""
    check_range(what, value, low, high)
    if not isinstance(value, (int, np.integer)):
        raise DataError(f"{what} must be a whole number, got {value!r}")
