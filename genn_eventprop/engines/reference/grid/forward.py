"""A batch of `reference_clock` forwards: arrivals, steps and events of every population, and what the losses read.

The order of a step is part of the definition of the grid (docs/equations.md, section 6); every grid engine keeps it.

Axis letters: B samples, n states, N neurons, M neurons of a source, K steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from ....adjoint.birth import rest_distance
from ....adjoint.propagator import numeric
from ....plan import ConnectionRecord, Plan, PopulationCoefficients, PopulationRecord, clock, coefficients
from ...contract.currents import CurrentBatch
from ...contract.data import Data
from ...contract.engine import DIVERGED, Engine, diverged
from ...contract.parameters import Tables
from ...contract.result import LossPart, Spikes
from ...contract.split import spike_numbers
from ...contract.state import TrialState
from .births import Candidates
from .connections import Connections, DelayGroup
from .events import Dynamics, Functions, Trace
from .readouts import ClockReadout, Setting, make_readout
from .step import Step


class Forward:
    """One batch. Arrays of a population have shape (B, n, N): samples, states, neurons.

    Args:
        engine: for its parameters and settings. equations: of every population. samples: (B,) indices into `data`.
        stochastic: with noise and dropout. start: state from which the trials go on. rounded: see `ReferenceClock`.
    """

    def __init__(
        self, engine: Engine, equations: Mapping[str, Functions], data: Data, samples: np.ndarray, *,
        stochastic: bool = False, start: TrialState | None = None,
        rounded: Callable[[np.ndarray], np.ndarray] | None = None,
        threshold_noise: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {},
    ) -> None:  # fmt: skip
        self.engine, self.equations = engine, equations
        self.plan, self.B, self.data, self.samples = engine.plan, len(samples), data, samples
        self.weight = {loss.output: loss.factor * data.sample_weight(samples) for loss in self.plan.losses}
        self.spike_numbers, self.spike_sample = spike_numbers(data.offsets, samples)
        self.input_feedback: np.ndarray | None = None  # (T, B, M) D of input spikes at every step, if asked for
        self.K, self.connections = self.plan.n_steps, Connections(self.plan, engine.parameters)
        self.params = {
            p.name: {n: engine.parameters[f"{p.name}.{n}"] for n in p.derived.params} for p in self.plan.populations
        }
        self.coef: dict[str, PopulationCoefficients] = {}
        self.populations: dict[str, Dynamics] = {}
        for p in self.plan.populations:
            values = self.params[p.name]
            self.coef[p.name], steps = _of_parameters(
                self.plan, p, tuple((n, v.shape, v.tobytes()) for n, v in values.items())
            )
            self.populations[p.name] = Dynamics(p, equations[p.name], values, steps, self.plan.dt, self.K, self.B)
        for name, pop in self.populations.items():
            pop.rounded = rounded or pop.rounded
            if self.plan.births(name):
                noise = threshold_noise.get(name)
                width = self._noise_of_threshold(pop, noise)
                pop.candidates = Candidates(width, self.K, self.B, pop.record.size, noise)
        for (kind, name), key in engine.stochastic_keys(data, samples).items() if stochastic else ():
            self.populations[name].stochastic_keys[kind] = key
        self.traces: dict[str, Trace] = {name: pop.trace for name, pop in self.populations.items()}
        self.currents = CurrentBatch(
            self.plan, engine.parameters, Tables(self.plan), data, samples, np.dtype(np.float64)
        )
        self.input = self._input()
        self.start = start
        if start is not None:
            for name, pop in self.populations.items():
                pop.x, pop.mode = start.states[name].copy(), start.modes[name].copy()
                pop.until = start.until[name].copy()

    def _noise_of_threshold(self, pop: Dynamics, noise: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
        """(N,) or (1,): s of `adjoint.birth`, of the means of thresholds."""
        d = pop.record.derived
        distance = numeric([rest_distance(d)], d.p)(*self.params[pop.record.name].values())
        drawn = 0.0 if noise is None else noise(pop.x[:1])[0]  # in the initial state
        return self.plan.spike_birth * (np.reshape(distance, -1) - drawn)

    def _input(self) -> np.ndarray:
        """(K + 1, B, M) input spikes of every step."""
        spikes, data = np.zeros((self.K + 1, self.B, self.plan.input.size)), self.data
        for b, i in enumerate(self.samples):
            part = slice(data.offsets[i], data.offsets[i + 1])
            np.add.at(spikes[:, b], (data.steps[part], data.channels[part]), 1.0)
        return spikes

    # from trial to trial

    def end_state(self) -> TrialState:
        """How the trials end, for those that continue them."""
        pops = self.populations.items()
        until = {name: np.where(pop.until < 0, -1, pop.until - self.K) for name, pop in pops}
        modes = {name: pop.mode for name, pop in pops}
        sources = [self.plan.input.name, *(p.name for p in self.plan.populations if p.spiking)]
        D = max((self._longest(c) for c in self.plan.connections), default=0)
        rows = range(self.K - D, self.K + 1)
        sent = {name: np.stack([self._spikes_at(name, k) for k in rows]) for name in sources}
        return TrialState({name: pop.x for name, pop in pops}, modes, until, sent)

    def _longest(self, c: ConnectionRecord) -> int:
        """Steps of the longest delay that a connection may come to have."""
        return c.delay_steps if c.delays is None else int(clock.to_steps(c.delays.limit, self.plan.dt))

    def _spikes_at(self, source: str, step: int) -> np.ndarray:
        """(B, M) spikes of a source at a step; at steps before the trial those of the state that it goes on from.

        Neurons spike at steps 1 .. K, inputs at 0 .. K - 1. So step 0 of a neuron is step K of the trial before.
        """
        spikes = self.input if source == self.plan.input.name else self.traces[source].spikes
        if step > 0 or (step == 0 and spikes is self.input):
            return spikes[step].astype(np.float64)
        before = None if self.start is None else self.start.sent[source]
        place = -1 if before is None else len(before) - 1 + step
        return np.zeros(spikes.shape[1:]) if before is None or place < 0 else before[place]

    # forwards

    def forward(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error of `_check`
            self._forward()

    def _forward(self) -> None:
        self.readouts = {loss.output: self._start_readout(loss.output) for loss in self.plan.losses}
        for k in range(self.K):
            # Modes end before the arrivals of their last step, so that these meet the field that follows. All arrivals
            # of a step are added before any population advances: spikes found in this step arrive in the next at the
            # earliest, whatever the order of populations.
            for pop in self.populations.values():
                pop.end_modes(k)
            # V(k dt) is read before the arrivals: they change the slope of a continuous V, not its value
            for name, readout in self.readouts.items():
                readout.before_arrivals(k, self.populations[name].x)
            for p in self.plan.populations:
                self._set_drives(p, k)
                self.populations[p.name].arrive(self._arrivals(p, k))
            for name, readout in self.readouts.items():
                readout.after_arrivals(k, self.populations[name].x)
            for p in self.plan.populations:
                self.populations[p.name].advance(k)
                self._check(p, k + 1)
            for name, readout in self.readouts.items():
                readout.after_step(k, self.populations[name].step_end)
        # at T: no arrivals any more, but V(T) is a candidate for a maximum and a sample of a trace
        for name, readout in self.readouts.items():
            readout.before_arrivals(self.K, self.populations[name].x)
            readout.end(self.populations[name].x, self.traces[name].spikes)

    def score(self) -> dict[str, LossPart]:
        """Every loss on the batch, by the population that it reads."""
        parts, self.scored = {}, dict[str, np.ndarray]()
        for loss in self.plan.losses:
            data, read, T = self.data.for_loss(loss), self.readouts[loss.output], self.plan.duration
            self.scored[loss.output] = data.scored(self.samples)
            value = np.where(self.scored[loss.output], read.score(data.targets_of(self.samples)), np.nan)
            shown = np.where(read.valid, read.value, np.inf)
            parts[loss.output] = LossPart(value, loss.predict(read.value, read.valid, T), shown)
        return parts

    def _check(self, p: PopulationRecord, step: int) -> None:
        """Raise `EngineError` for a state that is not finite, now or right before an event."""
        pop = self.populations[p.name]
        bad = ~(np.abs(pop.x) <= DIVERGED)
        v = p.derived.states.index(p.noisy_state)
        # a state that diverged and was reset within the step shows in the secant slope of its event only
        for event in (e for e in pop.trace.events if e.fired[step].any()):
            bad[:, v] |= event.fired[step] & ~(event.slope[step] * self.plan.dt <= DIVERGED)
        if bad.any():
            b, state, neuron = (int(i[0]) for i in np.nonzero(bad))
            raise diverged(self.plan, p, int(self.data.numbers_of(self.samples)[b]), step, state, neuron)

    def _set_drives(self, p: PopulationRecord, k: int) -> None:
        """The states that stand for currents take the mean over step k: their slope states stay 0."""
        for receptor, (state, _) in p.drives.items():
            drive = self.currents.means[p.name, receptor][:, k]
            self.populations[p.name].x[:, p.derived.states.index(state)] = drive

    def _arrivals(self, p: PopulationRecord, k: int) -> np.ndarray:
        """(B, n, N) sum of w e over the spikes that arrive at step k."""
        change = np.zeros((self.B, len(p.derived.states), p.size))
        for c in self.connections.into(p.name):
            arrived = self._source_spikes(c, k - c.delay_steps) @ c.weight
            change += arrived[:, None, :] * self._vector(p, "direction", c.receptor)
        return change

    def _source_spikes(self, c: DelayGroup, step: int) -> np.ndarray:
        """(B, M) spikes that a connection sends off at a step; of an input those of the connection's channels."""
        spikes = self._spikes_at(c.source, step)
        return spikes if c.record.channels is None else spikes[:, slice(*c.record.channels)]

    def _vector(self, p: PopulationRecord, kind: str, receptor: str) -> np.ndarray:
        """(n, N or 1) of a receptor; kind "direction": e, by which an arrival of unit weight moves the state."""
        return getattr(self.coef[p.name], kind)[receptor].T

    # readout

    def _start_readout(self, population: str) -> ClockReadout:
        plan = self.plan.read_at(population)
        p, pop = plan.output, self.populations[population]
        v = p.derived.model.readout
        v_index = p.derived.states.index(v) if v in p.derived.states else 0
        setting = Setting(
            plan=plan, B=self.B, coef=self.coef[p.name],
            slope=lambda x: pop.f(x, pop.mode)[:, v_index],
            after=lambda event, x: pop.vector(pop.functions.events[event]["h"], x),
            arrived=lambda c, k: self._source_spikes(c, k - c.delay_steps),
            direction=lambda c: np.broadcast_to(self._vector(p, "direction", c.receptor)[v_index], p.size),
            into=self.connections.into,
            counts=self.input.sum(2),
        )  # fmt: skip
        return make_readout(setting)

    def spikes(self) -> dict[str, Spikes]:
        out = {}
        for p in self.plan.populations:
            if p.spiking:
                b, k, n = np.nonzero(self.traces[p.name].spikes.swapaxes(0, 1))
                out[p.name] = Spikes(b, k * self.plan.dt, n)
        return out


@lru_cache(maxsize=32)
def _of_parameters(
    plan: Plan, p: PopulationRecord, values: tuple[tuple[str, tuple[int, ...], bytes], ...]
) -> tuple[PopulationCoefficients, list[Step]]:
    """Coefficients and a step of each mode. They are kept: differences change one population at a time."""
    arrays = {name: np.frombuffer(content).reshape(shape) for name, shape, content in values}
    return coefficients(plan, p, arrays), [Step(p, m, arrays, plan.dt) for m in range(len(p.derived.modes))]
