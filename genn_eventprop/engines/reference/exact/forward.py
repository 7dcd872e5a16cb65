"""One trial forwards, event by event, into a `Recording` that the readouts and the backward pass work on.

Every neuron's trajectory is cut into segments: a segment begins with an own event, an arrival, the end of a timed mode,
or where a piece of the flow ends, so that each is one polynomial (`event_flow`). Events are handled in the order (time;
own events, ends of modes, arrivals; population; neuron). Times within rounding of each other are one instant: an own
event that follows what is next in the queue, or the end of the trial, by less than `TOGETHER` of the trial is taken
first, at its time. Without that, rounding would decide which of several equal neurons inhibits the others. All that
arrives at one instant is added before any threshold is looked at: else the numbers of its sources would decide whether
excitation or inhibition comes first.

For gradient checks C copies of the network with slightly different numbers run in lockstep: the first copy decides
which event is next, the others must make the same one at their own time; those that would not are marked `changed`.

Axis letters: n states, N neurons, C copies, L = C N lanes, G segments, E own events of the model.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

from ....errors import EngineError
from ....plan import ConnectionRecord, Plan
from .flow import BlowUp
from .pieces import Pieces
from .population import TOGETHER, PopulationModel
from .records import Arrival, Cause, ModeEnd, Record, Recording, Renewal, Spike
from .routes import Route


class Forward:
    """Runs one trial.

    Args:
        plan: what to run. models: population -> numbers. weights: "connection.weight" -> (C, ...). routes: where spikes
            go. delays: connection -> (C, D) ms, in the order of the parameter. max_spikes: own events of one
            population in the trial.
        sample: number of the sample in the data set, for messages. breaks: population -> times in ms at which what a
            loss reads of it is not smooth by itself, so that pieces must end there.
    """

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, PopulationModel],
        weights: Mapping[str, np.ndarray],
        routes: Mapping[str, list[list[Route]]],
        delays: Mapping[str, np.ndarray],
        max_spikes: int,
        sample: int,
        breaks: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.plan, self.routes, self.delays = plan, routes, delays
        self.weights = {name: w.reshape(len(w), -1) for name, w in weights.items()}
        self.max_spikes, self.sample = max_spikes, sample
        self.models, self.copies = models, len(next(iter(delays.values()))) if delays else 1
        self.events: list[Record] = []
        self.queue: list[tuple[float, int, int, int, int, np.ndarray, tuple]] = []
        self.order = {p.name: i for i, p in enumerate(plan.populations)}
        self.pushed = 0
        self.changed = np.zeros(self.copies, bool)
        self.due: dict[tuple[str, int], int] = {}  # (population, neuron) -> number of the end of mode that still holds
        self.instant: list[Arrival] = []  # the arrivals of the present instant
        self.now, self.where = 0.0, ""
        read = {loss.output: set(loss.readouts) for loss in plan.losses}  # also those beside the loss's own
        self.aligned = {name for name, readouts in read.items() if "voltage" in readouts}
        self.together_at = {name for name, readouts in read.items() if readouts & {"voltage", "max"}}  # all neurons
        self.breaks = breaks or {}
        self.together = TOGETHER * plan.duration if self.copies == 1 else 0.0  # copies keep to their own order

    def run(self, times: np.ndarray, channels: np.ndarray) -> Recording:
        """The trial with input spikes at `times` (C, E) ms on `channels` (E,)."""
        try:
            with np.errstate(all=None if self.copies == 1 else "ignore"):  # copies that are `changed` may overflow
                return self._run(times, channels)
        except BlowUp as error:
            size = self.models[self.where].size
            model = self.models[self.where].record.derived.model.name
            raise EngineError(
                f"population {self.where!r}: the dynamics of {model} diverge in neuron {error.lane % size} in the "
                f"trial of sample {self.sample}, at {self.now:g} ms of {self.plan.duration:g}; stop the rise with a "
                "threshold, or use smaller weights"
            ) from None

    def _run(self, times: np.ndarray, channels: np.ndarray) -> Recording:
        self.running = {}
        for name, m in self.models.items():
            self.where = name
            breaks, aligned = self.breaks.get(name, np.zeros(0)), name in self.aligned
            self.running[name] = Pieces.begin(m, self.copies, breaks, aligned, self.plan.duration)
        inputs = self.plan.out_of(self.plan.input.name)
        for i, m in enumerate(channels.tolist()):
            for c in inputs:
                first, last = c.channels or (0, self.plan.input.size)
                if first <= m < last:
                    self._schedule(c, times[:, i], m - first, i)
        while self._next():
            pass
        duration, running = self.plan.duration, self.running
        for r in running.values():
            r.check(np.full(self.copies, np.nextafter(duration, np.inf)))
            r.close(np.arange(r.model.lanes), np.full(r.model.lanes, duration))
            self.changed |= r.changed
        return Recording(
            self.events,
            {name: r.segments(duration) for name, r in running.items()},
            {name: r.segment for name, r in running.items()},
            {n: [s for s in r.own if r.model.events[s.event].emits] for n, r in running.items() if r.model.spiking},
            {name: r.own for name, r in running.items()},
            self.changed,
        )

    def _schedule(self, c: ConnectionRecord, times: np.ndarray, row: int, source: Spike | int) -> None:
        for route in self.routes[c.name][row]:
            arrival = times + self.delays[c.name][:, route.delay]
            self.changed |= (arrival < self.plan.duration) != (arrival[0] < self.plan.duration)
            if arrival[0] < self.plan.duration:
                self._push(arrival, 1, self.order[c.target], row, (c, route, source))

    def _push(self, times: np.ndarray, rank: int, population: int, neuron: int, what: tuple) -> int:
        self.pushed += 1
        heapq.heappush(self.queue, (float(times[0]), rank, population, neuron, self.pushed, times, what))
        return self.pushed

    def _next(self) -> bool:
        """Handle the next event; False at the end of the trial."""
        first, when = None, np.inf
        for r in self.running.values():
            size = r.model.size
            soon = float(r.crossing[:, :size].min()) if len(r.model.events) else np.inf
            if soon < when:
                first, when = r, soon
        queued = self.queue[0][0] if self.queue else np.inf
        limit = min(when, queued, self.plan.duration)
        ending = min(self.running.values(), key=lambda r: r.end[: r.model.size].min())
        ends = ending.end[: ending.model.size]
        if ends.min() < limit:  # only what ends first: its new piece may hold an event before the others end
            self._renew(ending, np.flatnonzero(ends == ends.min()))
            return True
        if first is not None and when <= min(queued, self.plan.duration) + self.together:
            e, neuron = divmod(int(first.crossing[:, : first.model.size].argmin()), first.model.size)
            if self.copies == 1:
                first.crossing[e, neuron] = limit
            self._own_event(first, e, neuron)
            return True
        if queued < np.inf:
            self._due()
            return True
        return False

    def _begin(self, r: Pieces, time: float) -> None:
        self.where, self.now = r.model.name, time

    def _renew(self, r: Pieces, neurons: np.ndarray) -> None:
        lanes = r.of(neurons)
        time = r.end[lanes]
        self._begin(r, float(time.max()))
        if self.copies > 1:  # an own event of a copy on a piece that ends without one in the first copy
            early = ~(r.crossing[:, lanes].min(axis=0, initial=np.inf) >= time)
            r.changed[np.unique(lanes[early] // r.model.size)] = True
        x = r.states(lanes, time)
        before = r.close(lanes, time)
        self.events.append(Renewal(r.model.name, before, r.open(lanes, x, time, None)))

    def _own_event(self, r: Pieces, e: int, neuron: int) -> None:
        lanes = r.of(np.array([neuron]))
        times, mode = r.crossing[e, lanes], int(r.mode[neuron])
        time = float(times[0])
        self._begin(r, time)
        self._limit(r, time)
        if self.copies > 1:
            late = ~(times <= self.plan.duration)
            r.changed |= late | ~(r.next_crossings() >= times)
            times = np.where(late, time, times)
        event, equations = r.model.events[e], r.model.equations
        x = r.states(lanes, times)
        before = r.close(lanes, times)
        cause = r.cause[e, neuron]
        spike = Spike(
            r.model.name, neuron, e, time, times, mode, x[:, 0], len(r.own), int(before[0]), 0, cause,
            self._shares(r, e, neuron, x[:, :1], cause),
        )  # fmt: skip
        r.cause[e, neuron], r.armed[e, lanes] = None, False
        if event.next_mode is not None:
            self._enter(r, neuron, event.next_mode, times, spike)
        after = r.open(lanes, equations.reset(e, x, lanes), times, spike)
        spike.after = int(after[0])
        r.own.append(spike)
        self.events.append(spike)
        self._align(r, neuron, times)
        if event.emits:
            for c in self.plan.out_of(r.model.name):
                self._schedule(c, times, neuron, spike)

    def _shares(
        self, r: Pieces, e: int, neuron: int, x: np.ndarray, cause: Cause | None
    ) -> tuple[tuple[Cause, float], ...]:
        """How E of an own event at x (n, 1) is divided among the arrivals that put the neuron across together: in
        proportion to how much each raised the threshold function."""
        if not isinstance(cause, Arrival):
            return () if cause is None else ((cause, 1.0),)
        lane, equations, pushes = np.array([neuron]), r.model.equations, []
        above = equations.threshold(e, x, lane)
        for arrival in self.instant:
            c, here = arrival.connection, np.flatnonzero(arrival.route.target == neuron)
            if c.target != r.model.name or not len(here):
                continue
            weight = self.weights[c.weight][0, arrival.route.weight[here]].sum()
            push = above - equations.threshold(e, x - weight * equations.direction[c.receptor][:, lane], lane)
            pushes.append((arrival, max(float(push[0]), 0.0)))
        total = sum(push for _, push in pushes)
        if not total > 0:  # rounding
            return ((cause, 1.0),)
        return tuple((arrival, push / total) for arrival, push in pushes if push > 0)

    def _align(self, r: Pieces, neuron: int, times: np.ndarray) -> None:
        """New pieces for all other neurons of an aligned population at `times` (C,)."""
        if r.aligned and r.model.size > 1:
            lanes = r.of(np.flatnonzero(np.arange(r.model.size) != neuron))
            at_once = np.repeat(times, r.model.size - 1)
            x = r.states(lanes, at_once)
            before = r.close(lanes, at_once)
            self.events.append(Renewal(r.model.name, before, r.open(lanes, x, at_once, None)))

    def _limit(self, r: Pieces, time: float) -> None:
        if len(r.own) >= self.max_spikes:
            raise EngineError(
                f"population {r.model.name!r} emitted more than {self.max_spikes} spikes in the trial of sample "
                f"{self.sample} (at {time:g} ms of {self.plan.duration:g}): runaway activity; "
                "reduce its weights or raise max_spikes"
            )

    def _enter(self, r: Pieces, neuron: int, mode: int, times: np.ndarray, source: Spike | ModeEnd) -> None:
        """Begin a mode; a timed one schedules its end, and cancels the end of the mode before."""
        lanes = r.of(np.array([neuron]))
        r.mode[lanes] = mode
        key = (r.model.name, neuron)
        self.due.pop(key, None)
        d = r.model.record.derived
        lasts = d.modes[mode].lasts
        if lasts is None:
            return
        end = times + r.model.equations.values[d.params.index(lasts)][lanes]
        self.changed |= (end < self.plan.duration) != (end[0] < self.plan.duration)
        if end[0] < self.plan.duration:
            self.due[key] = self._push(end, 0, self.order[r.model.name], neuron, (r.model.name, neuron, source))

    def _due(self) -> None:
        """The first entry of the queue: the end of a timed mode, or an arrival, with all others of its instant."""
        start, rank, _, _, number, times, what = heapq.heappop(self.queue)
        if not rank:
            self._end_if_due(number, times, what)
            return
        for r in self.running.values():
            r.instant += 1
        self.instant = [self._arrive(times, *what)]
        while self.queue and self.queue[0][0] <= start + self.together:
            _, rank, _, _, number, late, what = heapq.heappop(self.queue)
            at_once = times if self.copies == 1 else late
            if rank:
                self.instant.append(self._arrive(at_once, *what))
            else:
                self._end_if_due(number, at_once, what)

    def _end_if_due(self, number: int, times: np.ndarray, what: tuple) -> None:
        if self.due.get(what[:2]) == number:
            self._mode_end(times, *what)

    def _mode_end(self, times: np.ndarray, name: str, neuron: int, source: Spike | ModeEnd) -> None:
        r = self.running[name]
        self._begin(r, float(times[0]))
        r.check(times)
        lanes = r.of(np.array([neuron]))
        x = r.states(lanes, times)
        mode = int(r.mode[neuron])
        event = ModeEnd(name, neuron, mode, source, float(times[0]), int(r.close(lanes, times)[0]), 0)
        self._enter(r, neuron, r.model.record.derived.modes[mode].then, times, event)
        event.after = int(r.open(lanes, x, times, event)[0])
        self.events.append(event)
        self._align(r, neuron, times)

    def _arrive(self, times: np.ndarray, c: ConnectionRecord, route: Route, source: Spike | int) -> Arrival:
        r = self.running[c.target]
        self._begin(r, float(times[0]))
        everyone = c.target in self.together_at
        neurons = np.arange(r.model.size) if everyone else route.target
        here = route.target if everyone else np.arange(len(route.target))
        every, at_ = r.of(neurons), np.repeat(times, len(neurons))
        r.check(times)
        x = r.states(every, at_)
        direction = r.model.equations.direction[c.receptor][:, every]
        event = Arrival(c, route, neurons, here, source, float(times[0]), r.close(every, at_), self.empty)
        weights = np.zeros((self.copies, len(neurons)))
        weights[:, here] = self.weights[c.weight][:, route.weight]
        event.after = r.open(every, x + weights.ravel() * direction, at_, event)
        self.events.append(event)
        return event

    empty = np.zeros(0, np.int64)
