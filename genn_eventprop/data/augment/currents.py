"""Augmentations of currents, on whole batches at once: `step(currents, rng) -> currents`.

Like the steps for spikes (`steps`) they are small frozen records that take their numbers from `rng` (`counter`), so
that a sample gets the same augmentation in an epoch whatever its batch. `Augmented` applies a chain of them.

Axis letters: B samples of a batch, T steps, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..currents.currents import Currents
from .batchwise import CurrentStep, check_range, check_whole
from .counter import CounterRNG


@dataclass(frozen=True)
class Gain(CurrentStep):
    """Multiply each sample by exp(U(-spread, spread)): loudness, contrast; with `channels`, each channel by its own."""

    spread: float = 0.3
    channels: bool = False

    def __post_init__(self) -> None:
        check_range("Gain: spread", self.spread, 0, 20)

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        B, C = len(currents), currents.n_channels if self.channels else 1
        uniform = rng.per_event("gain", np.full(B, C)).reshape(B, 1, C)
        return currents.replace(currents.values * np.exp(self.spread * (2 * uniform - 1)).astype(np.float32))


@dataclass(frozen=True)
class Noise(CurrentStep):
    """Add N(0, sigma) to every value: white noise up to the rate of the currents, sigma^2 dt per ms and Hz.

    Of currents that are constant over the trial (one value) it is an error of each channel.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        check_range("Noise: sigma", self.sigma, 0, 1e9)

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        shape = currents.values.shape
        noise = rng.normal("noise", np.full(shape[0], shape[1] * shape[2])).reshape(shape)
        return currents.replace(currents.values + (self.sigma * noise).astype(np.float32))


@dataclass(frozen=True)
class ShiftTime(CurrentStep):
    """Shift each sample in time by a random number of steps, uniform in -ms .. ms; what leaves is lost, 0 comes in."""

    ms: float = 20.0

    def __post_init__(self) -> None:
        check_range("ShiftTime: ms", self.ms, 0, 1e9)

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        most = int(self.ms / currents.dt + 1e-9)
        return currents.replace(shifted(currents.values, _whole(rng.per_sample("shift time"), most), 1))


@dataclass(frozen=True)
class ShiftChannels(CurrentStep):
    """Shift all channels of each sample by a random integer, uniform in -channels .. channels: `Shift` of currents."""

    channels: int = 2

    def __post_init__(self) -> None:
        check_whole("ShiftChannels: channels", self.channels, 0, 2**31)

    def __call__(self, currents: Currents, rng: CounterRNG) -> Currents:
        by = _whole(rng.per_sample("shift"), self.channels)
        return currents.replace(shifted(currents.values, by, 2))


def _whole(uniform: np.ndarray, most: int) -> np.ndarray:
    """Integers from -most to most of uniform numbers in [0, 1)."""
    return np.floor(uniform * (2 * most + 1)).astype(np.int64) - most


def shifted(values: np.ndarray, by: np.ndarray, axis: int) -> np.ndarray:
    """(B, T, C) values of sample b moved by[b] places along an axis, zeros where nothing comes from."""
    size = values.shape[axis]
    source = np.arange(size) - by[:, None]
    there = (source >= 0) & (source < size)
    source, there = (np.expand_dims(a, 3 - axis) for a in (np.clip(source, 0, size - 1), there))
    return np.where(there, np.take_along_axis(values, source, axis), np.float32(0))


CURRENT_STEPS: dict[str, Any] = {step.__name__: step for step in (Gain, Noise, ShiftTime, ShiftChannels)}
"""Augmentations of currents by name, for the command line and configuration files."""
