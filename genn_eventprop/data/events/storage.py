"""Events on disk: a compressed .npz, or a folder whose times and channels can be memory-mapped. No pickle.

A folder holds events.json (numbers, name, format, the SHA-256 of itself and of the other files), samples.npz (offsets,
labels, groups) and the flat arrays raw: times.f8 (float64 ms) and channels.i4 (int32), little endian. It is written
sample by sample (`EventsWriter`), so that converting a data set needs memory for one sample only, and appears under its
name by one rename when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...atomic import replaced_file, write_errors
from ...checksummed import parsed, verified, with_checksum
from ...errors import DataError
from ...modelling.memory import in_words, physical_memory
from ...regular import open_regular, read_regular
from .check import BLOCK, Recordings

FORMAT = "genn_eventprop events 1"
FILES, FACTS = ("times.f8", "channels.i4", "samples.npz"), "events.json"


@dataclass(frozen=True)
class FolderKind:
    """Folders of one kind of data.

    Args:
        word: what they hold. record: the file that says what the others are. files: the others, raw arrays first.
    """

    word: str
    record: str
    files: tuple[str, ...]

    @property
    def raw(self) -> tuple[str, ...]:
        """Flat arrays, written piece by piece."""
        return tuple(name for name in self.files if not name.endswith(".npz"))


EVENTS = FolderKind("events", FACTS, FILES)
FLAT = ("times", "channels", "offsets", "n_channels", "n_classes", "name", "labels", "groups", "targets")
PACKED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1100}
"""Bytes that a way of packing makes one of, at most."""
OF_SAMPLES = ("offsets", "labels", "groups", "targets")
UNREADABLE = (
    ValueError, OSError, EOFError, LookupError, TypeError, RuntimeError, SyntaxError, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, struct.error, OverflowError, MemoryError,
)  # fmt: skip
"""What NumPy and the zip reader raise on npz files that are damaged: the header of an array is Python text."""


def save(events: Recordings, path: Path) -> None:
    """Write `events` to a .npz file or a folder; the old one stays whole until the new one is complete."""
    if path.suffix == ".npz":
        return write_npz(arrays_of(events), path)
    with EventsWriter(path, events.n_channels, events.n_classes, events.name) as writer:
        for start in range(0, len(events.times), BLOCK):
            writer.append_flat(events.times[start : start + BLOCK], events.channels[start : start + BLOCK])
        writer.finish(events.offsets, events.labels, events.groups, events.targets)


def save_pieces(path: Path, n_channels: int, pieces: Iterable[tuple[np.ndarray, np.ndarray]], name: str = "") -> None:
    """Write one recording, times and channels piece by piece, to a folder."""
    size = 0
    with EventsWriter(path, n_channels, None, name) as writer:
        for times, channels in pieces:
            writer.append_flat(times, channels)
            size += len(times)
        writer.finish(np.array([0, size]))


def load(path: Path, mmap: bool = True) -> dict[str, Any]:
    """The arguments of `Events` from what `save` wrote.

    Raises:
        DataError: the path is absent, of another kind, cut short, or damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of events")
    if path.is_dir():
        return _load_folder(path, mmap)
    with open_npz(path) as file:
        missing = {"times", "channels", "offsets", "n_channels"} - set(file.files)
        if missing:
            raise DataError(
                f"{path}: not a file of events (no array {', '.join(sorted(missing))}); it has {file.files}"
            )
        arrays = read_arrays(file, [name for name in FLAT if name in file.files], path)
    return arguments(arrays, path)


def open_file(path: Path) -> BufferedReader:
    """A data file, or a DataError that says why it cannot be read: a pipe, on which a reader would wait, is none."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    """An npz file opened without pickle, or a DataError that says why it is not one."""
    with open_file(path) as content:
        try:
            file = np.load(content, allow_pickle=False)
        except UNREADABLE as error:
            raise DataError(f"{path}: not a readable npz file ({error}); download or write it again") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: a single array, not an npz file of named arrays")
        with file:
            yield file


def read_array(file: Any, name: str, path: Path) -> np.ndarray:
    """Array `name` of an open npz file."""
    return read_arrays(file, [name], path)[name]


def read_arrays(file: Any, names: Iterable[str], path: Path) -> dict[str, np.ndarray]:
    """Some arrays of an open npz file; what else it holds is not unpacked.

    Raises:
        DataError: an array that is absent or damaged, whose header says another size than the file has, or that does
            not fit into the memory of this machine together with the others: a few bytes of a zip file may stand for
            gigabytes.
    """
    arrays, total = dict[str, np.ndarray](), 0
    for name in names:
        if name not in file.files:
            known = ", ".join(file.files[:20]) + (", ..." if len(file.files) > 20 else "")
            raise DataError(f"{path}: no array {name!r}; it has {known}")
        try:
            total += _declared_size(file, name)
            if total > physical_memory():
                raise ValueError(
                    f"it needs {in_words(total)} of memory, this machine has {in_words(physical_memory())}"
                )
            arrays[name] = file[name]
        except UNREADABLE as error:
            raise DataError(
                f"{path}: array {name!r} cannot be read ({error}); the file is damaged or in another format"
            ) from error
    return arrays


def _declared_size(file: Any, name: str) -> int:
    """Bytes of an array by its header, which must be those that follow it.

    Raises:
        ValueError: no array of numbers or texts, or another size; and whatever is in `UNREADABLE`.
    """
    # NumPy allocates what the header of an array says before it reads the rest, and the zip reader unpacks whatever
    # there is: both numbers must agree with each other, and with what so many packed bytes can become
    info = file.zip.getinfo(name if name in file.zip.namelist() else f"{name}.npy")
    with file.zip.open(info) as member:
        version = np.lib.format.read_magic(member)
        # the third version differs from the second in the encoding of names only
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(member)
        size, rest = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if info.file_size > 100 + info.compress_size * PACKED.get(info.compress_type, 10_000):  # bzip2, LZMA pack tighter
        raise ValueError(f"{info.compress_size} bytes cannot unpack to {info.file_size}")
    if min(shape, default=0) < 0 or size != rest:
        raise ValueError(f"its header says {shape} of {dtype}, {size} bytes, but there are {rest}")
    return size


def arguments(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Arguments of `Events` from the arrays of a file."""
    numbers = {name: _number(arrays[name], name, path) for name in ("n_channels", "n_classes") if name in arrays}
    name = _text(arrays["name"], path) if "name" in arrays else path.stem
    return {name: array for name, array in arrays.items() if name in FLAT} | numbers | {"name": name}


def _number(value: np.ndarray, name: str, path: Path) -> int:
    if value.shape != () or value.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name} must be one integer, is {value.shape} {value.dtype}; it is not a file of events"
        )
    return int(value)


def _text(value: np.ndarray, path: Path) -> str:
    if value.shape != () or value.dtype.kind != "U":
        raise DataError(f"{path}: name must be one text, is {value.shape} {value.dtype}; it is not a file of events")
    return str(value)


def arrays_of(events: Recordings) -> dict[str, np.ndarray]:
    """All of `events` as arrays of an npz file; `arguments` is the reverse."""
    arrays: dict[str, Any] = {"times": events.times, "channels": events.channels, "offsets": events.offsets}
    arrays |= {"n_channels": np.int64(events.n_channels), "name": np.array(events.name)}
    optional = {"labels": events.labels, "groups": events.groups, "n_classes": events.n_classes}
    optional["targets"] = events.targets
    arrays |= {name: value for name, value in optional.items() if value is not None}
    return {name: np.asarray(value) for name, value in arrays.items()}


def write_npz(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Replace a compressed npz file in one step."""
    with replaced_file(path, DataError) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class FolderWriter:
    """Writes a folder piece by piece; leaves nothing behind unless `complete` was reached."""

    def __init__(self, path: Path, kind: FolderKind) -> None:
        self.path, self.kind = path, kind
        self.files: list[Any] = []

    def __enter__(self) -> Self:
        check_replaceable(self.path, self.kind)
        with self.writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
            try:
                for name in self.kind.raw:
                    self.files.append(open(self.temporary / name, "wb"))
            except OSError:
                shutil.rmtree(self.temporary, ignore_errors=True)
                raise
        return self

    def writing(self) -> AbstractContextManager[None]:
        """Errors of the operating system in words, see `write_errors`."""
        return write_errors(self.path, DataError, after="; no partial file is kept")

    def complete(self, samples: dict[str, Any], facts: dict[str, Any]) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced.

        Args:
            samples: arrays of the samples, None for what there is not. facts: for the record, beside the checksums.
        """
        with self.writing():
            there = {name: np.asarray(value) for name, value in samples.items() if value is not None}
            np.savez(self.temporary / "samples.npz", **there)  # type: ignore[arg-type]
            for file in self.files:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            facts["files"] = {name: digest_of(self.temporary / name) for name in self.kind.files}
            (self.temporary / self.kind.record).write_text(json.dumps(with_checksum(facts), indent=1) + "\n")
            _replace_folder(self.temporary, self.path, self.kind)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            with contextlib.suppress(OSError):  # a full disk has been told already
                file.close()
        shutil.rmtree(self.temporary, ignore_errors=True)


class EventsWriter(FolderWriter):
    """Writes a folder of events piece by piece; leaves nothing behind unless `finish` was reached.

    Use: `with EventsWriter(folder, n_channels) as w: w.append(times, channels) ...; w.finish(None, labels, groups)`.
    """

    def __init__(self, path: Path, n_channels: int, n_classes: int | None = None, name: str = "") -> None:
        super().__init__(path, EVENTS)
        self.n_channels, self.n_classes, self.name = n_channels, n_classes, name
        self.counts: list[int] = []

    def append(self, times: np.ndarray, channels: np.ndarray) -> None:
        """One more sample: times (n,) ms, ascending, and channels (n,)."""
        self.counts.append(len(times))
        self.append_flat(times, channels)

    def append_flat(self, times: np.ndarray, channels: np.ndarray) -> None:
        """More events, whatever samples they belong to; `finish` is then given the offsets."""
        with self.writing():
            self.files[0].write(np.ascontiguousarray(times, "<f8").data)  # `tofile` does not tell why it failed
            self.files[1].write(np.ascontiguousarray(channels, "<i4").data)

    def finish(
        self, offsets: np.ndarray | None = None, labels: Any = None, groups: Any = None, targets: Any = None
    ) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced."""
        if offsets is None:
            offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        facts = {"format": FORMAT, "name": self.name, "n_channels": self.n_channels, "n_classes": self.n_classes}
        facts |= {"samples": len(offsets) - 1, "events": int(offsets[-1])}
        self.complete({"offsets": offsets, "labels": labels, "groups": groups, "targets": targets}, facts)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_replaceable(path: Path, kind: FolderKind = EVENTS) -> None:
    """Raise `DataError` if something other than a folder of this kind, and nothing but that, is in the way."""
    if not path.exists():
        return
    names = sorted(p.name for p in path.iterdir()) if path.is_dir() else [""]
    others = sorted(set(names) - {*kind.files, kind.record})
    if others or (names and not is_folder_of(path, kind)):
        strange = next((name for name in others if name), "")
        problem = f"holds {strange}, which is no file of {kind.word}" if strange else f"is no folder of {kind.word}"
        raise DataError(f"{path} exists and {problem}; it is not replaced: choose another name, or remove it")


def is_folder_of(path: Path, kind: FolderKind) -> bool:
    """Whether a folder has a record of ours, be it a damaged one."""
    try:
        return f"genn_eventprop {kind.word}".encode() in read_regular(path / kind.record)
    except OSError:
        return False


def _replace_folder(new: Path, path: Path, kind: FolderKind) -> None:
    """Give `new` the name `path`. A folder cannot be renamed over a full one: the old one steps aside first."""
    check_replaceable(path, kind)
    old = None
    if path.exists():
        old = Path(mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        os.rename(path, old / "replaced")
    os.rename(new, path)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _load_folder(path: Path, mmap: bool) -> dict[str, Any]:
    try:
        facts = _facts(parsed(read_regular(path / "events.json")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a folder of events (events.json: {error})") from error
    if facts["format"] != FORMAT:
        raise DataError(f"{path}: format {facts['format']!r}, this version reads {FORMAT!r}; write the folder again")
    shape = (facts["events"],)
    times = raw_array(path / "times.f8", "<f8", shape, mmap)
    channels = raw_array(path / "channels.i4", "<i4", shape, mmap)
    with open_npz(path / "samples.npz") as samples:
        there = [name for name in OF_SAMPLES if name in samples.files]
        arrays = read_arrays(samples, there, path / "samples.npz")
    arrays |= {"times": times, "channels": channels}
    if "offsets" not in arrays:
        raise DataError(f"{path}: samples.npz has no offsets; the folder is damaged, write it again")
    extra = {name: facts.get(name) for name in ("n_channels", "name", "n_classes")}
    return arguments(arrays | {k: np.asarray(v) for k, v in extra.items() if v is not None}, path)


def raw_array(file: Path, dtype: str, shape: tuple[int, ...], mmap: bool) -> np.ndarray:
    """The numbers in a raw file of a folder; a mapped one is read-only, and shared by all processes that train on it.

    Raises:
        DataError: the file is absent, or not as long as `shape` says.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not file.is_file() or file.stat().st_size != size:
        raise DataError(f"{file}: missing or not {size} bytes long; the folder is damaged, write it again")
    # an empty file cannot be mapped
    return np.memmap(file, dtype, "r", shape=shape) if mmap and size else np.fromfile(file, dtype).reshape(shape)


def _facts(record: Any) -> dict[str, Any]:
    """events.json with values of the right kinds.

    Raises:
        ValueError: saying which is not.
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected a record, got a {type(record).__name__}")
    for name, kind, words in (
        ("format", str, "a string"), ("events", int, "a number of events"), ("n_channels", int, "a number of channels"),
        ("n_classes", int, "a number of classes"), ("name", str, "a string"), ("files", dict, "a record"),
    ):  # fmt: skip
        value = record.get(name)
        if name not in record and name in ("format", "events", "n_channels"):
            raise ValueError(f"{name} is missing")
        if name not in record or (value is None and name in ("n_classes", "name")):
            continue
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise ValueError(f"{name} must be {words}, is {str(value)[:40]!r}")
    return record


def verify(path: Path, kind: FolderKind = EVENTS) -> None:
    """Raise `DataError` if a file of a folder has changed since it was written; folders of older versions have no
    checksums.

    Every byte is read once more for this whenever a folder is opened. The checks of `Events` do not see a flipped bit
    in `times.f8` that leaves the times in order: training on other data than those that were saved would go unnoticed.
    """
    if not path.is_dir():
        return
    try:
        facts = verified(read_regular(path / kind.record))
        digests = facts.get("files", {})
        if not isinstance(digests, dict):
            raise ValueError(f"files must be a record, is {str(digests)[:40]!r}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {kind.record} is damaged: {error}; write the folder again") from None
    for name, digest in digests.items():
        if name in kind.files and digest_of(path / name) != digest:
            raise DataError(f"{path / name}: its contents do not match its checksum; it is damaged, write it again")
