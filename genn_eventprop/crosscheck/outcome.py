"""What a run of a network gives, as named arrays, and the difference of two such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..engines.base import Data, Engine, Result
from ..errors import EventPropError, ToolchainError


@dataclass(frozen=True, eq=False)
class Outcome:
    """choices: what is yes or no (spike counts, which outputs have a readout). numbers: spike times by neuron, losses,
    readouts, gradients. prediction, lead: (B,) class, and by how much of the largest score it is ahead. stopped: the
    error instead of them."""

    choices: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray]
    prediction: np.ndarray
    lead: np.ndarray
    stopped: str = ""

    @classmethod
    def none(cls, error: Exception) -> Outcome:
        return cls({}, {}, np.zeros(0, np.int64), np.zeros(0), str(error))


def outcome(engine: Engine, data: Data) -> Outcome:
    """A training run of all samples."""
    engine.seed, engine.epoch = 3, 1
    try:
        result = engine.run(data, np.arange(len(data)), training=True, record_spikes=True)
    except ToolchainError:
        raise
    except EventPropError as error:
        return Outcome.none(error)
    choices, numbers = _of_result(result)
    numbers |= {f"gradient of {k}": np.array(g, np.float64) for k, g in engine.gradients.items()}
    return Outcome(choices, numbers, result.prediction, lead(engine, result))


def lead(engine: Engine, result: Result) -> np.ndarray:
    """(B,) by how much the best score is ahead of the next one, relative to the largest; inf for a single one."""
    valid = np.isfinite(result.readout)
    scores = engine.plan.loss.scores(result.readout, valid, engine.plan.duration)
    best = np.sort(np.concatenate([np.full((len(scores), 1), -np.inf), scores], axis=1), axis=1)[:, -2:]
    size = np.abs(np.where(np.isfinite(scores), scores, 0.0)).max(axis=1)
    alone = ~np.isfinite(best[:, 0])
    return np.where(alone, np.inf, (best[:, 1] - np.where(alone, 0.0, best[:, 0])) / np.where(size > 0, size, 1.0))


def _of_result(result: Result) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    there = np.isfinite(result.readout)
    choices = {f"spike counts of {k}": v for k, v in result.spike_counts.items()}
    choices |= {"outputs with a readout": there}
    numbers = {"loss": result.loss, "readout": np.where(there, result.readout, 0.0)}
    for k, s in (result.spikes or {}).items():
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
    clear = want.lead > relative
    if not np.array_equal(want.prediction[clear], got.prediction[clear]):
        return f"prediction: {_short(got.prediction)} for {_short(want.prediction)}"
    if (tied := (got.lead == 0) & (got.prediction != -1)).any():
        return f"prediction: {_short(got.prediction[tied])} where several outputs are equally good"
    return ""


def other_number(want: Outcome, got: Outcome, relative: float, allowed: Mapping[str, float] | None = None) -> str:
    """The first array that is off by more than `relative` times its largest entry plus what is `allowed`, else ""."""
    largest = max((_size(v) for k, v in want.numbers.items() if k.startswith("gradient")), default=0.0)
    for key, value in want.numbers.items():
        other = got.numbers[key]
        if not np.array_equal(np.isfinite(value), np.isfinite(other)):
            return f"{key}: {_short(other)} for {_short(value)}"
        error, size = _size(other - value), _size(value)
        least = 1e-4 * largest if key.startswith("gradient") else 1e-3 if key != "loss" else 1e-6
        bound = relative * max(size, least) + (allowed or {}).get(key, 0.0)
        if not error <= bound:
            return f"{key}: off by {error:.1e} of {size:.1e}, allowed {bound:.1e}"
    return ""


def distance(want: Outcome, got: Outcome) -> dict[str, float]:
    """Largest difference of every array of numbers."""
    return {key: _size(got.numbers[key] - value) for key, value in want.numbers.items()}


def _size(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def _short(values: np.ndarray) -> str:
    return np.array2string(np.ravel(values), threshold=8, edgeitems=3, precision=4, max_line_width=1000)
