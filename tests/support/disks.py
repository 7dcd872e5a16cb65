"""Disks that are too small: a limit on the size of files, for everyone, and small file systems, for root."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Every write of this process beyond `size` bytes of a file fails as on a full disk, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python 3.11 takes a short write of compiled code for a whole one, and leaves a module that cannot be imported
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = writes_nothing


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes at `place`; skips the test where mounting is not allowed."""
    place.mkdir(exist_ok=True)
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root and mount")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)
