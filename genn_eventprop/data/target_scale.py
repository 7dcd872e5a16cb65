"""Targets of a regression in standard deviations from their mean, in which a network learns them.

Axis letters: S samples, K targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from ..errors import DataError
from .currents.currents import Currents
from .events.events import Events
from .inputs import DataSet, with_targets

Set = TypeVar("Set", bound=DataSet)


def has_targets(data: Events | Currents) -> bool:
    """Whether samples have numbers (S, K) to be predicted, and no classes."""
    return data.n_classes is None and _plain(data)


def has_step_labels(data: DataSet) -> bool:
    """Whether samples have a label at each step: targets (S, T) without labels, and a number of classes."""
    return data.n_classes is not None and _plain(data)


def _plain(data: DataSet) -> bool:
    return data.labels is None and data.targets is not None and not data.targets.dtype.names and data.targets.ndim == 2


@dataclass(frozen=True, eq=False)
class TargetScale:
    """Learned are (y - mean) / deviation; predicted are mean + deviation r, in the units of y.

    Args:
        mean, deviation: (K,) of the training set; a target that never changes has the deviation 1.

    Example:
        >>> scale = TargetScale(np.array([20.0]), np.array([4.0]))
        >>> scale.units(np.array([[0.5]])).tolist()
        [[22.0]]
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, train: DataSet) -> TargetScale:
        """The scale of a training set with targets (S, K), nan where there is none.

        Raises:
            DataError: a target that no sample has.
        """
        assert train.targets is not None
        known = np.isfinite(train.targets)
        if not known.any(axis=0).all():
            raise DataError(f"{train.name or 'the data'}: no sample has target {int(np.argmin(known.any(axis=0)))}")
        deviation = np.nanstd(train.targets, axis=0)
        return cls(np.nanmean(train.targets, axis=0), np.where(deviation > 0, deviation, 1.0))

    def scaled(self, data: Set) -> Set:
        """The same samples with targets as they are learned; without targets as they are."""
        if data.targets is None:
            return data
        return cast(Set, with_targets(data, (data.targets - self.mean) / self.deviation))

    def units(self, readout: np.ndarray) -> np.ndarray:
        """(S, K) predictions from readouts."""
        return np.asarray(self.mean + self.deviation * readout)


def explained_variance(targets: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum (y - r)^2 / sum (y - mean y)^2, the mean over the K targets; nan where none changes.

    Args:
        targets, predicted: (S, K); samples without a target (nan) do not count.
    """
    known = np.isfinite(targets)
    means = np.where(known, targets, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    errors, spread = (np.square(np.where(known, targets - of, 0.0)).sum(axis=0) for of in (predicted, means))
    changes = spread > 0
    return float(np.mean(1 - errors[changes] / spread[changes])) if changes.any() else float("nan")
