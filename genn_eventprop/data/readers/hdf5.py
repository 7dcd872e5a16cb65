"""HDF5 files in the layout of the Spiking Heidelberg Digits (SHD, SSC and any file written like them).

    spikes/times   (S,) arrays of times in s        labels         (S,) class
    spikes/units   (S,) arrays of channels          extra/speaker  (S,) optional group
                                                    extra/keys     (K,) optional class names
    extra/speaker_names  (G,) optional, our addition: name of speaker 0, 1, ...
    attribute n_channels      optional, our addition; without it the 700 of SHD, unless the units speak against it

Source: Cramer, Stradmann, Schemmel, Zenke 2020, doi 10.1109/TNNLS.2020.3044364. h5py (extra `data`) is imported on use.
"""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...atomic import replaced_file
from ...errors import DataError, shown
from ...output import say
from ..events import check
from ..events.events import Events
from ..events.storage import EventsWriter, open_file
from ..optional import require
from .hdf5_inside import Budget, inside

ROWS = 256  # samples read together
SHD_CHANNELS = 700
MOST_CHANNELS = 2**16
"""Units of the published type, uint16, that are believed without the attribute n_channels."""
NEEDED = ("spikes/times", "spikes/units", "labels")
OPTIONAL = ("extra/speaker", "extra/speaker_names", "extra/keys")


def read_shd(path: str | Path, n_channels: int | None = None, n_classes: int | None = None) -> Events:
    """All samples of an SHD-layout file in memory; speakers become groups.

    Args:
        n_channels: of the input; default: what the file says, else 700.

    Raises:
        DataError: not an HDF5 file, cut short, arrays missing, lengths that differ, values out of range.
    """
    path = Path(path)
    with open_layout(path) as file:
        n_channels = channels_of(file, path, n_channels)
        counts, times, channels = [], [], []
        for _, t, c in samples(file, path, n_channels):
            counts.append(len(t))
            times.append(t)
            channels.append(c)
        labels, groups, keys = meta(file, path)
    return Events(
        np.concatenate([np.empty(0), *times]),
        np.concatenate([np.empty(0, np.int32), *channels]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        n_channels,
        labels,
        groups,
        n_classes or keys,
        path.name,
    )


def convert_shd(
    path: str | Path, folder: str | Path, n_channels: int | None = None, n_classes: int | None = None
) -> Events:
    """The same, through a folder of memory-mapped events: needs memory for a few samples only (SSC has 75,466)."""
    path, folder = Path(path), Path(folder)
    with open_layout(path) as file:
        n_channels = channels_of(file, path, n_channels)
        labels, groups, keys = meta(file, path)
        classes = n_classes or keys or (int(labels.max(initial=0)) + 1)
        check.labels(labels, len(labels), classes, str(path))
        with EventsWriter(folder, n_channels, classes, path.name) as writer:
            for _, t, c in samples(file, path, n_channels):
                writer.append(t, c)
            writer.finish(None, labels, groups)
    return Events.load(folder)


def write_shd(events: Events, path: str | Path, keys: list[str] | None = None, dtype: type = np.float32) -> None:
    """Write `events` in the SHD layout, so that tonic and others read them.

    Args:
        keys: class names, default "0", "1", ...
        dtype: of the times in s. float32 keeps 60 ns at 1 s; the published files have float16 (0.5 ms at 1 s).

    Groups are written as numbers, as in the published files; texts are numbered in alphabetical order, and their names
    go to extra/speaker_names, from which `read_shd` restores them.
    """
    if events.labels is None:
        raise DataError(f"{events.name or 'events'}: the SHD layout needs a label for every sample; these have none")
    if np.dtype(dtype).kind != "f":
        raise DataError(f"dtype must be a type of real numbers, such as numpy.float32, got {shown(dtype)}")
    rows = (events.sample(i) for i in range(len(events)))
    keys = keys or [str(k) for k in range(events.n_classes or 0)]
    write_rows(path, rows, events.n_channels, events.labels, events.groups, keys, dtype)


def write_rows(
    path: str | Path,
    rows: Iterable[tuple[np.ndarray, np.ndarray]],
    n_channels: int,
    labels: np.ndarray,
    groups: np.ndarray | None,
    keys: Sequence[str],
    dtype: type = np.float32,
) -> None:
    """Write (times in ms, channels) of one sample after the other: the data set never lies in memory as a whole.

    The file gets its name when it is complete; an older file is then replaced.
    """
    h5py = require("h5py", "HDF5 files")
    path = Path(path)
    unit = np.uint16 if n_channels <= 2**16 else np.uint32  # as published, unless that would wrap
    # closed before the file below it: left to the garbage collector, it would flush a closed file
    with (
        replaced_file(path, DataError) as temporary,
        open(temporary, "w+b", buffering=0) as raw,
        HDF5Output(raw) as output,
    ):
        with h5py.File(output, "w") as file:
            times = file.create_dataset("spikes/times", (len(labels),), h5py.vlen_dtype(np.dtype(dtype)))
            units = file.create_dataset("spikes/units", (len(labels),), h5py.vlen_dtype(np.dtype(unit)))
            for i, (t, c) in enumerate(rows):
                times[i], units[i] = (t / 1000.0).astype(dtype), c.astype(unit)
                output.check()
            file["labels"] = labels.astype(np.int16 if (labels < 0).any() else np.uint16)
            file["extra/keys"] = as_bytes(keys)
            file.attrs["n_channels"] = n_channels
            if groups is not None:
                names, speakers = np.unique(groups, return_inverse=True)
                file["extra/speaker"] = speakers.astype(np.uint16)
                if names.dtype.kind == "U":
                    file["extra/speaker_names"] = as_bytes(names.tolist())
        output.check()


def as_bytes(texts: Sequence[str]) -> np.ndarray:
    """Texts as HDF5 stores them: UTF-8."""
    return np.array([text.encode() for text in texts], dtype="S")


class HDF5Output(io.RawIOBase):
    """A file for HDF5 to write to that never fails while HDF5 has it open; as h5py wants a Python file, see its driver
    "fileobj".

    The HDF5 library cannot close a file whose disk is full, and crashes when its objects are collected later. What does
    not fit therefore stays in memory, where HDF5 can read it back, until the writer has looked (`check`), which it does
    after every row.

    Args:
        file: an open binary file, for reading and writing.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._position = file, 0
        self._spilled: list[tuple[int, bytes]] = []
        self._problem: OSError | None = None

    def check(self) -> None:
        """Raise the `OSError` of the first write that failed."""
        if self._problem is not None:
            raise self._problem

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size()}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def _size(self) -> int:
        size = int(self._file.seek(0, io.SEEK_END))
        return max([size, *(start + len(content) for start, content in self._spilled)])

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size() - self._position))
        self._file.seek(self._position)
        content = bytearray(self._file.read(wanted).ljust(wanted, b"\0"))
        for start, spilled in self._spilled:
            first, last = max(start, self._position), min(start + len(spilled), self._position + wanted)
            if first < last:
                content[first - self._position : last - self._position] = spilled[first - start : last - start]
        view[:wanted] = content
        self._position += wanted
        return wanted

    def write(self, content: Any) -> int:
        data = bytes(content)
        if self._problem is None:
            try:
                self._file.seek(self._position)
                self._file.write(data)
            except OSError as problem:
                self._problem = problem
        if self._problem is not None:
            self._spilled.append((self._position, data))
        self._position += len(data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if self._problem is None:
            try:
                self._file.truncate(size)
            except OSError as problem:
                self._problem = problem
        return size

    def flush(self) -> None:
        if self._problem is None:
            try:
                self._file.flush()
            except OSError as problem:
                self._problem = problem


@contextmanager
def open_layout(path: Path) -> Iterator[Any]:
    """The open file, once it is sure that it has the layout."""
    with open_hdf5(path) as file:
        with reading(path, "its inner tables"):
            check_layout(file, path)
        yield file


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An open HDF5 file of any layout."""
    h5py = require("h5py", "HDF5 files")
    open_file(path).close()
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: {_why_not(error)}") from error
    with file:
        yield file


def _why_not(error: Exception) -> str:
    """Why HDF5 could not open a file, from its text: the number of the error is lost on the way."""
    if "unable to lock file" in str(error) and str(errno.EAGAIN) not in re.findall(r"errno = (\d+)", str(error)):
        return f"its disk has no locks ({error}); set HDF5_USE_FILE_LOCKING=FALSE, if nobody writes to the file"
    if "unable to lock file" in str(error) or "already open for" in str(error):
        return (
            f"another program has it open and may be writing to it ({error}); close it there. If none has, a program "
            "that wrote it has crashed: write the file again"
        )
    return f"not a readable HDF5 file ({error}); download it again"


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """What h5py raises on damaged files, in our words."""
    try:
        yield
    except DataError:
        raise
    except (RuntimeError, OSError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        raise DataError(f"{path}: {what} cannot be read ({error}); the file is damaged, download it again") from error


def check_layout(file: Any, path: Path) -> None:
    """Raises unless times, units and labels are there, one for each sample."""
    tables = {name: inside(file, name, path) for name in NEEDED}
    missing = [name for name, table in tables.items() if table is None]
    if missing:
        raise DataError(f"{path}: not in the SHD layout, {', '.join(missing)} missing; it has {', '.join(file)}")
    optional = {name: inside(file, name, path) for name in OPTIONAL}
    for name, table in {**tables, **{n: t for n, t in optional.items() if t is not None}}.items():
        if not getattr(table, "shape", ()):
            raise DataError(f"{path}: not in the SHD layout, {name} must be an array with a row for each sample")
    sizes = {name: len(table) for name, table in tables.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"{path}: lengths differ: {sizes}; the file is damaged")


def channels_of(file: Any, path: Path, asked: int | None) -> int:
    """Channels of the input: what the caller or the file says, else 700, the number of SHD and SSC.

    Raises:
        DataError: caller and file differ; neither says, and all units lie in the lower half of the 700.
    """
    with reading(path, "the attribute n_channels"):
        told = int(file.attrs["n_channels"]) if "n_channels" in file.attrs else None
    if told is not None and asked not in (None, told):
        raise DataError(f"{path} has {told} channels, but n_channels={asked}")
    if told is not None:
        return told
    if asked is not None:
        return asked
    largest = _largest_unit(file, path, SHD_CHANNELS // 2)
    if largest < 0 or largest >= SHD_CHANNELS // 2:
        return SHD_CHANNELS
    raise DataError(
        f"{path}: its units go up to {largest}, so it seems to have {largest + 1} channels, not the {SHD_CHANNELS} of "
        f"SHD; set it in the file, h5py.File({path.name!r}, 'a').attrs['n_channels'] = {largest + 1}, or n_channels="
    )


def channels_shown(path: str | Path) -> int | None:
    """The largest unit + 1, which a note tells, of a file that does not say its channels and whose units are not those
    of SHD; None for any other file."""
    path = Path(path)
    with open_layout(path) as file:
        largest = -1 if "n_channels" in file.attrs else _largest_unit(file, path)
    if largest < 0 or SHD_CHANNELS // 2 <= largest < SHD_CHANNELS or largest >= MOST_CHANNELS:
        return None
    say(f"note: {path} does not say its channels; its units go up to {largest}, so {largest + 1}")
    return largest + 1


def _largest_unit(file: Any, path: Path, enough: int = 2**62) -> int:
    """The largest channel, or the first that is found to be `enough`; -1 without any."""
    largest, budget = -1, Budget(path)
    for _, rows in rows_of(file["spikes/units"], path, budget):
        largest = max([largest, *(int(row.max()) for row in rows if row.size and row.dtype.kind in "iuf")])
        if largest >= enough:
            break
    return largest


def samples(file: Any, path: Path, n_channels: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index, times in ms, channels) of each sample, checked and in order of time."""
    budget = Budget(path)
    both = (rows_of(file[name], path, budget) for name in ("spikes/times", "spikes/units"))
    for (start, times), (_, units) in zip(*both, strict=True):
        for i, (t, c) in enumerate(zip(times, units, strict=True), start):
            yield i, *one_sample(t, c, f"{path}: sample {i}", n_channels)


def rows_of(table: Any, path: Path, budget: Budget) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(number of the first, rows) of a table, some rows at a time."""
    together = budget.rows(ROWS)
    for start in range(0, len(table), together):
        with reading(path, f"samples from {start} on"):
            rows = [np.asarray(row) for row in table[start : start + together]]
        if table.dtype.kind == "O":  # of variable length, which no filter packs
            budget.take(sum(row.nbytes for row in rows))
        yield start, rows


def one_sample(seconds: np.ndarray, units: np.ndarray, where: str, n_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Times in ms and channels; events of a file may be out of order, which is mended (stable sort)."""
    t = check.as_vector(seconds, np.float64, f"{where}: times") * 1000.0
    c = check.as_vector(units, np.int32, f"{where}: units")
    if len(t) != len(c):
        raise DataError(f"{where}: {len(t)} times but {len(c)} units; the file is damaged")
    if len(t) and not (np.diff(t) >= 0).all():
        order = np.argsort(t, kind="stable")
        t, c = t[order], c[order]
    check.events(t, c, np.array([0, len(t)]), n_channels, where)
    return t, c


def meta(file: Any, path: Path) -> tuple[np.ndarray, np.ndarray | None, int | None]:
    """(labels, speakers or None, number of class names or None)."""
    with reading(path, "labels, speakers or class names"):
        labels = check.as_vector(file["labels"][:], np.int64, f"{path}: labels")
        speakers = speakers_of(file["extra/speaker"], path) if "extra/speaker" in file else None
        if speakers is not None and len(speakers) != len(labels):
            raise DataError(f"{path}: {len(speakers)} speakers for {len(labels)} samples; the file is damaged")
        if speakers is not None and speakers.dtype.kind == "i" and "extra/speaker_names" in file:
            names = np.array(texts_of(file["extra/speaker_names"], path))
            if speakers.min(initial=0) < 0 or speakers.max(initial=0) >= len(names):
                raise DataError(
                    f"{path}: {len(names)} speaker names, but speakers up to {speakers.max()}; it is damaged"
                )
            speakers = names[speakers]
        keys = len(file["extra/keys"]) if "extra/keys" in file else None
        return labels, speakers, keys if keys and keys > labels.max(initial=0) else None


def speakers_of(table: Any, path: Path) -> np.ndarray:
    """Speakers as numbers, or as the texts that some files have instead."""
    if table.dtype.kind in "SO":
        return np.array(texts_of(table, path), str)
    return check.as_vector(table[:], np.int64, f"{path}: extra/speaker")


def texts_of(table: Any, path: Path) -> list[str]:
    """A table of texts, which together are no longer than the file."""
    texts, budget = list[str](), Budget(path)
    together = budget.rows(ROWS)
    for start in range(0, len(table), together):
        rows = [row.decode() if isinstance(row, bytes) else str(row) for row in table[start : start + together]]
        if table.dtype.kind == "O":
            budget.take(sum(map(len, rows)))
        texts += rows
    return texts


def class_names(path: str | Path) -> list[str]:
    """Names of the classes, extra/keys of the file; "0", "1", ... if it has none."""
    with open_layout(Path(path)) as file, reading(Path(path), "class names"):
        if "extra/keys" not in file:
            return [str(k) for k in range(int(file["labels"][:].astype(np.int64).max(initial=-1)) + 1)]
        return texts_of(file["extra/keys"], Path(path))


explain(globals(), ("read_shd", "convert_shd", "write_shd", "class_names"), DataError)
