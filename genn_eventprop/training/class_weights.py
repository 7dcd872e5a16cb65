"""How much each class counts in the mean of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..engines import Data
from ..errors import DataError, SettingError
from ..losses import Loss

Weighting = str | Sequence[float] | np.ndarray | None


class ClassWeights:
    """The loss of a batch is 1/B sum_b w(y_b) L_b, of a data set likewise; accuracies count every sample once.

    Args:
        weights: None (all 1), one number >= 0 a class, or "balanced": w_k = S / (K n_k) for S training samples in K
            classes, n_k of class k: a rare class counts as much as a frequent one, and their mean is 1.
        loss: it must compare with labels.

    Raises:
        SettingError: the wrong number of weights, negative or only zero ones, a loss of targets.
    """

    def __init__(self, weights: Weighting, loss: Loss) -> None:
        self.balanced, self.n_classes = isinstance(weights, str), loss.n_classes
        self.values: np.ndarray | None = None
        if weights is None:
            return
        if loss.compares != "labels":
            raise SettingError("class_weights need a loss that compares with labels, this one compares with targets")
        if isinstance(weights, str):
            if weights != "balanced":
                raise SettingError(f"class_weights={weights!r}: give 'balanced', or one number a class")
            return
        values = np.asarray(weights, np.float64)
        if values.shape != (self.n_classes,):
            raise SettingError(
                f"class_weights: {self.n_classes} classes need as many numbers, not shape {values.shape}"
            )
        if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.any()):
            raise SettingError(f"class_weights must be finite and >= 0, not all 0; got {values.tolist()}")
        self.values = values

    @property
    def description(self) -> str | list[float] | None:
        """For the run's settings."""
        return "balanced" if self.balanced else None if self.values is None else self.values.tolist()

    def settle(self, labels: np.ndarray) -> None:
        """Settle "balanced" by the labels (S,) of the training set.

        Raises:
            DataError: a class without a sample.
        """
        if not self.balanced:
            return
        counts = np.bincount(labels[labels >= 0], minlength=self.n_classes)
        if not counts.all():
            missing = np.flatnonzero(counts == 0).tolist()
            raise DataError(f"class_weights='balanced': the training set has no sample of classes {missing}")
        self.values = counts.sum() / (self.n_classes * counts)

    def apply(self, data: Data) -> Data:
        """`data` with a weight for every sample; those without a label get 1."""
        if self.values is None:
            return data
        weights = np.where(data.labels >= 0, self.values[np.maximum(data.labels, 0)], 1.0)
        return replace(data, weights=weights)
