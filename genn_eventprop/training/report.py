"""The numbers of an epoch and of a run, as they go into metrics.jsonl and results.json."""

from __future__ import annotations

from typing import Any

from ..optimisers import Optimiser
from .evaluation import Evaluation
from .state import Position
from .tally import Tally


def epoch_metrics(
    position: Position, tally: Tally, optimiser: Optimiser, clipped_spikes: int, held_out: Evaluation | None
) -> dict[str, Any]:
    """One line of metrics.jsonl.

    Loss and accuracy of the training set are those met during the epoch; silent and runaway count neurons over the
    whole epoch; learning_rate is the last one used; clipped_spikes are input spikes moved back into the
    trial's last step.
    """
    activity = tally.activity()
    return {
        "epoch": position.epoch + 1,
        "train_loss": tally.loss,
        "train_accuracy": tally.accuracy,
        "validation_loss": None if held_out is None else held_out.loss,
        "validation_accuracy": None if held_out is None else held_out.accuracy,
        "undecided": tally.undecided,
        "spikes_per_neuron": {name: a.spikes_per_neuron for name, a in activity.items()},
        "silent": {name: a.silent for name, a in activity.items()},
        "runaway": {name: a.runaway for name, a in activity.items()},
        "guarded": tally.guarded,
        "clipped_spikes": clipped_spikes + tally.clipped_spikes,
        "clipped_gradients": optimiser.clipped_steps,
        "learning_rate": optimiser.settings["learning_rate"] * optimiser.factor,
        "seconds": position.epoch_seconds,
    }


def run_results(
    position: Position, chosen: Evaluation | None, final: Evaluation | None, engine: str, seed: int
) -> dict[str, Any]:
    """results.json: the test set with the weights chosen on validation, and with the last ones."""
    return {
        "test_accuracy": None if chosen is None else chosen.accuracy,
        "test_loss": None if chosen is None else chosen.loss,
        "final_test_accuracy": None if final is None else final.accuracy,
        "final_test_loss": None if final is None else final.loss,
        "best_validation_accuracy": None if position.best_epoch is None else position.best_accuracy,
        "best_epoch": position.best_epoch,
        "epochs": position.epoch,
        "updates": position.updates,
        "seconds_training": position.seconds,
        "engine": engine,
        "seed": seed,
    }
