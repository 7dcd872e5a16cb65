"""`reference_clock`: NumPy float64, step for step what every grid engine must do. Clear, not fast.

Step k takes the state at k dt, adds the spikes due at k dt, propagates by dt and tests g >= 0 at (k + 1) dt. A spike
found there has step k + 1, resets there, and reaches its targets there plus delay; one found at step T/dt counts and
has its own jump, but no targets. Backwards, all feedback sums of a step are formed from the adjoint before any jump of
that step. On the grid the slope gdot of a spike is the secant (g_{k+1} - g_k) / dt, positive by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..adjoint.propagator import numeric
from ..errors import EngineError
from ..plan import ConnectionRecord, Plan, PopulationCoefficients, PopulationRecord, coefficients
from ..regularisers import pushed_state
from .base import LINEAR_ONE_EVENT, Data, Engine, Result, Spikes, batch_indices, refuse_jumps_of_the_threshold
from .clock_readout import CLOCK_READOUTS, ClockReadout, Setting


class _Functions:
    """A population's derived expressions as NumPy functions of (states..., params...)."""

    def __init__(self, record: PopulationRecord) -> None:
        d = record.derived
        self.record, self.states = record, d.states
        every = (*d.x, *d.p)
        self.x0, self.dx0_dp = numeric(d.x0, d.p), numeric(d.dx0_dp, d.p)
        self.f = numeric(d.f, every)
        if d.events:
            e = d.events[0]
            self.g, self.h, self.a = numeric([e.g], every), numeric(e.h, every), numeric(e.a, every)
            self.dg_dx, self.dg_dp = numeric(e.dg_dx, every), numeric(e.dg_dp, every)
            self.dh_dx, self.dh_dp = numeric(e.dh_dx, every), numeric(e.dh_dp, every)


@dataclass(eq=False)
class _Trace:
    """What one population did: states after arrivals (T, B, n, N), spikes (T + 1, B, N), states before reset."""

    x: np.ndarray
    spikes: np.ndarray
    before: np.ndarray
    g_before: np.ndarray
    end: np.ndarray
    lam: np.ndarray


class ReferenceClock(Engine):
    """See the module. `record` gives every state and adjoint of a batch."""

    name = "reference_clock"
    cannot = LINEAR_ONE_EVENT

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        if plan.spike_times != "grid":
            raise EngineError("reference_clock runs spike_times='grid' only; use reference_event for exact spike times")
        refuse_jumps_of_the_threshold(plan, self.name)
        self.parameters = {k: np.array(v, dtype=np.float64) for k, v in parameters.items()}
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self._functions = {p.name: _Functions(p) for p in plan.populations}

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        trial = _Trial(self, data, samples)
        scored = data.scored(samples, training=training)
        trial.forward()
        loss = trial.readout.score(data.goals(samples))
        guarded = trial.backward(scored) if training else 0
        return Result(
            loss=np.where(scored, loss, np.nan),
            prediction=self.plan.loss.predict(trial.readout.value, trial.readout.valid, self.plan.duration),
            readout=np.where(trial.readout.valid, trial.readout.value, np.inf),
            spike_counts={p.name: trial.traces[p.name].spikes.sum(0) for p in self.plan.populations if p.spiking},
            guarded=guarded,
            spikes=trial.spikes() if record_spikes else None,
        )

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
            trial.readout.score(data.goals(samples))
            trial.backward(data.scored(samples, training=True))
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

    def __init__(self, engine: ReferenceClock, data: Data, samples: np.ndarray) -> None:
        self.engine, self.plan, self.B = engine, engine.plan, len(samples)
        self.K = self.plan.n_steps
        self.params = {
            p.name: {n: engine.parameters[f"{p.name}.{n}"] for n in p.derived.params} for p in self.plan.populations
        }
        self.coef: dict[str, PopulationCoefficients] = {
            p.name: coefficients(self.plan, p, self.params[p.name]) for p in self.plan.populations
        }
        self.input = np.zeros((self.K + 1, self.B, self.plan.input.size))
        for b, i in enumerate(samples):
            part = slice(data.offsets[i], data.offsets[i + 1])
            np.add.at(self.input[:, b], (data.steps[part], data.channels[part]), 1.0)

    # forwards

    def forward(self) -> None:
        self.traces = {p.name: self._start(p) for p in self.plan.populations}
        out = self.plan.output
        self.readout = self._start_readout(out)
        self.state = {p.name: self._initial(p) for p in self.plan.populations}
        for k in range(self.K):
            self.readout.before_arrivals(k, self.state[out.name])
            for p in self.plan.populations:
                self.state[p.name] = self.state[p.name] + self._arrivals(p, k)
            self.readout.after_arrivals(k, self.state[out.name])
            for p in self.plan.populations:
                self.traces[p.name].x[k] = self.state[p.name]
                self.state[p.name] = self._advance(p, k, self.state[p.name])
        self.readout.before_arrivals(self.K, self.state[out.name])
        self.readout.end(self.state[out.name], self.traces[out.name].spikes)

    def _start(self, p: PopulationRecord) -> _Trace:
        n, shape = len(p.derived.states), (self.K + 1, self.B, p.size)
        full = np.zeros((self.K + 1, self.B, n, p.size))
        return _Trace(full[:-1].copy(), np.zeros(shape, bool), full, np.zeros(shape), np.zeros(shape), np.zeros(0))

    def _initial(self, p: PopulationRecord) -> np.ndarray:
        x0 = self.engine._functions[p.name].x0(*self.params[p.name].values())[..., 0]
        return np.broadcast_to(np.atleast_2d(x0).T, (self.B, len(p.derived.states), p.size)).copy()

    def _arrivals(self, p: PopulationRecord, k: int) -> np.ndarray:
        change = np.zeros((self.B, len(p.derived.states), p.size))
        for c in self.plan.into(p.name):
            if k - c.delay_steps >= 0:
                arrived = self._source_at(c, k - c.delay_steps) @ self.engine.parameters[c.weight]
                change += arrived[:, None, :] * self._vector(p, "direction", c.receptor)
        return change

    def _source_at(self, c: ConnectionRecord, step: int) -> np.ndarray:
        if c.source == self.plan.input.name:
            return self.input[step]
        return self.traces[c.source].spikes[step].astype(np.float64)

    def _vector(self, p: PopulationRecord, kind: str, receptor: str) -> np.ndarray:
        """(n, N or 1) direction e, or the feedback vector -A e, of a receptor."""
        return getattr(self.coef[p.name], kind)[receptor].T

    def _advance(self, p: PopulationRecord, k: int, x: np.ndarray) -> np.ndarray:
        coef, fn, trace = self.coef[p.name], self.engine._functions[p.name], self.traces[p.name]
        new = np.einsum("sij,bjs->bis", coef.P, x) if coef.P.shape[0] > 1 else np.einsum("ij,bjs->bis", coef.P[0], x)
        new = new + coef.c.T
        if not p.spiking:
            return new
        g_before, g = self._at(fn.g, p, x)[..., 0, 0], self._at(fn.g, p, new)[..., 0, 0]
        spiked = g >= 0
        trace.spikes[k + 1], trace.before[k + 1] = spiked, new
        trace.g_before[k + 1], trace.end[k + 1] = g_before, g
        after = np.moveaxis(self._at(fn.h, p, new)[..., 0], -1, 1)
        return np.where(spiked[:, None, :], after, new)

    def _at(self, function: Any, p: PopulationRecord, x: np.ndarray) -> np.ndarray:
        """A function of states and parameters at x (B, n, N): shape (B, N, rows, cols)."""
        return function(*(x[:, i] for i in range(x.shape[1])), *self.params[p.name].values())

    # readout

    def _start_readout(self, p: PopulationRecord) -> ClockReadout:
        fn, v = self.engine._functions[p.name], p.derived.model.readout
        v_index = p.derived.states.index(v) if v in p.derived.states else 0
        setting = Setting(
            plan=self.plan, B=self.B, coef=self.coef[p.name],
            slope=lambda x: self._at(fn.f, p, x)[:, :, v_index, 0],
            after=lambda x: np.moveaxis(self._at(fn.h, p, x)[..., 0], -1, 1) if p.spiking else x,
            arrived=lambda c, k: self._source_at(c, k - c.delay_steps),
            direction=lambda c: np.broadcast_to(self._vector(p, "direction", c.receptor)[v_index], p.size),
            weight=lambda c: self.engine.parameters[c.weight],
            counts=self.input.sum(2),
        )  # fmt: skip
        return CLOCK_READOUTS[self.plan.loss.readout](setting)

    def spikes(self) -> dict[str, Spikes]:
        out = {}
        for p in self.plan.populations:
            if p.spiking:
                b, k, n = np.nonzero(self.traces[p.name].spikes.swapaxes(0, 1))
                out[p.name] = Spikes(b, k * self.plan.dt, n)
        return out

    # backwards

    def backward(self, scored: np.ndarray) -> int:
        """Adjoint of every population from T to 0 of the batch mean; sets `engine.gradients`. Returns guards."""
        output, self.guarded = self.plan.output, 0
        self.readout.scale(1.0 / self.B, scored, self.params[output.name].get("tau_mem"))
        counts = {p.name: self.traces[p.name].spikes.sum(0) for p in self.plan.populations if p.spiking}
        self.jumps = self.engine.spike_jumps(counts)
        self.grad = {k: np.zeros_like(v) for k, v in self.engine.parameters.items()}
        for p in self.plan.populations:
            n = len(p.derived.states)
            self.traces[p.name].lam = np.zeros((self.K + 1, self.B, n, p.size))
        lam = {p.name: np.zeros((self.B, len(p.derived.states), p.size)) for p in self.plan.populations}
        lam[output.name][:, self.readout.v] += self.readout.last
        for k in range(self.K, -1, -1):
            for p in self.plan.populations:
                self.traces[p.name].lam[k] = lam[p.name]
            if k < self.K:
                self._weight_gradients(k)
            feedback = {p.name: self._feedback(p, k) for p in self.plan.populations if p.spiking}
            lam[output.name][:, self.readout.v] += self.readout.sample(k)
            for p in self.plan.populations:
                if p.spiking and k > 0:
                    lam[p.name] = self._jump(p, k, lam[p.name], feedback[p.name])
                if k > 0:
                    lam[p.name] = self._retreat(p, k - 1, lam[p.name])
        for p in self.plan.populations:
            self._initial_gradient(p, lam[p.name])
        self.engine.gradients = {k: self.grad[k] for k in self.plan.trainable}
        return self.guarded

    def _weight_gradients(self, k: int) -> None:
        """Arrivals at step k: dL/dw = lambda . e, lambda the value after the arrival."""
        for c in self.plan.connections:
            s = k - c.delay_steps
            if s < 0:
                continue
            p = self.plan.population(c.target)
            along = (self._lam(p, k) * self._vector(p, "direction", c.receptor)).sum(1)
            self.grad[c.weight] += self._source_at(c, s).T @ along

    def _lam(self, p: PopulationRecord, k: int) -> np.ndarray:
        return self.traces[p.name].lam[k]

    def _feedback(self, p: PopulationRecord, k: int) -> np.ndarray:
        """(B, N) sum of D over everything that a spike at step k causes, D = w lambda_m(s) . (-A e) (+ the kink)."""
        total = np.zeros((self.B, p.size))
        for c in self.plan.out_of(p.name):
            s = k + c.delay_steps
            if s > self.K - 1:
                continue
            target, w = self.plan.population(c.target), self.engine.parameters[c.weight]
            q = (self._lam(target, s) * self._vector(target, "feedback", c.receptor)).sum(1)
            total += q @ w.T
            if c.target == self.plan.output.name:
                total = total + self.readout.arrival(c, s)
        return total

    def _jump(self, p: PopulationRecord, k: int, lam: np.ndarray, feedback: np.ndarray) -> np.ndarray:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot for the neurons that spiked at step k."""
        fn, trace = self.engine._functions[p.name], self.traces[p.name]
        spiked = trace.spikes[k]
        if not spiked.any():
            return lam
        before = trace.before[k]
        dl_dt = feedback
        if p.name == self.plan.output.name:
            dl_dt = dl_dt + self.readout.own(k, before)
        E = dl_dt + (lam * np.moveaxis(self._at(fn.a, p, before)[..., 0], -1, 1)).sum(1)
        gdot = (trace.end[k] - trace.g_before[k]) / self.plan.dt
        self.guarded += int(np.count_nonzero(spiked & ((gdot <= 0) | (gdot < self.engine.slope_floor))))
        gdot = np.maximum(gdot, self.engine.slope_floor)
        rate = np.where(gdot > 0, E / np.where(gdot > 0, gdot, 1.0), 0.0)
        dg_dx = np.moveaxis(self._at(fn.dg_dx, p, before)[..., 0], -1, 1)
        jumped = np.einsum("bsij,bis->bjs", self._at(fn.dh_dx, p, before), lam) - dg_dx * rate[:, None]
        for i, n in enumerate(p.derived.params):
            dh = np.moveaxis(self._at(fn.dh_dp, p, before)[..., i], -1, 1)
            dg = self._at(fn.dg_dp, p, before)[..., i, 0]
            self._add(p, n, np.where(spiked, (lam * dh).sum(1) - dg * rate, 0.0))
        if p.name == self.plan.output.name:
            jumped[:, self.readout.v] += self.readout.at_spike(k)
        if p.name in self.jumps:
            jumped[:, p.derived.states.index(pushed_state(p.derived.model))] += self.jumps[p.name]
        return np.where(spiked[:, None, :], jumped, lam)

    def _retreat(self, p: PopulationRecord, k: int, lam: np.ndarray) -> np.ndarray:
        """From the end to the start of step k: lambda <- P^T lambda + sources, and the parameter integrals."""
        coef, x = self.coef[p.name], self.traces[p.name].x[k]
        read = p.name == self.plan.output.name
        for n in coef.dP:
            rate = np.einsum("bis,sij,bjs->bs", lam, np.broadcast_to(coef.dP[n], (p.size, *coef.P.shape[1:])), x)
            rate = rate + (lam * coef.dc[n].T).sum(1)
            self._add(p, n, rate + self.readout.rate(k, n, x) if read else rate)
        if coef.P.shape[0] > 1:
            lam = np.einsum("sij,bis->bjs", coef.P, lam)
        else:
            lam = np.einsum("ij,bis->bjs", coef.P[0], lam)
        return lam + self.readout.source(k) if read else lam

    def _initial_gradient(self, p: PopulationRecord, lam: np.ndarray) -> None:
        dx0 = self.engine._functions[p.name].dx0_dp(*self.params[p.name].values())
        for i, n in enumerate(p.derived.params):
            self._add(p, n, (lam * np.atleast_2d(dx0[..., i]).T).sum(1))

    def _add(self, p: PopulationRecord, param: str, rate: np.ndarray) -> None:
        """Add (B, N) contributions to the gradient of a parameter of shape (N,) or (1,)."""
        gradient = self.grad[f"{p.name}.{param}"]
        gradient += rate.sum(0) if gradient.shape == (p.size,) else rate.sum()
