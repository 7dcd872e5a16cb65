"""Address-event files of N-MNIST (.bin of the original, .bs2 of SLAYER: the same 5 bytes an event).

x (8 bits), y (8), polarity (1), time (23, microseconds). A row with y = 240 is no event: the sensor's clock overflowed,
and 2^13 us are added to all that follow. Source: Orchard et al. 2015, doi 10.3389/fnins.2015.00437.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ..events.events import Events
from .structured import Sensor, from_structured

SENSOR: Sensor = (34, 34, 2)
FIELDS = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)])
OVERFLOW_ROW, OVERFLOW_US = 240, 2**13


def read_aer(path: str | Path, sort: bool = False) -> np.ndarray:
    """Structured array (t in microseconds, x, y, p) of one file; `sort` mends events that are out of order.

    Raises:
        DataError: absent, not a multiple of 5 bytes, out of order.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    raw = np.fromfile(path, np.uint8)
    if len(raw) % 5:
        raise DataError(
            f"{path}: {len(raw)} bytes is not a multiple of 5 bytes an event; the file is "
            "truncated or in another format"
        )
    x, y, high, middle, low = raw.reshape(-1, 5).astype(np.int64).T
    time = ((high & 127) << 16) | (middle << 8) | low
    overflow = y == OVERFLOW_ROW
    time = time + OVERFLOW_US * np.cumsum(overflow)
    events = np.empty(int((~overflow).sum()), FIELDS)
    for name, values in {"t": time, "x": x, "y": y, "p": high >> 7}.items():
        events[name] = values[~overflow]
    if len(events) and (np.diff(events["t"]) < 0).any():
        if not sort:
            k = int(np.argmax(np.diff(events["t"]) < 0)) + 1
            raise DataError(
                f"{path}: event {k} is earlier than the one before it; the file is damaged or in another format "
                "(sort=True puts events in order, if that is expected)"
            )
        events = events[np.argsort(events["t"], kind="stable")]
    return events


def load(
    paths: Sequence[str | Path],
    labels: Any = None,
    sensor: Sensor = SENSOR,
    pool: int = 1,
    n_classes: int | None = None,
    name: str = "n_mnist",
    sort: bool = False,
) -> Events:
    """Events of many files, one a sample; channel = (p H + y) W + x, times in ms."""
    arrays = []
    for path in paths:
        array = read_aer(path, sort)
        for axis, size in zip("xyp", sensor, strict=True):
            if len(array) and array[axis].max() >= size:
                k = int(np.argmax(array[axis] >= size))
                raise DataError(
                    f"{path}: event {k}: {axis} = {array[axis][k]} is beyond the sensor {sensor}; give the "
                    "sensor's true size, unless the file is damaged or in another format"
                )
        arrays.append(array)
    return from_structured(arrays, sensor, labels, None, n_classes, name, pool=pool)


def load_list(list_file: str | Path, suffix: str = ".bs2", **options: Any) -> Events:
    """Events of the files named in a text file of `file label` lines, files beside it (SLAYER's small N-MNIST)."""
    list_file = Path(list_file)
    if not list_file.is_file():
        raise DataError(f"{list_file}: no such file; it should hold lines of 'file label'")
    paths, labels = [], []
    for number, line in enumerate(list_file.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not words[1].isdecimal():
            raise DataError(f"{list_file}: line {number}: expected 'file label', got {line!r}")
        paths.append(list_file.parent / f"{words[0]}{suffix}")
        labels.append(int(words[1]))
    return load(paths, labels, **({"n_classes": 10} | options))


def load_folder(folder: str | Path, **options: Any) -> Events:
    """Events of FOLDER/0/*.bin ... FOLDER/9/*.bin, the layout of the original N-MNIST (Train or Test)."""
    folder = Path(folder)
    files = [(p, int(c.name)) for c in sorted(folder.glob("[0-9]")) for p in sorted(c.glob("*.b[is][n2]"))]
    if not files:
        raise DataError(f"{folder}: no files like 0/00001.bin; unpack N-MNIST's Train.zip or Test.zip there")
    return load([p for p, _ in files], [c for _, c in files], **({"n_classes": 10} | options))


explain(globals(), ("read_aer", "load", "load_list", "load_folder"), DataError)
