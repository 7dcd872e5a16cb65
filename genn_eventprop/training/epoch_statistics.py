"""Statistics over many batches: loss, accuracy, activity of every population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines import Data, Result
from ..engines.contract.result import LossPart
from .label_steps import StepResult


@dataclass(frozen=True)
class Activity:
    """One population over a set of trials.

    Args:
        spikes_per_neuron: mean number of spikes per neuron and trial.
        silent: neurons that never spiked in the whole set.
        runaway: neurons that spiked faster than the limit on average.
    """

    spikes_per_neuron: float
    silent: int
    runaway: int


class EpochStatistics:
    """Sums over trials; `add` a batch at a time, then read the means.

    Args:
        runaway_spikes: a neuron with more spikes per trial than this, on average, counts as runaway.
    """

    def __init__(self, runaway_spikes: float) -> None:
        self.runaway_spikes = runaway_spikes
        self.trials = self.labelled = self.scored = self.correct = self.undecided = 0
        self.guarded = self.clipped_spikes = 0
        self.loss_sum = 0.0
        self.spikes: dict[str, np.ndarray] = {}
        self.gradients: dict[str, tuple[float, float]] = {}  # of the epoch's last full batch, see `gradient_norms`
        self.steps: dict[str, float] = {}  # of the same batch, see `relative_steps`
        self.parts: dict[str, np.ndarray] = {}  # of several losses: sum of the loss, scored, correct, labelled

    def add(self, result: Result, data: Data, samples: np.ndarray, clipped_spikes: int = 0) -> None:
        """Add one batch.

        Args:
            result: of the engine. data, samples: the data set, and the numbers of the samples in it.
            clipped_spikes: input spikes that were moved into the last step.
        """
        labels, weights = data.labels[samples], data.weights_of(samples)
        for name, part in result.parts.items():
            self._add_part(name, part, data.answers.get(name, (data.labels, None))[0][samples], weights)
        self.clipped_spikes += clipped_spikes
        self.trials += len(labels)
        steps = isinstance(result, StepResult)  # labels and predictions of steps are counted instead
        labels, prediction = (result.step_labels, result.step_predictions) if steps else (labels, result.prediction)  # type: ignore[attr-defined]
        labelled = labels >= 0
        self.labelled += int(np.count_nonzero(labelled))
        self.correct += int(np.count_nonzero(labelled & (prediction == labels)))
        self.undecided += int(np.count_nonzero(prediction < 0))
        self.guarded += int(result.guarded)
        scored = ~np.isnan(result.loss)
        self.scored += int(np.count_nonzero(scored))
        self.loss_sum += float(np.sum((result.loss if weights is None else result.loss * weights)[scored]))
        for name, counts in result.spike_counts.items():
            total = counts.sum(axis=0, dtype=np.int64)
            self.spikes[name] = self.spikes[name] + total if name in self.spikes else total

    def _add_part(self, name: str, part: LossPart, labels: np.ndarray, weights: np.ndarray | None) -> None:
        scored, labelled = ~np.isnan(part.loss), labels >= 0
        total = np.sum((part.loss if weights is None else part.loss * weights)[scored])
        counts = (scored, labelled & (part.prediction == labels), labelled)
        self.parts[name] = self.parts.get(name, np.zeros(4)) + [total, *map(np.count_nonzero, counts)]

    def of_losses(self) -> dict[str, tuple[float, float]]:
        """Of several losses, by the population that each reads: (mean loss, accuracy), nan where nothing is known."""
        mean = lambda total, n: float(total / n) if n else float("nan")  # noqa: E731
        return {n: (mean(total, s), mean(correct, k)) for n, (total, s, correct, k) in self.parts.items()}

    @property
    def loss(self) -> float:
        """Mean (weighted) loss of the trials with a label or target, nan if there are none."""
        return self.loss_sum / self.scored if self.scored else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of labelled trials whose prediction is right; an undecided one is wrong. nan without labels."""
        return self.correct / self.labelled if self.labelled else float("nan")

    def activity(self) -> dict[str, Activity]:
        """Population -> `Activity`."""
        return {
            name: Activity(
                spikes_per_neuron=float(total.sum() / (max(self.trials, 1) * total.size)),
                silent=int(np.count_nonzero(total == 0)),
                runaway=int(np.count_nonzero(total > self.runaway_spikes * max(self.trials, 1))),
            )
            for name, total in self.spikes.items()
        }

    def silent(self) -> dict[str, np.ndarray]:
        """Population -> (N,) True for neurons that have not spiked at all."""
        return {name: total == 0 for name, total in self.spikes.items()}

    def state_dict(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON-able numbers); the sum of the loss keeps all its bits in an array."""
        numbers = ("trials", "labelled", "scored", "correct", "undecided", "guarded", "clipped_spikes")
        arrays = {f"spikes/{name}": total for name, total in self.spikes.items()}
        arrays |= {f"losses/{name}": sums for name, sums in self.parts.items()}
        arrays |= {f"gradients/{name}": np.array(pair) for name, pair in self.gradients.items()}
        arrays |= {f"steps/{name}": np.array([step]) for name, step in self.steps.items()}
        return {**arrays, "loss_sum": np.array([self.loss_sum])}, {key: getattr(self, key) for key in numbers}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from the `arrays` and `numbers` that `state_dict` gave."""
        for key, value in numbers.items():
            setattr(self, key, int(value))
        self.loss_sum = float(arrays["loss_sum"][0])
        self.parts = {k.removeprefix("losses/"): v.copy() for k, v in arrays.items() if k.startswith("losses/")}
        pairs = {k.removeprefix("gradients/"): v for k, v in arrays.items() if k.startswith("gradients/")}
        self.gradients = {name: (float(a), float(b)) for name, (a, b) in pairs.items()}
        self.steps = {k.removeprefix("steps/"): float(v[0]) for k, v in arrays.items() if k.startswith("steps/")}
        self.spikes = {k.removeprefix("spikes/"): v.copy() for k, v in arrays.items() if k.startswith("spikes/")}
