"""The state of a training, and how it is saved to and restored from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..runs.checkpoint import Checkpoint
from .epoch_statistics import EpochStatistics


@dataclass
class TrainingState:
    """The progress of training.

    Args:
        epoch: finished epochs. batch: finished batches of the current epoch. updates: optimiser steps in all.
        seconds: training time, without the final evaluation. epoch_seconds: of the current epoch so far.
        best_epoch, best_accuracy, best_loss: the epoch (from 1) chosen on validation so far, and its numbers.
        metrics: the lines of metrics.jsonl.
    """

    epoch: int = 0
    batch: int = 0
    updates: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    best_loss: float | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def improves(self, accuracy: float, loss: float) -> bool:
        """True if a validation result beats the best: larger accuracy, or the same (or none) with a smaller loss."""
        if self.best_epoch is None or accuracy > self.best_accuracy:
            return True
        same = accuracy == self.best_accuracy or (math.isnan(accuracy) and math.isnan(self.best_accuracy))
        return same and (self.best_loss is None or loss < self.best_loss)


def pack(trainer: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything needed to continue bit for bit: (arrays, JSON-able info).

    "parameters" are those to be used: if the optimiser keeps averages, training goes on from "raw" instead.

    The names of sections and keys ("tally", "position") are part of the file format; older checkpoints have the same.
    """
    optimiser_arrays, optimiser_info = trainer.optimiser.state_dict()
    statistics_arrays, statistics_info = trainer.statistics.state_dict()
    raw, averages = trainer.parameter_sets.training(), trainer.optimiser.averages(trainer.parameter_sets.training())
    sections = {
        "parameters": {**raw, **averages},
        "raw": {name: raw[name] for name in averages},
        "optimiser": optimiser_arrays,
        "tally": statistics_arrays,
        "best": trainer.best_parameters or {},
        "silent": trainer.silent,
        # within an epoch, what the next chunks of recordings start from
        "carried": trainer.engine.carried() if trainer.state.batch and trainer.carry is True else {},
    }
    arrays = {f"{section}/{name}": array for section, part in sections.items() for name, array in part.items()}
    info = {
        "network": trainer.network_description,
        "settings": trainer.settings,
        "data": trainer.data_description,
        "position": asdict(trainer.state),
        "optimiser": optimiser_info,
        "tally": statistics_info,
        "schedule": trainer.schedule.state_dict(),
        "streams": trainer.streams.state_dict(),
        "callbacks": [callback.state_dict() for callback in trainer.callbacks if callback.checkpointed],
    }
    return arrays, info


def unpack(trainer: Any, checkpoint: Checkpoint) -> None:
    """The reverse of `pack`; the trainer must be built with the same network and settings.

    Raises:
        CheckpointError: if something that the trainer needs is missing.
    """
    info = checkpoint.info
    # Parameters first: bounds that depend on values are those of the restored ones, not of the random ones that this
    # trainer was built with.
    write_parameters(trainer.engine.parameters, checkpoint.section("parameters") | checkpoint.section("raw"))
    trainer.settle_bounds()
    trainer.best_parameters = checkpoint.section("best") or None
    trainer.silent = checkpoint.section("silent")
    trainer.optimiser.load_state_dict(checkpoint.section("optimiser"), info["optimiser"])
    trainer.schedule.load_state_dict(info["schedule"])
    trainer.streams.load_state_dict(info["streams"])
    trainer.state = TrainingState(**info["position"])
    if trainer.state.best_accuracy is None:  # JSON has no nan
        trainer.state.best_accuracy = float("nan")
    trainer.statistics = EpochStatistics(trainer.statistics.runaway_spikes)
    trainer.statistics.load_state_dict(checkpoint.section("tally"), info["tally"])
    trainer.data_description = info["data"]
    if trainer.carry is True:
        trainer.engine.carry_on(checkpoint.section("carried"))
    # Callbacks have no names, so their states are matched by position; one more or less would shift all of them.
    callbacks = [callback for callback in trainer.callbacks if callback.checkpointed]
    if len(info["callbacks"]) != len(callbacks):
        raise CheckpointError(
            f"the checkpoint was written with {len(info['callbacks'])} callbacks, this run has {len(callbacks)}"
        )
    for callback, saved in zip(callbacks, info["callbacks"], strict=True):
        callback.load_state_dict(saved)


def write_parameters(parameters: Mapping[str, np.ndarray], saved: Mapping[str, np.ndarray]) -> None:
    """Copy `saved` into the live arrays `parameters`, all of them.

    Raises:
        CheckpointError: for a missing array or another shape, before anything is written.
    """
    # Two loops: a checkpoint that does not fit leaves the trainer as it was.
    for name, array in parameters.items():
        if name not in saved:
            raise CheckpointError(f"the checkpoint has no parameter {name!r}")
        if saved[name].shape != array.shape:
            raise CheckpointError(f"{name!r} has shape {saved[name].shape} there and {array.shape} here")
    for name, array in parameters.items():
        array[...] = saved[name]
