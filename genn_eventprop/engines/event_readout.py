"""Readouts of one trial in continuous time: integrals, maxima and first spike times, and where they act on lambda.

A readout answers for itself: `value` and `valid` go into the outer loss; with dL/dr, `sources` gives what it adds to
the adjoint of every output segment, `own` and `arrival` the loss terms in E and D (docs/equations.md).

Axis letters: n states, K classes (output neurons), C copies (see `event_flow`), L = C K lanes, G segments of the
output, Q Gauss-Legendre nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..losses.readout import gauss_legendre
from ..plan import Plan
from .event_flow import nodes
from .event_forward import Arrival, PopulationModel, Recording, Segments, Spike
from .event_series import at, bernstein, largest_inside, stretch

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
    """The readout of a loss on one recording; see the subclasses.

    value, valid: (L,), copy by copy.
    """

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording) -> None:
        self.plan, self.model, self.recording = plan, model, recording
        self.segments: Segments = recording.segments[model.name]
        self.v = model.record.derived.states.index(plan.loss.population.model.readout) if self.reads_state else 0
        self.value, self.valid = np.zeros(model.lanes), np.ones(model.lanes, bool)
        self.evaluate()

    reads_state = True

    def evaluate(self) -> None:
        raise NotImplementedError

    def signature(self) -> tuple:
        """What must not change under a small change of parameters for differences to be a derivative."""
        return ()

    def changed(self) -> np.ndarray:
        """(C,) copies with another `signature` than the first."""
        return np.zeros(self.model.lanes // self.model.size, bool)

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
                self.value[spike.neuron :: self.model.size] = spike.times
                self.valid[spike.neuron :: self.model.size] = True

    def signature(self) -> tuple:
        return tuple(self.valid.tolist())

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(dr[spike.neuron]) if self.first.get(spike.neuron) is spike else 0.0


class Integral(Readout):
    """r_c = 1/T int_0^T w(t) V_c(t) dt, with Gauss-Legendre nodes in every segment."""

    def evaluate(self) -> None:
        seg = self.segments
        unit, weights = gauss_legendre(NODES, 1.0)
        s = seg.length[:, None] * unit
        w = self.weight(np.clip(seg.start[:, None] + s, 0.0, self.plan.duration))
        series = self.model.flow.again(seg.x, seg.neuron, seg.mode, seg.span)
        V = nodes(series[:, self.v], s / seg.span[:, None])
        self.density = w
        np.add.at(self.value, seg.neuron, ((w * V) @ weights) * seg.length)

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
        seg = self.segments
        self.length = seg.length
        series = self.model.flow.again(seg.x, seg.neuron, seg.mode, seg.span)
        self.at_end = at(series, self.length / seg.span)
        L = self.model.lanes
        self.segment, self.offset, self.place = np.zeros(L, np.int64), np.zeros(L), ["start"] * L
        V = stretch(series[:, self.v], self.length / seg.span)
        bounds = bernstein(V)
        order = np.lexsort((seg.start, seg.neuron))
        for mine in np.split(order, np.flatnonzero(np.diff(seg.neuron[order])) + 1):
            self._search(int(seg.neuron[mine[0]]), mine, V, bounds)

    def _search(self, c: int, mine: np.ndarray, V: np.ndarray, bounds: np.ndarray) -> None:
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
        return self._signatures(0)

    def changed(self) -> np.ndarray:
        mine = self.signature()
        return np.array([self._signatures(c) != mine for c in range(self.model.lanes // self.model.size)])

    def _signatures(self, copy: int) -> tuple:
        seg, out = self.segments, []
        mine = [e.after for e in self.recording.events if isinstance(e, Arrival) and self._mine(e)]
        for lane in range(copy * self.model.size, (copy + 1) * self.model.size):
            arrivals = seg.start[[after[lane] for after in mine]]
            g = self.segment[lane]
            t = {"end": seg.end[g], "start": seg.start[g]}.get(self.place[lane], seg.start[g] + self.offset[lane])
            kind = "kink" if t in arrivals else "edge" if t in (0.0, self.plan.duration) else "inside"
            out.append((kind, int(np.sum(arrivals < t))))
        return tuple(out)

    def _mine(self, event: Arrival) -> bool:
        return event.connection.target == self.model.name

    def sources(self, dr: np.ndarray) -> Sources:
        """Points at t*; and the kink rule: an arrival at t* gets dL/dr times Vdot of the side that lambda left out."""
        self._kinks(dr)
        return Sources(None, self.segment, self.offset, dr)

    def _kinks(self, dr: np.ndarray) -> None:
        for event in self.recording.events:
            if not isinstance(event, Arrival) or not self._mine(event):
                continue
            for c in range(self.model.size):
                if self.place[c] == "end" and event.before[c] == self.segment[c]:
                    event.extra += float(dr[c] * self._slope(self.at_end, event.before)[c])
                if self.place[c] == "start" and event.after[c] == self.segment[c]:
                    event.extra += float(dr[c] * self._slope(self.segments.x, event.after)[c])

    def _slope(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Vdot of all output neurons at states x of segments `ids`, one a neuron."""
        seg = self.segments
        return self.model.equations.field(x[:, ids], seg.neuron[ids], seg.mode[ids])[self.v]


KINDS: dict[str, type[Readout]] = {"first_spike": FirstSpike, "integral": Integral, "max": Maximum}


def density_rows(psi: np.ndarray, length: np.ndarray, density: np.ndarray, v: int) -> np.ndarray:
    """int_0^L psi(s)^T e_V density ds of segments: what it adds to lambda at their start, (G, n).

    psi: (n, n, G, Q) dx(s)/dx(0) at the nodes. density: (G, Q). length: (G,) ms.
    """
    _, weights = gauss_legendre(NODES, 1.0)
    return np.einsum("gq,jgq->gj", density * weights, psi[v]) * length[:, None]
