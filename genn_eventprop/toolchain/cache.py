"""The code cache: one folder, one file a library: ``KEY-LENGTH-SHA256.so`` (``.cubin`` of a GPU), KEY a hash of all
that it depends on.

A library that is loaded runs, so nothing is loaded unseen: length and hash, which the name records, owner and mode are
checked before. Libraries that fail are not used but rebuilt, with a note.

Safe with several processes at once, also on network file systems: no lock files; a library is written under a unique
temporary name, synced and renamed to its full name in one step.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from ..atomic import write_text
from ..errors import ToolchainError
from ..home import cache_root, expanded
from ..output import say

VARIABLE = "GENN_EVENTPROP_CACHE"
SOURCES = (".cpp", ".c", ".cu")
"""Suffixes of the text that a library was compiled from; it lies beside it under the same name."""
LIBRARY, SOURCE = (re.compile(rf".+-[0-9]+-[0-9a-f]{{64}}\.{suffix}") for suffix in ("(so|cubin)", "(cpp|c|cu)"))
FAILED = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{12})?\.(cpp|log)")
SCRATCH, IN_SCRATCH = re.compile(r"build-.+"), re.compile(r"network\..+|source")
"""Names of what is written here: only that is ever removed, wherever the variable points to."""
SIZE_LIMIT = 512 * 2**20  # bytes; the libraries unused for longest go first


def cache_folder() -> Path:
    """$GENN_EVENTPROP_CACHE, else the user's cache folder."""
    if folder := os.environ.get(VARIABLE):
        # a library is loaded by its name alone only from system folders
        return expanded(folder, ToolchainError).absolute()
    return cache_root(VARIABLE, ToolchainError) / "genn_eventprop"


class Cache:
    """The folder, checked: it must belong to the user and be closed to others, since code is loaded from it.

    Raises:
        ToolchainError: if the folder cannot be made or used, naming the setting that moves it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        move = f"; set {VARIABLE} to a folder of your own to move it"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status, link = self.folder.stat(), self.folder.lstat()
        except OSError as error:
            raise ToolchainError(f"the code cache {self.folder} cannot be used ({error.strerror}){move}") from None
        if status.st_uid != os.getuid() or link.st_uid not in (os.getuid(), 0):
            raise ToolchainError(f"the code cache {self.folder} belongs to another user and is not trusted{move}")
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise ToolchainError(
                f"the code cache can be written by others and is not trusted; run: chmod 700 {self.folder}"
            )

    def hit(self, key: str, suffix: str = ".so") -> Path | None:
        """The newest library whose key is, or begins with, `key` and that is what was built; None if there is none.

        Its time of last use is renewed. Damaged or foreign files are removed, with a note on stderr.
        """
        for path in sorted(self.folder.glob(f"{key}-*{suffix}"), key=_age):
            wrong = fault(path)
            if wrong is None:
                with contextlib.suppress(OSError):  # a cache that may only be read still serves
                    os.utime(path)
                return path
            if wrong != GONE:
                say(f"note: the cached library {path} {wrong}; it is not used")
                with contextlib.suppress(OSError):
                    path.unlink()
        return None

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A private folder on the same file system to compile in."""
        return tempfile.TemporaryDirectory(prefix="build-", dir=self.folder, ignore_cleanup_errors=True)

    def publish(self, built: Path, key: str, source: str = "", suffix: str = ".cpp", library: str = ".so") -> Path:
        """Move a finished library into place, with the text that it was compiled from beside it, to be read only.

        Args:
            suffix, library: of the text's name and the library's.
        """
        built.chmod(0o700)
        with open(built, "rb") as file:
            os.fsync(file.fileno())
            content = file.read()
        target = self.folder / f"{key}-{len(content)}-{hashlib.sha256(content).hexdigest()}{library}"
        if source:
            text = built.with_name("source")
            text.write_text(source)
            os.replace(text, target.with_suffix(suffix))
        os.replace(built, target)
        self.trim()
        return target

    def keep_failure(self, key: str, source: str, message: str) -> Path:
        """Keep source and message of a failed compilation; returns the source's path."""
        folder = self.folder / "failed"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{key}.cpp"
        write_text(path, source)
        write_text(path.with_suffix(".log"), message + "\n")
        return path

    def trim(self, limit: int = SIZE_LIMIT) -> None:
        """Remove the libraries unused for longest until the rest fits `limit` bytes."""
        entries = []
        for path in _named(self.folder, LIBRARY):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed by another process
                continue
            entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries)[:-1]:
            if total <= limit:
                break
            for file in (path, *(path.with_suffix(suffix) for suffix in SOURCES)):
                file.unlink(missing_ok=True)
            total -= size


GONE = "was removed by another process"


def fault(path: Path) -> str | None:
    """What is wrong with a cached library, in words; None if it is the user's own, whole file.

    It is read through one descriptor that follows no link, so that what is checked is one file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return f"cannot be opened, or is a link ({error.strerror})"
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "is not a file"
        if status.st_uid != os.getuid():
            return "belongs to another user"
        if stat.S_IMODE(status.st_mode) & 0o022:
            return "can be written by others"
        *_, length, digest = path.stem.split("-")
        if str(status.st_size) != length:
            return f"has {status.st_size} bytes instead of {length}"
        if hashlib.sha256(file.read()).hexdigest() != digest:
            return "is damaged: its contents do not match its checksum"
    return None


def _age(path: Path) -> float:
    """For the newest first; a file that another process removed meanwhile comes last."""
    try:
        return -path.lstat().st_mtime
    except OSError:
        return 0.0


def clear(folder: Path | None = None) -> tuple[int, int]:
    """Remove every cached library and failed source, and what interrupted builds left. Returns (files, bytes)."""
    folder = folder or cache_folder()
    scratch = [path for path in _named(folder, SCRATCH) if _only_ours(path)]
    entries = [*_named(folder, LIBRARY), *_named(folder, SOURCE), *_named(folder / "failed", FAILED)]
    files = size = 0
    for path in (*entries, *(p for left in scratch for p in left.iterdir())):
        try:
            size += path.stat().st_size
            path.unlink()
        except FileNotFoundError:  # removed by another process
            continue
        files += 1
    for left in scratch:
        with contextlib.suppress(OSError):
            left.rmdir()
    return files, size


def _named(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """The entries of a folder that have such a name."""
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name)) if folder.is_dir() else []


def _only_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but what a compilation writes; a project's ``build-`` folder does not."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    files = list(folder.iterdir())
    drawn = re.fullmatch("build-[a-z0-9_]{8}", folder.name)  # as tempfile draws names: one with nothing in it yet
    return all(p.is_file() and IN_SCRATCH.fullmatch(p.name) for p in files) and (bool(files) or drawn is not None)
