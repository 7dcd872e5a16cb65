"""Recordings in one file that may be larger than the memory: two rows of numbers, times and channels of all spikes.

HDF5 (two tables, in any of its packings; h5py, extra `data`, is imported on use), .npz that is not compressed, or a
folder that `Events.save` wrote. Spikes are read when they are needed, see `data.events.disk`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, check_known
from ...home import expanded
from ..cache import cached
from ..events import check
from ..events.disk import FileNumbers, raw
from ..events.events import Events
from ..events.folder import READERS, in_pieces, reader_of
from ..events.storage import EVENTS, UNREADABLE, array_header, open_file, save_pieces
from .hdf5 import open_hdf5, reading
from .hdf5_inside import inside

UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3}
LOCAL_HEADER = 30
"""Bytes of the header of a member of a zip file, before its name."""
Row = tuple[Callable[[int, int], np.ndarray], int]


def open_recordings(
    path: str | Path, n_channels: int, *, times: str = "times", channels: str = "channels", offsets: Any = None,
    unit: str = "ms", labels: Any = None, groups: Any = None, targets: Any = None, **options: Any,
) -> Events:  # fmt: skip
    """Recordings that stay in their file: for `chunks` and `Trainer(carry="exact")`.

    Args:
        path: of an HDF5 file, a .npz of `numpy.savez`, or a folder of `Events.save`. The recording of an event camera
            and CSV files are converted once, piece by piece, to such a folder in the data cache.
        times, channels: names of the rows in the file, ascending within a recording.
        offsets: (S + 1,) where recordings begin, or the name of that row; None: there is one.
        unit: of the times, "s", "ms" or "us".
        labels, groups, targets: see `Events`.
        options: of the reader of a camera's or CSV file, such as ``size=(640, 480)``.

    Raises:
        DataError: no such file or row, rows that do not fit each other, compressed .npz, or see `Events`. All spikes
            are read once for this.

    Example:
        >>> night = open_recordings("night.h5", 700, unit="s")                     # doctest: +SKIP
        >>> cut = chunks(night, 1000.0, 1.0, labels=[[0, 1, 1, 0]])                # doctest: +SKIP
    """
    path = expanded(path)
    check_known(unit, UNITS, DataError, f"unit={unit!r}: no such unit of time (")
    known = READERS.get(reader_of(path) or "")
    there = None
    if known is not None and known.pieces is not None and path.is_file():
        path, there = _converted(path, {**options, "n_channels": n_channels})
    elif options:
        raise DataError(f"{path}: there is no option {next(iter(options))!r} for such a file")
    if path.is_dir():
        there = there or Events.load(path)
        rows = [_raw(path / EVENTS.raw_files[name], 0, kind, len(there.times)) for name, kind in EVENTS.raw.items()]
        offsets = there.offsets if offsets is None else offsets
        labels, groups = (b if a is None else a for a, b in ((labels, there.labels), (groups, there.groups)))
    else:
        open_row = _npz_row if path.suffix == ".npz" else _hdf5_row
        rows = [open_row(path, name) for name in (times, channels)]
        if isinstance(offsets, str):
            load, size = open_row(path, offsets)
            offsets = load(0, size)
    (load_times, size), (load_channels, other) = rows
    if size != other:
        raise DataError(f"{path}: {size} times but {other} channels; give one channel for each time")
    found = Events.trusted(
        FileNumbers(load_times, size, np.float64, UNITS[unit]), FileNumbers(load_channels, size, np.int32),
        check.as_vector([0, size] if offsets is None else offsets, np.int64, f"{path}: offsets"),
        check.n_channels(n_channels, str(path)), name=path.name,
    )  # fmt: skip
    check.offsets(found.offsets, size, size, str(path))
    check.events(found.times, found.channels, found.offsets, n_channels, str(path))
    none = Events(np.empty(0), np.empty(0, np.int32), np.zeros(len(found) + 1, np.int64), n_channels, labels, groups,
                  name=path.name, targets=targets)  # fmt: skip
    return Events.trusted(found.times, found.channels, found.offsets, n_channels, **none.annotations)


def _converted(path: Path, options: dict[str, Any]) -> tuple[Path, Events]:
    """The folder of events that a recording has become, and these."""

    def build(folder: Path) -> None:
        found = in_pieces(path, **options)
        assert found is not None
        save_pieces(folder, *found, path.stem)

    return cached(path.stem, [path], options, build)


def _raw(path: Path, offset: int, kind: str, size: int) -> Row:
    return raw(path, offset, kind, size), size


def _npz_row(path: Path, name: str) -> Row:
    """Where the numbers of an array stand in a .npz file."""
    with open_file(path) as content:
        try:
            with zipfile.ZipFile(content) as file:
                member = next((m for m in file.infolist() if m.filename == f"{name}.npy"), None)
                if member is None:
                    raise DataError(f"{path}: no array {name!r}; it has {', '.join(file.namelist())}")
                if member.compress_type != zipfile.ZIP_STORED:
                    raise DataError(f"{path}: {name} is compressed, so that no part can be read; use numpy.savez")
            content.seek(member.header_offset + LOCAL_HEADER - 4)
            more = sum(int.from_bytes(content.read(2), "little") for _ in range(2))  # lengths of name and extra field
            content.seek(member.header_offset + LOCAL_HEADER + more)
            shape, dtype = array_header(content)
        except UNREADABLE as error:
            raise DataError(f"{path}: not a readable npz file ({error}); download or write it again") from error
        _check_row(f"{path}: {name}", shape, dtype)
        return _raw(path, content.tell(), dtype.str, shape[0])


def _hdf5_row(path: Path, name: str) -> Row:
    with open_hdf5(path) as file, reading(path, name):
        table = inside(file, name, path, whole=False)
        if table is None or not hasattr(table, "shape"):
            raise DataError(f"{path}: no table {name!r}; it has {', '.join(file)}")
        _check_row(f"{path}: {name}", table.shape, table.dtype)
        place = table.id.get_offset()  # of a table in one piece
        if place is not None and not table.id.get_create_plist().get_nfilters():
            return _raw(path, place, table.dtype.str, len(table))
        return partial(_hdf5_part, path, name), len(table)


def _hdf5_part(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    with open_hdf5(path) as file, reading(path, name):
        part: np.ndarray = file[name][start:stop]
        return part


def _check_row(where: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 1 or dtype.kind not in "iuf":
        raise DataError(f"{where} has shape {shape} and type {dtype}; it must be a row of numbers")
