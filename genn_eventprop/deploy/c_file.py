"""``export RUN model.c``: a trained model as one C file, and what fewer bits of its weights cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..codegen.c99 import Standalone, standalone
from ..codegen.c99.standalone import quantised
from ..data.open import open_samples
from ..errors import SettingError
from .trained import TrainedModel


def c_file(model: TrainedModel, *, bits: int | None = None) -> Standalone:
    """The C file of a trained model.

    Raises:
        SettingError: a model with exact spike times. EngineError: one that cannot be written as C.
    """
    if model.plan.spike_times != "grid":
        raise SettingError(
            "this model was trained with exact spike times, but C files support only spikes on the grid; give --dt, "
            "e.g. a tenth of the time step in training, and check the effect with --measure"
        )
    return standalone(model.plan, dict(model.engine.parameters), dtype="float32", bits=bits)


def on_the_grid(model: TrainedModel, dt: float) -> TrainedModel:
    """The same model with spikes on a grid of `dt` ms."""
    described = model.described
    values = {k: np.array(v) for k, v in model.engine.parameters.items()}
    grid = dataclasses.replace(described, spike_times="grid", dt=dt)
    return TrainedModel(grid, values, engine="c99")


def rounded(model: TrainedModel, bits: int) -> TrainedModel:
    """The same model with the weights of a C file of so many bits."""
    values = {k: np.array(v) for k, v in model.engine.parameters.items()}
    for c in model.plan.weighted:
        whole, scale = quantised(values[c.weight].astype(np.float32), bits)
        values[c.weight] = np.float32(scale) * whole.astype(np.float32)
    return TrainedModel(model.described, values, engine="c99")


def measured(models: dict[str, TrainedModel], files: Sequence[Path]) -> list[str]:
    """A line for each model: its accuracy on samples with labels, and how often it says what the first one says."""
    right, same, labelled, total = dict.fromkeys(models, 0), dict.fromkeys(models, 0), 0, 0
    first = next(iter(models.values()))
    for _, events in open_samples(files, first.n_channels):
        classes = {name: model.outputs(events).classes for name, model in models.items()}
        truth = np.full(len(events), -1) if events.labels is None else events.labels
        total, labelled = total + len(events), labelled + int((truth >= 0).sum())
        for name, predictions in classes.items():
            right[name] += int(((predictions == truth) & (truth >= 0)).sum())
            same[name] += int((predictions == next(iter(classes.values()))).sum())
    lines = []
    for name in models:
        accuracy = f"accuracy {100 * right[name] / labelled:.2f} % of {labelled} samples, " if labelled else ""
        lines.append(
            f"{name:24} {accuracy}same class as the run in {100 * same[name] / max(total, 1):.2f} % of {total}"
        )
    return lines
