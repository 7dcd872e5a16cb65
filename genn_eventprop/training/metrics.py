"""How good predictions are, beyond one number: confusion, per class, per group, top k, and how sure the accuracy is.

Axis letters: S samples, K classes. A sample that no output decides (prediction -1: none says anything, or the best
are equal) is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from ..errors import DataError, SettingError
from ..runs.run_folder import jsonable
from .evaluator import Evaluation
from .label_steps import step_metrics

TOP_K = (2, 3, 5)
"""Reported besides the accuracy, as far as there are more classes."""


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K + 1) int64: samples of class i that were called j; the last column counts the undecided.

    Args:
        labels: (S,) class, -1 without one (not counted). predictions: (S,) class, -1 undecided.
    """
    _same_length(labels, predictions)
    labelled = labels >= 0
    called = np.where(predictions[labelled] < 0, n_classes, predictions[labelled])
    flat = np.bincount(labels[labelled] * (n_classes + 1) + called, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """(K,) share of each class's samples that were called right, nan for a class without samples."""
    total = confusion.sum(axis=1)
    return np.where(total > 0, confusion.diagonal() / np.maximum(total, 1), np.nan)


def group_accuracy(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray) -> dict[str, dict[str, float]]:
    """Group (a speaker, say) -> its accuracy and number of labelled samples, in the order of the names."""
    _same_length(labels, predictions, groups)
    accuracies: dict[str, dict[str, float]] = {}
    for group in np.unique(groups).tolist():
        mine = (groups == group) & (labels >= 0)
        n = int(mine.sum())
        right = int((predictions[mine] == labels[mine]).sum())
        accuracies[str(group)] = {"accuracy": right / n if n else float("nan"), "samples": n}
    return accuracies


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of labelled samples whose class is among the k best scores; nan without labels.

    Args:
        scores: (S, K), larger is more likely, -inf for an output that says nothing (it is never among the best).

    Equal scores do not decide: a class counts behind all that equal it, so that top 1 is the accuracy.
    """
    if not 1 <= k <= scores.shape[1]:
        raise SettingError(f"top_k: k must be from 1 to the {scores.shape[1]} classes, got {k}")
    _same_length(labels, scores)
    labelled = labels >= 0
    if not labelled.any():
        return float("nan")
    scores, labels = scores[labelled], labels[labelled]
    mine = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores >= mine) & (np.arange(scores.shape[1]) != labels[:, None])
    return float(np.mean((before.sum(axis=1) < k) & (mine[:, 0] > -np.inf)))


def wilson_interval(correct: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy of `correct` of `samples`; (0, 1) without samples.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z the normal quantile of (1 + confidence) / 2.
    Source: Wilson 1927, doi 10.1080/01621459.1927.10502953. It says how sure one network's accuracy is, not how much
    networks of other seeds differ.
    """
    if not 0 < confidence < 1:
        raise SettingError(f"confidence must lie between 0 and 1, got {confidence}")
    if not 0 <= correct <= samples:
        raise SettingError(f"{correct} correct of {samples} samples is impossible")
    if samples == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, width = correct / samples, z * z / samples
    half = z * np.sqrt(p * (1 - p) / samples + width / (4 * samples))
    return float(max(0.0, (p + width / 2 - half) / (1 + width))), float(min(1.0, (p + width / 2 + half) / (1 + width)))


def interval_of(evaluation: Evaluation) -> tuple[float, float]:
    """95 % interval of the accuracy of an evaluation."""
    if evaluation.labels.ndim == 2:
        return step_metrics(evaluation.labels, evaluation.predictions, evaluation.scores.shape[-1]).interval
    labelled = evaluation.labels >= 0
    return wilson_interval(
        int((evaluation.predictions[labelled] == evaluation.labels[labelled]).sum()), int(labelled.sum())
    )


def report(evaluation: Evaluation, groups: np.ndarray | None = None) -> dict[str, Any]:
    """What results.json holds of an evaluation besides its accuracy, as plain values (nan is None)."""
    n_classes, steps = evaluation.scores.shape[-1], {}
    if evaluation.labels.ndim == 2:  # a label at each step: all of them as samples
        m = step_metrics(evaluation.labels, evaluation.predictions, n_classes)
        steps = {
            "segment_accuracy": m.segment_accuracy, "segment_f1": m.segment_f1,
            "macro_f1": m.macro_f1, "f1": m.f1.tolist(),
        }  # fmt: skip
        groups = None if groups is None else np.repeat(groups, evaluation.labels.shape[1])
    labels, predictions, scores = evaluation.labels.ravel(), evaluation.predictions.ravel(), evaluation.scores
    scores = scores.reshape(-1, n_classes)
    confusion = confusion_matrix(labels, predictions, n_classes)
    numbers = {
        "samples": int((labels >= 0).sum()),
        "interval": interval_of(evaluation),
        "undecided": evaluation.undecided,
        "top_k": {str(k): top_k_accuracy(scores, labels, k) for k in TOP_K if k < n_classes},
        "per_class": class_accuracy(confusion).tolist(),
        "per_group": None if groups is None else group_accuracy(labels, predictions, np.asarray(groups)),
        "confusion": confusion.tolist(),
    } | ({"steps": steps} if steps else {})
    return dict(jsonable(numbers))


def describe(numbers: dict[str, Any], accuracy: float, class_names: Sequence[str] = ()) -> str:
    """A report in words: interval, top k, the worst classes, every group, the commonest mistakes."""
    low, high = numbers["interval"]
    lines = [f"accuracy {100 * accuracy:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"]
    if numbers["top_k"]:
        lines.append("  ".join(f"top {k} {100 * value:.2f} %" for k, value in numbers["top_k"].items()))
    names = [*class_names, *map(str, range(len(class_names), len(numbers["per_class"])))]
    rated = sorted((value, name) for value, name in zip(numbers["per_class"], names) if value is not None)
    lines.append("worst classes: " + ", ".join(f"{name} {100 * value:.1f} %" for value, name in rated[:5]))
    confusion = np.array(numbers["confusion"])
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = [np.unravel_index(i, wrong.shape) for i in np.argsort(-wrong, axis=None, kind="stable")[:5]]
    texts = [f"{names[i]} as {[*names, 'undecided'][j]} ({times(int(wrong[i, j]))})" for i, j in worst if wrong[i, j]]
    if texts:
        lines.append("commonest mistakes: " + ", ".join(texts))
    if steps := numbers.get("steps"):
        lines.append(
            f"segments: {100 * steps['segment_accuracy']:.2f} % right by most of their steps, F1 "
            f"{steps['segment_f1']:.3f} at an overlap of half; F1 of steps, mean over classes, {steps['macro_f1']:.3f}"
        )
    for name, group in (numbers["per_group"] or {}).items():
        value = "no labels" if group["accuracy"] is None else f"{100 * group['accuracy']:.2f} % of {group['samples']}"
        lines.append(f"group {name}: {value}")
    return "\n".join(lines)


def times(n: int) -> str:
    """ "once", "twice", "8 times"."""
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _same_length(labels: np.ndarray, *others: np.ndarray) -> None:
    for other in others:
        if len(other) != len(labels):
            raise DataError(f"{len(labels)} labels but {len(other)} predictions, scores or groups")
