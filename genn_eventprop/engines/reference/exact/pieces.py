"""The current piece of every neuron's trajectory, and when its own events happen on it if nothing arrives before.

A piece is one polynomial (`flow.py`). Copies of the network run in lockstep with the first one; those that would make
other events are marked `changed` (see `forward.py`).

Axis letters: n states, N neurons, C copies, L = C N lanes, G pieces, E own events of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .flow import at
from .population import SAME_INSTANT, PopulationModel
from .records import Arrival, Cause, Segments, Spike
from .series import ORDER, POINTS, basis, bernstein, first_upward_root, follow_root

TRUST_FRACTION, MAX_FRACTION = 0.9, 0.95
"""With copies, as fractions of a piece's span: where the next piece starts, and the last point that may be evaluated.

A copy has its events a little later than the first one, so its piece must last beyond the first copy's. Beyond the
span itself it may not: extrapolation of a polynomial of degree 20 multiplies rounding by 4e3 at 1.05 spans.
"""
SMOOTH = 1e-13  # last coefficients of a threshold that is not linear, in parts of it or of its rounding
SHORTEST = 1e-12  # of a piece: as short as it may become where a threshold has a kink
STANDSTILL = 500  # pieces in a row that are shorter than the rounding of their time: the dynamics diverge
PROBES = basis(np.linspace(0.0, MAX_FRACTION, 40))  # where copies are tested for a crossing that the first lacks


@dataclass(eq=False)
class TrajectoryPieces:
    """Current polynomial piece of every neuron of one population.

    start, end, valid_until: (L,) ms where a piece begins, where it is replaced by the next one, and up to where it may
    be evaluated. reach: (L,) ms for which thresholds are polynomials too, at most span. crossing: (E, L) ms of the next
    own event, inf: none on this piece; part: (E, L) of the reach before it. cause: (E, N) the arrival or event that put
    g above zero in the same instant, for own events about to happen for that reason; else None. armed: (E, L)
    whether g has been below zero since the last own event: only then can it cross from below. armed_by: (E, L) the
    `instant` whose arrivals armed it, 0: none did. opened, closed: the segments so far, for `segments`.
    """

    model: PopulationModel
    copies: int
    start: np.ndarray
    end: np.ndarray
    valid_until: np.ndarray
    span: np.ndarray
    reach: np.ndarray
    mode: np.ndarray
    series: np.ndarray
    crossing: np.ndarray
    part: np.ndarray
    armed: np.ndarray
    armed_by: np.ndarray
    segment: np.ndarray
    cause: np.ndarray
    changed: np.ndarray
    breaks: np.ndarray
    aligned: bool
    duration: float
    opened: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    closed: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    count: int = 0
    own_events: list[Spike] = field(default_factory=list)
    standstill: int = 0
    instant: int = 0  # number of the present instant: it counts up before the arrivals of each are added

    @classmethod
    def begin(
        cls, model: PopulationModel, copies: int, breaks: np.ndarray, aligned: bool, duration: float
    ) -> TrajectoryPieces:
        """At t = 0, in the initial state.

        Args:
            breaks: times at which pieces end in any case. aligned: whether those of all neurons begin and end together.
        """
        L, E = model.lanes, len(model.events)
        new = cls(
            model, copies, np.zeros(L), np.zeros(L), np.zeros(L), np.zeros(L), np.zeros(L), np.zeros(L, np.int64),
            np.zeros((ORDER + 1, model.flow.n, L)), np.full((E, L), np.inf), np.zeros((E, L)),
            np.zeros((E, L), bool),
            np.zeros((E, L), np.int64), np.zeros(L, np.int64), np.full((E, model.size), None), np.zeros(copies, bool),
            np.append(np.unique(breaks), np.inf), aligned, duration,
        )  # fmt: skip
        new.open(np.arange(L), model.equations.x0, np.zeros(L), None)
        return new

    def lanes_of(self, neurons: np.ndarray) -> np.ndarray:
        """The lanes of neurons in all copies, copy by copy."""
        return (np.arange(self.copies)[:, None] * self.model.size + neurons).ravel()

    def elapsed(self, lanes: np.ndarray, time: np.ndarray, event: int | None = None) -> np.ndarray:
        """(G,) ms since the current pieces began, at `time` (G,), perhaps that of an own event: in the upstroke of a
        spike also where it is below the rounding of times."""
        start, after = self.start[lanes], self.trust * self.reach[lanes]
        if event is not None:
            after = self.part[event, lanes] * self.reach[lanes]
        return np.where(time == start + after, after, time - start)

    @property
    def trust(self) -> float:
        return 1.0 if self.copies == 1 else TRUST_FRACTION

    def states(self, lanes: np.ndarray, time: np.ndarray, event: int | None = None) -> np.ndarray:
        """x (n, G) at `time` (G,), by the current pieces; event: as of `elapsed`."""
        return at(self.series[:, :, lanes], self.elapsed(lanes, time, event) / self.span[lanes])

    def open(self, lanes: np.ndarray, x: np.ndarray, time: np.ndarray, cause: Cause | None) -> np.ndarray:
        """Begin new pieces at x (n, G) in the current modes.

        Args:
            cause: what happened at `time`; None where only the polynomial ended.

        Returns:
            numbers of the segments that begin.
        """
        # segments are numbered in order of time, the first ones by lane: readouts and the way back rely on it
        ids = np.arange(self.count, self.count + len(lanes))
        self.count += len(lanes)
        mode = self.mode[lanes].copy()
        series, span = self.model.flow.start(x, lanes, mode, self._fires_at_once(x, lanes, mode, cause))
        reach = self._reach(x, series, lanes, span)
        self.opened.append((lanes, time, x, mode, span))
        self.segment[lanes], self.start[lanes], self.span[lanes], self.reach[lanes] = ids, time, span, reach
        most = 1.0 if self.copies == 1 else MAX_FRACTION
        self.end[lanes] = np.minimum(time + self.trust * reach, self.duration)  # time weights of losses end at T
        self.valid_until[lanes] = time + most * reach
        self.series[:, :, lanes] = series
        if len(self.breaks) > 1:
            self._end_at_breaks(lanes, time)
        if self.aligned:
            self._align_ends()
        for e in range(len(self.model.events)):
            self._find_crossings(e, x, series, lanes, mode, time, cause)
        if self.copies > 1 and len(self.model.events):
            self._shorten_before_crossings(lanes)
        return ids

    def _possible(self, e: int, mode: np.ndarray) -> np.ndarray:
        """Where it is an event of the mode. Elsewhere g may cross without it; g >= 0 as that ends fires at once."""
        return np.isin(mode, self.model.events[e].modes) if len(self.model.flow.modes) > 1 else np.ones(len(mode), bool)

    def _fires_at_once(self, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray, cause: Cause | None) -> np.ndarray:
        fires = np.zeros(len(lanes), bool)
        for e in (e for e in range(len(self.model.events)) if e != self.model.observed_event):
            below = self._below(e, x, lanes, mode, cause)
            fires |= self._possible(e, mode) & self.armed[e, lanes] & ~below
        return fires

    def _below(self, e: int, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray, cause: Cause | None) -> np.ndarray:
        """Where g < 0, or falls through zero in the very instant of another own event: of two events with opposite
        thresholds the second does not undo the first, whatever sign rounding gives it."""
        equations = self.model.equations
        g = equations.threshold(e, x, lanes)
        if not isinstance(cause, Spike) or cause.event == e or not np.any(g >= 0):
            return g < 0
        rate = equations.threshold_rate(e, x, lanes, mode)
        return (g < 0) | (g + SAME_INSTANT * self.duration * rate < 0)

    def _reach(self, x: np.ndarray, series: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        """(G,) ms from the start of new pieces for which every threshold is a polynomial to rounding.

        One that is not linear in the states may need shorter pieces than they do: exp(u) while u grows a hundredfold.
        What its coefficients are measured by is g in the first half, where it may be far smaller than at the end.
        """
        equations, fraction = self.model.equations, np.ones(len(lanes))
        for e in range(len(self.model.events)):
            if equations.is_linear(e):
                continue
            rounding = equations.threshold_rounding(e, x, lanes)
            pending = np.arange(len(lanes))
            while len(pending):
                part = lanes[pending]
                g = equations.threshold_series(e, series[..., pending], part, fraction[pending])
                with np.errstate(all="ignore"):
                    first = np.abs(basis(POINTS[: ORDER // 2 + 1]) @ g).max(axis=0)
                    good = np.abs(g[-3:]).max(axis=0) <= SMOOTH * np.maximum(first, rounding[pending])
                pending = pending[~good & (fraction[pending] > SHORTEST)]
                fraction[pending] *= 0.6
        if self.copies > 1:  # all copies of a neuron as in the first one
            every, mine = np.zeros(self.model.size), lanes < self.model.size
            every[lanes[mine]] = fraction[mine]
            fraction = every[lanes % self.model.size]
        return fraction * span

    def _shorten_before_crossings(self, lanes: np.ndarray) -> None:
        """End new pieces earlier if the first copy crosses just behind their end: another copy may cross before it.

        Else that copy would have its event on the old piece and the first on the new one, and no difference could be
        taken. 0.6 of the way leaves room on both sides.
        """
        first = lanes[lanes < self.model.size]
        soon, end = self.crossing[:, first].min(axis=0), self.end[first]
        near = (soon > end) & (soon < end + (1 - TRUST_FRACTION) * self.reach[first])
        for neuron, crossing in zip(first[near], soon[near]):
            every = self.lanes_of(np.array([neuron]))
            self.end[every] = np.minimum(self.end[every], self.start[every] + 0.6 * (crossing - self.start[neuron]))
        if self.aligned and near.any():
            self._align_ends()

    def _align_ends(self) -> None:
        self.end = np.repeat(self.end.reshape(self.copies, -1).min(axis=1), self.model.size)

    def _end_at_breaks(self, lanes: np.ndarray, time: np.ndarray) -> None:
        """End the new pieces at the next break, where quadrature would lose its order.

        Mark copies that are before another break than the first: their integrals would be cut elsewhere.
        """
        following = np.searchsorted(self.breaks, time, side="right")
        for until in (self.end, self.valid_until):
            until[lanes] = np.minimum(until[lanes], self.breaks[following])
        if self.copies > 1:
            each = following.reshape(self.copies, -1)
            self.changed |= (each != each[0]).any(axis=1)

    def close(self, lanes: np.ndarray, time: np.ndarray, event: int | None = None) -> np.ndarray:
        """End pieces at `time` (G,), perhaps that of an own event; returns their segment numbers.

        Mark copies whose piece cannot be evaluated there, or has not begun.
        """
        if self.copies > 1:
            wrong = (time > self.valid_until[lanes]) | (time < self.start[lanes])
            self.changed[np.unique(lanes[wrong] // self.model.size)] = True
        if self.model.events:
            self._arm_within(lanes, time)
        ids = self.segment[lanes].copy()
        self.closed.append((ids, time, self.elapsed(lanes, time, event)))
        return ids

    def _arm_within(self, lanes: np.ndarray, time: np.ndarray) -> None:
        """Arm events whose g fell below zero since pieces began, up to `time` (G,): what happens now may raise it.

        `_find_crossings` sees where pieces begin, and of modes that have the event where g rises again.
        """
        for e in range(len(self.model.events)):
            waits = ~self.armed[e, lanes] & (time > self.start[lanes])
            if not waits.any():
                continue
            there = lanes[waits]
            fraction = (time[waits] - self.start[there]) / self.span[there]
            g = self.model.equations.threshold_series(e, self.series[:, :, there], there, fraction)
            bounds, last = bernstein(g), at(g[:, None], np.ones(len(there)))[0]
            for i in np.flatnonzero(bounds.min(axis=0) < 0):
                sinks = last[i] < 0 or first_upward_root(-g[:, i], -bounds[:, i]) is not None
                self.armed[e, there[i]] |= sinks
                if sinks:
                    self.armed_by[e, there[i]] = 0

    def _find_crossings(
        self, e: int, x: np.ndarray, series: np.ndarray, lanes: np.ndarray, mode: np.ndarray, time: np.ndarray,
        cause: Cause | None,
    ) -> None:  # fmt: skip
        """Find the first upward crossing of every new piece; it is at its start if g is >= 0 and was below before.

        The state at the start is that after everything of this instant so far, so a crossing at the start is caused by
        what just happened, not by the flow.
        """
        start, possible = self.model.equations.threshold(e, x, lanes), self._possible(e, mode)
        below, at_zero = self._below(e, x, lanes, mode, cause), np.zeros(len(lanes), bool)
        if isinstance(cause, Spike) and cause.event == e and cause.cause is None:
            # a reset that leaves g leaves it at zero, and not below: the sign is rounding
            before = self.model.equations.threshold(e, np.repeat(cause.x[:, None], len(lanes), axis=1), lanes)
            at_zero = np.atleast_1d(before[0] == start[0])
            below &= ~at_zero
        if isinstance(cause, Arrival):
            # Several arrivals of one instant are added one by one, and g may dip below zero between two of them. That
            # is no crossing from below: arrivals of one instant have no order. So what this instant armed it disarms.
            self.armed[e, lanes] &= below | (self.armed_by[e, lanes] < self.instant)
        armed = self.armed[e, lanes]
        at_once = ~below & armed & possible
        crossing = np.where(at_once, time, np.inf)
        self.armed_by[e, lanes[below & ~armed]] = self.instant if isinstance(cause, Arrival) else 0
        self.armed[e, lanes] |= below
        mine = lanes < self.model.size  # lanes of the first copy
        self.cause[e, lanes[~at_once & mine]] = None  # a later arrival of this instant has brought g back below
        for i in np.flatnonzero(at_once & mine):
            if self.model.can_trigger(cause, e):
                self.cause[e, lanes[i]] = cause
            elif self.crossing[e, lanes[i]] != time[i]:
                # g is above zero although this cause cannot do that: the flow crossed at this very time, so the event
                # has a slope. Unless an earlier cause of this instant did it: then that one stays
                self.cause[e, lanes[i]] = None
        if np.any(possible & ~at_once):
            g = self.model.equations.threshold_series(e, series, lanes, self.reach[lanes] / self.span[lanes])
            if at_zero.any():  # not below zero at the start, else the crossing that was would be found again
                g[0] -= np.where(at_zero, 2 * np.minimum(bernstein(g)[0], 0.0), 0.0)
            bounds = bernstein(g[:, mine])  # most pieces stay below: their bounds alone say so, without root finding
            # below zero by less than rounding: the polynomial may begin above zero, and then would not cross it
            bounds[0] = np.where(below[mine], np.minimum(bounds[0], start[mine]), bounds[0])
            roots = np.full(int(mine.sum()), np.inf)
            for i in np.flatnonzero((bounds.max(axis=0) >= 0) & (possible & ~at_once)[mine]):
                root = first_upward_root(g[:, mine][:, i], bounds[:, i])
                roots[i] = np.inf if root is None else root
            u = roots if self.copies == 1 else self._follow_copies(g, lanes, mine, roots, possible & ~at_once)
            crossing = np.where(at_once, time, time + u * self.reach[lanes])
            self.part[e, lanes] = np.where(at_once, 0.0, u)
        else:
            self.part[e, lanes] = 0.0
        self.crossing[e, lanes] = np.inf if e == self.model.observed_event else crossing
        if self.copies > 1:
            self._mark_changed(lanes, at_once, at_once[mine])

    def _follow_copies(
        self, g: np.ndarray, lanes: np.ndarray, mine: np.ndarray, roots: np.ndarray, pending: np.ndarray
    ) -> np.ndarray:
        """(G,) roots of all copies near those of the first; nan where a copy crosses elsewhere or alone."""
        u = np.full(len(lanes), np.inf)
        u[mine] = roots
        for neuron, root in zip(lanes[mine], roots):
            others = np.flatnonzero(~mine & (lanes % self.model.size == neuron))
            if np.isfinite(root):
                u[others] = follow_root(g[:, others], float(root))
            elif pending[others].any():
                dense = PROBES @ g[:, others]
                u[others] = np.where(np.any((dense[:-1] < 0) & (dense[1:] >= 0), axis=0), np.nan, np.inf)
        return u

    def _mark_changed(self, lanes: np.ndarray, at_once: np.ndarray, first: np.ndarray) -> None:
        """Mark copies in which other neurons than in the first copy cross at once."""
        size = self.model.size
        expected = np.zeros(size, bool)
        expected[lanes[lanes < size]] = first
        wrong = at_once != expected[lanes % size]
        self.changed[np.unique(lanes[wrong] // size)] = True

    def next_crossings(self) -> np.ndarray:
        """(C,) time of the next own event of every copy; nan where a copy lost one of the first copy's."""
        if not len(self.model.events):
            return np.full(self.copies, np.inf)
        return self.crossing.reshape(-1, self.copies, self.model.size).min(axis=(0, 2))

    def check(self, time: np.ndarray) -> None:
        """Mark copies that have an own event before `time` (C,), which the first copy does not have."""
        if self.copies > 1:
            self.changed |= ~(self.next_crossings() >= time)

    def segments(self, duration: float) -> Segments:
        """All segments of the trial, at its end."""
        end, length = np.full(self.count, duration), np.zeros(self.count)
        for ids, time, elapsed in self.closed:
            end[ids], length[ids] = time, elapsed
        lane, start, x, mode, span = zip(*self.opened)
        return Segments(
            np.concatenate(lane), np.concatenate(start), end, np.concatenate(x, axis=1), np.concatenate(mode),
            np.concatenate(span), length,
        )  # fmt: skip
