"""One trial forwards, event by event, into a `Recording` that the readouts and the backward pass work on.

Every neuron's trajectory is cut into segments: a segment begins with an own spike, an arrival, or where a piece of the
flow ends, so that each is one power series (`event_flow`). Events are handled in the order (time; crossings before
arrivals; population; neuron).

Axis letters: n states, N neurons, G segments.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import EngineError
from ..plan import ConnectionRecord, Plan
from .event_equations import Compiled, Equations
from .event_flow import ORDER, LinearFlow, bernstein, first_upward_root


@dataclass(eq=False)
class Arrival:
    """Spike `source` (an own `Spike`, or the index of an input spike) reaches all neurons through row `row`."""

    connection: ConnectionRecord
    row: int
    source: Spike | int
    time: float
    before: np.ndarray
    after: np.ndarray
    extra: float = 0.0


@dataclass(eq=False)
class Spike:
    """Own event of one neuron; `cause`: the arrival that put it across by itself (delta synapses)."""

    population: str
    neuron: int
    time: float
    x: np.ndarray
    index: int
    before: int
    after: int
    cause: Arrival | None
    feedback: float = 0.0


@dataclass(eq=False)
class Renewal:
    """Segments that end only because the power series does."""

    population: str
    before: np.ndarray
    after: np.ndarray


Record = Arrival | Spike | Renewal


@dataclass(eq=False)
class Segments:
    """All segments of a population: neuron (G,), start and end (G,) in ms, x (n, G) at the start."""

    neuron: np.ndarray
    start: np.ndarray
    end: np.ndarray
    x: np.ndarray


@dataclass(eq=False)
class Recording:
    """What happened: the events in order, the segments, and the last segment of every neuron."""

    events: list[Record]
    segments: dict[str, Segments]
    last: dict[str, np.ndarray]
    spikes: dict[str, list[Spike]]

    def order(self) -> dict[str, list[tuple[str, int]]]:
        """Population -> (own spike or connection, neuron) in order of time: what small changes must not change."""
        out: dict[str, list[tuple[str, int]]] = {name: [] for name in self.segments}
        for e in self.events:
            if isinstance(e, Spike):
                out[e.population].append(("", e.neuron))
            elif isinstance(e, Arrival):
                out[e.connection.target].append((e.connection.name, e.row))
        return out


class PopulationModel:
    """Numbers of one population for the current parameters: equations and flow. values: parameter -> (1,) or (N,)."""

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray], duration: float) -> None:
        self.record, self.name, self.size = compiled.record, compiled.record.name, compiled.record.size
        self.equations = Equations(compiled, values)
        self.flow = LinearFlow(self.equations.M, duration)
        self.spiking = compiled.record.spiking


@dataclass(eq=False)
class _Running:
    """The present piece of every neuron of a population, and when it would cross on it."""

    model: PopulationModel
    start: np.ndarray
    end: np.ndarray
    crossing: np.ndarray
    series: np.ndarray
    armed: np.ndarray
    segment: np.ndarray
    cause: list[Arrival | None]
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    closed: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    count: int = 0
    spikes: list[Spike] = field(default_factory=list)

    @classmethod
    def begin(cls, model: PopulationModel) -> _Running:
        N, n = model.size, model.flow.n
        new = cls(
            model, np.zeros(N), np.zeros(N), np.full(N, np.inf), np.zeros((ORDER + 1, n, N)),
            np.zeros(N, bool), np.zeros(N, np.int64), [None] * N,
        )  # fmt: skip
        every = np.arange(N)
        new.open(every, model.equations.x0, np.zeros(N), None)
        return new

    def states(self, neurons: np.ndarray, time: np.ndarray | float) -> np.ndarray:
        """x (n, G) of `neurons` at `time`, by their present pieces."""
        return self.model.flow.at(self.series[:, :, neurons], time - self.start[neurons])

    def open(self, neurons: np.ndarray, x: np.ndarray, time: np.ndarray, cause: Arrival | None) -> np.ndarray:
        """Begin new pieces at x (n, G); returns their segment numbers."""
        ids = np.arange(self.count, self.count + len(neurons))
        self.count += len(neurons)
        self.blocks.append((neurons, time, x))
        self.segment[neurons], self.start[neurons], self.end[neurons] = ids, time, time + self.model.flow.span
        series = self.model.flow.series(x, neurons)
        self.series[:, :, neurons] = series
        if self.model.spiking:
            self._look_ahead(self.model.equations.threshold(series, neurons), neurons, time, cause)
        return ids

    def close(self, neurons: np.ndarray, time: np.ndarray) -> np.ndarray:
        ids = self.segment[neurons].copy()
        self.closed.append((ids, time))
        return ids

    def _look_ahead(self, g: np.ndarray, neurons: np.ndarray, time: np.ndarray, cause: Arrival | None) -> None:
        """Find the first upward crossing of every new piece; at once if g is >= 0 already and was below before."""
        below = g[0] < 0
        at_once = ~below & self.armed[neurons]
        crossing = np.where(at_once, time, np.inf)
        bounds = bernstein(g)
        for i in np.flatnonzero((bounds.max(axis=0) >= 0) & ~at_once):
            u = first_upward_root(g[:, i], bounds[:, i])
            if u is not None:
                crossing[i] = time[i] + u * self.model.flow.span
        for i in np.flatnonzero(at_once):
            self.cause[neurons[i]] = cause
        self.armed[neurons] |= below
        self.crossing[neurons] = crossing

    def segments(self, duration: float) -> Segments:
        end = np.full(self.count, duration)
        for ids, time in self.closed:
            end[ids] = time
        neuron, start, x = zip(*self.blocks)
        return Segments(np.concatenate(neuron), np.concatenate(start), end, np.concatenate(x, axis=1))


class Forward:
    """Runs one trial.

    Args:
        plan: what to run. models: population -> numbers. weights: connection -> (M, N).
        max_spikes: of one population in the trial.
        sample: number of the sample in the data set, for messages.
    """

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, PopulationModel],
        weights: Mapping[str, np.ndarray],
        max_spikes: int,
        sample: int,
    ) -> None:
        self.plan, self.weights, self.max_spikes, self.sample = plan, weights, max_spikes, sample
        self.running = {name: _Running.begin(m) for name, m in models.items()}
        self.events: list[Record] = []
        self.queue: list[tuple[float, int, int, int, int, ConnectionRecord, Spike | int]] = []
        self.order = {p.name: i for i, p in enumerate(plan.populations)}
        self.pushed = 0

    def run(self, times: np.ndarray, channels: np.ndarray) -> Recording:
        """The trial with input spikes at `times` (E,) ms on `channels` (E,)."""
        inputs = self.plan.out_of(self.plan.input.name)
        for i, (t, m) in enumerate(zip(times.tolist(), channels.tolist())):
            for c in inputs:
                self._schedule(c, t, m, i)
        while self._next():
            pass
        duration = self.plan.duration
        return Recording(
            self.events,
            {name: r.segments(duration) for name, r in self.running.items()},
            {name: r.segment for name, r in self.running.items()},
            {name: r.spikes for name, r in self.running.items() if r.model.spiking},
        )

    def _schedule(self, c: ConnectionRecord, time: float, row: int, source: Spike | int) -> None:
        arrival = time + c.delay
        if arrival < self.plan.duration:
            self.pushed += 1
            heapq.heappush(self.queue, (arrival, self.order[c.target], row, self.pushed, row, c, source))

    def _next(self) -> bool:
        """Handle the next event; False at the end of the trial."""
        first, when = min(
            ((r, float(r.crossing.min())) for r in self.running.values()), key=lambda pair: pair[1]
        )  # fmt: skip
        arrival = self.queue[0][0] if self.queue else np.inf
        limit = min(when, arrival, self.plan.duration)
        for r in self.running.values():
            if r.end.min() < limit:
                self._renew(r, np.flatnonzero(r.end < limit))
                return True
        if when <= min(arrival, self.plan.duration):
            self._spike(first, int(first.crossing.argmin()), when)
            return True
        if arrival < np.inf:
            self._arrive()
            return True
        return False

    def _renew(self, r: _Running, neurons: np.ndarray) -> None:
        time = r.end[neurons]
        x = r.states(neurons, time)
        before = r.close(neurons, time)
        self.events.append(Renewal(r.model.name, before, r.open(neurons, x, time, None)))

    def _spike(self, r: _Running, neuron: int, time: float) -> None:
        name = r.model.name
        if len(r.spikes) >= self.max_spikes:
            raise EngineError(
                f"population {name!r} emitted more than {self.max_spikes} spikes in the trial of sample {self.sample} "
                f"(at {time:g} ms of {self.plan.duration:g}): it runs away; lower its weights or raise max_spikes"
            )
        one, at = np.array([neuron]), np.array([time])
        x = r.states(one, at)[:, 0]
        before = int(r.close(one, at)[0])
        event = Spike(name, neuron, time, x, len(r.spikes), before, 0, r.cause[neuron])
        r.cause[neuron], r.armed[neuron] = None, False
        event.after = int(r.open(one, r.model.equations.reset(x, neuron)[:, None], at, None)[0])
        r.spikes.append(event)
        self.events.append(event)
        for c in self.plan.out_of(name):
            self._schedule(c, time, neuron, event)

    def _arrive(self) -> None:
        time, _, _, _, row, c, source = heapq.heappop(self.queue)
        r = self.running[c.target]
        every, at = np.arange(r.model.size), np.full(r.model.size, time)
        x = r.states(every, at)
        direction = r.model.equations.direction[c.receptor]
        event = Arrival(c, row, source, time, r.close(every, at), self.empty)
        jumps = r.model.spiking and bool(np.any(r.model.equations.slope * direction))
        event.after = r.open(every, x + self.weights[c.weight][row] * direction, at, event if jumps else None)
        self.events.append(event)

    empty = np.zeros(0, np.int64)
