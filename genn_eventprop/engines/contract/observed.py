"""Spikes of populations that others computed: a device, an integer simulator, a recording (docs/observed.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.events.check import as_vector
from ...errors import DataError, EngineError, suggest
from ...modelling.memory import check_fits
from ...plan import Plan, PopulationRecord, clock
from .result import Spikes

Observed = Mapping[str, Spikes | Sequence[tuple[Any, Any]]]
"""Population -> its spikes: of a batch in one list, or a pair (times, neurons) for every sample of it."""


def checked(plan: Plan, numbers: np.ndarray, observed: Observed) -> dict[str, Spikes]:
    """The spikes of every observed population, sorted by sample, then time.

    Args:
        numbers: (B,) of the samples of the batch in the data set, for errors.

    Raises:
        DataError, EngineError: see `Engine.run`.
    """
    names = [p.name for p in plan.populations]
    for name in observed:
        if name not in names:
            raise EngineError(f"observed: there is no population {name!r} ({suggest(name, names)})")
    if observed and plan.spike_birth:
        raise EngineError("observed spikes are not born: make the plan with spike_birth=0")
    return {name: _checked(plan, plan.population(name), numbers, spikes) for name, spikes in observed.items()}


def _checked(plan: Plan, p: PopulationRecord, numbers: np.ndarray, observed: Any) -> Spikes:
    if (kinds := sum(e.emits for e in p.derived.events)) != 1:
        raise EngineError(
            f"population {p.name!r} cannot be observed: {p.derived.model.name} has {kinds} kinds of spikes, not one"
        )
    where = f"observed spikes of {p.name!r}"
    spikes = observed if isinstance(observed, Spikes) else _joined(observed, len(numbers), where)
    sample = as_vector(spikes.sample, np.int64, f"{where}: samples")
    time = np.asarray(spikes.time)
    time = as_vector(clock.as_float64(time) if time.dtype == np.float32 else time, np.float64, f"{where}: times")
    neuron = as_vector(spikes.neuron, np.int64, f"{where}: neurons")
    if not len(sample) == len(time) == len(neuron):
        raise DataError(f"{where}: {len(sample)} samples, {len(time)} times and {len(neuron)} neurons; give one each")
    if sample.size and (sample.min() < 0 or sample.max() >= len(numbers) or np.any(np.diff(sample) < 0)):
        raise DataError(f"{where}: samples must be numbers of the batch, from 0 to {len(numbers) - 1}, in order")

    def refuse(wrong: np.ndarray, says: str) -> None:
        if wrong.any():
            k = int(np.argmax(wrong))
            values = says.format(time=f"{time[k]:g} ms", neuron=neuron[k])
            raise DataError(f"{where}, sample {numbers[sample[k]]}: {values}")

    refuse(~np.isfinite(time), "a time is not a finite number")
    refuse(time < 0, "a spike at {time} is before the trial, which begins at 0")
    refuse(time > plan.duration, f"a spike at {{time}} is after the end of the trial of {plan.duration:g} ms")
    refuse((neuron < 0) | (neuron >= p.size), f"there is no neuron {{neuron}} among {p.size}")
    earlier = np.zeros(len(time), bool)
    earlier[1:] = (np.diff(time) < 0) & (np.diff(sample) == 0)
    refuse(earlier, "the spike at {time} comes after a later one; sort them by time")
    instant = time if plan.spike_times == "exact" else steps_of(time, plan)
    order = np.lexsort((instant, neuron, sample))
    twice = np.zeros(len(time), bool)
    same = [np.diff(x[order]) == 0 for x in (sample, neuron, instant)]
    twice[order[1:]] = same[0] & same[1] & same[2]
    at_once = "at one time" if plan.spike_times == "exact" else f"within one step of {plan.dt:g} ms; use a smaller dt"
    refuse(twice, f"neuron {{neuron}} spikes twice at {{time}}, {at_once}")
    return Spikes(sample, time, neuron)


def _joined(of_samples: Any, batch: int, where: str) -> Spikes:
    """Spikes of all samples one after the other, from a pair for each of them."""
    try:
        pairs = [(np.atleast_1d(times), np.atleast_1d(neurons)) for times, neurons in of_samples]
    except (TypeError, ValueError):
        raise DataError(f"{where}: give a pair (times in ms, neurons) for every sample of the batch") from None
    if len(pairs) != batch:
        raise DataError(f"{where}: {len(pairs)} samples are given, the batch has {batch}")
    for i, (times, neurons) in enumerate(pairs):
        if times.shape != neurons.shape or times.ndim != 1:
            raise DataError(f"{where}: sample {i} of the batch has {times.size} times and {neurons.size} neurons")
        if np.ma.is_masked(times) or np.ma.is_masked(neurons):
            raise DataError(f"{where}: sample {i} of the batch has masked values; give those that are left alone")
    counts = [len(times) for times, _ in pairs]
    nothing = np.zeros(0, np.float32)  # an empty list is one of numbers
    joined = [np.concatenate([x for x in part if x.size] or [nothing]) for part in (zip(*pairs) if pairs else ((), ()))]
    return Spikes(np.repeat(np.arange(batch), counts), *joined)


def steps_of(times: np.ndarray, plan: Plan) -> np.ndarray:
    """Steps at whose end spikes are: the nearest, but none at time 0, where a trial begins with no step behind it."""
    return np.maximum(clock.to_steps(times, plan.dt), 1)


def rows(spikes: Spikes, plan: Plan, p: PopulationRecord, batch: int, dtype: np.dtype) -> np.ndarray:
    """(B, K, N) 1 where a neuron spikes at the end of a step, else 0.

    Raises:
        EngineError: they do not fit the memory of this machine.
    """
    shape = batch, plan.n_steps, p.size
    what = f"observed spikes of {p.name!r} in {batch} trials of {plan.n_steps} steps"
    check_fits(int(np.prod(shape)) * dtype.itemsize, what, "use a smaller batch", EngineError)
    flags = np.zeros(shape, dtype)
    flags[spikes.sample, steps_of(spikes.time, plan) - 1, spikes.neuron] = 1
    return flags
