"""Readouts of one trial in continuous time: integrals, maxima and first spike times, and where they act on lambda.

A readout answers for itself: `value` and `valid` go into the outer loss; with dL/dr, `sources` gives what it adds to
the adjoint of every output segment, `own` and `arrival` the loss terms in E and D (docs/equations.md).

Axis letters: n states, K classes (output neurons), G segments of the output, Q Gauss-Legendre nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..losses.readout import gauss_legendre
from ..plan import Plan
from .event_flow import LinearFlow, bernstein, bernstein_matrices, powers_of, solve
from .event_forward import Arrival, PopulationModel, Recording, Segments, Spike

NODES = 20


@dataclass(eq=False)
class Sources:
    """dL/dx that enters inside segments: spread over time, or at points.

    density: (G, Q) dl/dV at the nodes of every segment, or None. segment (J,), offset (J,), size (J,): points where
    lambda_V jumps, offset in ms from the start of the segment.
    """

    density: np.ndarray | None
    segment: np.ndarray
    offset: np.ndarray
    size: np.ndarray


_NONE = np.zeros(0, np.int64)


class Readout:
    """The readout of a loss on one recording; see the subclasses."""

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording) -> None:
        self.plan, self.model, self.recording = plan, model, recording
        self.segments: Segments = recording.segments[model.name]
        self.v = model.record.derived.states.index(plan.loss.population.model.readout) if self.reads_state else 0
        self.value, self.valid = np.zeros(model.size), np.ones(model.size, bool)
        self.evaluate()

    reads_state = True

    def evaluate(self) -> None:
        raise NotImplementedError

    def signature(self) -> tuple:
        """What must not change under a small change of parameters for differences to be a derivative."""
        return ()

    def sources(self, dr: np.ndarray) -> Sources:
        """dr: (K,) dL/dr."""
        return Sources(None, _NONE, np.zeros(0), np.zeros(0))

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        """dl_p/dt + l(x-) - l(x+) of an own spike of an output neuron; after: x+ (n,)."""
        return 0.0

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        """Sum over output neurons of l(x-) - l(x+) at an arrival; jump: x+ - x- (n, K)."""
        return 0.0


class FirstSpike(Readout):
    """r_c = time of the first own spike of output c."""

    reads_state = False

    def evaluate(self) -> None:
        self.value[:], self.valid[:] = self.plan.duration, False
        self.first: dict[int, Spike] = {}
        for spike in self.recording.spikes[self.model.name]:
            if spike.neuron not in self.first:
                self.first[spike.neuron] = spike
                self.value[spike.neuron], self.valid[spike.neuron] = spike.time, True

    def signature(self) -> tuple:
        return tuple(self.valid.tolist())

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(dr[spike.neuron]) if self.first.get(spike.neuron) is spike else 0.0


class Integral(Readout):
    """r_c = 1/T int_0^T w(t) V_c(t) dt, with Gauss-Legendre nodes in every segment."""

    def evaluate(self) -> None:
        seg, flow = self.segments, self.model.flow
        unit, weights = gauss_legendre(NODES, 1.0)
        length = seg.end - seg.start
        s = length[:, None] * unit
        w = self.weight(seg.start[:, None] + s)
        V = flow.nodes(flow.series(seg.x, seg.neuron), s)[..., self.v]
        self.density = w
        np.add.at(self.value, seg.neuron, ((w * V) @ weights) * length)

    def weight(self, t: np.ndarray) -> np.ndarray:
        """w(t) / T."""
        return self.plan.loss.weight(t, self.plan.duration) / self.plan.duration

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(self.density * dr[self.segments.neuron, None], _NONE, np.zeros(0), np.zeros(0))

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(self.weight(np.array(spike.time)) * dr[spike.neuron] * (spike.x[self.v] - after[self.v]))

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        return -float(self.weight(np.array(arrival.time)) * (dr @ jump[self.v]))


class Maximum(Readout):
    """r_c = max_t V_c(t): stationary points inside segments, kinks at arrivals, or the ends of the trial."""

    def evaluate(self) -> None:
        seg, flow = self.segments, self.model.flow
        length = seg.end - seg.start
        series = flow.series(seg.x, seg.neuron)
        self.series, self.length = series, length
        self.at_end = flow.at(series, length)
        self.segment, self.offset = np.zeros(self.model.size, np.int64), np.zeros(self.model.size)
        self.place = ["start"] * self.model.size
        V = series[:, self.v] * powers_of(length / flow.span).T
        bounds = bernstein(V)
        for c in range(self.model.size):
            self._search(c, np.flatnonzero(seg.neuron == c), V, bounds)

    def _search(self, c: int, mine: np.ndarray, V: np.ndarray, bounds: np.ndarray) -> None:
        mine = mine[np.argsort(self.segments.start[mine], kind="stable")]
        start, end = self.segments.x[self.v, mine], self.at_end[self.v, mine]
        i, j = int(start.argmax()), int(end.argmax())
        if start[0] >= max(start[i], end[j]):  # nothing above V(0): the first of equal maxima
            best, place = (float(start[0]), int(mine[0]), 0.0), "start"
        elif end[j] >= start[i]:
            best, place = (float(end[j]), int(mine[j]), float(self.length[mine[j]])), "end"
        else:
            best, place = (float(start[i]), int(mine[i]), 0.0), "start"
        for g in mine[bounds[:, mine].max(axis=0) > best[0]]:
            u, value = largest_inside(V[:, g], bounds[:, g], best[0])
            if u is not None:
                best, place = (value, int(g), u * float(self.length[g])), "inside"
        self.value[c], self.segment[c], self.offset[c] = best
        self.place[c] = place

    def signature(self) -> tuple:
        """For every class: at which arrival the maximum is, or between which."""
        arrivals = [e.time for e in self.recording.events if isinstance(e, Arrival) and self._mine(e)]
        seg, out = self.segments, []
        for c in range(self.model.size):
            g = self.segment[c]
            t = {"end": seg.end[g], "start": seg.start[g]}.get(self.place[c], seg.start[g] + self.offset[c])
            kind = "kink" if t in arrivals else "edge" if t in (0.0, self.plan.duration) else "inside"
            out.append((kind, sum(s < t for s in arrivals)))
        return tuple(out)

    def _mine(self, event: Arrival) -> bool:
        return event.connection.target == self.model.name

    def sources(self, dr: np.ndarray) -> Sources:
        """Points at t*; and the kink rule: an arrival at t* gets dL/dr times Vdot of the side that lambda left out."""
        self._kinks(dr)
        return Sources(None, self.segment, self.offset, dr)

    def _kinks(self, dr: np.ndarray) -> None:
        flow = self.model.flow
        for event in self.recording.events:
            if not isinstance(event, Arrival) or not self._mine(event):
                continue
            for c in range(self.model.size):
                if self.place[c] == "end" and event.before[c] == self.segment[c]:
                    event.extra += float(dr[c] * flow.field(self.at_end[:, event.before])[self.v, c])
                if self.place[c] == "start" and event.after[c] == self.segment[c]:
                    event.extra += float(dr[c] * flow.field(self.segments.x[:, event.after])[self.v, c])


def largest_inside(coefficients: np.ndarray, bounds: np.ndarray, best: float) -> tuple[float | None, float]:
    """The stationary maximum of a polynomial on [0, 1] above `best`: (u, value), u None if there is none.

    Branch and bound on Bernstein coefficients: their maximum bounds the polynomial, and where their differences change
    sign once there is one stationary point.
    """
    _, left, right = bernstein_matrices()
    derivative = -(coefficients * np.arange(len(coefficients)))[1:]
    stack, at = [(0.0, 1.0, bounds)], None
    while stack:
        low, high, b = stack.pop()
        if b.max() <= best:
            continue
        rising = np.diff(b) > 0
        changes = np.count_nonzero(rising[1:] != rising[:-1])
        if changes == 0 or (changes == 1 and not rising[0]):
            continue
        if changes == 1:
            u = solve(derivative, low, high)
            value = float(np.polynomial.polynomial.polyval(u, coefficients))
            if value > best:
                best, at = value, u
        elif high - low > 2.0**-40:
            middle = 0.5 * (low + high)
            stack += [(middle, high, right @ b), (low, middle, left @ b)]
    return at, best


KINDS: dict[str, type[Readout]] = {"first_spike": FirstSpike, "integral": Integral, "max": Maximum}


def density_rows(flow: LinearFlow, segments: Segments, density: np.ndarray, v: int) -> np.ndarray:
    """int_0^L P(s)^T e_V density ds of every segment: what it adds to lambda at its start, (G, n)."""
    unit, weights = gauss_legendre(NODES, 1.0)
    length = segments.end - segments.start
    P = flow.transition(length[:, None] * unit, segments.neuron)[..., v, :]
    return np.einsum("gq,gqn->gn", density * weights, P) * length[:, None]
