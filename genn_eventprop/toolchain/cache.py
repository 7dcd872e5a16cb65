"""The code cache: one folder, one file a library, named by a hash of everything that the library depends on.

Safe with several processes at once, also on network file systems: no lock files; a library is written under a unique
temporary name, synced and renamed; who loses a race discards its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from ..errors import ToolchainError

VARIABLE = "GENN_EVENTPROP_CACHE"
SIZE_LIMIT = 512 * 2**20  # bytes; the libraries unused for longest go first


def cache_folder() -> Path:
    """$GENN_EVENTPROP_CACHE, else the user's cache folder."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "genn_eventprop"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genn_eventprop"


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
            status = self.folder.stat()
        except OSError as error:
            raise ToolchainError(f"the code cache {self.folder} cannot be used ({error.strerror}){move}") from None
        if status.st_uid != os.getuid():
            raise ToolchainError(f"the code cache {self.folder} belongs to another user and is not trusted{move}")
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise ToolchainError(
                f"the code cache can be written by others and is not trusted; run: chmod 700 {self.folder}"
            )

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.so"

    def hit(self, key: str) -> Path | None:
        """The library of `key` if it is there; its time of last use is renewed."""
        path = self.path(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:  # a cache that may only be read still serves
            return path if path.exists() else None
        return path

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A private folder on the same file system to compile in."""
        return tempfile.TemporaryDirectory(prefix="build-", dir=self.folder, ignore_cleanup_errors=True)

    def publish(self, built: Path, key: str) -> Path:
        """Move a finished library into place."""
        with open(built, "rb") as file:
            os.fsync(file.fileno())
        target = self.path(key)
        os.replace(built, target)
        self.trim()
        return target

    def keep_failure(self, key: str, source: str, message: str) -> Path:
        """Keep source and message of a failed compilation; returns the source's path."""
        folder = self.folder / "failed"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{key}.cpp"
        path.write_text(source)
        path.with_suffix(".log").write_text(message + "\n")
        return path

    def trim(self, limit: int = SIZE_LIMIT) -> None:
        """Remove the libraries unused for longest until the rest fits `limit` bytes."""
        entries = []
        for path in self.folder.glob("*.so"):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed by another process
                continue
            entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries)[:-1]:
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= size


def clear(folder: Path | None = None) -> tuple[int, int]:
    """Remove every cached library and kept failure. Returns (files, bytes)."""
    folder = folder or cache_folder()
    files = size = 0
    for pattern in ("*.so", "failed/*.cpp", "failed/*.log", "build-*/*"):
        for path in folder.glob(pattern):
            try:
                size += path.stat().st_size
                path.unlink()
            except FileNotFoundError:  # removed by another process
                continue
            files += 1
    for left in folder.glob("build-*"):
        shutil.rmtree(left, ignore_errors=True)
    return files, size
