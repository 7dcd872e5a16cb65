"""Encodings: fixed steps that make input from which a spiking network learns with ordinary settings.

Raw numbers may be too small to make a neuron spike or so large that all spike always, and a layer that sees one channel
sees the same whatever the time: `ZScore` takes away the unit, `Segments` gives each part of the trial weights of its
own, `Clock` tells the time, `Levels` turns numbers into spikes. Numbers that follow from data (mean, levels) are
fields: `fit` returns the step with those of a training set, and a run folder keeps them with the model.

Axis letters: S samples, T steps, C channels, K segments or levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from ...errors import DataError
from ..currents.currents import Currents
from ..events.encode import crossings
from ..events.events import Events
from .batchwise import check_range, check_whole, replace_events
from .counter import CounterRNG

Numbers = tuple[float, ...]
CHUNK = 2048
"""Samples whose spikes `apply` takes at a time."""


class Encoding:
    """A fixed step of spikes, of currents, or of both: `takes` says of what."""

    fixed: ClassVar[bool] = True
    takes: ClassVar[tuple[type, ...]] = (Events, Currents)

    def fit(self, data: Any) -> Any:
        """The step with the numbers that it takes from the training set `data`; itself if there are none."""
        return self


@dataclass(frozen=True)
class ZScore(Encoding):
    """(x - mean) / deviation of each channel of currents, over all samples and steps; a constant channel becomes 0.

    Args:
        mean, deviation: (C,) of a training set, see `fit`.
    """

    takes: ClassVar[tuple[type, ...]] = (Currents,)

    mean: Numbers = ()
    deviation: Numbers = ()

    def fit(self, data: Currents) -> ZScore:
        values = np.asarray(data.values, np.float64)
        return ZScore(tuple(values.mean((0, 1)).tolist()), tuple(values.std((0, 1)).tolist()))

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        _check_fitted(self, self.mean, currents.n_channels)
        mean, deviation = (np.asarray(numbers, np.float64) for numbers in (self.mean, self.deviation))
        # rounding leaves a constant channel some 1e-8 of its size, which must not be blown up to a signal
        unit = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
        return currents.replace(((currents.values - mean) / np.where(unit > 0, unit, np.inf)).astype(np.float32))


@dataclass(frozen=True)
class Asinh(Encoding):
    """asinh((x - median) / spread) of each channel of currents: a logarithm of either sign far from the median, so that
    few large values do not hide the rest.

    Args:
        median, spread: (C,) of a training set, see `fit`: the median, and that of the distance from it, of values that
            differ from it.
    """

    takes: ClassVar[tuple[type, ...]] = (Currents,)

    median: Numbers = ()
    spread: Numbers = ()

    def fit(self, data: Currents) -> Asinh:
        values = np.asarray(data.values, np.float64).reshape(-1, data.n_channels)
        median = np.median(values, axis=0)
        distances = (channel[channel > 0] for channel in np.abs(values - median).T)
        return Asinh(tuple(median.tolist()), tuple(float(np.median(d)) if len(d) else 1.0 for d in distances))

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        _check_fitted(self, self.median, currents.n_channels)
        median, spread = (np.asarray(numbers, np.float64) for numbers in (self.median, self.spread))
        return currents.replace(np.arcsinh((currents.values - median) / spread).astype(np.float32))


@dataclass(frozen=True)
class Segments(Encoding):
    """Channel c in segment k of the trial becomes channel c K + k: each part of the trial has weights of its own.

    Spikes keep their times; a current is 0 outside its segment.

    Args:
        count: K, segments of equal length.
        duration: ms, of all of them; what comes later belongs to the last. 0: the longest sample, by `fit`.
    """

    count: int = 10
    duration: float = 0.0

    def __post_init__(self) -> None:
        check_whole("Segments: count", self.count, 1, 10_000)
        check_range("Segments: duration", self.duration, 0, 1e12)

    def fit(self, data: Events | Currents) -> Segments:
        return replace(self, duration=self.duration or float(data.duration) or 1.0)

    def __call__(self, data: Any, rng: CounterRNG) -> Any:
        _check_fitted(self, self.duration)
        width = data.n_channels * self.count
        if width > 2**31:
            raise DataError(f"Segments: {self.count} x {data.n_channels} channels are more than 2^31; merge channels")
        if isinstance(data, Events):
            return replace_events(data, channels=data.channels * self.count + self.of(data.times), n_channels=width)
        owner = self.of((np.arange(data.n_steps) + 0.5) * data.dt)
        values = np.zeros((*data.values.shape, self.count), np.float32)
        values[:, np.arange(data.n_steps), :, owner] = np.moveaxis(data.values, 1, 0)
        return data.replace(values.reshape(*data.values.shape[:2], width))

    def of(self, times: np.ndarray) -> np.ndarray:
        """The segment of each time."""
        return np.minimum(times * (self.count / self.duration), self.count - 1).astype(np.int32)


@dataclass(frozen=True)
class SegmentMeans(Encoding):
    """Currents whose channel c K + k has the mean of channel c over segment k, as long as the trial: a curve at once.

    Args:
        count: K, segments of equal length, at most one a step.
    """

    takes: ClassVar[tuple[type, ...]] = (Currents,)

    count: int = 20

    def __post_init__(self) -> None:
        check_whole("SegmentMeans: count", self.count, 1, 10_000)

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        ends = np.linspace(0, currents.n_steps, min(self.count, currents.n_steps) + 1).round().astype(np.int64)
        sums = np.add.reduceat(currents.values, ends[:-1], axis=1, dtype=np.float64) / np.diff(ends)[:, None]
        flat = sums.transpose(0, 2, 1).reshape(len(currents), 1, -1).astype(np.float32)
        return currents.replace(flat, dt=currents.duration)


SHAPES = np.array([[2 if i in plus else -1 for i in range(9)] for plus in combinations(range(9), 3)])
"""(84, 9) all kernels of nine values of which three are 2 and the others -1: their sums are 0, offsets do not count."""


@dataclass(frozen=True)
class Shapes(Encoding):
    """Currents whose 84 K channels say for which share of the trial a curve looks like a shape, wherever it does.

    Channel 84 k + j, as long as the trial, is the share of positions at which the curve, convolved with `SHAPES` j
    stretched to the k-th of K lengths, is above a threshold: a quantile of the training set. Of several channels of
    currents each shape sees one, in turn. Source: Dempster, Schmidt, Webb 2021 (MiniRocket), doi
    10.1145/3447548.3467231; one threshold a shape and length, no padding.

    Args:
        count: K lengths, from 9 steps to half of the trial.
        thresholds: (84 K,) of a training set, see `fit`.
    """

    takes: ClassVar[tuple[type, ...]] = (Currents,)

    count: int = 4
    thresholds: Numbers = ()

    def __post_init__(self) -> None:
        check_whole("Shapes: count", self.count, 1, 100)

    def fit(self, data: Currents) -> Shapes:
        golden = (5**0.5 - 1) / 2  # multiples of it, modulo 1, fill 0..1 evenly
        return replace(self, thresholds=tuple(
            float(np.quantile(convolved, (1 + i) * golden % 1)) for i, convolved in enumerate(self.convolved(data))
        ))  # fmt: skip

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        _check_fitted(self, self.thresholds, 84 * self.count)
        above = [(c > threshold).mean(1) for c, threshold in zip(self.convolved(currents), self.thresholds)]
        return currents.replace(np.stack(above, 1).astype(np.float32)[:, None], dt=currents.duration)

    def convolved(self, currents: Currents) -> Iterator[np.ndarray]:
        """For each of the 84 K channels (S, positions), the curves convolved with its shape.

        Raises:
            DataError: fewer than nine steps.
        """
        steps, size = currents.n_steps, SHAPES.shape[1]
        if steps < size:
            raise DataError(f"Shapes: samples of {steps} steps are shorter than a shape, {size} steps; leave it out")
        for k, stretch in enumerate(np.geomspace(1, max(1, steps / 2 / (size - 1)), self.count).astype(int).tolist()):
            positions = steps - (size - 1) * stretch
            for j, shape in enumerate(SHAPES):
                x = currents.values[:, :, (j + k) % currents.n_channels]
                x = x - x[:, :1]  # sums of large values would not cancel to the last digit, even if all are equal
                total = np.zeros((len(x), positions), np.float32)
                for i, weight in enumerate(shape.tolist()):
                    total += weight * x[:, i * stretch : i * stretch + positions]
                yield total


@dataclass(frozen=True)
class Clock(Encoding):
    """More channels, of which each tells one part of the trial: a current of 1 during it, or spikes, `rate` a part.

    Args:
        count: channels, parts of equal length.
        duration: ms, of all of them. 0: the longest sample, by `fit`.
        rate: spikes of a channel in its part, evenly spaced.
    """

    moves_times: ClassVar[bool] = True  # adds spikes that a crop must see

    count: int = 10
    duration: float = 0.0
    rate: int = 5

    def __post_init__(self) -> None:
        check_whole("Clock: count", self.count, 1, 10_000)
        check_whole("Clock: rate", self.rate, 1, 10_000)
        check_range("Clock: duration", self.duration, 0, 1e12)

    fit = Segments.fit

    def __call__(self, data: Any, rng: CounterRNG) -> Any:
        _check_fitted(self, self.duration)
        if isinstance(data, Currents):
            part = np.arange(data.n_steps) * data.dt * (self.count / self.duration)
            clock = np.equal(np.minimum(part.astype(np.int64), self.count - 1)[:, None], np.arange(self.count))
            shape = (len(data), data.n_steps, self.count)
            return data.replace(np.concatenate([data.values, np.broadcast_to(clock, shape)], 2, dtype=np.float32))
        ticks = (np.arange(self.count * self.rate) + 0.5) * (self.duration / (self.count * self.rate))
        hands = np.repeat(np.arange(self.count), self.rate)
        ticking = Events.trusted(
            np.tile(ticks, len(data)), np.tile(hands, len(data)).astype(np.int32),
            np.arange(len(data) + 1) * len(ticks), self.count,
        )  # fmt: skip
        return Events.side_by_side([data, ticking], name=data.name)


@dataclass(frozen=True)
class Levels(Encoding):
    """Currents as spikes: one when channel c crosses a level upwards, another channel when it crosses downwards.

    Channels: (c K + k) for level k of channel c upwards, C K more for downwards. A sample starts below all levels.

    Args:
        count: K levels of each channel, quantiles of its values.
        levels: (C K,) of a training set, see `fit`.
    """

    takes: ClassVar[tuple[type, ...]] = (Currents,)

    count: int = 8
    levels: Numbers = ()

    def __post_init__(self) -> None:
        check_whole("Levels: count", self.count, 1, 10_000)

    def fit(self, data: Currents) -> Levels:
        shares = (np.arange(self.count) + 0.5) / self.count
        quantiles = np.quantile(data.values.reshape(-1, data.n_channels), shares, axis=0)
        return replace(self, levels=tuple(quantiles.T.ravel().astype(float).tolist()))

    def __call__(self, currents: Currents, rng: CounterRNG) -> Events:
        C, K = currents.n_channels, self.count
        _check_fitted(self, self.levels, C * K)
        parts = []
        for c, levels in enumerate(np.reshape(self.levels, (C, K))):
            passed = np.searchsorted(levels, currents.values[:, :, c], side="right")
            parts.append(crossings(passed, K, currents.dt, 2 * K, False))
        joined = Events.side_by_side(parts)
        channel, place = np.divmod(joined.channels, 2 * K)
        up, level = place < K, place % K
        return Events.trusted(
            joined.times, (channel * K + level + np.where(up, 0, C * K)).astype(np.int32), joined.offsets, 2 * C * K,
            **currents.annotations,
        )  # fmt: skip


def _check_fitted(step: Encoding, numbers: Any, wanted: int | None = None) -> None:
    """Raises unless a step has its numbers, as many as the data need."""
    name = type(step).__name__
    if not numbers:
        raise DataError(f"{name} has not been fitted to a training set yet: use {name}(...).fit(train)")
    if wanted is not None and len(numbers) != wanted:
        raise DataError(f"{name} was fitted to data of another width: {len(numbers)} numbers, this has {wanted}")


def encoded(steps: Any, train: Any) -> tuple[list[Any], Any]:
    """The `steps` with their numbers from the training set, one after the other, and the set behind them.

    Raises:
        DataError: a step of currents where there are spikes by then, or the other way round.
    """
    fitted, waiting = list[Any](), list[Any]()
    for step in steps:
        takes = getattr(step, "takes", (Events,))  # other fixed steps are of spikes, and need no numbers
        if not isinstance(train, takes):
            kinds = " or ".join(kind.__name__ for kind in takes)
            raise DataError(
                f"{type(step).__name__} encodes {kinds}, but has {type(train).__name__} before it; leave it out, or "
                "change the order"
            )
        if isinstance(step, Encoding):
            train, waiting = apply(waiting, train), []
            step = step.fit(train)
            train = apply([step], train)
        else:
            waiting.append(step)
        fitted.append(step)
    return fitted, apply(waiting, train)


def apply(steps: Iterable[Any], data: Any) -> Any:
    """All steps in order, of spikes or of currents, which an encoding may turn into spikes; none of them draws random
    numbers.

    Spikes go through in chunks of samples, as a delay line before a crop has many times what is left at the end.
    """
    steps = list(steps)
    if steps and isinstance(data, Events) and len(data) > CHUNK:
        chunks = (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
        return Events.concatenate((apply(steps, chunk) for chunk in chunks), name=data.name)
    for step in steps:
        data = step(data, CounterRNG(0, 0, np.arange(len(data))))
    return data


ENCODINGS: dict[str, Any] = {
    step.__name__: step for step in (Asinh, ZScore, Segments, SegmentMeans, Shapes, Clock, Levels)
}
"""Encodings by name, for the command line, configuration files and descriptions of models."""
