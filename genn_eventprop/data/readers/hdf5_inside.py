"""HDF5 files of others: what they say is inside the file, and as much as the file can hold.

An HDF5 file may keep a table in any other file of the machine (external storage, external links, virtual tables), and
may declare tables of any size that take no space. Here both are errors, before anything is read: a set of labels would
otherwise be the bytes of a password file, and a small file would fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...modelling.memory import in_words, physical_memory
from ..optional import require

PACKED = 1100
"""Bytes that the filters of HDF5 make one of, at most (deflate: 1032)."""
SLACK = 1 << 20
"""Bytes that a table may declare without any space in the file: tables that nobody has written to."""
DEEPEST, MOST = 64, 1_000_000
"""Levels of groups, and objects of a file, that `check_all` follows."""


def inside(group: Any, name: str, path: Path, whole: bool = True) -> Any:
    """The object `name` ("a/b") of a group, None if there is none; whole: see `check_table`.

    Raises:
        DataError: on the way to it is a link to another place or file; or see `check_table`.
    """
    h5py = require("h5py", "HDF5 files")
    place = group
    # step by step: group["a/b"] would follow every link on the way, into whatever file it names, without a word
    for part in name.split("/"):
        if not isinstance(place, h5py.Group):
            return None
        link = place.get(part, getlink=True)  # describes the link, and opens nothing
        if link is None:
            return None
        _check_link(h5py, link, f"{path}: {name}")
        place = place[part]
    if isinstance(place, h5py.Dataset):
        check_table(place, name, path, whole)
    return place


def _check_link(h5py: Any, link: Any, where: str) -> None:
    if not isinstance(link, h5py.HardLink):
        target = ": ".join(str(t) for t in (getattr(link, "filename", ""), getattr(link, "path", "")) if t)
        raise DataError(f"{where} is a link to {target or 'another place'}; links are not followed, copy what is there")


def check_table(table: Any, name: str, path: Path, whole: bool = True) -> None:
    """Whether a table lies in its file and is no larger than that can hold; whole: and than the memory.

    Raises:
        DataError: saying what is wrong with it.
    """
    where = f"{path}: {name}"
    if table.external or table.is_virtual:
        raise DataError(f"{where} is kept in other files, which are not read; copy it into this one")
    if table.shape is None:  # an empty dataspace
        return
    size = math.prod(table.shape) * table.id.get_type().get_size()  # what reading it would allocate
    # what the file has for it: a table says itself how much space it takes, which is no more than the file
    packed = PACKED if table.id.get_create_plist().get_nfilters() else 1
    most = packed * min(table.id.get_storage_size(), path.stat().st_size)
    if size > most + SLACK:
        raise DataError(
            f"{where} declares {' x '.join(map(str, table.shape))} values, {in_words(size)}, for which there is no "
            f"space in a file of {in_words(path.stat().st_size)}; the file is damaged or made to fill the memory"
        )
    if whole and size > physical_memory():  # honest, and too large all the same
        raise DataError(f"{where} has {in_words(size)}, more than the {in_words(physical_memory())} of this machine")


def check_all(group: Any, path: Path, names: bool = False) -> None:
    """`inside` for everything below a group, before somebody else reads it all.

    Args:
        names: formats in which an object has several, as links within the file: these are passed over here, since what
            they lead to is below the group as well.

    Raises:
        DataError: see `inside`; groups within themselves, or deeper than `DEEPEST`; all tables together do not fit into
            the memory.
    """
    h5py, total, count, budget = require("h5py", "HDF5 files"), 0, 0, Budget(path)
    for name, place in _walk(h5py, group, path, names):
        count += 1
        if count > MOST:
            raise DataError(f"{path}: more than {MOST:,} objects; the file is damaged")
        if isinstance(place, h5py.Dataset):
            check_table(place, name, path)
            total += math.prod(place.shape or ()) * place.id.get_type().get_size()
            # of variable length (texts): the table holds references, so that its size says nothing
            if place.dtype.kind == "O" and place.shape:
                for start in range(0, len(place), budget.rows(256)):
                    rows = np.asarray(place[start : start + budget.rows(256)]).ravel()
                    budget.take(sum(len(row) for row in rows if hasattr(row, "__len__")))
        if total > physical_memory():
            raise DataError(
                f"{path}: its tables have more than {in_words(physical_memory())}, all memory of this machine"
            )


def _walk(h5py: Any, group: Any, path: Path, names: bool) -> Iterator[tuple[str, Any]]:
    """(name, object) of everything below a group; an object that has two names comes twice, groups do not."""
    # h5py's own `visititems` skips links silently, and would not end in a group that contains itself
    seen, waiting = {h5py.h5o.get_info(group.id).addr}, [("", group, 0)]
    while waiting:
        prefix, place, depth = waiting.pop()
        for part in place:
            name = f"{prefix}{part}"
            link = place.get(part, getlink=True)
            if names and isinstance(link, h5py.SoftLink):
                continue
            _check_link(h5py, link, f"{path}: {name}")
            child = place[part]
            yield name, child
            if not isinstance(child, h5py.Group):
                continue
            address = h5py.h5o.get_info(child.id).addr
            if address in seen:
                if names:
                    continue
                raise DataError(f"{path}: the group {name} has two names; groups within themselves are not read")
            if depth == DEEPEST:
                raise DataError(f"{path}: the group {name[:80]}... is nested deeper than {DEEPEST} levels")
            seen.add(address)
            waiting.append((f"{name}/", child, depth + 1))


class Budget:
    """Bytes that rows of variable length may have: as many as the file, which holds each of them unpacked.

    Such a row is a reference to a place in the file. In a damaged or hostile file a million rows may all refer to one
    place, and a megabyte becomes a terabyte, although each row by itself is sound.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.left = path, path.stat().st_size

    def rows(self, most: int) -> int:
        """How many rows to read together, at most `most`.

        They are counted only after they were read. At worst each is as large as the file: so many that they take a GiB.
        """
        return max(8, min(most, (1 << 30) // max(self.path.stat().st_size, 1)))

    def take(self, size: int) -> None:
        """Count bytes that were read.

        Raises:
            DataError: there were more than the file has.
        """
        self.left -= size
        if self.left < 0:
            raise DataError(
                f"{self.path}: its samples have more events than fit into the file; it is damaged or made to fill the "
                "memory"
            )
