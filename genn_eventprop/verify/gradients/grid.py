"""The gradient of spikes on a grid against differences of forward runs: the straight-through model.

On a grid a spike stays in its step when a parameter changes a little, so the loss by itself says nothing about spike
times. The model of which a grid's gradient is the exact derivative (docs/equations.md, section 6) lets every event of
a neuron, found at step k, carry a shift in time

    dt_k = -dg_k / gdot_k,     gdot_k = (g(x before the event) - g(x at the start of the step)) / dt,

dg_k the change of g right before the event. A shift moves, at the step where they are, the event itself (its neuron by
a dt_k, a = dh/dx f(x-) - f(x+)), the end of the timed mode that it began, all arrivals of its spike (each target by
(f(x - w e) - f(x)) dt_k, x behind the arrivals), and what the readout says of its time. Here all of that is done
forwards:

* L(p) and g_k(p) at fixed steps: central differences, since spikes stay;
* the effect of a shift on L and on every later g_k: differences of runs in which probes shift the states
  (`probes.Probes`);
* what the readout itself says of the time of a spike: see `explicit`.

L comes from the engine that is checked, from its forward runs alone. States and slopes at events come from a run of the
equations by other code (`simulation.py`), whose spikes must be those of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...data import Events
from ...engines.contract.engine import Engine
from ...engines.contract.parameters import copied
from ...errors import EngineError, SettingError
from ...plan import Plan
from .delay_groups import DelayGroup
from .explicit import Explicit, by_sign
from .own import Change, size_of
from .probes import Probe, Probes, Shift
from .simulation import Simulation

Make = Callable[[Plan, Mapping[str, np.ndarray]], Engine]
H = 1e-3  # ms, by which events are shifted, and its half, quarter, ... while spikes change
SMALLER = 8
ALONG = 1e-4  # ms, the step of differences of h and g along a direction


@dataclass(eq=False)
class Moved:
    """What moves with the time of one event or one delay: a probe, dL of what the readout itself says, shares of events
    that it causes by itself, and the parameter elements that are its time: their names, and index there.

    of: the event that it moves with, None for spikes of the input.
    """

    probe: Probe
    of: int | None
    direct: float = 0.0
    causes: dict[int, float] = field(default_factory=dict)
    times: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    count: float = 1.0
    factor: float = 1.0
    one_sided: bool = False


@dataclass(frozen=True)
class Happened:
    """An own event: event `kind` of a population at a step, in sample b, of neuron n; `at_once`: arrivals alone put the
    neuron across."""

    population: str
    kind: int
    step: int
    b: int
    n: int
    slope: float
    at_once: bool


class GridProblem:
    """As `compare.Problem`, for an engine on the grid: its `losses` are F, whose derivative by every parameter at fixed
    spikes is the gradient of the straight-through model.

        F(p) = L(p) + sum over events of c_k g_k(p) + sum over delays and durations of D d

    c and D are numbers, found once from differences by shifts (`_chain`).

    Args:
        make: the engine for a plan and parameter values, in float64.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], events: Events, make: Make) -> None:
        _covered(plan)
        self.plan, self.events, self.make = plan, events, make
        self.samples = np.arange(len(events))
        self.engine = make(plan, parameters)
        self.data = self.engine.load(events)
        self.parameters = dict(copied(plan, parameters, np.dtype(np.float64)))
        self.values = {k: np.array(self.engine.parameters[k]) for k in self.engine.gradients}
        self.trial = self._forward()
        self.happened, self.index = self._events()
        self.spikes = self._spikes(self.engine.run(self.data, self.samples, record_spikes=True))
        self._same_spikes()
        self.jumps = self.engine.spike_jumps(
            {p.name: self.trial.traces[p.name].spikes.sum(0) for p in plan.populations if p.spiking}
        )
        self.moved = self._moved()
        self.of_events, self.of_times = self._chain()

    # forward runs at fixed spikes

    def losses(self, changes: Sequence[Change]) -> tuple[np.ndarray, np.ndarray]:
        """F at every change of `values`, and whether every spike stayed in its step: (C,), (C,)."""
        F, same = np.empty(len(changes)), np.empty(len(changes), bool)
        for i, (name, index, by) in enumerate(changes):
            assert name is not None
            changed = self.values[name].copy()
            changed[index] += by
            self._set(name, changed)
            result = self.engine.run(self.data, self.samples, record_spikes=True)
            g, x, steps = self._at_events(self._forward(), self.samples, self.samples)
            F[i] = float(result.loss.mean()) + float(g @ self.of_events + x @ self.pulls)
            F[i] += sum(value * changed[at] for (key, at), value in self.of_times.items() if key == name)
            same[i] = steps and self._spikes(result) == self.spikes
            self._set(name, self.values[name])
        return F, same

    def scale(self, name: str) -> float:
        """The size by which steps of a block are measured."""
        return size_of(self.values[name])

    def _set(self, name: str, value: np.ndarray) -> None:
        self.engine.parameters[name][...] = value
        self.parameters[name][...] = value

    def _forward(self) -> Simulation:
        return Simulation(self.plan, self.parameters, self.data, self.samples)

    def _spikes(self, result: object) -> bytes:
        spikes = result.spikes  # type: ignore[attr-defined]
        steps = [np.rint(s.time / self.plan.dt).astype(np.int64) for s in spikes.values()]
        parts = [np.concatenate([s.sample, k, s.neuron]).astype(np.int64) for s, k in zip(spikes.values(), steps)]
        return b"".join([np.array([len(x)]).tobytes() + x.tobytes() for x in parts])

    def _same_spikes(self) -> None:
        """Raise `EngineError` unless the engine's spikes are those of the forward run that gives the states."""
        result = self.engine.run(self.data, self.samples, record_spikes=True)
        assert result.spikes is not None
        for name, seen in self.trial.spikes().items():
            own, dt = result.spikes[name], self.plan.dt
            same = len(own.time) == len(seen.time) and all(
                np.array_equal(np.rint(x), np.rint(y))
                for x, y in ((own.sample, seen.sample), (own.time / dt, seen.time / dt), (own.neuron, seen.neuron))
            )
            if not same:
                raise EngineError(
                    f"{self.engine.name}: the spikes of population {name!r} are not those of its equations, whose "
                    "states the check needs; see `genn-eventprop engines --selftest` for where they differ"
                )

    # events

    def _events(self) -> tuple[list[Happened], dict[tuple[str, int, int, int, int], int]]:
        found, floor = [], self.engine.slope_floor
        for p in self.plan.populations:
            for i, seen in enumerate(self.trial.traces[p.name].events):
                for k, b, n in zip(*np.nonzero(seen.fired)):
                    slope = max(float(seen.slope[k, b, n]), floor)
                    at_once = bool(seen.caused_by_arrivals[k, b, n])
                    found.append(Happened(p.name, i, int(k), int(b), int(n), slope, at_once))
        return found, {(e.population, e.kind, e.step, e.b, e.n): j for j, e in enumerate(found)}

    @property
    def smallest_slope(self) -> float:
        return min((e.slope for e in self.happened if not e.at_once), default=np.inf)

    @property
    def size(self) -> float:
        """The size of F, at least 1, whose rounding differences have."""
        g, x, _ = self._at_events(self.trial, self.samples, self.samples)
        return max(1.0, float(np.abs(g * self.of_events).sum() + np.abs(x * self.pulls).sum()))

    @property
    def cannot_move(self) -> frozenset[str]:
        """Weights into and parameters of populations whose events arrivals cause by themselves; delays of connections
        whose arrivals cause none."""
        found = []
        for p in self.plan.populations:
            own = [j for j, e in enumerate(self.happened) if e.population == p.name]
            if own and all(self.happened[j].at_once for j in own):
                found += [c.weight for c in self.plan.into(p.name)] + [f"{p.name}.{n}" for n in p.derived.params]
        return frozenset(found)

    def _at_events(self, trial: Simulation, rows: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """(R, E) g right before every event, the state that regularisers push, and whether all events stay: in row r
        of a trial, those of sample of[r]; summed over rows if every sample is its own row."""
        E, alone = len(self.happened), rows is self.samples
        g, x = np.zeros((len(rows), E)), np.zeros((len(rows), E))
        fired = {
            (p.name, i): trial.traces[p.name].events[i].fired
            for p in self.plan.populations
            for i in range(len(p.derived.events))
        }
        steps = all(
            np.array_equal(f[:, rows], self.trial.traces[name].events[i].fired[:, of]) for (name, i), f in fired.items()
        )
        for p in self.plan.populations:
            pop = trial.populations[p.name]
            v = p.derived.states.index(p.noisy_state)
            for i in range(len(p.derived.events)):
                before = trial.traces[p.name].events[i].before
                here = [(j, e) for j, e in enumerate(self.happened) if (e.population, e.kind) == (p.name, i)]
                for step in {e.step for _, e in here}:
                    value = pop.at(pop.functions.events[i]["g"], before[step])[..., 0, 0]
                    for j, e in ((j, e) for j, e in here if e.step == step):
                        own = np.flatnonzero(of == e.b)
                        g[own, j] = value[rows[own], e.n]
                        x[own, j] = before[step][rows[own], v, e.n]
        return (g.sum(0), x.sum(0), steps) if alone else (g, x, steps)

    # what a shift of an event moves

    def _moved(self) -> list[Moved]:
        found: list[Moved] = []
        explicit = Explicit(self.plan, self.engine, self.make, self.events, self.trial, self.data)
        for j, e in enumerate(self.happened):
            found.append(self._of_event(j, e, explicit))
            found += self._of_mode(j, e)
            p = self.plan.population(e.population)
            if p.derived.events[e.kind].emits and self.trial.traces[p.name].spikes[e.step, e.b, e.n]:
                found += self._arrivals(
                    j, p.name, e.step, e.b, e.n, 1.0, self.trial.connections.out_of(p.name), explicit
                )
        learned = [c for c in self.trial.connections.out_of(self.plan.input.name) if c.learned]
        for k, b, m in zip(*np.nonzero(self.trial.input)) if learned else ():
            count = float(self.trial.input[k, b, m])
            found += self._arrivals(None, self.plan.input.name, int(k), int(b), int(m), count, learned, explicit)
        return found

    def _of_event(self, j: int, e: Happened, explicit: Explicit) -> Moved:
        """The neuron itself: a = dh/dx f(x-) - f(x+)."""
        p, pop = self.plan.population(e.population), self.trial.populations[e.population]
        seen, h = pop.trace.events[e.kind], pop.functions.events[e.kind]["h"]
        before, mode = seen.before[e.step], seen.mode[e.step]
        follows = p.derived.events[e.kind].next_mode
        f = pop.f(before, mode)
        along = (pop.vector(h, before + ALONG * f) - pop.vector(h, before - ALONG * f)) / (2 * ALONG)
        after = pop.vector(h, before)
        along -= pop.f(after, mode if follows is None else np.full_like(mode, follows))
        by = np.zeros((len(p.derived.states), p.size))
        by[:, e.n] = along[e.b, :, e.n]
        probe = Probe(e.b, (Shift(p.name, e.step, by, before=True),))
        emits = p.derived.events[e.kind].emits
        return Moved(probe, j, explicit.own(p.name, e.step, e.b, e.n, before, after) if emits else 0.0)

    def _of_mode(self, j: int, e: Happened) -> list[Moved]:
        """The ends of timed modes until the next event that begins one."""
        p, pop = self.plan.population(e.population), self.trial.populations[e.population]
        follows = p.derived.events[e.kind].next_mode
        if follows is None or p.derived.modes[follows].lasts is None:
            return []
        begins = {i for i, x in enumerate(p.derived.events) if x.next_mode and p.derived.modes[x.next_mode].lasts}
        later = [
            x.step
            for x in self.happened
            if (x.population, x.b, x.n) == (e.population, e.b, e.n) and x.kind in begins and x.step > e.step
        ]
        last = min(later, default=self.plan.n_steps + 1)
        found: list[Moved] = []
        durations: list[tuple[str, tuple[int, ...]]] = []
        for k in range(e.step, min(last, self.plan.n_steps)):
            ended = int(pop.trace.ended[k, e.b, e.n])
            if ended < 0:
                continue
            x, m = pop.trace.at_end[k], p.derived.modes[ended]
            mode = np.full(x.shape[::2], ended)
            change = pop.f(x, mode) - pop.f(x, np.full_like(mode, m.then))
            by = np.zeros((len(p.derived.states), p.size))
            by[:, e.n] = change[e.b, :, e.n]
            assert m.lasts is not None
            name = f"{p.name}.{m.lasts}"
            place = (e.n,) if self.trial.params[p.name][m.lasts].shape == (p.size,) and p.size > 1 else (0,)
            durations.append((name, place))  # of modes in a row, the end of one moves with all durations before it
            found.append(Moved(Probe(e.b, (Shift(p.name, k, by, before=True),)), j, times=list(durations)))
        return found

    def _arrivals(
        self,
        j: int | None,
        source: str,
        k: int,
        b: int,
        m: int,
        count: float,
        groups: Sequence[DelayGroup],
        explicit: Explicit,
    ) -> list[Moved]:
        """Every arrival of a spike: (f(x - w e) - f(x)) at its targets, x behind the arrivals of the step."""
        found = []
        for c in groups:
            s, first = k + c.delay_steps, (c.record.channels or (0, 0))[0]
            if s > self.plan.n_steps - 1 or (c.record.channels and not first <= m < c.record.channels[1]):
                continue
            w = c.weight[m - first]
            if not w.any() and not c.learned:
                continue
            each = [np.arange(len(w))] if not c.learned or c.axonal else [np.array([n]) for n in range(len(w))]
            for targets in each:
                if c.learned and c.mask is not None and not c.axonal and not c.mask[m - first, targets[0]]:
                    continue
                found += self._arrival(j, c, s, b, m - first, targets, count, explicit)
        return found

    def _arrival(
        self,
        j: int | None,
        c: DelayGroup,
        s: int,
        b: int,
        m: int,
        targets: np.ndarray,
        count: float,
        explicit: Explicit,
    ) -> list[Moved]:
        p, pop = self.plan.population(c.target), self.trial.populations[c.target]
        x, mode = pop.trace.x[s][b : b + 1], pop.trace.modes[s][b : b + 1]
        e = np.broadcast_to(self.trial._vector(p, "direction", c.receptor), x.shape[1:])
        w = np.where(np.isin(np.arange(p.size), targets), c.weight[m], 0.0)
        by = (pop.f(x - w * e, mode) - pop.f(x, mode))[0]
        times = [(c.record.delays_name, self._place(c, m, targets))] if c.learned else []
        causes = {
            self.index[p.name, i, s + 1, b, int(n)]: share
            for i in range(len(p.derived.events))
            for n, share in self._shares(c, i, s, b, m, targets).items()
        }
        direct = explicit.arrival(c, s, b, w, e)
        one_sided = explicit.samples_steps(p.name)  # V behind the arrivals of a step may count as its largest one
        parts = by_sign(by, explicit.v(p.name)) if one_sided else [(by, 1.0)]
        made = [
            Moved(Probe(b, (Shift(p.name, s, part),)), j, times=times, count=count, factor=factor, one_sided=one_sided)
            for part, factor in parts
        ]
        made[0].direct, made[0].causes = direct, causes
        return made

    def _place(self, c: DelayGroup, m: int, targets: np.ndarray) -> tuple[int, ...]:
        """Which of a connection's delays an arrival has."""
        assert c.record.delays is not None
        if c.axonal:
            return (m,)
        if c.record.delays.kind == "dendritic":
            return (int(targets[0]),)
        if c.table is None:
            return (m, int(targets[0]))
        synapse = np.flatnonzero((c.table.source == m) & (c.table.target == targets[0]))[0]
        return tuple(int(i) for i in np.unravel_index(c.table.weights[synapse], c.record.weight_shape))

    def _shares(self, c: DelayGroup, i: int, s: int, b: int, m: int, targets: np.ndarray) -> dict[int, float]:
        """Target -> the share of an arrival in an event that the arrivals of its step caused by themselves: how much it
        raised g, among those that raised it."""
        p = self.plan.population(c.target)
        seen = self.trial.traces[p.name].events[i]
        here = [int(n) for n in targets if seen.fired[s + 1, b, n] and seen.caused_by_arrivals[s + 1, b, n]]
        if not here:
            return {}
        raised = np.zeros(p.size)
        for other in self.trial.connections.into(p.name):
            sent = self.trial._source_spikes(other, s - other.delay_steps)[b]
            raised += sent @ np.maximum(other.weight, 0.0) * self._up(other, i, s, b)
        own = np.maximum(c.weight[m], 0.0) * self._up(c, i, s, b)
        return {n: float(own[n] / raised[n]) for n in here if own[n] > 0}

    def _up(self, c: DelayGroup, i: int, s: int, b: int) -> np.ndarray:
        """(N,) by how much an arrival of unit weight raises g of event i."""
        p, pop = self.plan.population(c.target), self.trial.populations[c.target]
        x, g = pop.trace.x[s][b : b + 1], pop.functions.events[i]["g"]
        e = np.broadcast_to(self.trial._vector(p, "direction", c.receptor), x.shape[1:])
        slope = (pop.at(g, x + ALONG * e) - pop.at(g, x - ALONG * e))[0, :, 0, 0] / (2 * ALONG)
        return np.maximum(slope, 0.0)

    # the chain

    def _chain(self) -> tuple[np.ndarray, dict[tuple[str, tuple[int, ...]], float]]:
        """c of every event, and dL/dd of every delay and duration.

        With s = -(dg/dp at fixed spikes) / gdot, the shifts are dt = R dt + s; R_kj = -(dg_k/dt_j) / gdot_k, or, for an
        event that arrivals cause, the share of the spike that came. So dL/dp = L_p + y s, y = (1 - R)^-T L_t.
        """
        E, B = len(self.happened), len(self.samples)
        self.pulls = np.array(
            [
                self.jumps[e.population][e.b, e.n]
                if e.population in self.jumps and self.plan.population(e.population).derived.events[e.kind].emits
                else 0.0
                for e in self.happened
            ]
        )
        if not self.moved:
            return np.zeros(E), {}
        L, G, X = self._by_shifts()
        L = L / B + X @ self.pulls + np.array([m.direct for m in self.moved])
        slope = np.array([e.slope for e in self.happened])
        rate = np.where(np.array([e.at_once for e in self.happened], bool) | (slope <= 0), 0.0, 1.0)
        rate = np.divide(rate, slope, out=np.zeros(E), where=rate > 0)
        R, L_t = np.zeros((E, E)), np.zeros(E)
        for i, m in enumerate(self.moved):
            if m.of is None:
                continue
            L_t[m.of] += m.count * L[i]
            R[:, m.of] -= m.count * rate * G[i]
            for k, share in m.causes.items():
                R[k, m.of] += m.count * share
        y = np.linalg.solve(np.eye(E) - R.T, L_t)
        times: dict[tuple[str, tuple[int, ...]], float] = {}
        for i, m in enumerate(self.moved):
            D = L[i] - (rate * y) @ G[i] + sum(share * y[k] for k, share in m.causes.items())
            for key in m.times:
                times[key] = times.get(key, 0.0) + m.count * D
        return -rate * y, times

    def _by_shifts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """d/dt of every shift of a sample's loss (S,), of all g (S, E) and of the states that regularisers push."""
        probes = Probes(self.plan, [m.probe for m in self.moved])
        events = probes.events(self.events)
        rows, of = np.arange(len(self.moved)), np.array([m.probe.sample for m in self.moved])
        values = {k: np.array(self.engine.parameters[k]) for k in self.engine.parameters}
        engine = self.make(probes.plan, values | probes.weights(0.0))
        parameters = self.parameters | {k: np.array(v) for k, v in probes.weights(0.0).items()}
        data = engine.load(events)
        h = H
        for _ in range(SMALLER):
            shifted = partial(self._shifted, engine, parameters, data, probes, rows=rows, of=of)
            found = [shifted(scale=scale * h) for scale in (-2, -1, 0, 1, 2, 3)]
            if all(x is not None for x in found):
                break
            h /= 4
        else:
            raise EngineError("spikes change whatever little an event is shifted; check another draw of the weights")
        L, G, X = (np.stack([x[i] for x in found if x is not None]) for i in range(3))
        ahead = (-11 * L[2] + 18 * L[3] - 9 * L[4] + 2 * L[5]) / (6 * h)
        one_sided, factor = (np.array([getattr(m, name) for m in self.moved]) for name in ("one_sided", "factor"))
        between = lambda F: (8 * (F[3] - F[1]) - (F[4] - F[0])) / (12 * h)  # noqa: E731
        return (
            factor * np.where(one_sided, ahead, between(L)),
            factor[:, None] * between(G),
            factor[:, None] * between(X),
        )

    def _shifted(
        self, engine: Engine, parameters: dict[str, np.ndarray], data: object, probes: Probes, scale: float,
        rows: np.ndarray, of: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:  # fmt: skip
        """(loss of every probe's sample, g, pushed state) with shifts `scale` times as large; None if spikes change."""
        for name, value in probes.weights(scale).items():
            engine.parameters[name][...] = value
            parameters[name][...] = value
        result = engine.run(data, rows)  # type: ignore[arg-type]
        trial = Simulation(probes.plan, parameters, data, rows)  # type: ignore[arg-type]
        for name, counts in result.spike_counts.items():
            if not np.array_equal(counts, self.trial.traces[name].spikes.sum(0)[of]):
                return None
        g, x, steps = self._at_events(trial, rows, of)
        return (np.asarray(result.loss, np.float64), g, x) if steps else None


def _covered(plan: Plan) -> None:
    """Raise `SettingError` for what the check cannot do."""
    noisy = next((p.name for p in plan.populations if p.noise or p.dropout), None)
    if noisy is not None:
        raise SettingError(
            f"population {noisy!r} has noise or dropout, under which no two runs are alike; set them to 0"
        )
    for loss in plan.losses:
        if loss.integrates and loss.weight.input_tau:
            raise SettingError(
                f"the loss of {loss.output!r} is weighted by the activity of the input, to which the check adds spikes "
                "of its own; check the network with another weight"
            )
