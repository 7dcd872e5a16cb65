"""``export RUN model.c``: a trained model as one C file, and what fewer bits of its weights cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..codegen.c99 import Standalone, standalone
from ..codegen.c99.standalone import quantised
from ..data.inputs import DataSet
from ..data.open import open_samples
from ..training.evaluator import Samples
from .trained import TrainedModel

FINER = 10
"""Steps of a C file for each of a training with exact spike times."""


def c_file(model: TrainedModel, *, bits: int | None = None) -> Standalone:
    """The C file of a trained model, with spikes on the grid; see `on_the_grid`.

    Raises:
        EngineError: a model that cannot be written as C.
    """
    return standalone(model.plan, dict(model.engine.parameters), dtype="float32", bits=bits)


def on_the_grid(model: TrainedModel, dt: float | None) -> TrainedModel:
    """The same model with spikes on a grid of `dt` ms; None: that of the training, or after exact spike times the finer
    one of 1/10 of its dt."""
    described = model.described
    if dt is None:
        if described.spike_times == "grid":
            return model
        dt = model.plan.dt / FINER
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


class Predicts(Protocol):
    """A model that `measured` compares."""

    def outputs(self, samples: Samples, *, prepared: bool = False) -> Any:
        """An object with `classes` (S,)."""


def measured(
    models: Mapping[str, TrainedModel | Predicts], files: Sequence[Path], samples: DataSet | None = None
) -> list[str]:  # fmt: skip
    """A line for each model: its accuracy on samples with labels, and how often it says what the first one says.

    Args:
        files: of recordings. samples: which have been preprocessed.
    """
    right, same, labelled, total = dict.fromkeys(models, 0), dict.fromkeys(models, 0), 0, 0
    first = next(m for m in models.values() if isinstance(m, TrainedModel))
    recorded = ((events, False) for _, events in open_samples(files, first.n_channels)) if files else ()
    for events, prepared in chain([] if samples is None else [(samples, True)], recorded):
        classes = {name: model.outputs(events, prepared=prepared).classes for name, model in models.items()}
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
