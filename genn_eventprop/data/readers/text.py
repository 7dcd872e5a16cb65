"""Text files: CSV with a line an event, or, of a curve, a line a step of time.

Columns are found by their names in the first line. Events have a time, and either a channel or x and y, with or without
a polarity; whatever else there is are the values of a curve.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ...modelling.memory import check_fits
from ..events.events import Events
from ..events.storage import open_file
from .structured import Pieces, Sensor, flatten, in_order
from .structured import n_channels as channels_of

NAMES = {
    "t": "t", "time": "t", "timestamp": "t", "times": "t", "ts": "t",
    "channel": "channel", "neuron": "channel", "unit": "channel", "channels": "channel", "units": "channel",
    "x": "x", "y": "y", "p": "p", "on": "p", "pol": "p", "polarity": "p",
}  # fmt: skip
"""Names of columns, in lower case; a time may have its unit behind it, as in time_us."""
OF_SAMPLES = ("sample", "sample_id", "trial", "trial_id", "label", "labels", "class")
"""Names of columns that say whose a line is: in a file of one sample they would be left out, or become a channel."""
UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""ms"""
UNEVEN = 0.5
"""How far the steps of a curve may differ, in units of dt: clocks jitter, but a missing value is not filled."""
BLOCK = 1 << 22
"""Characters that are read at a time."""
EXPAND = 12.0
"""Bytes of memory for a byte of text, at most: a number and its comma are two characters."""


def read_csv(
    path: str | Path, n_channels: int | None = None, size: tuple[int, int] | None = None, unit: str | None = None,
    sort: bool = False, pool: int = 1,
) -> Events:  # fmt: skip
    """Events of one recording, a data set of one sample, from a CSV file.

    The first line names the columns: ``time,channel``; or ``t,x,y,p`` of a camera, where channel = (p H + y) W + x,
    p being 1 or, for an off event, 0 or -1, and times count from the first event.
    Without names there are two columns, time and channel. Separators are commas, semicolons, tabs or spaces.

    Args:
        n_channels: number of channels; default: the largest that occurs + 1. size: (width, height) of a camera. unit:
            of the times: "s", "ms", "us" or "ns"; default: what the name says (time_us), else ms, for a camera
            microseconds. sort: put events that are out of order in order. pool: side of the square of pixels of a
            camera that share a channel.

    Raises:
        DataError: naming file, column or line.
    """
    path = Path(path)
    width, pieces = _flattened(path, n_channels, size, unit, pool)
    check_fits(EXPAND * path.stat().st_size, f"numbers of {path}", "split the file", DataError)
    parts = list(pieces)
    times, channels = (np.concatenate([np.empty(0), *(part[k] for part in parts)]) for k in (0, 1))
    if width is None:
        width = int(min(channels.max(initial=0), 2**31)) + 1
    if not sort and (late := np.flatnonzero(np.diff(times) < 0)).size:
        raise DataError(f"{path}: event {late[0] + 1} is earlier than the one before it; events of a sample must be in "
                        "order of time: sort=True sorts them, or genn-eventprop events IN OUT.h5 --sort")  # fmt: skip
    return Events.from_samples([(times, channels)], width, name=path.stem, sort=sort)


def csv_pieces(
    path: str | Path, n_channels: int | None = None, size: tuple[int, int] | None = None, unit: str | None = None,
    pool: int = 1,
) -> tuple[int, Pieces]:  # fmt: skip
    """(number of channels, times and channels piece by piece), of the recording that `read_csv` reads as a whole.

    Raises:
        DataError: see `read_csv`; some of them only once the pieces are read.
    """
    path = Path(path)
    width, pieces = _flattened(path, n_channels, size, unit, pool)
    if width is None:
        width = int(min(max((c.max(initial=0) for _, c in pieces), default=0), 2**31)) + 1
        _, pieces = _flattened(path, width, size, unit, pool)

    def checked() -> Pieces:
        number = 0
        for times, channels in in_order(path, pieces, from_first=False):
            where = f"{path}, from event {number} on"
            piece = Events.from_samples([(times, channels)], width, name=where)
            yield piece.times, piece.channels
            number += len(times)

    return width, checked()


def _flattened(
    path: Path, n_channels: int | None, size: tuple[int, int] | None, unit: str | None, pool: int
) -> tuple[int | None, Pieces]:
    """(number of channels if it is known, times and channels piece by piece, as they stand there)."""
    tables = _tables(path)
    first, named = next(tables)
    if not named and len(first) != 2:
        raise DataError(f"{path}: {len(first)} columns without names; name them in the first line: time,channel or "
                        "t,x,y,p")  # fmt: skip
    columns, in_ms = _columns(first if named else ["time", "channel"], unit, path)
    sensor = None if "channel" in columns else _sensor(columns, size, path)

    def pieces() -> Pieces:
        number, start = 0, None
        for table in tables:
            column = {name: table[:, i] for name, i in columns.items()}
            if wrong := [name for name, values in column.items() if not np.isfinite(values).all()]:
                raise DataError(f"{path}: column {first[columns[wrong[0]]]} has values that are not finite")
            times = column["t"]
            if sensor is None:
                yield times * in_ms, column["channel"]
            elif len(times):
                start = times[0] if start is None else start
                yield (times - start) * in_ms, _of_camera(column, sensor, pool, path, number)
            number += len(times)

    return n_channels if sensor is None else channels_of(sensor, pool), pieces()


def _table(path: Path, otherwise: str) -> tuple[list[str], bool, np.ndarray]:
    """(words of the first line in lower case, whether they are names, the numbers in rows and columns)."""
    tables = _tables(path, otherwise)
    first, named = next(tables)
    check_fits(EXPAND * path.stat().st_size, f"numbers of {path}", "split the file", DataError)
    return first, named, np.concatenate([np.empty((0, len(first))), *tables])


def _tables(path: Path, otherwise: str = "the file is truncated or damaged") -> Iterator[Any]:
    """(words of the first line in lower case, whether they are names), then the numbers in rows and columns, some at a
    time; `otherwise` is what to say of a file that has others than numbers."""
    with open_file(path) as file, io.TextIOWrapper(file, "utf-8-sig", "replace") as lines:
        number, block, rest = 0, list[str](), True
        while rest and not block:
            line = lines.readline()
            number, rest, block = number + 1, line != "", [line] if line.strip() and line[0] != "#" else []
        if not block:
            raise DataError(f"{path}: no events; it should have one line per event: time,channel")
        first, separator = _words(block[0])
        named = _are_names(first)
        if of_samples := [word for word in first if word in OF_SAMPLES]:
            raise DataError(f"{path}: column {', '.join(of_samples)}: a CSV file is one sample, without its label; "
                            "write a file for each sample, into a folder for each class, or an npz file: "
                            "numpy.savez('data.npz', X=values, y=labels)")  # fmt: skip
        yield first, named
        block = [] if named else block
        while block := block + lines.readlines(BLOCK):
            # True and False of pandas are on and off
            text = re.sub("(?i)true", "1", re.sub("(?i)false", "0", "".join(block)))
            try:
                table = np.loadtxt(io.StringIO(text), delimiter=separator, ndmin=2) if text.strip() else None
            except ValueError as error:
                where = f"after line {number}: " if number > len(block) + 1 else ""
                raise DataError(f"{path}: {where}{error}; {otherwise}".replace("\n", " ")) from None
            if table is not None and table.shape[1] != len(first):
                raise DataError(f"{path}: {len(first)} names for {table.shape[1]} columns")
            if table is not None:
                yield table
            number, block = number + len(block), []


def _words(line: str) -> tuple[list[str], str | None]:
    """(the words of a line in lower case, what separates them)."""
    separator = next((each for each in ",;\t" if each in line), None)
    return [word.strip().strip('"').lower() for word in line.split(separator)], separator


def _are_names(words: list[str]) -> bool:
    return any(word[:1].isalpha() and word not in ("nan", "inf") for word in words)


def _found(words: list[str]) -> tuple[dict[str, int], str]:
    """(what is known -> its column, the unit in the name of the time)."""
    columns, unit = dict[str, int](), ""
    for i, word in enumerate(words):
        base, _, last = word.replace("(", "_").replace("[", "_").rstrip(")]").rpartition("_")
        timed = NAMES.get(base.strip()) == "t" and last in UNITS
        name = "t" if timed else NAMES.get(word)
        if name is not None and name not in columns:
            columns[name] = i
            unit = last if timed else unit
    return columns, unit


def _of_events(columns: dict[str, int]) -> bool:
    return "t" in columns and ("channel" in columns or {"x", "y"} <= columns.keys())


def _columns(words: list[str], unit: str | None, path: Path) -> tuple[dict[str, int], float]:
    """What is used -> its column, and the ms of a count of the time."""
    columns, unit_in_name = _found(words)
    if not _of_events(columns):
        raise DataError(
            f"{path}: columns {', '.join(words)[:100]}; needed are a time, and a channel, or x and y (and p): let the "
            "first line name them so"
        )
    unit = unit or unit_in_name or ("ms" if "channel" in columns else "us")
    if unit not in UNITS:
        raise DataError(f"{path}: no unit {unit!r}; known are {', '.join(UNITS)}")
    return columns, UNITS[unit]


def curve_names(path: Path) -> list[str]:
    """The columns of values of a CSV file, numbers where they have no names; none if it has events, or nothing."""
    with open_file(path) as file:
        lines = (line.decode("utf-8-sig", "replace").strip() for line in file)
        first = next((line for line in lines if line and line[0] != "#"), "")
    words, _ = _words(first)
    if not _are_names(words):
        return [str(k) for k in range(len(words))] if first and len(words) != 2 else []
    columns, _ = _found(words)
    # x, y and z are those of an accelerometer
    return (
        []
        if _of_events(columns) and "z" not in words
        else [word for i, word in enumerate(words) if i != columns.get("t")]
    )


def read_curve(path: str | Path) -> tuple[np.ndarray, float]:
    """((T, C) values, dt in ms) of a CSV file with a line a step; a column named as a time gives dt.

    The unit of the time is in its name (time_us), else ms; without such a column dt is 1 ms.

    Raises:
        DataError: naming file, column or line; times that are not evenly spaced.
    """
    path = Path(path)
    words, named, table = _table(
        path,
        "a curve has numbers alone; of a table with a row a sample make numpy.savez('data.npz', X=features, y=labels)",
    )
    columns, unit = _found(words) if named else ({}, "")
    values = np.delete(table, columns["t"], 1) if "t" in columns else table
    if not values.size:
        raise DataError(f"{path}: no values; a curve has a line for each step, and a column for each channel")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise DataError(f"{path}: row {row} of the numbers, column {words[column] if named else column}: a missing "
                        "value; fill it, e.g. with the mean of its neighbours")  # fmt: skip
    if "t" not in columns or len(table) < 2:
        return values, 1.0
    steps = np.diff(table[:, columns["t"]])
    dt = float(np.median(steps))
    if not (dt > 0 and np.ptp(steps) <= UNEVEN * dt):
        raise DataError(f"{path}: times are not evenly spaced ({steps.min():g} to {steps.max():g} apart); a curve has "
                        "values on a grid: interpolate them, e.g. with numpy.interp")  # fmt: skip
    return values, dt * UNITS[unit or "ms"]


def _sensor(columns: dict[str, int], size: tuple[int, int] | None, path: Path) -> Sensor:
    if size is None:
        raise DataError(f"{path}: x and y are those of a camera, whose size is not known; give size=(width, height), "
                        "or convert all: genn-eventprop events IN OUT.h5 --size WIDTH HEIGHT")  # fmt: skip
    return (*size, 2 if "p" in columns else 1)


def _of_camera(column: dict[str, np.ndarray], sensor: Sensor, pool: int, path: Path, number: int) -> np.ndarray:
    """Channels; number: of the first event."""
    rows = np.empty(len(column["t"]), [(name, np.int64) for name in column])
    for name, values in column.items():
        if name != "t" and not np.array_equal(values, np.floor(values)):
            raise DataError(f"{path}: column {name} must hold integers")
        rows[name] = np.where((name == "p") & (values == -1), 0, np.clip(values, -1, 2**31))  # some write off as -1
    channels: np.ndarray = flatten(rows, sensor, str(path), pool=pool, first=number)[1]
    return channels


explain(globals(), ("read_csv", "csv_pieces", "read_curve"), DataError)
