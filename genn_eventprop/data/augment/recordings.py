"""Recordings in chunks, each augmented as a whole: all chunks have one shift, and labels stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DataError
from ..currents.currents import Currents
from ..events.chunks import chunks, follows
from ..events.events import Events
from .augmented import Augmented, apply_steps
from .batchwise import replace_events
from .counter import CounterRNG
from .currents import ShiftTime
from .steps import CompressTime, Crop, Dilate, FitTime, NormaliseCounts, Pad, TrimSilence, Warp

MOVING: tuple[Any, ...] = (CompressTime, Crop, Dilate, FitTime, NormaliseCounts, Pad, ShiftTime, TrimSilence, Warp)
"""Steps that move events, or currents, away from the labels of their chunks."""


class AugmentedRecordings:
    """The chunks of recordings (`data.events.chunks`), augmented as `augmented` says.

    Args:
        duration, dt: of a chunk, ms. exact: see `chunks`.

    Raises:
        DataError: blends, several inputs, or a step that moves events or currents in time.
    """

    def __init__(self, augmented: Augmented, duration: float, dt: float, exact: bool = False) -> None:
        if augmented.blend is not None:
            raise DataError("Blend mixes samples, not recordings in chunks; leave it out, or use whole recordings")
        if not isinstance(augmented.events, (Events, Currents)):
            raise DataError("recordings in chunks are augmented where they have a single input")
        what = "events" if isinstance(augmented.events, Events) else "currents"
        for step in augmented.steps:
            if isinstance(step, MOVING):
                raise DataError(
                    f"{type(step).__name__} moves {what} away from the labels of their chunks; leave it out, or use "
                    "carry='exact' and recordings with one label each"
                )
        self.events, self.steps, self.seed = augmented.events, augmented.steps, augmented.seed
        self.duration, self.dt, self.exact = duration, dt, exact
        self.follows = follows(self.events)
        self._first = np.append(np.flatnonzero(~self.follows), len(self.events))
        self._made: dict[tuple[int, int], Any] = {}

    def batch(self, samples: np.ndarray, epoch: int) -> Any:
        """The chunks with these numbers in that epoch. Recordings are kept until a batch has none of their chunks."""
        if not self.steps:
            return self.events[samples]
        recordings = np.searchsorted(self._first, samples, side="right") - 1
        wanted = [(epoch, int(r)) for r in recordings]
        self._made = {key: self._made[key] if key in self._made else self._augmented(*key) for key in wanted}
        parts, places = list(self._made.values()), {key: k for k, key in enumerate(self._made)}
        starts = np.cumsum([0, *map(len, parts)])
        rows = [starts[places[key]] + s - self._first[key[1]] for key, s in zip(wanted, samples)]
        return type(self.events).concatenate(parts, self.events.name)[np.array(rows, np.int64)]

    def _augmented(self, epoch: int, recording: int) -> Events | Currents:
        first, last = self._first[recording : recording + 2].tolist()
        part, rng = self.events[first:last], CounterRNG(self.seed, epoch, np.array([recording]))
        return self._spikes(part, rng) if isinstance(part, Events) else self._currents(part, rng)

    def _currents(self, part: Currents, rng: CounterRNG) -> Currents:
        whole = Currents.trusted(part.values.reshape(1, -1, part.n_channels), part.dt)
        return part.replace(apply_steps(self.steps, whole, rng).values.reshape(part.values.shape))

    def _spikes(self, part: Events, rng: CounterRNG) -> Events:
        length = len(part) * self.duration
        times = np.asarray(part.times) + part.sample_of_event * self.duration
        whole = Events.trusted(times, np.asarray(part.channels), np.array([0, len(times)]), part.n_channels)
        made = apply_steps(self.steps, whole, rng)
        made = replace_events(made, keep=made.times <= length)
        cut = chunks(made, self.duration, self.dt, length=length, exact=self.exact)
        return Events.trusted(cut.times, cut.channels, cut.offsets, cut.n_channels, **part.annotations)
