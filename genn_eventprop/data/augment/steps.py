"""Augmentations and input tricks, on whole batches at once.

Each is a small frozen record, `step(events, draw) -> events`; random ones take their numbers from `draw`
(`counter`), so a sample gets the same augmentation in an epoch whatever its batch. `Augmented` applies a chain of
them to the batches of a data set. Operations on every event are compiled where there is a compiler (`kernels`),
else in NumPy, with the same result. Source: the tricks of Nowotny, Turner, Knight 2025 (doi 10.1088/2634-4386/ada852),
whose verdict was that shift and blend help.

Axis letters: B samples of a batch, E their events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from ...errors import DataError
from ..events.events import Events
from . import kernels
from .batchwise import Step as Step
from .batchwise import changed, check_range, check_whole, in_order, inside, joined, sliced, whole, with_arrays
from .counter import Draw
from .distort import Affine, Warp
from .rearrange import ChannelsLast, NormaliseCounts
from .silence import TrimSilence

TABLE = 1 << 24
"""Largest table of steps x channels that `first_of_each` uses; beyond, it sorts."""


def first_of_each(values: np.ndarray, limit: int) -> np.ndarray:
    """(n,) whether no earlier element is the same; values are from 0 to limit - 1."""
    if limit > TABLE:
        keep = np.zeros(len(values), bool)
        keep[np.unique(values, return_index=True)[1]] = True
        return keep
    # the last one to write into a place is the first element of that value; only places just written are read
    position = np.arange(len(values) - 1, -1, -1, dtype=np.int32)
    table = np.empty(limit, np.int32)
    table[values[::-1]] = position
    return table[values] == position[::-1]


@dataclass(frozen=True)
class Shift:
    """Shift all channels of a sample by a random integer, uniform in -channels .. channels; events outside are dropped.

    The integer is multiplied by `stride`: in an image with rows of 34 channels, stride 34 shifts vertically.
    """

    channels: int = 40
    stride: int = 1

    def __post_init__(self) -> None:
        check_whole("Shift: channels", self.channels, 0, 2**31)
        check_whole("Shift: channels * stride", self.channels * self.stride, 0, 2**31 - 1)

    def __call__(self, events: Events, draw: Draw) -> Events:
        by = np.floor(draw.per_sample("shift") * (2 * self.channels + 1)).astype(np.int32) - np.int32(self.channels)
        by *= np.int32(self.stride)
        if (batch := whole(events)) is not None:
            return with_arrays(events, kernels.select(batch, events.n_channels, shift_channel=by))
        moved = events.channels.astype(np.int64) + np.repeat(by, events.counts)
        return changed(events, channels=moved, keep=inside(moved, events.n_channels))


@dataclass(frozen=True)
class Dilate:
    """Multiply the times of a sample by exp(U(log low, log high))."""

    low: float = 0.8
    high: float = 1.25

    def __post_init__(self) -> None:
        check_range("Dilate: low", self.low, 1e-6, self.high)
        check_range("Dilate: high", self.high, self.low, 1e6)

    def __call__(self, events: Events, draw: Draw) -> Events:
        low, high = np.log(self.low), np.log(self.high)
        factor = np.exp(low + (high - low) * draw.per_sample("dilate"))
        return changed(events, times=events.times * np.repeat(factor, events.counts))


@dataclass(frozen=True)
class Jitter:
    """Shift the channel of each event by N(0, sigma), rounded; events outside are dropped."""

    sigma: float = 20.0

    def __post_init__(self) -> None:
        check_range("Jitter: sigma", self.sigma, 0, 1e6)

    def __call__(self, events: Events, draw: Draw) -> Events:
        cumulative, guide, first = whole_normal(self.sigma)
        if (batch := whole(events)) is not None:
            keys = draw.keys("jitter")
            return with_arrays(events, kernels.jitter(batch, events.n_channels, keys, cumulative, guide, first))
        noise = first + np.searchsorted(cumulative, draw.per_event("jitter", events.counts), side="right")
        moved = events.channels + noise
        return changed(events, channels=moved, keep=inside(moved, events.n_channels))


@lru_cache(maxsize=16)
def whole_normal(sigma: float) -> tuple[np.ndarray, np.ndarray, int]:
    """(cumulative probabilities, guide for the search, smallest value) of floor(N(0, sigma) + 0.5), cut at 6 sigma.

    P(value <= k) = Phi((k + 0.5) / sigma); one random number and a search give a value.
    """
    reach = math.ceil(6 * sigma)
    below = [0.5 * math.erfc(-(k + 0.5) / (sigma * math.sqrt(2))) for k in range(-reach, reach)]
    cumulative = np.array([*below, 1.0])
    guide = np.searchsorted(cumulative, np.arange(16384) / 16384, side="right").astype(np.int32)
    return cumulative, guide, -reach


@dataclass(frozen=True)
class Dropout:
    """Drop each event with probability p."""

    p: float = 0.2

    def __post_init__(self) -> None:
        check_range("Dropout: p", self.p, 0, 1)

    def __call__(self, events: Events, draw: Draw) -> Events:
        return thinned(events, draw, "dropout", np.full(len(events), 1.0 - self.p))


@dataclass(frozen=True)
class Thin:
    """In samples with more than `count` events, keep each event with probability count / (number of events).

    `count` is usually the mean of the data set, events.statistics().mean_events.
    """

    count: float

    def __post_init__(self) -> None:
        check_range("Thin: count", self.count, 0, np.inf)

    def __call__(self, events: Events, draw: Draw) -> Events:
        return thinned(events, draw, "thin", self.count / np.maximum(events.counts, 1))


def thinned(events: Events, draw: Draw, purpose: str, keep: np.ndarray) -> Events:
    """Each event of sample b kept with probability keep[b]."""
    if (batch := whole(events)) is not None:
        return with_arrays(events, kernels.select(batch, events.n_channels, keys=draw.keys(purpose), keep=keep))
    return changed(events, keep=draw.per_event(purpose, events.counts) < np.repeat(keep, events.counts))


@dataclass(frozen=True)
class MergeChannels:
    """Merge every `factor` neighbouring channels into one: n_channels / factor channels, rounded up."""

    factor: int = 2

    def __post_init__(self) -> None:
        check_whole("MergeChannels: factor", self.factor, 1, 2**31)

    def __call__(self, events: Events, draw: Draw) -> Events:
        width = -(-events.n_channels // self.factor)
        return changed(events, channels=events.channels // self.factor, n_channels=width)


@dataclass(frozen=True)
class CropChannels:
    """Keep only channels start <= c < stop; start becomes 0: stop - start channels."""

    start: int = 0
    stop: int = 2**31

    def __post_init__(self) -> None:
        check_whole("CropChannels: start", self.start, 0, self.stop)
        check_whole("CropChannels: stop", self.stop, self.start + 1, 2**31)

    def __call__(self, events: Events, draw: Draw) -> Events:
        if self.start >= events.n_channels:
            raise DataError(f"CropChannels: start={self.start}, but there are {events.n_channels} channels")
        width = min(self.stop, events.n_channels) - self.start
        moved = events.channels - np.int32(self.start)
        return changed(events, channels=moved, keep=inside(moved, width), n_channels=width)


@dataclass(frozen=True)
class FitTime:
    """Shift and stretch the times of each sample until its events lie between start and stop (ms).

    A fraction `outliers` of the events at either end may lie outside; events before 0 are dropped. This removes
    differences in speaking rate and silence. A sample whose events are all simultaneous is only shifted.
    """

    start: float = 20.0
    stop: float = 420.0
    outliers: float = 0.02

    def __post_init__(self) -> None:
        check_range("FitTime: start", self.start, 0, 1e9)
        check_range("FitTime: stop", self.stop, np.nextafter(self.start, np.inf), 1e9)
        check_range("FitTime: outliers", self.outliers, 0, 0.49)

    def __call__(self, events: Events, draw: Draw) -> Events:
        if not len(events.times):
            return events
        skipped = np.floor(self.outliers * events.counts).astype(np.int64)
        edges = (events.offsets[:-1] + skipped, events.offsets[1:] - 1 - skipped)
        first, last = (events.times[np.clip(edge, 0, len(events.times) - 1)] for edge in edges)
        span = last - first
        factor = np.where(span > 0, (self.stop - self.start) / np.where(span > 0, span, 1.0), 1.0)
        times = (events.times - np.repeat(first, events.counts)) * np.repeat(factor, events.counts) + self.start
        return changed(events, times=times, keep=times >= 0)


@dataclass(frozen=True)
class CompressTime:
    """Divide times by `factor`."""

    factor: float = 2.0

    def __post_init__(self) -> None:
        check_range("CompressTime: factor", self.factor, 1e-6, 1e6)

    def __call__(self, events: Events, draw: Draw) -> Events:
        return changed(events, times=events.times / self.factor)


@dataclass(frozen=True)
class Crop:
    """Keep only events with start <= t < stop (ms); start becomes 0."""

    start: float = 0.0
    stop: float = np.inf

    def __post_init__(self) -> None:
        check_range("Crop: start", self.start, 0, self.stop)

    def __call__(self, events: Events, draw: Draw) -> Events:
        first, last = events.offsets[:-1].copy(), events.offsets[1:].copy()
        for b in range(len(events)):  # in order of time: what stays lies together
            times, _ = events.sample(b)
            first[b], last[b] = events.offsets[b] + np.searchsorted(times, (self.start, self.stop))
        if self.start == 0 and np.array_equal(last, events.offsets[1:]):
            return events
        return sliced(events, first, last, self.start)


@dataclass(frozen=True)
class Pad:
    """Insert `before` ms of silence at the start of each sample."""

    before: float = 0.0

    def __post_init__(self) -> None:
        check_range("Pad: before", self.before, 0, 1e9)

    def __call__(self, events: Events, draw: Draw) -> Events:
        return changed(events, times=events.times + self.before)


@dataclass(frozen=True)
class Bin:
    """Round times to the grid, floor(t / dt + 0.5) dt; at most one event per channel and step unless `duplicates`."""

    dt: float = 1.0
    duplicates: bool = False

    def __post_init__(self) -> None:
        check_range("Bin: dt", self.dt, 1e-9, 1e9)

    def __call__(self, events: Events, draw: Draw) -> Events:
        batch = None if self.duplicates or events.n_channels > TABLE else whole(events)
        if batch is not None:
            return with_arrays(events, kernels.bin_times(batch, events.n_channels, self.dt))
        step = np.floor(events.times / self.dt + 0.5)
        times = step * self.dt
        if self.duplicates or not len(step):
            return changed(events, times=times)
        steps = int(step.max()) + 1
        place = step.astype(np.int64) * events.n_channels + events.channels
        keep = np.ones(len(step), bool)
        for a, b in pairwise(events.offsets.tolist()):
            keep[a:b] = first_of_each(place[a:b], steps * events.n_channels)
        return changed(events, times=times, keep=keep)


@dataclass(frozen=True)
class DelayLine:
    """Repeat the input `copies` times, each `delay` ms after the previous one, on separate channels.

    n_channels becomes (copies + 1) n_channels: copy j of channel c is channel j n_channels + c. Divide the initial
    weights of this input by the number of copies.
    """

    copies: int = 10
    delay: float = 30.0

    def __post_init__(self) -> None:
        check_whole("DelayLine: copies", self.copies, 0, 10_000)
        check_range("DelayLine: delay", self.delay, 0, 1e9)

    def __call__(self, events: Events, draw: Draw) -> Events:
        lines = np.arange(self.copies + 1)
        width = len(lines) * events.n_channels
        if width > 2**31:
            raise DataError(f"DelayLine: {len(lines)} x {events.n_channels} channels are more than 2^31")
        if (batch := whole(events)) is not None:
            return with_arrays(events, kernels.delay_line(batch, events.n_channels, self.delay * lines), width)
        merged = []
        for i in range(len(events)):
            t, c = events.sample(i)
            times = (t + self.delay * lines[:, None]).ravel()
            channels = (c + (events.n_channels * lines[:, None]).astype(np.int32)).ravel()
            merged.append(in_order(times, channels))
        return joined(merged, events, width)


FIXED = (
    CropChannels, MergeChannels, ChannelsLast, TrimSilence, FitTime, CompressTime, Crop, Pad, Bin, DelayLine,
    NormaliseCounts,
)  # fmt: skip
"""These change the form of the input, the same way in every epoch: evaluation sets need them too."""
TIMED = (Dilate, TrimSilence, FitTime, CompressTime, Pad, Bin, DelayLine)
"""These move events in time."""

STEPS: dict[str, Any] = {step.__name__: step for step in (Shift, Dilate, Jitter, Dropout, Thin, Affine, Warp, *FIXED)}
"""Augmentations by name, for the command line and configuration files."""
