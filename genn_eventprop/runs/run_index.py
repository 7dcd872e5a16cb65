"""What a report needs of thousands of run folders, kept in one file: a folder is read again only if it has changed.

The index lies in the cache folder and can be deleted at any time. A run is known by its path, and by size and time of
its results.json and config.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import EventPropError
from ..toolchain.cache import cache_folder

FILES = ("results.json", "config.json", "environment.json")
VERSION = 4  # of the records; others are read anew
Read = Callable[[Path], dict[str, Any]]


def records(paths: Iterable[Path], read: Read) -> list[dict[str, Any]]:
    """A record of every run folder, in order: from the index, or `read` from the folder.

    An index that cannot be used (a read-only home, a damaged file) costs time, nothing else.
    """
    paths = list(paths)
    stamps = {str(path.resolve()).encode(errors="backslashreplace").decode(): _stamp(path) for path in paths}
    index = _load()
    result, new = [], {}
    for path, (key, stamp) in zip(paths, stamps.items()):
        before = index.get(key)
        if stamp is None or before is None or before[0] != stamp:
            record = read(path)
            if record:  # an empty one says that the run cannot be used, which may change
                new[key] = (stamp, json.dumps(record))
            result.append(record)
        else:
            result.append(json.loads(before[1]))
    _store({key: value for key, value in new.items() if value[0] is not None})
    return result


def _stamp(path: Path) -> str | None:
    """Size and time of the files that a record is made of; None if one is not there."""
    try:
        stats = [os.stat(path / name) for name in FILES]
    except OSError:
        return None
    return " ".join(f"{s.st_size} {s.st_mtime_ns} {s.st_ino}" for s in stats)


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "run_index.sqlite", timeout=5)) as database:
        database.execute(f"create table if not exists runs{VERSION} (path text primary key, stamp text, record text)")
        yield database


def _load() -> dict[str, tuple[str, str]]:
    try:
        with _opened() as database:
            rows = database.execute(f"select path, stamp, record from runs{VERSION}")
            return {path: (stamp, record) for path, stamp, record in rows}
    except (OSError, sqlite3.Error, EventPropError):  # the last: there is no folder for caches
        return {}


def _store(rows: dict[str, tuple[str | None, str]]) -> None:
    if not rows:
        return
    # without an index the next report reads every folder again
    with contextlib.suppress(OSError, sqlite3.Error, EventPropError), _opened() as database, database:
        values = [(path, *row) for path, row in rows.items()]
        database.executemany(f"insert or replace into runs{VERSION} values (?, ?, ?)", values)
