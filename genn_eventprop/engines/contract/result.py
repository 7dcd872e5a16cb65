"""The results of a batch of trials: losses, predictions, readouts, spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...plan import Plan
from .lock import EngineLock


@dataclass(frozen=True, eq=False)
class Spikes:
    """Recorded spikes, sorted by sample, then time.

    Args:
        sample: (E,) index into the batch. time: (E,) ms. neuron: (E,).

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, progress=False)
        >>> spikes = record_trial(trainer, events, 0).spikes["hidden"]
        >>> spikes.time.shape == spikes.neuron.shape
        True
    """

    sample: np.ndarray
    time: np.ndarray
    neuron: np.ndarray

    @classmethod
    def in_order(cls, sample: np.ndarray, time: np.ndarray, neuron: np.ndarray) -> Spikes:
        """`sample`, `time` and `neuron` of spikes in any order, sorted; those of one instant by neuron."""
        order = np.lexsort((neuron, time, sample))
        return cls(sample[order], time[order], neuron[order])


class SpikeRecords(Mapping[str, Spikes]):
    """Spikes of populations, sorted when they are first looked at.

    Args:
        names: of the populations. read: number of one in `names` -> what `Spikes.in_order` takes. lock: of the engine.
    """

    def __init__(
        self, names: Sequence[str], read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]], lock: EngineLock
    ) -> None:
        self._lock = lock
        self._read, self._names, self._sorted = read, list(names), dict[str, Spikes]()
        self._raw: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def fetch(self) -> None:
        """Read all now: the next run of the engine overwrites them."""
        with self._lock:
            for i, name in enumerate(self._names):
                if name not in self._sorted and name not in self._raw:
                    self._raw[name] = self._read(i)

    def __getitem__(self, name: str) -> Spikes:
        if name not in self._names:
            raise KeyError(name)
        with self._lock:
            if name not in self._sorted:
                raw = self._raw.pop(name) if name in self._raw else self._read(self._names.index(name))
                self._sorted[name] = Spikes.in_order(*raw)
            return self._sorted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, eq=False)
class LossPart:
    """One of several losses on a batch: loss (B,), nan without a label or target; prediction (B,) and readout (B, K) as
    in `Result`."""

    loss: np.ndarray
    prediction: np.ndarray
    readout: np.ndarray


def summed(plan: Plan, parts: Mapping[str, LossPart]) -> np.ndarray:
    """(B,) the sum of losses times their factors; an auxiliary loss that has nothing to compare with adds nothing."""
    # a main loss that is nan makes the sum nan: such a sample has no loss; an auxiliary one may be missing
    main, *others = plan.losses
    total = main.factor * parts[main.output].loss
    for loss in others:
        total = total + loss.factor * np.nan_to_num(parts[loss.output].loss)
    return total


@dataclass(frozen=True, eq=False)
class Result:
    """One batch of B trials.

    loss (B,) float64, nan without a label or target. prediction (B,) int64, -1 if no output decides (the readout needs
    spikes and there are none, or several outputs have the largest score). readout (B, K) float64; first-spike readouts
    in ms, inf if silent. spike_counts: population -> (B, N) int64. guarded: how often the guard on 1 / gdot acted.
    spikes: population -> `Spikes`, if recorded. parts: with several losses, the result of each without its factor, by
    population; `loss` is their sum, prediction and readout are those of the main loss.
    """

    loss: np.ndarray
    prediction: np.ndarray
    readout: np.ndarray
    spike_counts: dict[str, np.ndarray]
    guarded: int
    spikes: Mapping[str, Spikes] | None
    parts: Mapping[str, LossPart] = field(default_factory=dict)

    @classmethod
    def of_losses(
        cls, plan: Plan, parts: Mapping[str, LossPart], spike_counts: dict[str, np.ndarray], guarded: int,
        spikes: Mapping[str, Spikes] | None,
    ) -> Result:  # fmt: skip
        """From the result of every loss of a plan."""
        loss, main = summed(plan, parts), parts[plan.loss.output]
        return cls(loss, main.prediction, main.readout, spike_counts, guarded, spikes, parts if plan.auxiliary else {})
