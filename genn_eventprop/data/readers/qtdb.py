"""QTDB as its level crossings: QTDB_train.mat and QTDB_test.mat of Higuchi et al. 2024, arXiv 2402.14603.

`x` (S, 1301, 4): whether each of two leads went up or down by a level at a step; `y` (S, 1301, 6): its class, one-hot,
zeros where there is none. An input of -1 stands in the last step, which is dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from ..events import Events
from ..optional import require

CLASSES = tuple(str(k) for k in range(6))
"""Waves of the heartbeat and what is between; the file does not name them."""
STEP_MS = 1.0


def load(path: Path, mask: bool = False) -> Events:
    """Events of 4 channels with targets (S, 1300): the class of each step of 1 ms.

    Args:
        path: QTDB_train.mat or QTDB_test.mat. mask: steps without a label are -1; else class 0, as published.

    Raises:
        DataError: a file of another layout, or a step with two labels.
    """
    scipy_io = require("scipy.io", "MATLAB files")
    try:
        content = scipy_io.loadmat(path)
    except (ValueError, TypeError, OSError, scipy_io.matlab.MatReadError) as error:
        raise DataError(f"{path}: not a MATLAB file ({error})") from None
    missing = [name for name in ("x", "y") if name not in content]
    if missing:
        raise DataError(f"{path}: no array {missing[0]!r}; QTDB_train.mat has x (n, steps, 4) and y (n, steps, 6)")
    x, y = np.asarray(content["x"])[:, :-1], np.asarray(content["y"])[:, :-1]
    if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or x.shape[2] != 4 or y.shape[2] != len(CLASSES):
        raise DataError(f"{path}: x {x.shape} and y {y.shape}; expected (n, steps, 4) and (n, steps, 6)")
    if (np.count_nonzero(y, axis=2) > 1).any():
        sample, step = np.argwhere(np.count_nonzero(y, axis=2) > 1)[0]
        raise DataError(f"{path}: sample {sample} has two labels at step {step}")
    labels = y.argmax(2).astype(np.float64)
    if mask:
        labels[~y.any(2)] = -1
    samples = [(STEP_MS * step, channel) for step, channel in (np.nonzero(each) for each in x)]
    return Events.from_samples(samples, n_channels=4, n_classes=len(CLASSES), targets=labels, name=path.stem)
