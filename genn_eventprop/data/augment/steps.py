"""Augmentations and input tricks, on whole batches at once.

Each is a small frozen record, `step(events, rng) -> events`; random ones take their numbers from `rng`
(`counter`), so a sample gets the same augmentation in an epoch whatever its batch. `Augmented` applies a chain of
them to the batches of a data set. Operations on every event are compiled where there is a compiler (`kernels`),
else in NumPy, with the same result. Source: the tricks of Nowotny, Turner, Knight 2025 (doi 10.1088/2634-4386/ada852),
whose verdict was that shift and blend help.

A step says of itself whether it changes the form of the input (`fixed`) and whether it moves events in time
(`moves_times`), see `batchwise.Step`; `STEPS` at the end has all of them by name.

Axis letters: B samples of a batch, E their events, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ...errors import DataError
from ..events.events import Events
from . import kernels
from .batchwise import Step as Step
from .batchwise import (
    channel_in_range,
    check_range,
    check_whole,
    concatenate,
    is_fixed,
    kernel_batch,
    replace_arrays,
    replace_events,
    slice_samples,
    sort_by_time,
)
from .counter import CounterRNG

TABLE = 1 << 24
"""Largest table of steps x channels that `first_of_each` uses; beyond, it sorts."""


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

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        by = np.floor(rng.per_sample("shift") * (2 * self.channels + 1)).astype(np.int32) - np.int32(self.channels)
        by *= np.int32(self.stride)
        if (batch := kernel_batch(events)) is not None:
            return replace_arrays(events, kernels.select(batch, events.n_channels, shift_channel=by))
        moved = events.channels.astype(np.int64) + np.repeat(by, events.counts)
        return replace_events(events, channels=moved, keep=channel_in_range(moved, events.n_channels))


@dataclass(frozen=True)
class Jitter:
    """Shift the channel of each event by N(0, sigma), rounded; events outside are dropped."""

    sigma: float = 20.0

    def __post_init__(self) -> None:
        check_range("Jitter: sigma", self.sigma, 0, 1e6)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        cumulative, guide, first = whole_normal(self.sigma)
        if (batch := kernel_batch(events)) is not None:
            keys = rng.keys("jitter")
            return replace_arrays(events, kernels.jitter(batch, events.n_channels, keys, cumulative, guide, first))
        noise = first + np.searchsorted(cumulative, rng.per_event("jitter", events.counts), side="right")
        moved = events.channels + noise
        return replace_events(events, channels=moved, keep=channel_in_range(moved, events.n_channels))


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
class MergeChannels:
    """Merge every `factor` neighbouring channels into one: n_channels / factor channels, rounded up."""

    fixed: ClassVar[bool] = True

    factor: int = 2

    def __post_init__(self) -> None:
        check_whole("MergeChannels: factor", self.factor, 1, 2**31)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        width = -(-events.n_channels // self.factor)
        return replace_events(events, channels=events.channels // self.factor, n_channels=width)


@dataclass(frozen=True)
class CropChannels:
    """Keep only channels start <= c < stop; start becomes 0: stop - start channels."""

    fixed: ClassVar[bool] = True

    start: int = 0
    stop: int = 2**31

    def __post_init__(self) -> None:
        check_whole("CropChannels: start", self.start, 0, self.stop)
        check_whole("CropChannels: stop", self.stop, self.start + 1, 2**31)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        if self.start >= events.n_channels:
            raise DataError(f"CropChannels: start={self.start}, but there are {events.n_channels} channels")
        width = min(self.stop, events.n_channels) - self.start
        moved = events.channels - np.int32(self.start)
        return replace_events(events, channels=moved, keep=channel_in_range(moved, width), n_channels=width)


@dataclass(frozen=True)
class ChannelsLast:
    """Images that lie one after the other, as of an event camera's polarities, are interleaved for a `Conv2D`.

    Channel c H W + pixel of the loaders becomes pixel `planes` + c, the neuron (y, x, c) of shape (H, W, `planes`).
    """

    fixed: ClassVar[bool] = True

    planes: int = 2

    def __post_init__(self) -> None:
        check_whole("ChannelsLast: planes", self.planes, 1, 2**31)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        pixels, rest = divmod(events.n_channels, self.planes)
        if rest:
            raise DataError(f"ChannelsLast: {events.n_channels} channels are not {self.planes} images of one size")
        plane, pixel = np.divmod(events.channels, np.int32(pixels))
        return replace_events(events, channels=pixel * np.int32(self.planes) + plane)


@dataclass(frozen=True)
class Dilate:
    """Multiply the times of a sample by exp(U(log low, log high))."""

    moves_times: ClassVar[bool] = True

    low: float = 0.8
    high: float = 1.25

    def __post_init__(self) -> None:
        check_range("Dilate: low", self.low, 1e-6, self.high)
        check_range("Dilate: high", self.high, self.low, 1e6)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        low, high = np.log(self.low), np.log(self.high)
        factor = np.exp(low + (high - low) * rng.per_sample("dilate"))
        return replace_events(events, times=events.times * np.repeat(factor, events.counts))


@dataclass(frozen=True)
class Warp:
    """Speed up time at one end of a sample and slow it down at the other; the first and last event keep their times.

    With u the time from the first to the last event, from 0 to 1, u becomes u^g, g = exp(U(-log power, log power)):
    two sounds of one word are longer and shorter than in the recording. For fast and slow words, see `Dilate`.
    """

    power: float = 1.3

    def __post_init__(self) -> None:
        check_range("Warp: power", self.power, 1, 100)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        if not len(events.times):
            return events
        first = events.times[np.minimum(events.offsets[:-1], len(events.times) - 1)]
        span = events.durations - first
        exponent = np.exp(np.log(self.power) * (2 * rng.per_sample("warp") - 1))
        per_event = lambda of_sample: np.repeat(of_sample, events.counts)  # noqa: E731
        u = (events.times - per_event(first)) / per_event(np.where(span > 0, span, 1.0))
        return replace_events(events, times=per_event(first) + per_event(span) * u ** per_event(exponent))


@dataclass(frozen=True)
class CompressTime:
    """Divide times by `factor`."""

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    factor: float = 2.0

    def __post_init__(self) -> None:
        check_range("CompressTime: factor", self.factor, 1e-6, 1e6)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        return replace_events(events, times=events.times / self.factor)


@dataclass(frozen=True)
class FitTime:
    """Shift and stretch the times of each sample until its events lie between start and stop (ms).

    A fraction `outliers` of the events at either end may lie outside; events before 0 are dropped. This removes
    differences in speaking rate and silence. A sample whose events are all simultaneous is only shifted.
    """

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    start: float = 20.0
    stop: float = 420.0
    outliers: float = 0.02

    def __post_init__(self) -> None:
        check_range("FitTime: start", self.start, 0, 1e9)
        check_range("FitTime: stop", self.stop, np.nextafter(self.start, np.inf), 1e9)
        check_range("FitTime: outliers", self.outliers, 0, 0.49)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        if not len(events.times):
            return events
        skipped = np.floor(self.outliers * events.counts).astype(np.int64)
        edges = (events.offsets[:-1] + skipped, events.offsets[1:] - 1 - skipped)
        first, last = (events.times[np.clip(edge, 0, len(events.times) - 1)] for edge in edges)
        span = last - first
        factor = np.where(span > 0, (self.stop - self.start) / np.where(span > 0, span, 1.0), 1.0)
        times = (events.times - np.repeat(first, events.counts)) * np.repeat(factor, events.counts) + self.start
        return replace_events(events, times=times, keep=times >= 0)


@dataclass(frozen=True)
class TrimSilence:
    """Drop the events of each sample before it becomes active and after it was; time 0 becomes the start of activity.

    The events of all channels are counted in bins of `bin` ms, and the counts smoothed with weights 1/4, 1/2, 1/4. A
    bin is active if its count exceeds `threshold` times the largest count of the sample; what lies between the first
    and the last active bin stays, pauses too. Background noise in a recording, which moves its first and last event,
    thus says nothing about the length of the word. Crop channels that carry only noise before this step.
    """

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    threshold: float = 0.06
    bin: float = 10.0

    def __post_init__(self) -> None:
        check_range("TrimSilence: threshold", self.threshold, 0, 0.99)
        check_range("TrimSilence: bin", self.bin, 1e-3, 1e9)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        first, last = events.offsets[:-1].copy(), events.offsets[1:].copy()
        start = np.zeros(len(events))
        for b in np.flatnonzero(events.counts):
            times, _ = events.sample(int(b))
            start[b], stop = self._active(times)
            first[b], last[b] = events.offsets[b] + np.searchsorted(times, (start[b], stop))
        return slice_samples(events, first, last, start)

    def _active(self, times: np.ndarray) -> tuple[float, float]:
        """From when to when (ms) a sample with these event times is active."""
        before = np.floor(times[0] / self.bin)
        counts = np.bincount((np.floor(times / self.bin) - before).astype(np.int64))
        smooth = np.convolve(np.pad(counts, 1), (0.25, 0.5, 0.25), "valid")
        active = np.flatnonzero(smooth > self.threshold * smooth.max())
        return (before + active[0]) * self.bin, (before + active[-1] + 1) * self.bin


@dataclass(frozen=True)
class Crop:
    """Keep only events with start <= t < stop (ms); start becomes 0."""

    fixed: ClassVar[bool] = True

    start: float = 0.0
    stop: float = np.inf

    def __post_init__(self) -> None:
        check_range("Crop: start", self.start, 0, self.stop)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        first, last = events.offsets[:-1].copy(), events.offsets[1:].copy()
        for b in range(len(events)):  # in order of time: what stays lies together
            times, _ = events.sample(b)
            first[b], last[b] = events.offsets[b] + np.searchsorted(times, (self.start, self.stop))
        if self.start == 0 and np.array_equal(last, events.offsets[1:]):
            return events
        return slice_samples(events, first, last, self.start)


@dataclass(frozen=True)
class Pad:
    """Insert `before` ms of silence at the start of each sample."""

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    before: float = 0.0

    def __post_init__(self) -> None:
        check_range("Pad: before", self.before, 0, 1e9)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        return replace_events(events, times=events.times + self.before)


@dataclass(frozen=True)
class Bin:
    """Round times to the grid, floor(t / dt + 0.5) dt; at most one event per channel and step unless `duplicates`."""

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    dt: float = 1.0
    duplicates: bool = False

    def __post_init__(self) -> None:
        check_range("Bin: dt", self.dt, 1e-9, 1e9)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        batch = None if self.duplicates or events.n_channels > TABLE else kernel_batch(events)
        if batch is not None:
            return replace_arrays(events, kernels.bin_times(batch, events.n_channels, self.dt))
        step = np.floor(events.times / self.dt + 0.5)
        times = step * self.dt
        if self.duplicates or not len(step):
            return replace_events(events, times=times)
        steps = int(step.max()) + 1
        place = step.astype(np.int64) * events.n_channels + events.channels
        keep = np.ones(len(step), bool)
        for a, b in pairwise(events.offsets.tolist()):
            keep[a:b] = first_of_each(place[a:b], steps * events.n_channels)
        return replace_events(events, times=times, keep=keep)


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
class DelayLine:
    """Repeat the input `copies` times, each `delay` ms after the previous one, on separate channels.

    n_channels becomes (copies + 1) n_channels: copy j of channel c is channel j n_channels + c. Divide the initial
    weights of this input by the number of copies.
    """

    fixed: ClassVar[bool] = True
    moves_times: ClassVar[bool] = True

    copies: int = 10
    delay: float = 30.0

    def __post_init__(self) -> None:
        check_whole("DelayLine: copies", self.copies, 0, 10_000)
        check_range("DelayLine: delay", self.delay, 0, 1e9)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        lines = np.arange(self.copies + 1)
        width = len(lines) * events.n_channels
        if width > 2**31:
            raise DataError(f"DelayLine: {len(lines)} x {events.n_channels} channels are more than 2^31")
        if (batch := kernel_batch(events)) is not None:
            return replace_arrays(events, kernels.delay_line(batch, events.n_channels, self.delay * lines), width)
        merged = []
        for i in range(len(events)):
            t, c = events.sample(i)
            times = (t + self.delay * lines[:, None]).ravel()
            channels = (c + (events.n_channels * lines[:, None]).astype(np.int32)).ravel()
            merged.append(sort_by_time(times, channels))
        return concatenate(merged, events, width)


@dataclass(frozen=True)
class Dropout:
    """Drop each event with probability p."""

    p: float = 0.2

    def __post_init__(self) -> None:
        check_range("Dropout: p", self.p, 0, 1)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        return thinned(events, rng, "dropout", np.full(len(events), 1.0 - self.p))


@dataclass(frozen=True)
class Thin:
    """In samples with more than `count` events, keep each event with probability count / (number of events).

    `count` is usually the mean of the data set, events.statistics().mean_events.
    """

    count: float

    def __post_init__(self) -> None:
        check_range("Thin: count", self.count, 0, np.inf)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        return thinned(events, rng, "thin", self.count / np.maximum(events.counts, 1))


def thinned(events: Events, rng: CounterRNG, purpose: str, keep: np.ndarray) -> Events:
    """Each event of sample b kept with probability keep[b]."""
    if (batch := kernel_batch(events)) is not None:
        return replace_arrays(events, kernels.select(batch, events.n_channels, keys=rng.keys(purpose), keep=keep))
    return replace_events(events, keep=rng.per_event(purpose, events.counts) < np.repeat(keep, events.counts))


@dataclass(frozen=True)
class NormaliseCounts:
    """Every channel of every sample gets exactly `count` events, so that only their times tell samples apart.

    They lie at the quantiles (k + 0.5) / count, k = 0 .. count - 1, of the times of the channel's events; of a channel
    without events, at those of all events of the sample. A sample without events stays without. A step after it that
    drops or merges events (`bin`, say, or a crop) makes counts differ again: put it last.

    Source: the idea of SHD with normalised counts, arXiv 2507.16043, which picks channels and drops spikes instead.
    """

    fixed: ClassVar[bool] = True

    count: int = 10

    def __post_init__(self) -> None:
        check_whole("NormaliseCounts: count", self.count, 1, 1_000_000)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        width, offsets = events.n_channels, [0]
        of_each = np.repeat(np.arange(width, dtype=np.int32), self.count)
        all_times, all_channels = [np.empty(0)], [np.empty(0, np.int32)]
        for b in range(len(events)):
            times, channels = events.sample(b)
            made = self._quantiles(np.asarray(times, float), channels, width).ravel() if len(times) else np.empty(0)
            by_time = np.argsort(made, kind="stable")
            all_times.append(made[by_time])
            all_channels.append(of_each[by_time])
            offsets.append(offsets[-1] + len(made))
        arrays = np.concatenate(all_times), np.concatenate(all_channels), np.array(offsets, np.int64)
        return replace_arrays(events, arrays)

    def _quantiles(self, times: np.ndarray, channels: np.ndarray, width: int) -> np.ndarray:
        """(C, count) times, interpolated linearly between the two events beside each quantile."""
        levels = (np.arange(self.count) + 0.5) / self.count
        here = np.bincount(channels, minlength=width)[:, None]
        sorted_times = times[np.argsort(channels, kind="stable")]
        first = np.cumsum(here)[:, None] - here
        place = np.where(here > 0, levels * (here - 1), levels * (len(times) - 1))
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.where(here > 0, here, len(times)) - 1)
        take = lambda k: np.where(here > 0, sorted_times[np.minimum(first + k, len(times) - 1)], times[k])  # noqa: E731
        share = place - low
        return np.asarray((1 - share) * take(low) + share * take(high))


@dataclass(frozen=True)
class Affine:
    """Rotate, scale and shift the image of each sample as a whole; events outside are dropped.

    Channels are images of `height` x `width` pixels, row by row, one plane after the other. With the centre c of the
    image a pixel x goes to c + s R (x - c) + m: R turns by U(-rotate, rotate) degrees, s is exp(U(-scale, scale)), and
    m moves by U(-shift, shift) pixels along each axis. An event lies anywhere within its pixel, each at another
    place, so that a turn by half a pixel changes half of them.

    Source: Simard, Steinkraus, Platt 2003, doi 10.1109/ICDAR.2003.1227801, section 2.
    """

    height: int
    width: int
    rotate: float = 10.0
    scale: float = 0.1
    shift: float = 1.0

    def __post_init__(self) -> None:
        check_whole("Affine: height", self.height, 1, 2**15)
        check_whole("Affine: width", self.width, 1, 2**15)
        check_range("Affine: rotate", self.rotate, 0, 180)
        check_range("Affine: scale", self.scale, 0, 10)
        check_range("Affine: shift", self.shift, 0, 2**15)

    def __call__(self, events: Events, rng: CounterRNG) -> Events:
        pixels = self.height * self.width
        if events.n_channels % pixels:
            raise DataError(f"Affine: {events.n_channels} channels are not images of {self.height} x {self.width}")
        plane, pixel = np.divmod(events.channels, np.int32(pixels))
        y, x = np.divmod(pixel, np.int32(self.width))
        uniform = lambda what, size: size * (2 * rng.per_sample(what) - 1)  # noqa: E731
        angle, size = np.deg2rad(uniform("affine turn", self.rotate)), np.exp(uniform("affine scale", self.scale))
        per_event = lambda of_sample: np.repeat(of_sample, events.counts)  # noqa: E731
        cos, sin = per_event(size * np.cos(angle)), per_event(size * np.sin(angle))
        down = y + rng.per_event("affine y", events.counts) - self.height / 2
        right = x + rng.per_event("affine x", events.counts) - self.width / 2
        y = self.height / 2 + per_event(uniform("affine down", self.shift)) + cos * down + sin * right
        x = self.width / 2 + per_event(uniform("affine right", self.shift)) - sin * down + cos * right
        y, x = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        keep = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        return replace_events(events, channels=plane * pixels + y * self.width + x, keep=keep)


STEPS: dict[str, Any] = {
    step.__name__: step
    for step in (
        Shift, Jitter, MergeChannels, CropChannels, ChannelsLast, Dilate, Warp, CompressTime, FitTime, TrimSilence,
        Crop, Pad, Bin, DelayLine, Dropout, Thin, NormaliseCounts, Affine,
    )
}  # fmt: skip
"""Augmentations by name, for the command line, configuration files and descriptions of models."""

fixed_steps = tuple(step for step in STEPS.values() if is_fixed(step))
"""Those that a description of a trained model may hold as its preprocessing."""
