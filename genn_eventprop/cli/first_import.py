"""The first import of a command, which takes a second or two."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def importing(module: str) -> Iterator[None]:
    """While a module of this folder is imported for the first time, Ctrl-C ends the process at once: nothing has begun,
    and modules that are half imported say anything but that."""
    first = f"{__package__}.{module}" not in sys.modules and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)

    def end(*_: object) -> None:
        with suppress(OSError):
            os.write(2, b"genn-eventprop: interrupted\n")
        os._exit(130)

    if first:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if first:
            signal.signal(signal.SIGINT, before)
