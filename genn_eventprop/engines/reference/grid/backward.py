"""A batch of `reference_clock` backwards: the adjoint, D of every spike, jumps, and every gradient.

The loss on the grid has no useful derivative, since a small change moves no spike. So this is the exact adjoint of
docs/equations.md, section 2, with the secant slope and the transposed step (section 6); it converges to the exact
gradient as dt decreases. Names as there: lambda, D of an arrival or the end of a mode, E of an own event.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....adjoint.arrivals import is_linear_along
from ....plan import InputRecord, PopulationRecord
from .connections import DelayGroup
from .events import EventTrace
from .forward import Forward


class Trial(Forward):
    """One batch, forwards and backwards.

    Attributes:
        pending: population -> (B, N) D of timed modes that have ended, on its way back to the event that began them.
        of_kinks: (population, step) -> (B, n, N) what births at a kink add to lambda as D of its arrivals sees it.
        E_of_causes: population -> (K, B, N) E of events that the arrivals of a step caused by themselves.
        of_arrivals: step -> what all connections that arrive there share, see `_once`.
    """

    def backward(self) -> int:
        """Adjoint of the batch mean from T to 0; sets `engine.gradients`.

        Returns:
            how often a slope was not positive, or below `slope_floor`.
        """
        lam = self._begin()
        # k = K: spikes at T have their jump and no targets; k = 0: arrivals, but nothing before them
        for k in range(self.K, -1, -1):
            self._step_back(k, lam)
        # a trial that goes on from a state does not begin at x(0); that of the trials before counts as a constant
        for p in self.plan.populations if self.start is None else ():
            self._initial_gradient(p, lam[p.name])
        for name, gradient in self.currents.gradients(self.by_drive).items():
            self.grad[name] += gradient
        self.engine._currents = self.currents if self.plan.currents_into else None
        self.engine.gradients = {k: self.grad[k] for k in self.plan.trainable}
        self.engine.clear_masked()
        return self.guarded

    def _begin(self) -> dict[str, np.ndarray]:
        """lambda (B, n, N) of every population at T; every gradient is 0."""
        self.guarded = 0
        for loss in self.plan.losses:
            tau = self.params[loss.output].get("tau_mem")  # scales the push of silent outputs (section 4)
            self.readouts[loss.output].scale(self.weight[loss.output], self.scored[loss.output], tau)
        # the regularisers' jumps depend on the counts of the whole trial, so they are known only now
        counts = {p.name: self.traces[p.name].spikes.sum(0) for p in self.plan.populations if p.spiking}
        self.jumps = self.engine.spike_jumps(counts)
        self.grad = {k: np.zeros(v.shape) for k, v in self.engine.parameters.items()}
        for p in self.plan.populations:
            n = len(p.derived.states)
            self.traces[p.name].lam = np.zeros((self.K + 1, self.B, n, p.size))
        lam = {p.name: np.zeros((self.B, len(p.derived.states), p.size)) for p in self.plan.populations}
        self.pending = {p.name: np.zeros((self.B, p.size)) for p in self.plan.populations}
        self.E_of_causes = {p.name: np.zeros((self.K, self.B, p.size)) for p in self.plan.populations}
        self.of_kinks: dict[tuple[str, int], np.ndarray] = {}
        self.by_drive = {key: np.zeros_like(drive) for key, drive in self.currents.means.items()}
        self.of_arrivals: dict[int, dict[tuple[str, ...], np.ndarray]] = {}
        self.longest = max((c.delay_steps for c in self.connections.groups), default=0)
        for name, readout in self.readouts.items():
            lam[name][:, readout.v] += readout.last
        return lam

    def _step_back(self, k: int, lam: dict[str, np.ndarray]) -> None:
        """The events of step k from the last to the first, then back over step k - 1.

        Forwards the order of an instant k dt is: events found there, ends of modes, arrivals. Backwards it turns round.
        All D of the step are formed from lambda after the arrivals, before any jump or end of a mode changes it: with
        the jumps first, D would depend on the order of populations.
        """
        for p in self.plan.populations:
            self.traces[p.name].lam[k] = lam[p.name]  # the adjoint row of step k, which D of earlier spikes reads
        if k < self.K:
            self._weight_gradients(k)
            self._drive_gradients(k, lam)
        births = self._births(k)  # first: D of the arrivals at a kink sees a part of them
        feedback = {p.name: self._feedback(p, k) for p in self.plan.populations if p.derived.events}
        self._feedback_of_inputs(k)
        for name, change in births.items():
            lam[name] = lam[name] + change
        for name, readout in self.readouts.items():
            lam[name][:, readout.v] += readout.jump_at_step(k)
        for p in self.plan.populations:
            if k < self.K:
                self._end_of_mode(p, k, lam[p.name])
            if k > 0:
                lam[p.name] = self._jumps(p, k, lam[p.name], feedback.get(p.name))
                lam[p.name] = self._retreat(p, k - 1, lam[p.name])
        self.of_arrivals.pop(k + self.longest, None)  # spikes of earlier steps arrive before it

    def _once(self, s: int, what: str, target: str, receptor: str, of: Callable[[], np.ndarray]) -> np.ndarray:
        """A value that depends on the target, its receptor and the step of an arrival alone; with many delays there are
        many connections that ask for it."""
        values = self.of_arrivals.setdefault(s, {})
        key = (what, target, receptor)
        if key not in values:
            values[key] = of()
        return values[key]

    def _births(self, k: int) -> dict[str, np.ndarray]:
        """(B, n, N) what spikes that could have been born at step k add to lambda, by populations that have any."""
        out = {}
        for p in self.plan.populations if k < self.K else ():
            candidates = self.populations[p.name].candidates
            if not candidates or not (h := candidates.take(k)).any():
                continue
            jump, x = h * self._birth(p, k, h > 0), np.zeros((self.B, len(p.derived.states), p.size))
            event, pop = self.populations[p.name].functions.events[0], self.populations[p.name]
            out[p.name] = pop.vector(event["dg_dx"], x) * jump[:, None]  # g is linear: its derivatives need no state
            self.of_kinks[p.name, k] = out[p.name] * candidates.kinks[k][:, None]
            dg_dp = pop.at(event["dg_dp"], x)
            for j, n in enumerate(p.derived.params):
                self._add(p, n, jump * dg_dp[..., j, 0])
        return out

    def _birth(self, p: PopulationRecord, k: int, there: np.ndarray) -> np.ndarray:
        """(B, M) by how much a spike of each neuron at step k would change the loss; there: which are asked for."""
        change = np.zeros((self.B, p.size))
        moved = {
            name: np.zeros((*there.shape, self.plan.population(name).size))
            for name, readout in self.readouts.items() if readout.adds_up
        }  # fmt: skip
        for c in self.connections.out_of(p.name):
            s = k + c.delay_steps
            if s > self.K - 1:
                continue
            target = self.plan.population(c.target)
            along = (self._lam(target, s) * self._vector(target, "direction", c.receptor)).sum(1)
            if c.target in moved:
                dr = self.readouts[c.target].dr
                ratio = np.divide(along, dr, out=np.zeros_like(along), where=dr != 0)
                moved[c.target] += c.weight * ratio[:, None]
            else:
                change += along @ c.weight.T
        for name, by in moved.items():
            b, m = np.nonzero(there & by.any(2))
            change[b, m] += self.readouts[name].change_of_loss(b, by[b, m])
        if p.name in self.readouts:
            change += self.readouts[p.name].birth(k)
        return change

    def _weight_gradients(self, k: int) -> None:
        """Arrivals at step k: dL/dw = lambda . e, dL/dp = w lambda . de/dp, with lambda after the arrivals."""
        for c in self.connections.groups:
            p = self.plan.population(c.target)
            row = self._row(p, k, c.receptor)
            sent = self._source_spikes(c, k - c.delay_steps)
            c.add_to_weights(self.grad, sent.T @ row)
            if (d_direction := self.equations[p.name].d_direction.get(c.receptor)) is not None:
                slopes = d_direction(*self.params[p.name].values())
                for i, n in enumerate(p.derived.params):
                    along = (self._lam(p, k) * np.atleast_2d(slopes[..., i]).T).sum(1)
                    self._add(p, n, (sent @ c.weight) * along)

    def _drive_gradients(self, k: int, lam: dict[str, np.ndarray]) -> None:
        """dL/du of step k is lambda_u at its start: u is set there, so that nothing before has an influence on it."""
        for p in self.plan.populations:
            for receptor, (state, _) in p.drives.items():
                u = p.derived.states.index(state)
                self.by_drive[p.name, receptor][:, k] = lam[p.name][:, u]
                lam[p.name][:, u] = 0.0

    def _lam(self, p: PopulationRecord, k: int) -> np.ndarray:
        return self.traces[p.name].lam[k]

    def _lam_of_D(self, p: PopulationRecord, k: int) -> np.ndarray:
        return self._lam(p, k) + self.of_kinks.get((p.name, k), 0.0)

    def _row(self, p: PopulationRecord, k: int, receptor: str) -> np.ndarray:
        """(B, N) lambda . e, how the loss changes with a unit weight that arrives at step k."""
        row = lambda: (self._lam(p, k) * self._vector(p, "direction", receptor)).sum(1)  # noqa: E731
        return self._once(k, "row", p.name, receptor, row)

    def _feedback_of_inputs(self, k: int) -> None:
        """D of the input's spikes, where it is needed: for gradients of their times, or of delays behind the input."""
        learned = any(c.learned for c in self.connections.out_of(self.plan.input.name))
        if k < self.K and (self.input_feedback is not None or learned):
            feedback = self._feedback(self.plan.input, k)
            if self.input_feedback is not None:
                self.input_feedback[k] = feedback

    def _feedback(self, p: PopulationRecord | InputRecord, k: int) -> np.ndarray:
        """(B, N) sum of D over all arrivals of a spike at step k, with kinks and E of events that they cause.

        The adjoint rows of later steps are stored, so D of an arrival is read at its step s when its cause is reached.
        """
        total = np.zeros((self.B, p.size))
        for c in self.connections.out_of(p.name):
            s = k + c.delay_steps
            if s > self.K - 1:  # arrivals at T or later do not happen
                continue
            D = self._difference(c, s) + self._caused_E(c, s)
            if c.target in self.readouts:
                D = D + self.readouts[c.target].arrival_term(c, s)
            total[:, slice(*(c.record.channels or (None,)))] += D
            if c.learned:
                self._delay_gradients(c, k, D)
        return total

    def _delay_gradients(self, c: DelayGroup, k: int, D: np.ndarray) -> None:
        """dL/d(delay) = D of the spikes of step k when they arrive; D: (B, M) sum over the targets of a spike."""
        sent, s = self._source_spikes(c, k), k + c.delay_steps
        if c.axonal:
            c.add_to_delays(self.grad, (sent * D).sum(0))
            return
        # one delay a synapse: D of every synapse, with the same three terms as in `_feedback`
        each = self._difference_each(c, s) + self._E_by_push(c, s)[:, None] * np.maximum(c.weight, 0.0)
        if c.target in self.readouts:
            each = each + self.readouts[c.target].arrival_term_by_synapse(c, s)
        c.add_to_delays(self.grad, np.einsum("bm,bmn->mn", sent, each))

    def _difference(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, M) sum over targets of D = lambda . (f(x - w e) - f(x)), x after all arrivals of step s.

        Arrivals of one step have no order on the grid, so each is taken away from the same x by itself.
        """
        target = self.plan.population(c.target)
        if is_linear_along(target.derived, c.receptor):  # D is w times one number a target, for all sources
            return self._unit_difference(c, s) @ c.weight.T
        return self._difference_each(c, s).sum(2)

    def _difference_each(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, M, N) the same of every target."""
        target, pop = self.plan.population(c.target), self.populations[c.target]
        if is_linear_along(target.derived, c.receptor):
            return self._unit_difference(c, s)[:, None] * c.weight
        x, mode, lam = pop.trace.x[s], pop.trace.modes[s], self._lam_of_D(target, s)
        e = np.broadcast_to(self._vector(target, "direction", c.receptor), x.shape[1:])
        after = pop.f(x, mode)
        return np.stack([(lam * (pop.f(x - row * e, mode) - after)).sum(1) for row in c.weight], axis=1)

    def _unit_difference(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, N) D of a unit weight where the dynamics are linear along e: -lambda . J e."""

        def difference() -> np.ndarray:
            target, pop = self.plan.population(c.target), self.populations[c.target]
            x = pop.trace.x[s]
            e = np.broadcast_to(self._vector(target, "direction", c.receptor), x.shape[1:])
            return -np.einsum("bnij,jn,bin->bn", pop.J(x, pop.trace.modes[s]), e, self._lam_of_D(target, s))

        return self._once(s, "difference", c.target, c.receptor, difference)

    def _caused_E(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, M) share of each source in E of the events that the arrivals of step s caused.

        In proportion to how much each raised g (docs/equations.md, section 2); inhibition caused nothing.
        """
        return self._E_by_push(c, s) @ np.maximum(c.weight, 0.0).T

    def _E_by_push(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, N) the same of a unit weight: E over the sum of all pushes, times the push of a unit weight."""
        E = self.E_of_causes[c.target][s]  # events of step s + 1: it is whole when feedback from s is asked for

        def by_all_pushes() -> np.ndarray:
            total = np.zeros_like(E)
            for other in self.connections.into(c.target) if E.any() else ():
                weight = np.maximum(other.weight, 0.0)
                total += self._source_spikes(other, s - other.delay_steps) @ weight * self._push_on_threshold(other, s)
            return np.where(total > 0, E / np.where(total > 0, total, 1.0), 0.0)

        share = self._once(s, "share", c.target, "", by_all_pushes)
        return share * self._push_on_threshold(c, s) if E.any() else share

    def _push_on_threshold(self, c: DelayGroup, s: int) -> np.ndarray:
        """(B, N) how much a unit weight of the connection adds to the first threshold that it moves."""

        def push() -> np.ndarray:
            pop, e = self.populations[c.target], self._vector(self.plan.population(c.target), "direction", c.receptor)
            # dg/dx . e of every event: inhibition counts as 0
            moves = [(pop.vector(fn["dg_dx"], pop.trace.x[s]) * e).sum(1) for fn in pop.functions.events]
            return next((np.maximum(m, 0.0) for m in moves if m.any()), np.zeros((self.B, 1)))

        return self._once(s, "push", c.target, c.receptor, push)

    def _end_of_mode(self, p: PopulationRecord, k: int, lam: np.ndarray) -> None:
        """D of the end of a timed mode: dL/d(duration), and a term in E of the event that began the mode.

        At step k modes end before arrivals, so backwards after D of the arrivals is formed; lambda itself is
        continuous.
        """
        pop = self.populations[p.name]
        D = pop.end_of_mode(k, lam)
        if D is None:
            return
        self.pending[p.name] += D
        for m, mode in enumerate(p.derived.modes):
            if mode.lasts is not None:
                # of timed modes in a row, the later ends, which `pending` has by now, move with this one
                moved = self.pending[p.name] if p.derived.modes[mode.then].lasts else D
                self._add(p, mode.lasts, np.where(pop.trace.ended[k] == m, moved, 0.0))

    def _jumps(self, p: PopulationRecord, k: int, lam: np.ndarray, feedback: np.ndarray | None) -> np.ndarray:
        """The events of step k, last to first."""
        for i in reversed(range(len(p.derived.events))):
            if self.traces[p.name].events[i].fired[k].any():
                assert feedback is not None
                if (candidates := self.populations[p.name].candidates) is not None:
                    candidates.undo(self.traces[p.name].events[i].fired[k])
                lam = self._jump(p, i, k, lam, feedback)
        return lam

    def _jump(self, p: PopulationRecord, i: int, k: int, lam: np.ndarray, feedback: np.ndarray) -> np.ndarray:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot for the neurons that had event i at step k."""
        event, pop = p.derived.events[i], self.populations[p.name]
        fn, record = pop.functions.events[i], pop.trace.events[i]
        fired, before = record.fired[k], record.before[k]
        # a dropped spike has its reset, and its jump, but no arrivals
        emitted = pop.trace.spikes[k] if event.emits else np.zeros_like(fired)
        dl_dt = np.where(emitted, feedback, 0.0)
        if event.next_mode is not None and p.derived.modes[event.next_mode].lasts:
            # D of the end of the mode that this event began; it is used up, so that earlier events do not get it too
            dl_dt = dl_dt + self.pending[p.name]
            self.pending[p.name] = np.where(fired, 0.0, self.pending[p.name])
        if p.name in self.readouts:
            read = self.readouts[p.name]
            dl_dt = dl_dt + (read.spike_term if event.emits else read.silent_term)(k, i, before)
        E = dl_dt + (lam * pop.jump_coefficient(i, k)).sum(1)  # lambda+ . a, a = dh/dx f(x-) - f(x+)
        rate = self._rate(p, k, E, fired, record)
        dg_dx = pop.vector(fn["dg_dx"], before)
        jumped = np.einsum("bsij,bis->bjs", pop.at(fn["dh_dx"], before), lam) - dg_dx * rate[:, None]
        dh_dp, dg_dp = pop.at(fn["dh_dp"], before), pop.at(fn["dg_dp"], before)
        for j, n in enumerate(p.derived.params):
            dh = np.moveaxis(dh_dp[..., j], -1, 1)
            self._add(p, n, np.where(fired, (lam * dh).sum(1) - dg_dp[..., j, 0] * rate, 0.0))
        # what is added at a spike itself (surrogate gradients of counts, regularisers) comes before the reset
        if p.name in self.readouts and event.emits:
            jumped[:, self.readouts[p.name].v] += self.readouts[p.name].jump_at_spike(k)
        if p.name in self.jumps and event.emits:
            jumped[:, p.derived.states.index(p.noisy_state)] += np.where(emitted, self.jumps[p.name], 0.0)
        return np.where(fired[:, None, :], jumped, lam)

    def _rate(self, p: PopulationRecord, k: int, E: np.ndarray, fired: np.ndarray, record: EventTrace) -> np.ndarray:
        """E / gdot; 0 where the arrivals of the step alone raised g to zero: there E goes to them as a whole.

        An event found at k belongs to the step that began at k - 1, and so do the arrivals that caused it.
        """
        caused = fired & record.caused_by_arrivals[k]
        self.E_of_causes[p.name][k - 1] += np.where(caused, E, 0.0)
        gdot = record.slope[k]
        self.guarded += int(np.count_nonzero(fired & ~caused & ((gdot <= 0) | (gdot < self.engine.slope_floor))))
        gdot = np.maximum(gdot, self.engine.slope_floor)
        return np.where((gdot > 0) & ~caused, E / np.where(gdot > 0, gdot, 1.0), 0.0)

    def _retreat(self, p: PopulationRecord, k: int, lam: np.ndarray) -> np.ndarray:
        """From the end to the start of step k: the transposed step, sources, and the parameter integrals."""
        read = self.readouts.get(p.name)
        if read:
            lam[:, read.v] += read.end_source(k)
        back, rates = self.populations[p.name].retreat(k, lam)
        for n, rate in rates.items():
            self._add(p, n, rate + read.parameter_term(k, n, self.traces[p.name].x[k]) if read else rate)
        return back + read.step_source(k) if read else back

    def _initial_gradient(self, p: PopulationRecord, lam: np.ndarray) -> None:
        """dL/dp by the initial state: lambda(0) . dx0/dp."""
        dx0 = self.equations[p.name].dx0_dp(*self.params[p.name].values())
        for i, n in enumerate(p.derived.params):
            self._add(p, n, (lam * np.atleast_2d(dx0[..., i]).T).sum(1))

    def _add(self, p: PopulationRecord, param: str, rate: np.ndarray) -> None:
        """Add (B, N) contributions to the gradient of a parameter of shape (N,) or (1,)."""
        gradient: np.ndarray = self.grad[f"{p.name}.{param}"]
        gradient += rate.sum(0) if gradient.shape == (p.size,) else rate.sum()
