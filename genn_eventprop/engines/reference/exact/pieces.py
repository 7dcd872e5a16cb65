"""The present piece of every neuron's trajectory, and when its own events would happen on it.

A piece is one polynomial (`event_flow`). Copies of the network run in lockstep with the first one; those that would do
something else are marked `changed` (see `event_forward`).

Axis letters: n states, N neurons, C copies, L = C N lanes, G pieces, E own events of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .flow import at
from .population import PopulationModel
from .records import Arrival, Cause, Segments, Spike
from .series import ORDER, basis, bernstein, first_upward_root, follow_root

# Of its span, in copies: when a piece gives way to the next one, and until when it may last, as far beyond the span
# extrapolation makes 10^4 times more of rounding. The room between is for events of other copies.
REACH, HOLDS = 0.9, 0.95
ALONG = basis(np.linspace(0.0, HOLDS, 40))  # where copies are looked at for an event that the first does not have


@dataclass(eq=False)
class Pieces:
    """Those of one population.

    end, last: when a piece gives way to the next one, and until when it holds. cause: (E, N) what put a neuron across
    at once, of own events that are about to happen for that reason; else None. armed: (E, L) whether g has been below
    zero since the last own event; armed_by: (E, L) number of the arrivals that armed it, see `instant`, 0: none did.
    """

    model: PopulationModel
    copies: int
    start: np.ndarray
    end: np.ndarray
    last: np.ndarray
    span: np.ndarray
    mode: np.ndarray
    series: np.ndarray
    crossing: np.ndarray
    armed: np.ndarray
    armed_by: np.ndarray
    segment: np.ndarray
    cause: np.ndarray
    changed: np.ndarray
    breaks: np.ndarray
    aligned: bool
    duration: float
    blocks: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    closed: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    count: int = 0
    own: list[Spike] = field(default_factory=list)
    instant: int = 0  # number of the arrivals that are being added, those of one instant together

    @classmethod
    def begin(cls, model: PopulationModel, copies: int, breaks: np.ndarray, aligned: bool, duration: float) -> Pieces:
        """breaks: times at which pieces end in any case. aligned: whether all neurons begin and end theirs at once."""
        L, E = model.lanes, len(model.events)
        new = cls(
            model, copies, np.zeros(L), np.zeros(L), np.zeros(L), np.zeros(L), np.zeros(L, np.int64),
            np.zeros((ORDER + 1, model.flow.n, L)), np.full((E, L), np.inf), np.zeros((E, L), bool),
            np.zeros((E, L), np.int64), np.zeros(L, np.int64), np.full((E, model.size), None), np.zeros(copies, bool),
            np.append(np.unique(breaks), np.inf), aligned, duration,
        )  # fmt: skip
        new.open(np.arange(L), model.equations.x0, np.zeros(L), None)
        return new

    def of(self, neurons: np.ndarray) -> np.ndarray:
        """The lanes of neurons in all copies, copy by copy."""
        return (np.arange(self.copies)[:, None] * self.model.size + neurons).ravel()

    def states(self, lanes: np.ndarray, time: np.ndarray) -> np.ndarray:
        """x (n, G) at `time` (G,), by the present pieces."""
        return at(self.series[:, :, lanes], (time - self.start[lanes]) / self.span[lanes])

    def open(self, lanes: np.ndarray, x: np.ndarray, time: np.ndarray, cause: Cause | None) -> np.ndarray:
        """Begin new pieces at x (n, G) in the present modes; returns their segment numbers."""
        ids = np.arange(self.count, self.count + len(lanes))
        self.count += len(lanes)
        mode = self.mode[lanes].copy()
        series, span = self.model.flow.start(x, lanes, mode)
        self.blocks.append((lanes, time, x, mode, span))
        self.segment[lanes], self.start[lanes], self.span[lanes] = ids, time, span
        reach, holds = (1.0, 1.0) if self.copies == 1 else (REACH, HOLDS)
        self.end[lanes] = np.minimum(time + reach * span, self.duration)  # weights of losses are not meant for later
        self.last[lanes] = time + holds * span
        self.series[:, :, lanes] = series
        if len(self.breaks) > 1:
            self._break(lanes, time)
        if self.aligned:
            self._end_together()
        for e, event in enumerate(self.model.events):
            possible = np.isin(mode, event.modes) if len(self.model.flow.modes) > 1 else np.ones(len(lanes), bool)
            self._look_ahead(e, x, series, lanes, possible, time, cause)
        if self.copies > 1 and len(self.model.events):
            self._keep_away(lanes)
        return ids

    def _keep_away(self, lanes: np.ndarray) -> None:
        """End new pieces earlier if the first copy crosses just behind their end: another copy may be before it."""
        first = lanes[lanes < self.model.size]
        soon, end = self.crossing[:, first].min(axis=0), self.end[first]
        near = (soon > end) & (soon < end + (1 - REACH) * self.span[first])
        for neuron, crossing in zip(first[near], soon[near]):
            every = self.of(np.array([neuron]))
            self.end[every] = np.minimum(self.end[every], self.start[every] + 0.6 * (crossing - self.start[neuron]))
        if self.aligned and near.any():
            self._end_together()

    def _end_together(self) -> None:
        self.end = np.repeat(self.end.reshape(self.copies, -1).min(axis=1), self.model.size)

    def _break(self, lanes: np.ndarray, time: np.ndarray) -> None:
        """End the new pieces at the next break; mark copies that are before another break than the first copy."""
        following = np.searchsorted(self.breaks, time, side="right")
        for until in (self.end, self.last):
            until[lanes] = np.minimum(until[lanes], self.breaks[following])
        if self.copies > 1:
            each = following.reshape(self.copies, -1)
            self.changed |= (each != each[0]).any(axis=1)

    def close(self, lanes: np.ndarray, time: np.ndarray) -> np.ndarray:
        """End pieces at `time` (G,); returns their segment numbers. Mark copies whose piece does not hold that long, or
        has not begun."""
        if self.copies > 1:
            wrong = (time > self.last[lanes]) | (time < self.start[lanes])
            self.changed[np.unique(lanes[wrong] // self.model.size)] = True
        ids = self.segment[lanes].copy()
        self.closed.append((ids, time))
        return ids

    def _look_ahead(
        self, e: int, x: np.ndarray, series: np.ndarray, lanes: np.ndarray, possible: np.ndarray, time: np.ndarray,
        cause: Cause | None,
    ) -> None:  # fmt: skip
        """Find the first upward crossing of every new piece; at once if g is >= 0 already and was below before."""
        below = self.model.equations.threshold(e, x, lanes) < 0
        if isinstance(cause, Arrival):  # a dip between two arrivals of one instant is none
            self.armed[e, lanes] &= below | (self.armed_by[e, lanes] < self.instant)
        armed = self.armed[e, lanes]
        at_once = ~below & armed & possible
        crossing = np.where(at_once, time, np.inf)
        self.armed_by[e, lanes[below & ~armed]] = self.instant if isinstance(cause, Arrival) else 0
        self.armed[e, lanes] |= below
        mine = lanes < self.model.size
        self.cause[e, lanes[~at_once & mine]] = None  # what else arrived at this instant has brought it back
        for i in np.flatnonzero(at_once & mine):
            if self.model.puts_across(cause, e):
                self.cause[e, lanes[i]] = cause
            elif self.crossing[e, lanes[i]] != time[i]:  # else put across already, before this piece began
                self.cause[e, lanes[i]] = None
        if np.any(possible & ~at_once):
            g = self.model.equations.threshold_series(e, series, lanes)
            bounds = bernstein(g[:, mine])
            roots = np.full(int(mine.sum()), np.inf)
            for i in np.flatnonzero((bounds.max(axis=0) >= 0) & (possible & ~at_once)[mine]):
                root = first_upward_root(g[:, mine][:, i], bounds[:, i])
                roots[i] = np.inf if root is None else root
            u = roots if self.copies == 1 else self._follow(g, lanes, mine, roots, possible & ~at_once)
            crossing = np.where(at_once, time, time + u * self.span[lanes])
        self.crossing[e, lanes] = crossing
        if self.copies > 1:
            self._mark(lanes, at_once, at_once[mine])

    def _follow(
        self, g: np.ndarray, lanes: np.ndarray, mine: np.ndarray, roots: np.ndarray, open_: np.ndarray
    ) -> np.ndarray:
        """(G,) roots of all copies near those of the first; nan where a copy has another answer."""
        u = np.full(len(lanes), np.inf)
        u[mine] = roots
        for neuron, root in zip(lanes[mine], roots):
            others = np.flatnonzero(~mine & (lanes % self.model.size == neuron))
            if np.isfinite(root):
                u[others] = follow_root(g[:, others], float(root))
            elif open_[others].any():
                dense = ALONG @ g[:, others]
                u[others] = np.where(np.any((dense[:-1] < 0) & (dense[1:] >= 0), axis=0), np.nan, np.inf)
        return u

    def _mark(self, lanes: np.ndarray, found: np.ndarray, first: np.ndarray) -> None:
        """Mark copies whose lanes differ from the first copy in what they do at once."""
        size = self.model.size
        expected = np.zeros(size, bool)
        expected[lanes[lanes < size]] = first
        wrong = found != expected[lanes % size]
        self.changed[np.unique(lanes[wrong] // size)] = True

    def next_crossings(self) -> np.ndarray:
        """(C,) time of the next own event of every copy; nan where a copy lost one."""
        if not len(self.model.events):
            return np.full(self.copies, np.inf)
        return self.crossing.reshape(-1, self.copies, self.model.size).min(axis=(0, 2))

    def check(self, time: np.ndarray) -> None:
        """Mark copies that have an own event before `time` (C,), which the first copy does not have."""
        if self.copies > 1:
            self.changed |= ~(self.next_crossings() >= time)

    def segments(self, duration: float) -> Segments:
        end = np.full(self.count, duration)
        for ids, time in self.closed:
            end[ids] = time
        lane, start, x, mode, span = zip(*self.blocks)
        return Segments(
            np.concatenate(lane), np.concatenate(start), end, np.concatenate(x, axis=1), np.concatenate(mode),
            np.concatenate(span),
        )  # fmt: skip
