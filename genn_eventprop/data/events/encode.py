"""Encoders: analogue values to spike times.

Axis letters: S samples, C values (pixels, sensors) of a sample, T frames.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError
from . import check
from .events import Events

CHUNK = 512  # samples encoded together


def unit_range(values: np.ndarray) -> np.ndarray:
    """(S, C) values as float64 in [0, 1]: integers are divided by the largest of their type (pixels: 255)."""
    array = np.asarray(values)
    if array.ndim < 2:
        raise DataError(f"values to encode need the axes (samples, ...), got shape {array.shape}")
    array = array.reshape(len(array), -1)
    if array.dtype.kind == "u":
        return array / float(np.iinfo(array.dtype).max)
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or array.min(initial=0.0) < 0 or array.max(initial=0.0) > 1:
        raise DataError("values to encode must be unsigned integers (0 .. 255 for pixels) or lie in 0 .. 1")
    return array


def one_spike_each(times: np.ndarray, width: int, **annotations: Any) -> Events:
    """Events from (S, C) times in ms, one spike per channel, none if the time is not finite."""
    order = np.argsort(times, axis=1, kind="stable")
    ordered = np.take_along_axis(times, order, axis=1)
    finite = np.isfinite(ordered)
    offsets = np.concatenate([[0], np.cumsum(finite.sum(axis=1))])
    return Events(ordered[finite], order[finite].astype(np.int32), offsets, width, **annotations)


def in_chunks(encode_times: Any, values: np.ndarray, labels: Any, annotations: dict[str, Any]) -> Events:
    """Encode CHUNK samples at a time, so that the dense times of all samples never exist together."""
    values = np.asarray(values)
    if len(values) == 0:
        raise DataError("nothing to encode: no samples")
    parts = []
    for start in range(0, len(values), CHUNK):
        block = unit_range(values[start : start + CHUNK])
        parts.append(one_spike_each(encode_times(block), block.shape[1]))
    joined = Events.concatenate(parts)
    return Events(joined.times, joined.channels, joined.offsets, joined.n_channels, labels, **annotations)


def latency_linear(
    values: np.ndarray, labels: Any = None, t_max: float = 20.0, threshold: float = 1.0 / 255.0, **annotations: Any
) -> Events:
    """t = (1 - x) t_max for x > threshold, no spike otherwise.

    The defaults are those of Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z): pixels above 1 of 255, 20 ms.

    Args:
        values: (S, ...) unsigned integers, or numbers in [0, 1]; x is the value in [0, 1].
        annotations: groups, n_classes, name of the Events.
    """
    check_positive(t_max=t_max)
    return in_chunks(lambda x: np.where(x > threshold, (1.0 - x) * t_max, np.inf), values, labels, annotations)


def latency_logarithmic(
    values: np.ndarray,
    labels: Any = None,
    tau: float = 20.0,
    threshold: float = 0.2,
    t_max: float = 100.0,
    **annotations: Any,
) -> Events:
    """t = tau log(x / (x - threshold)) for x > threshold, no spike otherwise or if t > t_max.

    The time at which a leaky integrator of time constant tau (ms), driven by the constant x, reaches the threshold.
    """
    check_positive(tau=tau, threshold=threshold, t_max=t_max)

    def times(x: np.ndarray) -> np.ndarray:
        above = np.where(x > threshold, x, 2.0 * threshold + 1.0)
        t = tau * np.log(above / (above - threshold))
        return np.where((x > threshold) & (t <= t_max), t, np.inf)

    return in_chunks(times, values, labels, annotations)


def sequential(
    values: np.ndarray,
    labels: Any = None,
    thresholds: int = 40,
    dt: float = 1.0,
    cue: bool = False,
    order: np.ndarray | None = None,
    **annotations: Any,
) -> Events:
    """Present one value after the other; a channel spikes when the value crosses its threshold between two frames.

    Source: the sequential MNIST of Bellec et al. 2018 (arXiv 1803.09574), with `thresholds` grey levels evenly spaced
    within (0, 1). Channel k spikes when level k is crossed upwards, channel thresholds + k when it is crossed
    downwards; a sample starts from 0. With `cue` one more channel spikes after the last value, to mark the end.

    Args:
        values: (S, ...) one value per frame, row by row.
        dt: ms per value.
        order: (T,) indices of the values in the order in which they are presented; a permutation for permuted MNIST.
    """
    check_positive(thresholds=thresholds, dt=dt)
    levels = (np.arange(thresholds) + 0.5) / thresholds
    values = np.asarray(values)
    width, size = 2 * thresholds + bool(cue), math.prod(values.shape[1:])
    if order is not None:
        order = check.as_vector(order, np.int64, "sequential: order")
        if len(order) and not (0 <= order.min() and order.max() < size):
            raise DataError(f"sequential: order has indices of {size} values, 0 to {size - 1}; got {order.max()}")
    parts = []
    for start in range(0, len(values), CHUNK):
        frames = unit_range(values[start : start + CHUNK])
        passed = np.searchsorted(levels, frames if order is None else frames[:, order], side="right")
        parts.append(crossings(passed, thresholds, dt, width, cue))
    if not parts:
        raise DataError("nothing to encode: no samples")
    joined = Events.concatenate(parts)
    return Events(joined.times, joined.channels, joined.offsets, width, labels, **annotations)


def crossings(passed: np.ndarray, thresholds: int, dt: float, width: int, cue: bool) -> Events:
    """Events of (S, T) numbers of levels below the value; from a to b > a the levels a .. b - 1 are crossed upwards."""
    samples, frames = passed.shape
    change = np.diff(passed, axis=1, prepend=0)
    sample, frame = np.nonzero(change)
    size = change[sample, frame]
    low = np.minimum(passed[sample, frame], passed[sample, frame] - size)
    count = np.abs(size)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    channels = np.repeat(low + np.where(size < 0, thresholds, 0), count) + within
    times, owner = np.repeat(frame * dt, count), np.repeat(sample, count)
    counts = np.bincount(owner, minlength=samples)
    if cue:
        ends = np.cumsum(counts)
        times, channels = np.insert(times, ends, frames * dt), np.insert(channels, ends, width - 1)
        counts = counts + 1
    return Events(times, channels.astype(np.int32), np.concatenate([[0], np.cumsum(counts)]), width)


def sigma_delta(
    signals: np.ndarray,
    labels: Any = None,
    threshold: float = 1.0,
    dt: float = 1.0,
    lengths: np.ndarray | None = None,
    **annotations: Any,
) -> Events:
    """Send-on-delta: channel c spikes when its signal has risen by `threshold`, C + c when it has fallen by it.

    The signal is interpolated linearly between frames, so crossings lie between them. The level of a channel starts at
    its first frame and moves by one threshold with each spike, so it never differs from the signal by more.

    Args:
        signals: (S, T, C) values at frames dt ms apart, in any unit.
        threshold: in the unit of the signal.
        lengths: (S,) frames that count, default all.

    Raises:
        DataError: signals of another shape, of different lengths, or not finite.
    """
    check_positive(threshold=threshold, dt=dt)
    try:
        signals = np.asarray(signals, np.float64)
    except ValueError as error:
        raise DataError(
            f"signals need the axes (samples, frames, channels): pad shorter ones and give their lengths=...; {error}"
        ) from None
    if signals.ndim != 3 or not np.isfinite(signals).all():
        raise DataError(f"signals must be finite and have the axes (samples, frames, channels), got {signals.shape}")
    samples, frames, width = signals.shape
    frames_of = np.full(samples, frames) if lengths is None else np.asarray(lengths)
    if frames_of.shape != (samples,) or frames_of.min(initial=1) < 1 or frames_of.max(initial=1) > frames:
        raise DataError(f"lengths must be {samples} numbers of frames from 1 to {frames}")
    level = signals[:, 0].copy()
    spikes: list[tuple[np.ndarray, ...]] = []
    for k in range(1, frames):
        before, now = signals[:, k - 1], signals[:, k]
        steps = np.where((k < frames_of)[:, None], np.trunc((now - level) / threshold), 0.0)
        sample, channel = np.nonzero(steps)
        if not len(sample):
            continue
        n = np.abs(steps[sample, channel]).astype(np.int64)
        sign, start = np.sign(steps[sample, channel]), level[sample, channel]
        nth = 1 + np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        first, slope = before[sample, channel], (now - before)[sample, channel]
        crossed = np.repeat(start, n) + np.repeat(sign, n) * nth * threshold
        fraction = (crossed - np.repeat(first, n)) / np.repeat(slope, n)
        spikes.append(
            (np.repeat(sample, n), (k - 1 + fraction) * dt, np.repeat(channel + np.where(sign < 0, width, 0), n))
        )
        level += steps * threshold
    empty = (np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    owner, times, channels = (np.concatenate(part) for part in zip(empty, *spikes, strict=True))
    order = np.lexsort((channels, times, owner))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=samples))])
    return Events(times[order], channels[order].astype(np.int32), offsets, 2 * width, labels, **annotations)


def check_positive(**settings: float) -> None:
    """Raises unless every setting is a finite number above 0."""
    for name, value in settings.items():
        if not np.isfinite(value) or value <= 0:
            raise DataError(f"{name} must be above 0, got {value}")


explain(globals(), ("unit_range", "latency_linear", "latency_logarithmic", "sequential", "sigma_delta"), DataError)
