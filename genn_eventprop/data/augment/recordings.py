"""Recordings in chunks, each augmented as a whole: all chunks have one shift, and labels stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DataError
from ..events.chunks import chunks, follows
from ..events.events import Events
from .augmented import Augmented, apply_steps
from .batchwise import replace_events
from .counter import CounterRNG
from .steps import CompressTime, Crop, Dilate, FitTime, NormaliseCounts, Pad, TrimSilence, Warp

MOVING: tuple[Any, ...] = (CompressTime, Crop, Dilate, FitTime, NormaliseCounts, Pad, TrimSilence, Warp)
"""Steps that move events away from the labels of their chunks."""


class AugmentedRecordings:
    """The chunks of recordings (`data.events.chunks`), augmented as `augmented` says.

    Args:
        duration, dt: of a chunk, ms. exact: see `chunks`.

    Raises:
        DataError: blends, several inputs, or a step that moves events in time.
    """

    def __init__(self, augmented: Augmented, duration: float, dt: float, exact: bool = False) -> None:
        if augmented.blend is not None:
            raise DataError("Blend mixes samples, not recordings in chunks; leave it out, or use whole recordings")
        if not isinstance(augmented.events, Events):
            raise DataError("recordings in chunks are augmented where their only input are spikes")
        for step in augmented.steps:
            if isinstance(step, MOVING):
                raise DataError(
                    f"{type(step).__name__} moves events away from the labels of their chunks; leave it out, or use "
                    "carry='exact' and recordings with one label each"
                )
        self.events, self.steps, self.seed = augmented.events, augmented.steps, augmented.seed
        self.duration, self.dt, self.exact = duration, dt, exact
        self.follows = follows(self.events)
        self._first = np.append(np.flatnonzero(~self.follows), len(self.events))
        self._made: dict[tuple[int, int], Events] = {}

    def batch(self, samples: np.ndarray, epoch: int) -> Events:
        """The chunks with these numbers in that epoch. Recordings are kept until a batch has none of their chunks."""
        if not self.steps:
            return self.events[samples]
        recordings = np.searchsorted(self._first, samples, side="right") - 1
        wanted = [(epoch, int(r)) for r in recordings]
        self._made = {key: self._made[key] if key in self._made else self._augmented(*key) for key in wanted}
        parts, places = list(self._made.values()), {key: k for k, key in enumerate(self._made)}
        starts = np.cumsum([0, *map(len, parts)])
        rows = [starts[places[key]] + s - self._first[key[1]] for key, s in zip(wanted, samples)]
        return Events.concatenate(parts, self.events.name)[np.array(rows, np.int64)]

    def _augmented(self, epoch: int, recording: int) -> Events:
        first, last = self._first[recording : recording + 2].tolist()
        part, length = self.events[first:last], (last - first) * self.duration
        times = np.asarray(part.times) + part.sample_of_event * self.duration
        whole = Events.trusted(times, np.asarray(part.channels), np.array([0, len(times)]), part.n_channels)
        made = apply_steps(self.steps, whole, CounterRNG(self.seed, epoch, np.array([recording])))
        made = replace_events(made, keep=made.times <= length)
        cut = chunks(made, self.duration, self.dt, length=length, exact=self.exact)
        return Events.trusted(cut.times, cut.channels, cut.offsets, cut.n_channels, **part.annotations)
