"""A label at each step: the cross-entropy of V against a sequence of classes, with gaps and weights of classes.

L = 1/T sum_k dt w(y_k) (-log softmax(V((k + 1) dt))_{y_k}) over the steps k that have a label: V at the end of a step,
before the arrivals of the next one, has seen all that came in the step.

Axis letters: B samples, T steps, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, LossError
from .outer import Function, cross_entropy


@dataclass(frozen=True, eq=False)
class LabelSteps(Function):
    """The outer loss of a label at each step; `training.label_steps` evaluates it, between the passes.

    Args:
        weights: (K,) how much a step of each class counts; (): all 1.

    Example:
        >>> loss, slope = label_steps(2).of_trace(np.zeros((1, 3, 2)), np.array([[0, 1, -1]]))
        >>> loss.round(3).tolist(), slope[0].round(3).tolist()
        ([0.462], [[-0.167, 0.167], [0.167, -0.167], [0.0, 0.0]])
    """

    weights: tuple[float, ...] = ()

    def of_trace(self, V: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss (B,), nan for a sample without any label, and dL/dV (B, T, K).

        Args:
            V: (B, T, K) at the end of every step. y: (B, T) classes, -1 for none.
        """
        there, classes = y >= 0, np.maximum(y, 0)
        counts = there * (np.asarray(self.weights)[classes] if self.weights else 1.0) / y.shape[1]
        nothing, one = np.zeros(V.shape), np.ones(V.shape)
        loss, slope = cross_entropy(V, nothing, one, nothing, np.ones(V.shape, bool), classes)
        return np.where(there.any(1), (loss * counts).sum(1), np.nan), slope * counts[..., None]

    def classes(self, targets: np.ndarray, n_classes: int) -> np.ndarray:
        """Targets (S, T), nan or -1 for none, as classes (S, T) int64.

        Raises:
            DataError: no class of the outputs, naming sample and step.
        """
        y = np.where(np.isnan(targets), -1.0, targets)
        wrong = (y != np.floor(y)) | (y < -1) | (y >= n_classes)
        if wrong.any():
            sample, step = np.argwhere(wrong)[0]
            raise DataError(
                f"sample {sample}, step {step}: label {y[sample, step]:g} is no class of {n_classes} outputs; labels "
                f"are 0 .. {n_classes - 1}, and -1 or nan where there is none"
            )
        return y.astype(np.int64)


def label_steps(n_classes: int, class_weights: Sequence[float] | None = None) -> LabelSteps:
    """`LabelSteps` for K = `n_classes` outputs, with checked weights.

    Raises:
        LossError: not one finite weight >= 0 a class, or only zeros.
    """
    weights = () if class_weights is None else tuple(map(float, class_weights))
    if weights and not (
        len(weights) == n_classes and np.isfinite(weights).all() and min(weights) >= 0 and any(weights)
    ):
        raise LossError(f"class_weights: {n_classes} classes need as many numbers >= 0, not all 0; got {list(weights)}")
    return LabelSteps(_in_python, "targets", "step_labels", weights=weights)


def _in_python(r: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raise LossError(
        "a label at each step is compared with V at each step, which engines do not do: use a Trainer, or "
        "training.label_steps.LabelStepsEngine(engine)"
    )
