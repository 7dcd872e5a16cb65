"""One trial backwards: the costate lambda = dL/dx event by event, and the gradient of everything.

Formulas: docs/equations.md. Between events -dlambda/dt = A^T lambda + dl/dx; at an own event and at arrivals the jumps
of `adjoint/derive.py`. The loop over events is the recursion lambda(start of segment) = P^T lambda(end) + sources; the
parameter integrals int lambda . (dA/dp x + db/dp) dt follow for all segments at once, 20 nodes each.

Axis letters: n states, N neurons, p parameters, G segments, Q nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from ..losses.readout import gauss_legendre
from ..plan import Plan
from ..regularisers import pushed_state
from .event_equations import AT_SPIKE
from .event_flow import LinearFlow
from .event_forward import Arrival, PopulationModel, Recording, Segments, Spike
from .event_readout import NODES, Readout, density_rows

BLOCK = 2048  # segments whose nodes are held at once


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


class _Adjoint:
    """lambda of one population: segment by segment, and what own events need, evaluated for all of them at once."""

    def __init__(self, model: PopulationModel, recording: Recording) -> None:
        self.model, self.segments = model, recording.segments[model.name]
        seg = self.segments
        self.P = model.flow.transition(seg.end - seg.start, seg.neuron)
        self.sources = np.zeros((len(seg.neuron), model.flow.n))
        self.end = np.zeros_like(self.sources)
        self.gradient = {n: np.zeros(model.size) for n in model.record.derived.params}
        spikes = recording.spikes.get(model.name, [])
        if spikes:
            x, neurons = np.stack([s.x for s in spikes], axis=1), np.array([s.neuron for s in spikes])
            at = {n: model.equations.at_spike(n, x, neurons) for n in AT_SPIKE}
            self.a, self.gdot, self.dg_dp = at["a"][..., 0], at["gdot"][:, 0, 0], at["dg_dp"][..., 0]
            self.dh_dx, self.dh_dp = at["dh_dx"], at["dh_dp"]

    def start(self, ids: np.ndarray | int) -> np.ndarray:
        """lambda at the start of segments, (G, n), from lambda at their end."""
        return np.einsum("...ij,...i->...j", self.P[ids], self.end[ids]) + self.sources[ids]


class Backward:
    """Runs one trial backwards.

    Args:
        plan, models, weights: as for `Forward`. recording: what it made. readout: on that recording.
        dr: (K,) dL/dr. push: (K,) jump of lambda_V of the output at T. jumps: population -> (N,) of the regularisers.

    Attributes:
        gradients: "connection.weight" (M, N), "connection.delay" (), "population.parameter" (N,).
        input_times: (E,) dL/d(time of every input spike).
        smallest_slope: smallest |gdot| of an own spike, inf without spikes.
    """

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, PopulationModel],
        weights: Mapping[str, np.ndarray],
        recording: Recording,
        readout: Readout,
        n_inputs: int,
    ) -> None:
        self.plan, self.weights, self.recording, self.readout = plan, weights, recording, readout
        self.output = plan.output.name
        self.adjoint = {name: _Adjoint(m, recording) for name, m in models.items()}
        self.weight_gradient = {key: np.zeros_like(w) for key, w in weights.items()}
        self.delay_gradient = {c.name: 0.0 for c in plan.connections}
        self.input_times = np.zeros(n_inputs)
        self.smallest_slope = np.inf

    def run(self, dr: np.ndarray, push: np.ndarray, jumps: Mapping[str, np.ndarray]) -> None:
        self.dr, self.jumps = dr, jumps
        models = {name: self.adjoint[name].model.record.derived.model for name in jumps}
        self.pushed = {name: list(m.state).index(pushed_state(m)) for name, m in models.items()}
        out = self.adjoint[self.output]
        out.end[self.recording.last[self.output], self.readout.v] += push
        self._place_sources(out)
        for event in reversed(self.recording.events):
            if isinstance(event, Spike):
                self._spike(event)
            elif isinstance(event, Arrival):
                self._arrival(event)
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
        return out | {f"{name}.delay": np.array(g) for name, g in self.delay_gradient.items()}

    def _place_sources(self, out: _Adjoint) -> None:
        s, flow, v = self.readout.sources(self.dr), out.model.flow, self.readout.v
        self.density = s.density
        if s.density is not None:
            out.sources += density_rows(flow, out.segments, s.density, v)
        rows = flow.transition(s.offset, out.segments.neuron[s.segment])[:, v]
        np.add.at(out.sources, s.segment, rows * s.size[:, None])
        self.points = s

    def _spike(self, event: Spike) -> None:
        """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot; E undivided to the arrival that put it across by itself."""
        adjoint, i, n = self.adjoint[event.population], event.index, event.neuron
        lam = adjoint.start(event.after)
        E = event.feedback + lam @ adjoint.a[i]
        if event.population == self.output:
            E += self.readout.own(event, adjoint.segments.x[:, event.after], self.dr)
        rate = 0.0
        if event.cause is None:
            rate = E / adjoint.gdot[i]
            self.smallest_slope = min(self.smallest_slope, abs(float(adjoint.gdot[i])))
        else:
            event.cause.extra += E
        adjoint.end[event.before] = adjoint.dh_dx[i].T @ lam - adjoint.model.equations.slope[:, n] * rate
        if event.population in self.jumps:
            adjoint.end[event.before, self.pushed[event.population]] += self.jumps[event.population][n]
        jump = lam @ adjoint.dh_dp[i] - adjoint.dg_dp[i] * rate
        for name, value in zip(adjoint.gradient, jump):
            adjoint.gradient[name][n] += value

    def _arrival(self, event: Arrival) -> None:
        """dL/dw = lambda . e, dL/dp += w lambda . de/dp, and D to the spike or input that arrived and to the delay."""
        c, adjoint = event.connection, self.adjoint[event.connection.target]
        equations = adjoint.model.equations
        lam = adjoint.start(event.after)
        w, e = self.weights[c.weight][event.row], equations.direction[c.receptor]
        self.weight_gradient[c.weight][event.row] += np.einsum("nj,jn->n", lam, e)
        for k, name in enumerate(adjoint.gradient):
            adjoint.gradient[name] += w * np.einsum("nj,jn->n", lam, equations.d_direction[c.receptor][:, k])
        D = self._difference(event, lam, w * e)
        self.delay_gradient[c.name] += D
        if isinstance(event.source, Spike):
            event.source.feedback += D
        else:
            self.input_times[event.source] += D
        adjoint.end[event.before] = lam

    def _difference(self, event: Arrival, lam: np.ndarray, jump: np.ndarray) -> float:
        """D = sum over targets of lambda . (f(x-) - f(x+)) + l(x-) - l(x+), + kinks and self-crossings."""
        adjoint = self.adjoint[event.connection.target]
        after = adjoint.segments.x[:, event.after]
        flow = adjoint.model.flow
        D = float(np.einsum("nj,jn->", lam, flow.field(after - jump) - flow.field(after))) + event.extra
        if event.connection.target == self.output:
            D += self.readout.arrival(event, jump, self.dr)
        return D

    def _initial_values(self, name: str) -> None:
        adjoint = self.adjoint[name]
        lam = adjoint.start(np.arange(adjoint.model.size))
        dx0 = adjoint.model.equations.dx0_dp
        for k, n in enumerate(adjoint.gradient):
            adjoint.gradient[n] += np.einsum("nj,jn->n", lam, dx0[:, k])

    def _integrals(self, name: str) -> None:
        """int lambda . (dA/dp x + db/dp) dt over all segments; points of a maximum as further segments of their own."""
        adjoint, points = self.adjoint[name], self.points
        density = self.density if name == self.output else None
        self._integrate(adjoint, adjoint.segments, adjoint.end, density)
        if name == self.output and len(points.segment):
            seg, ids = adjoint.segments, points.segment
            part = Segments(seg.neuron[ids], seg.start[ids], seg.start[ids] + points.offset, seg.x[:, ids])
            end = np.zeros((len(ids), adjoint.model.flow.n))
            end[:, self.readout.v] = points.size
            self._integrate(adjoint, part, end, None)

    def _integrate(self, adjoint: _Adjoint, seg: Segments, end: np.ndarray, density: np.ndarray | None) -> None:
        flow, d = adjoint.model.flow, adjoint.model.record.derived
        if not d.dynamic_params:
            return
        generators = {n: adjoint.model.equations.dM[n][:, : flow.n] for n in d.dynamic_params}
        for first in range(0, len(seg.neuron), BLOCK):
            g = slice(first, first + BLOCK)
            x, lam, weights = _at_nodes(flow, seg, end, density, g, self.readout.v)
            neurons = seg.neuron[g]
            for n, dM in generators.items():
                mine = np.broadcast_to(dM[0], (len(neurons), *dM.shape[1:])) if len(dM) == 1 else dM[neurons]
                rate = np.einsum("gqi,gij,gqj,gq->g", lam, mine[..., :-1], x, weights, optimize=True)
                rate = rate + np.einsum("gqi,gi,gq->g", lam, mine[..., -1], weights, optimize=True)
                np.add.at(adjoint.gradient[n], neurons, rate)


def _at_nodes(
    flow: LinearFlow, seg: Segments, end: np.ndarray, density: np.ndarray | None, g: slice, v: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (G, Q, n), lambda (G, Q, n) and quadrature weights (G, Q) at the nodes of segments `g`.

    lambda(s) = P(L - s)^T [lambda(L) + int_s^L P(sigma - L)^T e_V density dsigma].
    """
    unit, weights = gauss_legendre(NODES, 1.0)
    neurons, length = seg.neuron[g], (seg.end - seg.start)[g]
    left = length[:, None] * (1.0 - unit)
    x = flow.nodes(flow.series(seg.x[:, g], neurons), length[:, None] * unit)
    lam = np.broadcast_to(end[g][:, None], x.shape)
    if density is not None:
        pulled = flow.transition(-left, neurons)[..., v, :] * density[g][..., None]
        lam = lam + length[:, None, None] * np.einsum("qr,grn->gqn", remaining_integral(), pulled)
    lam = np.einsum("gqij,gqi->gqj", flow.transition(left, neurons), lam)
    return x, lam, length[:, None] * weights
