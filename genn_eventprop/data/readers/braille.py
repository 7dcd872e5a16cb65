"""Tactile Braille letters: 27 letters read by a fingertip of 12 taxels, as sigma-delta spikes.

Source: Mueller-Cleve et al. 2022, doi 10.3389/fnins.2022.951164 (CC BY 4.0). Arrays of the npz file: taxel
(S, frames, 12), length (S,), label (S,), repetition (S,), letters (27,).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...arguments import explain
from ...errors import DataError, suggest
from ..events.encode import sigma_delta
from ..events.events import Events
from ..events.storage import open_npz, read_arrays

FRAME_MS = 25.0
"""ms between frames: the fingertip was read at 40 Hz."""
CLASSES = 27
SPLITS = ("train", "test", "all")


def class_names(path: str | Path) -> list[str]:
    """The letters of the classes, "Space", "A", ..., "Z"."""
    with open_npz(Path(path)) as file:
        letters = read_arrays(file, ["letters"], Path(path))["letters"]
    if letters.shape != (CLASSES,) or letters.dtype.kind != "U":
        raise DataError(f"{path}: letters must be {CLASSES} strings, got {letters.dtype} of shape {letters.shape}")
    return [str(letter) for letter in letters]


def load(path: str | Path, split: str = "all", threshold: float = 1.0, dt: float = FRAME_MS) -> Events:
    """Events of 24 channels (12 taxels rising, 12 falling); groups are the repetitions.

    Args:
        split: "test" is every fifth repetition (repetition % 5 == 0), "train" the others.
        threshold: of the sigma-delta encoder, in taxel counts (0 .. 255).
        dt: ms a frame.
    """
    if split not in SPLITS:
        raise DataError(f"braille: no split {split!r}; {suggest(split, SPLITS)}")
    path = Path(path)
    with open_npz(path) as file:
        names = ("taxel", "length", "label", "repetition")
        taxel, length, label, repetition = read_arrays(file, names, path).values()
    if label.ndim != 1 or any(len(a) != len(label) if a.ndim else True for a in (taxel, length, repetition)):
        raise DataError(f"{path}: {', '.join(names)} must have a row for each sample; the file is damaged")
    if any(a.dtype.kind not in "iuf" for a in (taxel, length, label, repetition)) or taxel.ndim != 3:
        raise DataError(f"{path}: {', '.join(names)} must be numbers, taxel (samples, frames, taxels)")
    rows = np.full(len(label), True) if split == "all" else (repetition % 5 == 0) == (split == "test")
    return sigma_delta(
        taxel[rows],
        label[rows],
        threshold,
        dt,
        length[rows],
        groups=repetition[rows].astype(np.int64),
        n_classes=CLASSES,
        name=f"braille {split}",
    )


explain(globals(), ("class_names", "load"), DataError)
