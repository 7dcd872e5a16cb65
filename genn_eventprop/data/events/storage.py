"""Data sets on disk: a compressed .npz, or a folder whose large arrays can be memory-mapped. No pickle.

A folder of events holds events.json (numbers, name, format, the SHA-256 of itself and of the other files), samples.npz
(offsets, labels, groups, targets) and the flat arrays raw: times.f8 (float64 ms) and channels.i4 (int32), little
endian; one of currents likewise (`Layout`). It is written piece by piece (`EventsWriter`), so that converting a data
set needs memory for one sample only, and appears under its name by one rename when it is complete.
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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from ...atomic import replaced_file, write_errors
from ...checksummed import parsed, verified, with_checksum
from ...errors import DataError
from ...modelling.memory import in_words, physical_memory
from ...regular import open_regular, read_regular
from .check import BLOCK

SAMPLES = "samples.npz"
OF_SAMPLES = ("labels", "groups", "targets")


@dataclass(frozen=True)
class Layout:
    """How data sets of one kind lie on disk.

    Args:
        word: what they are. raw: the large arrays -> their types; in a folder, array NAME of "<f8" is the file NAME.f8.
        shape: the numbers in the record of a folder that are the shape of these arrays.
        numbers: the fields of a data set that are single values; the first one must be there.
        of_samples: its other arrays; "offsets" must be there.
    """

    word: str
    raw: Mapping[str, str]
    shape: tuple[str, ...]
    numbers: tuple[str, ...]
    of_samples: tuple[str, ...] = OF_SAMPLES

    @property
    def format(self) -> str:
        """The first line of a folder's record, so to speak."""
        return f"genn_eventprop {self.word} 1"

    @property
    def record(self) -> str:
        """The file of a folder that says what the others are."""
        return f"{self.word}.json"

    @property
    def raw_files(self) -> dict[str, str]:
        """Array -> its file in a folder."""
        return {name: f"{name}.{dtype[1:]}" for name, dtype in self.raw.items()}

    @property
    def files(self) -> tuple[str, ...]:
        """All files of a folder besides the record."""
        return *self.raw_files.values(), SAMPLES

    @property
    def needed(self) -> set[str]:
        """What every file has."""
        return {*self.raw, self.numbers[0], *({"offsets"} & {*self.of_samples})}

    def is_in(self, folder: Path) -> bool:
        """Whether `save` wrote this folder."""
        return (folder / self.record).is_file()


EVENTS = Layout(
    "events", {"times": "<f8", "channels": "<i4"}, ("events",), ("n_channels", "n_classes", "name"),
    ("offsets", *OF_SAMPLES),
)  # fmt: skip
CURRENTS = Layout("currents", {"values": "<f4"}, ("samples", "steps", "channels"), ("dt", "n_classes", "name"))
KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("events", "samples", "steps", "channels", "n_channels", "n_classes"), (int, "one integer >= 0")),
    **dict.fromkeys(("format", "name"), (str, "one text")),
    "dt": ((int, float), "one number"), "files": (dict, "a record"),
}  # fmt: skip
"""What the numbers and texts of files must be."""
PACKED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1100}
"""Bytes that a way of packing makes one of, at most."""
UNREADABLE = (
    ValueError, OSError, EOFError, LookupError, TypeError, RuntimeError, SyntaxError, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, struct.error, OverflowError, MemoryError,
)  # fmt: skip
"""What NumPy and the zip reader raise on npz files that are damaged: the header of an array is Python text."""


Kind = TypeVar("Kind")


def save(data: Any, path: Path, writer: FolderWriter) -> None:
    """Write `data` to a .npz file, or by its `writer` to a folder; the old one stays whole until the new one is
    complete."""
    if path.suffix == ".npz":
        return write_npz(arrays_of(data), path)
    raw = [getattr(data, name) for name in writer.layout.raw]
    rows = max(1, BLOCK * len(raw[0]) // max(raw[0].size, 1))
    with writer:
        for start in range(0, len(raw[0]), rows):
            writer.append_flat(*(array[start : start + rows] for array in raw))
        of_samples = {name: getattr(data, name) for name in writer.layout.of_samples}
        writer.complete(of_samples, {name: getattr(data, name) for name in writer.layout.numbers})


def save_pieces(path: Path, n_channels: int, pieces: Iterable[tuple[np.ndarray, np.ndarray]], name: str = "") -> None:
    """Write one recording, times and channels piece by piece, to a folder."""
    size = 0
    with EventsWriter(path, n_channels, None, name) as writer:
        for times, channels in pieces:
            writer.append_flat(times, channels)
            size += len(times)
        writer.finish(np.array([0, size]))


def load(kind: type[Kind], layout: Layout, path: Path, mmap: bool = True) -> Kind:
    """A data set, `Events` or `Currents`, from what `save` wrote; raw arrays of a folder are mapped with `mmap`.

    Raises:
        DataError: the path is absent, of another kind, cut short, or damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of {layout.word}")
    try:
        data = kind(**(_of_folder(layout, path, mmap) if path.is_dir() else _of_file(layout, path)))
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    _verify(layout, path)  # after the checks of the data set, which say which sample and event is wrong
    return data


def _of_file(layout: Layout, path: Path) -> dict[str, Any]:
    with open_npz(path) as file:
        if missing := layout.needed - {*file.files}:
            other = "; data.readers.currents.read_npz reads arrays of other names" if layout is CURRENTS else ""
            absent = ", ".join(sorted(missing))
            raise DataError(f"{path}: not a file of {layout.word} (no array {absent}); it has {file.files}{other}")
        names = (*layout.raw, *layout.of_samples, *layout.numbers)
        return arguments(layout, read_arrays(file, [name for name in names if name in file.files], path), path)


def arguments(layout: Layout, arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Arguments of a data set from the arrays of an npz file; `arrays_of` is the reverse.

    Raises:
        DataError: a number or text that is none.
    """
    numbers = {n: arrays[n].item() if arrays[n].shape == () else arrays[n] for n in layout.numbers if n in arrays}
    try:
        _check(numbers)
    except ValueError as error:
        raise DataError(f"{path}: {error}; it is not a file of {layout.word}") from None
    return {"name": path.stem, **{n: a for n, a in arrays.items() if n not in numbers}, **numbers}


def arrays_of(data: Any) -> dict[str, np.ndarray]:
    """All of a data set as arrays of an npz file."""
    values = {field.name: getattr(data, field.name) for field in fields(data)}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def _check(record: Mapping[str, Any], needed: Iterable[str] = ()) -> None:
    """Raise `ValueError` for a number or text of another kind than `KINDS` says, or one that is missing."""
    for name in needed:
        if name not in record:
            raise ValueError(f"{name} is missing")
    for name, value in record.items():
        kind, words = KINDS.get(name, (object, ""))
        if name not in KINDS or (value is None and name in ("n_classes", "name")):
            continue
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and not 0 <= value < 2**63):
            raise ValueError(f"{name} must be {words}, is {str(value)[:40]!r}")


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


def array_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, type) of the array in a .npy file that is open at its beginning; it is left behind the header."""
    version = np.lib.format.read_magic(file)
    # the third version differs from the second in the encoding of names only
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _declared_size(file: Any, name: str) -> int:
    """Bytes of an array by its header, which must be those that follow it.

    Raises:
        ValueError: no array of numbers or texts, or another size; and whatever is in `UNREADABLE`.
    """
    # NumPy allocates what the header of an array says before it reads the rest, and the zip reader unpacks whatever
    # there is: both numbers must agree with each other, and with what so many packed bytes can become
    info = file.zip.getinfo(name if name in file.zip.namelist() else f"{name}.npy")
    with file.zip.open(info) as member:
        shape, dtype = array_header(member)
        size, rest = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if info.file_size > 100 + info.compress_size * PACKED.get(info.compress_type, 10_000):  # bzip2, LZMA pack tighter
        raise ValueError(f"{info.compress_size} bytes cannot unpack to {info.file_size}")
    if min(shape, default=0) < 0 or size != rest:
        raise ValueError(f"its header says {shape} of {dtype}, {size} bytes, but there are {rest}")
    return size


def write_npz(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Replace a compressed npz file in one step."""
    with replaced_file(path, DataError) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class FolderWriter:
    """Writes a folder piece by piece; leaves nothing behind unless `complete` was reached."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.files: list[Any] = []
        self.length = 0

    def __enter__(self) -> Self:
        check_replaceable(self.path, self.layout)
        with self.writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
            try:
                for name in self.layout.raw_files.values():
                    self.files.append(open(self.temporary / name, "wb"))
            except OSError:
                shutil.rmtree(self.temporary, ignore_errors=True)
                raise
        return self

    def writing(self) -> AbstractContextManager[None]:
        """Errors of the operating system in words, see `write_errors`."""
        return write_errors(self.path, DataError, after="; no partial file is kept")

    def append_flat(self, *arrays: np.ndarray) -> None:
        """More of each raw array: times and channels of events, whatever samples they belong to, or values of
        currents."""
        self.length += len(arrays[0])
        with self.writing(), np.errstate(over="ignore"):  # infinite values are refused when the folder is loaded
            for file, array, dtype in zip(self.files, arrays, self.layout.raw.values()):
                file.write(np.ascontiguousarray(array, dtype).data)  # `tofile` does not tell why it failed

    def shape(self) -> tuple[int, ...]:
        """Of the raw arrays."""
        return (self.length,)

    def complete(self, samples: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced.

        Args:
            samples: arrays of samples.npz, None for those that there are not. facts: of the record.
        """
        with self.writing():
            there = {name: np.asarray(value) for name, value in samples.items() if value is not None}
            np.savez(self.temporary / SAMPLES, **there)  # type: ignore[arg-type]
            for file in self.files:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            record = {"format": self.layout.format, **facts, **dict(zip(self.layout.shape, self.shape()))}
            record["files"] = {name: digest_of(self.temporary / name) for name in self.layout.files}
            (self.temporary / self.layout.record).write_text(json.dumps(with_checksum(record), indent=1) + "\n")
            _replace_folder(self.temporary, self.path, self.layout)

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

    def finish(
        self, offsets: np.ndarray | None = None, labels: Any = None, groups: Any = None, targets: Any = None
    ) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced."""
        if offsets is None:
            offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        facts = {"name": self.name, "n_channels": self.n_channels, "n_classes": self.n_classes}
        self.complete({"offsets": offsets, "labels": labels, "groups": groups, "targets": targets}, facts)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_replaceable(path: Path, layout: Layout = EVENTS) -> None:
    """Raise `DataError` if something other than a folder of this kind, and nothing but that, is in the way."""
    if not path.exists():
        return
    names = sorted(p.name for p in path.iterdir()) if path.is_dir() else [""]
    others = sorted(set(names) - {*layout.files, layout.record})
    if others or (names and not is_folder_of(path, layout)):
        strange = next((name for name in others if name), "")
        problem = f"holds {strange}, which is no file of {layout.word}" if strange else f"is no folder of {layout.word}"
        raise DataError(f"{path} exists and {problem}; it is not replaced: choose another name, or remove it")


def is_folder_of(path: Path, layout: Layout) -> bool:
    """Whether a folder has a record of ours, be it a damaged one."""
    try:
        return f"genn_eventprop {layout.word}".encode() in read_regular(path / layout.record)
    except OSError:
        return False


def _replace_folder(new: Path, path: Path, layout: Layout) -> None:
    """Give `new` the name `path`. A folder cannot be renamed over a full one: the old one steps aside first."""
    check_replaceable(path, layout)
    old = None
    if path.exists():
        old = Path(mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        os.rename(path, old / "replaced")
    os.rename(new, path)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _of_folder(layout: Layout, path: Path, mmap: bool) -> dict[str, Any]:
    try:
        facts = parsed(read_regular(path / layout.record))
        if not isinstance(facts, dict):
            raise ValueError(f"expected a record, got a {type(facts).__name__}")
        _check(facts, ("format", *layout.shape, layout.numbers[0]))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a folder of {layout.word} ({layout.record}: {error})") from error
    if facts["format"] != layout.format:
        raise DataError(
            f"{path}: format {facts['format']!r}, this version reads {layout.format!r}; write the folder again"
        )
    shape = tuple(facts[name] for name in layout.shape)
    raw = {n: raw_array(path / file, layout.raw[n], shape, mmap) for n, file in layout.raw_files.items()}
    with open_npz(path / SAMPLES) as samples:
        there = [name for name in layout.of_samples if name in samples.files]
        arrays = raw | read_arrays(samples, there, path / SAMPLES)
    if missing := layout.needed - {*arrays, *facts}:
        raise DataError(f"{path}: {SAMPLES} has no {', '.join(missing)}; the folder is damaged, write it again")
    return arrays | {n: facts.get(n) for n in layout.numbers} | {"name": facts.get("name") or path.stem}


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


def _verify(layout: Layout, path: Path) -> None:
    """Raise `DataError` if a file of a folder has changed since it was written.

    Every byte is read once more for this whenever a folder is opened. The checks of `Events` do not see a flipped bit
    in `times.f8` that leaves the times in order: training on other data than those that were saved would go unnoticed.
    """
    if not path.is_dir():
        return
    try:
        digests = verified(read_regular(path / layout.record)).get("files", {})
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {layout.record} is damaged: {error}; write the folder again") from None
    for name, digest in digests.items():
        if name in layout.files and digest_of(path / name) != digest:
            raise DataError(f"{path / name}: its contents do not match its checksum; it is damaged, write it again")
