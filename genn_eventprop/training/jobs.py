"""Trainings as jobs for a runner: here processes of one machine; a cluster's queue would be another `Runner`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .repeats import run_state

POLL = 0.05  # s between looks at the running processes


@dataclass(frozen=True)
class Job:
    """One training: `arguments` of ``genn-eventprop train``, the run folder, the file that takes what it prints."""

    name: str
    arguments: tuple[str, ...]
    run_dir: Path
    log: Path

    def command(self) -> list[str]:
        """The command that begins this job, or goes on with it from its last checkpoint."""
        program = [sys.executable, "-m", "genn_eventprop.cli"]
        if run_state(self.run_dir) == "started":
            page = self.arguments[0]
            return [*program, "resume", str(self.run_dir), *(["--page", page] if page.endswith(".py") else [])]
        return [*program, "train", *self.arguments, "--run-dir", str(self.run_dir)]


class Runner(Protocol):
    """Runs jobs, in whatever order and place."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
        """Each job with its exit status, as they end. Leaving the loop early stops those that run."""


class LocalRunner:
    """Up to `processes` jobs at once on this machine.

    Args:
        processes: at once.
        keep_open: file descriptors that the jobs inherit (a lock that must live as long as they do).
    """

    def __init__(self, processes: int, keep_open: Sequence[int] = ()) -> None:
        self.processes, self.keep_open = processes, tuple(keep_open)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
        waiting, running = list(jobs), list[tuple[Job, subprocess.Popen[bytes]]]()
        try:
            while waiting or running:
                while waiting and len(running) < self.processes:
                    job = waiting.pop(0)
                    running.append((job, self._start(job)))
                ended = [(job, process) for job, process in running if process.poll() is not None]
                if not ended:
                    time.sleep(POLL)
                for job, process in ended:
                    running.remove((job, process))
                    yield job, process.returncode
        finally:
            for _, process in running:
                process.terminate()
            for _, process in running:
                process.wait()

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as log:
            return subprocess.Popen(
                job.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self.keep_open,
                preexec_fn=_end_with(os.getpid()),
            )


def _end_with(parent: int) -> Callable[[], None] | None:
    """For the child: end when the parent does, however that ends (Linux; elsewhere the child goes on)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork

    def after_fork() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return after_fork
