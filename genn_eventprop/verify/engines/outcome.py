"""The results of a run of a network, as named arrays, and the difference of two such."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...adjoint.arrivals import is_linear_along
from ...engines.contract.data import Data
from ...engines.contract.engine import Engine
from ...engines.contract.features import no_input_times
from ...engines.contract.result import Result
from ...engines.contract.split import READ
from ...engines.reference.exact.population import SAME_INSTANT
from ...engines.reference.exact.routes import routes
from ...errors import EventPropError, ToolchainError
from ...plan import Plan
from ...plan.synapse_tables import Tables

HALVES = "halves: "
"""How numbers of the two halves of a trial are called, which an engine may lack; see `Engine.splits`."""
INPUT_TIMES = "gradient of input times"
LEAST_READOUT = 1e-3
"""Readouts, times and scores below that are compared as if they were as large."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """choices: discrete results (spike counts, which outputs have a readout). numbers: spike times by neuron, losses,
    readouts, gradients; from the two halves of a trial gradients of parameters and of input times. prediction, lead:
    (B,) class, and by how much of the largest score it is ahead. stopped: the error instead of them."""

    choices: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray]
    prediction: np.ndarray
    lead: np.ndarray
    stopped: str = ""

    @classmethod
    def none(cls, error: Exception) -> Outcome:
        return cls({}, {}, np.zeros(0, np.int64), np.zeros(0), str(error))


def outcome(engine: Engine, data: Data, probe: tuple[Engine, Data] | None = None) -> Outcome:
    """A training run of all samples, and the same in two halves with a random dL/dr.

    probe: what runs the halves, where the loss of the engine's plan has none.
    """
    engine.seed, engine.epoch = 3, 1  # noise and dropout are drawn from these: the same on every engine
    try:
        result = engine.run(data, np.arange(len(data)), training=True, record_spikes=True)
        choices, numbers = _of_result(result)
        numbers |= {f"gradient of {k}": g for k, g in _gradients_of_instants(engine, data).items()}
        numbers |= _of_currents(engine)
        numbers |= {f"{HALVES}{k}": g for k, g in _in_halves(*(probe or (engine, data))).items()}
    except ToolchainError:
        raise
    except EventPropError as error:
        return Outcome.none(error)
    return Outcome(choices, numbers, result.prediction, lead(engine, result))


def _gradients(engine: Engine) -> dict[str, np.ndarray]:
    return {k: np.array(g, np.float64) for k, g in engine.gradients.items()}


def _of_currents(engine: Engine) -> dict[str, np.ndarray]:
    if not any(engine.plan.out_of(c.name) for c in engine.plan.currents):
        return {}
    return {f"gradient of values of {k}": np.array(g, np.float64) for k, g in engine.current_gradients.items()}


def _in_halves(engine: Engine, data: Data) -> dict[str, np.ndarray]:
    """Readouts and gradients of sum(c r), c drawn at random; nothing where the engine or the loss has no halves."""
    if not engine.splits or engine.plan.loss.readout not in READ or engine.plan.auxiliary:
        return {}
    engine.seed, engine.epoch, rng = 3, 1, np.random.default_rng(7)
    read = engine.forward(data, np.arange(len(data)), stochastic=True)
    # a sum with random factors reaches every readout, where the loss of a trained class may hardly depend on some
    slope = rng.normal(size=read.value.shape)
    also = {k: rng.normal(size=read.also[k].shape) / len(read.also[k][0]) for k in sorted(read.also)}
    timed = not no_input_times(engine.plan, engine.features)
    engine.backward(slope, also, inputs=timed)
    numbers = {f"gradient of {k}": g for k, g in _gradients_of_instants(engine, data).items()}
    numbers |= _of_currents(engine)
    numbers |= {INPUT_TIMES: _of_instants(engine, data)} if timed else {}
    others = {f"readout {k}": np.where(np.isfinite(r), r, 0.0) for k, r in read.also.items()}
    return numbers | {"readout": np.where(read.valid, read.value, 0.0)} | others


def _of_instants(engine: Engine, data: Data) -> np.ndarray:
    """(E,) gradients of input times. Where arrivals of one instant meet a kink (a maximum of V, or dynamics that are
    not linear in what they move), only the derivative by their common time is defined, and engines differ in which of
    them gets the part of the kink. Each gets the mean of its instant.
    """
    found, plan = np.array(engine.input_gradients, np.float64), engine.plan
    if data.times is None or not ("max" in plan.loss.readouts or _kinks_at_arrivals(plan)):
        return found
    return _mean_of(found, np.unique(_sample_and_time(data), axis=1, return_inverse=True)[1].ravel())


def _sample_and_time(data: Data) -> np.ndarray:
    """(2, E) of every input spike."""
    return np.stack([np.repeat(np.arange(len(data)), np.diff(data.offsets)), np.asarray(data.times)])


def _mean_of(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Each value as the mean of its group."""
    return np.asarray((np.bincount(group, values) / np.bincount(group))[group])


def _gradients_of_instants(engine: Engine, data: Data) -> dict[str, np.ndarray]:
    """Gradients of parameters; those of delays of input spikes that reach a neuron at one instant as `_of_instants`."""
    gradients, plan = _gradients(engine), engine.plan
    learned = [c for c in plan.out_of(plan.input.name) if c.learns_delays and c.delays is not None]
    if data.times is None or not learned or not any("max" in loss.readouts for loss in plan.losses):
        return gradients
    ways = routes(plan, Tables(plan), engine.parameters)
    delays = [np.asarray(engine.parameters[c.delays_name], np.float64).ravel() for c in learned]
    places = np.split(np.arange(sum(map(len, delays))), np.cumsum([len(d) for d in delays])[:-1])
    arrivals = []  # (sample, population, neuron, time, which of all delays)
    for c, delay, place in zip(learned, delays, places):
        first = 0 if c.channels is None else c.channels[0]
        for sample, time, row in zip(*_sample_and_time(data), data.channels - first):
            for way in ways[c.name][row] if 0 <= row < c.pre else ():
                at = time + delay[way.delay]
                arrivals += [(sample, c.target, neuron, at, place[way.delay]) for neuron in way.target]
    group = np.arange(sum(map(len, delays)))
    for one, other in itertools.pairwise(sorted(arrivals)):
        if one[:3] == other[:3] and other[3] - one[3] <= SAME_INSTANT * plan.duration:  # a chain of them is one instant
            group[group == group[other[4]]] = group[one[4]]
    every = np.concatenate([gradients[c.delays_name].ravel() for c in learned])
    means = _mean_of(every, np.unique(group, return_inverse=True)[1])
    return gradients | {c.delays_name: means[place] for c, place in zip(learned, places)}


def _kinks_at_arrivals(plan: Plan) -> bool:
    """Whether the order of arrivals of one instant matters to their gradients. Those of hidden neurons count: delta
    synapses hand an instant of the input on."""
    return plan.spike_times == "exact" and not all(
        is_linear_along(plan.population(c.target).derived, c.receptor) for c in plan.connections
    )


def lead(engine: Engine, result: Result) -> np.ndarray:
    """(B,) by how much the best score is ahead of the next one, relative to the largest (or 1e-3, as for readouts);
    inf for a single one."""
    valid = np.isfinite(result.readout)
    scores = engine.plan.loss.scores(result.readout, valid, engine.plan.duration)
    best = np.sort(np.concatenate([np.full((len(scores), 1), -np.inf), scores], axis=1), axis=1)[:, -2:]
    size = np.abs(np.where(np.isfinite(scores), scores, 0.0)).max(axis=1)
    alone = ~np.isfinite(best[:, 0])
    return np.where(alone, np.inf, (best[:, 1] - np.where(alone, 0.0, best[:, 0])) / np.maximum(size, LEAST_READOUT))


def _of_result(result: Result) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    there = np.isfinite(result.readout)
    choices = {f"spike counts of {k}": v for k, v in result.spike_counts.items()}
    choices |= {"outputs with a readout": there}
    numbers = {"loss": result.loss, "readout": np.where(there, result.readout, 0.0)}
    for k, part in result.parts.items():
        shown = np.isfinite(part.readout)
        choices[f"outputs of {k} with a readout"] = shown
        numbers |= {f"loss of {k}": np.nan_to_num(part.loss), f"readout of {k}": np.where(shown, part.readout, 0.0)}
    for k, s in (result.spikes or {}).items():
        # engines record spikes of one time in orders of their own
        order = np.lexsort((s.time, s.neuron, s.sample))
        numbers[f"spike times of {k}"] = s.time[order]
    return choices, {k: np.asarray(v, np.float64) for k, v in numbers.items()}


def other_choice(want: Outcome, got: Outcome, relative: float) -> str:
    """The first thing that is decided otherwise, "" if none is. A prediction counts where it is ahead by `relative`."""
    if want.stopped or got.stopped:
        return "" if want.stopped and got.stopped else f"only one stops: {want.stopped or got.stopped}"
    for key, value in want.choices.items():
        other = got.choices[key]
        if value.shape != other.shape or not np.array_equal(value, other):
            return f"{key}: {_short(other)} for {_short(value)}"
    clear = want.lead > relative  # rounding may decide between two outputs that are nearer than that
    if not np.array_equal(want.prediction[clear], got.prediction[clear]):
        return f"prediction: {_short(got.prediction)} for {_short(want.prediction)}"
    if (tied := (got.lead == 0) & (got.prediction != -1)).any():
        return f"prediction: {_short(got.prediction[tied])} where several outputs are equally good"
    return ""


def other_number(
    want: Outcome, got: Outcome, relative: float, eps: float, allowed: Mapping[str, float] | None = None
) -> str:
    """The first array that is off by more than `relative` times its largest entry plus what is `allowed`, else "".

    A gradient is a sum whose terms may cancel, and keeps their rounding: ten `eps` of the largest gradient of the run,
    of the loss where they all cancel, or of the same gradient with dL/dr of order 1 (the softmax takes 1 from a
    probability near 1) is nothing. So are ten `eps` of the scores for a loss: -log softmax is a difference of them. In
    halves the readouts stand for the loss, where no gradient is above 1000 `eps` of them: of an output that rests, all
    gradients but those by which V rests are rounding.
    """
    largest = {half: _largest_gradient(want, half) for half in (False, True)}
    read = max((_size(v) for k, v in want.numbers.items() if k.startswith(f"{HALVES}readout")), default=0.0)
    loss = {False: _size(want.numbers["loss"]) if "loss" in want.numbers else 0.0,
            True: read if largest[True] < 1000 * eps * read else 0.0}  # fmt: skip
    for key, value in want.numbers.items():
        if key.startswith(HALVES) and key not in got.numbers:
            continue
        other, half = got.numbers[key], key.startswith(HALVES)
        if not np.array_equal(np.isfinite(value), np.isfinite(other)):
            return f"{key}: {_short(other)} for {_short(value)}"
        error, size = _size(other - value), _size(value)
        least = 1e-4 * largest[half] if _is_gradient(key) else LEAST_READOUT if key != "loss" else 1e-6
        terms = max(largest[half], loss[half], _size(want.numbers.get(HALVES + key, np.zeros(1))))
        terms = terms if _is_gradient(key) else max(1.0, _size(want.numbers["readout"])) if key == "loss" else 0.0
        bound = max(relative * max(size, least), 10 * eps * terms) + (allowed or {}).get(key, 0.0)
        if not error <= bound:
            return f"{key}: off by {error:.1e} of {size:.1e}, allowed {bound:.1e}"
    return ""


def distance(want: Outcome, got: Outcome) -> dict[str, float]:
    """Largest difference of every array of numbers."""
    return {key: _size(got.numbers[key] - value) for key, value in want.numbers.items()}


def _largest_gradient(want: Outcome, half: bool) -> float:
    sizes = (_size(v) for k, v in want.numbers.items() if _is_gradient(k) and k.startswith(HALVES) == half)
    return max(sizes, default=0.0)


def _is_gradient(key: str) -> bool:
    return key.removeprefix(HALVES).startswith("gradient")


def _size(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def _short(values: np.ndarray) -> str:
    return np.array2string(np.ravel(values), threshold=8, edgeitems=3, precision=4, max_line_width=1000)
