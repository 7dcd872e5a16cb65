"""Readouts of V in continuous time: at T, integrals, losses of V at every time, the maximum, the trace."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ....losses.readout import gauss_legendre
from .flow import nodes
from .population import SAME_INSTANT
from .readout import NODES, NONE, Readout, Sources
from .records import Arrival, Spike
from .series import at, bernstein, largest_inside, stretch

FINEST = 1e-4  # of the trial: segments are not halved below, where w(t) has a kink


@lru_cache(maxsize=1)
def _last_coefficients() -> np.ndarray:
    """(2, Q): from values at the nodes to the last two Legendre coefficients."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    m = np.arange(NODES - 2, NODES)
    return (np.polynomial.legendre.legvander(x, NODES - 1)[:, m] * w[:, None] * (m + 0.5)).T


class End(Readout):
    """r_c = V_c(T)."""

    def evaluate(self) -> None:
        self.last = self.recording.last[self.model.name]
        part = self.segments.part(self.last)
        series = self.model.flow.series(part.x, part.neuron, part.mode, part.span)
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
        series = self.model.flow.series(seg.x, seg.neuron, seg.mode, seg.span)
        V = nodes(series[:, self.v], s / seg.span[:, None])
        self.density, self.V, self.times = w, V, seg.start[:, None] + s
        np.add.at(self.value, seg.neuron, ((w * V) @ weights) * seg.length)

    def weight(self, t: np.ndarray) -> np.ndarray:
        """w(t) / T, times a(t) before an input spike at t itself."""
        weight = self.plan.loss.weight
        w = weight(t, self.plan.duration) / self.plan.duration
        return w if weight.input_tau is None else w * weight.activity_at(t, self.inputs)

    def halves(self, y: np.ndarray | None) -> np.ndarray:
        return self._middles(self.density, 1e-15 * np.abs(self.density).max(initial=0.0))

    def _middles(self, values: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
        """The middles (ms) of segments of the first copy in which values (G, Q) at the nodes are no polynomial of a
        degree that the quadrature integrates: the last two Legendre coefficients are above 1e-11 of its size and above
        `noise`, (G,) or for all, what rounding leaves of it."""
        seg = self.segments
        last = np.abs(values @ _last_coefficients().T).sum(axis=1)
        rough = (last > 1e-11 * np.abs(values).max(axis=1) + noise) & (seg.neuron < self.model.size)
        return (seg.start + seg.length / 2)[rough & (seg.length > FINEST * self.plan.duration)]

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(self.density * dr[self.segments.neuron, None], NONE, np.zeros(0), np.zeros(0))

    def spike_term(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(self.weight(np.array(spike.time)) * dr[spike.neuron] * (spike.x[self.v] - after[self.v]))

    def arrival_term(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        return -float(self.weight(np.array(arrival.time)) * (dr[arrival.neurons] @ jump[self.v]))


class Voltage(Integral):
    """L = 1/T int w(t) l(V(t)) dt, l the outer loss; pieces of all output neurons begin and end together."""

    scores = True

    def evaluate(self) -> None:
        super().evaluate()
        seg, L = self.segments, self.model.lanes
        order = np.argsort(seg.neuron, kind="stable")  # segments are numbered in order of time
        self.ids = order.reshape(L, -1)  # (L, I): the i-th segment of every lane; equally many, since they are aligned
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

    def halves(self, y: np.ndarray | None) -> np.ndarray:
        if y is None:
            return np.zeros(0)
        with np.errstate(all="ignore"):  # copies that are `changed` may have diverged
            self.score(y)
            # dl/dV is a difference of numbers as large as 1 or V: where it nearly vanishes no segment is short enough
            noise = 1e-13 * (np.abs(self.density) * (1 + np.abs(self.V))).max(axis=1)
            most = noise[self.ids].reshape(self.copies, -1, self.ids.shape[1]).max(axis=1)
            noise[self.ids] = np.repeat(most, self.model.size, axis=0)
            return self._middles(self.slope, noise)

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(self.slope * dr[self.segments.neuron, None], NONE, np.zeros(0), np.zeros(0))

    def _l(self, t: float, V: np.ndarray) -> float:
        """w(t) / T l(V) of one instant, for the terms l(x-) - l(x+)."""
        loss = self.plan.loss.pointwise(V, self.target(self.y, np.array(t)), self.plan.duration)[0]
        return float(self.weight(np.array(t)) * loss)

    def spike_term(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        V = self.segments.x[self.v, self.ids[: self.model.size, self.index[spike.after]]]
        before, behind = V.copy(), V.copy()
        before[spike.neuron], behind[spike.neuron] = spike.x[self.v], after[self.v]
        return float(dr[spike.neuron]) * (self._l(spike.time, before) - self._l(spike.time, behind))

    def arrival_term(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        V = self.segments.x[self.v, arrival.after]
        return float(dr[0]) * (self._l(arrival.time, V - jump[self.v]) - self._l(arrival.time, V))


class Maximum(Readout):
    """r_c = max_t V_c(t): stationary points inside segments, kinks at arrivals, or the ends of the trial."""

    def evaluate(self) -> None:
        seg = self.segments
        self.length = seg.length
        series = self.model.flow.series(seg.x, seg.neuron, seg.mode, seg.span)
        self.at_end = at(series, self.length / seg.span)
        L = self.model.lanes
        self.segment, self.offset, self.place = np.zeros(L, np.int64), np.zeros(L), ["start"] * L
        V = stretch(series[:, self.v], self.length / seg.span)
        bounds = bernstein(V)
        order = np.lexsort((seg.start, seg.neuron))
        for mine in np.split(order, np.flatnonzero(np.diff(seg.neuron[order])) + 1):
            # between arrivals of one instant V has no value: segments that short are no candidates, but for the first,
            # whose start is V(0), and the last, which arrivals just before T have made: its end is V(T)
            lasting = self.length[mine] > self.instant
            lasting[[0, -1]] = True
            self._search(int(seg.neuron[mine[0]]), mine[lasting], V, bounds)

    @property
    def instant(self) -> float:
        return SAME_INSTANT * self.plan.duration

    def _search(self, c: int, mine: np.ndarray, V: np.ndarray, bounds: np.ndarray) -> None:
        start, end = self.segments.x[self.v, mine], self.at_end[self.v, mine]
        i, j = int(start.argmax()), int(end.argmax())
        if start[0] >= max(start[i], end[j]):  # nothing above V(0): the first of equal maxima
            best, place = (float(start[0]), int(mine[0]), 0.0), "start"
        elif end[j] >= start[i] and not (i == j and self._falls_within_rounding(mine[i], V)):
            best, place = (float(end[j]), int(mine[j]), float(self.length[mine[j]])), "end"
        else:
            best, place = (float(start[i]), int(mine[i]), 0.0), "start"
        for g in mine[bounds[:, mine].max(axis=0) > best[0]]:  # Bernstein coefficients bound V: the rest cannot win
            u, value = largest_inside(V[:, g], bounds[:, g], best[0])
            if u is not None:
                best, place = (value, int(g), u * float(self.length[g])), "inside"
        self.value[c], self.segment[c], self.offset[c] = best
        self.place[c] = place

    def _falls_within_rounding(self, g: int, V: np.ndarray) -> bool:
        """Whether V falls at the start of a segment so short that its end is no lower."""
        rises = self.at_end[self.v, g] - self.segments.x[self.v, g] > 1e-14 * np.abs(V[:, g]).max()
        return not rises and bool(self._slope(self.segments.x, np.array([g]))[0] <= 0)

    def signature(self) -> tuple[object, ...]:
        """For every class: at which arrival the maximum is, or between which."""
        return self._signatures(0)

    def changed(self) -> np.ndarray:
        mine = self.signature()
        return np.array([self._signatures(c) != mine for c in range(self.model.lanes // self.model.size)])

    def _signatures(self, copy: int) -> tuple[object, ...]:
        seg, out = self.segments, []
        mine = [e.after for e in self.recording.events if isinstance(e, Arrival) and self._reaches_output(e)]
        for lane in range(copy * self.model.size, (copy + 1) * self.model.size):
            arrivals = seg.start[[after[lane] for after in mine]]
            g = self.segment[lane]
            t = {"end": seg.end[g], "start": seg.start[g]}.get(self.place[lane], seg.start[g] + self.offset[lane])
            kind = "kink" if t in arrivals else "edge" if t in (0.0, self.plan.duration) else "inside"
            out.append((kind, int(np.sum(arrivals < t))))
        return tuple(out)

    def _reaches_output(self, event: Arrival) -> bool:
        return event.connection.target == self.model.name

    def sources(self, dr: np.ndarray) -> Sources:
        """Points at t*, and the kink rule (docs/equations.md, section 3)."""
        self._kinks(dr)
        return Sources(None, self.segment, self.offset, dr)

    def _kinks(self, dr: np.ndarray) -> None:
        """An arrival at t* gets dL/dr Vdot of the side of t* that lambda leaves out.

        r is V at the time of the arrival: dr/ds = Vdot(t*-), or Vdot(t*+) where V jumps up. D, formed with lambda
        on one side of the jump at t*, lacks that. The arrivals of one instant share one kink, so one of them gets it.
        """
        mine = [e for e in self.recording.events if isinstance(e, Arrival) and self._reaches_output(e)]
        for c in (c for c in range(self.model.size) if self.place[c] != "inside"):
            g, seg = np.full(self.model.size, self.segment[c]), self.segments
            here = seg.end if self.place[c] == "end" else seg.start
            events = [e for e in mine if abs(e.time - here[g[c]]) <= self.instant and self._reaches(e, c)]
            at_T = self.place[c] == "end" and self.length[g[c]] <= self.instant  # V rises behind arrivals just before T
            if not events or at_T:
                continue
            if self.place[c] == "end" or g[c] == events[0].before[c]:  # the maximum is before all of them
                # V rises into the kink, or it would not be the maximum: below zero is rounding
                slope = max(float(self._slope(self.at_end, g)[c]), 0.0)
                event = next((e for e in events if self._falls(e, c)), events[0])
            else:  # V jumps up at the arrivals, and falls behind the last of them
                slope, event = float(self._slope(seg.x, g)[c]), events[-1]
            event.extra += float(dr[c]) * slope

    def _reaches(self, e: Arrival, c: int) -> bool:
        """Whether an arrival changes anything of output c."""
        return bool(np.any(self.at_end[:, e.before[c]] != self.segments.x[:, e.after[c]]))

    def _falls(self, e: Arrival, c: int) -> bool:
        """Whether V does not rise, or is lower than the maximum, behind an arrival."""
        return bool(
            self._slope(self.segments.x, e.after)[c] <= 0 or self.segments.x[self.v, e.after[c]] < self.value[c]
        )

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
        together = times - SAME_INSTANT * self.plan.duration  # one instant, but for rounding
        at_time = [mine[np.maximum(np.searchsorted(seg.start[mine], together) - 1, 0)] for mine in lanes]
        self.segment = np.concatenate(at_time)
        self.offset = np.clip(np.tile(times, len(lanes)) - seg.start[self.segment], 0.0, seg.length[self.segment])
        part = seg.part(self.segment)
        series = self.model.flow.series(part.x, part.neuron, part.mode, part.span)
        V = at(series, self.offset / part.span)[self.v]
        self.value = V.reshape(len(lanes), -1)  # (L, T + 1)
        self.valid = np.ones(self.value.shape, bool)

    def sources(self, dr: np.ndarray) -> Sources:
        return Sources(None, self.segment, self.offset, dr.T.ravel())
