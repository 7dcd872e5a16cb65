"""Readouts on the grid for `reference_clock`: what each reads from a batch, and what it adds to the adjoint.

A readout answers for itself. Forwards it sees the output population at every step; `score` is the outer loss; backwards
it returns jumps and sources of lambda and the loss terms in E and D (docs/equations.md, sections 2 and 3).

Axis letters: B samples, K outputs, n states, J basis functions of the time weight, M neurons of a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ....plan import Plan, PopulationCoefficients
from .connections import DelayGroup

Array = np.ndarray
SMALLEST_SLOPE = 1e-20
"""Of dL/dr where readouts are linear: lambda over dL/dr says how an arrival changes r."""


@dataclass(frozen=True)
class Setting:
    """A batch as a readout sees it.

    coef: of the output. slope: states (B, n, K) -> dV/dt (B, K). after: (number of an event, states before it) ->
    states after it.
    arrived: (delay group, step) -> (B, M) spikes that arrive then. direction: delay group -> (K,) change of V by a unit
    weight. into: population -> delay groups that lead there. counts: (T + 1, B) input spikes of every step.
    """

    plan: Plan
    B: int
    coef: PopulationCoefficients
    slope: Callable[[Array], Array]
    after: Callable[[int, Array], Array]
    arrived: Callable[[DelayGroup, int], Array]
    direction: Callable[[DelayGroup], Array]
    into: Callable[[str], tuple[DelayGroup, ...]]
    counts: Array


class ClockReadout:
    """Base: nothing is read. value and valid (B, K) are the readout; last (B, K) is lambda_V at T."""

    def __init__(self, s: Setting) -> None:
        self.s, self.plan, self.loss_of = s, s.plan, s.plan.loss
        output, K = s.plan.output, s.plan.output.size
        self.v = output.derived.states.index(output.derived.model.readout) if _reads_state(s.plan) else 0
        self.value, self.valid = np.zeros((s.B, K)), np.ones((s.B, K), bool)
        self.last, self.dr = np.zeros((s.B, K)), np.zeros((s.B, K))
        self.factor: Array | None = None  # (B,) of the loss, once it was scored in the trial and scaled

    # forwards

    def before_arrivals(self, k: int, x: Array) -> None:
        """x (B, n, K) at k dt, before the arrivals of step k; also for k = T/dt."""

    def after_arrivals(self, k: int, x: Array) -> None:
        """The same after them: where step k starts from."""

    def after_step(self, k: int, x: Array) -> None:
        """The same at the end of step k, before the events there."""

    def spiked(self, k: int, before: Array, spikes: Array) -> None:
        """Own spikes (B, K) at step k; before: (B, n, K) states at k dt before any reset."""

    def end(self, x: Array, spikes: Array) -> None:
        """After the last step; spikes (T + 1, B, K)."""

    def readout(self) -> Array:
        """The readout, inf where an output has none."""
        return np.where(self.valid, self.value, np.inf)

    def also(self) -> dict[str, Array]:
        """The other readouts, by name."""
        return {}

    def score(self, y: Array) -> Array:
        """Outer loss (B,); y: labels (B,) or targets. Stores dL/dr for the way back."""
        self.y = y
        loss, self.dr = self.loss_of.evaluate(self.value, self.valid, y, self.plan.duration)
        return loss

    def set_slope(self, slope: Array, also: Mapping[str, Array]) -> None:
        """dL/dr (B, K) of a loss in Python, instead of `score`; also: of the other readouts, by name."""
        self.dr = slope

    # backwards

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        """Gradients times `factor` (B,), weight / B, and none for samples without anything to compare with."""
        self.dr = np.where(scored[:, None], self.dr, 0.0) * factor[:, None]
        self.factor = np.where(scored, factor, 0.0)
        if self.adds_up:
            small = (np.abs(self.dr) < SMALLEST_SLOPE) & (self.factor > 0)[:, None]
            self.dr = np.where(small, SMALLEST_SLOPE, self.dr)

    # births of spikes, see docs/spike_birth.md

    @property
    def adds_up(self) -> bool:
        """Whether the outer loss says what L becomes by a spike that is born: it changes readouts by what is known."""
        return self.plan.scores_births and hasattr(self, "y")

    def change_of_loss(self, b: Array, moved: Array, valid: Array | None = None) -> Array:
        """(E,) L with readouts changed by `moved` (E, K) minus L, in samples b (E,)."""
        assert self.factor is not None
        value, there, T = self.value[b], self.valid[b], self.plan.duration
        before = self.loss_of.evaluate(value, there, self.y[b], T)[0]
        after = self.loss_of.evaluate(value + moved, there if valid is None else valid, self.y[b], T)[0]
        return self.factor[b] * (after - before)

    def birth(self, k: int) -> Array | float:
        """(B, K) by how much a spike of each output at step k would change the loss by being read."""
        return 0.0

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        """(B, K) dl_p/dt_k + l(x-) - l(x+) of own spikes at step k, made by event number `event`."""
        return np.zeros((self.s.B, self.plan.output.size))

    def silent_term(self, k: int, event: int, before: Array) -> Array:
        """(B, K) l(x-) - l(x+) of an event at step k that sends no spike."""
        return np.zeros((self.s.B, self.plan.output.size))

    def arrival_term(self, c: DelayGroup, k: int) -> Array | float:
        """(B, M) l(x-) - l(x+), and kinks, of a spike that arrives through c at step k."""
        return 0.0

    def arrival_term_by_synapse(self, c: DelayGroup, k: int) -> Array | float:
        """(B, M, K) the same of every synapse, for connections with a delay a synapse."""
        return 0.0

    def jump_at_step(self, k: int) -> Array | float:
        """(B, K) jump of lambda_V at k dt, before (in reverse time) own spikes."""
        return 0.0

    def jump_at_spike(self, k: int) -> Array | float:
        """(B, K) added to lambda_V right before an own spike at step k."""
        return 0.0

    def end_source(self, k: int) -> Array | float:
        """(B, K) that step k adds to lambda_V at its end, behind the jumps there."""
        return 0.0

    def step_source(self, k: int) -> Array | float:
        """(B, n, K) that step k adds to lambda at its start."""
        return 0.0

    def parameter_term(self, k: int, param: str, x: Array) -> Array | float:
        """(B, K) that step k adds to the gradient of a parameter through the readout itself."""
        return 0.0


def _reads_state(plan: Plan) -> bool:
    return plan.output.derived.model.readout in plan.output.derived.states
