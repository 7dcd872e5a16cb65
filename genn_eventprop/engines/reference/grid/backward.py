"""A batch of `reference_clock` backwards: the adjoint, what spikes cause, jumps, and every gradient."""

from __future__ import annotations

import numpy as np

from ....adjoint.arrivals import is_linear_along
from ....plan import InputRecord, PopulationRecord
from .connections import Lane
from .events import EventTrace
from .forward import Forward


class Trial(Forward):
    """One batch, forwards and backwards."""

    def backward(self) -> int:
        """Adjoint of every population from T to 0 of the batch mean; sets `engine.gradients`. Returns guards."""
        lam = self._begin()
        for k in range(self.K, -1, -1):
            self._step_back(k, lam)
        for p in self.plan.populations if self.start is None else ():
            self._initial_gradient(p, lam[p.name])
        self.engine.gradients = {k: self.grad[k] for k in self.plan.trainable}
        self.engine.clear_masked()
        return self.guarded

    def _begin(self) -> dict[str, np.ndarray]:
        """lambda (B, n, N) of every population at T; every gradient is 0."""
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
        return lam

    def _step_back(self, k: int, lam: dict[str, np.ndarray]) -> None:
        """What happened at step k, last to first, then back over step k - 1."""
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
        if is_linear_along(target.derived, c.receptor):
            return self._along(c, s) @ c.weight.T
        return self._difference_each(c, s).sum(2)

    def _difference_each(self, c: Lane, s: int) -> np.ndarray:
        """(B, M, N) the same, of every target."""
        target, pop = self.plan.population(c.target), self.populations[c.target]
        if is_linear_along(target.derived, c.receptor):
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
        dx0 = self.equations[p.name].dx0_dp(*self.params[p.name].values())
        for i, n in enumerate(p.derived.params):
            self._add(p, n, (lam * np.atleast_2d(dx0[..., i]).T).sum(1))

    def _add(self, p: PopulationRecord, param: str, rate: np.ndarray) -> None:
        """Add (B, N) contributions to the gradient of a parameter of shape (N,) or (1,)."""
        gradient = self.grad[f"{p.name}.{param}"]
        gradient += rate.sum(0) if gradient.shape == (p.size,) else rate.sum()
