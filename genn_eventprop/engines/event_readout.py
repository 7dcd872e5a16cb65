"""Readouts of one trial in continuous time: integrals, maxima, spikes, and where they act on lambda.

A readout answers for itself: `value` and `valid` go into the outer loss (or it has a `score` of its own); with dL/dr,
`sources` gives what it adds to the adjoint of every output segment, `own` and `arrival` the loss terms in E and D
(docs/equations.md).

Axis letters: n states, K classes (output neurons), C copies (see `event_flow`), L = C K lanes, G segments of the
output, Q Gauss-Legendre nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..losses.readout import gauss_legendre
from ..plan import Plan
from .event_flow import nodes
from .event_forward import PopulationModel
from .event_records import Arrival, Recording, Segments, Spike
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

    value, valid: (L,), copy by copy. inputs: (E,) times of the sample's input spikes, ascending, for time weights that
    follow the input.
    """

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> None:
        self.plan, self.model, self.recording, self.inputs = plan, model, recording, inputs
        self.segments: Segments = recording.segments[model.name]
        states, v = model.record.derived.states, plan.output.derived.model.readout
        self.v = states.index(v) if v in states else 0
        self.value, self.valid = np.zeros(model.lanes), np.ones(model.lanes, bool)
        self.evaluate()

    scores = False  # whether it has an outer loss of its own, `score`

    def evaluate(self) -> None:
        raise NotImplementedError

    def signature(self) -> tuple:
        """What must not change under a small change of parameters for differences to be a derivative."""
        return ()

    def changed(self) -> np.ndarray:
        """(C,) copies with another `signature` than the first."""
        return np.zeros(self.copies, bool)

    @property
    def copies(self) -> int:
        return self.model.lanes // self.model.size

    def score(self, y: np.ndarray) -> np.ndarray:
        """Outer loss (C,) of this trial; y: its label () or targets. Then `dr` is a factor on its gradient."""
        raise NotImplementedError

    def missing(self, y: np.ndarray) -> np.ndarray:
        """(K,) `Loss.push` of the first copy."""
        K = self.model.size
        return self.plan.loss.push(self.value[None, :K], self.valid[None, :K], y[None], self.plan.duration)[0]

    def sources(self, dr: np.ndarray) -> Sources:
        """dr: (K,) dL/dr."""
        return Sources(None, _NONE, np.zeros(0), np.zeros(0))

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        """dl_p/dt + l(x-) - l(x+) of an own spike of an output neuron; after: x+ (n,)."""
        return 0.0

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        """Sum over output neurons of l(x-) - l(x+) at an arrival; jump: x+ - x- (n, P) of its `neurons`."""
        return 0.0


class FirstSpike(Readout):
    """r_c = time of the first own spike of output c."""

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


class SpikeTimes(FirstSpike):
    """The m-th own spike of output c against a target of its own; r_c is the first."""

    scores = True

    def _table(self, M: int) -> tuple[np.ndarray, np.ndarray]:
        """(C, K, M) times and whether they are there."""
        shape = (self.copies, self.model.size, M)
        times, there = np.full(shape, self.plan.duration), np.zeros(shape, bool)
        self.rank, count = {}, np.zeros(self.model.size, np.int64)
        for spike in self.recording.spikes[self.model.name]:
            m = self.rank[spike.index] = int(count[spike.neuron])
            count[spike.neuron] += 1
            if m < M:
                times[:, spike.neuron, m], there[:, spike.neuron, m] = spike.times, True
        return times, there

    def score(self, y: np.ndarray) -> np.ndarray:
        times, there = self._table(y.shape[1])
        loss, slope = self.plan.loss.evaluate(times, there, np.repeat(y[None], len(times), 0), self.plan.duration)
        self.slope = np.where(there, slope, 0.0)[0]
        return loss

    def missing(self, y: np.ndarray) -> np.ndarray:
        times, there = self._table(y.shape[1])
        return self.plan.loss.push(times[:1], there[:1], y[None], self.plan.duration)[0]

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        m = self.rank.get(spike.index)
        inside = m is not None and m < self.slope.shape[1]
        return float(self.slope[spike.neuron, m] * dr[spike.neuron]) if inside else 0.0


class Count(Readout):
    """r_c = number of own spikes of output c; the engine adds the surrogate gradient as jumps at own spikes."""

    def evaluate(self) -> None:
        for spike in self.recording.spikes[self.model.name]:
            self.value[spike.neuron :: self.model.size] += 1


class End(Readout):
    """r_c = V_c(T)."""

    def evaluate(self) -> None:
        self.last = self.recording.last[self.model.name]
        part = self.segments.part(self.last)
        series = self.model.flow.again(part.x, part.neuron, part.mode, part.span)
        self.length = part.length
        self.value = at(series, part.length / part.span)[self.v]

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(None, self.last, self.length, dr)


class Integral(Readout):
    """r_c = 1/T int_0^T w(t) V_c(t) dt, with Gauss-Legendre nodes in every segment."""

    def evaluate(self) -> None:
        seg = self.segments
        unit, weights = gauss_legendre(NODES, 1.0)
        s = seg.length[:, None] * unit
        w = self.weight(np.clip(seg.start[:, None] + s, 0.0, self.plan.duration))
        series = self.model.flow.again(seg.x, seg.neuron, seg.mode, seg.span)
        V = nodes(series[:, self.v], s / seg.span[:, None])
        self.density, self.V, self.times = w, V, seg.start[:, None] + s
        np.add.at(self.value, seg.neuron, ((w * V) @ weights) * seg.length)

    def weight(self, t: np.ndarray) -> np.ndarray:
        """w(t) / T, times a(t) before an input spike at t itself."""
        weight = self.plan.loss.weight
        w = weight(t, self.plan.duration) / self.plan.duration
        return w if weight.input_tau is None else w * weight.activity_at(t, self.inputs)

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(self.density * dr[self.segments.neuron, None], _NONE, np.zeros(0), np.zeros(0))

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(self.weight(np.array(spike.time)) * dr[spike.neuron] * (spike.x[self.v] - after[self.v]))

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        return -float(self.weight(np.array(arrival.time)) * (dr[arrival.neurons] @ jump[self.v]))


class Voltage(Integral):
    """L = 1/T int w(t) l(V(t)) dt, l the outer loss; pieces of all output neurons begin and end together."""

    scores = True

    def evaluate(self) -> None:
        super().evaluate()
        seg, L = self.segments, self.model.lanes
        order = np.argsort(seg.neuron, kind="stable")  # segments are numbered in order of time
        self.ids = order.reshape(L, -1)  # (L, I): the i-th segment of every lane
        self.index = np.empty(len(order), np.int64)
        self.index[self.ids] = np.arange(self.ids.shape[1])

    def _by_copy(self, x: np.ndarray) -> np.ndarray:
        """(G, Q) -> (C, I, Q, K)."""
        K = self.model.size
        return np.moveaxis(x[self.ids].reshape(self.copies, K, *self.ids.shape[1:], x.shape[1]), 1, -1)

    def target(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """What V is compared with at times t: the label, or the targets in between their samples (..., K)."""
        if self.plan.loss.compares == "labels":
            return np.broadcast_to(y, t.shape)
        place = np.clip(t / self.plan.duration * (len(y) - 1), 0.0, len(y) - 1)
        k = np.minimum(place.astype(np.int64), len(y) - 2)
        part = (place - k)[..., None]
        return y[k] * (1 - part) + y[k + 1] * part

    def score(self, y: np.ndarray) -> np.ndarray:
        self.y = y
        w, V, t = (self._by_copy(x) for x in (self.density, self.V, self.times))
        _, weights = gauss_legendre(NODES, 1.0)
        length = self._by_copy(self.segments.length[:, None])[..., 0, 0]
        loss, slope = self.plan.loss.pointwise(V, self.target(y, t[..., 0]), self.plan.duration)
        self.slope = np.empty_like(self.density)
        K = self.model.size
        self.slope[self.ids] = np.moveaxis(w * slope, -1, 1).reshape(self.copies * K, *slope.shape[1:3])
        return np.einsum("ciq,q,ci->c", w[..., 0] * loss, weights, length)

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(self.slope * dr[self.segments.neuron, None], _NONE, np.zeros(0), np.zeros(0))

    def _l(self, t: float, V: np.ndarray) -> float:
        loss = self.plan.loss.pointwise(V, self.target(self.y, np.array(t)), self.plan.duration)[0]
        return float(self.weight(np.array(t)) * loss)

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        V = self.segments.x[self.v, self.ids[: self.model.size, self.index[spike.after]]]
        before, behind = V.copy(), V.copy()
        before[spike.neuron], behind[spike.neuron] = spike.x[self.v], after[self.v]
        return float(dr[spike.neuron]) * (self._l(spike.time, before) - self._l(spike.time, behind))

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        V = self.segments.x[self.v, arrival.after]
        return float(dr[0]) * (self._l(arrival.time, V - jump[self.v]) - self._l(arrival.time, V))


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
        mine = [e for e in self.recording.events if isinstance(e, Arrival) and self._mine(e)]
        for c in (c for c in range(self.model.size) if self.place[c] != "inside"):
            g, seg = self.segment[c], self.segments
            t = seg.end[g] if self.place[c] == "end" else seg.start[g]
            event = self._turning(c, [e for e in mine if seg.start[e.after[c]] == t and c in e.route.target])
            if event is not None:
                left_out = (self.at_end, event.before) if g <= event.before[c] else (seg.x, event.after)
                event.extra += float(dr[c] * self._slope(*left_out)[c])

    def _turning(self, c: int, arrivals: list[Arrival]) -> Arrival | None:
        """Of those that reach neuron c at t*: the one at which V turns, else (V jumps) the one where the maximum is."""
        for e in arrivals:
            if self._slope(self.at_end, e.before)[c] > 0 >= self._slope(self.segments.x, e.after)[c]:
                return e
        near = [e for e in arrivals if self.segment[c] in (e.before[c], e.after[c])]
        return next(iter([*near, *arrivals]), None)

    def _slope(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Vdot of all output neurons at states x of segments `ids`, one a neuron."""
        seg = self.segments
        return self.model.equations.field(x[:, ids], seg.neuron[ids], seg.mode[ids])[self.v]


class TraceOfV(Readout):
    """V_c(k dt) before the events of that instant: lambda_V jumps at each."""

    def evaluate(self) -> None:
        seg, steps = self.segments, self.plan.n_steps
        times = self.plan.duration * np.arange(steps + 1) / steps
        order = np.lexsort((seg.start, seg.neuron))
        lanes = np.split(order, np.flatnonzero(np.diff(seg.neuron[order])) + 1)
        at_time = [mine[np.maximum(np.searchsorted(seg.start[mine], times) - 1, 0)] for mine in lanes]
        self.segment = np.concatenate(at_time)
        self.offset = np.clip(np.tile(times, len(lanes)) - seg.start[self.segment], 0.0, seg.length[self.segment])
        part = seg.part(self.segment)
        series = self.model.flow.again(part.x, part.neuron, part.mode, part.span)
        V = at(series, self.offset / part.span)[self.v]
        self.value = V.reshape(len(lanes), -1)  # (L, T + 1)
        self.valid = np.ones(self.value.shape, bool)

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(None, self.segment, self.offset, dr.T.ravel())


class Several(Readout):
    """Several readouts of one recording, the loss's own first; dr: a tuple of theirs, or the first one's alone."""

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> None:
        self.parts = [KINDS[name](plan, model, recording, inputs) for name in plan.loss.readouts]
        super().__init__(plan, model, recording, inputs)

    def evaluate(self) -> None:
        self.value, self.valid = self.parts[0].value, self.parts[0].valid

    def signature(self) -> tuple:
        return tuple(part.signature() for part in self.parts)

    def changed(self) -> np.ndarray:
        return np.any([part.changed() for part in self.parts], axis=0)

    def missing(self, y: np.ndarray) -> np.ndarray:
        return self.parts[0].missing(y)

    def _each(self, dr: Any) -> list[tuple[Readout, np.ndarray]]:
        return list(zip(self.parts, dr)) if isinstance(dr, tuple) else [(self.parts[0], dr)]

    def sources(self, dr: Any) -> Sources:
        found = [part.sources(each) for part, each in self._each(dr)]
        density = [s.density for s in found if s.density is not None]
        points = (np.concatenate([getattr(s, name) for s in found]) for name in ("segment", "offset", "size"))
        return Sources(np.sum(density, axis=0) if density else None, *points)

    def own(self, spike: Spike, after: np.ndarray, dr: Any) -> float:
        return sum(part.own(spike, after, each) for part, each in self._each(dr))

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: Any) -> float:
        return sum(part.arrival(arrival, jump, each) for part, each in self._each(dr))


KINDS: dict[str, type[Readout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> Readout:
    """What a plan's loss reads."""
    return (Several if plan.loss.also else KINDS[plan.loss.readout])(plan, model, recording, inputs)


def breaks(plan: Plan, inputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Times at which the readout of a trial is not smooth by itself: its window, the input that its weight follows,
    samples of a target series."""
    loss, times = plan.loss, [np.zeros(0)]
    if loss.integrates:
        times += [np.array(loss.weight.window or ())]
        times += [inputs] if loss.weight.input_tau is not None else []
    if loss.readout == "voltage" and loss.compares == "targets":
        times += [np.linspace(0.0, plan.duration, len(y))]
    return np.concatenate(times)


def density_rows(psi: np.ndarray, length: np.ndarray, density: np.ndarray, v: int) -> np.ndarray:
    """int_0^L psi(s)^T e_V density ds of segments: what it adds to lambda at their start, (G, n).

    psi: (n, n, G, Q) dx(s)/dx(0) at the nodes. density: (G, Q). length: (G,) ms.
    """
    _, weights = gauss_legendre(NODES, 1.0)
    return np.einsum("gq,jgq->gj", density * weights, psi[v]) * length[:, None]
