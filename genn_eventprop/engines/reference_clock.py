"""`reference_clock`: NumPy float64, step for step what every grid engine must do. Clear, not fast.

Step k takes the state at k dt, adds the spikes due at k dt, propagates by dt and tests g >= 0 at (k + 1) dt. A spike
found there has step k + 1, resets there, and reaches its targets there plus delay; one found at step T/dt counts and
has its own jump, but no targets. Backwards, all feedback sums of a step are formed from the adjoint before any jump of
that step. On the grid the slope gdot of a spike is the secant (g_{k+1} - g_k) / dt, positive by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..plan import ConnectionRecord, InputRecord, Plan, PopulationCoefficients, PopulationRecord, clock, coefficients
from .base import DIVERGED, Availability, Engine, diverged
from .carry import Carry
from .clock_connections import Lane, Links
from .clock_events import Dynamics, EventTrace, Trace, functions
from .clock_readout import ClockReadout, Setting, make_readout
from .dataset import Data, batch_indices
from .refuse import ALL, AMOUNTS, INTEGRALS, READOUTS, along_is_linear
from .result import LossPart, Result, Spikes, summed
from .split import Readouts, spike_numbers
from .tables import copied


class ReferenceClock(Engine):
    """See the module. `record` gives every state and adjoint of a batch."""

    name = "reference_clock"
    rounded: Callable[[np.ndarray], np.ndarray] | None = None
    """What every step does to the states (B, n, N) at its start and end, to see what a number format costs."""
    features = {"grid": ALL - {AMOUNTS, INTEGRALS, READOUTS}}

    @classmethod
    def availability(cls) -> Availability:
        return Availability(cls.name, True, "NumPy float64, spikes on the grid; slow, for checking")

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        self.parameters = copied(plan, parameters, np.float64)
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self._functions = {p.name: functions(p.derived) for p in plan.populations}

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        return self.run_on(data, samples, None, training=training, record_spikes=record_spikes)[0]

    def cannot_carry(self) -> str:
        return ""

    def run_on(
        self, data: Data, samples: Any, carry: Carry | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, Carry]:
        samples = batch_indices(data, samples)
        trial = _Trial(self, data, samples, stochastic=training, start=carry)
        data.scored(samples, training=training)
        trial.forward()
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
        return result, trial.carry()

    splits = True

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, _Trial]:
        samples = batch_indices(data, samples)
        trial = _Trial(self, data, samples, stochastic=stochastic)
        trial.forward()
        read, plan = trial.readouts[self.plan.loss.output], self.plan
        counts = {p.name: trial.traces[p.name].spikes.sum(0) for p in plan.populations if p.spiking}
        spikes = trial.spikes() if record_spikes else None
        return Readouts(read.found(), read.valid, counts, spikes, read.also()), trial

    def _backward_half(self, kept: _Trial, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        kept.readouts[self.plan.loss.output].given(slope, also)
        kept.weight = {self.plan.loss.output: np.ones(kept.B)}
        kept.scored = {self.plan.loss.output: np.ones(kept.B, bool)}
        kept.input_feedback = np.zeros_like(kept.input[:-1])
        kept.backward()
        spikes, data = kept.spike_numbers, kept.data
        return kept.input_feedback[data.steps[spikes], kept.owner, data.channels[spikes]]

    def record(self, data: Data, samples: Any, *, adjoint: bool = True) -> dict[str, dict[str, np.ndarray]]:
        """States and adjoints over time of a batch, e.g. ``record(data, [0])["hidden"]["V"]``.

        Returns:
            population -> state name -> (B, T, N) values at k dt after arrivals, and "lambda_" + state name -> (B, T, N)
            values at the same times, for the mean loss of the batch (only with `adjoint`; the samples need labels).
        """
        samples = batch_indices(data, samples)
        trial = _Trial(self, data, samples)
        trial.forward()
        if adjoint:
            saved = {k: v.copy() for k, v in self.gradients.items()}
            data.scored(samples, training=True)
            trial.score()
            trial.backward()
            self.gradients = saved
        out: dict[str, dict[str, np.ndarray]] = {}
        for p in self.plan.populations:
            trace = trial.traces[p.name]
            out[p.name] = {s: trace.x[:, :, i].swapaxes(0, 1) for i, s in enumerate(p.derived.states)}
            if adjoint:
                out[p.name] |= {
                    f"lambda_{s}": trace.lam[:-1, :, i].swapaxes(0, 1) for i, s in enumerate(p.derived.states)
                }
        return out


class _Trial:
    """One batch, forwards and backwards. Arrays of a population have shape (B, n, N): samples, states, neurons."""

    def __init__(
        self, engine: ReferenceClock, data: Data, samples: np.ndarray, *, stochastic: bool = False,
        start: Carry | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.plan, self.B, self.samples = engine, engine.plan, len(samples), data.numbers_of(samples)
        self.indices = samples
        self.data = data
        self.weight = {loss.output: loss.factor * data.sample_weight(samples) for loss in self.plan.losses}
        self.spike_numbers, self.owner = spike_numbers(data, samples)
        self.input_feedback: np.ndarray | None = None  # (T, B, M) D of input spikes at every step, if asked for
        self.K, self.links = self.plan.n_steps, Links(self.plan, engine.parameters)
        self.params = {
            p.name: {n: engine.parameters[f"{p.name}.{n}"] for n in p.derived.params} for p in self.plan.populations
        }
        self.coef: dict[str, PopulationCoefficients] = {
            p.name: coefficients(self.plan, p, self.params[p.name]) for p in self.plan.populations
        }
        self.populations = {
            p.name: Dynamics(p, engine._functions[p.name], self.params[p.name], self.plan.dt, self.K, self.B)
            for p in self.plan.populations
        }
        for pop in self.populations.values():
            pop.rounded = engine.rounded or pop.rounded
        for (kind, name), key in engine.stochastic_keys(data, samples).items() if stochastic else ():
            self.populations[name].stochastic_keys[kind] = key
        self.traces: dict[str, Trace] = {name: pop.trace for name, pop in self.populations.items()}
        self.input = np.zeros((self.K + 1, self.B, self.plan.input.size))
        for b, i in enumerate(samples):
            part = slice(data.offsets[i], data.offsets[i + 1])
            np.add.at(self.input[:, b], (data.steps[part], data.channels[part]), 1.0)
        self.start = start
        if start is not None:
            for name, pop in self.populations.items():
                pop.x, pop.mode = start.states[name].copy(), start.modes[name].copy()
                pop.until = start.until[name].copy()

    # from trial to trial

    def carry(self) -> Carry:
        """How the trials end."""
        pops = self.populations.items()
        until = {name: np.where(pop.until < 0, -1, pop.until - self.K) for name, pop in pops}
        modes = {name: pop.mode for name, pop in pops}
        sources = [self.plan.input.name, *(p.name for p in self.plan.populations if p.spiking)]
        D = max((self._longest(c) for c in self.plan.connections), default=0)
        rows = range(self.K - D, self.K + 1)
        sent = {name: np.stack([self._sent(name, k) for k in rows]) for name in sources}
        return Carry({name: pop.x for name, pop in pops}, modes, until, sent)

    def _longest(self, c: ConnectionRecord) -> int:
        """Steps of the longest delay that a connection may come to have."""
        return c.delay_steps if c.delays is None else int(clock.to_steps(c.delays.limit, self.plan.dt))

    def _sent(self, source: str, step: int) -> np.ndarray:
        """(B, M) spikes of a source at a step, those of the trial before at steps that are not positive."""
        own = self.input if source == self.plan.input.name else self.traces[source].spikes
        if step > 0 or (step == 0 and own is self.input):
            return own[step].astype(np.float64)
        before = None if self.start is None else self.start.sent[source]
        place = -1 if before is None else len(before) - 1 + step
        return np.zeros(own.shape[1:]) if before is None or place < 0 else before[place]

    # forwards

    def forward(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error of `_check`
            self._forward()

    def _forward(self) -> None:
        self.readouts = {loss.output: self._start_readout(loss.output) for loss in self.plan.losses}
        for k in range(self.K):
            for pop in self.populations.values():
                pop.end_modes(k)
            for name, readout in self.readouts.items():
                readout.before_arrivals(k, self.populations[name].x)
            for p in self.plan.populations:
                self.populations[p.name].x = self.populations[p.name].x + self._arrivals(p, k)
            for name, readout in self.readouts.items():
                readout.after_arrivals(k, self.populations[name].x)
            for p in self.plan.populations:
                self.populations[p.name].advance(k)
                self._check(p, k + 1)
        for name, readout in self.readouts.items():
            readout.before_arrivals(self.K, self.populations[name].x)
            readout.end(self.populations[name].x, self.traces[name].spikes)

    def score(self) -> dict[str, LossPart]:
        """What every loss says, by the population that it reads."""
        parts, self.scored = {}, dict[str, np.ndarray]()
        for loss in self.plan.losses:
            data, read, T = self.data.seen_by(loss), self.readouts[loss.output], self.plan.duration
            self.scored[loss.output] = data.scored(self.indices)
            value = np.where(self.scored[loss.output], read.score(data.targets_of(self.indices)), np.nan)
            shown = np.where(read.valid, read.value, np.inf)
            parts[loss.output] = LossPart(value, loss.predict(read.value, read.valid, T), shown)
        return parts

    def _check(self, p: PopulationRecord, step: int) -> None:
        """Raise `EngineError` for a state that is not finite, now or right before an event."""
        pop = self.populations[p.name]
        bad = ~(np.abs(pop.x) <= DIVERGED)
        v = p.derived.states.index(p.noisy_state)
        for seen in pop.trace.events:
            bad[:, v] |= seen.fired[step] & ~(seen.slope[step] * self.plan.dt <= DIVERGED)
        if bad.any():
            b, state, neuron = (int(i[0]) for i in np.nonzero(bad))
            raise diverged(self.plan, p, int(self.samples[b]), step, state, neuron)

    def _arrivals(self, p: PopulationRecord, k: int) -> np.ndarray:
        change = np.zeros((self.B, len(p.derived.states), p.size))
        for c in self.links.into(p.name):
            arrived = self._source_at(c, k - c.delay_steps) @ c.weight
            change += arrived[:, None, :] * self._vector(p, "direction", c.receptor)
        return change

    def _source_at(self, c: Lane, step: int) -> np.ndarray:
        sent = self._sent(c.source, step)
        return sent if c.record.channels is None else sent[:, slice(*c.record.channels)]

    def _vector(self, p: PopulationRecord, kind: str, receptor: str) -> np.ndarray:
        """(n, N or 1) direction e of a receptor."""
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
            after=lambda x: pop.vector(pop.functions.events[0]["h"], x) if p.spiking else x,
            arrived=lambda c, k: self._source_at(c, k - c.delay_steps),
            direction=lambda c: np.broadcast_to(self._vector(p, "direction", c.receptor)[v_index], p.size),
            into=self.links.into,
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

    # backwards

    def backward(self) -> int:
        """Adjoint of every population from T to 0 of the batch mean; sets `engine.gradients`. Returns guards."""
        self.guarded = 0
        for loss in self.plan.losses:
            tau = self.params[loss.output].get("tau_mem")
            self.readouts[loss.output].scale(self.weight[loss.output], self.scored[loss.output], tau)
        counts = {p.name: self.traces[p.name].spikes.sum(0) for p in self.plan.populations if p.spiking}
        self.jumps = self.engine.spike_jumps(counts)
        self.grad = {k: np.zeros(v.shape) for k, v in self.engine.parameters.items()}
        for p in self.plan.populations:
            n = len(p.derived.states)
            self.traces[p.name].lam = np.zeros((self.K + 1, self.B, n, p.size))
        lam = {p.name: np.zeros((self.B, len(p.derived.states), p.size)) for p in self.plan.populations}
        self.pending = {p.name: np.zeros((self.B, p.size)) for p in self.plan.populations}
        self.undivided = {p.name: np.zeros((self.K, self.B, p.size)) for p in self.plan.populations}
        for name, readout in self.readouts.items():
            lam[name][:, readout.v] += readout.last
        for k in range(self.K, -1, -1):
            for p in self.plan.populations:
                self.traces[p.name].lam[k] = lam[p.name]
            if k < self.K:
                self._weight_gradients(k)
            feedback = {p.name: self._feedback(p, k) for p in self.plan.populations if p.derived.events}
            self._feedback_of_inputs(k)
            for name, readout in self.readouts.items():
                lam[name][:, readout.v] += readout.sample(k)
            for p in self.plan.populations:
                if k < self.K:
                    self._end_of_mode(p, k, lam[p.name])
                if k > 0:
                    lam[p.name] = self._jumps(p, k, lam[p.name], feedback.get(p.name))
                    lam[p.name] = self._retreat(p, k - 1, lam[p.name])
        for p in self.plan.populations if self.start is None else ():
            self._initial_gradient(p, lam[p.name])
        self.engine.gradients = {k: self.grad[k] for k in self.plan.trainable}
        return self.guarded

    def _weight_gradients(self, k: int) -> None:
        """Arrivals at step k: dL/dw = lambda . e, lambda the value after the arrival."""
        for c in self.links.lanes:
            p = self.plan.population(c.target)
            along = (self._lam(p, k) * self._vector(p, "direction", c.receptor)).sum(1)
            c.add_to_weights(self.grad, self._source_at(c, k - c.delay_steps).T @ along)

    def _lam(self, p: PopulationRecord, k: int) -> np.ndarray:
        return self.traces[p.name].lam[k]

    def _feedback_of_inputs(self, k: int) -> None:
        """D of the input's spikes, where somebody asks: for their times, or the delays behind them."""
        learned = any(c.learned for c in self.links.out_of(self.plan.input.name))
        if k < self.K and (self.input_feedback is not None or learned):
            feedback = self._feedback(self.plan.input, k)
            if self.input_feedback is not None:
                self.input_feedback[k] = feedback

    def _feedback(self, p: PopulationRecord | InputRecord, k: int) -> np.ndarray:
        """(B, N) sum of D over everything that a spike at step k causes, D = w lambda_m(s) . (-A e) (+ the kink)."""
        total = np.zeros((self.B, p.size))
        for c in self.links.out_of(p.name):
            s = k + c.delay_steps
            if s > self.K - 1:
                continue
            D = self._difference(c, s) + self._pushes(c, s)
            if c.target in self.readouts:
                D = D + self.readouts[c.target].arrival(c, s)
            total[:, slice(*(c.record.channels or (None,)))] += D
            if c.learned:
                self._delay_gradients(c, k, D)
        return total

    def _delay_gradients(self, c: Lane, k: int, D: np.ndarray) -> None:
        """dL/dd = D of the spikes of step k, on the step of their arrival; D (B, M): over all targets of a spike."""
        sent, s = self._source_at(c, k), k + c.delay_steps
        if c.axonal:
            c.add_to_delays(self.grad, (sent * D).sum(0))
            return
        each = self._difference_each(c, s) + self._share_of_pushes(c, s)[:, None] * np.maximum(c.weight, 0.0)
        if c.target in self.readouts:
            each = each + self.readouts[c.target].arrival_each(c, s)
        c.add_to_delays(self.grad, np.einsum("bm,bmn->mn", sent, each))

    def _difference(self, c: Lane, s: int) -> np.ndarray:
        """(B, M) sum over targets of D = lambda . (f(x - w e) - f(x)), x after the arrivals of step s."""
        target = self.plan.population(c.target)
        if along_is_linear(target.derived, c.receptor):
            return self._along(c, s) @ c.weight.T
        return self._difference_each(c, s).sum(2)

    def _difference_each(self, c: Lane, s: int) -> np.ndarray:
        """(B, M, N) the same, of every target."""
        target, pop = self.plan.population(c.target), self.populations[c.target]
        if along_is_linear(target.derived, c.receptor):
            return self._along(c, s)[:, None] * c.weight
        x, mode, lam = pop.trace.x[s], pop.trace.modes[s], self._lam(target, s)
        e = np.broadcast_to(self._vector(target, "direction", c.receptor), x.shape[1:])
        after = pop.f(x, mode)
        return np.stack([(lam * (pop.f(x - row * e, mode) - after)).sum(1) for row in c.weight], axis=1)

    def _along(self, c: Lane, s: int) -> np.ndarray:
        """(B, N) D of a unit weight where the dynamics are linear along e: -lambda . J e."""
        target, pop = self.plan.population(c.target), self.populations[c.target]
        x = pop.trace.x[s]
        e = np.broadcast_to(self._vector(target, "direction", c.receptor), x.shape[1:])
        return -np.einsum("bnij,jn,bin->bn", pop.J(x, pop.trace.modes[s]), e, self._lam(target, s))

    def _pushes(self, c: Lane, s: int) -> np.ndarray:
        """(B, M) E of events that the arrivals of step s caused by themselves, shared in proportion to their push."""
        return self._share_of_pushes(c, s) @ np.maximum(c.weight, 0.0).T

    def _share_of_pushes(self, c: Lane, s: int) -> np.ndarray:
        """(B, N) the same, of a unit weight."""
        E = self.undivided[c.target][s]
        total = np.zeros_like(E)
        for other in self.links.into(c.target) if E.any() else ():
            weight = np.maximum(other.weight, 0.0)
            total += self._source_at(other, s - other.delay_steps) @ weight * self._up(other, s)
        share = np.where(total > 0, E / np.where(total > 0, total, 1.0), 0.0)
        return share * self._up(c, s) if E.any() else share

    def _up(self, c: Lane, s: int) -> np.ndarray:
        """(B, N) how much a unit weight of the connection adds to the first threshold that it moves."""
        pop = self.populations[c.target]
        e = self._vector(self.plan.population(c.target), "direction", c.receptor)
        moves = [(pop.vector(fn["dg_dx"], pop.trace.x[s]) * e).sum(1) for fn in pop.functions.events]
        return next((np.maximum(m, 0.0) for m in moves if m.any()), np.zeros((self.B, 1)))

    def _end_of_mode(self, p: PopulationRecord, k: int, lam: np.ndarray) -> None:
        """D of a mode's end: dL/d(duration), and a term of the event that began the mode."""
        pop = self.populations[p.name]
        D = pop.end_of_mode(k, lam)
        if D is None:
            return
        self.pending[p.name] += D
        for m, mode in enumerate(p.derived.modes):
            if mode.lasts is not None:
                self._add(p, mode.lasts, np.where(pop.trace.ended[k] == m, D, 0.0))

    def _jumps(self, p: PopulationRecord, k: int, lam: np.ndarray, feedback: np.ndarray | None) -> np.ndarray:
        """The events of step k, last to first."""
        for i in reversed(range(len(p.derived.events))):
            if self.traces[p.name].events[i].fired[k].any():
                assert feedback is not None
                lam = self._jump(p, i, k, lam, feedback)
        return lam

    def _jump(self, p: PopulationRecord, i: int, k: int, lam: np.ndarray, feedback: np.ndarray) -> np.ndarray:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot for the neurons that had event i at step k."""
        event, pop = p.derived.events[i], self.populations[p.name]
        fn, seen = pop.functions.events[i], pop.trace.events[i]
        fired, before = seen.fired[k], seen.before[k]
        sent = pop.trace.spikes[k] if event.emits else np.zeros_like(fired)
        dl_dt = np.where(sent, feedback, 0.0)
        if event.next_mode is not None and p.derived.modes[event.next_mode].lasts:
            dl_dt = dl_dt + self.pending[p.name]
            self.pending[p.name] = np.where(fired, 0.0, self.pending[p.name])
        if p.name in self.readouts:
            dl_dt = dl_dt + self.readouts[p.name].own(k, before)
        E = dl_dt + (lam * pop.jump_coefficient(i, k)).sum(1)
        rate = self._rate(p, k, E, fired, seen)
        dg_dx = pop.vector(fn["dg_dx"], before)
        jumped = np.einsum("bsij,bis->bjs", pop.at(fn["dh_dx"], before), lam) - dg_dx * rate[:, None]
        dh_dp, dg_dp = pop.at(fn["dh_dp"], before), pop.at(fn["dg_dp"], before)
        for j, n in enumerate(p.derived.params):
            dh = np.moveaxis(dh_dp[..., j], -1, 1)
            self._add(p, n, np.where(fired, (lam * dh).sum(1) - dg_dp[..., j, 0] * rate, 0.0))
        if p.name in self.readouts and event.emits:
            jumped[:, self.readouts[p.name].v] += self.readouts[p.name].at_spike(k)
        if p.name in self.jumps and event.emits:
            jumped[:, p.derived.states.index(p.noisy_state)] += np.where(sent, self.jumps[p.name], 0.0)
        return np.where(fired[:, None, :], jumped, lam)

    def _rate(self, p: PopulationRecord, k: int, E: np.ndarray, fired: np.ndarray, seen: EventTrace) -> np.ndarray:
        """E / gdot; 0 where arrivals alone put the neuron across: there E goes to them, undivided."""
        pushed = fired & seen.pushed[k]
        self.undivided[p.name][k - 1] += np.where(pushed, E, 0.0)
        gdot = seen.slope[k]
        self.guarded += int(np.count_nonzero(fired & ~pushed & ((gdot <= 0) | (gdot < self.engine.slope_floor))))
        gdot = np.maximum(gdot, self.engine.slope_floor)
        return np.where((gdot > 0) & ~pushed, E / np.where(gdot > 0, gdot, 1.0), 0.0)

    def _retreat(self, p: PopulationRecord, k: int, lam: np.ndarray) -> np.ndarray:
        """From the end to the start of step k: the transposed step, sources, and the parameter integrals."""
        read = self.readouts.get(p.name)
        back, rates = self.populations[p.name].retreat(k, lam)
        for n, rate in rates.items():
            self._add(p, n, rate + read.rate(k, n, self.traces[p.name].x[k]) if read else rate)
        return back + read.source(k) if read else back

    def _initial_gradient(self, p: PopulationRecord, lam: np.ndarray) -> None:
        dx0 = self.engine._functions[p.name].dx0_dp(*self.params[p.name].values())
        for i, n in enumerate(p.derived.params):
            self._add(p, n, (lam * np.atleast_2d(dx0[..., i]).T).sum(1))

    def _add(self, p: PopulationRecord, param: str, rate: np.ndarray) -> None:
        """Add (B, N) contributions to the gradient of a parameter of shape (N,) or (1,)."""
        gradient = self.grad[f"{p.name}.{param}"]
        gradient += rate.sum(0) if gradient.shape == (p.size,) else rate.sum()
