"""A file for HDF5 to write to that never fails while HDF5 has it open.

The HDF5 library cannot close a file whose disk is full, and crashes when its objects are collected later. What does not
fit stays in memory until the writer has looked (`check`), which it does after every row.
"""

from __future__ import annotations

import io
from typing import Any


class HDF5Output(io.RawIOBase):
    """As h5py wants a Python file, see its driver "fileobj".

    Args:
        file: an open binary file, for reading and writing.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._position = file, 0
        self._spilled: list[tuple[int, bytes]] = []
        self._problem: OSError | None = None

    def check(self) -> None:
        """Raise the `OSError` of the first write that failed."""
        if self._problem is not None:
            raise self._problem

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size()}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def _size(self) -> int:
        size = int(self._file.seek(0, io.SEEK_END))
        return max([size, *(start + len(content) for start, content in self._spilled)])

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size() - self._position))
        self._file.seek(self._position)
        content = bytearray(self._file.read(wanted).ljust(wanted, b"\0"))
        for start, spilled in self._spilled:
            first, last = max(start, self._position), min(start + len(spilled), self._position + wanted)
            if first < last:
                content[first - self._position : last - self._position] = spilled[first - start : last - start]
        view[:wanted] = content
        self._position += wanted
        return wanted

    def write(self, content: Any) -> int:
        given = bytes(content)
        if self._problem is None:
            try:
                self._file.seek(self._position)
                self._file.write(given)
            except OSError as problem:
                self._problem = problem
        if self._problem is not None:
            self._spilled.append((self._position, given))
        self._position += len(given)
        return len(given)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if self._problem is None:
            try:
                self._file.truncate(size)
            except OSError as problem:
                self._problem = problem
        return size

    def flush(self) -> None:
        if self._problem is None:
            try:
                self._file.flush()
            except OSError as problem:
                self._problem = problem
