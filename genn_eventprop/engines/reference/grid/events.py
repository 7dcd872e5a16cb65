"""Own events of a population on the grid, NumPy float64: thresholds, resets, modes, and their jumps of the adjoint.

At the end of a step the events of the model are tested in their order, each on the state that the earlier ones left; a
neuron sends at most one spike a step. A timed mode lasts whole steps (`plan/clock.py`) and ends before the arrivals of
its last one; its end is a delayed event whose term D (frozen field, then free) goes to the event that began it. An
event whose threshold the arrivals of the step passed by themselves (delta synapses) has no slope: its E goes to those
arrivals, in proportion to what each added to g.

Axis letters: B samples, n states, N neurons, K steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ....adjoint import Derived
from ....adjoint.propagator import numeric
from ....plan import PopulationRecord, clock
from ...contract.noise import dropped, normal
from .births import Candidates
from .step import Step


class Functions:
    """A model's derived expressions as NumPy functions of (states..., params...); names as in docs/equations.md."""

    def __init__(self, d: Derived) -> None:
        every = (*d.x, *d.p)
        self.x0, self.dx0_dp = numeric(d.x0, d.p), numeric(d.dx0_dp, d.p)
        # de/dp of receptors whose arrivals add an amount that depends on parameters
        self.d_direction = {r: numeric(e.jacobian(d.p), d.p) for r, e in d.receptors.items() if e.free_symbols}
        self.f = [numeric(m.f, every) for m in d.modes]
        self.J = [numeric(m.df_dx, every) for m in d.modes]
        self.events = [
            {
                "g": numeric([e.g], every), "h": numeric(e.h, every), "dg_dx": numeric(e.dg_dx, every),
                "dg_dp": numeric(e.dg_dp, every), "dh_dx": numeric(e.dh_dx, every), "dh_dp": numeric(e.dh_dp, every),
            }
            for e in d.events
        ]  # fmt: skip
        self.a = [{m: numeric(a, every) for m, a in e.jumps.items()} for e in d.events]


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
    """The trajectory of one population, as the way back needs it.

    x: (K, B, n, N) states after arrivals. modes: (K, B, N) during the steps. spikes: (K + 1, B, N). ended: (K, B, N)
    the timed mode that ended at a step, or -1; at_end: the state there. lam: (K + 1, B, n, N) adjoint after arrivals.
    """

    x: np.ndarray
    modes: np.ndarray
    spikes: np.ndarray
    events: list[EventTrace]
    ended: np.ndarray
    at_end: np.ndarray
    lam: np.ndarray = field(default_factory=lambda: np.zeros(0))


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
        self.step_end = self.x  # (B, n, N) states at the end of the last step, before the events there
        self.candidates: Candidates | None = None  # for births of spikes, if they are looked for
        self.slope_before_arrivals = np.zeros(0)  # (B, N) dg/dt, where they are
        self.rounded: Callable[[np.ndarray], np.ndarray] = lambda x: x  # see `ReferenceClock.rounded`
        self.stochastic_keys: dict[str, np.ndarray] = {}  # "noise", "dropout" -> (B,) keys; empty: nothing is random

    def at(self, function: object, x: np.ndarray) -> np.ndarray:
        """A function of states and parameters at x (B, n, N): shape (B, N, rows, cols)."""
        return function(*(x[:, i] for i in range(x.shape[1])), *self.values)  # type: ignore[operator]

    def vector(self, function: object, x: np.ndarray) -> np.ndarray:
        """A vector function at x: (B, n, N)."""
        return np.moveaxis(self.at(function, x)[..., 0], -1, 1)

    def f(self, x: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """The field of every neuron's mode (B, N) at x, (B, n, N)."""
        return self._select([lambda m=m: self.vector(self.functions.f[m], x) for m in range(len(self.d.modes))], mode)

    def J(self, x: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """df/dx (B, N, n, n) of every neuron's mode."""
        out = self.at(self.functions.J[0], x)
        for m in range(1, len(self.d.modes)):
            out = np.where((mode == m)[..., None, None], self.at(self.functions.J[m], x), out)
        return out

    def _select(self, values: list[Any], mode: np.ndarray) -> np.ndarray:
        out = values[0]()
        for m in range(1, len(values)):
            if (mode == m).any():
                out = np.where((mode == m)[:, None, :], values[m](), out)
        return out

    # forwards

    def _threshold_slope(self) -> np.ndarray:
        slope: np.ndarray = (self.vector(self.functions.events[0]["dg_dx"], self.x) * self.f(self.x, self.mode)).sum(1)
        return slope

    def arrive(self, change: np.ndarray) -> None:
        """Adds what arrives in a step, (B, n, N)."""
        if self.candidates:
            self.slope_before_arrivals = self._threshold_slope()
        self.x = self.x + change

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
        if self.candidates:
            self.candidates.turn(k, self.slope_before_arrivals, self._threshold_slope())
        trace, x = self.trace, self.rounded(self.x)
        trace.x[k], trace.modes[k] = x, self.mode
        start = [self.at(e["g"], x)[..., 0, 0] for e in self.functions.events]
        self.x = self._select([lambda s=s: s.advance(x) for s in self.steps], self.mode)
        if "noise" in self.stochastic_keys:
            noise = normal(self.stochastic_keys["noise"], k + 1, self.record.size)
            self.x[:, self.d.states.index(self.record.noisy_state)] += self.record.noise * np.sqrt(self.dt) * noise
        self.x, self.has_spiked = self.rounded(self.x), np.zeros_like(self.mode, bool)
        self.step_end = self.x
        # in the order of the model, each on the state after the resets of those before: two events of one step must not
        # both start from the same state
        for i in range(len(self.d.events)):
            self._test(i, k, start[i])

    def _test(self, i: int, k: int, g_start: np.ndarray) -> None:
        """Event i at the end of step k; g_start: (B, N) its g at the start of the step, after the arrivals."""
        event, functions, trace = self.d.events[i], self.functions.events[i], self.trace
        g, happens = self.at(functions["g"], self.x)[..., 0, 0], self.happens[i][self.mode]
        if self.candidates:
            self.candidates.look(k, trace.x[k], g_start, g, happens)
        fired = (g >= 0) & happens
        if event.emits:
            # `dropped_reset`: a dropped spike still resets the neuron, which then has had its spike of this step
            lost = self._dropped(k + 1)
            fired &= ~self.has_spiked if self.record.dropped_reset else ~(self.has_spiked | lost)
            self.has_spiked |= fired
            trace.spikes[k + 1] |= fired & ~lost
        if self.candidates:
            self.candidates.spiked(fired)
        record = trace.events[i]
        record.fired[k + 1], record.before[k + 1], record.mode[k + 1] = fired, self.x, self.mode
        record.slope[k + 1] = (g - g_start) / self.dt  # positive wherever g was below zero at the start
        record.caused_by_arrivals[k + 1] = (g_start >= 0) & (self.g_before_arrivals[i] < 0)
        if not fired.any():
            return
        self.x = np.where(fired[:, None, :], self.vector(functions["h"], self.x), self.x)
        if event.next_mode is not None:
            self._enter_mode(k + 1, fired, np.full_like(self.mode, event.next_mode))

    def _dropped(self, k: int) -> np.ndarray:
        if "dropout" not in self.stochastic_keys:
            return np.zeros((1, 1), bool)
        return dropped(self.stochastic_keys["dropout"], k, self.record.size, self.record.dropout)

    # backwards

    def jump_coefficient(self, i: int, k: int) -> np.ndarray:
        """a of event i at step k by the mode before it, (B, n, N)."""
        record, jumps = self.trace.events[i], self.functions.a[i]
        out = np.zeros_like(record.before[k])
        for m, a in jumps.items():
            here = record.fired[k] & (record.mode[k] == m)
            if here.any():
                out = np.where(here[:, None, :], self.vector(a, record.before[k]), out)
        return out

    def retreat(
        self, k: int, lam: np.ndarray, source: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """lambda from the end of step k to its start, and what the step adds to every parameter's gradient (B, N)."""
        x, mode = self.trace.x[k], self.trace.modes[k]
        new = np.zeros_like(lam)
        total: dict[str, np.ndarray] = {}
        for m, step in enumerate(self.steps):
            here = mode == m
            if m and not here.any():
                continue
            # of all neurons; those of this mode are picked
            back, rates = step.retreat(lam, x, source)
            new = np.where(here[:, None, :], back, new)
            for n, rate in rates.items():
                total[n] = total.get(n, 0.0) + np.where(here, rate, 0.0)
        return new, total

    def end_of_mode(self, k: int, lam: np.ndarray) -> np.ndarray | None:
        """(B, N) D of the timed modes that end at step k: lambda . (f in the mode - f after it), else None."""
        if not self.trace.at_end.size or not (self.trace.ended[k] >= 0).any():
            return None
        ended, x = self.trace.ended[k], self.trace.at_end[k]
        then = np.array([m.then for m in self.d.modes])[np.maximum(ended, 0)]
        D = (lam * (self.f(x, np.maximum(ended, 0)) - self.f(x, then))).sum(1)
        return np.where(ended >= 0, D, 0.0)
