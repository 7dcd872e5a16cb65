"""A label at each step: the engine that compares V of every step, and how good a sequence of predictions is.

An engine runs the trial in two halves (`engines/contract/split.py`); between them `losses.label_steps` makes of V at
the end of every step the loss and its slope, which is a jump of lambda_V there.

Axis letters: B, S samples, T steps, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..data.label_steps import segments
from ..engines import Data, Engine, Result
from ..engines.contract.data import batch_indices
from ..engines.contract.observed import Observed
from ..engines.contract.wrapper import EngineWrapper
from ..errors import SettingError
from ..losses.label_steps import LabelSteps

OVERLAP = 0.5
"""Intersection over union from which a predicted segment is the true one."""


@dataclass(frozen=True, eq=False)
class StepResult(Result):
    """step_labels, step_predictions (B, T) classes, -1 for none; step_scores (B, T, K) V at the end of every step."""

    step_labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    step_predictions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    step_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))


class LabelStepsEngine(EngineWrapper):
    """`engine`, whose plan has a loss of `StepLabelCrossEntropy`; `prediction` of its results is that of the last step.

    Raises:
        SettingError: another loss, several losses, or regularisers of spikes, which two halves do not have.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        loss = self.plan.loss
        if not isinstance(loss.outer, LabelSteps) or self.plan.auxiliary:
            raise SettingError("a label at each step: the network has that loss alone; leave out the others")
        self.outer = loss.outer
        self._classes: WeakKeyDictionary[Data, np.ndarray] = WeakKeyDictionary()

    @property
    def own_differences(self) -> bool:  # type: ignore[override]
        return self.inner.own_differences

    def notes(self, batch: int) -> list[str]:
        return self.inner.notes(batch)

    def load(self, events: Any) -> Data:
        data = self.inner.load(events)
        self._labels(data)
        return data

    def _labels(self, data: Data) -> np.ndarray:
        """(S, T) classes of the data, checked once."""
        if data not in self._classes:
            assert data.targets is not None
            self._classes[data] = self.outer.classes(data.targets, self.plan.loss.n_classes)
        return self._classes[data]

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = batch_indices(data, samples)
        y = self._labels(data)[samples]
        with self.lock:
            out = self.inner.forward(
                data, samples, keep=training, stochastic=training, record_spikes=record_spikes, observed=observed
            )
            trace = out.also["trace"]
            V = trace[:, 1:]
            loss, slope = self.outer.of_trace(V, y)
            if out.spikes is not None and hasattr(out.spikes, "fetch"):
                out.spikes.fetch()
            if training:
                dL_dV = np.zeros_like(trace)
                dL_dV[:, 1:] = slope * data.sample_weight(samples)[:, None, None]
                self.inner.backward(np.zeros_like(out.value), {"trace": dL_dV}, inputs=False)
                loss = np.nan_to_num(loss)  # a sample without any label has no gradient
        best = V == V.max(-1, keepdims=True)
        predictions = np.where(best.sum(-1) == 1, best.argmax(-1), -1)
        return StepResult(
            loss, predictions[:, -1], out.value, out.spike_counts, 0, out.spikes,
            step_labels=y, step_predictions=predictions, step_scores=V,
        )  # fmt: skip


def with_label_steps(engine: Engine, alone: bool = True) -> Engine:
    """`engine`, wrapped if its plan has labels of steps; `alone`: whether no other wrapper is wanted.

    Raises:
        SettingError: one is.
    """
    if not isinstance(engine.plan.loss.outer, LabelSteps):
        return engine
    if not alone:
        raise SettingError("a label at each step cannot be combined with carry, a device in the loop or a profile")
    return LabelStepsEngine(engine)


@dataclass(frozen=True)
class StepMetrics:
    """How good sequences of predictions are, over all steps that have a label.

    Args:
        accuracy: share of steps called right. interval: 95 %, from the spread over recordings, since steps of one are
            not independent; nan with fewer than two.
        segment_accuracy: share of true segments of which most steps are called right.
        segment_f1: 2 TP / (2 TP + FP + FN), a predicted segment being right if it has the class of a true one and
            overlaps it by half of their union, each true one counted once. Source: Lea et al. 2017, arXiv 1611.05267.
        f1: (K,) of each class over steps, nan for a class that is neither there nor predicted. macro_f1: their mean.
        confusion: (K, K + 1) steps of class i that were called j; the last column is undecided.
    """

    accuracy: float
    interval: tuple[float, float]
    segment_accuracy: float
    segment_f1: float
    f1: np.ndarray
    macro_f1: float
    confusion: np.ndarray


def step_metrics(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> StepMetrics:
    """`StepMetrics` of `labels` and `predictions` (S, T), -1 for none; K = `n_classes`.

    Example:
        >>> m = step_metrics(np.array([[0, 0, 1, 1, -1]]), np.array([[0, 0, 0, 1, 1]]), 2)
        >>> m.accuracy, m.segment_accuracy, m.segment_f1
        (0.75, 0.5, 1.0)

    Raises:
        SettingError: other shapes.
    """
    if labels.shape != predictions.shape or labels.ndim != 2:
        raise SettingError(f"labels {labels.shape} and predictions {predictions.shape} must both be (samples, steps)")
    there, right = labels >= 0, labels == predictions
    K, called = n_classes, np.where(predictions < 0, n_classes, predictions)
    confusion = np.bincount(labels[there] * (K + 1) + called[there], minlength=K * (K + 1)).reshape(K, K + 1)
    tp, all_true, all_called = confusion.diagonal(), confusion.sum(1), confusion[:, :K].sum(0)
    total = all_true + all_called
    f1 = np.where(total > 0, 2 * tp / np.maximum(total, 1), np.nan)
    hits = found = true_segments = called_segments = 0
    for y, p in zip(labels, predictions):
        true, said = segments(y), segments(np.where(y >= 0, p, -1))
        true_segments, called_segments = true_segments + len(true), called_segments + len(said)
        hits += sum(2 * int((p[a:b] == c).sum()) > b - a for a, b, c in true)
        found += _matched(true, said)
    some, n = there.any(1), int(there.sum())
    accuracy = float(right[there].mean()) if n else float("nan")
    return StepMetrics(
        accuracy, _interval(accuracy, right[some], there[some]),
        hits / true_segments if true_segments else float("nan"),
        2 * found / (true_segments + called_segments) if true_segments + called_segments else float("nan"),
        f1, float(np.nanmean(f1)) if n else float("nan"), confusion,
    )  # fmt: skip


def _matched(true: list[tuple[int, int, int]], said: list[tuple[int, int, int]]) -> int:
    """How many true segments a predicted one of the same class overlaps by `OVERLAP`; each is used once."""
    free, found = set(range(len(true))), 0
    for a, b, c in said:
        shares = {
            i: (min(b, true[i][1]) - max(a, true[i][0])) / (max(b, true[i][1]) - min(a, true[i][0]))
            for i in free if true[i][2] == c
        }  # fmt: skip
        best = max(shares, key=shares.__getitem__, default=None)
        if best is not None and shares[best] >= OVERLAP:
            free.discard(best)
            found += 1
    return found


def _interval(accuracy: float, right: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    """accuracy +- 1.96 standard errors of a ratio whose units are recordings."""
    n = len(there)
    if n < 2:
        return float("nan"), float("nan")
    off = (right & there).sum(1) - accuracy * there.sum(1)
    half = 1.96 * float(np.sqrt(n / (n - 1) * np.sum(off**2)) / there.sum())
    return max(0.0, accuracy - half), min(1.0, accuracy + half)
