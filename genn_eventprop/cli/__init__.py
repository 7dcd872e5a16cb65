"""The command line ``genn-eventprop``. This file imports little, so that Ctrl-C is heard while the rest is imported."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Sequence

from ..output import standard_streams
from .first_import import importing

__all__ = ["main", "main_of"]

# the collector goes through all that was imported and derived before a process ends, seconds on a busy machine
atexit.register(gc.freeze)


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
