"""`reference_clock`: NumPy float64, step for step what every grid engine must do. Clear, not fast.

Step k takes the state at k dt, adds the spikes due at k dt, propagates by dt and tests g >= 0 at (k + 1) dt. A spike
found there has step k + 1, resets there, and reaches its targets there plus delay; one found at step T/dt counts and
has its own jump, but no targets. Backwards, all feedback sums of a step are formed from the adjoint before any jump of
that step. On the grid the slope gdot of a spike is the secant (g_{k+1} - g_k) / dt, positive by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..adjoint.propagator import numeric
from ..errors import EngineError
from ..plan import ConnectionRecord, Plan, PopulationCoefficients, PopulationRecord, coefficients
from ..plan.coefficients import weight_coefficients
from .base import LINEAR_ONE_EVENT, Data, Engine, Result, Spikes, batch_indices, refuse_jumps_of_the_threshold


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


@dataclass(eq=False)
class _Readout:
    """Readouts (B, K), whether they are valid, the step of a maximum or first spike, Vdot(t*-) at a kink."""

    value: np.ndarray
    valid: np.ndarray
    step: np.ndarray
    kink: np.ndarray


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

    @cached_property
    def _time_weight(self) -> np.ndarray:
        return weight_coefficients(self.plan)

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        trial = _Trial(self, data, samples)
        trial.forward()
        loss, gradient = trial.loss()
        guarded = trial.backward(gradient / len(samples)) if training else 0
        return Result(
            loss=loss,
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
            trial.backward(trial.loss()[1] / len(samples))
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
        self.labels = data.labels[samples]
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
        out = self.plan.output.name
        self.readout = self._start_readout()
        self.state = {p.name: self._initial(p) for p in self.plan.populations}
        for k in range(self.K):
            self._look_at_maximum(k, self.state[out])
            for p in self.plan.populations:
                self.state[p.name] = self.state[p.name] + self._arrivals(p, k)
            self._look_at_kink(k, self.state[out])
            for p in self.plan.populations:
                self.traces[p.name].x[k] = self.state[p.name]
                self._integrate(p, k, self.state[p.name])
                self.state[p.name] = self._advance(p, k, self.state[p.name])
        self._look_at_maximum(self.K, self.state[out])
        if self.plan.loss.readout == "first_spike":
            spikes = self.traces[out].spikes
            self.readout.valid = np.asarray(spikes.any(0))
            self.readout.step = np.asarray(spikes.argmax(0))
            self.readout.value = np.where(self.readout.valid, self.readout.step * self.plan.dt, self.plan.duration)

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

    # readouts

    def _start_readout(self) -> _Readout:
        shape = (self.B, self.plan.output.size)
        return _Readout(np.zeros(shape), np.ones(shape, bool), np.zeros(shape, int), np.zeros(shape))

    def _integrate(self, p: PopulationRecord, k: int, x: np.ndarray) -> None:
        coef = self.coef[p.name]
        if len(coef.u):
            w = self.engine._time_weight[k]
            self.readout.value += np.einsum("j,jsi,bis->bs", w, np.broadcast_to(coef.u, self._wide(p, coef.u)), x)
            self.readout.value += np.einsum("j,js->s", w, coef.u0)

    def _wide(self, p: PopulationRecord, u: np.ndarray) -> tuple[int, ...]:
        return (u.shape[0], p.size, u.shape[2])

    def _look_at_maximum(self, k: int, x: np.ndarray) -> None:
        """A maximum is sampled at k dt before the arrivals of step k, on which V(k dt) does not depend."""
        if self.plan.loss.readout != "max":
            return
        self._larger = np.full_like(self.readout.valid, k == 0) | (x[:, self._v] > self.readout.value)
        self.readout.value = np.where(self._larger, x[:, self._v], self.readout.value)
        self.readout.step = np.where(self._larger, k, self.readout.step)
        self._slope = self._readout_slope(x)

    def _look_at_kink(self, k: int, x: np.ndarray) -> None:
        """At a kink the slope turns from positive to not positive by the arrivals; keep Vdot(t*-)."""
        if self.plan.loss.readout == "max":
            kink = np.where((self._slope > 0) & (self._readout_slope(x) <= 0), self._slope, 0.0)
            self.readout.kink = np.where(self._larger, kink, self.readout.kink)

    def _readout_slope(self, x: np.ndarray) -> np.ndarray:
        p = self.plan.output
        return self._at(self.engine._functions[p.name].f, p, x)[:, :, self._v, 0]

    @property
    def _v(self) -> int:
        return self.plan.output.derived.states.index(self.plan.output.derived.model.readout)

    def loss(self) -> tuple[np.ndarray, np.ndarray]:
        """Loss (B,), nan without a label, and dL/dr (B, K)."""
        has = self.labels >= 0
        loss, gradient = self.plan.loss.outer(
            self.readout.value, self.readout.valid, np.maximum(self.labels, 0), self.plan.duration
        )
        return np.where(has, loss, np.nan), np.where(has[:, None], gradient, 0.0)

    def spikes(self) -> dict[str, Spikes]:
        out = {}
        for p in self.plan.populations:
            if p.spiking:
                b, k, n = np.nonzero(self.traces[p.name].spikes.swapaxes(0, 1))
                out[p.name] = Spikes(b, k * self.plan.dt, n)
        return out

    # backwards

    def backward(self, dr: np.ndarray) -> int:
        """Adjoint of every population from T to 0; adds up `engine.gradients`. dr: (B, K) dL/dr. Returns guards."""
        if np.any(self.labels < 0):
            raise EngineError("training needs a label for every sample; some have none")
        self.dr, self.guarded = dr, 0
        self.grad = {k: np.zeros_like(v) for k, v in self.engine.parameters.items()}
        for p in self.plan.populations:
            n = len(p.derived.states)
            self.traces[p.name].lam = np.zeros((self.K + 1, self.B, n, p.size))
        lam = {p.name: np.zeros((self.B, len(p.derived.states), p.size)) for p in self.plan.populations}
        self._push(lam)
        for k in range(self.K, -1, -1):
            for p in self.plan.populations:
                self.traces[p.name].lam[k] = lam[p.name]
            if k < self.K:
                self._weight_gradients(k)
            feedback = {p.name: self._feedback(p, k) for p in self.plan.populations if p.spiking}
            self._sample(k, lam)
            for p in self.plan.populations:
                if p.spiking and k > 0:
                    lam[p.name] = self._jump(p, k, lam[p.name], feedback[p.name])
                if k > 0:
                    lam[p.name] = self._retreat(p, k - 1, lam[p.name])
        for p in self.plan.populations:
            self._initial_gradient(p, lam[p.name])
        self.engine.gradients = {k: self.grad[k] for k in self.plan.trainable}
        return self.guarded

    def _push(self, lam: dict[str, np.ndarray]) -> None:
        loss = self.plan.loss
        if loss.readout == "first_spike" and loss.silent == "end":
            name, rows = loss.population.name, np.arange(self.B)
            tau = np.broadcast_to(self.params[name]["tau_mem"], self.plan.output.size)[self.labels]
            silent = ~self.readout.valid[rows, self.labels]
            lam[name][rows, self._v, self.labels] -= silent * tau * loss.push(self.plan.duration) / self.B

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
            if c.target == self.plan.loss.population.name:
                total += self._drive_jump(c, s) @ w.T
                total += self._kink(c, s, w)
        return total

    def _drive_jump(self, c: ConnectionRecord, s: int) -> np.ndarray:
        """(B, N) l(x-) - l(x+) of a unit arrival on an integral readout; zero for current synapses."""
        p = self.plan.population(c.target)
        e = np.broadcast_to(self._vector(p, "direction", c.receptor)[self._v], p.size)
        return -self._integrand_weight(s) * self.dr * e

    def _integrand_weight(self, k: int) -> float:
        """w(k dt) / T of an integral readout, else 0."""
        if self.plan.loss.readout != "integral":
            return 0.0
        return float(self.plan.loss.weight(np.array(k * self.plan.dt), self.plan.duration)) / self.plan.duration

    def _kink(self, c: ConnectionRecord, s: int, w: np.ndarray) -> np.ndarray:
        """The kink rule: dL/dr Vdot(t*-), shared by the inhibitory arrivals of the step in proportion to weight."""
        if self.plan.loss.readout != "max":
            return np.zeros((self.B, w.shape[0]))
        here = (self.readout.step == s) * self.readout.kink * self.dr
        total = np.zeros_like(here)
        for other in self.plan.into(c.target):
            if s - other.delay_steps >= 0:
                weight = np.minimum(self.engine.parameters[other.weight], 0.0)
                total += self._source_at(other, s - other.delay_steps) @ weight
        return np.where(total < 0, here / np.where(total < 0, total, 1.0), 0.0) @ np.minimum(w, 0.0).T

    def _sample(self, k: int, lam: dict[str, np.ndarray]) -> None:
        if self.plan.loss.readout == "max":
            lam[self.plan.output.name][:, self._v] += np.where(self.readout.step == k, self.dr, 0.0)

    def _jump(self, p: PopulationRecord, k: int, lam: np.ndarray, feedback: np.ndarray) -> np.ndarray:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot for the neurons that spiked at step k."""
        fn, trace = self.engine._functions[p.name], self.traces[p.name]
        spiked = trace.spikes[k]
        if not spiked.any():
            return lam
        before = trace.before[k]
        dl_dt = feedback
        if p.name == self.plan.output.name:
            dl_dt = dl_dt + self._own_loss_term(p, k, before)
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
        return np.where(spiked[:, None, :], jumped, lam)

    def _own_loss_term(self, p: PopulationRecord, k: int, before: np.ndarray) -> np.ndarray:
        """dl_p/dt_k + l(x-) - l(x+) of an output spike at step k."""
        if self.plan.loss.readout == "first_spike":
            return np.where((self.readout.step == k) & self.readout.valid, self.dr, 0.0)
        after = np.moveaxis(self._at(self.engine._functions[p.name].h, p, before)[..., 0], -1, 1)
        return self._integrand_weight(k) * self.dr * (before - after)[:, self._v]

    def _retreat(self, p: PopulationRecord, k: int, lam: np.ndarray) -> np.ndarray:
        """From the end to the start of step k: lambda <- P^T lambda + sources, and the parameter integrals."""
        coef, x = self.coef[p.name], self.traces[p.name].x[k]
        w = self.engine._time_weight[k]
        for n in coef.dP:
            rate = np.einsum("bis,sij,bjs->bs", lam, np.broadcast_to(coef.dP[n], (p.size, *coef.P.shape[1:])), x)
            rate = rate + (lam * coef.dc[n].T).sum(1)
            if len(coef.u):
                wide = np.broadcast_to(coef.du[n], self._wide(p, coef.u))
                rate = rate + self.dr * (np.einsum("j,jsi,bis->bs", w, wide, x) + w @ coef.du0[n])
            self._add(p, n, rate)
        if coef.P.shape[0] > 1:
            lam = np.einsum("sij,bis->bjs", coef.P, lam)
        else:
            lam = np.einsum("ij,bis->bjs", coef.P[0], lam)
        if len(coef.u):
            lam = lam + self.dr[:, None, :] * np.einsum("j,jsi->is", w, coef.u)
        return lam

    def _initial_gradient(self, p: PopulationRecord, lam: np.ndarray) -> None:
        dx0 = self.engine._functions[p.name].dx0_dp(*self.params[p.name].values())
        for i, n in enumerate(p.derived.params):
            self._add(p, n, (lam * np.atleast_2d(dx0[..., i]).T).sum(1))

    def _add(self, p: PopulationRecord, param: str, rate: np.ndarray) -> None:
        """Add (B, N) contributions to the gradient of a parameter of shape (N,) or (1,)."""
        gradient = self.grad[f"{p.name}.{param}"]
        gradient += rate.sum(0) if gradient.shape == (p.size,) else rate.sum()
