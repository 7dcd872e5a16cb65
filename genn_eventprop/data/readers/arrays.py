"""npz files with arrays under the names of scikit-learn and Keras: X and y, or x_train, y_train, x_test and y_test.

Axis letters: S samples, T steps, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ...output import say
from ..currents.currents import Currents
from ..events.storage import open_npz, read_arrays

VALUES, LABELS = ("x", "data", "features"), ("y", "label", "labels", "target", "targets")
"""Names of arrays, in lower case."""
TRAIN, TEST = "_train", "_test"
MOST_CLASSES = 20
"""Different whole numbers above which, if there are that many beside the samples, they are no classes."""
DURATION = 100.0
"""ms that features and images last; times have no meaning for them, and all constants follow from this."""


def holds_arrays(path: Path) -> bool:
    """Whether an npz file has an array of values under one of these names."""
    with open_npz(path) as file:
        return any(_named(file.files, VALUES, part) for part in ("", TRAIN))


def read_xy(path: str | Path) -> tuple[Currents, Currents | None, list[str]]:
    """(all samples or the training set, the test set where x_test is there, class names) of such a file.

    Values (S, C) are features: constant currents. (S, T, C) are curves, of 1 ms a step; of bytes, and with more axes,
    they are images, and so features. Labels are whole numbers or texts; fractions, and numbers of which more than a
    quarter (and 20) differ, (S,) or (S, K), are targets of a regression. Without an array of labels samples have none.

    Raises:
        DataError: naming the file and the array: not readable, or of another shape.
    """
    path = Path(path)
    with open_npz(path) as file:
        train = TRAIN if _named(file.files, VALUES, TRAIN) else ""
        names = [
            (_named(file.files, VALUES, part), _named(file.files, LABELS, part))
            for part in ([TRAIN, TEST] if train else [""])
        ]
        arrays = read_arrays(file, [name for pair in names for name in pair if name], path)
    sets = [(arrays[x], arrays.get(y) if y else None, x) for x, y in names if x]
    known = [labels for _, labels, _ in sets if labels is not None]
    classes, index = np.empty(0), list[Any]([None] * len(sets))
    if known and len(known) == len(sets) and any(_are_targets(y) for y in known):
        read = [_currents(x, y, None, f"{path}: {name}", "targets") for x, y, name in sets]
        return read[0], read[1] if len(read) > 1 else None, []
    if len(known) == len(sets):
        classes, flat = np.unique(np.concatenate([_labels(y, path) for y in known]), return_inverse=True)
        index = np.split(flat, np.cumsum([len(y) for y in known])[:-1])
    read = [_currents(x, y, len(classes) or None, f"{path}: {name}") for (x, _, name), y in zip(sets, index)]
    return read[0], read[1] if len(read) > 1 else None, [str(name) for name in classes.tolist()]


def _named(names: Sequence[str], wanted: Sequence[str], ending: str) -> str | None:
    """The array with one of the wanted names, whatever its case."""
    return next((name for each in wanted for name in names if name.lower() == each + ending), None)


def _are_targets(labels: np.ndarray) -> bool:
    """Numbers of a regression, not of classes: fractions, or nearly as many different ones as samples."""
    if labels.dtype.kind not in "iuf" or labels.ndim not in (1, 2):
        return False
    labels = labels[np.isfinite(labels)]
    return not np.array_equal(labels, np.floor(labels)) or len(np.unique(labels)) > max(MOST_CLASSES, len(labels) / 4)


def _labels(labels: Any, path: Path) -> np.ndarray:
    """(S,) texts or whole numbers."""
    labels = labels.reshape(-1) if labels.size == len(labels) else labels
    if labels.ndim != 1 or labels.dtype.kind not in "biufUS":
        raise DataError(f"{path}: labels must be one number or text a sample, got shape {labels.shape}, {labels.dtype}")
    if labels.dtype.kind == "f" and (wrong := np.flatnonzero(~(abs(labels) < 2**53))).size:
        raise DataError(f"{path}: label {wrong[0]} is {labels[wrong[0]]:g}; labels are whole numbers or texts, so fill "
                        "it or leave its sample out")  # fmt: skip
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "replace")
    return labels.astype(np.int64) if labels.dtype.kind in "bf" else labels


def _currents(values: np.ndarray, answers: Any, n_classes: int | None, where: str, kind: str = "labels") -> Currents:
    """`answers`: labels (S,), or targets (S,) or (S, K); None for neither."""
    if values.ndim < 2 or values.dtype.kind not in "biuf":
        raise DataError(f"{where} must be numbers (samples, features), (samples, steps, channels) or images, got shape "
                        f"{values.shape}, {values.dtype}")  # fmt: skip
    if answers is not None and len(answers) != len(values):
        raise DataError(f"{where} has {len(values)} samples, but there are {len(answers)} {kind}")
    if kind == "targets":
        answers = np.asarray(answers, np.float64).reshape(len(values), -1)
    annotations = {"name": where, kind: answers, "n_classes": n_classes}
    if values.ndim == 3 and values.dtype != np.uint8:
        return Currents(values, 1.0, **annotations)
    if values.ndim > 2:
        say(f"note: {where} {values.shape} of {values.dtype}: read as images, a constant channel for each pixel; "
            "curves are (samples, steps, channels), of any type but uint8")  # fmt: skip
    return Currents.constant(values.reshape(len(values), math.prod(values.shape[1:])), DURATION, **annotations)


explain(globals(), ("read_xy",), DataError)
