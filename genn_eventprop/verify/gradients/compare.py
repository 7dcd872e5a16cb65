"""Gradient blocks of one network against differences of forward-only runs.

Differences: central with steps h and h/2, combined to order 4 (Richardson), or five points ahead for a delay of zero.
A step is halved while spikes change in number or order, a maximum moves to another arrival, or the two steps disagree.
On a grid they are differences of the straight-through model (`grid`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ...data import Currents, Events
from ...data.inputs import DataSet, require_data, split_inputs
from ...engines import Data, create, engine_class
from ...engines.contract.engine import Engine
from ...engines.contract.features import refuse
from ...engines.contract.result import Result
from ...engines.reference.exact.engine import ReferenceEvent
from ...engines.reference.exact.records import Arrival
from ...errors import EngineError, EventPropError, LossError, SettingError
from ...losses import Loss, LossRecord, as_losses
from ...losses.record import LossFormulas
from ...modelling import Network
from ...plan import Plan, make_plan
from ...plan.clock import window_steps
from ...regularisers import Regulariser
from .grid import GridProblem
from .own import WIDE, Change, EngineDifferences, size_of, values_of
from .report import Block, Case, Report

STEP = 1e-3  # of the scale of a block
HALVINGS = 18  # for potentials of -70 mV: down to 5e-7 mV
FINE = 1e-9  # of the largest difference: rounding below it is no reason for an error of AGREE
COPIES = 128  # networks that run in lockstep
ROUNDING = 1e-15  # of a loss, at least 1, in a forward run: a few units in the last place
AGREE = 1e-6  # of the largest difference so far: then the combined value is good to about 1e-10


class Problem:
    """A loss as a function of every number in it. Blocks: "connection.weight", "connection.delay",
    "population.parameter", "input_times". Regularisers are left out: those of spikes are the gradient of nothing."""

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], events: Events) -> None:
        plan = replace(plan, pushes=())
        self.plan, self.events = plan, events
        self.samples = np.arange(len(events))
        self.engine = ReferenceEvent(plan, parameters)
        self.data: Data = self.engine.load(events)
        pairs = {c.pairs for c in plan.weighted}
        self.values = {k: v.copy() for k, v in self.engine.parameters.items() if k not in pairs}
        self.values |= {c.delays_name: np.array(c.delay) for c in plan.connections if not c.delays}
        self.values["input_times"] = np.array(self.data.times, dtype=np.float64)

    def losses(self, changes: Sequence[Change]) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss at every change of `values`, and whether all events kept their number and order: (C,), (C,)."""
        out, same = [], []
        for first in range(0, len(changes), COPIES):
            part = [(None, (), 0.0), *changes[first : first + COPIES]]  # the first copy is the network as it is
            stacked = {k: np.repeat(v[None], len(part), axis=0) for k, v in self.values.items()}
            for copy, (name, index, by) in enumerate(part):
                if name is not None:
                    at = (copy, *index)
                    stacked[name][at] += by
            loss, changed = self.engine.losses_of_copies(self.data, self.samples, stacked)
            out.append(loss[1:])
            same.append(~changed[1:])
        return np.concatenate(out), np.concatenate(same)

    def along(self, directions: Mapping[str, np.ndarray], steps: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """The same at values + step * directions; the first step is 0."""
        e = np.asarray(steps)
        stacked = {}
        for k, v in self.values.items():
            by = np.multiply.outer(e, directions[k]) if k in directions else np.zeros((len(e), *v.shape))
            stacked[k] = v + by
        loss, changed = self.engine.losses_of_copies(self.data, self.samples, stacked)
        return loss, ~changed

    def scale(self, name: str) -> float:
        """The size by which steps of a block are measured: 1 ms for times, else its own."""
        if name == "input_times" or name.endswith(".delay"):
            return 1.0
        return min(size_of(self.values[name]), self._potential(name))

    def _potential(self, name: str) -> float:
        """5 % of the range of the population's parameters of this unit, if some are below zero (mV), else inf."""
        owner, _, parameter = name.rpartition(".")
        params = {p.name: p.derived.model.params for p in self.plan.populations}.get(owner, {})
        unit = params[parameter].unit if parameter in params else None
        same = [self.values[f"{owner}.{n}"] for n, p in params.items() if unit and p.unit == unit]
        low, high = (min(v.min() for v in same), max(v.max() for v in same)) if same else (0.0, 0.0)
        return 0.05 * float(high - low) if low < 0 < high - low else np.inf


AnyProblem = Problem | EngineDifferences | GridProblem
MakeEngine = Callable[[Plan, Mapping[str, np.ndarray]], Engine]


def differences(problem: AnyProblem, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The derivative of the loss by every element of blocks; nan where no step is safe."""
    return {n: value for n, (value, _) in settled(problem, names).items()}


def settled(problem: AnyProblem, names: Sequence[str], least: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(derivatives, the smaller step that each was taken with) of blocks; nan where no step is safe.

    least: the smallest scale of a block.
    All elements are tried at once, in rounds of half the step; an element is settled when two steps agree.
    """
    out = {n: np.full(problem.values[n].shape, np.nan) for n in names}
    step = {n: np.full(out[n].shape, np.nan) for n in names}
    largest = dict.fromkeys(names, 0.0)
    elements = [(n, i) for n in names for i in np.ndindex(out[n].shape)]
    ahead = [(n, i) for n, i in elements if n.endswith(".delay") and problem.values[n][i] == 0]
    open_ = {e: _Estimate() for e in elements if e not in ahead}
    for halving in range(HALVINGS):
        if not open_:
            break
        h = {n: STEP * max(problem.scale(n), least) * 0.5**halving for n in names}
        loss, same = problem.losses([(n, i, by) for n, i in open_ for by in (h[n], -h[n])])
        slope = (loss[0::2] - loss[1::2]) / (2 * np.array([h[n] for n, _ in open_]))
        fine = dict(zip(open_, np.where(same[0::2] & same[1::2], slope, np.nan).tolist()))
        for (n, _), value in fine.items():
            largest[n] = max(largest[n], np.nan_to_num(abs(value)))
        for (n, i), value in fine.items():
            done = open_[n, i].add(value, largest[n], h[n])
            out[n][i], step[n][i] = open_[n, i].best, open_[n, i].step
            if done:
                del open_[n, i]
    for n, i in ahead:
        out[n][i], step[n][i] = _ahead(problem, n, i)
    return {n: (out[n], step[n]) for n in names}


class _Estimate:
    """Central differences of one element at steps h, h/2, ...: two that agree, combined to order 4 (Richardson)."""

    def __init__(self) -> None:
        self.best, self.gap, self.coarse, self.step = np.nan, np.inf, np.nan, np.nan

    def add(self, fine: float, largest: float, h: float) -> bool:
        """Take the next one, at step h, nan if it is not safe; True if smaller steps would gain nothing."""
        gap, best = abs(fine - self.coarse), (4 * fine - self.coarse) / 3
        self.coarse = fine
        if np.isnan(gap):
            return False
        if gap < self.gap:
            self.best, self.gap, self.step = best, gap, h
        elif not np.isnan(self.best):
            return True
        return gap <= AGREE * max(abs(fine), largest) or gap == 0


def _ahead(problem: AnyProblem, name: str, index: tuple[int, ...]) -> tuple[float, float]:
    """Five points ahead of a value that cannot be lowered, a delay of zero; and the step."""
    h = STEP * problem.scale(name)
    for _ in range(HALVINGS):
        f, same = problem.losses([(name, index, k * h) for k in range(5)])
        if same.all():
            return float((-25 * f[0] + 48 * f[1] - 36 * f[2] + 16 * f[3] - 3 * f[4]) / (12 * h)), h
        h /= 2
    return np.nan, np.nan


def taylor_order(
    problem: Problem | EngineDifferences, gradients: Mapping[str, np.ndarray], rng: np.random.Generator
) -> float:
    """Order of |L(v + eps d) - L(v) - eps dL/dv . d| in eps along a random direction d of all blocks but delays.

    eps is halved from 1e-2 until the remainder nears rounding: 1e-12 of the loss, or down to 1e-14 where spikes keep
    their order only under small eps. The last four above it, with spikes in unchanged order, give the order; nan if
    there are not that many.
    """
    moved = [k for k in problem.values if not k.endswith(".delay")]
    d = {k: rng.standard_normal(problem.values[k].shape) * problem.scale(k) for k in moved}
    d = {k: v * _synapses(problem.plan, k) for k, v in d.items()}
    slope = sum(float(np.sum(gradients[k] * d[k])) for k in moved)
    steps = 1e-2 * 0.5 ** np.arange(24)
    loss, same = problem.along(d, [0.0, *steps])
    remainder = np.abs(loss[1:] - loss[0] - steps * slope)
    for rounding in (1e-12, 1e-13, 1e-14):
        above = np.cumprod(remainder >= rounding * max(1.0, abs(loss[0]))) > 0
        good = np.flatnonzero(above & same[1:])[-4:]
        if len(good) == 4:
            return float(np.polyfit(np.log(steps[good]), np.log(remainder[good]), 1)[0])
    return float("nan")


def _synapses(plan: Plan, key: str) -> np.ndarray | float:
    """Which numbers of a block there are: 0 where a mask has no synapse."""
    return next((c.mask.astype(float) for c in plan.connections if c.weight == key and c.mask is not None), 1.0)


def compare(
    name: str,
    plan: Plan,
    parameters: Mapping[str, np.ndarray],
    events: DataSet,
    *,
    engine: str | MakeEngine = "reference_event",
    tolerance: float = 1e-6,
    seed: int = 0,
    may_vanish: frozenset[str] = frozenset(),
) -> Case:
    """Check every block that the engine has a gradient for; see `check_network` for what the differences are of."""
    surrogate = next((loss for loss in plan.losses if loss.surrogate), None)
    if surrogate is not None:
        raise SettingError(
            f"a loss of the {surrogate.readout} of spikes has a surrogate gradient, which differences cannot show; "
            "check the network with another loss"
        )
    make = partial(_made, engine=engine) if isinstance(engine, str) else engine
    if plan.spike_times == "grid":
        if not isinstance(events, Events):
            raise SettingError(
                "networks with currents are checked with exact spike times alone; leave out dt, and use "
                "engine='native' or 'reference_event'"
            )
        return _on_grid(name, plan, parameters, events, make, tolerance=tolerance, may_vanish=may_vanish)
    plan = replace(plan, pushes=())
    tested, samples = make(plan, parameters), np.arange(len(events))
    result = tested.run(tested.load(events), samples, training=True)
    _no_pushes(plan, tested, events, result)
    # copies of the reference in lockstep have the same currents
    own_losses = tested.own_differences or bool(plan.currents_into)
    own = tested if isinstance(tested, ReferenceEvent) else _reference(plan, parameters, needed=not own_losses)
    if own is not None and own is not tested:
        own.run(own.load(events), samples, training=True)
    gradients = dict(getattr(tested, "full_gradients", tested.gradients))
    problem: AnyProblem
    if own_losses:
        problem = EngineDifferences(plan, parameters, events, tested.name if tested.own_differences else "native")
        if plan.currents_into:
            gradients |= {values_of(n): np.array(g, np.float64) for n, g in tested.current_gradients.items()}
            gradients = {k: g for k, g in gradients.items() if k in problem.values}
    else:
        assert isinstance(events, Events)  # the data of a network without currents
        problem = Problem(plan, parameters, events)
    every = gradients if own is None else own.full_gradients | gradients
    noise = ROUNDING * max(1.0, abs(float(result.loss.mean())))
    case = Case(
        name=name, blocks=_blocks(plan, problem, gradients, noise),
        spikes={k: int(v.sum()) for k, v in result.spike_counts.items()},
        smallest_slope=np.nan if own is None else own.smallest_slope,
        slope=taylor_order(problem, every, np.random.default_rng(seed)), tolerance=tolerance, may_vanish=may_vanish,
        cannot_move=frozenset() if own is None else _driven(own),
    )  # fmt: skip
    case.judge()
    return case


def _reference(plan: Plan, parameters: Mapping[str, np.ndarray], needed: bool) -> ReferenceEvent | None:
    """`reference_event`, which also knows slopes at spikes; None if it cannot run the plan (a readout of your own)
    and is not `needed`."""
    try:
        refuse(plan, ReferenceEvent.name, ReferenceEvent.features)
    except EngineError:
        if needed:
            raise
        return None
    return ReferenceEvent(plan, parameters)


def _made(plan: Plan, parameters: Mapping[str, np.ndarray], engine: str) -> Engine:
    return create(plan, parameters, engine=engine, dtype="float64", threads=1)


def _on_grid(
    name: str, plan: Plan, parameters: Mapping[str, np.ndarray], events: Events, make: MakeEngine, *, tolerance: float,
    may_vanish: frozenset[str],
) -> Case:  # fmt: skip
    tested, samples = make(plan, parameters), np.arange(len(events))
    result = tested.run(tested.load(events), samples, training=True)
    _no_pushes(plan, tested, events, result)
    gradients = {k: np.array(g, dtype=np.float64) for k, g in tested.gradients.items()}
    problem = GridProblem(plan, parameters, events, make)
    case = Case(
        name=name, blocks=_blocks(plan, problem, gradients, ROUNDING * problem.size),
        spikes={k: int(v.sum()) for k, v in result.spike_counts.items()}, smallest_slope=problem.smallest_slope,
        slope=None, tolerance=tolerance, may_vanish=may_vanish, cannot_move=problem.cannot_move, dt=plan.dt,
    )  # fmt: skip
    case.judge()
    return case


def _blocks(plan: Plan, problem: AnyProblem, gradients: Mapping[str, np.ndarray], noise: float) -> list[Block]:
    """Gradients by their differences; noise: the rounding of a loss.

    Steps have the size of a block's numbers, which may be too small to move the loss: then they are taken once more
    with wider ones.
    """

    def made(names: Sequence[str], least: float = 0.0) -> dict[str, Block]:
        out = {}
        for key, (difference, step) in settled(problem, names, least).items():
            difference = difference * _synapses(plan, key)
            missing, floor = int(np.isnan(difference).sum()), noise / (STEP * max(problem.scale(key), least))
            out[key] = Block(key, gradients[key], difference, missing, floor, 10 * noise / step)
        return out

    def dull(b: Block) -> bool:
        """Whether rounding may be the reason that a block is not right: losses have several roundings."""
        coarse = np.max(b.resolution, initial=0) > FINE * np.abs(b.difference).max(initial=0)
        return bool(coarse) and problem.scale(b.name) < WIDE and not b.right(AGREE)

    blocks = made(list(gradients))
    return list((blocks | made([k for k, b in blocks.items() if dull(b)], WIDE)).values())


def _no_pushes(plan: Plan, engine: Engine, events: DataSet, result: Result) -> None:
    for loss in plan.losses:
        readout = result.parts[loss.output].readout if plan.auxiliary else result.readout
        _no_push(loss, readout, engine.load(events).for_loss(loss).labels)


def _driven(engine: ReferenceEvent) -> frozenset[str]:
    """Weights into and parameters of populations that spiked at arrivals only (delta synapses); delays of connections
    whose arrivals made none of the spikes."""
    out = []
    for p in engine.plan.populations:
        own = [s for t in engine.trials for s in t.recording.own_events[p.name]]
        if own and all(s.cause is not None for s in own):
            out += [c.weight for c in engine.plan.into(p.name)] + [f"{p.name}.{n}" for n in p.derived.params]
            made = {by.connection.name for s in own for by, _ in s.shares if isinstance(by, Arrival)}
            out += [f"{c.name}.delay" for c in engine.plan.into(p.name) if c.name not in made]
    return frozenset(out)


def _no_push(loss: LossRecord, readout: np.ndarray, labels: np.ndarray) -> None:
    if loss.silent != "end" or loss.compares != "labels":
        return
    if np.isinf(readout[np.arange(len(labels)), labels]).any():
        raise EventPropError(
            "the right class of a sample stays silent, and the push of silent='end' is a heuristic, not a gradient; "
            "give weights with which it spikes, or check with silent='exclude'"
        )


def check_network(
    network: Network,
    loss: Loss | Sequence[Loss],
    *,
    events: DataSet | Mapping[str, Events | Currents],
    duration: float,
    parameters: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    engine: str | MakeEngine = "reference_event",
    spike_times: str | None = None,
    dt: float | None = None,
    regularisers: Sequence[Regulariser] = (),
    tolerance: float = 1e-6,
) -> Report:
    """Check your own network, with whatever readout, loss, regulariser, connection or engine is your own: every weight,
    parameter and delay, on `reference_event` every input time, and with exact spike times every value of a current.

    Args:
        network: the one to check.
        loss: one, or a list of several. duration: trial length in ms.
        events: labelled input, a few samples: `Events`, `Currents`, or a dictionary of several inputs.
        parameters: values at which to check; default ``network.initial_parameters(seed)``.
        seed: of the initial parameters.
        engine: the engine to check, by its name, or a function of a plan and parameter values that makes it in float64.
            With exact spike times `native` and `reference_event` are compared with differences of their own losses, on
            a grid every engine is, by the straight-through model of docs/equations.md, section 6.
        spike_times: "exact" or "grid"; default "exact" where the engine has such spike times and no dt is given.
        dt: step of the grid in ms; default see `grid_step`.
        regularisers: of spikes, which act by a jump of the adjoint; on a grid it is checked that they do.
        tolerance: largest relative error of a block.

    Example:
        >>> from genn_eventprop.verify.gradients import check_network
        >>> report = check_network(net, loss, events=events[:5], duration=20.0)
        >>> report.passed, report.cases[0].blocks[0].name
        (True, 'input_hidden.weight')
    """
    events = require_data(events, "input")
    if events.labels is None and any(each.compares == "labels" and not each.answer for each in as_losses(loss)):
        raise SettingError("check_network needs labelled events: the loss is a function of the label")
    kind = spike_times or kind_of(engine, dt)
    if kind == "exact" and (regularisers or dt is not None):
        what = (
            "the gradient of a spike regulariser is a surrogate, which cannot be checked"
            if regularisers
            else f"dt={dt:g}"
        )
        raise SettingError(f"check_network: {what} with exact spike times; use spike_times='grid', or leave it out")
    step = duration if kind == "exact" else dt or grid_step(duration, as_losses(loss))
    plan = make_plan(network, loss, dt=step, duration=duration, spike_times=kind, regularisers=regularisers)
    values = network.initial_parameters(seed) if parameters is None else parameters
    if not plan.currents and not isinstance(events, Events):  # several inputs of spikes: side by side
        events, _ = split_inputs(events, plan.input.sizes, {})
    return Report([compare("network", plan, values, events, engine=engine, tolerance=tolerance, seed=seed)])


def kind_of(engine: str | MakeEngine, dt: float | None = None) -> str:
    """The spike times in which an engine is checked: exact ones if it has them and nobody gave a step of a grid."""
    if dt is not None or not isinstance(engine, str):
        return "grid"
    kind = engine_class(engine)
    return "exact" if "exact" in kind.features and kind.exact_by_itself else "grid"


STEPS_PER_TRIAL = 40


def grid_step(duration: float, losses: Sequence[LossFormulas]) -> float:
    """The largest of 1, 0.5, 0.25, ... ms of which the trial is a whole number, at least 40, and so are the windows of
    losses; 1/40 of the trial, 1/80, ... if none is."""
    for first in (1.0, 0.2, duration / STEPS_PER_TRIAL):
        for halving in range(6):
            dt = first / 2**halving
            whole = abs(duration / dt - round(duration / dt)) < 1e-9
            if whole and round(duration / dt) >= STEPS_PER_TRIAL and _fit(losses, duration, dt):
                return dt
    raise SettingError(f"no step of a grid fits a trial of {duration:g} ms and the windows of its losses; give dt")


def _fit(losses: Sequence[LossFormulas], duration: float, dt: float) -> bool:
    try:
        for loss in losses:
            window_steps(loss.weight.ends(duration), dt)
    except LossError:
        return False
    return True
