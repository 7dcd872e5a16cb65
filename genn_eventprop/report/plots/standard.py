"""The figures that suit any classifier: what the experiments of layered networks draw after training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ...data import Events
from ...data.inputs import DataSet
from ...training.evaluator import Evaluation
from ...training.metrics import confusion_matrix
from ...training.recording import record_trial
from .activity import spike_histograms
from .confusion import confusion
from .curves import learning_curves
from .label_steps import label_steps
from .predictions import in_units, predictions
from .raster import trial
from .style import save

if TYPE_CHECKING:
    from ...experiment import Experiment

RECORDINGS = 3
"""With a label at each step: test recordings that are drawn."""
COUNTED = 1000
"""Test samples at most, for confusion and spike counts."""


def standard(experiment: Experiment, folder: Path, target: float | None = None) -> None:
    """Learning curves, one trial, confusion (of a regression, predictions) and spike counts of the test set, with the
    chosen weights.

    Args:
        folder: where the pictures go.
        target: published accuracy in 0..1, drawn as a line.
    """
    trainer, test = experiment.trainer, experiment.test
    sizes = {p.name: p.size for p in trainer.plan.populations}
    save(learning_curves(trainer.state.metrics, target, sizes), folder / "curves.png")
    if test is None:
        return
    with trainer.best_weights():
        result = trainer.evaluate(test[:COUNTED])
        if result.labels.ndim == 2:  # a label at each step
            _of_steps(experiment, test, result, folder)
            return
        predicted = None if math.isnan(result.accuracy) else int(result.predictions[0])
        figure = trial(record_trial(trainer, test, 0), experiment.class_names, prediction=predicted)
        save(figure, folder / "trial.png")
        names = list(experiment.class_names)
        if math.isnan(result.explained):
            matrix = confusion_matrix(result.labels, result.predictions, result.scores.shape[1])
            save(confusion(matrix, names, "Test set"), folder / "confusion.png")
        else:
            pair = in_units(trainer.target_scale, test[:COUNTED], result)
            save(predictions(*pair, names, "Test set"), folder / "predictions.png")
        save(spike_histograms(trainer.spike_counts(test[:COUNTED])), folder / "spikes.png")


def _of_steps(experiment: Experiment, test: DataSet, result: Evaluation, folder: Path) -> None:
    """The first recordings with their labels, confusion of steps, spike counts."""
    trainer, names, few = experiment.trainer, list(experiment.class_names), slice(RECORDINGS)
    drawn = test[few] if isinstance(test, Events) else None
    parts = (result.labels[few], result.predictions[few], result.scores[few])
    save(label_steps(drawn, *parts, trainer.plan.dt, names, "Test set"), folder / "labels.png")
    matrix = confusion_matrix(result.labels.ravel(), result.predictions.ravel(), result.scores.shape[-1])
    save(confusion(matrix, names, "Test set, steps"), folder / "confusion.png")
    save(spike_histograms(trainer.spike_counts(test[:COUNTED])), folder / "spikes.png")
