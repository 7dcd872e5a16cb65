"""Running a search: trials become jobs, their validation curves go to optuna, which may end them early."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ..atomic import write_text
from ..errors import SettingError, TrainingError
from ..experiment.options import write_toml
from ..runs.run_folder import RunFolder, run_state
from ..runs.run_lock import is_locked, lock_for_writing
from .jobs import ENDED, Job, last_line
from .scan import Scan, locked
from .search import import_optuna, sampler_of, study_of

LOOK = 0.5  # s between two looks at the curve of a trial
PATIENCE = 60.0  # s that another process gets to write its last checkpoint, or to leave the study alone
MANY = 3  # failures in a row that end a search: something else than the settings is wrong


@dataclass
class _Running:
    """A trial that runs here: the seeds still to be run, epochs reported to optuna, whether it was ended early."""

    trial: Any
    seeds: list[int]
    reported: int = 0
    pruned: bool = False
    looked: float = field(default_factory=time.monotonic)


class SearchRun:
    """One process's part of a search; `next_job`, `watch` and `ended` are what a runner calls.

    Args:
        scan: with a search. threads: of each training. say: takes a line for every trial that ends.
    """

    def __init__(self, scan: Scan, threads: int | None, say: Callable[[str], None] = print) -> None:
        assert scan.search is not None
        self.scan, self.search, self.threads, self.say = scan, scan.search, threads, say
        self.study = study_of(self.search, scan.folder)
        self.me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.running: dict[str, _Running] = {}
        self.failures = 0  # one after the other
        self.ready: list[Job] = []

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """While this holds, other processes see that our trials are being worked on."""
        with lock_for_writing(self.scan.folder / "searching" / self.me):
            yield

    # what a runner asks

    def next_job(self) -> Job | None:
        """The next training: a repeat, a trial that a dead process has left, or a new one; None if there is none."""
        if self.ready:
            return self.ready.pop(0)
        with lock_with_retry(self.scan.folder):
            trial = self.orphaned_trial() or self.new_trial()
            if trial is None:
                return None
            trial.set_user_attr("process", self.me)  # inside the lock, or two processes could take the same trial
        for seed in self.search.seeds:
            _wait_for_writer(self._job(trial, seed).run_dir)
        seeds = [s for s in self.search.seeds if run_state(self._job(trial, s).run_dir) != "finished"]
        running = _Running(trial, seeds)
        if not seeds:  # all done, but its process died before it could tell
            self._tell(running)
            return self.next_job()
        return self._begin(running)

    def watch(self, job: Job) -> bool:
        """Whether to end a job now: its validation curve is worse than those of others were."""
        running = self.running[job.name]
        if time.monotonic() - running.looked < LOOK or running.pruned or self.search.pruner == "none":
            return running.pruned
        running.looked = time.monotonic()
        if running.seeds[0] != self.search.seeds[0]:  # repeats of what was good enough
            return False
        best = self._curve(job)
        for epoch in range(running.reported, len(best)):
            running.trial.report(best[epoch], epoch + 1)
        if len(best) > running.reported:
            running.reported = len(best)
            running.pruned = running.trial.should_prune()
        return running.pruned

    def ended(self, job: Job, status: int) -> None:
        """A training has ended: the next repeat, or the end of its trial."""
        running = self.running.pop(job.name)
        self.failures = self.failures if status not in (0, *ENDED) else 0
        states = import_optuna().trial.TrialState
        name = f"trial {running.trial.number}"
        if running.pruned and status != 0:
            self.study.tell(running.trial, state=states.PRUNED)
            self.say(f"{name}: ended after {running.reported} epochs, {self._words(self._curve(job)[-1])}")
        elif status in ENDED:
            self.say(f"{name}: stopped; it resumes with the next start")
        elif status != 0:
            self.study.tell(running.trial, state=states.FAIL)
            self.say(f"{name}: failed: {last_line(job.log)}")
            self.failures += 1
            if self.failures == MANY:
                raise TrainingError(f"{MANY} trials failed in a row; see the log of the last: {job.log}")
        elif len(running.seeds) > 1:
            running.seeds.pop(0)
            self.ready.append(self._begin(running))
        else:
            self._tell(running)

    # trials

    def orphaned_trial(self) -> Any:
        """A trial whose process is dead: it is marked as running, and no process holds the lock of its name."""
        optuna = import_optuna()
        for frozen in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            owner = frozen.user_attrs.get("process", "")
            if owner != self.me and not (owner and is_locked(self.scan.folder / "searching" / owner)):
                # the sampler of this very trial, so that what it still has to draw is what its process would have drawn
                self.study.sampler = sampler_of(self.search, frozen.number)
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                for name, distribution in self.search.distributions().items():
                    trial._suggest(name, distribution)  # what its process had no time for; the others stay as they are
                return trial
        return None

    def new_trial(self) -> Any:
        """The next trial with its settings, None if all have begun."""
        count = len(self.study.get_trials(deepcopy=False))
        if count >= self.search.trials:
            return None
        self.study.sampler = sampler_of(self.search, count)
        return self.study.ask(self.search.distributions())

    def _job(self, trial: Any, seed: int) -> Job:
        return self.scan.job(f"trial{trial.number:04d}-seed{seed}", self.threads)

    def _begin(self, running: _Running) -> Job:
        """The job of a trial's next repeat, its settings in a file."""
        job = self._job(running.trial, running.seeds[0])
        file = Path(job.arguments[2])
        settings = self.search.settings(running.trial.params)
        settings = {**self.scan.settings, **settings, "seed": running.seeds[0], "read_test": False}
        write_text(file, write_toml(settings))
        if run_state(job.run_dir) == "new":
            with lock_for_writing(job.run_dir):
                RunFolder(job.run_dir).start_over()
        self.running[job.name] = running
        return job

    def _tell(self, running: _Running) -> None:
        values = [self._curve(self._job(running.trial, seed))[-1] for seed in self.search.seeds]
        self.study.tell(running.trial, fmean(values))
        self.say(f"trial {running.trial.number}: {self._words(fmean(values))}, {describe(running.trial.params)}")

    def _curve(self, job: Job) -> list[float]:
        """(epochs,) the best objective of validation up to each epoch."""
        curve: list[float] = []
        for line in RunFolder(job.run_dir).metrics:
            value = line[f"validation_{self.search.objective}"]
            if value is None:
                raise SettingError(
                    f"{job.run_dir} has no validation {self.search.objective}: a search needs an experiment with a "
                    "validation set"
                )
            better = max if self.search.worse > 0 else min
            curve.append(better(curve[-1], value) if curve else value)
        return curve

    def _words(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.search.objective == "accuracy" else f"loss {value:.4f}"


def describe(parameters: dict[str, Any]) -> str:
    """The settings of a trial in words."""
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in parameters.items())


def _wait_for_writer(folder: Path) -> None:
    """The process of a killed search ends after its last checkpoint, which may be a moment after the search."""
    deadline = time.monotonic() + PATIENCE
    while is_locked(folder) and time.monotonic() < deadline:
        time.sleep(0.05)


@contextlib.contextmanager
def lock_with_retry(folder: Path) -> Iterator[None]:
    """The lock of the folder, held for a moment by each process that works on the study."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            lock = locked(folder)
            lock.__enter__()
            break
        except SettingError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
