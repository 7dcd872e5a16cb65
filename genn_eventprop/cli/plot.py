"""``plot RUN...``: figures of finished or running trainings, made from their run folders only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ..data import Events
from ..data.inputs import DataSet, load_data
from ..deploy.trained import TrainedModel, load
from ..errors import EventPropError, SettingError, TrainingError, UsageError, check_known
from ..experiment.experiment import open_run
from ..plan import Plan
from ..plan.synapse_tables import Tables
from ..report import plots
from ..runs import mark
from ..runs.checkpoint import load_checkpoint
from ..runs.run_folder import FIRST, MODEL, SAMPLES, RunFolder, runs_in
from ..runs.weights import read_weights
from ..training import Trainer, record_trial
from ..training.evaluator import Evaluation
from ..training.metrics import confusion_matrix
from .options import operand

AT_MOST = 512
"""Samples of which spikes are counted."""


def plot(
    runs: Annotated[tuple[Path, ...], *operand("RUN...")],
    out: Path | None = None,
    only: str | None = None,
    data: Literal["train", "validation", "test"] | None = None,
    sample: int = 0,
    checkpoint: Literal["best", "last"] = "best",
    page: Path | None = None,
    engine: str | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
    trust: bool = False,
) -> None:
    """Plot training curves, trials, confusion, spike counts and weights of runs: plot runs/yin_yang-seed1-1.

    Draw figures of one or more runs into the folder plots/ of each, or, of a single run, into --out.

    curves: loss, accuracy, activity. trial: one sample, with spikes, V and its adjoint. labels: one sample with a
    label at each step, true and predicted. confusion: confusion matrix of the test set if the run has finished,
    otherwise of --data. predictions: of a regression, against its targets. spikes: histograms of spike counts.
    weights: before and after training. Where there are such connections: delays before and after training,
    connectivity of every sparse connection, kernels of every convolution (an image for each input channel). Several
    runs also get a common figure, OUT/training_curves. A folder of repeats or of a scan stands for its runs. Only
    the run folders are read, which hold some held-out samples, unless --data names a data set.

    Args:
        runs: Run folders.
        out: Folder for the figures of a single run, default plots/ in it; of several runs for the common one, default
            plots/ here.
        only: Names of figures from this list, separated by commas.
        data: Data set for trial, spikes and confusion, rebuilt by the experiment; default: the samples in the folder.
        sample: Index of the sample for trial, from 0.
        checkpoint: The weights chosen on validation (best), or those of the last epoch.
        page: With --data: your own experiment file, if the runs were made with one.
        engine: An engine other than that of the training.
        format: File format of the figures.
        trust: With --data: run and open the files that the runs' settings name (--neuron FILE:NAME, --data-dir).
    """
    if not runs:
        raise UsageError("plot: name at least one run folder, e.g. runs/yin_yang-seed1-1")
    selection = _selection(only)
    folders = [folder for path in runs for folder in runs_in(path)]
    if len(folders) > 1 and "curves" in selection:
        together = (out or Path("plots")) / f"training_curves.{format}"
        mark.check_written_by_us(together, "--out")
        print(plots.save(_together(folders), together))
    failed = []
    for folder in folders:
        place = folder / "plots" if out is None or len(folders) > 1 else out
        run = Run(folder, data, sample, checkpoint, page, engine, trust)
        for name in selection:
            try:
                figures = FIGURES[name](run)
                several = figures if isinstance(figures, dict) else {name: figures}
                for file, figure in several.items():
                    drawn = place / f"{file}.{format}"
                    if place == out:
                        mark.check_written_by_us(drawn, "--out")
                    print(plots.save(figure, drawn))
            except MissingPlot as error:
                # not every network has delays or kernels: that is an error only for someone who asked for them
                if only is not None:
                    failed.append(f"{name} of {folder}: {error}")
            except EventPropError as error:
                failed.append(f"{name} of {folder}: {error}")
    # said at the end, so that one run that cannot be read does not take the figures of the others away
    if failed:
        raise TrainingError("not drawn:\n  " + "\n  ".join(failed))


def _selection(only: str | None) -> list[str]:
    names = list(FIGURES) if only is None else [name.strip() for name in only.split(",")]
    for name in names:
        check_known(name, FIGURES, SettingError, f"--only: there is no figure {name!r}; ")
    return names


class MissingPlot(SettingError):
    """The network has nothing that this figure shows."""


@dataclass
class Run:
    """A run folder and, made at first use, its trained model with some samples."""

    path: Path
    data: str | None
    sample: int
    checkpoint: str
    page: Path | None
    engine: str | None
    trust: bool = False

    @cached_property
    def model(self) -> TrainedModel:
        """The model of the folder: numbers, no code."""
        return load(self.path, checkpoint=self.checkpoint, engine=self.engine)

    @cached_property
    def opened(self) -> tuple[TrainedModel, DataSet]:
        """The model of the folder and the samples in it."""
        model = self.model
        if not (self.path / SAMPLES).is_file():
            raise SettingError(f"{self.path} has no {SAMPLES}; name a data set, e.g. --data train")
        return model, load_data(self.path / SAMPLES)

    @cached_property
    def built(self) -> tuple[Trainer, DataSet]:
        """The experiment's trainer with the trained weights, and the data set that --data names."""
        file, config, folder = open_run(self.path, self.page, self.trust, engine=self.engine)
        experiment = file.experiment(config)
        experiment.trainer.load_checkpoint(folder.checkpoint(self.checkpoint))
        events = experiment.events(str(self.data))
        if events is None:
            raise SettingError(f"experiment {file.name} has no {self.data} set")
        return experiment.trainer, events

    @property
    def at_hand(self) -> tuple[Trainer | TrainedModel, DataSet]:
        """What the user asked for."""
        return self.opened if self.data is None else self.built

    @property
    def plan(self) -> Plan:
        return self.model.plan

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """The trained ones."""
        return load_checkpoint(self.folder.checkpoint(self.checkpoint)).section("parameters")

    @property
    def first(self) -> Mapping[str, np.ndarray]:
        """What is learned, before training."""
        if not (self.path / FIRST).is_file():
            raise SettingError(f"{self.path} has no {FIRST}: it was made by an older version")
        return read_weights(self.path / FIRST, self.parameters)

    @property
    def names(self) -> list[str]:
        """Names of the classes, as far as the experiment gave them."""
        return list(self.folder.config.get("class_names", []))

    @property
    def folder(self) -> RunFolder:
        return RunFolder.open(self.path)


def _curves(run: Run) -> Any:
    has_model = (run.path / MODEL).is_file()
    sizes = {p["name"]: p["size"] for p in run.folder.model["network"]["populations"]} if has_model else {}
    return plots.learning_curves(run.folder.metrics, sizes=sizes)


def _trial(run: Run) -> Any:
    model, events = run.at_hand
    if not 0 <= run.sample < len(events):
        raise SettingError(f"--sample {run.sample}: the set has {len(events)} samples, 0 to {len(events) - 1}")
    result = _evaluated(model, events[run.sample])
    if result.labels.ndim == 2:
        raise MissingPlot("a label at each step has a figure of its own; --only labels")
    record = record_trial(model, events, run.sample)
    prediction = None if math.isnan(result.accuracy) else int(result.predictions[0])
    return plots.trial(record, run.names, prediction=prediction)


def _confusion(run: Run) -> Any:
    finished = (run.path / "results.json").is_file() and run.folder.results.get("test")
    if finished and run.data is None:  # counted when the training ended: no data is needed
        if run.folder.results.get("test_explained_variance") is not None:
            raise MissingPlot(NO_CLASSES)
        return plots.confusion(np.array(finished["confusion"]), run.names, "Test set")
    result = _evaluated(*run.at_hand)
    if not math.isnan(result.explained):
        raise MissingPlot(NO_CLASSES)
    matrix = confusion_matrix(result.labels.ravel(), result.predictions.ravel(), result.scores.shape[-1])
    return plots.confusion(matrix, run.names, (run.data or "held-out").capitalize() + " set")


def _labels(run: Run) -> Any:
    model, events = run.at_hand
    if not 0 <= run.sample < len(events):
        raise SettingError(f"--sample {run.sample}: the set has {len(events)} samples, 0 to {len(events) - 1}")
    result, drawn = _evaluated(model, events[run.sample]), events[run.sample]
    if result.labels.ndim != 2:
        raise MissingPlot("the loss has no label at each step; --only trial")
    parts = (result.labels, result.predictions, result.scores)
    title = f"{(run.data or 'held-out').capitalize()} set, sample {run.sample}"
    return plots.label_steps(drawn if isinstance(drawn, Events) else None, *parts, model.plan.dt, run.names, title)


def _predictions(run: Run) -> Any:
    model, events = run.at_hand
    result = _evaluated(model, events)
    if math.isnan(result.explained):
        raise MissingPlot("the loss does not compare one number an output with targets; --only confusion")
    scale = model.target_scale if isinstance(model, Trainer) else model.described.target_scale
    title = (run.data or "held-out").capitalize() + " set"
    return plots.predictions(*plots.in_units(scale, events, result), run.names, title)


def _evaluated(model: Trainer | TrainedModel, events: DataSet) -> Evaluation:
    return model.evaluate(events) if isinstance(model, Trainer) else model.evaluate(events, prepared=True)


def _spikes(run: Run) -> Any:
    model, events = run.at_hand
    some = events[:AT_MOST]
    return plots.spike_histograms(
        model.spike_counts(some) if isinstance(model, Trainer) else model.spike_counts(some, prepared=True)
    )


def _weights(run: Run) -> Any:
    first, last = run.first, run.parameters  # the former has only what is learned
    return plots.weights({name: last[name] for name in first if name in last}, first)


def _delays(run: Run) -> Any:
    learned = [(c, c.delays.limit) for c in run.plan.connections if c.delays is not None and c.delays.trainable]
    if not learned:
        raise MissingPlot("no connection learns its delays")
    now, before = ({c.name: values[c.delays_name] for c, _ in learned} for values in (run.parameters, run.first))
    return plots.delays(now, before, {c.name: limit for c, limit in learned})


def _connectivity(run: Run) -> Any:
    sparse, tables, parameters = [c for c in run.plan.connections if c.drawn], Tables(run.plan), run.parameters
    if not sparse:
        raise MissingPlot("no connection is sparse")
    return {
        f"connectivity_{c.name}": plots.connectivity(tables.of(c, parameters), parameters[c.weight], c.name)
        for c in sparse
    }


def _kernels(run: Run) -> Any:
    # weights (height, width, channels in, channels out); shared ones are drawn with the connection that owns them
    convolutions = [c for c in run.plan.connections if len(c.weight_shape) == 4 and not c.shares]
    if not convolutions:
        raise MissingPlot("no connection is a convolution")
    figures = {}
    for c in convolutions:
        for channel in range(c.weight_shape[2]):
            suffix = f"_{channel}" if c.weight_shape[2] > 1 else ""
            figures[f"kernels_{c.name}{suffix}"] = plots.kernels(run.parameters[c.weight], channel)
    return figures


def _together(folders: Sequence[Path]) -> Any:
    metrics, notes = {}, {}
    for path in folders:
        folder = RunFolder.open(path)
        # the shortest name that tells the runs apart
        name = path.name if len({p.parent for p in folders}) == 1 else f"{path.parent.name}/{path.name}".lstrip("/")
        name = str(path) if name in metrics else name
        metrics[name] = folder.metrics
        if (path / "results.json").is_file() and folder.results["test_accuracy"] is not None:
            notes[name] = f"test {100 * folder.results['test_accuracy']:.2f} %"
    return plots.compare_runs(metrics, notes)


NO_CLASSES = "a regression has no classes; --only predictions"
FIGURES: dict[str, Callable[[Run], Any]] = {
    "curves": _curves,
    "trial": _trial,
    "labels": _labels,
    "confusion": _confusion,
    "predictions": _predictions,
    "spikes": _spikes,
    "weights": _weights,
    "delays": _delays,
    "connectivity": _connectivity,
    "kernels": _kernels,
}
