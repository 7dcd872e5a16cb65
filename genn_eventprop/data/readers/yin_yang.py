"""The Yin-Yang data set: points of the plane, to be told apart as yin (0), yang (1) or dot (2).

Source: Kriener, Goeltz, Petrovici 2022, "The Yin-Yang dataset", doi 10.1145/3517343.3517380, and their generator
(lkriener/yin_yang_data_set); spike times as in Wunderlich & Pehle 2021, doi 10.1038/s41598-021-91786-z.

The plane is the square [0, 2 r_big]^2, the figure a circle of radius r_big in it. With d_r, d_l the distances of (x, y)
to the right and left dot, (1.5 r_big, r_big) and (0.5 r_big, r_big):

    dot   d_r < r_small or d_l < r_small
    yang  else if d_r <= r_small, or d_l > r_small and d_l <= r_big / 2, or y > r_big and d_r > r_big / 2
    yin   else
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError, suggest
from ..currents.currents import Currents
from ..events.events import Events

CLASSES = ("yin", "yang", "dot")
SPLITS = {"train": (5000, 42), "validation": (1000, 41), "test": (1000, 40)}
"""(number of samples, seed) of the published splits."""


def classify(x: float, y: float, r_small: float = 0.1, r_big: float = 0.5) -> int:
    """Class of the point (x, y): 0 yin, 1 yang, 2 dot."""
    d_right = math.sqrt((x - 1.5 * r_big) * (x - 1.5 * r_big) + (y - r_big) * (y - r_big))
    d_left = math.sqrt((x - 0.5 * r_big) * (x - 0.5 * r_big) + (y - r_big) * (y - r_big))
    if d_right < r_small or d_left < r_small:
        return 2
    if d_right <= r_small or r_small < d_left <= 0.5 * r_big or (y > r_big and d_right > 0.5 * r_big):
        return 1
    return 0


def points(size: int, seed: int, r_small: float = 0.1, r_big: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """`size` points of the published generator, balanced over the classes by rejection.

    The legacy RandomState stream and the order of its draws (one class, then pairs until one falls into it) are what
    makes the published splits: they are consumed exactly so.

    Returns:
        (S, 4) float64, x, y, 1 - x, 1 - y, and (S,) int64 classes.
    """
    if size < 0:
        raise DataError(f"yin_yang: size must not be negative, got {size}")
    if not 0 < r_small < 0.5 * r_big:
        raise DataError(f"yin_yang: the dots must fit: 0 < r_small < r_big / 2, got r_small {r_small}, r_big {r_big}")
    rng = np.random.RandomState(seed)  # noqa: NPY002
    inputs, classes = np.empty((size, 4)), np.empty(size, np.int64)
    for i in range(size):
        wanted = rng.randint(3)
        while True:
            x, y = (rng.rand(2) * 2.0 * r_big).tolist()
            inside = math.sqrt((x - r_big) * (x - r_big) + (y - r_big) * (y - r_big)) <= r_big
            if inside and classify(x, y, r_small, r_big) == wanted:
                break
        inputs[i] = x, y, 1.0 - x, 1.0 - y
        classes[i] = wanted
    return inputs, classes


def encode(
    inputs: np.ndarray, classes: np.ndarray | None = None, t_max: float = 30.0, t_bias: float | None = 0.0
) -> Events:
    """One spike a channel at input * t_max, and a bias spike.

    Args:
        inputs: (S, 4) values in [0, 1].
        classes: (S,) labels, or None.
        t_max: ms, spike time of the value 1.
        t_bias: ms, time of the spike of a fifth channel; None for four channels only.

    Returns:
        Events of 5 (or 4) channels, one spike each.
    """
    inputs = np.asarray(inputs, np.float64)
    if inputs.ndim != 2 or not np.isfinite(inputs).all() or inputs.min(initial=0.0) < 0 or inputs.max(initial=1.0) > 1:
        raise DataError("yin_yang: inputs must be an array (samples, channels) of values from 0 to 1")
    times = inputs * t_max
    if t_bias is not None:
        times = np.concatenate([times, np.full((len(times), 1), float(t_bias))], axis=1)
    order = np.argsort(times, axis=1, kind="stable")
    samples, channels = times.shape
    return Events(
        np.take_along_axis(times, order, axis=1).ravel(),
        order.ravel().astype(np.int32),
        np.arange(samples + 1) * channels,
        channels,
        classes,
        n_classes=None if classes is None else len(CLASSES),
        name="yin_yang",
    )


def load(split: str, size: int | None = None, **encoding: Any) -> Events:
    """A published split, "train", "validation" or "test" (`size`: its first samples only), as spike times."""
    return encode(*_points_of(split, size), **encoding)


def load_currents(split: str, size: int | None = None, duration: float = 60.0, bias: float | None = 1.0) -> Currents:
    """A published split as constant currents for `duration` ms: x, y, 1 - x, 1 - y, and a fifth channel that is always
    `bias`; None for four channels only."""
    inputs, classes = _points_of(split, size)
    if bias is not None:
        inputs = np.concatenate([inputs, np.full((len(inputs), 1), bias)], axis=1)
    return Currents.constant(inputs, duration, "yin_yang", labels=classes, n_classes=len(CLASSES))


def _points_of(split: str, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Points (S, 4) and classes (S,) of a published split, or of its first samples."""
    if split not in SPLITS:
        raise DataError(f"yin_yang: no split {split!r}; {suggest(split, SPLITS)}")
    published, seed = SPLITS[split]
    if size is not None and not 0 < size <= published:
        raise DataError(f"yin_yang: the {split} split has {published} samples, got size={size}")
    return points(published if size is None else size, seed)


explain(globals(), ("classify", "points", "encode", "load", "load_currents"), DataError)
