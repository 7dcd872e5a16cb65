"""Free Spoken Digit Dataset as 700-channel spikes (an npz file of flat arrays).

Arrays: ticks, units, offsets, tick_hz, labels, speaker, index, is_test; the last three may be missing. Source of the
recordings: Jakobovski, free-spoken-digit-dataset (CC BY-SA 4.0): recordings 0 .. 4 of a digit and speaker are the
official test set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...arguments import explain
from ...errors import DataError, suggest
from ..events.events import Events
from ..events.storage import open_npz, read_arrays

SPLITS = ("train", "test", "all")
RECORDINGS = "free-spoken-digit-dataset/recordings"
"""The wav files in a clone of the data set: DIGIT_SPEAKER_NUMBER.wav."""
TEST_NUMBERS = 5
"""Recordings 0 .. 4 of a digit and speaker are the official test set, as the data set's README says."""
N_CHANNELS = 700


def is_upstream(folder: Path) -> bool:
    """Whether these are the data set's own recordings, to which its split belongs."""
    return folder.resolve().parts[-2:] == tuple(RECORDINGS.split("/"))


def load(path: str | Path, split: str = "all") -> Events:
    """Events with speakers, if the file has them, as groups; `split` is the official "train" or "test", or "all".

    Raises:
        DataError: no such split; the file is absent, foreign or damaged.
    """
    if split not in SPLITS:
        raise DataError(f"fsdd: no split {split!r}; {suggest(split, SPLITS)}")
    path = Path(path)
    with open_npz(path) as file:
        names = ["ticks", "units", "offsets", "tick_hz", "labels", *({"speaker", "is_test"} & {*file.files})]
        arrays = read_arrays(file, names, path)
    ticks, units, offsets, tick_hz, labels = (arrays[name] for name in names[:5])
    speaker, is_test = arrays.get("speaker"), arrays.get("is_test")
    if tick_hz.shape != () or tick_hz.dtype.kind not in "iuf" or not 0 < tick_hz < np.inf:
        raise DataError(f"{path}: tick_hz must be above 0, got {str(tick_hz)[:40]}")
    if ticks.dtype.kind not in "iuf" or (is_test is not None and is_test.dtype.kind not in "biu"):
        raise DataError(f"{path}: ticks must be numbers and is_test True or False; the file is damaged")
    hz = float(tick_hz)
    events = Events(ticks * (1000.0 / hz), units, offsets, N_CHANNELS, labels, speaker, 10, f"fsdd {split}")
    if split == "all":
        return events
    if is_test is None:
        raise DataError(f"{path}: no array 'is_test', which says what is {split}; read all, and split it")
    if is_test.shape != (len(events),):
        raise DataError(f"{path}: is_test has shape {is_test.shape} for {len(events)} samples; the file is damaged")
    return events[np.flatnonzero(is_test == (split == "test"))]


explain(globals(), ("load",), DataError)
