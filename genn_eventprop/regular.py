"""Files of folders that may come from anybody: a reader waits for no pipe, and follows no link out of the folder."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path | str, within: Path | None = None) -> BufferedReader:
    """A file to read.

    Args:
        within: the folder that it must lie in, wherever links lead.

    Raises:
        OSError: it cannot be opened, is no file but a pipe, socket or device, or lies elsewhere.
    """
    if within is not None and not Path(path).resolve().is_relative_to(within.resolve()):
        raise OSError(errno.ELOOP, f"it is a link out of {within}", str(path))
    # O_NONBLOCK: to open a pipe would wait for its writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, "it is a folder" if stat.S_ISDIR(mode) else "it is a pipe, socket or device", str(path))
    return open(descriptor, "rb")


def read_regular(path: Path | str, within: Path | None = None) -> bytes:
    """The contents of a file, see `open_regular`."""
    with open_regular(path, within) as file:
        return file.read()
