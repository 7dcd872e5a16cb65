"""Converted data sets on disk, keyed by the content of their sources and the settings of the conversion.

An entry is a folder of memory-mapped events (data.events.storage), named by a hash: a source that changes by a byte, or
another setting, is another entry. An entry appears by one rename when it is complete; of two processes that build the
same one, the later discards its own. Reads are verified (data.events.storage keeps checksums); an entry that is
damaged, a link, or writable by everybody is rebuilt, with a note.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from ..atomic import advice
from ..errors import DataError, SettingError
from ..home import cache_root, expanded
from ..output import say
from .events.events import Events
from .events.storage import EVENTS, digest_of

VARIABLE = "GENN_EVENTPROP_DATA_CACHE"
ENTRY, LEFT = re.compile(r".+-[0-9a-f]{32}"), re.compile(r"\..+-[0-9a-f]{32}\..+")
"""Names of entries, and of what interrupted builds leave: only these are removed, wherever the variable points to."""
VERSION = 2
"""Part of every key: raised when a conversion, or what an entry holds, changes."""


def cache_folder() -> Path:
    """$GENN_EVENTPROP_DATA_CACHE, else genn_eventprop/data in the user's cache folder."""
    if os.environ.get(VARIABLE):
        return expanded(os.environ[VARIABLE])
    return cache_root(VARIABLE, SettingError) / "genn_eventprop" / "data"


def key_of(sources: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Hash of the sources' names and bytes, in order, and of the settings (anything that JSON can write)."""
    try:
        text = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    except TypeError as error:
        raise DataError(f"cache settings must be plain values: {error}") from error
    total = hashlib.sha256(text.encode())
    for source in sources:
        try:
            digest = digest_of(source)
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror})") from error
        total.update(f"{source.parent.name}/{source.name}".encode() + b"\0" + bytes.fromhex(digest))
    return total.hexdigest()[:32]


class Entry(NamedTuple):
    """Where an entry is, and its events."""

    path: Path
    events: Events


def cached(
    name: str,
    sources: Iterable[Path],
    settings: Mapping[str, Any],
    build: Callable[[Path], object],
    folder: Path | None = None,
) -> Entry:
    """An entry, built by `build(path)`, which writes a folder of events at `path`, if there is none yet.

    A damaged entry is built again. Nothing half-built is ever read: the entry gets its name last.

    Raises:
        DataError: a source cannot be read, or the cache folder cannot be written (with the variable that moves it).
    """
    root = folder or cache_folder()
    entry = root / f"{name}-{key_of(sources, {'name': name, **settings})}"
    for _ in range(3):  # another process may see the same damage, and remove what this one has built
        events = _trusted(entry)
        if events is not None:
            return Entry(entry, events)
        _build(root, entry, build)
    return Entry(entry, Events.load(entry))


def _trusted(entry: Path) -> Events | None:
    """The events of an entry that is there and can be trusted; what cannot is put away."""
    if not (entry.is_dir() or entry.is_symlink()):
        return None
    try:
        if entry.is_symlink() or any(p.is_symlink() or p.stat().st_mode & 0o002 for p in (entry, *entry.iterdir())):
            raise DataError(f"{entry} is a link, or everyone can write to it")
        return Events.load(entry)
    except (DataError, OSError) as error:
        say(f"note: {error}; the cached data are rebuilt")
        with contextlib.suppress(OSError):
            aside = Path(mkdtemp(dir=entry.parent, prefix=f".{entry.name}.old."))
            os.rename(entry, aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)
        return None


def _build(root: Path, entry: Path, build: Callable[[Path], object]) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        work = Path(mkdtemp(dir=root, prefix=f".{entry.name}."))
    except OSError as error:
        raise DataError(
            f"the data cache {root} cannot be written ({error.strerror}); set {VARIABLE} to another folder, or "
            f"{advice(error)}"
        ) from error
    try:
        build(work / "events")
        publish(work / "events", entry)
    except (DataError, OSError) as error:
        if str(work) in str(error):  # written to the cache, not read from the source
            raise DataError(f"{error}, or set {VARIABLE} to another folder") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def publish(new: Path, entry: Path) -> None:
    """Give a finished entry its name, unless another process was first."""
    try:
        os.rename(new, entry)
    except OSError as error:
        if not entry.is_dir():  # a rename over a full folder fails: then the other process's entry is as good
            raise DataError(
                f"the data cache entry {entry} cannot be created ({error.strerror}); set {VARIABLE}"
            ) from error


def clear(folder: Path | None = None) -> tuple[int, int]:
    """Remove every entry, and what interrupted builds left. Returns (entries, bytes)."""
    root = folder or cache_folder()
    inside = [p for p in root.iterdir() if p.is_dir() and not p.is_symlink()] if root.is_dir() else []
    entries = [p for p in inside if ENTRY.fullmatch(p.name) and _holds_only_events(p)]
    left = [p for p in inside if LEFT.fullmatch(p.name) and all(map(_holds_only_events, [p, *_folders(p)]))]
    size = sum(f.stat().st_size for p in entries + left for f in p.rglob("*") if f.is_file())
    for path in entries + left:
        shutil.rmtree(path, ignore_errors=True)
    return len(entries), size


def _folders(path: Path) -> list[Path]:
    return [p for p in path.rglob("*") if p.is_dir()]


def _holds_only_events(folder: Path) -> bool:
    """Whether the files of a folder are, by their names, those of events."""
    return all(p.is_dir() or p.name in (*EVENTS.files, EVENTS.record) for p in folder.iterdir())
