"""The table of results in a document, made from run folders: a line for each setting, over its seeds or folds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import SettingError
from .experiment import experiment_names, load_experiment
from .repeats import INCIDENTAL, deviation, percent
from .run_folder import RunFolder, jsonable, read_json

BEGIN, END = "<!-- table of results: begin -->", "<!-- table of results: end -->"
COLUMNS = (
    "experiment and settings",
    "runs",
    "test accuracy, chosen on validation",
    "test accuracy, last epoch",
    "epochs",
    "time a run",
    "machine",
)


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One run folder with results; `varied` are the settings that differ within its group.

    `defaults`: of the experiment as it is installed; of a page that is not, as they were when the run was started.
    """

    folder: Path
    experiment: str
    settings: Mapping[str, Any]
    varied: tuple[str, ...]
    results: Mapping[str, Any]
    machine: str
    defaults: Mapping[str, Any]

    @property
    def group(self) -> str:
        """The same for runs of one line; a setting that came after a run counts with its default."""
        left_out = {*INCIDENTAL, *self.varied, "data_dir", "cross_validate"}
        kept = {name: value for name, value in {**self.defaults, **self.settings}.items() if name not in left_out}
        return json.dumps([self.experiment, kept, self.machine], sort_keys=True)


def finished_runs(paths: Iterable[Path]) -> list[FinishedRun]:
    """The runs of run folders, and of folders of repeats, in the order given.

    Raises:
        SettingError: something that is neither, or a run that is not finished.
    """
    found = []
    for path in paths:
        if (path / "repeats.json").is_file():
            variants = read_json(path / "repeats.json")["variants"]
            varied = tuple({name for changes in variants.values() for name in changes} | {"seed"})
            found += [_finished(path / name, varied) for name in variants]
        else:
            found.append(_finished(path, ("seed",)))
    return found


def _finished(path: Path, varied: tuple[str, ...]) -> FinishedRun:
    folder = RunFolder.open(path)
    config, environment, results = folder.config, folder.environment, folder.results
    if not {"experiment", "settings"} <= config.keys():
        raise SettingError(f"{path} was not made by an experiment")
    missing = {"seconds_training", "test_accuracy", "final_test_accuracy", "epochs", "engine"} - results.keys()
    if missing:
        raise SettingError(f"{path / 'results.json'} has no {', '.join(sorted(missing))}; is it the file of a run?")
    machine = f"{environment.get('cores')} cores, {environment.get('processor') or environment.get('machine')}"
    defaults = _defaults(config)
    return FinishedRun(path, config["experiment"], config["settings"], varied, results, machine, defaults)


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's own settings, those of --quick if it was given; nothing that a run folder names is run."""
    if config["experiment"] not in experiment_names():
        return dict(config.get("defaults", {}))
    file = load_experiment(config["experiment"])
    return dict(
        jsonable({**dataclasses.asdict(file.config()), **(file.quick if config["settings"].get("quick") else {})})
    )


def table(runs: Sequence[FinishedRun]) -> str:
    """Markdown, a line for each group of runs."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(group))} |" for group in groups.values()]
    return "\n".join(lines) + "\n"


def _cells(runs: Sequence[FinishedRun]) -> list[str]:
    seconds = [run.results["seconds_training"] for run in runs]
    engines = ", ".join(sorted({str(run.results["engine"]) for run in runs}))
    return [
        f"`{command(runs[0])}`",
        _which(runs),
        _accuracy(runs, "test_accuracy") if runs[0].results.get("best_validation_accuracy") is not None else "-",
        _accuracy(runs, "final_test_accuracy"),
        ", ".join(sorted({str(run.results["epochs"]) for run in runs})),
        f"{fmean(seconds):.0f} s",
        f"{runs[0].machine}, {engines}",
    ]


def _which(runs: Sequence[FinishedRun]) -> str:
    """Seeds, or folds with the accuracy of each."""
    folds = [name for name in runs[0].varied if name != "seed"]
    seeds = ", ".join(str(seed) for seed in sorted({run.settings["seed"] for run in runs}))
    if not folds:
        return f"seed{'s' if ',' in seeds else ''} {seeds}"
    each: dict[str, list[float]] = {}
    for run in runs:
        name = " ".join(str(run.settings[fold]) for fold in folds if not isinstance(run.settings[fold], bool))
        each.setdefault(name, []).append(run.results["final_test_accuracy"])
    words = ", ".join(f"{name} {100 * fmean(values):.1f}" for name, values in each.items())
    return f"{' and '.join(f for f in folds if not isinstance(runs[0].settings[f], bool))}: {words}; seed {seeds}"


def _accuracy(runs: Sequence[FinishedRun], key: str) -> str:
    values = [run.results[key] for run in runs if run.results.get(key) is not None]
    return percent(fmean(values), deviation(values)) if len(values) == len(runs) else "-"


def command(run: FinishedRun) -> str:
    """The command line that starts such runs: what differs from the experiment's defaults."""
    skipped = {*INCIDENTAL, *run.varied, "data_dir", "cross_validate"}
    words = ["train", run.experiment if not run.experiment.endswith(".py") else Path(run.experiment).name]
    for name, value in run.settings.items():
        if name not in skipped and value != run.defaults.get(name):
            words.append(_option(name, value))
    return " ".join(words)


def _option(name: str, value: Any) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    if isinstance(value, list):
        return f"--{option} {' '.join(map(str, value))}"
    return f'--{option} "{value}"' if isinstance(value, str) and not value.isidentifier() else f"--{option} {value}"


def placed(document: str, text: str, where: str) -> str:
    """`document` with `text` between the two marks.

    Raises:
        SettingError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SettingError(f"{where} does not say where the table goes: put these two lines into it: {BEGIN} {END}")
    return f"{before}{BEGIN}\n{text}{END}{after}"
