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
import os
import shutil
import struct
import tokenize
import zipfile
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import numpy as np

from ...atomic import replaced_file, write_errors
from ...checksummed import verified, with_checksum
from ...errors import DataError
from .check import BLOCK
from .events import Events

FORMAT = "genn_eventprop events 1"
FILES, FACTS = ("times.f8", "channels.i4", "samples.npz"), "events.json"
UNREADABLE = (
    ValueError, OSError, EOFError, KeyError, TypeError, RuntimeError, SyntaxError, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, struct.error, OverflowError, MemoryError,
)  # fmt: skip
"""What NumPy and the zip reader raise on npz files that are damaged: the header of an array is Python text."""


def save(events: Events, path: Path) -> None:
    """Write `events` to a .npz file or a folder; the old one stays whole until the new one is complete."""
    if path.suffix == ".npz":
        return _save_npz(events, path)
    with EventsWriter(path, events.n_channels, events.n_classes, events.name) as writer:
        for start in range(0, len(events.times), BLOCK):
            writer.append_flat(events.times[start : start + BLOCK], events.channels[start : start + BLOCK])
        writer.finish(events.offsets, events.labels, events.groups, events.targets)


def load(path: Path, mmap: bool = True) -> Events:
    """Events from what `save` wrote.

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
        arrays = {name: read_array(file, name, path) for name in file.files}
    return _from_arrays(arrays, path)


def open_npz(path: Path) -> Any:
    """An npz file opened without pickle, or a DataError that says why it is not one."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        file = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(f"{path}: not a readable npz file ({error}); download or write it again") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: a single array, not an npz file of named arrays")
    return file


def read_array(file: Any, name: str, path: Path) -> np.ndarray:
    """Array `name` of an open npz file."""
    try:
        return file[name]
    except KeyError:
        raise DataError(f"{path}: no array {name!r}; it has {', '.join(file.files)}") from None
    except UNREADABLE as error:
        raise DataError(
            f"{path}: array {name!r} cannot be read ({error}); the file is damaged or in another format"
        ) from error


def _from_arrays(arrays: dict[str, np.ndarray], path: Path) -> Events:
    numbers = {name: _number(arrays[name], name, path) for name in ("n_channels", "n_classes") if name in arrays}
    try:
        return Events(
            arrays["times"],
            arrays["channels"],
            arrays["offsets"],
            numbers["n_channels"],
            arrays.get("labels"),
            arrays.get("groups"),
            numbers.get("n_classes"),
            str(arrays["name"]) if "name" in arrays else path.stem,
            arrays.get("targets"),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _number(value: np.ndarray, name: str, path: Path) -> int:
    if value.shape != () or value.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name} must be one integer, is {value.shape} {value.dtype}; it is not a file of events"
        )
    return int(value)


def _save_npz(events: Events, path: Path) -> None:
    arrays: dict[str, Any] = {"times": events.times, "channels": events.channels, "offsets": events.offsets}
    arrays |= {"n_channels": np.int64(events.n_channels), "name": np.array(events.name)}
    optional = {"labels": events.labels, "groups": events.groups, "n_classes": events.n_classes}
    optional["targets"] = events.targets
    arrays |= {name: np.asarray(value) for name, value in optional.items() if value is not None}
    with replaced_file(path, DataError) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


class EventsWriter:
    """Writes a folder of events piece by piece; leaves nothing behind unless `finish` was reached.

    Use: `with EventsWriter(folder, n_channels) as w: w.append(times, channels) ...; w.finish(None, labels, groups)`.
    """

    def __init__(self, path: Path, n_channels: int, n_classes: int | None = None, name: str = "") -> None:
        self.path, self.n_channels, self.n_classes, self.name = path, n_channels, n_classes, name
        self.counts: list[int] = []

    def __enter__(self) -> EventsWriter:
        check_replaceable(self.path)
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
            try:
                self.files = (open(self.temporary / "times.f8", "wb"), open(self.temporary / "channels.i4", "wb"))
            except OSError:
                shutil.rmtree(self.temporary, ignore_errors=True)
                raise
        return self

    def _writing(self) -> AbstractContextManager[None]:
        return write_errors(self.path, DataError, after="; no partial file is kept")

    def append(self, times: np.ndarray, channels: np.ndarray) -> None:
        """One more sample: times (n,) ms, ascending, and channels (n,)."""
        self.counts.append(len(times))
        self.append_flat(times, channels)

    def append_flat(self, times: np.ndarray, channels: np.ndarray) -> None:
        """More events, whatever samples they belong to; `finish` is then given the offsets."""
        with self._writing():
            self.files[0].write(np.ascontiguousarray(times, "<f8").data)  # `tofile` does not tell why it failed
            self.files[1].write(np.ascontiguousarray(channels, "<i4").data)

    def finish(
        self, offsets: np.ndarray | None = None, labels: Any = None, groups: Any = None, targets: Any = None
    ) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced."""
        if offsets is None:
            offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        samples: dict[str, Any] = {"offsets": offsets, "labels": labels, "groups": groups, "targets": targets}
        samples = {name: np.asarray(value) for name, value in samples.items() if value is not None}
        facts = {"format": FORMAT, "name": self.name, "n_channels": self.n_channels, "n_classes": self.n_classes}
        facts |= {"samples": len(offsets) - 1, "events": int(offsets[-1])}
        with self._writing():
            np.savez(self.temporary / "samples.npz", **samples)
            for file in self.files:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            facts["files"] = {name: digest_of(self.temporary / name) for name in FILES}
            (self.temporary / "events.json").write_text(json.dumps(with_checksum(facts), indent=1) + "\n")
            _replace_folder(self.temporary, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            with contextlib.suppress(OSError):  # a full disk has been told already
                file.close()
        shutil.rmtree(self.temporary, ignore_errors=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_replaceable(path: Path) -> None:
    """Raise `DataError` if something other than a folder of events, and nothing but that, is in the way at `path`."""
    if not path.exists():
        return
    names = sorted(p.name for p in path.iterdir()) if path.is_dir() else [""]
    others = sorted(set(names) - {*FILES, FACTS})
    if others or (names and not is_folder_of_events(path)):
        held = f"holds {others[0]}, which is no file of events" if others and others[0] else "is no folder of events"
        raise DataError(f"{path} exists and {held}; it is not replaced: choose another name, or remove it")


def is_folder_of_events(path: Path) -> bool:
    """Whether a folder has an events.json of ours, be it a damaged one."""
    try:
        return b"genn_eventprop events" in (path / FACTS).read_bytes()
    except OSError:
        return False


def _replace_folder(new: Path, path: Path) -> None:
    """Give `new` the name `path`. A folder cannot be renamed over a full one: the old one steps aside first."""
    check_replaceable(path)
    old = None
    if path.exists():
        old = Path(mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        os.rename(path, old / "replaced")
    os.rename(new, path)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _load_folder(path: Path, mmap: bool) -> Events:
    try:
        facts = json.loads((path / "events.json").read_bytes())
        n_events, n_channels, kind = int(facts["events"]), int(facts["n_channels"]), facts["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a folder of events (events.json: {error})") from error
    if kind != FORMAT:
        raise DataError(f"{path}: format {kind!r}, this version reads {FORMAT!r}; write the folder again")
    flat = {}
    for name, dtype in (("times.f8", "<f8"), ("channels.i4", "<i4")):
        file, size = path / name, n_events * np.dtype(dtype).itemsize
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(f"{file}: missing or not {size} bytes long; the folder is damaged, write it again")
        mapped = mmap and n_events  # an empty file cannot be mapped
        flat[name] = np.memmap(file, dtype, "r", shape=(n_events,)) if mapped else np.fromfile(file, dtype)
    with open_npz(path / "samples.npz") as samples:
        arrays = {name: read_array(samples, name, path) for name in samples.files}
    arrays |= {"times": flat["times.f8"], "channels": flat["channels.i4"]}
    if "offsets" not in arrays:
        raise DataError(f"{path}: samples.npz has no offsets; the folder is damaged, write it again")
    extra = {"n_channels": n_channels, "name": facts.get("name", ""), "n_classes": facts.get("n_classes")}
    events = _from_arrays(arrays | {k: np.asarray(v) for k, v in extra.items() if v is not None}, path)
    _verify(path)
    return events


def _verify(path: Path) -> None:
    """Raise `DataError` if a file of a folder has changed since it was written; folders of older versions have no
    checksums."""
    try:
        facts = verified((path / "events.json").read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: events.json is damaged: {error}; write the folder again") from None
    for name, digest in facts.get("files", {}).items():
        if name in FILES and digest_of(path / name) != digest:
            raise DataError(f"{path / name}: its contents do not match its checksum; it is damaged, write it again")
