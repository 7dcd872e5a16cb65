"""One trial backwards: the costate lambda = dL/dx event by event, and the gradient of everything.

Formulas: docs/equations.md, section 2. Between events -dlambda/dt = (df/dx)^T lambda + dl/dx along the recorded
trajectory; at an own event, an arrival and the end of a timed mode the jumps of `adjoint/derive.py`. On a segment of
length L with psi(s) = dx(s)/dx(0), y(s) = psi(s)^T lambda(s) obeys y(s) = psi(L)^T lambda(L) + int_s^L psi^T dl/dx: the
loop over events is the recursion lambda(0) = y(0). The parameter integrals int lambda . df/dp dt follow for all
segments at once, 20 nodes each.

Axis letters: n states, N neurons, p parameters, G segments, Q nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ....errors import EngineError
from ....losses.readout import gauss_legendre
from ....plan import Plan
from ....regularisers import pushed_state
from .flow import at, nodes
from .population import SAME_INSTANT, PopulationModel
from .readout import NODES, Readout, Sources, density_rows
from .records import Arrival, Birth, Change, Drive, ModeEnd, Recording, Renewal, Segments, Spike

BLOCK = 2048  # segments whose nodes are in memory at a time


@lru_cache(maxsize=1)
def remaining_integral() -> np.ndarray:
    """(Q, Q): sum_j B[q, j] f(xi_j) = int_{xi_q}^1 f, exact for polynomials of degree below Q."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    V = np.polynomial.legendre.legvander(x, NODES - 1)
    k = np.arange(NODES)
    to_legendre = (V * w[:, None]).T * (k + 0.5)[:, None]
    total = np.zeros((NODES, NODES))
    for degree in range(NODES):
        one = np.zeros(NODES)
        one[degree] = 1.0
        total[:, degree] = -np.polynomial.legendre.legval(x, np.polynomial.legendre.legint(one, lbnd=1))
    return 0.5 * total @ to_legendre


def integral_from(start: np.ndarray, values: np.ndarray) -> np.ndarray:
    """int_start^1 f(u) du, from the values of f at the Gauss-Legendre nodes of [0, 1].

    start (G,); values (n, G, Q) -> (n, G).
    """
    x, w = np.polynomial.legendre.leggauss(NODES)
    k = np.arange(NODES)
    to_legendre = (np.polynomial.legendre.legvander(x, NODES - 1) * w[:, None]).T * (k + 0.5)[:, None]
    c = np.polynomial.legendre.legint(np.einsum("kq,ngq->kng", to_legendre, values), lbnd=1)
    V = np.polynomial.legendre.legvander(2 * start - 1, NODES)
    return -0.5 * np.einsum("gk,kng->ng", V, c)


class _Adjoint:
    """lambda of one population, segment by segment, and the derivatives at its own events, evaluated beforehand.

    P: (G, n, n) psi at the end of every segment. end: (G, n) lambda there; sources: (G, n) what dl/dx adds on the way.
    """

    def __init__(self, model: PopulationModel, recording: Recording) -> None:
        self.model, self.segments = model, recording.segments[model.name]
        seg, n = self.segments, model.flow.n
        self.P = np.zeros((len(seg.neuron), n, n))
        self.sources = np.zeros((len(seg.neuron), n))
        self.end = np.zeros_like(self.sources)
        self.gradient = {p: np.zeros(model.size) for p in model.record.derived.params}
        for block in blocks(seg):
            part = seg.part(block)
            self.P[block] = np.moveaxis(at(psi(model, part)[1], part.length / part.span), -1, 0)
        # the symbolic derivatives at own events, all events of one kind in one call; they depend on x- only
        self.jumps: dict[int, dict[str, np.ndarray]] = {}
        kinds: dict[tuple[int, int], list[Spike]] = {}
        for spike in recording.own_events[model.name]:
            kinds.setdefault((spike.event, spike.mode), []).append(spike)
        for (event, mode), spikes in kinds.items():
            x, lanes = np.stack([s.x for s in spikes], axis=1), np.array([s.neuron for s in spikes])
            values = model.equations.jump(event, mode, x, lanes)
            for i, s in enumerate(spikes):
                self.jumps[s.index] = {name: v[i] for name, v in values.items()}

    def start(self, ids: np.ndarray | int) -> np.ndarray:
        """lambda at the start of segments, (G, n): y(0) = psi(L)^T lambda(L) + int psi^T dl/dx, see the module."""
        return np.einsum("...ij,...i->...j", self.P[ids], self.end[ids]) + self.sources[ids]


def blocks(seg: Segments) -> list[slice]:
    """The segments in blocks of `BLOCK`."""
    return [slice(first, first + BLOCK) for first in range(0, len(seg.neuron), BLOCK)]


def psi(model: PopulationModel, seg: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the states (K, n, G) and of dx(s)/dx(0) (K, n, n, G) on segments."""
    series = model.flow.series(seg.x, seg.neuron, seg.mode, seg.span)
    return series, model.flow.psi(series, seg.neuron, seg.mode, seg.span)


class Backward:
    """Runs one trial backwards.

    Args:
        plan, models, weights: as for `Forward`, one copy; weights of any shape. recording: what it made. readouts: on
            that recording, by the population that is read.
        dr: of each, (K,) dL/dr, of several readouts a tuple. push: (K,) jump of lambda_V at T.
        jumps: population -> (N,) of the regularisers.
        floor: smallest slope that is trusted at an observed spike, per ms.

    Attributes:
        guarded: spikes at which it acted.
        gradients: "connection.weight" in the shape of the weights, "connection.delay" () or in that of the delays,
            "population.parameter" (N,).
        input_times: (E,) dL/d(time of every input spike). by_drive: population -> (P, S, N) dL/d(value of `Drive`).
        smallest_slope: smallest |gdot| of an own event, inf without events.
    """

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, PopulationModel],
        weights: Mapping[str, np.ndarray],
        recording: Recording,
        readouts: Mapping[str, Readout],
        n_inputs: int,
        drives: Mapping[str, Drive],
        floor: float = 0.0,
    ) -> None:
        self.floor, self.guarded = floor, 0
        self.plan, self.weights, self.recording, self.readouts = plan, weights, recording, readouts
        self.adjoint = {name: _Adjoint(m, recording) for name, m in models.items()}
        self.weight_gradient = {key: np.zeros_like(w) for key, w in weights.items()}
        self.delay_gradient = {c.name: np.zeros(c.delays.shape if c.delays else ()) for c in plan.connections}
        self.input_times = np.zeros(n_inputs)
        self.by_drive = {name: np.zeros((len(d.times), len(d.states), models[name].size)) for name, d in drives.items()}
        self.drives = drives
        self.smallest_slope = np.inf

    def run(self, dr: Mapping[str, Any], push: Mapping[str, np.ndarray], jumps: Mapping[str, np.ndarray]) -> None:
        self.dr, self.jumps = dr, jumps
        models = {name: self.adjoint[name].model.record.derived.model for name in jumps}
        self.pushed = {name: list(m.state).index(pushed_state(m)) for name, m in models.items()}
        self.sources: dict[str, Sources] = {}
        for name, readout in self.readouts.items():
            self.adjoint[name].end[self.recording.last[name], readout.v] += push[name]
            self._place_sources(name)
        # Strictly the reverse order of events. So D of an arrival is complete before the own event that sent the spike
        # is reached, and E of an own event before the arrival or mode end that caused it.
        for number in reversed(range(len(self.recording.events))):
            event = self.recording.events[number]
            if isinstance(event, Spike):
                self._own_event(event)
            elif isinstance(event, Arrival):
                self._arrival(event)
            elif isinstance(event, ModeEnd):
                self._mode_end(event)
            elif isinstance(event, Birth):
                self._birth(event, number)
            elif isinstance(event, Change):
                self._change(event)
            else:
                adjoint = self.adjoint[event.population]
                adjoint.end[event.before] = adjoint.start(event.after)
        for name in self.adjoint:
            self._initial_values(name)
            self._integrals(name)

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        out = dict(self.weight_gradient)
        for name, a in self.adjoint.items():
            out |= {f"{name}.{n}": g for n, g in a.gradient.items()}
        return out | {f"{name}.delay": g for name, g in self.delay_gradient.items()}

    def _place_sources(self, name: str) -> None:
        out, readout = self.adjoint[name], self.readouts[name]
        s, v, seg = readout.sources(self.dr[name]), readout.v, out.segments
        self.sources[name] = s
        if s.density is not None:
            for block in blocks(seg):
                part = seg.part(block)
                at_nodes = nodes(psi(out.model, part)[1], part.length[:, None] * unit() / part.span[:, None])
                out.sources[block] += density_rows(at_nodes, part.length, s.density[block], v)
        if len(s.segment):
            part = seg.part(s.segment)
            rows = at(psi(out.model, part)[1][:, v], s.offset / part.span)
            np.add.at(out.sources, s.segment, (rows * s.size).T)

    def _own_event(self, event: Spike) -> None:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot; with a cause E goes to that, undivided by gdot."""
        adjoint, n = self.adjoint[event.population], event.neuron
        lam, jump = adjoint.start(event.after), adjoint.jumps[event.index]
        # E = dL/dt_k at fixed states: what the event scheduled (D), what it caused, the jump of the flow, the loss
        E = event.feedback + event.extra + lam @ jump["a"]
        if event.population in self.readouts:
            after = adjoint.segments.x[:, event.after]
            E += self.readouts[event.population].spike_term(event, after, self.dr[event.population])
        rate = 0.0  # of an event with a cause: its time is that of the cause, whatever the state
        if event.cause is None:
            if event.event == adjoint.model.observed_event and not (jump["gdot"] > 0 and jump["gdot"] >= self.floor):
                self.guarded += 1  # its time is not that of a crossing, and says nothing of the slope
                rate = E / self.floor if self.floor else 0.0
            elif not jump["gdot"] > 0:
                name = adjoint.model.record.derived.model.name
                raise EngineError(
                    f"population {event.population!r} ({name}): event {adjoint.model.events[event.event].name!r} of "
                    f"neuron {n} at {event.time:g} ms touches its threshold with slope {float(jump['gdot']):g} / ms; "
                    "without a rise there is no gradient; change the weights a little"
                )
            else:
                rate = E / jump["gdot"]
                self.smallest_slope = min(self.smallest_slope, abs(float(jump["gdot"])))
        else:
            for cause, share in event.shares:
                cause.extra += share * E
        adjoint.end[event.before] = jump["dh_dx"].T @ lam - jump["dg_dx"] * rate
        # regularisers of spike counts and surrogate gradients of counts: a jump of lambda_V before the reset
        if event.population in self.jumps and adjoint.model.events[event.event].emits:
            adjoint.end[event.before, self.pushed[event.population]] += self.jumps[event.population][n]
        for name, value in zip(adjoint.gradient, lam @ jump["dh_dp"] - jump["dg_dp"] * rate):
            adjoint.gradient[name][n] += value

    def _mode_end(self, event: ModeEnd) -> None:
        """The state is continuous: lambda- = lambda+, and D goes to the event that scheduled the end and to t_ref."""
        adjoint, d = self.adjoint[event.population], self.adjoint[event.population].model.record.derived
        lam, seg = adjoint.start(event.after), adjoint.segments
        x, lane = seg.x[:, [event.after]], np.array([event.neuron])  # continuous: x- = x+
        field = adjoint.model.equations.field
        before, after = field(x, lane, np.array([event.mode])), field(x, lane, seg.mode[[event.after]])
        D = float(lam @ (before - after)[:, 0]) + event.extra + event.feedback
        event.source.feedback += D
        lasts = d.modes[event.mode].lasts
        assert lasts is not None  # only a timed mode ends by itself
        adjoint.gradient[lasts][event.neuron] += D
        adjoint.end[event.before] = lam

    def _arrival(self, event: Arrival) -> None:
        """dL/dw = lambda . e, dL/dp += w lambda . de/dp, and D to the spike or input that arrived and to the delay."""
        c, adjoint, route = event.connection, self.adjoint[event.connection.target], event.route
        equations, at_ = adjoint.model.equations, event.lanes
        # lambda after the arrival, and before the reset of an event that it causes: that of the segment which begins
        # here
        lam = adjoint.start(event.after)
        w, e = self.weights[c.weight].reshape(-1)[route.weight], equations.direction[c.receptor][:, route.target]
        if isinstance(event.source, Birth):
            self._add_change(event.source, c.target, route.target, w * np.einsum("nj,jn->n", lam[at_], e))
            adjoint.end[event.before] = lam
            return
        np.add.at(self.weight_gradient[c.weight].reshape(-1), route.weight, np.einsum("nj,jn->n", lam[at_], e))
        for k, name in enumerate(adjoint.gradient):
            by = equations.d_direction[c.receptor][:, k, route.target]
            np.add.at(adjoint.gradient[name], route.target, w * np.einsum("nj,jn->n", lam[at_], by))
        # neurons of an aligned population that the arrival does not reach have a jump of 0, and no share in D
        jump = np.zeros((len(e), len(event.neurons)))
        jump[:, at_] = w * e
        self._give(event, self._difference(event, lam, jump))
        adjoint.end[event.before] = lam

    def _give(self, event: Arrival, D: float) -> None:
        """D of an arrival goes to its delay, and to the spike or the input that arrived."""
        self.delay_gradient[event.connection.name].reshape(-1)[event.route.delay] += D
        if isinstance(event.source, Spike):
            event.source.feedback += D
        else:
            assert not isinstance(event.source, Birth)
            self.input_times[event.source] += D

    def _change(self, event: Change) -> None:
        """dL/du is lambda_u where u is set, and nothing that happened before has an influence on it."""
        adjoint, states = self.adjoint[event.population], self.drives[event.population].states
        lam = adjoint.start(event.after)
        self.by_drive[event.population][event.number] = lam[:, states].T
        lam[:, states] = 0.0
        adjoint.end[event.before] = lam

    # births of spikes, see docs/spike_birth.md

    def _add_change(self, birth: Birth, target: str, neurons: np.ndarray, along: np.ndarray) -> None:
        """What an arrival of a spike that was not born would do; along: (S,) w lambda . e of the targets."""
        readout = self.readouts.get(target)
        if readout is None or not readout.adds_up:
            birth.change += float(along.sum())
            return
        dr = self.dr[target][neurons]
        moved = birth.moved.setdefault(target, np.zeros(readout.model.size))
        np.add.at(moved, neurons, np.divide(along, dr, out=np.zeros_like(along), where=dr != 0))

    def _birth(self, event: Birth, number: int) -> None:
        """h times the change of L by the spike goes to the adjoint of g."""
        adjoint, n = self.adjoint[event.population], event.neuron
        change = event.change + sum(self.readouts[name].change_of_loss(by) for name, by in event.moved.items())
        if event.population in self.readouts:
            change += self.readouts[event.population].birth(n, event.time, self.dr[event.population])
        jump, x, lane = event.hazard * change, adjoint.segments.x[:, [event.after]], np.array([n])
        dg_dx, dg_dp = adjoint.model.equations.threshold_slopes(0, x, lane)
        adjoint.end[event.before] = adjoint.start(event.after) + jump * dg_dx
        for name, value in zip(adjoint.gradient, jump * dg_dp):
            adjoint.gradient[name][n] += value
        if event.rise > 0:
            self._move_kink(event, number, jump * event.rise, dg_dx)

    def _move_kink(self, event: Birth, number: int, D: float, dg_dx: np.ndarray) -> None:
        """Of a maximum that is a kink: dg_m/ds = gdot(t_m-) of the arrivals that end the rise, in proportion to how
        much each changes gdot: the mean over all orders that arrivals of one instant might have."""
        n, adjoint = event.neuron, self.adjoint[event.population]
        seg, equations, lane = adjoint.segments, adjoint.model.equations, np.array([event.neuron])
        arrivals, after = list[Arrival](), event.after
        for e in self.recording.events[number + 1 :]:
            if not isinstance(e, Renewal | Change) and e.time > event.time + SAME_INSTANT * self.plan.duration:
                break
            if isinstance(e, Arrival) and not isinstance(e.source, Birth) and e.connection.target == event.population:
                if n in e.route.target:
                    arrivals.append(e)
                    after = int(e.after[np.flatnonzero(e.neurons == n)[0]])
        x, mode = seg.x[:, [after]], seg.mode[[after]]
        falls = np.zeros(len(arrivals))
        for i, e in enumerate(arrivals):
            c, here = e.connection, e.route.target == n
            w = self.weights[c.weight].reshape(-1)[e.route.weight[here]].sum()
            without = x - w * equations.direction[c.receptor][:, lane]
            falls[i] = dg_dx @ (equations.field(without, lane, mode) - equations.field(x, lane, mode))[:, 0]
        for e, fall in zip(arrivals, falls) if falls.sum() > 0 else ():
            self._give(e, D * fall / falls.sum())

    def _difference(self, event: Arrival, lam: np.ndarray, jump: np.ndarray) -> float:
        """D = sum over targets of lambda . (f(x-) - f(x+)) + l(x-) - l(x+), + kinks and E of events it caused.

        x+ is the state at the start of the segment: after this arrival, before the reset of an event at this instant.
        """
        adjoint = self.adjoint[event.connection.target]
        seg, field = adjoint.segments, adjoint.model.equations.field
        after, lanes, mode = seg.x[:, event.after], seg.neuron[event.after], seg.mode[event.after]
        change = field(after - jump, lanes, mode) - field(after, lanes, mode)
        D = float(np.einsum("nj,jn->", lam, change)) + event.extra
        if (name := event.connection.target) in self.readouts:
            D += self.readouts[name].arrival_term(event, jump, self.dr[name])
        return D

    def _initial_values(self, name: str) -> None:
        """dL/dp by x(0): lambda(0) . dx0/dp; the first segments are numbered by lane."""
        adjoint = self.adjoint[name]
        lam = adjoint.start(np.arange(adjoint.model.size))
        dx0 = adjoint.model.equations.dx0_dp
        for k, n in enumerate(adjoint.gradient):
            adjoint.gradient[n] += np.einsum("nj,jn->n", lam, dx0[:, k])

    def _integrals(self, name: str) -> None:
        """int lambda . df/dp dt over all segments; points of a maximum as further segments."""
        adjoint, points = self.adjoint[name], self.sources.get(name)
        if not adjoint.model.record.derived.dynamic_params:
            return
        seg = adjoint.segments
        density, v = (points.density, self.readouts[name].v) if points else (None, 0)
        # Of the sources at points (a maximum, V at T) y is not smooth at the point, which quadrature over the whole
        # segment would not resolve. The equation is linear in lambda: so each point is one more segment, that ends
        # there.
        for block in blocks(seg):
            here = None if density is None else density[block]
            self._integrate(adjoint, seg.part(block), adjoint.end[block], here, v)
        if points and len(points.segment):
            part = seg.part(points.segment, seg.start[points.segment] + points.offset)
            end = np.zeros((len(points.segment), adjoint.model.flow.n))
            end[:, v] = points.size
            self._integrate(adjoint, part, end, None, v)

    def adjoint_at(self, name: str, ids: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """(n, J) lambda of a population at `offset` (J,) ms from the start of segments `ids` (J,), once it has run:
        lambda(s) = psi(s)^-T (psi(L)^T lambda(L) + int_s^L psi^T dl/dx)."""
        adjoint, points = self.adjoint[name], self.sources.get(name)
        lam = np.empty((adjoint.model.flow.n, len(ids)))
        for first in range(0, len(ids), BLOCK):
            these = slice(first, first + BLOCK)
            part, s = adjoint.segments.part(ids[these]), offset[these]
            coefficients = psi(adjoint.model, part)[1]
            y = np.einsum("gij,gi->jg", adjoint.P[ids[these]], adjoint.end[ids[these]])
            if points is not None:
                y = y + self._sources_behind(name, points, ids[these], s, part, coefficients)
            at_s = at(coefficients, s / part.span)
            lam[:, these] = np.linalg.solve(at_s.transpose(2, 1, 0), y.T[..., None])[..., 0].T
        return lam

    def _sources_behind(
        self, name: str, points: Sources, ids: np.ndarray, s: np.ndarray, part: Segments, coefficients: np.ndarray
    ) -> np.ndarray:
        """(n, J) int_s^L psi^T dl/dx of segments."""
        total, v = np.zeros((coefficients.shape[1], len(ids))), self.readouts[name].v
        if points.density is not None:
            pulled = nodes(coefficients, part.length[:, None] * unit() / part.span[:, None])[v] * points.density[ids]
            length = np.maximum(part.length, np.finfo(float).tiny)
            total += integral_from(s / length, pulled) * part.length
        for segment, offset, size in zip(points.segment, points.offset, points.size):
            behind = (ids == segment) & (s <= offset)
            total[:, behind] += size * at(coefficients[:, v][..., behind], offset / part.span[behind])
        return total

    def _integrate(self, adjoint: _Adjoint, seg: Segments, end: np.ndarray, density: np.ndarray | None, v: int) -> None:
        x, lam = self._at_nodes(adjoint.model, seg, end, density, v)
        _, weights = gauss_legendre(NODES, 1.0)
        df_dp = adjoint.model.equations.df_dp(x, seg.neuron, seg.mode)
        rate = np.einsum("iqg,ipqg,q,g->pg", lam, df_dp, weights, seg.length, optimize=True)
        for name, value in zip(adjoint.gradient, rate):
            np.add.at(adjoint.gradient[name], seg.neuron, value)

    def _at_nodes(
        self, model: PopulationModel, seg: Segments, end: np.ndarray, density: np.ndarray | None, v: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """x and lambda (n, Q, G) at the nodes of segments: lambda(s) = psi(s)^-T y(s)."""
        u = seg.length[:, None] * unit() / seg.span[:, None]
        series, coefficients = psi(model, seg)
        at_end, at_nodes = at(coefficients, seg.length / seg.span), nodes(coefficients, u)
        y = np.einsum("ijg,gi->gj", at_end, end)[:, None]
        if density is not None:
            pulled = at_nodes[v] * density  # psi^T dl/dx at the nodes; what lies behind each node reaches it
            y = y + np.einsum("qr,jgr,g->gqj", remaining_integral(), pulled, seg.length)
        y = np.broadcast_to(y, (len(seg.neuron), NODES, model.flow.n))
        # solve, not the flow of the adjoint: psi is known to rounding, and well conditioned on so short a piece
        lam = np.linalg.solve(at_nodes.transpose(2, 3, 1, 0), y[..., None])[..., 0]
        return nodes(series, u).transpose(0, 2, 1), lam.transpose(2, 1, 0)


def states_at(model: PopulationModel, seg: Segments, ids: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(n, J) states at `offset` (J,) ms from the start of segments `ids` (J,)."""
    x = np.empty((model.flow.n, len(ids)))
    for first in range(0, len(ids), BLOCK):
        these = slice(first, first + BLOCK)
        part = seg.part(ids[these])
        series = model.flow.series(part.x, part.neuron, part.mode, part.span)
        x[:, these] = at(series, offset[these] / part.span)
    return x


def unit() -> np.ndarray:
    """(Q,) Gauss-Legendre nodes on [0, 1]."""
    return gauss_legendre(NODES, 1.0)[0]
