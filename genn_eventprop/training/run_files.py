"""What a training leaves in its run folder, so that the folder alone suffices to resume, predict and draw figures.

model.json          the model as data, see `genn_eventprop.description`; the weights are in the checkpoints
first_weights.npz   what is learned, as it was before the training
samples.npz         some held-out samples as the network gets them, for figures
checkpoints/        "last" and "best"; metrics.jsonl a line an epoch; results.json at the end
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..data import Events
from ..data.inputs import DataSet, parts_of
from ..description import Described, describe
from ..errors import DescriptionError
from ..runs.run_folder import FIRST, MODEL, SAMPLES, RunFolder
from ..runs.weights import save_weights
from .batches import Batches

MAX_SAMPLES = 512
"""Most held-out samples in a run folder."""
MAX_SPIKES = 500_000
"""About the most input spikes, and a quarter of the most values of currents, of these samples; the first sample is
always there."""


def write_model(folder: RunFolder, model: Described) -> list[str]:
    """Write model.json unless it is there; the result is what the user should know, if it cannot be written."""
    if (folder.path / MODEL).is_file():
        return []
    try:
        folder.write_record(MODEL, describe(model))
    except DescriptionError as error:
        return [f"the run folder alone will not suffice for predictions: {error}"]
    return []


def write_start(
    folder: RunFolder, first: Mapping[str, np.ndarray], batches: Batches, validation: DataSet | None
) -> None:
    """Write the initial weights, and samples of the validation set, or of the training set if there is none."""
    save_weights(folder.path / FIRST, first)
    samples = batches.first(MAX_SAMPLES) if validation is None else evenly_spaced(validation)
    fitting = int(np.searchsorted(np.cumsum(sizes(samples)), MAX_SPIKES, side="right"))
    samples[: max(fitting, 1)].save(Path(folder.path / SAMPLES))


def evenly_spaced(data: DataSet) -> DataSet:
    """As many samples as may be kept, from the whole set: many are sorted by class, and figures show every class."""
    fitting = int(MAX_SPIKES * len(data) / max(int(sizes(data).sum()), 1))
    count = min(len(data), MAX_SAMPLES, max(fitting, 1))
    chosen: DataSet = data[np.unique(np.linspace(0, len(data) - 1, count).round().astype(np.int64))]
    return chosen


def sizes(data: DataSet) -> np.ndarray:
    """(S,) how many spikes a sample has, a value of a current being a quarter of one (4 bytes, not 12, and packed)."""
    total = np.zeros(len(data), np.int64)
    for part in parts_of(data):
        total += part.counts if isinstance(part, Events) else part.n_steps * part.n_channels // 4
    return total
