"""What a run folder keeps besides numbers of the training, so that it needs neither its page nor its data.

model.json          the model as data, see `genn_eventprop.description`; the weights are in the checkpoints
first_weights.npz   what is learned, as it was before the training
samples.npz         some held-out samples as the network gets them, for figures
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..data import Events
from ..description import Described, describe
from ..errors import DescriptionError
from ..runs.run_folder import FIRST, MODEL, SAMPLES, RunFolder
from ..runs.weights import save_weights
from .batches import Batches

AT_MOST = 512
"""Samples that are kept."""
SPIKES = 500_000
"""Input spikes that are kept, about; the first sample always is."""


def keep_model(folder: RunFolder, model: Described) -> list[str]:
    """Write model.json unless it is there; the result is what the user should know, if it cannot be written."""
    if (folder.path / MODEL).is_file():
        return []
    try:
        folder.write_record(MODEL, describe(model))
    except DescriptionError as error:
        return [f"the run folder alone will not suffice for predictions: {error}"]
    return []


def keep_start(folder: RunFolder, first: Mapping[str, np.ndarray], batches: Batches, validation: Events | None) -> None:
    """Write the initial weights, and samples of the validation set, or of the training set if there is none."""
    save_weights(folder.path / FIRST, first)
    samples = batches.first(AT_MOST) if validation is None else spread(validation)
    enough = int(np.searchsorted(samples.offsets - samples.offsets[0], SPIKES, side="right")) - 1
    samples[: max(enough, 1)].save(Path(folder.path / SAMPLES))


def spread(events: Events) -> Events:
    """As many samples as may be kept, from the whole set: many are sorted by class, and figures show every class."""
    fitting = int(SPIKES * len(events) / max(int(events.offsets[-1] - events.offsets[0]), 1))
    count = min(len(events), AT_MOST, max(fitting, 1))
    return events[np.unique(np.linspace(0, len(events) - 1, count).round().astype(np.int64))]
