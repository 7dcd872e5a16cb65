"""Folders of the user: ``~`` in a path, and where caches are by default; in a container there may be none."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

from .errors import EventPropError, SettingError


def expanded(path: Path | str, error: type[EventPropError] = SettingError) -> Path:
    """A path with ``~`` or ``~user`` at its beginning replaced by a home folder.

    Raises:
        error: there is no such folder.
    """
    first, *below = Path(path).parts or (".",)
    if not first.startswith("~"):
        return Path(path)
    try:
        folder = home() if first == "~" else Path(first).expanduser()
    except RuntimeError:  # no such user
        folder = None
    if folder is None:
        raise error(
            f"{path} names a home folder, but there is none (HOME is not set, or there is no such user); "
            "write the whole path, ./~ for a file of that name"
        )
    return folder.joinpath(*below)


def home() -> Path | None:
    """The user's home folder; None if HOME is not set, or empty, and the system knows none."""
    if path := os.environ.get("HOME"):
        return Path(path).absolute()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def cache_root(variable: str, error: type[EventPropError]) -> Path:
    """The user's folder of caches.

    Args:
        variable: that moves the cache, for the message.

    Raises:
        error: HOME is not set, and the system knows no home of this user.
    """
    if sys.platform != "darwin" and (path := os.environ.get("XDG_CACHE_HOME")):
        return Path(path)
    folder = home()
    if folder is None:
        raise error(
            f"there is no folder for caches: HOME is not set, and user {os.getuid()} has no home folder on this "
            f"machine; set {variable} (or HOME) to a folder of your own"
        )
    return folder / "Library" / "Caches" if sys.platform == "darwin" else folder / ".cache"
