"""Labels of steps: from change points, to segments, and what a balanced loss weighs.

Axis letters: S samples, T steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..arguments import explain
from ..errors import DataError


def labels_of_changes(changes: Iterable[tuple[Any, Any]], n_steps: int, dt: float = 1.0, fill: int = -1) -> np.ndarray:
    """(S, T) classes from one (times in ms, classes) pair per sample: a class lasts from its time to the next one.

    Args:
        changes: the pairs; class -1 ends a segment without beginning another.
        n_steps: T. dt: ms of a step; a time belongs to the nearest step.
        fill: class before the first change.

    Raises:
        DataError: naming the sample; times out of order or outside of the trial, two changes in one step, classes that
            are no whole numbers >= -1.

    Example:
        >>> labels_of_changes([([1.0, 3.0], [2, 0])], n_steps=5)
        array([[-1,  2,  2,  0,  0]])
    """
    rows = []
    for i, (times, classes) in enumerate(changes):
        t, c = np.asarray(times, float).reshape(-1), np.asarray(classes, float).reshape(-1)
        if len(t) != len(c):
            raise DataError(f"sample {i}: {len(t)} times of changes but {len(c)} classes; give one class for each")
        if not (np.isfinite(t).all() and (t >= 0).all() and (t < n_steps * dt).all()):
            raise DataError(
                f"sample {i}: changes must lie in the trial, from 0 to {n_steps * dt:g} ms; got {t.tolist()}"
            )
        if not (np.isfinite(c).all() and (c == np.floor(c)).all() and (c >= -1).all()):
            raise DataError(f"sample {i}: classes are whole numbers from 0, or -1 for none; got {c.tolist()}")
        steps = np.minimum(np.floor(t / dt + 0.5).astype(np.int64), n_steps - 1)
        if (np.diff(steps) <= 0).any():
            raise DataError(f"sample {i}: changes must be in order of time, and in steps of {dt:g} ms of their own")
        lasts = np.diff(np.concatenate([[0], steps, [n_steps]]))
        rows.append(np.repeat(np.concatenate([[fill], c]).astype(np.int64), lasts))
    return np.stack(rows) if rows else np.zeros((0, n_steps), np.int64)


def segments(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(first step, step after the last, class) of each stretch of one class in `labels` (T,); those of -1 are left out.

    Example:
        >>> segments(np.array([-1, 2, 2, 0]))
        [(1, 3, 2), (3, 4, 0)]
    """
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(labels)]
    return [(a, b, int(labels[a])) for a, b in zip(starts, ends) if b > a and labels[a] >= 0]


def balanced_weights(labels: np.ndarray, n_classes: int) -> list[float]:
    """w_k = N / (K n_k) for N labelled steps, n_k of class k: a rare class counts as much as a frequent one.

    Args:
        labels: (S, T), -1 for none. n_classes: K.

    Raises:
        DataError: a class without a step.

    Example:
        >>> balanced_weights(np.array([[0, 0, 0, 1, -1]]), 2)
        [0.6666666666666666, 2.0]
    """
    counts = np.bincount(labels[labels >= 0].astype(np.int64), minlength=n_classes)
    if not counts.all():
        raise DataError(f"balanced class weights: no step has class {np.flatnonzero(counts == 0).tolist()}")
    return [float(w) for w in counts.sum() / (n_classes * counts)]


explain(globals(), ("labels_of_changes", "segments", "balanced_weights"), DataError)
