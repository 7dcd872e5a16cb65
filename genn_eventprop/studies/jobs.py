"""Trainings as jobs for a runner: processes of this machine here, a cluster's queue in `cluster`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..engines.native.engine import available_processors
from ..regular import read_regular
from ..runs.run_folder import write_json

POLL = 0.2  # s between looks at the processes
RANK_VARIABLE = "LOCAL_RANK"  # as torchrun calls it
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ENDED = (129, 130, 143)
"""Exit statuses of a training that was asked to stop; the process that ran it stops, too."""


@dataclass(frozen=True)
class Job:
    """One training: `arguments` of ``genn-eventprop train``, the run folder, the file that takes its output."""

    name: str
    arguments: tuple[str, ...]
    run_dir: Path
    log: Path

    def command(self) -> list[str]:
        """The command of genn-eventprop that starts this job, or continues it from its last checkpoint.

        Its settings are always those of the study: what a run folder says about itself is compared with them, and files
        that it names are run and opened because they are named here.
        """
        return ["train", *self.arguments, "--run-dir", str(self.run_dir), "--resume-if-started"]

    @property
    def status_file(self) -> Path:
        """Holds the exit status of its last attempt."""
        return self.log.with_name(f"{self.log.name}.status")

    def ended(self, status: int) -> int:
        """Write the exit status down, for `scan status`; returns it."""
        write_json(self.status_file, {"status": status})
        return status


Watch = Callable[[Job], bool]


class Runner(Protocol):
    """Runs jobs, in whatever order and place."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
        """Each job with its exit status, as they end. Leaving the loop early stops those that run here."""

    def stream(self, next_job: Callable[[], Job | None]) -> Iterator[tuple[Job, int]]:
        """The same for jobs that are asked for one by one; None: there is none now. It ends when none is running."""


def follow(runner: Runner, jobs: Sequence[Job], total: int) -> list[str]:
    """Run what is left of `total` jobs, with a line for each that ends; returns the logs of those that failed."""
    failed = []
    for position, (job, status) in enumerate(runner.run(jobs), total - len(jobs) + 1):
        word = "finished" if status == 0 else f"failed: {last_line(job.log)}"
        print(f"{position}/{total} {job.name}: {word}", flush=True)
        failed += [str(job.log)] if status else []
    return failed


class LocalRunner:
    """Up to `processes` jobs at once on this machine, each in a process that stays warm for the next one.

    A process has imported the package and compiled and derived what its last job needed; a job that crashes takes only
    its own process along. Each of several has a LOCAL_RANK, by which engines spread over the GPUs of a machine.

    Args:
        processes: at once.
        keep_open: file descriptors that the processes inherit (a lock that must live as long as they do).
        threads: of NumPy's libraries in each process; None: what they choose.
        watch: asked again and again about each running job; True ends it (with SIGTERM: it writes a checkpoint).
    """

    def __init__(
        self, processes: int, keep_open: Sequence[int] = (), threads: int | None = None, watch: Watch | None = None
    ) -> None:
        self.processes, self.keep_open, self.threads, self.watch = processes, tuple(keep_open), threads, watch

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
        waiting = list(jobs)
        return self.stream(lambda: waiting.pop(0) if waiting else None)

    def stream(self, next_job: Callable[[], Job | None]) -> Iterator[tuple[Job, int]]:
        running, idle, ending = dict[_Worker, Job](), list[_Worker](), set[_Worker]()
        try:
            while True:
                while len(running) < self.processes and (job := next_job()) is not None:
                    worker = idle.pop() if idle else self._worker({w.rank for w in running})
                    worker.begin(job)
                    running[worker] = job
                if not running:
                    return
                for worker, job in running.items() if self.watch else ():
                    if self.watch is not None and self.watch(job) and worker not in ending:
                        worker.process.terminate()
                        ending.add(worker)
                for worker in _ready(running):
                    job, status = running.pop(worker), worker.status()
                    if worker in ending or status in ENDED or worker.process.poll() is not None:
                        worker.process.terminate()  # it may end by itself already
                        worker.close()
                    else:
                        idle.append(worker)
                    yield job, job.ended(status)
        finally:
            for worker in (*running, *idle):
                worker.process.terminate()
            for worker in (*running, *idle):
                worker.close()

    def _worker(self, ranks: Set[int]) -> _Worker:
        """A new one, beside those of these ranks."""
        return _Worker(self.keep_open, self.threads, min(set(range(self.processes)) - ranks), self.processes > 1)


class _Worker:
    """A process that runs `worker.main`: jobs go in as lines of JSON, exit statuses come out as lines.

    rank: its number among those that run at once; ranked: whether it is told.
    """

    def __init__(self, keep_open: Sequence[int], threads: int | None, rank: int, ranked: bool) -> None:
        settings = {} if threads is None else {name: str(threads) for name in THREAD_VARIABLES}
        self.rank, own = rank, {RANK_VARIABLE: str(rank)} if ranked else {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "genn_eventprop.cli.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**settings, **os.environ, **own},
            pass_fds=keep_open,
            preexec_fn=_end_with(os.getpid()),
        )

    def begin(self, job: Job) -> None:
        assert self.process.stdin is not None
        job.status_file.unlink(missing_ok=True)
        line = json.dumps({"command": job.command(), "log": str(job.log)})
        with contextlib.suppress(BrokenPipeError):  # it died while idle: `status` will tell
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def status(self) -> int:
        """Exit status of the job that has ended, or of the process with it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return int(line) if line else self.process.wait() or 1

    def close(self) -> None:
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what could not be sent was to a process that has ended
                    stream.close()


def _ready(running: dict[_Worker, Job]) -> list[_Worker]:
    """Those that have written a status, or ended."""
    streams: dict[Any, _Worker] = {worker.process.stdout: worker for worker in running}
    return [streams[stream] for stream in select.select(list(streams), [], [], POLL)[0]]


def _end_with(parent: int) -> Callable[[], None] | None:
    """For the child: end when the parent does, however that ends (Linux; elsewhere the child continues)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork

    def after_fork() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return after_fork


def threads_for(processes: int) -> int:
    """Threads for each of several processes that run at once."""
    return max(1, available_processors() // processes)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = read_regular(log).decode(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")
