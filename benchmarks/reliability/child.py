"""Commands in children of this process, which has imported everything: a start costs milliseconds, a death nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import genn_eventprop


def preload() -> None:
    """Import all that a command may need: a child then does not."""
    for module in pkgutil.walk_packages(genn_eventprop.__path__, "genn_eventprop."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(Exception):  # what an extra brings that is not installed
                importlib.import_module(module.name)
    for name in (
        "matplotlib.pyplot",
        "matplotlib.backends.backend_agg",
        "h5py",
        "tyro",
        "tomllib",
        "typeguard",
        "asyncio",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


HANG = 300.0
"""Seconds after which a child counts as hung; none takes a tenth of that on an idle core."""
BUG = 70
"""Exit status of a child that an unexpected exception ended: a bare traceback."""


@dataclass(frozen=True)
class Outcome:
    """How a child ended. status: exit status, or minus the signal. said: what it wrote to stdout and stderr."""

    status: int
    said: str
    seconds: float
    hung: bool = False

    @property
    def fault(self) -> str:
        """What may never happen, in words; "" if it did not."""
        if self.hung:
            return "hang"
        if "Traceback (most recent call last)" in self.said:
            return "bare traceback"
        if self.status < 0 and self.status not in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP):
            return f"crash by signal {-self.status}"
        return ""


class Child:
    """A running child that executes `work`, which returns its exit status, in `folder`; output goes to a file."""

    def __init__(self, work: Callable[[], int], folder: Path, log: Path) -> None:
        self.log, self.began = log.absolute(), time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # newer Pythons warn of threads: those of BLAS know of forks
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _live(work, folder, log)

    def ended(self) -> bool:
        """Whether the process has ended; `wait` then tells how."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, limit: float = HANG, kill_after: float | None = None, number: int = signal.SIGKILL) -> Outcome:
        """Wait for the end; send signal `number` after `kill_after` seconds if it has not ended by then."""
        hung, sent = False, kill_after is None
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            now = time.monotonic() - self.began
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return Outcome(code, self.log.read_text(errors="replace"), now, hung)
            if not sent and kill_after is not None and now >= kill_after:
                sent = True
                os.kill(self.pid, number)
            if now > limit and not hung:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)


def _live(work: Callable[[], int], folder: Path, log: Path) -> None:
    """The child's whole life."""
    status = BUG
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = work()
        if sys.stdout is not None:  # some work closes it
            sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def command(*arguments: str) -> Callable[[], int]:
    """``genn-eventprop ARGUMENTS`` as the work of a child."""

    def work() -> int:
        from genn_eventprop.cli import main

        return main(list(arguments))

    return work


def run(work: Callable[[], int], folder: Path, log: Path, **waiting: float) -> Outcome:
    """A child from start to end."""
    return Child(work, folder, log).wait(**waiting)
