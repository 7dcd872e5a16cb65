"""Steps that put the same recording into another order: pixels before polarities, equally many events a channel.

Axis letters: B samples of a batch, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import DataError
from ..events.events import Events
from .batchwise import changed, check_whole, with_arrays
from .counter import Draw


@dataclass(frozen=True)
class ChannelsLast:
    """Images that lie one after the other, as of an event camera's polarities, are interleaved for a `Conv2D`.

    Channel c H W + pixel of the loaders becomes pixel `planes` + c, the neuron (y, x, c) of shape (H, W, `planes`).
    """

    planes: int = 2

    def __post_init__(self) -> None:
        check_whole("ChannelsLast: planes", self.planes, 1, 2**31)

    def __call__(self, events: Events, draw: Draw) -> Events:
        pixels, rest = divmod(events.n_channels, self.planes)
        if rest:
            raise DataError(f"ChannelsLast: {events.n_channels} channels are not {self.planes} images of one size")
        plane, pixel = np.divmod(events.channels, np.int32(pixels))
        return changed(events, channels=pixel * np.int32(self.planes) + plane)


@dataclass(frozen=True)
class NormaliseCounts:
    """Every channel of every sample gets exactly `count` events, so that only their times tell samples apart.

    They lie at the quantiles (k + 0.5) / count, k = 0 .. count - 1, of the times of the channel's events; of a channel
    without events, at those of all events of the sample. A sample without events stays without. A step after it that
    drops or merges events (`bin`, say, or a crop) makes counts differ again: put it last.

    Source: the idea of SHD with normalised counts, arXiv 2507.16043, which picks channels and drops spikes instead.
    """

    count: int = 10

    def __post_init__(self) -> None:
        check_whole("NormaliseCounts: count", self.count, 1, 1_000_000)

    def __call__(self, events: Events, draw: Draw) -> Events:
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
        return with_arrays(events, arrays)

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
