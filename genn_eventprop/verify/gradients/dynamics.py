"""Own events of a population on the grid, NumPy float64: thresholds, resets and modes.

At the end of a step the events of the model are tested in their order, each on the state that the earlier ones left; a
neuron sends at most one spike a step. A timed mode lasts whole steps (`plan/clock.py`) and ends before the arrivals of
its last one. An event whose threshold the arrivals of the step passed by themselves (delta synapses) has no slope.

Axis letters: B samples, n states, N neurons, K steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...adjoint import Derived
from ...adjoint.propagator import numeric
from ...plan import PopulationRecord, clock
from .one_step import Step


class Functions:
    """A model's derived expressions as NumPy functions of (states..., params...); names as in docs/equations.md."""

    def __init__(self, d: Derived) -> None:
        every = (*d.x, *d.p)
        self.x0 = numeric(d.x0, d.p)
        self.f = [numeric(m.f, every) for m in d.modes]
        self.events = [{"g": numeric([e.g], every), "h": numeric(e.h, every)} for e in d.events]


@lru_cache(maxsize=256)
def functions(d: Derived) -> Functions:
    """The functions of a model, compiled once."""
    return Functions(d)


@dataclass(eq=False)
class EventTrace:
    """One kind of event of a population, at every step.

    fired: (K + 1, B, N) where it happened. before: (K + 1, B, n, N) the state before its reset, mode: the mode then.
    slope: (g_end - g_start) / dt, the secant that stands for gdot. caused_by_arrivals: whether g >= 0 right after the
    arrivals of the step, and not before them: then the event has no slope, and E goes to the arrivals.
    """

    fired: np.ndarray
    before: np.ndarray
    mode: np.ndarray
    slope: np.ndarray
    caused_by_arrivals: np.ndarray


@dataclass(eq=False)
class Trace:
    """The trajectory of one population.

    x: (K, B, n, N) states after arrivals. modes: (K, B, N) during the steps. spikes: (K + 1, B, N). ended: (K, B, N)
    the timed mode that ended at a step, or -1; at_end: the state there.
    """

    x: np.ndarray
    modes: np.ndarray
    spikes: np.ndarray
    events: list[EventTrace]
    ended: np.ndarray
    at_end: np.ndarray


def start_trace(record: PopulationRecord, K: int, B: int) -> Trace:
    n, N = len(record.derived.states), record.size
    full, flat = (K + 1, B, n, N), (K + 1, B, N)
    events = [
        EventTrace(np.zeros(flat, bool), np.zeros(full), np.zeros(flat, int), np.zeros(flat), np.zeros(flat, bool))
        for _ in record.derived.events
    ]
    timed = any(m.lasts for m in record.derived.modes)
    return Trace(
        np.zeros((K, B, n, N)), np.zeros((K, B, N), int), np.zeros(flat, bool), events,
        np.full((K, B, N), -1), np.zeros((K, B, n, N)) if timed else np.zeros(0),
    )  # fmt: skip


class Dynamics:
    """One population of a batch: its current state and mode, its step, and the events at the end of a step.

    Args:
        functions, values, steps: of the population, for current parameter values, a step of each mode. dt: ms.
    """

    def __init__(
        self,
        record: PopulationRecord,
        functions: Functions,
        values: Mapping[str, np.ndarray],
        steps: list[Step],
        dt: float,
        K: int,
        B: int,
    ) -> None:
        self.record, self.functions, self.d, self.dt = record, functions, record.derived, dt
        self.values = list(values.values())
        self.steps = steps
        self.happens = [np.isin(np.arange(len(self.d.modes)), e.modes) for e in self.d.events]  # by mode
        self.trace = start_trace(record, K, B)
        x0 = functions.x0(*self.values)[..., 0]
        self.x = np.broadcast_to(np.atleast_2d(x0).T, (B, len(self.d.states), record.size)).copy()
        self.mode, self.until = np.zeros((B, record.size), int), np.full((B, record.size), -1)
        lasts = clock.mode_steps(self.d, values, dt)
        self.lasts = [np.broadcast_to(lasts[m.lasts], record.size) if m.lasts else None for m in self.d.modes]
        self.g_before_arrivals: list[np.ndarray] = []

    def at(self, function: object, x: np.ndarray) -> np.ndarray:
        """A function of states and parameters at x (B, n, N): shape (B, N, rows, cols)."""
        return function(*(x[:, i] for i in range(x.shape[1])), *self.values)  # type: ignore[operator]

    def vector(self, function: object, x: np.ndarray) -> np.ndarray:
        """A vector function at x: (B, n, N)."""
        return np.moveaxis(self.at(function, x)[..., 0], -1, 1)

    def f(self, x: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """The field of every neuron's mode (B, N) at x, (B, n, N)."""
        return self._select([lambda m=m: self.vector(self.functions.f[m], x) for m in range(len(self.d.modes))], mode)

    def _select(self, values: list[Any], mode: np.ndarray) -> np.ndarray:
        out = values[0]()
        for m in range(1, len(values)):
            if (mode == m).any():
                out = np.where((mode == m)[:, None, :], values[m](), out)
        return out

    def end_modes(self, k: int) -> None:
        """Timed modes that end at step k, before its arrivals."""
        over = self.until == k
        if over.any():
            self.trace.ended[k] = np.where(over, self.mode, -1)
            self.trace.at_end[k] = self.x
            then = np.array([m.then for m in self.d.modes])
            self._enter_mode(k, over, then[self.mode])
        # to see at the end of the step whether the arrivals alone raised g to zero
        self.g_before_arrivals = [self.at(e["g"], self.x)[..., 0, 0] for e in self.functions.events]

    def _enter_mode(self, k: int, where: np.ndarray, mode: np.ndarray) -> None:
        self.mode = np.where(where, mode, self.mode)
        self.until = np.where(where, -1, self.until)
        for m, steps in enumerate(self.lasts):
            if steps is not None:
                self.until = np.where(where & (self.mode == m), k + steps, self.until)

    def advance(self, k: int) -> None:
        """Step k from the state after its arrivals, then the events at k + 1."""
        trace, x = self.trace, self.x
        trace.x[k], trace.modes[k] = x, self.mode
        start = [self.at(e["g"], x)[..., 0, 0] for e in self.functions.events]
        self.x = self._select([lambda s=s: s.advance(x) for s in self.steps], self.mode)
        self.has_spiked = np.zeros_like(self.mode, bool)
        # in the order of the model, each on the state after the resets of those before: two events of one step must not
        # both start from the same state
        for i in range(len(self.d.events)):
            self._test(i, k, start[i])

    def _test(self, i: int, k: int, g_start: np.ndarray) -> None:
        """Event i at the end of step k; g_start: (B, N) its g at the start of the step, after the arrivals."""
        event, functions, trace = self.d.events[i], self.functions.events[i], self.trace
        g, happens = self.at(functions["g"], self.x)[..., 0, 0], self.happens[i][self.mode]
        fired = (g >= 0) & happens
        if event.emits:
            fired &= ~self.has_spiked
            self.has_spiked |= fired
            trace.spikes[k + 1] |= fired
        record = trace.events[i]
        record.fired[k + 1], record.before[k + 1], record.mode[k + 1] = fired, self.x, self.mode
        record.slope[k + 1] = (g - g_start) / self.dt  # positive wherever g was below zero at the start
        record.caused_by_arrivals[k + 1] = (g_start >= 0) & (self.g_before_arrivals[i] < 0)
        if not fired.any():
            return
        self.x = np.where(fired[:, None, :], self.vector(functions["h"], self.x), self.x)
        if event.next_mode is not None:
            self._enter_mode(k + 1, fired, np.full_like(self.mode, event.next_mode))
