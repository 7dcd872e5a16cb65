"""What an accuracy is compared with: chance, and two classical methods on the same split.

Axis letters: S samples, F features, K classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from .currents.currents import Currents
from .events.events import Events
from .events.splits import all_labels
from .inputs import DataSet, parts_of
from .optional import require
from .readers.currents import from_spikes
from .target_scale import explained_variance

BINS = 10
"""Bins of a trial in which the spikes of a channel are counted."""
FEATURES = 2000
"""Most features a sample: more channels, or steps of currents, are merged with their neighbours."""
LOGISTIC, NEAREST = "logistic regression", "1-NN"
RIDGE = "ridge regression"


def chance(train: DataSet, held_out: DataSet) -> float:
    """Accuracy on `held_out` of the class that is most frequent in the training set; of several, the first one.

    Raises:
        DataError: a sample without label.
    """
    counts = np.bincount(all_labels(train, "chance"))
    return float(np.mean(all_labels(held_out, "chance") == counts.argmax()))


def baselines(
    train: DataSet, held_out: Mapping[str, DataSet], classical: bool = True, bins: int = BINS
) -> dict[str, dict[str, float]]:
    """Accuracies without a network, on each of several held-out sets.

    "logistic regression" (L2, C = 1, on standardised features) and "1-NN" (Euclidean distance, currents in standard
    deviations of their channel) see the `features` of both sets. Nothing is tuned, and nothing is chosen on the
    held-out sets.

    Args:
        train: the training set. held_out: by name, e.g. ``{"test": test, "validation": validation}``.
        classical: also the two methods, which need scikit-learn (extra ``[baseline]``); else chance alone.
        bins: of a trial of spikes; 1: counts alone, without order in time.

    Returns:
        name of the set -> {"chance", "logistic regression", "1-NN"}: accuracies from 0 to 1.

    Raises:
        DataError: samples without labels, sets of another form, or scikit-learn is missing.

    Example:
        >>> from genn_eventprop.data.baselines import baselines
        >>> sorted(baselines(events[:16], {"test": events[16:]}, classical=False)["test"])
        ['chance']
    """
    found = {name: {"chance": chance(train, data)} for name, data in held_out.items()}
    if not classical or not found:
        return found
    labels, duration = all_labels(train, "a baseline"), duration_of(train)
    x = features(train, duration, bins)
    if len(np.unique(labels)) < 2:  # nothing to fit
        return {name: {**part, LOGISTIC: part["chance"], NEAREST: part["chance"]} for name, part in found.items()}
    linear, scales = require("sklearn.linear_model", "baselines", "baseline"), _scales(train, duration, bins)
    with warnings.catch_warnings():
        # 500 iterations that have not converged to 1e-4 give the same classes but for a few samples
        warnings.simplefilter("ignore", require("sklearn.exceptions", "baselines", "baseline").ConvergenceWarning)
        logistic, nearest = _fitted(linear.LogisticRegression(max_iter=500), "KNeighborsClassifier", x, scales, labels)
    for name, data in held_out.items():
        y = features(data, duration, bins)
        if y.shape[1] != x.shape[1]:
            raise DataError(
                f"the {name} set has {y.shape[1]} features, but the training set has {x.shape[1]}; their channels "
                "must be the same"
            )
        truth = all_labels(data, "a baseline")
        found[name] |= {LOGISTIC: float(np.mean(logistic(y) == truth)), NEAREST: float(np.mean(nearest(y) == truth))}
    return found


def of_targets(
    train: Events | Currents, held_out: Mapping[str, Events | Currents], bins: int = BINS
) -> dict[str, dict[str, float]]:
    """Explained variances of the targets (S, K) without a network, on each of several held-out sets.

    "ridge regression" (on standardised features, of the penalties 0.01 to 10,000 the one that predicts each training
    sample best from all others) and "1-NN", as for `baselines`.

    Args:
        train: the training set; samples without all targets are left out. held_out: by name.
        bins: of a trial of spikes.

    Raises:
        DataError: scikit-learn is missing.
    """
    linear = require("sklearn.linear_model", "baselines", "baseline")
    train, duration = _with_all(train), duration_of(train)
    x, scales = features(train, duration, bins), _scales(train, duration, bins)
    ridge, nearest = _fitted(linear.RidgeCV(np.logspace(-2, 4, 13)), "KNeighborsRegressor", x, scales, train.targets)
    found = dict[str, dict[str, float]]()
    for name, data in held_out.items():
        data = _with_all(data)
        y, shape = features(data, duration, bins), data.targets.shape
        predicted = {RIDGE: ridge(y), NEAREST: nearest(y)}
        found[name] = {method: explained_variance(data.targets, p.reshape(shape)) for method, p in predicted.items()}
    return found


def _with_all(data: Any) -> Any:
    """The samples that have all targets."""
    return data[np.flatnonzero(np.isfinite(data.targets).all(axis=1))]


def duration_of(data: DataSet) -> float:
    """ms until the end of the longest sample."""
    return max(part.duration for part in parts_of(data))


def features(data: DataSet, duration: float, bins: int = BINS) -> np.ndarray:
    """(S, F) float32: spike counts of each channel in `bins` bins of `duration` ms, or the values of currents.

    Neighbouring channels of spikes, and neighbouring values of a current, are merged (their mean is taken) until there
    are about `FEATURES` of them. Spikes after `duration` are left out; several inputs stand side by side.
    """
    return np.concatenate([_binned(part, duration, bins).reshape(len(data), -1) for part in parts_of(data)], axis=1)


def _binned(part: Events | Currents, duration: float, bins: int) -> np.ndarray:
    """(S, T, C) float32, the features of one input."""
    if isinstance(part, Events):
        merge = max(1, math.ceil(part.n_channels * bins / FEATURES))
        width = max(duration, 1e-9) * (1 + 1e-9) / bins  # the last spike lies in the last bin
        return from_spikes(part, width, merge, width * bins).values * np.float32(width)
    steps = max(1, math.ceil(part.n_steps * part.n_channels / FEATURES))
    starts = np.arange(0, part.n_steps, min(steps, max(1, part.n_steps // bins)))
    sums = np.add.reduceat(np.asarray(part.values, np.float64), starts, axis=1)
    return (sums / np.diff(np.append(starts, part.n_steps))[:, None]).astype(np.float32)


def _scales(train: DataSet, duration: float, bins: int) -> np.ndarray:
    """(F,) what distances are measured in: 1 for counts, for currents the standard deviation of the channel, whose
    units may be any."""
    scales = list[np.ndarray]()
    for part in parts_of(train):
        values = _binned(part, duration, bins)
        deviation = np.ones(values.shape[2])
        if not isinstance(part, Events):
            deviation = values.std(axis=(0, 1), dtype=np.float64)
            deviation[deviation == 0] = 1.0
        scales.append(np.tile(deviation, values.shape[1]))
    return np.concatenate(scales)


def _fitted(linear: Any, nearest: str, x: np.ndarray, scales: np.ndarray, answers: np.ndarray) -> tuple[Any, Any]:
    """The predictions (S, F) -> (S, ...) of two methods after fitting: the linear one, of standardised features, and
    the nearest neighbour, of features in units of `scales`.

    Args:
        nearest: name of its class in scikit-learn.
    """
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1.0
    neighbour = getattr(require("sklearn.neighbors", "baselines", "baseline"), nearest)(1, algorithm="brute")
    linear.fit((x - mean) / deviation, answers)
    neighbour.fit(x / scales, answers)
    return (lambda y: linear.predict((y - mean) / deviation)), (lambda y: neighbour.predict(y / scales))
