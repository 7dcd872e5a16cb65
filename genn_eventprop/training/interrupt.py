"""Ctrl-C and SIGTERM (a batch system that takes the machine away) end a training with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import Terminated

if TYPE_CHECKING:
    from .trainer import Trainer

WORDS = {
    signal.SIGINT: "stopping after this batch, with a checkpoint; press Ctrl-C again to stop at once",
    signal.SIGTERM: "terminated: stopping after this batch, with a checkpoint",
}


@contextlib.contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the batch end and write a checkpoint, so that none is lost; the second one stops at once.

    Raises:
        Terminated: it was SIGTERM. KeyboardInterrupt: it was Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in WORDS}
    received: list[int] = []

    def first(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])
        print(f"\n{WORDS[signal.Signals(number)]}", file=sys.stderr, flush=True)
        trainer.interrupt()

    for number in WORDS:
        signal.signal(number, first)
    try:
        yield
    except KeyboardInterrupt:
        if signal.SIGTERM in received:
            raise Terminated from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM outside of a training raises `Terminated`, so that half-written files are removed as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up shall not be cut short
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
