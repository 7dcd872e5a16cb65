"""One experiment run several times, with other seeds or another group held out: finished runs are not repeated.

The folder of a set of repeats holds repeats.json (the settings), a run folder for each run, named by what is special
about it, and summary.json (mean and deviation). Calling again with the same settings continues where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..atomic import write_text
from ..distributed import world
from ..errors import SettingError, TrainingError
from ..experiment.experiment import ExperimentConfig, ExperimentFile, run_experiment
from ..experiment.options import whole_number, write_toml
from ..runs import mark
from ..runs.run_folder import RunFolder, jsonable, mark_folder, read_json, run_in, run_state, write_json
from ..runs.run_lock import is_locked, lock_for_writing
from .jobs import Job, Runner, follow, threads_for

NUMBERS = (
    "test_accuracy",
    "final_test_accuracy",
    "best_validation_accuracy",
    "test_loss",
    "epochs",
    "seconds_training",
)
"""What summary.json gives mean and deviation of."""
MOST_NUMBERS = 10_000
"""Of seeds, say, in one list: each of them is a training."""
INCIDENTAL = (
    "run_dir", "config", "threads", "seeds", "resume_if_started", "checkpoint_batches", "tensorboard",
    "baseline", "runner", "processes", "slurm",
)  # fmt: skip
"""Settings that do not change what a run computes."""


def whole_numbers(text: str, what: str = "--seeds") -> list[int]:
    """``"1-8"``, ``"3"``, ``"1,4,7-9"`` as a list without repeats, in the order given.

    Raises:
        SettingError: anything else, or a number twice.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = whole_number(first), whole_number(last if dash else first)
        if low is None or high is None or high < low:
            raise SettingError(f"{what} {text[:80]!r}: write integers and ranges such as 1-8 or 1,4,7-9")
        if high - low >= MOST_NUMBERS or len(numbers) >= MOST_NUMBERS:
            raise SettingError(f"{what} {text[:80]!r}: more than {MOST_NUMBERS:,} numbers; give fewer")
        numbers += range(low, high + 1)
    if len(set(numbers)) < len(numbers):
        raise SettingError(f"{what} {text!r}: a number appears twice")
    return numbers


def same_settings(folder: Path, settings: Mapping[str, Any], besides: Iterable[str] = ()) -> None:
    """Raise `SettingError` if the run in `folder` was started with other settings than these, some aside."""
    saved = RunFolder.open(folder).config.get("settings", {})
    expected = jsonable(settings)
    for name in expected:
        if name in saved and name not in (*INCIDENTAL, *besides) and saved[name] != expected[name]:
            raise SettingError(
                f"{folder} was run with {name} = {saved[name]!r}, now it is {expected[name]!r}; choose another folder"
            )


def start_or_continue(
    file: ExperimentFile, config: ExperimentConfig, folder: Path, longer: bool = False
) -> dict[str, Any]:
    """The results of one run: read if it is finished, continued if it was started, else run.

    Args:
        longer: `config.epochs` may differ from what the run was started with; a larger one continues the run.
    """
    config = dataclasses.replace(config, run_dir=folder)
    ranks = world()
    # one rank holds the lock and says where the run stands: the others could see a file that it has just written
    with ranks.guard(), lock_for_writing(folder) if ranks.first else nullcontext():
        state = ranks.of_first(run_state(folder, config.epochs if longer else None))
        if state == "new":
            if ranks.first:
                RunFolder(folder).start_over()
        else:
            same_settings(folder, dataclasses.asdict(config), ("epochs",) if longer else ())
        if state == "finished":
            return RunFolder.open(folder).results
        return run_experiment(file, config, resume=state == "started")


def run_repeats(
    file: ExperimentFile,
    config: ExperimentConfig,
    variants: Mapping[str, Mapping[str, Any]],
    root: Path,
) -> dict[str, Any]:
    """Run `config` once for each variant, name -> settings that differ, in root/NAME, and summarise.

    Returns:
        What summary.json holds: every number's mean, sample standard deviation (None for one run) and values.
    """
    claim(root, file, config, variants)
    results = {}
    for position, (name, changes) in enumerate(variants.items(), 1):
        is_finished = run_state(root / name) == "finished"
        print(f"{position}/{len(variants)} {name}" + (": already finished" if is_finished else ""))
        results[name] = start_or_continue(file, dataclasses.replace(config, **changes), root / name)
    summary = summarise(results)
    write_json(root / "summary.json", summary)
    return summary


def claim(root: Path, file: ExperimentFile, config: ExperimentConfig, variants: Mapping[str, Any]) -> None:
    """Make `root` the folder of these repeats.

    Raises:
        SettingError: it belongs to other settings, or holds something else.
    """
    description = _description(file, config, variants)
    mark_folder(root, "repeats", "--run-dir")
    before = _read(root)
    if before is not None and not _agree(before, description):
        raise SettingError(f"{root} holds repeats of other settings (see repeats.json there); choose another --run-dir")
    write_json(root / "repeats.json", description)


def repeats_folder(
    file: ExperimentFile, config: ExperimentConfig, variants: Mapping[str, Any], label: str, root: Path | str = "runs"
) -> Path:
    """``runs/NAME-LABEL-NUMBER``: the one with these very settings if there is one, else the first free number."""
    description = _description(file, config, variants)
    number = 1
    while (path := Path(root) / f"{file.name}-{label}-{number}").exists():
        before = _read(path)
        if before is not None and _agree(before, description):
            return path
        number += 1
    return path


def summarise(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, sample standard deviation and values over runs of `NUMBERS`, as far as every run has them."""
    summary: dict[str, Any] = {"runs": list(results)}
    for number in NUMBERS:
        values = [value for result in results.values() if (value := result.get(number)) is not None]
        if values and len(values) == len(results):
            summary[number] = {"mean": fmean(values), "deviation": deviation(values), "values": values}
    return summary


def deviation(values: Iterable[float]) -> float | None:
    """Sample standard deviation (n - 1), None for fewer than two values."""
    values = list(values)
    return stdev(values) if len(values) > 1 else None


def describe_summary(summary: Mapping[str, Any], root: Path) -> str:
    """Mean and deviation in words, and the test accuracy of every run."""
    lines = [f"{len(summary['runs'])} runs in {root}"]
    for number, values in summary.items():
        if number.endswith("accuracy"):
            lines.append(f"{number.replace('_', ' '):26} {percent(values['mean'], values['deviation'])}")
        elif number == "seconds_training":
            lines.append(f"{'training time':26} {values['mean']:.1f} s per run")
    for name, value in zip(summary["runs"], summary.get("test_accuracy", {}).get("values", [])):
        lines.append(f"  {name:24} {100 * value:.2f} %")
    return "\n".join(lines)


def percent(mean: float, deviation: float | None) -> str:
    """``98.12 +- 0.34 %``; without deviation for a single run."""
    return f"{100 * mean:.2f} %" if deviation is None else f"{100 * mean:.2f} +- {100 * deviation:.2f} %"


def _description(file: ExperimentFile, config: ExperimentConfig, variants: Mapping[str, Any]) -> dict[str, Any]:
    # repeats are found again by this, in whatever folder and with however many threads they were started
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("run_dir", "threads")}
    return dict(jsonable({"experiment": file.source, "settings": settings, "variants": dict(variants)}))


def _agree(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """The same experiment and settings; more or fewer variants may be asked for than before."""
    varied = {name for changes in now["variants"].values() for name in changes}
    ignored = varied | set(INCIDENTAL)
    a, b = ({k: v for k, v in part["settings"].items() if k not in ignored} for part in (before, now))
    return a == b and before["experiment"] == now["experiment"]


def variants_of(root: Path) -> dict[str, dict[str, Any]]:
    """Name of a run folder in `root` -> what is special about it.

    Raises:
        SettingError: repeats.json is damaged, or names a folder elsewhere.
    """
    variants = read_json(root / "repeats.json").get("variants")
    if not isinstance(variants, dict) or not all(isinstance(changes, dict) for changes in variants.values()):
        raise SettingError(f"{root / 'repeats.json'} is damaged: it lists no runs")
    for name in variants:
        run_in(root, name)
    return variants


def _read(root: Path) -> dict[str, Any] | None:
    path = root / "repeats.json"
    if not path.exists() or mark.kind_of(root) != "repeats":
        return None
    try:
        return read_json(path)
    except SettingError as error:
        raise SettingError(f"{error}; remove it or choose another folder") from None


def run_jobs(
    file: ExperimentFile,
    config: ExperimentConfig,
    variants: Mapping[str, Mapping[str, Any]],
    root: Path,
    runner: Runner,
) -> dict[str, Any]:
    """As `run_repeats`, by a runner: every variant in root/NAME, finished runs are not repeated.

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
    print(f"{len(variants)} runs, {len(variants) - len(jobs)} already finished, in {root}")
    failed = follow(runner, jobs, len(variants))
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
        # what an attempt left that was killed before its first checkpoint is in the way; of a run that another process
        # is just starting, nothing is
        if not is_locked(run_dir):
            with lock_for_writing(run_dir):
                RunFolder(run_dir).start_over()
    else:
        same_settings(run_dir, dataclasses.asdict(config))
    threads = config.threads or threads_for(config.processes)
    arguments = (file.source, "--config", str(table), "--threads", str(threads))
    return Job(name, arguments, run_dir, root / "logs" / f"{name}.log")


def changed(file: ExperimentFile, config: ExperimentConfig) -> dict[str, Any]:
    """The settings that differ from the experiment's own, without those that only say how to run it."""
    settings = jsonable(dataclasses.asdict(config))
    # `quick` itself counts as changed: the job that reads the file then starts from the same defaults
    defaults = jsonable({**dataclasses.asdict(file.config()), **(file.quick if config.quick else {}), "quick": False})
    return {k: v for k, v in settings.items() if v != defaults[k] and v is not None and k not in INCIDENTAL}
