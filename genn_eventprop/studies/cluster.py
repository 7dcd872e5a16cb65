"""Trainings as jobs of SLURM, through submitit (extra ``[cluster]``): one array job for all that is to be run.

    runner = "slurm"
    processes = 20                     # of the array at once

    [slurm]
    partition = "gpu"                  # what sbatch takes; every key may be left out
    account = "snn"
    time = "2:00:00"                   # of one training, [days-]hours:minutes:seconds or minutes
    memory = "8G"
    cpus = 8                           # threads of a training
    gpus = 1
    setup = ["module load cuda"]       # lines of the script before the training
    options = {nice = 100}             # any other option of sbatch

A training that SLURM takes its machine away from, or whose time is up, is queued again and continues from its
checkpoint.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import SettingError, is_whole, suggest
from ..runs.run_folder import read_json, write_json
from .jobs import Job, Watch

CLUSTER = "slurm"  # submitit's own "local" in tests
POLL = (1.0, 10.0)  # s between looks at the queue: at first, at most
KEYS = (
    "partition", "account", "qos", "constraint", "time", "memory", "cpus", "gpus", "setup", "options", "grace",
)  # fmt: skip
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
HOW = 'runner = "slurm" needs submitit: pip install "genn_eventprop[cluster]"'


@dataclass(frozen=True)
class Slurm:
    """The settings of the table [slurm]; minutes and names as sbatch knows them."""

    parameters: Mapping[str, Any]
    minutes: int = 60
    threads: int | None = None


def slurm_of(table: Mapping[str, Any], where: str) -> Slurm:
    """The table [slurm] of a scan.

    Raises:
        SettingError: an unknown key, or a value of the wrong kind.
    """
    for key in table:
        if key not in KEYS:
            raise SettingError(f"{where}, [slurm]: unknown key {key!r}; {suggest(key, KEYS)}; pass others in options")
    for key, kind, words in (
        ("cpus", int, "an integer"), ("gpus", int, "an integer"), ("grace", int, "whole seconds"),
        ("setup", list, "a list of lines"), ("options", dict, "a table"), ("partition", str, "a string"),
        ("account", str, "a string"), ("qos", str, "a string"), ("constraint", str, "a string"),
        ("memory", str, "a string"),
    ):  # fmt: skip
        if key in table and (not isinstance(table[key], kind) or isinstance(table[key], bool)):
            raise SettingError(f"{where}, [slurm]: {key} must be {words}, got {table[key]!r}")
    for key, value in [*table.items(), *table.get("options", {}).items()]:
        if key in table.get("options", {}) and not _OPTION.fullmatch(key):
            raise SettingError(f"{where}, [slurm]: {key!r} cannot be an option of sbatch; use letters, digits and -")
        if isinstance(value, str):
            on_one_line(value, f"{where}, [slurm]: {key}")
    for line in table.get("setup", []):
        if not isinstance(line, str):
            raise SettingError(f"{where}, [slurm]: setup must be a list of lines, got {line!r}")
    names = {"memory": "mem", "cpus": "cpus_per_task", "gpus": "gpus_per_node", "grace": "signal_delay_s"}
    names["options"] = "additional_parameters"
    parameters = {names.get(key, key): value for key, value in table.items() if key != "time"}
    return Slurm(parameters, minutes(table.get("time", 60), where), table.get("cpus"))


def on_one_line(text: str, what: str) -> str:
    """`text`, which stands in a line of the script of a job; what came after a line break would be run.

    Raises:
        SettingError: it has a line break, or another character that is not printable.
    """
    if not text.isprintable():
        raise SettingError(f"{what} is {text!r}, with characters that cannot be printed; leave them out")
    return text


def job_name(folder: Path) -> str:
    """The name of a scan's jobs, made of the name of its folder."""
    return re.sub(r"[^\w.,=+-]", "_", folder.name)


def minutes(text: Any, where: str) -> int:
    """Whole minutes of a time as sbatch takes it."""
    if is_whole(text, 1):
        return text
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?", str(text))
    if not match:
        raise SettingError(f"{where}, [slurm]: time = {text!r}; write 2:00:00, 1-12:00:00 or whole minutes")
    days, first, second, third = (int(g or 0) for g in match.groups())
    if match[4] is None and match[1] is None:  # minutes:seconds
        return max(1, first + (second > 0))
    return (24 * days + first) * 60 + second + (third > 0)


RunCommand = Callable[[Sequence[str], Path], int]


class Cell:
    """The work of a queued job; submitit calls it, and `checkpoint` before it queues the job again."""

    def __init__(self, job: Job, run: RunCommand) -> None:
        self.job, self.run = job, run

    def __call__(self) -> int:
        requeue, signals = signal.getsignal(signal.SIGUSR2), list[tuple[int, FrameType | None]]()

        def stop(number: int, frame: FrameType | None) -> None:
            signals.append((number, frame))
            os.kill(os.getpid(), signal.SIGTERM)  # which ends a training with a checkpoint

        signal.signal(signal.SIGUSR2, stop)
        self.job.status_file.unlink(missing_ok=True)
        status = self.run(self.job.command(), self.job.log)
        if status == 143 and callable(requeue) and (signals or self._preempted()):
            requeue(*(signals or [(signal.SIGUSR2, None)])[0])  # does not come back
        return self.job.ended(status)

    def _preempted(self) -> bool:
        """Whether SIGTERM meant that the machine is needed: SLURM takes a job that ends then for one that is done.

        A job that was cancelled runs no more in the eyes of SLURM, and one that we ended has a mark.
        """
        number = os.environ.get("SLURM_JOB_ID")
        if number is None or ending(self.job).exists():
            return False
        done = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, timeout=60)
        return done.stdout.split()[:1] == ["RUNNING"]

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """The training wrote its own checkpoint: the same call continues from it."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmRunner:
    """Jobs in the queue of SLURM; they stay there if this process ends, and are found again.

    Args:
        folder: of the scan; scripts, logs of submitit and the numbers of the jobs go to ``slurm/`` in it.
        slurm: what to ask for. at_once: jobs of the array that run at the same time.
        run: runs a command line with a log file and returns its exit status (`cli.worker.run`).
        watch: see `LocalRunner`.

    Raises:
        SettingError: submitit is missing, or there is no SLURM here.
    """

    def __init__(self, folder: Path, slurm: Slurm, at_once: int, run: RunCommand, watch: Watch | None = None) -> None:
        self.folder, self.slurm, self.at_once, self.watch = folder / "slurm", slurm, at_once, watch
        self.run_command, self._ending = run, set[str]()
        on_one_line(str(folder), "the folder of the scan")
        self._submitit = import_submitit()
        if CLUSTER == "slurm" and shutil.which("sbatch") is None:
            raise SettingError('there is no SLURM on this machine (no sbatch); use runner = "local", or --dry-run')

    @staticmethod
    def script(folder: Path, slurm: Slurm, at_once: int, count: int) -> str:
        """The script of an array of `count` jobs; SLURM need not be there."""
        import_submitit()
        from submitit.slurm.slurm import _make_sbatch_string

        parameters = {
            "job_name": job_name(folder),
            "array_parallelism": at_once,
            **slurm.parameters,
            "time": slurm.minutes,
        }
        on_one_line(str(folder), "the folder of the scan")
        command = shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(folder / "slurm")])
        return str(_make_sbatch_string(command=command, folder=folder / "slurm", map_count=count, **parameters))

    def submit(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Queue jobs; name -> number of the job. Those that are in the queue already stay there."""
        alive = self.alive()
        new = [job for job in jobs if job.name not in alive]
        if new:
            executor = self._submitit.AutoExecutor(self.folder, cluster=CLUSTER, slurm_max_num_timeout=1000)
            parameters = {f"slurm_{k}": v for k, v in self.slurm.parameters.items()}
            executor.update_parameters(
                name=job_name(self.folder.parent), timeout_min=self.slurm.minutes, slurm_array_parallelism=self.at_once,
                **parameters,
            )  # fmt: skip
            with executor.batch():
                submitted = [executor.submit(Cell(job, self.run_command)) for job in new]
            for job in new:
                job.status_file.unlink(missing_ok=True)
                ending(job).unlink(missing_ok=True)
            write_json(self.folder / "jobs.json", self._numbers() | {j.name: s.job_id for j, s in zip(new, submitted)})
        return {job.name: self._numbers()[job.name] for job in jobs}

    def _numbers(self) -> dict[str, str]:
        path = self.folder / "jobs.json"
        return read_json(path) if path.is_file() else {}

    def alive(self) -> dict[str, str]:
        """Name -> state of the jobs that wait or run, as the queue has them.

        The queue decides: a job that is queued again (``scontrol requeue``) has left the result and the exit status of
        an attempt that was ended.
        """
        queue, states = queued(), {}
        for name, number in self._numbers().items():
            # numbers of the local executor are processes, which end after their result, and are used again
            gone = CLUSTER != "slurm" and self._result(number).exists()
            if not gone and (state := queue.get(number)) is not None:
                states[name] = state
        return states

    def _result(self, number: str) -> Path:
        return Path(self._submitit.core.utils.JobPaths(self.folder, number).result_pickle)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
        """Submit and follow. Leaving the loop early leaves the jobs in the queue."""
        waiting = {job.name: (job, number) for job, number in zip(jobs, self.submit(jobs).values())}
        yield from self._follow(waiting, lambda: None)

    def stream(self, next_job: Callable[[], Job | None]) -> Iterator[tuple[Job, int]]:
        """Jobs one by one, `at_once` in the queue."""
        yield from self._follow({}, next_job)

    def _follow(
        self, waiting: dict[str, tuple[Job, str]], next_job: Callable[[], Job | None]
    ) -> Iterator[tuple[Job, int]]:
        pause, lost = POLL[0], set[str]()
        while True:
            while len(waiting) < self.at_once and (job := next_job()) is not None:
                waiting[job.name] = (job, self.submit([job])[job.name])
            if not waiting:
                return
            alive = self.alive()
            for name in [n for n in waiting if n not in alive]:
                job, number = waiting[name]
                done = self._result(number).exists()
                if not done and name not in lost:  # files of another machine may take a moment to be seen
                    lost.add(name)
                    continue
                del waiting[name]
                yield job, status_of(job) if done else job.ended(143 if name in self._ending else 137)
            for name in waiting if self.watch is not None else ():
                if self.watch is not None and name not in self._ending and self.watch(waiting[name][0]):
                    self._ending.add(name)
                    ending(waiting[name][0]).touch()
                    end(waiting[name][1])
            time.sleep(pause)
            pause = min(1.3 * pause, POLL[1])


def status_of(job: Job) -> int:
    """The exit status that a job has written down; 1 if it could not."""
    return int(read_json(job.status_file)["status"]) if job.status_file.is_file() else job.ended(1)


def ending(job: Job) -> Path:
    """The mark of a job that is ended on purpose."""
    return job.log.with_name(f"{job.log.name}.end")


def end(number: str) -> None:
    """SIGTERM to a job of the queue: its training writes a checkpoint."""
    if CLUSTER == "slurm":
        subprocess.run(["scancel", "--signal=TERM", number], capture_output=True, timeout=60)
    else:
        for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)


def queued() -> dict[str, str]:
    """Number of a job -> its state, of all of this user's that wait or run (squeue)."""
    if CLUSTER != "slurm":
        return _local_processes()
    me = ["-u", str(os.environ.get("USER") or os.getuid())]
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T", *me], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SettingError(f"squeue failed: {done.stderr.strip() or done.returncode}")
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())


def _local_processes() -> dict[str, str]:
    """The same for submitit's local executor, whose jobs are numbered by their processes."""
    processes = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if path.read_text().rpartition(")")[2].split()[0] != "Z":
                processes[path.parent.name] = "RUNNING"
        except OSError:
            continue
    return processes


def import_submitit() -> Any:
    """The module submitit."""
    try:
        import submitit
    except ImportError:
        raise SettingError(HOW) from None
    return submitit
