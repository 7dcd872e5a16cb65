"""Repeats of one experiment as jobs of a runner: several at once on this machine, or in the queue of SLURM."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..errors import TrainingError
from ..experiment.experiment import ExperimentConfig, ExperimentFile
from ..runs.run_folder import RunFolder, jsonable, write_json
from ..runs.run_lock import held, writer
from .jobs import Job, Runner
from .repeats import INCIDENTAL, claim, run_state, same_settings, summarise
from .scan import processors, write_toml
from .scan_status import last_line


def run_jobs(
    file: ExperimentFile,
    config: ExperimentConfig,
    variants: Mapping[str, Mapping[str, Any]],
    root: Path,
    runner: Runner,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """As `repeats.run_repeats`: every variant in root/NAME, finished runs are not repeated.

    Raises:
        TrainingError: runs failed; their logs are named.
    """
    claim(root, file, config, variants)
    jobs = []
    for name, changes in variants.items():
        settings = dataclasses.replace(config, **changes)
        if run_state(root / name) == "finished":
            same_settings(root / name, dataclasses.asdict(settings))
        else:
            jobs.append(job_of(file, settings, root, name))
    say(f"{len(variants)} runs, {len(variants) - len(jobs)} already finished, in {root}")
    failed = []
    for job, status in runner.run(jobs):
        say(f"{job.name}: " + ("finished" if status == 0 else f"failed: {last_line(job.log)}"))
        failed += [str(job.log)] if status else []
    if failed:
        raise TrainingError(f"{len(failed)} runs failed; see {', '.join(failed)}")
    summary = summarise({name: RunFolder(root / name).results for name in variants})
    write_json(root / "summary.json", summary)
    return summary


def job_of(file: ExperimentFile, config: ExperimentConfig, root: Path, name: str) -> Job:
    """One run as a job, its settings in cells/NAME.toml."""
    table, run_dir = root / "cells" / f"{name}.toml", root / name
    write_text(table, write_toml(changed(file, config)))
    if run_state(run_dir) == "new":
        if not held(run_dir):
            with writer(run_dir):
                RunFolder(run_dir).start_over()
    else:
        same_settings(run_dir, dataclasses.asdict(config))
    threads = config.threads or max(1, processors() // config.processes)
    arguments = (file.source, "--config", str(table), "--threads", str(threads))
    return Job(name, arguments, run_dir, root / "logs" / f"{name}.log")


def changed(file: ExperimentFile, config: ExperimentConfig) -> dict[str, Any]:
    """The settings that differ from the experiment's own, without those that only say how to run it."""
    settings = jsonable(dataclasses.asdict(config))
    defaults = jsonable({**dataclasses.asdict(file.config()), **(file.quick if config.quick else {}), "quick": False})
    return {k: v for k, v in settings.items() if v != defaults[k] and v is not None and k not in INCIDENTAL}
