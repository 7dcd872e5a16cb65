"""What the finished runs of a paper say: accuracies, activity, time, machine of every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from ...runs.run_folder import RunFolder, run_state
from ...studies.comparison import Paired, paired
from ...studies.repeats import deviation
from .paper import Cell, Paper, Table

Lines = list[dict[str, Any]]
"""Of metrics.jsonl."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One cell and its finished runs.

    Args:
        runs: run name -> results.json.
        metrics: run name -> lines of metrics.jsonl. total: number of runs that the cell has.
        accuracy: key of results.json that counts, as the paper reports it.
    """

    cell: Cell
    accuracy: str
    runs: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Lines]
    folders: Mapping[str, Path]
    total: int

    @cached_property
    def values(self) -> dict[str, float]:
        """Run name -> test accuracy in per cent, of the runs that have one."""
        accuracies = {name: results.get(self.accuracy) for name, results in self.runs.items()}
        return {name: 100 * value for name, value in accuracies.items() if value is not None}

    @property
    def mean(self) -> float | None:
        return fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; with folds, of the seeds' means over all folds."""
        if not self.cell.folds:
            return deviation(self.values.values())
        folds = self.total // len(self.cell.seeds)
        means = [fmean(v) for v in self._by_seed().values() if len(v) == folds]
        return deviation(means)

    def _by_seed(self) -> dict[int, list[float]]:
        accuracies: dict[int, list[float]] = {}
        for name, value in self.values.items():
            accuracies.setdefault(int(self.cell.runs()[name]["seed"]), []).append(value)
        return accuracies

    def by_fold(self) -> dict[str, float]:
        """What is held out -> mean accuracy over the seeds that are finished."""
        accuracies: dict[str, list[float]] = {}
        for name, settings in self.cell.runs().items():
            if name in self.values:
                accuracies.setdefault(", ".join(str(settings[key]) for key in self.cell.folds), []).append(
                    self.values[name]
                )
        return {fold: fmean(values) for fold, values in accuracies.items()}

    @property
    def seeds(self) -> list[int]:
        """Seeds that have a finished run."""
        return sorted({int(self.cell.runs()[name]["seed"]) for name in self.runs})

    @property
    def seconds(self) -> float | None:
        """Training time of a run."""
        return fmean(r["seconds_training"] for r in self.runs.values()) if self.runs else None

    def hidden(self) -> tuple[float, float, int] | None:
        """(spikes per neuron and trial, silent neurons, neurons) of all hidden neurons in the last epoch, a mean."""
        activities = [hidden_activity(r.get("activity", {})) for r in self.runs.values()]
        activity = [f for f in activities if f is not None]
        if not activity or len(activity) < len(activities):
            return None
        spikes, silent, neurons = zip(*activity)
        return fmean(spikes), fmean(silent), neurons[0]

    def by_pair(self) -> dict[object, float]:
        """Seed -> accuracy, to compare cells on the same ones; with folds, fold -> mean over seeds.

        Runs with the same data held out are not independent, so the folds are what is counted.
        """
        if self.cell.folds:
            return dict(self.by_fold().items())
        by_seed = ((name.removeprefix(f"{self.cell.name},"), value) for name, value in self.values.items())
        return dict[object, float](by_seed)


def hidden_activity(activity: Mapping[str, Mapping[str, Any]]) -> tuple[float, int, int] | None:
    """Spikes per neuron and trial, silent neurons and neurons of every spiking population but the output."""
    parts = [a for name, a in activity.items() if name != "output"]
    if not parts:
        return None
    neurons = sum(a["neurons"] for a in parts)
    return sum(a["spikes_per_neuron"] * a["neurons"] for a in parts) / neurons, sum(a["silent"] for a in parts), neurons


def collect(paper: Paper, folder: Path) -> dict[str, Outcome]:
    """Cell name -> its outcome, as far as runs in `folder` are finished."""
    return {cell.name: _outcome(table, cell, folder) for table in paper.tables for cell in table.cells}


def _outcome(table: Table, cell: Cell, folder: Path) -> Outcome:
    names = list(cell.runs())
    done = {name: folder / name for name in names if run_state(folder / name) == "finished"}
    runs = {name: RunFolder(path).results for name, path in done.items()}
    metrics = {name: RunFolder(path).readable_metrics for name, path in done.items()}
    return Outcome(cell, table.accuracy, runs, metrics, done, len(names))


@dataclass(frozen=True)
class Step:
    """Two neighbours in the paper's order: in how many seeds (or folds) the better one is better here too."""

    worse: str
    better: str
    agreeing: int
    compared: Paired


def order_steps(table: Table, outcomes: Mapping[str, Outcome]) -> list[Step]:
    """The paper's order, pair by pair, on the runs that both cells have."""
    steps = []
    for worse, better in zip(table.worst_first, table.worst_first[1:]):
        a, b = outcomes[worse].by_pair(), outcomes[better].by_pair()
        comparison = paired(a, b, limit=100.0)
        if comparison is not None:
            steps.append(Step(worse, better, sum(b[key] > a[key] for key in a if key in b), comparison))
    return steps


def machines(outcomes: Sequence[Outcome]) -> list[str]:
    """Machine and versions of all runs, each combination once."""
    descriptions: dict[str, None] = {}
    for outcome in outcomes:
        for folder in outcome.folders.values():
            e = RunFolder(folder).environment
            packages = ", ".join(f"{name} {v}" for name, v in e["packages"].items() if v)
            commit = f", commit {e['commit'][:12]}" if e.get("commit") else ""
            engine = next(iter(outcome.runs.values()))["engine"]
            words = f"{e['cores']} cores, {e['processor'] or e['machine']}; Python {e['python']}, {packages}{commit}; "
            descriptions[words + f"engine {engine}"] = None
    return list(descriptions)
