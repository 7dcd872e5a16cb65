"""Gradient blocks of one network against differences of forward-only runs.

Differences: central with steps h and h/2, combined to order 4 (Richardson), or five points ahead for a delay of zero.
A step is halved while spikes change in number or order, a maximum moves to another arrival, or the two steps disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import Events
from ..engines import Data, create
from ..engines.reference_event import ReferenceEvent
from ..errors import EventPropError, SettingError
from ..losses import Loss
from ..modelling import Network
from ..plan import Plan, make_plan
from .report import Block, Case, Report

STEP = 2e-4  # of the scale of a block
HALVINGS = 14
AGREE = 1e-6  # of the largest difference so far: then the combined value is good to about 1e-10


class Problem:
    """A loss as a function of every number in it. Blocks: "connection.weight", "connection.delay",
    "population.parameter", "input_times". Regularisers are left out: those of spikes are the gradient of nothing."""

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], events: Events) -> None:
        plan = replace(plan, regularisers=())
        self.plan, self.events = plan, events
        self.samples = np.arange(len(events))
        self.engine = ReferenceEvent(plan, parameters)
        self.data: Data = self.engine.load(events)
        self.values = {k: v.copy() for k, v in self.engine.parameters.items()}
        self.values |= {f"{c.name}.delay": np.array(c.delay) for c in plan.connections}
        self.values["input_times"] = np.array(events.times, dtype=np.float64)

    def run(self, values: Mapping[str, np.ndarray]) -> tuple[float, Any]:
        """(mean loss, signature) at `values`, forward only."""
        data = replace(self.data, times=values["input_times"])
        connections = tuple(replace(c, delay=float(values[f"{c.name}.delay"])) for c in self.plan.connections)
        self.engine.plan = replace(self.plan, connections=connections)
        for key, value in self.engine.parameters.items():
            value[...] = values[key]
        loss = float(self.engine.run(data, self.samples).loss.mean())
        return loss, [(t.recording.order(), t.readout.signature()) for t in self.engine.trials]

    def scale(self, name: str) -> float:
        """The size by which steps of a block are measured: 1 ms for times, else its own."""
        if name == "input_times" or name.endswith(".delay"):
            return 1.0
        return max(float(np.sqrt(np.mean(self.values[name] ** 2))), 0.1)


def _changed(values: Mapping[str, np.ndarray], name: str, index: tuple[int, ...], by: float) -> dict[str, np.ndarray]:
    new = dict(values)
    new[name] = values[name].copy()
    new[name][index] += by
    return new


def differences(problem: Problem, name: str) -> tuple[np.ndarray, int]:
    """The derivative of the loss by every element of a block, and how many found no safe step."""
    values = problem.values
    _, signature = problem.run(values)
    out, unsettled, largest = np.zeros_like(values[name]), 0, 0.0
    for index in np.ndindex(values[name].shape):
        one_sided = name.endswith(".delay") and values[name][index] == 0
        estimate = _ahead if one_sided else _central
        at = lambda by, index=index: problem.run(_changed(values, name, index, by))  # noqa: E731
        value = estimate(at, signature, STEP * problem.scale(name), largest)
        unsettled += value is None
        out[index] = np.nan if value is None else value
        largest = max(largest, abs(out[index])) if value is not None else largest
    return out, unsettled


Function = Callable[[float], tuple[float, Any]]


def _safe(at: Function, signature: Any, points: tuple[float, ...]) -> list[float] | None:
    """Losses at the points, or None if anything happens in another order there."""
    losses = []
    for by in points:
        loss, found = at(by)
        if found != signature:
            return None
        losses.append(loss)
    return losses


def _central(at: Function, signature: Any, h: float, largest: float) -> float | None:
    best, best_gap, coarse = None, np.inf, None
    for _ in range(HALVINGS):
        pair = _safe(at, signature, (h, -h))
        fine = None if pair is None else (pair[0] - pair[1]) / (2 * h)
        if fine is not None and coarse is not None:
            gap = abs(fine - coarse)
            if gap < best_gap:
                best, best_gap = (4 * fine - coarse) / 3, gap
            elif best is not None:
                return best
            if gap <= AGREE * max(abs(fine), largest) or gap == 0:
                return best
        coarse, h = fine, h / 2
    return best


def _ahead(at: Function, signature: Any, h: float, largest: float) -> float | None:
    for _ in range(HALVINGS):
        f = _safe(at, signature, (0.0, h, 2 * h, 3 * h, 4 * h))
        if f is not None:
            return (-25 * f[0] + 48 * f[1] - 36 * f[2] + 16 * f[3] - 3 * f[4]) / (12 * h)
        h /= 2
    return None


def taylor_order(problem: Problem, gradients: Mapping[str, np.ndarray], rng: np.random.Generator) -> float:
    """Order of |L(v + eps d) - L(v) - eps dL/dv . d| in eps along a random direction d of all blocks but delays.

    eps is halved from 1e-2 until the remainder nears rounding; the last four above it, with spikes in unchanged order,
    give the order. nan if there are not that many.
    """
    values = problem.values
    start, signature = problem.run(values)
    moved = [k for k in values if not k.endswith(".delay")]
    d = {k: rng.standard_normal(values[k].shape) * problem.scale(k) for k in moved}
    slope = sum(float(np.sum(gradients[k] * d[k])) for k in moved)
    eps, found = 1e-2, []
    while eps > 1e-9:
        loss, there = problem.run({k: v + eps * d[k] if k in d else v for k, v in values.items()})
        remainder = abs(loss - start - eps * slope)
        if remainder < 1e-12 * max(1.0, abs(start)):
            break
        if there == signature:
            found.append((eps, remainder))
        eps /= 2
    if len(found) < 4:
        return float("nan")
    e, r = np.log(np.array(found[-4:])).T
    return float(np.polyfit(e, r, 1)[0])


def compare(
    name: str,
    plan: Plan,
    parameters: Mapping[str, np.ndarray],
    events: Events,
    *,
    engine: str = "reference_event",
    tolerance: float = 1e-6,
    seed: int = 0,
    may_vanish: frozenset[str] = frozenset(),
) -> Case:
    """Check every block that the engine has a gradient for."""
    problem = Problem(plan, parameters, events)
    tested = create(plan, parameters, engine=engine, dtype="float64")
    result = tested.run(tested.load(events), problem.samples, training=True)
    _no_push(plan, result.readout, events)
    own = tested if isinstance(tested, ReferenceEvent) else problem.engine
    if own is problem.engine:
        own.run(problem.data, problem.samples, training=True)
    gradients = dict(getattr(tested, "full_gradients", tested.gradients))
    every = own.full_gradients | gradients
    start, _ = problem.run(problem.values)
    blocks = []
    for key in gradients:
        difference, unsettled = differences(problem, key)
        rounding = 1e-12 * max(1.0, abs(start)) / problem.scale(key)
        blocks.append(Block(key, gradients[key], difference, unsettled, rounding))
    case = Case(
        name=name, blocks=blocks, spikes={k: int(v.sum()) for k, v in result.spike_counts.items()},
        smallest_slope=own.smallest_slope, slope=taylor_order(problem, every, np.random.default_rng(seed)),
        tolerance=tolerance, may_vanish=may_vanish,
    )  # fmt: skip
    case.judge()
    return case


def _no_push(plan: Plan, readout: np.ndarray, events: Events) -> None:
    labels = np.asarray(events.labels)
    if plan.loss.silent == "end" and np.isinf(readout[np.arange(len(labels)), labels]).any():
        raise EventPropError(
            "the right class of a sample stays silent, and the push of silent='end' is a heuristic, not a gradient; "
            "give weights with which it spikes, or check with silent='exclude'"
        )


def check_network(
    network: Network,
    loss: Loss,
    *,
    events: Events,
    duration: float,
    parameters: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    engine: str = "reference_event",
    tolerance: float = 1e-6,
) -> Report:
    """Check a network of your own: every weight, parameter, delay and input time.

    Args:
        events: labelled input, a few samples. duration: trial length in ms.
        parameters: values to check at; default ``network.initial_parameters(seed)``.
        engine: whose gradient; differences always come from `reference_event`.
        tolerance: largest relative error of a block.
    """
    if events.labels is None:
        raise SettingError("check_network needs labelled events: the loss is a function of the label")
    plan = make_plan(network, loss, dt=duration, duration=duration, spike_times="exact")
    values = network.initial_parameters(seed) if parameters is None else parameters
    return Report([compare("network", plan, values, events, engine=engine, tolerance=tolerance, seed=seed)])
