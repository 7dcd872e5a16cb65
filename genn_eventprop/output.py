"""Words for people, which never end a training: stderr and stdout may be closed, full, or have lost their reader."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from .errors import OutputError


class Output(io.TextIOBase):
    """A text stream in front of stdout or stderr that drops what cannot be written.

    Args:
        stream: None for one that was closed before the program began.
        lasting: an error waits for the end, in `error`; False raises `OutputError` at once, where nothing is left to
            do but to print.
    """

    def __init__(self, stream: TextIO | None, lasting: bool = True) -> None:
        self.stream, self.lasting = stream, lasting
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        if self.stream is None:
            return len(text)
        try:
            self.stream.write(text)
        except UnicodeEncodeError:  # a name that the locale does not have
            code = self.stream.encoding or "ascii"
            return self.write(text.encode(code, "backslashreplace").decode(code))
        except (OSError, ValueError, RuntimeError) as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        if self.stream is None:
            return
        try:
            self.stream.flush()
        except (OSError, ValueError, RuntimeError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Remember what went wrong: the disk, or the reader. A closed stream, and a signal that came while this one was
        being written to (a RuntimeError), are no loss."""
        if isinstance(error, OSError):
            self.error = self.error or error
            self._forget()
            if not self.lasting:
                raise OutputError(self.told()) from error

    def _forget(self) -> None:
        """Empty the buffer, which would be tried again and fail at every later write, and when Python ends."""
        assert self.stream is not None
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            number = self.stream.fileno()
            copy, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, number)
                self.stream.flush()
            finally:
                os.dup2(copy, number)
                os.close(copy)
                os.close(nowhere)

    def told(self) -> str:
        """What went wrong, in words; "" if nothing did."""
        if self.error is None:
            return ""
        return f"stdout{_file_of(self.stream)} cannot be written ({self.error.strerror or self.error})"

    def isatty(self) -> bool:
        try:
            return self.stream is not None and self.stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self.stream, "errors", None)


def _file_of(stream: Any) -> str:
    """ " (FILE)" of a stream that goes to a file, where the system tells."""
    try:
        name = os.readlink(f"/proc/self/fd/{stream.fileno()}")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" ({name})" if name.startswith("/") else ""


def say(text: str, end: str = "\n") -> None:
    """A line on stderr, if it can be written."""
    stream = stderr()
    stream.write(text + end)
    stream.flush()


def stderr() -> Output:
    """sys.stderr as it is now, without its errors: for progress bars."""
    now: Any = sys.stderr
    return now if isinstance(now, Output) else Output(now)


@contextlib.contextmanager
def standard_streams(lasting: bool = True) -> Iterator[Output]:
    """Descriptors 0, 1 and 2 are open, and sys.stdout and sys.stderr are `Output`; gives that of stdout.

    Without the first, the next file that is opened, a checkpoint say, would be where a compiler or a library writes its
    messages.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if nowhere == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(nowhere, number)
                os.close(nowhere)
    before: tuple[Any, Any] = sys.stdout, sys.stderr
    out = Output(before[0], lasting)
    streams: Any = out, stderr()
    sys.stdout, sys.stderr = streams
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before
