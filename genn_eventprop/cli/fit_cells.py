"""What one command fits, cell by cell and model by model, here or in processes; each result is saved at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..atomic import write_text
from ..errors import DataError, EventPropError, SettingError, WriteError
from ..fitting import FitResult, Recording, read_recording, read_spikes
from ..fitting.files import FOLDER, cell_name
from ..fitting.fit import FitTask, prepare
from ..fitting.forced import fitted_model
from ..fitting.saved import Stage, load_result, load_stage, save_result, save_stage
from ..modelling import NeuronModel
from ..output import say
from ..verify.gradients.command import find_model

Saved = TypeVar("Saved")
NAMED = ("bounds", "fixed", "priors")
"""Settings with names of parameters."""


@dataclass(frozen=True)
class Order:
    """What a command fits: texts and numbers alone, which a further process can be given.

    Attributes:
        models: as they are named. paths: of the cells. names: of the cells, each once. spikes: files of the cells, or
            none. reading: arguments of `_read`. settings: of `prepare`, where ``MODEL.parameter`` is of one model.
        unread: cell -> why its file cannot be read, or fitted as it is.
    """

    models: tuple[str, ...]
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    spikes: tuple[Path, ...]
    reading: dict[str, Any]
    settings: dict[str, Any]
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def jobs(self) -> list[Job]:
        """Of all models and cells, those of one cell together."""
        one = len(self.models) == 1
        return [
            Job(number - 1, model, name if one else f"{name}, {model}", str(number) if one else f"{number}-{m}")
            for number, name in enumerate(self.names, 1)
            for m, model in enumerate(self.models, 1)
            if name not in self.unread
        ]

    def neuron(self, model: str) -> NeuronModel:
        return find_model(model)

    def task(self, job: Job) -> FitTask:
        """Raises what `read_recording` and `prepare` raise."""
        recording, neuron = _recording(self, job.cell), self.neuron(job.model)
        return prepare(neuron, [recording], **self._settings_of(neuron))[0]

    def check(self) -> Order:
        """The order without the files that cannot be read, or fitted as they are, after every setting was checked.

        Raises:
            EventPropError: a setting that is refused, a named file that is not there, or every file.
        """
        self._check_names()
        _read.cache_clear()  # files may have changed since another command of this process
        unread = dict[str, str]()
        for job in self.jobs:
            if (name := self.names[job.cell]) in unread:
                continue
            try:
                self.task(job)
            except EventPropError as error:
                unread[name] = str(error)
                if len(unread) == len(self.names) or not self.paths[job.cell].exists():
                    raise
        for name, reason in unread.items():
            say(f"note: {name} is left out: {reason}")
        return replace(self, unread=unread)

    @property
    def _one(self) -> bool:
        """Whether there is one model, which no setting names."""
        return len(self.models) == 1 and not any("." in name for kind in NAMED for name in self.settings[kind])

    def _settings_of(self, neuron: NeuronModel) -> dict[str, Any]:
        """Without what names a parameter of other models."""
        if self._one:
            return self.settings
        here = fitted_model(neuron, self.settings["inject"]).free.params
        settings = dict(self.settings)
        for kind in NAMED:
            settings[kind] = {}
            for name, value in self.settings[kind].items():
                model, dot, parameter = name.rpartition(".")
                if model.lower() == neuron.name.lower() if dot else name in here:
                    settings[kind][parameter] = value
        settings["only"] = None if settings["only"] is None else [n for n in settings["only"] if n in here]
        return settings

    def _check_names(self) -> None:
        """Raise `SettingError` for a name that no model has, where they are told by their names."""
        if self._one:
            return
        neurons = [self.neuron(model) for model in self.models]
        known = {n for neuron in neurons for n in fitted_model(neuron, self.settings["inject"]).free.params}
        for kind in (*NAMED, "only"):
            for name in self.settings[kind] or ():
                model, _, parameter = name.rpartition(".")
                if parameter not in known or (model and model.lower() not in [n.name.lower() for n in neurons]):
                    raise SettingError(f"{kind}: none of {', '.join(n.name for n in neurons)} has a parameter {name!r}")


@dataclass(frozen=True)
class Job:
    """A fit: number of the cell, model as it is named, what messages call it, and the stem of its files."""

    cell: int
    model: str
    name: str
    stem: str


def files_of(recordings: Sequence[Path]) -> list[Path]:
    """Files of cells, those of a folder in the order of their names.

    Raises:
        SettingError: a folder without recordings.
    """
    files = list[Path]()
    for path in recordings:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in FOLDER and not p.name.startswith("."))
        if not inside:
            raise SettingError(f"folder {path} has no recordings: files with one of the suffixes {' '.join(FOLDER)}")
        files += inside
    return files


def names_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """Of cells, each once: of a/cell.npz and b/cell.npz those with their folders, of one file twice with a number."""
    names = [cell_name(path) for path in paths]
    longer = [cell_name(path.with_suffix(""), whole=True) for path in paths]
    names = [long if names.count(short) > 1 else short for short, long in zip(names, longer)]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    )


def fit_here(folder: Path, order: Order, job: Job, record: Callable[[Mapping[str, Any]], None]) -> FitResult:
    """The result of a job, from its file or after the last stage that a command before has saved; in the folder then.

    Args:
        record: called with the best parameters so far, after each stage.
    """
    path = folder / "cells" / f"{job.stem}.npz"
    task = order.task(job)
    recording = task.residuals.recording
    held_out = None if task.held_out is None else task.held_out.recording

    def load(at: Path) -> FitResult:
        return load_result(at, order.neuron(job.model), recording, held_out)

    if (result := _saved(path, load, job)) is not None:
        return result
    last = path.with_suffix(".stage.npz")

    def keep(stage: Stage) -> None:
        try:
            save_stage(stage, last)
            record(task.best)
        except WriteError as error:  # the fit may still end
            say(f"note: {error}; the fit goes on")

    if (stage := _saved(last, load_stage, job)) is not None:
        say(f"{job.name} goes on after stage {stage.number}")
    try:
        result = task.run(stage, keep)
    except KeyboardInterrupt as stop:
        stop.args = (*stop.args, f"the same command goes on in {folder}")  # first: a second Ctrl-C may follow at once
        record(task.best)
        raise
    # before it is written: whatever the disk does, it has been seen
    print(f"{job.name}\n{result}\n", flush=True)
    save_result(result, path)
    last.unlink(missing_ok=True)
    return result


def fit_in_processes(folder: Path, order: Order, processes: int) -> None:
    """Fit what is not fitted yet, so many jobs at once; results, stages and what failed are in the folder then.

    Raises:
        KeyboardInterrupt: the processes have ended, and the same command goes on after their last stages.
    """
    waiting = [job for job in order.jobs if not is_fitted(folder, job)]
    spawn, running = multiprocessing.get_context("spawn"), dict[int, tuple[Any, Job]]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                _failure(folder, job).unlink(missing_ok=True)
                process = spawn.Process(target=_in_process, args=(folder, order, job))
                process.start()
                running[process.sentinel] = process, job
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                process, job = running.pop(sentinel)
                process.join()
                if process.exitcode and not _failure(folder, job).exists():
                    write_text(_failure(folder, job), json.dumps(f"its process ended with status {process.exitcode}"))
    except KeyboardInterrupt as stop:
        stop.args = (*stop.args, f"the same command goes on in {folder}")
        raise
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def best_so_far(folder: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """Of jobs that have begun and not ended, by name, the best parameters after their last stages."""
    stages = {job: _saved(folder / "cells" / f"{job.stem}.stage.npz", load_stage, job) for job in jobs}
    return {job.name: stage.best for job, stage in stages.items() if stage is not None}


def is_fitted(folder: Path, job: Job) -> bool:
    """Whether its result is in the folder."""
    return (folder / "cells" / f"{job.stem}.npz").exists()


def failure_of(folder: Path, job: Job) -> str:
    """Why a process could not fit it; empty if it could, or was not asked."""
    path = _failure(folder, job)
    return str(json.loads(path.read_text())) if path.exists() else ""


def _failure(folder: Path, job: Job) -> Path:
    return folder / "cells" / f"{job.stem}.failed.json"


def _in_process(folder: Path, order: Order, job: Job) -> None:
    """What a process of `fit_in_processes` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: the first one ends the others
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        fit_here(folder, order, job, lambda best: None)
    except EventPropError as error:
        write_text(_failure(folder, job), json.dumps(str(error)))
        say(f"{job.name} could not be fitted: {error}")


def _saved(path: Path, load: Callable[[Path], Saved], job: Job) -> Saved | None:
    """What a command before has saved of a job."""
    try:
        return load(path) if path.exists() else None
    except DataError as error:
        say(f"note: {error}; {job.name} is fitted again")
        return None


def _recording(order: Order, cell: int) -> Recording:
    spikes = order.spikes[cell] if order.spikes else None
    return _read(order.paths[cell], order.names[cell], spikes, tuple(sorted(order.reading.items())))


@lru_cache(maxsize=1)  # for the models of one cell, and what is checked before it is fitted
def _read(path: Path, name: str, spikes: Path | None, reading: tuple[tuple[str, Any], ...]) -> Recording:
    how = dict(reading)
    recording = read_recording(
        path, how["signals"], series_resistance=how["series_resistance"], junction_potential=how["junction_potential"]
    )
    recording = replace(recording, name=name)
    if spikes is not None:  # whose sweeps are numbered as those of the whole file
        recording = replace(recording, spikes=read_spikes(spikes, len(recording)))
    if how["sweeps"]:
        recording = recording[list(how["sweeps"])]
    highest = -np.inf if recording.voltage is None else np.nanmax(recording.voltage)
    if (level := how["spikes_above"]) is not None:
        recording = recording.with_spikes_above(level)
        if not any(map(len, recording.spikes or ())):
            say(
                f"note: {recording.name}: V never rises through --spikes-above {level:g}, the fit is to a cell without "
                f"spikes; the highest V is {highest:g}"
            )
    elif recording.spikes is None and recording.rates is None and recording.voltage is not None:
        recording = recording.with_spikes_found()
        if not any(map(len, recording.spikes or ())):
            raise SettingError(
                f"recording {recording.name!r}: V has no action potential (in mV; the highest V is {highest:g}); name "
                "a level, --spikes-above LEVEL, which a cell without spikes never reaches, or give --spikes"
            )
    return recording if how["current_step"] is None else recording.with_current_step(how["current_step"])
