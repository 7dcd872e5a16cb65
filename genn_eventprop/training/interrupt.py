"""Ctrl-C, SIGTERM (a batch system that takes the machine away) and SIGHUP (the terminal is gone) end a training with a
checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import HungUp, Terminated
from ..output import say

if TYPE_CHECKING:
    from .trainer import Trainer

WORDS = {
    signal.SIGINT: "stopping with a checkpoint; press Ctrl-C again to stop at once",
    signal.SIGTERM: "terminated: stopping with a checkpoint",
    signal.SIGHUP: "hung up: stopping with a checkpoint",
}
ENDS = {signal.SIGTERM: Terminated, signal.SIGHUP: HungUp}
"""What is raised by signals that others send."""
AGAIN = 0.05  # s after which a signal that could not be raised is sent again


@contextlib.contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end a training with a checkpoint; the second one stops at once.

    A signal that is ignored (SIGHUP under nohup) stays so.

    Raises:
        Terminated: it was SIGTERM. HungUp: it was SIGHUP. KeyboardInterrupt: it was Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: handler for number in WORDS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    received: list[int] = []

    def first(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])
        say(f"\n{WORDS[signal.Signals(number)]}")
        trainer.interrupt(ENDS.get(signal.Signals(number), KeyboardInterrupt))

    for number in before:
        signal.signal(number, first)
    try:
        yield
    except KeyboardInterrupt:
        for number, end in ENDS.items():
            if number in received:
                raise end from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP outside of a training raise `Terminated`: half-written files are removed as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in ENDS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    hook, over = sys.unraisablehook, threading.Event()

    def end(number: int, frame: Any) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough: cleaning up shall not be cut short
        raise ENDS[signal.Signals(number)]

    def send_again(number: signal.Signals) -> None:
        if not over.is_set():
            os.kill(os.getpid(), number)

    def swallowed(problem: Any) -> None:
        """It came in a place from which nothing can be raised (``__del__``, a callback of the garbage collector)."""
        if not isinstance(problem.exc_value, Terminated):
            hook(problem)
            return
        for each in before:
            signal.signal(each, end)
        sent = signal.SIGHUP if isinstance(problem.exc_value, HungUp) else signal.SIGTERM
        threading.Timer(AGAIN, send_again, (sent,)).start()

    for number in before:
        signal.signal(number, end)
    sys.unraisablehook = swallowed
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
