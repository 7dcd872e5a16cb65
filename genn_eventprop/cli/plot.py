"""``plot RUN...``: figures of finished or running trainings, from their run folders alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from .. import plots
from ..errors import EventPropError, SettingError, TrainingError, suggest
from ..training import Trainer, record_trial
from ..training.experiment import open_run
from ..training.metrics import confusion_matrix
from ..training.run_folder import RunFolder
from .options import parse

AT_MOST = 512
"""Samples of which spikes are counted."""


def plot(arguments: Sequence[str], program: str) -> None:
    """Draw training curves, rasters, confusion, spike counts and weights of runs: plot runs/yin_yang-seed1-1."""
    parse(_plot, arguments, program)


def _plot(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    out: Path = Path("plots"),
    only: str | None = None,
    data: Literal["train", "validation", "test"] | None = None,
    sample: int = 0,
    checkpoint: Literal["best", "last"] = "best",
    page: Path | None = None,
    engine: str | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
) -> None:
    """Draw figures of one run or several, into the folder plots/ of each run.

    curves: loss, accuracy, activity. raster: one sample from input to readout voltages. confusion: of the test set if
    the run has finished, else of the data below. spikes: histograms of spike counts. weights: before and after.
    Several runs also get one page together, OUT/training_curves. A folder of repeats or of a scan stands for its runs.

    Args:
        runs: Run folders.
        out: Where the page of several runs goes.
        only: Some of curves, raster, confusion, spikes, weights, with commas between.
        data: Data set of raster, spikes and confusion; default: validation if there is one, else train.
        sample: Which sample of it the raster shows, counted from 0.
        checkpoint: The weights chosen on validation, or those of the last epoch.
        page: The experiment that made the runs, if it is a file of your own: it is run to get the data.
        engine: Engine instead of the run's own.
        format: Of the pictures.
    """
    if not runs:
        raise SettingError("plot: name at least one run folder, runs/yin_yang-seed1-1 for instance")
    wanted = _wanted(only)
    found = [folder for path in runs for folder in runs_in(path)]
    if len(found) > 1 and "curves" in wanted:
        print(plots.save(_together(found), out / f"training_curves.{format}"))
    failed = []
    for folder in found:
        run = Run(folder, data, sample, checkpoint, page, engine)
        for name in wanted:
            try:
                print(plots.save(FIGURES[name](run), folder / "plots" / f"{name}.{format}"))
            except EventPropError as error:
                failed.append(f"{name} of {folder}: {error}")
    if failed:
        raise TrainingError("not drawn:\n  " + "\n  ".join(failed))


def _wanted(only: str | None) -> list[str]:
    names = list(FIGURES) if only is None else [name.strip() for name in only.split(",")]
    for name in names:
        if name not in FIGURES:
            raise SettingError(f"--only: there is no figure {name!r}; {suggest(name, FIGURES)}")
    return names


def runs_in(path: Path) -> list[Path]:
    """The run folder itself, or the runs below a folder of repeats or of a scan."""
    if (path / "config.json").is_file():
        return [path]
    below = sorted(p.parent for p in path.glob("*/config.json"))
    if not below:
        raise SettingError(f"{path} is not a run folder (it has no config.json), nor does it hold any")
    return below


@dataclass
class Run:
    """A run folder and, made at first use, its trainer with the trained weights."""

    path: Path
    data: str | None
    sample: int
    checkpoint: str
    page: Path | None
    engine: str | None

    @cached_property
    def opened(self) -> tuple[Trainer, Any, dict[str, np.ndarray]]:
        """(trainer with the weights of the checkpoint, events, initial parameters)."""
        file, config, folder = open_run(self.path, self.page, engine=self.engine)
        experiment = file.build(config)
        trainer = experiment.trainer
        first = {name: value.copy() for name, value in trainer.engine.parameters.items()}
        trainer.load_checkpoint(folder.checkpoint(self.checkpoint))
        events = experiment.events(self.data or ("train" if experiment.validation is None else "validation"))
        if events is None:
            raise SettingError(f"experiment {file.name} has no {self.data} set")
        return trainer, events, first

    @property
    def names(self) -> list[str]:
        """Names of the classes, as far as the experiment gave them."""
        return list(self.folder.config.get("class_names", []))

    @property
    def folder(self) -> RunFolder:
        return RunFolder.open(self.path)


def _curves(run: Run) -> Any:
    return plots.learning_curves(run.folder.metrics)


def _raster(run: Run) -> Any:
    trainer, events, _ = run.opened
    if not 0 <= run.sample < len(events):
        raise SettingError(f"--sample {run.sample}: the set has {len(events)} samples, 0 to {len(events) - 1}")
    record = record_trial(trainer, events, run.sample)
    called = int(trainer.predict(events[run.sample])[0])
    output = trainer.plan.output
    return plots.layers(record, output.name, output.derived.model.readout, called, run.names)


def _confusion(run: Run) -> Any:
    finished = (run.path / "results.json").is_file() and run.folder.results.get("test")
    if finished and run.data is None:
        return plots.confusion(np.array(finished["confusion"]), run.names, "Test set")
    trainer, events, _ = run.opened
    result = trainer.evaluate(events)
    matrix = confusion_matrix(result.labels, result.predictions, result.scores.shape[1])
    return plots.confusion(matrix, run.names, (run.data or "held-out").capitalize() + " set")


def _spikes(run: Run) -> Any:
    trainer, events, _ = run.opened
    return plots.spike_histograms(trainer.spike_counts(events[:AT_MOST]))


def _weights(run: Run) -> Any:
    trainer, _, first = run.opened
    names = trainer.plan.trainable
    return plots.weights({n: trainer.engine.parameters[n] for n in names}, {n: first[n] for n in names})


def _together(folders: Sequence[Path]) -> Any:
    metrics, notes = {}, {}
    for path in folders:
        folder = RunFolder.open(path)
        name = path.name if len({p.parent for p in folders}) == 1 else f"{path.parent.name}/{path.name}".lstrip("/")
        name = str(path) if name in metrics else name
        metrics[name] = folder.metrics
        if (path / "results.json").is_file() and folder.results["test_accuracy"] is not None:
            notes[name] = f"test {100 * folder.results['test_accuracy']:.2f} %"
    return plots.compare_runs(metrics, notes)


FIGURES: dict[str, Callable[[Run], Any]] = {
    "curves": _curves,
    "raster": _raster,
    "confusion": _confusion,
    "spikes": _spikes,
    "weights": _weights,
}
