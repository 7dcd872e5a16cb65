"""The command line ``genn-eventprop``. This file imports little, so that Ctrl-C is heard while the rest is imported."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ..output import standard_streams

__all__ = ["main", "main_of"]


def main(arguments: Sequence[str] | None = None, logged: bool = False) -> int:
    """Run one command; the result is the exit status, see `app.main`."""
    with standard_streams() as out:
        with importing("app"):
            from . import app
        return app.main(arguments, out, logged)


def main_of(source: str) -> None:
    """What an experiment file calls when it is run directly: ``main_of(__file__)``."""
    with standard_streams() as out:
        with importing("train"):
            from . import train
        train.main_of(source, out)


@contextmanager
def importing(module: str) -> Iterator[None]:
    """While a module of this folder is imported for the first time, Ctrl-C ends the process at once: nothing has begun,
    and modules that are half imported say anything but that."""
    first = f"{__name__}.{module}" not in sys.modules and threading.current_thread() is threading.main_thread()
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
