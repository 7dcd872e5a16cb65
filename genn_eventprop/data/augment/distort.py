"""Random distortions that preserve the class: rotated, scaled and shifted images, and warped time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import DataError
from ..events.events import Events
from .batchwise import changed, check_range, check_whole
from .counter import Draw


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

    def __call__(self, events: Events, draw: Draw) -> Events:
        pixels = self.height * self.width
        if events.n_channels % pixels:
            raise DataError(f"Affine: {events.n_channels} channels are not images of {self.height} x {self.width}")
        plane, pixel = np.divmod(events.channels, np.int32(pixels))
        y, x = np.divmod(pixel, np.int32(self.width))
        uniform = lambda what, size: size * (2 * draw.per_sample(what) - 1)  # noqa: E731
        angle, size = np.deg2rad(uniform("affine turn", self.rotate)), np.exp(uniform("affine scale", self.scale))
        per_event = lambda of_sample: np.repeat(of_sample, events.counts)  # noqa: E731
        cos, sin = per_event(size * np.cos(angle)), per_event(size * np.sin(angle))
        down = y + draw.per_event("affine y", events.counts) - self.height / 2
        right = x + draw.per_event("affine x", events.counts) - self.width / 2
        y = self.height / 2 + per_event(uniform("affine down", self.shift)) + cos * down + sin * right
        x = self.width / 2 + per_event(uniform("affine right", self.shift)) - sin * down + cos * right
        y, x = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        keep = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        return changed(events, channels=plane * pixels + y * self.width + x, keep=keep)


@dataclass(frozen=True)
class Warp:
    """Speed up time at one end of a sample and slow it down at the other; the first and last event keep their times.

    With u the time from the first to the last event, from 0 to 1, u becomes u^g, g = exp(U(-log power, log power)):
    two sounds of one word are longer and shorter than in the recording. For fast and slow words, see `Dilate`.
    """

    power: float = 1.3

    def __post_init__(self) -> None:
        check_range("Warp: power", self.power, 1, 100)

    def __call__(self, events: Events, draw: Draw) -> Events:
        if not len(events.times):
            return events
        first = events.times[np.minimum(events.offsets[:-1], len(events.times) - 1)]
        span = events.durations - first
        exponent = np.exp(np.log(self.power) * (2 * draw.per_sample("warp") - 1))
        per_event = lambda of_sample: np.repeat(of_sample, events.counts)  # noqa: E731
        u = (events.times - per_event(first)) / per_event(np.where(span > 0, span, 1.0))
        return changed(events, times=per_event(first) + per_event(span) * u ** per_event(exponent))
