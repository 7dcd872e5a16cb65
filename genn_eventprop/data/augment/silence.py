"""TrimSilence: what lies before and after the word is removed, as voice activity detection does with sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..events.events import Events
from .batchwise import check_range, sliced
from .counter import Draw


@dataclass(frozen=True)
class TrimSilence:
    """Drop the events of each sample before it becomes active and after it was; time 0 becomes the start of activity.

    The events of all channels are counted in bins of `bin` ms, and the counts smoothed with weights 1/4, 1/2, 1/4. A
    bin is active if its count exceeds `threshold` times the largest count of the sample; what lies between the first
    and the last active bin stays, pauses too. Background noise in a recording, which moves its first and last event,
    thus says nothing about the length of the word. Crop channels that carry only noise before this step.
    """

    threshold: float = 0.06
    bin: float = 10.0

    def __post_init__(self) -> None:
        check_range("TrimSilence: threshold", self.threshold, 0, 0.99)
        check_range("TrimSilence: bin", self.bin, 1e-3, 1e9)

    def __call__(self, events: Events, draw: Draw) -> Events:
        first, last = events.offsets[:-1].copy(), events.offsets[1:].copy()
        start = np.zeros(len(events))
        for b in np.flatnonzero(events.counts):
            times, _ = events.sample(int(b))
            start[b], stop = self._active(times)
            first[b], last[b] = events.offsets[b] + np.searchsorted(times, (start[b], stop))
        return sliced(events, first, last, start)

    def _active(self, times: np.ndarray) -> tuple[float, float]:
        """From when to when (ms) a sample with these event times is active."""
        before = np.floor(times[0] / self.bin)
        counts = np.bincount((np.floor(times / self.bin) - before).astype(np.int64))
        smooth = np.convolve(np.pad(counts, 1), (0.25, 0.5, 0.25), "valid")
        active = np.flatnonzero(smooth > self.threshold * smooth.max())
        return (before + active[0]) * self.bin, (before + active[-1] + 1) * self.bin
