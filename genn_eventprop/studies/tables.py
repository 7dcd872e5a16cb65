"""Tables in Markdown: of finished runs, for a document, and of a scan, in the order of validation accuracy.

Both have a line for each setting, over its seeds or folds. The table of a scan must not invite choosing by the test
set: test accuracy stands only with the line that validation chose, unless the experiment has no validation set.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import SettingError
from ..experiment.experiment import experiment_names, load_experiment
from ..runs import mark
from ..runs.run_folder import RunFolder, jsonable
from ..runs.run_index import records
from ..training import compared, diagnosis
from ..training.accounting import energy_words
from ..training.diagnosis import Finding
from .comparison import interval, paired
from .repeats import INCIDENTAL, deviation, percent, summarise, variants_of

BEGIN, END = "<!-- table of results: begin -->", "<!-- table of results: end -->"
COLUMNS = (
    "experiment and settings",
    "runs",
    "test accuracy, chosen on validation",
    "test accuracy, last epoch",
    "without a network",
    "epochs",
    "a test sample: spikes a neuron, synaptic operations, energy",
    "time per run",
    "machine",
)

NEEDED = ("seconds_training", "test_accuracy", "final_test_accuracy", "epochs", "engine")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], aligned: bool = True) -> str:
    """A table in Markdown.

    Args:
        aligned: pad the cells, for a terminal; a document, whose cells may be long, is easier to compare without.
    """
    widths = [max(map(len, column)) if aligned else 0 for column in zip(heads, *rows)]
    rule = "|" + "|".join("-" * (width + 2) if aligned else "---" for width in widths) + "|"
    padded = ([cell.ljust(width) for cell, width in zip(cells, widths)] for cells in (heads, *rows))
    first, *others = (f"| {' | '.join(cells)} |" for cells in padded)
    return "\n".join([first, rule, *others]) + "\n"


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
        # where the data lay, and that all folds were asked for at once, change no number
        left_out = {*INCIDENTAL, *self.varied, "data_dir", "cross_validate"}
        settings = {name: value for name, value in {**self.defaults, **self.settings}.items() if name not in left_out}
        return json.dumps([self.experiment, settings, self.machine], sort_keys=True)


def finished_runs(paths: Iterable[Path]) -> tuple[list[FinishedRun], list[str]]:
    """The runs of run folders, and of folders of repeats, in the order given; and words for each that has no results:
    one that is not finished, or no run folder."""
    folders: list[tuple[Path, tuple[str, ...]]] = []
    for path in paths:
        if mark.kind_of(path) == "repeats":
            variants = variants_of(path)
            varied = tuple({name for changes in variants.values() for name in changes} | {"seed"})
            folders += [(path / name, varied) for name in variants]
        else:
            folders.append((path, ("seed",)))
    left_out: list[str] = []

    def read(path: Path) -> dict[str, Any]:
        try:
            return _record(path)
        except SettingError as error:
            left_out.append(str(error))
            return {}

    # the index keeps what the folders say; the defaults of now are added afterwards, since they change with the version
    installed, results = set(experiment_names()), records((path for path, _ in folders), read)
    finished = [(*folder, record) for folder, record in zip(folders, results) if record]
    return [_finished(path, varied, record, installed) for path, varied, record in finished], left_out


def _record(path: Path) -> dict[str, Any]:
    """What the table needs of a run folder.

    Raises:
        SettingError: it is none, or the run is not finished.
    """
    folder = RunFolder.open(path)
    config, environment, results = folder.config, folder.environment, folder.results
    if not {"experiment", "settings"} <= config.keys():
        raise SettingError(f"{path} was not made by an experiment")
    missing = set(NEEDED) - results.keys()
    if missing:
        raise SettingError(f"{path / 'results.json'} has no {', '.join(sorted(missing))}; is it the file of a run?")
    machine = f"{environment.get('cores')} cores, {environment.get('processor') or environment.get('machine')}"
    return {
        "experiment": config["experiment"], "settings": config["settings"], "defaults": config.get("defaults", {}),
        "machine": machine, "results": results,
    }  # fmt: skip


def _finished(
    path: Path, varied: tuple[str, ...], record: Mapping[str, Any], installed: Collection[str]
) -> FinishedRun:
    settings, defaults = record["settings"], record["defaults"]
    if record["experiment"] in installed:
        defaults = _defaults(record["experiment"], bool(settings.get("quick")))
    return FinishedRun(path, record["experiment"], settings, varied, record["results"], record["machine"], defaults)


@lru_cache
def _defaults(experiment: str, quick: bool) -> dict[str, Any]:
    """The experiment's own settings, those of --quick if it was given; nothing that a run folder names is run."""
    file = load_experiment(experiment)
    return dict(jsonable({**dataclasses.asdict(file.config()), **(file.quick if quick else {})}))


def table(runs: Sequence[FinishedRun]) -> str:
    """Markdown, a line for each group of runs."""
    return markdown_table(COLUMNS, [_cells(group) for group in groups_of(runs).values()], aligned=False)


def groups_of(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Runs that share a line of the table."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def _cells(runs: Sequence[FinishedRun]) -> list[str]:
    seconds = [run.results["seconds_training"] for run in runs]
    engines = ", ".join(sorted({str(run.results["engine"]) for run in runs}))
    return [
        f"`{command(runs[0])}`",
        _which(runs),
        _accuracy(runs, "test_accuracy") if runs[0].results.get("best_epoch") is not None else "-",
        _accuracy(runs, "final_test_accuracy"),
        _baselines(runs),
        ", ".join(sorted({str(run.results["epochs"]) for run in runs})),
        _costs(runs),
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


def _costs(runs: Sequence[FinishedRun]) -> str:
    """The means over runs; "-" for runs of a version that did not count."""
    costs: list[dict[str, Any]] = [run.results.get("costs") or {} for run in runs]
    if not all(costs):
        return "-"
    spikes = ", ".join(f"{fmean(c['spikes'][name] for c in costs):.3g}" for name in costs[0]["spikes"])
    operations, energy = (fmean(c[key] for c in costs) for key in ("synaptic_operations", "energy_nJ"))
    return f"{spikes}; {operations:,.0f}; {energy_words(energy)}"


def _baselines(runs: Sequence[FinishedRun]) -> str:
    """Chance, and the classical methods that all runs know, on the test set; means over runs."""
    each = [compared.from_results(run.results, "test") for run in runs]
    names = [name for name in each[0] if all(name in of_run for of_run in each)]
    regression = any(run.results.get("final_test_explained_variance") is not None for run in runs)
    words = "{0} {1:.3f}" if regression else "{0} {2:.1f} %"
    means = {name: fmean(of_run[name] for of_run in each) for name in names}
    return ", ".join(words.format(name, mean, 100 * mean) for name, mean in means.items()) or "-"


def _accuracy(runs: Sequence[FinishedRun], key: str) -> str:
    """Mean, deviation and 95 % interval; of a regression the mean of what it explains."""
    explained: list[Any] = [run.results.get(key.replace("accuracy", "explained_variance")) for run in runs]
    if all(value is not None for value in explained):
        return f"explained variance {fmean(explained):.3f}"
    values = [run.results[key] for run in runs if run.results.get(key) is not None]
    # a mean over some of the runs would stand beside one over all, as if they could be compared
    if len(values) < len(runs):
        return "-"
    bounds = interval(values, limits=(0.0, 1.0))
    interval_text = "" if bounds is None else f" ({100 * bounds[0]:.2f} to {100 * bounds[1]:.2f})"
    return percent(fmean(values), deviation(values)) + interval_text


def comparisons(runs: Sequence[FinishedRun]) -> str:
    """Markdown: every line of the table against the first, on the seeds and folds that both have."""
    grouped = list(groups_of(runs).values())
    heads = ("compared with " + f"`{command(grouped[0][0])}`", "pairs", "difference (95 % interval)", "p")
    rows = []
    first = _by_pair(grouped[0])
    for group in grouped[1:]:
        comparison = paired(first, _by_pair(group), limit=1.0)
        cells = ["0", "no seed or fold in common", "-"]
        if comparison is not None:
            bounds = comparison.interval
            interval_text = "" if bounds is None else f" ({100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f})"
            cells = [str(comparison.pairs), f"{100 * comparison.mean:+.2f} %{interval_text}", f"{comparison.p:.4f}"]
        rows.append([f"`{command(group[0])}`", *cells])
    return markdown_table(heads, rows, aligned=False)


def activities(runs: Sequence[FinishedRun]) -> str:
    """Markdown: what the layers that spike did, in every line, in the training trials of the last epoch."""
    rows = []
    for group in groups_of(runs).values():
        last = [epochs[-1] for run in group if (epochs := RunFolder.open(run.folder).metrics)]
        for layer in last[0].get("silent", {}) if last else ():
            silent, spikes = ([line[key][layer] for line in last] for key in ("silent", "spikes_per_neuron"))
            rows.append([f"`{command(group[0])}`", layer, _spread(silent, "d"), _spread(spikes, ".2f")])
    heads = ("in training, last epoch", "layer", "silent neurons", "spikes per neuron")
    return markdown_table(heads, rows, aligned=False)


def diagnoses(runs: Sequence[FinishedRun]) -> str:
    """Markdown: what is wrong with the trainings of every line, each cause once, in the words of the first run that has
    it; "" if nothing is."""
    rows = []
    for group in groups_of(runs).values():
        found: dict[str, list[Finding]] = {}
        for run in group:
            for finding in diagnosis.from_results(run.results):
                found.setdefault(finding.cause, []).append(finding)
        for cause, findings in found.items():
            how_many, first = f"{len(findings)} of {len(group)} runs", findings[0]
            rows.append([f"`{command(group[0])}`", how_many, cause, first.sentence, first.remedy or "-"])
    return markdown_table(("diagnosis", "in", "cause", "measured", "try"), rows, aligned=False) if rows else ""


def _spread(values: Sequence[float], form: str) -> str:
    """The smallest and the largest, and their mean."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}, mean {fmean(values):.{1 if form == 'd' else 2}f}"


def _by_pair(runs: Sequence[FinishedRun]) -> dict[object, float]:
    """(seed, fold) -> test accuracy, of the weights chosen on validation where there was one."""
    validated = all(run.results.get("best_validation_accuracy") is not None for run in runs)
    key = "test_accuracy" if validated else "final_test_accuracy"
    pairs: dict[object, float] = {}
    for run in runs:
        if run.results.get(key) is not None:
            # sorted: two folders of repeats may name what varies in another order
            varied = sorted({*run.varied, "seed"})
            pairs[json.dumps([[name, run.settings.get(name)] for name in varied])] = run.results[key]
    return pairs


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


def with_table(document: str, text: str, where: str) -> str:
    """`document` with `text` between the two marks.

    Raises:
        SettingError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SettingError(f"{where} does not say where the table goes: put these two lines into it: {BEGIN} {END}")
    return f"{before}{BEGIN}\n{text}{END}{after}"


Row = dict[str, Any]


def scan_rows(cells: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """One row for each combination of settings other than the seed: settings, runs, wanted runs, summary.

    Args:
        cells: cell name -> settings of the grid. results: cell name -> results.json, of the finished ones.
    """
    groups: dict[str, Row] = {}
    for name, values in cells.items():
        settings = {k: v for k, v in values.items() if k != "seed"}
        # repr, since values may be lists, which are no keys
        row = groups.setdefault(repr(settings), {"settings": settings, "wanted": 0, "cells": []})
        row["wanted"] += 1
        row["cells"] += [name] if name in results else []
    rows = []
    for row in groups.values():
        summary = summarise({name: results[name] for name in row["cells"]})
        rows.append({**row, "runs": len(row["cells"]), "summary": summary})
    return sorted(rows, key=_score, reverse=True)


def _score(row: Row) -> float:
    """Mean validation accuracy; rows without one keep their order behind the others."""
    return float(row["summary"].get("best_validation_accuracy", {}).get("mean", -1.0))


def scan_table(rows: Sequence[Row]) -> str:
    """The table, and below it the chosen setting with its test accuracy."""
    # the first row has the best score: without one nothing was chosen, and the test set is all there is to show
    chosen_by_validation = bool(rows) and _score(rows[0]) >= 0
    names = list(rows[0]["settings"]) if rows else []
    heads = [*names, "runs", "validation" if chosen_by_validation else "test (no validation set)", "s per run"]
    number = "best_validation_accuracy" if chosen_by_validation else "test_accuracy"
    body = [[*(_text(row["settings"][n]) for n in names), *_numbers(row, number)] for row in rows]
    return markdown_table(heads, body) + (f"\n{_choice(rows[0])}\n" if chosen_by_validation else "")


def _choice(row: Row) -> str:
    settings = ", ".join(f"{name} {_text(value)}" for name, value in row["settings"].items()) or "the only setting"
    test = row["summary"].get("test_accuracy")
    words = "no test set" if test is None else f"test accuracy {percent(test['mean'], test['deviation'])}"
    return f"Chosen on validation: {settings}; {words}."


def _numbers(row: Row, number: str) -> list[str]:
    runs = f"{row['runs']}" if row["runs"] == row["wanted"] else f"{row['runs']} of {row['wanted']}"
    accuracy, seconds = row["summary"].get(number), row["summary"].get("seconds_training")
    return [
        runs,
        "-" if accuracy is None else percent(accuracy["mean"], accuracy["deviation"]),
        "-" if seconds is None else f"{seconds['mean']:.1f}",
    ]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
