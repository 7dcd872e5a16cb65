"""One trial forwards, event by event, into a `Recording` that the readouts and the backward pass work on.

Every neuron's trajectory is cut into segments: a segment begins with an own event, an arrival, the end of a timed mode,
or where a piece of the flow ends, so that each is one polynomial (`flow.py`). Events are handled in the order (time;
own events, ends of modes, arrivals; population; neuron). Times within rounding of each other are one instant: an own
event that follows the head of the queue, or the end of the trial, by less than `SAME_INSTANT` of the trial comes first,
at the time of that. Without this, rounding would decide which of several equal neurons inhibits the others. All that
arrives at one instant is added before any threshold is tested: else the numbers of its sources would decide whether
excitation or inhibition comes first.

For gradient checks C copies of the network with slightly different numbers run in lockstep: the first copy decides
which event is next, each other copy must make the same one at its time; those that would not are marked `changed`.

Axis letters: n states, N neurons, C copies, L = C N lanes, G segments, E own events of the model.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import EngineError
from ....plan import ConnectionRecord, Plan
from ....plan.groups import groups
from .births import Candidate
from .flow import BlowUp
from .pieces import STANDSTILL, TrajectoryPieces
from .population import SAME_INSTANT, PopulationModel
from .records import Arrival, Birth, Cause, Change, Drive, ModeEnd, Record, Recording, Renewal, Spike
from .routes import Route

OBSERVED_FIRST, OBSERVED_LAST = -2, 2
"""Rank in the queue of observed spikes: as own events do, they come before all else of their instant, but after
what may have caused them."""


class Forward:
    """Runs one trial.

    Args:
        plan: what to run. models: population -> numbers. weights: "connection.weight" -> (C, ...). routes: where spikes
            go. delays: connection -> (C, D) ms, in the order of the parameter. max_spikes: own events of one
            population in the trial.
        sample: number of the sample in the data set, for messages. breaks: population -> times in ms at which what a
            loss reads of it is not smooth by itself, so that pieces must end there. drives: population -> its currents.
        observed: population -> the times (ms) and neurons of its spikes, where these do not follow from the model.
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
        drives: Mapping[str, Drive] = {},
        observed: Mapping[str, tuple[np.ndarray, np.ndarray]] = {},
    ) -> None:
        self.plan, self.routes, self.delays = plan, routes, delays
        self.weights = {name: w.reshape(len(w), -1) for name, w in weights.items()}
        self.max_spikes, self.sample = max_spikes, sample
        self.models, self.copies = models, len(next(iter(delays.values()))) if delays else 1
        self.events: list[Record] = []
        self.queue: list[tuple[float, int, int, int, int, np.ndarray, tuple[Any, ...]]] = []
        self.order = {p.name: i for i, p in enumerate(plan.populations)}
        number = {p.name: i for i, group in enumerate(groups(plan)) for p in group}
        self.group = [number[p.name] for p in plan.populations]
        self.pushed = 0
        self.changed = np.zeros(self.copies, bool)
        # (population, neuron) -> number in the queue of the end of its mode. An event that ends the mode early leaves
        # the old entry in the queue; its number no longer matches, and it is skipped
        self.mode_ends: dict[tuple[str, int], int] = {}
        self.instant: list[Arrival] = []  # the arrivals of the present instant
        self.now, self.where = 0.0, ""
        readouts = {loss.output: set(loss.readouts) for loss in plan.losses}
        # A loss of V(t) compares all outputs at common quadrature nodes, so their pieces begin and end together. A
        # maximum needs a segment of every output at each arrival, to see whether it is a kink of that output too.
        self.aligned = {name for name, read in readouts.items() if "voltage" in read}
        self.whole_population = {name for name, read in readouts.items() if read & {"voltage", "max"}}
        self.breaks, self.drives, self.observed = breaks or {}, drives, observed
        self.tolerance = SAME_INSTANT * plan.duration if self.copies == 1 else 0.0  # each copy keeps its own order

    def run(self, times: np.ndarray, channels: np.ndarray, births: Sequence[Candidate] = ()) -> Recording:
        """The trial with input spikes at `times` (C, E) ms on `channels` (E,), and spikes that are not born."""
        try:
            with np.errstate(all=None if self.copies == 1 else "ignore"):  # copies that are `changed` may overflow
                return self._run(times, channels, births)
        except BlowUp as error:
            size = self.models[self.where].size
            model = self.models[self.where].record.derived.model.name
            raise EngineError(
                f"population {self.where!r}: the dynamics of {model} diverge in neuron {error.lane % size} in the "
                f"trial of sample {self.sample}, at {self.now:g} ms of {self.plan.duration:g}; stop the rise with a "
                "threshold, or use smaller weights"
            ) from None

    def _run(self, times: np.ndarray, channels: np.ndarray, births: Sequence[Candidate]) -> Recording:
        self.running = {}
        for name, m in self.models.items():
            self.where = name
            breaks, aligned = self.breaks.get(name, np.zeros(0)), name in self.aligned
            self.running[name] = TrajectoryPieces.begin(m, self.copies, breaks, aligned, self.plan.duration)
        inputs = self.plan.out_of(self.plan.input.name)
        for i, m in enumerate(channels.tolist()):
            for c in inputs:
                first, last = c.channels or (0, self.plan.input.size)
                if first <= m < last:
                    self._schedule(c, times[:, i], m - first, i)
        for name, drive in self.drives.items():
            for k, at in enumerate(drive.times):
                self._push(np.full(self.copies, at), 0, self.order[name], -1, (name, k))
        for name, (at_times, neurons) in self.observed.items():
            rank = OBSERVED_LAST if self.models[name].pushed else OBSERVED_FIRST
            for at, neuron in zip(at_times, neurons.tolist()):
                self._push(np.array([at]), rank, self.order[name], neuron, (name, neuron))
        for b in births:
            self._push(np.array([b.time]), -1, self.order[b.population], b.neuron, (b,))
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
            {
                n: [s for s in r.own_events if r.model.events[s.event].emits]
                for n, r in running.items()
                if r.model.spiking
            },
            {name: r.own_events for name, r in running.items()},
            self.changed,
        )

    def _schedule(self, c: ConnectionRecord, times: np.ndarray, row: int, source: Spike | int | Birth) -> None:
        for route in self.routes[c.name][row]:
            arrival = times + self.delays[c.name][:, route.delay]
            self.changed |= (arrival < self.plan.duration) != (arrival[0] < self.plan.duration)
            if arrival[0] < self.plan.duration:
                self._push(arrival, 1, self.order[c.target], row, (c, route, source))

    def _push(self, times: np.ndarray, rank: int, population: int, neuron: int, what: tuple[Any, ...]) -> int:
        self.pushed += 1
        heapq.heappush(self.queue, (float(times[0]), rank, population, neuron, self.pushed, times, what))
        return self.pushed

    def _next(self) -> bool:
        """Handle the next event; False at the end of the trial."""
        # candidates: the earliest own event of any population, and the head of the queue (arrivals, ends of modes)
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
        if ends.min() < limit:
            # Before any event all pieces must reach that far. Only those that end first are renewed: a new piece may
            # bring an own event before the others end.
            self._renew(ending, np.flatnonzero(ends == ends.min()))
            return True
        if first is not None and when <= min(queued, self.plan.duration) + self.tolerance:
            e, neuron = divmod(int(first.crossing[:, : first.model.size].argmin()), first.model.size)
            if self.copies == 1:
                first.crossing[e, neuron] = limit  # within rounding after the queue or T: at the time of that
            self._own_event(first, e, neuron)
            return True
        if queued < np.inf:
            self._handle_queue()
            return True
        return False

    def _locate(self, r: TrajectoryPieces, time: float) -> None:
        """Remember where the trial is, for messages."""
        self.where, self.now = r.model.name, time

    def _renew(self, r: TrajectoryPieces, neurons: np.ndarray) -> None:
        """Begin the next pieces of neurons whose polynomials end."""
        lanes = r.lanes_of(neurons)
        time = r.end[lanes]
        self._locate(r, float(time.max()))
        if self.copies > 1:  # a copy has an own event on a piece that ends without one in the first copy
            early = ~(r.crossing[:, lanes].min(axis=0, initial=np.inf) >= time)
            r.changed[np.unique(lanes[early] // r.model.size)] = True
        x = r.states(lanes, time)
        r.standstill = r.standstill + 1 if time[0] == r.start[lanes[0]] else 0
        if r.standstill > STANDSTILL:
            raise BlowUp(int(lanes[0]))
        before = r.close(lanes, time)
        self.events.append(Renewal(r.model.name, before, r.open(lanes, x, time, None)))

    def _observed_spike(self, times: np.ndarray, name: str, neuron: int) -> None:
        """A spike of an observed population."""
        r = self.running[name]
        e = r.model.observed_event
        x = r.states(r.lanes_of(np.array([neuron])), times)
        r.cause[e, neuron] = self._cause_of(r, e, neuron, x, float(times[0]))
        self._own_event(r, e, neuron, times)

    def _cause_of(self, r: TrajectoryPieces, e: int, neuron: int, x: np.ndarray, time: float) -> Cause | None:
        """What put g above zero in the instant of an observed spike."""
        lane, equations, cause = np.array([neuron]), r.model.equations, r.cause[e, neuron]
        if isinstance(cause, (ModeEnd, Spike)):
            return cause if cause.time == time else None
        arrived, before = None, x.copy()
        for arrival in self.instant:
            here = np.flatnonzero(arrival.route.target == neuron)
            if arrival.connection.target == r.model.name and len(here) and abs(arrival.time - time) <= self.tolerance:
                c = arrival.connection
                weight = self.weights[c.weight][0, arrival.route.weight[here]].sum()
                before -= weight * equations.direction[c.receptor][:, lane]
                arrived = arrival if r.model.can_trigger(arrival, e) else arrived
        crossed = equations.threshold(e, x, lane)[0] >= 0 > equations.threshold(e, before, lane)[0]
        return arrived if crossed else None

    def _own_event(self, r: TrajectoryPieces, e: int, neuron: int, at: np.ndarray | None = None) -> None:
        """Own event `e` of a neuron, or one observed `at` a time: reset, change of mode, and arrivals that it causes.

        The reset is x+ = h(x-); x- is that of the old piece, so the piece is closed before the mode changes.
        """
        lanes = r.lanes_of(np.array([neuron]))
        times, mode = r.crossing[e, lanes] if at is None else at, int(r.mode[neuron])
        time, crossed = float(times[0]), e if at is None else None
        self._locate(r, time)
        self._check_spike_limit(r, time)
        if self.copies > 1:
            late = ~(times <= self.plan.duration)  # nan too
            r.changed |= late | ~(r.next_crossings() >= times)
            times = np.where(late, time, times)
        event, equations = r.model.events[e], r.model.equations
        x = r.states(lanes, times, crossed)
        before = r.close(lanes, times, crossed)
        cause = r.cause[e, neuron]
        spike = Spike(
            r.model.name, neuron, e, time, times, mode, x[:, 0], len(r.own_events), int(before[0]), 0, cause,
            self._divide_cause(r, e, neuron, x[:, :1], cause),
        )  # fmt: skip
        r.cause[e, neuron], r.armed[e, lanes] = None, False
        if event.next_mode is not None:
            self._enter_mode(r, neuron, event.next_mode, times, spike)
        after = r.open(lanes, equations.reset(e, x, lanes), times, spike)
        spike.after = int(after[0])
        r.own_events.append(spike)
        self.events.append(spike)
        self._align(r, neuron, times)
        if event.emits:
            for c in self.plan.out_of(r.model.name):
                self._schedule(c, times, neuron, spike)

    def _divide_cause(
        self, r: TrajectoryPieces, e: int, neuron: int, x: np.ndarray, cause: Cause | None
    ) -> tuple[tuple[Cause, float], ...]:
        """How E of an own event at x (n, 1) is divided among the arrivals of this instant that caused it together.

        In proportion to how much each raised g (docs/equations.md, section 2): all to the last one would make the
        gradient depend on an order that arrivals of one instant do not have.
        """
        if not isinstance(cause, Arrival):
            return () if cause is None else ((cause, 1.0),)
        lane, equations, pushes = np.array([neuron]), r.model.equations, []
        above = equations.threshold(e, x, lane)
        for arrival in self.instant:
            c, here = arrival.connection, np.flatnonzero(arrival.route.target == neuron)
            if c.target != r.model.name or not len(here):
                continue
            weight = self.weights[c.weight][0, arrival.route.weight[here]].sum()
            # g without this arrival, all others added: the same for every order of them
            push = above - equations.threshold(e, x - weight * equations.direction[c.receptor][:, lane], lane)
            pushes.append((arrival, max(float(push[0]), 0.0)))
        total = sum(push for _, push in pushes)
        if not total > 0:  # each alone raises g by no more than rounding
            return ((cause, 1.0),)
        return tuple((arrival, push / total) for arrival, push in pushes if push > 0)

    def _align(self, r: TrajectoryPieces, neuron: int, times: np.ndarray) -> None:
        """New pieces at `times` (C,) for all other neurons of an aligned population."""
        if r.aligned and r.model.size > 1:
            lanes = r.lanes_of(np.flatnonzero(np.arange(r.model.size) != neuron))
            at_once = np.repeat(times, r.model.size - 1)
            x = r.states(lanes, at_once)
            before = r.close(lanes, at_once)
            self.events.append(Renewal(r.model.name, before, r.open(lanes, x, at_once, None)))

    def _check_spike_limit(self, r: TrajectoryPieces, time: float) -> None:
        if len(r.own_events) >= self.max_spikes:
            raise EngineError(
                f"population {r.model.name!r} emitted more than {self.max_spikes} spikes in the trial of sample "
                f"{self.sample} (at {time:g} ms of {self.plan.duration:g}): runaway activity; "
                "reduce its weights or raise max_spikes"
            )

    def _enter_mode(
        self, r: TrajectoryPieces, neuron: int, mode: int, times: np.ndarray, source: Spike | ModeEnd
    ) -> None:
        """Begin a mode: a timed one schedules its end, and the end of the mode before is cancelled."""
        lanes = r.lanes_of(np.array([neuron]))
        r.mode[lanes] = mode
        key = (r.model.name, neuron)
        self.mode_ends.pop(key, None)
        d = r.model.record.derived
        lasts = d.modes[mode].lasts
        if lasts is None:
            return
        end = times + r.model.equations.values[d.params.index(lasts)][lanes]
        self.changed |= (end < self.plan.duration) != (end[0] < self.plan.duration)
        if end[0] < self.plan.duration:
            self.mode_ends[key] = self._push(end, 0, self.order[r.model.name], neuron, (r.model.name, neuron, source))

    def _handle_queue(self) -> None:
        """Handle the head of the queue: the end of a timed mode, or the arrivals of an instant at the first populations
        that have some."""
        start, rank, place, neuron, number, times, what = heapq.heappop(self.queue)
        if rank <= 0:
            self._due(rank, number, times, what)
            return
        for r in self.running.values():
            r.instant += 1  # what these arrivals arm can be told from what was armed before, see `_find_crossings`
        due = [(start, rank, place, neuron, number, times, what)]
        while self.queue and self.queue[0][0] <= start + self.tolerance:
            due.append(heapq.heappop(self.queue))
        # what is sent on without a delay arrives in this instant too, so populations behind these wait for it
        first = min(self.group[entry[2]] for entry in due if entry[1] > 0)
        instant = []
        for entry in due:
            if self.group[entry[2]] == first:
                instant.append((entry[1], *entry[4:]))
            else:
                heapq.heappush(self.queue, entry)
        # a kink is where the trial without births had it, so that its arrival may come a rounding error earlier now
        instant.sort(key=lambda each: each[0] >= 0)
        self.instant = []
        for rank, number, late, what in instant:
            at_once = times if self.copies == 1 else late  # copies: differences need each arrival at its own time
            if rank == OBSERVED_LAST:
                self._observed_spike(at_once, *what)
            elif rank > 0:
                self.instant.append(self._arrive(at_once, *what))
            else:
                self._due(rank, number, at_once, what)

    def _due(self, rank: int, number: int, times: np.ndarray, what: tuple[Any, ...]) -> None:
        """The end of a mode (rank 0), if it still ends then, a change of currents, a spike that is not born (-1), or
        an observed one (-2)."""
        if rank == OBSERVED_FIRST:
            self._observed_spike(times, *what)
        elif rank < 0:
            self._birth(times, *what)
        elif what[0] in self.drives and len(what) == 2:
            self._change(times, *what)
        elif self.mode_ends.get(what[:2]) == number:
            self._mode_end(times, *what)

    def _mode_end(self, times: np.ndarray, name: str, neuron: int, source: Spike | ModeEnd) -> None:
        r = self.running[name]
        self._locate(r, float(times[0]))
        r.check(times)
        lanes = r.lanes_of(np.array([neuron]))
        x = r.states(lanes, times)
        mode = int(r.mode[neuron])
        # before `_enter_mode`: the record names the mode that ends, and the segment that it ends
        event = ModeEnd(name, neuron, mode, source, float(times[0]), int(r.close(lanes, times)[0]), 0)
        self._enter_mode(r, neuron, r.model.record.derived.modes[mode].then, times, event)
        event.after = int(r.open(lanes, x, times, event)[0])
        self.events.append(event)
        self._align(r, neuron, times)

    def _change(self, times: np.ndarray, name: str, number: int) -> None:
        r, drive = self.running[name], self.drives[name]
        self._locate(r, float(times[0]))
        r.check(times)
        lanes = r.lanes_of(np.arange(r.model.size))
        at_once = np.repeat(times, r.model.size)
        x, before = r.states(lanes, at_once), r.close(lanes, at_once)
        x[drive.states] = drive.values[number]
        self.events.append(Change(name, number, before, r.open(lanes, x, at_once, None)))

    def _birth(self, times: np.ndarray, b: Candidate) -> None:
        """Cuts the trajectory, and sends spikes of no weight."""
        r = self.running[b.population]
        lanes = r.lanes_of(np.array([b.neuron]))
        x, before = r.states(lanes, times), r.close(lanes, times)
        birth = Birth(b.population, b.neuron, float(times[0]), b.hazard, b.rise, int(before[0]), 0)
        birth.after = int(r.open(lanes, x, times, None)[0])
        self.events.append(birth)
        self._align(r, b.neuron, times)
        for c in self.plan.out_of(b.population):
            self._schedule(c, times, b.neuron, birth)

    def _arrive(self, times: np.ndarray, c: ConnectionRecord, route: Route, source: Spike | int | Birth) -> Arrival:
        r = self.running[c.target]
        self._locate(r, float(times[0]))
        whole = c.target in self.whole_population
        neurons = np.arange(r.model.size) if whole else route.target
        here = route.target if whole else np.arange(len(route.target))  # where the synapses end among `neurons`
        every, at_ = r.lanes_of(neurons), np.repeat(times, len(neurons))
        r.check(times)
        x = r.states(every, at_)
        direction = r.model.equations.direction[c.receptor][:, every]
        event = Arrival(c, route, neurons, here, source, float(times[0]), r.close(every, at_), self.empty)
        weights = np.zeros((self.copies, len(neurons)))
        if not isinstance(source, Birth):
            weights[:, here] = self.weights[c.weight][:, route.weight]
        event.after = r.open(every, x + weights.ravel() * direction, at_, event)
        self.events.append(event)
        return event

    empty = np.zeros(0, np.int64)
