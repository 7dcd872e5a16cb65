"""Files are written beside their place and renamed into it: whatever fails, what was there before stays whole.

A full disk, a kill or a power cut in the middle leaves the older file. Every writer of the package goes through here
(`tests/pure/test_atomic.py` looks for others), except for those that append to a log or a journal, and caches.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import EventPropError, WriteError

_numbers = itertools.count(1)
SUFFIX = ".tmp"
"""Of the names of unfinished files, which begin with a dot."""


@contextlib.contextmanager
def replaced_file(
    path: Path | str,
    error: type[EventPropError] = WriteError,
    then: str = "",
    after: str = "",
    *,
    make_folder: bool = True,
) -> Iterator[Path]:
    """A path to write to, whose file takes the place of `path` when the block ends without an error.

    A link stays one: the file that it leads to is replaced. A device or pipe is written
    directly.

    Args:
        error, then, after: see `write_errors`. make_folder: make the folders above it, if they are not there.
    """
    path = Path(path)
    with write_errors(path, error, then, after):
        place = Path(os.path.realpath(path))
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if place.exists() and not place.is_file():
            yield place
            return
        if make_folder:
            place.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(place)
        try:
            yield temporary
            _sync(temporary)  # else a power cut leaves an empty file under the new name
            if place.exists():
                with contextlib.suppress(OSError):
                    shutil.copymode(place, temporary)
            os.replace(temporary, place)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    # the file has its name; whether the rename survives a power cut is not known on every file system
    sync_folder(place.parent)


@contextlib.contextmanager
def replaced_folder(path: Path | str, error: type[EventPropError] = WriteError, then: str = "") -> Iterator[Path]:
    """A folder to write files into, which become those of `path` when all of them are written.

    Other files that are in `path` stay there.
    """
    path = Path(path)
    with write_errors(path, error, then):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        try:
            temporary.mkdir()
            yield temporary
            for file in sorted(temporary.iterdir()):
                _sync(file)
            if path.exists():
                for file in sorted(temporary.iterdir()):
                    os.replace(file, path / file.name)
            else:
                os.rename(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path)


def write_text(
    path: Path | str,
    text: str,
    error: type[EventPropError] = WriteError,
    then: str = "",
    *,
    make_folder: bool = True,
) -> None:
    """Replace a text file (UTF-8) in one step; bytes of file names that are no UTF-8 are written as \\udcff."""
    with replaced_file(path, error, then, make_folder=make_folder) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def temporary_path(path: Path) -> Path:
    """A new name beside `path`; as long names as file systems have, 255 bytes, get shorter ones."""
    path = path if path.name else path.absolute()  # "." has a name too, the root none
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path.with_name(f".{path.name[:50]}.{os.getpid()}.{next(_numbers)}{SUFFIX}")


@contextlib.contextmanager
def write_errors(
    path: Path | str, error: type[EventPropError] = WriteError, then: str = "", after: str = ""
) -> Iterator[None]:
    """An `OSError` in the block becomes one of ours, which names the file, says why, and what to do.

    Args:
        error: its type. then: what to do once there is space; by default to run the command again. after: what else
            the reader should know.
    """
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem) or type(problem).__name__
        problem.filename = str(path)  # not the name beside it
        raise error(f"{path} cannot be written ({why}){after}; {advice(problem, then)}") from problem


def advice(problem: OSError, then: str = "") -> str:
    """What to do about an error of the operating system.

    Args:
        then: what to do afterwards, e.g. the command to continue with.
    """
    then = then or "run the command again"
    if is_full(problem):
        return f"free some space, then {then}"
    if problem.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many files are open: allow more with `ulimit -n`, or close other programs, then {then}"
    if problem.errno == errno.EFBIG:
        return f"allow larger files (`ulimit -f`), then {then}"
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"change its permissions or choose another place, then {then}"
    if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST):
        return "choose another name or folder"
    return f"when the disk works again, {then}"


def is_full(problem: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(problem)  # HDF5 tells it in its text


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut; not every file system offers this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
