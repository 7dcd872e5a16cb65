"""``train EXPERIMENT --seeds 1-8`` and ``--cross-validate``: the same experiment several times, with a summary."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..distributed import launched
from ..errors import SettingError
from ..experiment.experiment import ExperimentConfig, ExperimentFile
from ..studies.cluster import SlurmRunner, slurm_of
from ..studies.jobs import LocalRunner, Runner
from ..studies.repeat_jobs import run_jobs
from ..studies.repeats import describe_summary, repeats_folder, run_repeats, whole_numbers
from ..studies.scan import processors, read_toml
from .worker import run as run_command


def wants_repeats(config: ExperimentConfig) -> bool:
    """Whether these settings ask for more than one run."""
    return config.seeds is not None or config.cross_validate


def train_repeats(file: ExperimentFile, config: ExperimentConfig) -> None:
    """Run every seed and fold that is not finished yet; print mean and deviation."""
    if launched()[1] > 1:
        raise SettingError(
            "with mpiexec, all ranks train a single run: start each seed or fold separately, or run without mpiexec"
        )
    variants, label = variants_of(file, config), "folds" if config.cross_validate else "seeds"
    config = dataclasses.replace(config, seeds=None, cross_validate=False)
    root = config.run_dir or repeats_folder(file, config, variants, label)
    try:
        if config.runner is None:
            summary = run_repeats(file, config, variants, root)
        else:
            summary = run_jobs(file, config, variants, root, runner_of(config, root))
    except KeyboardInterrupt as stop:
        raise type(stop)(f"continue with the same command and --run-dir {root}") from None
    print(describe_summary(summary, root))


def runner_of(config: ExperimentConfig, root: Path) -> Runner:
    """What --runner, --processes and --slurm ask for."""
    if config.processes < 1:
        raise SettingError(f"processes must be at least 1, got {config.processes}")
    if config.runner == "local":
        return LocalRunner(config.processes, threads=max(1, processors() // config.processes))
    table = {} if config.slurm is None else read_toml(config.slurm).get("slurm", {})
    return SlurmRunner(root, slurm_of(table, str(config.slurm)), config.processes, run_command)


def variants_of(file: ExperimentFile, config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Run name -> settings: every fold with every seed."""
    seeds = whole_numbers(config.seeds) if config.seeds is not None else [config.seed]
    if not config.cross_validate:
        return {f"seed{seed}": {"seed": seed} for seed in seeds}
    if file.folds is None:
        raise SettingError(f"{file.name} has no groups to cross-validate over; give the experiment a function folds()")
    folds = file.folds(config)
    return {f"{fold}-seed{seed}": {**changes, "seed": seed} for seed in seeds for fold, changes in folds.items()}
