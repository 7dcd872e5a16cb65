"""`reference_clock`: NumPy float64, step for step what every grid engine must do. Clear, not fast.

Step k takes the state at k dt, adds the spikes due at k dt, propagates by dt and tests g >= 0 at (k + 1) dt. A spike
that crosses there has step k + 1, resets there, and reaches its targets there plus delay; one at step T/dt counts and
has its jump, but no targets. Backwards, all feedback sums of a step are formed from the adjoint before any jump of
that step. On the grid the slope gdot of a spike is the secant (g_{k+1} - g_k) / dt, positive by construction.

Parts: `forward.py`, `backward.py`, `events.py` (dynamics and events of a population), `step.py`, `connections.py`,
`readouts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ....errors import EngineError
from ....plan import Plan
from ...contract.currents import why_not_carried
from ...contract.data import Data
from ...contract.engine import Availability, Engine
from ...contract.features import ALL, PROGRAM_READOUTS
from ...contract.parameters import copied
from ...contract.result import Result, summed
from ...contract.split import Readouts
from ...contract.state import TrialState
from .backward import Trial
from .events import functions


class ReferenceClock(Engine):
    """See the module. `record` gives every state and adjoint of a batch."""

    name = "reference_clock"
    generates = False
    rounded: Callable[[np.ndarray], np.ndarray] | None = None
    """What every step does to the states (B, n, N) at its start and end, to see what a number format costs."""
    threshold_noise: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {}
    """Where thresholds are drawn: population -> function of states (B, n, N), by how much they lie above their means.

    Then the hazards of spikes that are not born are those of the means, and gradients average to that of the expected
    loss (benchmarks/spike_birth.py)."""
    features = {"grid": ALL - {PROGRAM_READOUTS}}

    @classmethod
    def availability(cls) -> Availability:
        return Availability(cls.name, True, "NumPy float64, spikes on the grid; slow, for checking")

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        self.parameters = copied(plan, parameters, np.float64)
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self._equations = {p.name: functions(p.derived) for p in plan.populations}

    def _trial(
        self, data: Data, samples: np.ndarray, stochastic: bool = False, start: TrialState | None = None
    ) -> Trial:
        return Trial(
            self, self._equations, data, samples, stochastic=stochastic, start=start, rounded=self.rounded,
            threshold_noise=self.threshold_noise,
        )  # fmt: skip

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        return self._run(data, samples, None, training, record_spikes)[0]

    def why_stateless(self) -> str:
        return why_not_carried(self.plan)

    def run_from(
        self, data: Data, samples: Any, state: TrialState | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, TrialState]:
        if why := self.why_stateless():
            raise EngineError(why)
        return self._run(data, samples, state, training, record_spikes)

    def _run(
        self, data: Data, samples: Any, state: TrialState | None, training: bool, record_spikes: bool
    ) -> tuple[Result, TrialState]:
        samples = self.batch(data, samples)
        trial = self._trial(data, samples, training, state)
        data.scored(samples, training=training)
        trial.forward()
        with self.lock.running_loss():
            parts = trial.score()
        main = parts[self.plan.loss.output]
        guarded = trial.backward() if training else 0
        result = Result(
            loss=summed(self.plan, parts), prediction=main.prediction, readout=main.readout,
            spike_counts={p.name: trial.traces[p.name].spikes.sum(0) for p in self.plan.populations if p.spiking},
            guarded=guarded,
            spikes=trial.spikes() if record_spikes else None,
            parts=parts if self.plan.auxiliary else {},
        )  # fmt: skip
        return result, trial.end_state()

    splits = True

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Trial]:
        samples = self.batch(data, samples)
        trial = self._trial(data, samples, stochastic)
        trial.forward()
        read, plan = trial.readouts[self.plan.loss.output], self.plan
        counts = {p.name: trial.traces[p.name].spikes.sum(0) for p in plan.populations if p.spiking}
        spikes = trial.spikes() if record_spikes else None
        return Readouts(read.readout(), read.valid, counts, spikes, read.also()), trial

    def _backward_half(self, trial: Trial, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        trial.readouts[self.plan.loss.output].set_slope(slope, also)
        # dL/dr is of the whole loss already: no weight of a sample, no 1/B, and every sample counts
        trial.weight = {self.plan.loss.output: np.ones(trial.B)}
        trial.scored = {self.plan.loss.output: np.ones(trial.B, bool)}
        trial.input_feedback = np.zeros_like(trial.input[:-1])
        trial.backward()
        spikes, data = trial.spike_numbers, trial.data
        # spikes of one channel in one step are one event on the grid: each of them has the D of that step
        return trial.input_feedback[data.steps[spikes], trial.spike_sample, data.channels[spikes]]

    records = True

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        trial = self._trial(data, samples)
        trial.forward()
        if adjoint:
            # the way back is run for the adjoint alone: gradients of the last training run stay
            saved = {k: v.copy() for k, v in self.gradients.items()}
            with self.lock.running_loss():
                trial.score()
            trial.backward()
            self.gradients = saved
        # (T, B, n, N) each
        rows = {n: [t.x, t.lam[:-1]] if adjoint else [t.x] for n, t in trial.traces.items()}
        return {name: np.concatenate(parts, axis=2).swapaxes(0, 1) for name, parts in rows.items()}
