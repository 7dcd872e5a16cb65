"""Spoken digits as currents: a mel spectrogram, hair cells, or rates of the ear's spikes, against these spikes.

Data: Jakobovski, free-spoken-digit-dataset (a clone of it in the data folder); --source may be any folder of wav files
(CLASS/*.wav, or CLASS_SPEAKER_NUMBER.wav). Spikes and rates are those of the inner-ear model of Cramer et al. 2020
(doi 10.1109/TNNLS.2020.3044364), from fsdd/fsdd_spikes_700ch.npz. One recurrent network for all: 70 channels (40 of
mel), 128 LIF neurons, ten leaky integrators; the official split (recordings 0 to 4 of each digit and speaker are the
test), a tenth of the rest for validation.

    genn-eventprop train current_digits                           40 mel bands, a value every 10 ms
    genn-eventprop train current_digits --features rates          spikes of 10 neighbouring channels in 10 ms
    genn-eventprop train current_digits --features spikes         the same channels as spikes
    genn-eventprop train current_digits --features hair_cells     before adaptation and spikes; takes minutes to convert
    genn-eventprop train current_digits --quick

docs/currents.md has the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genn_eventprop.data import Currents, Events
from genn_eventprop.data.audio import currents as sound
from genn_eventprop.data.augment import MergeChannels
from genn_eventprop.data.augment.encodings import apply
from genn_eventprop.data.events import splits
from genn_eventprop.data.open import official_test, open_events
from genn_eventprop.data.readers import fsdd
from genn_eventprop.data.readers.currents import from_spikes
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment import Experiment, LayeredConfig, SpikeTimes, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 8, "hidden": (64,), "dt": 5.0}
SOURCE = "a clone of https://github.com/Jakobovski/free-spoken-digit-dataset in that folder"
CHANNELS = 10
"""Neighbouring channels of the ear that are one."""


@dataclass(frozen=True)
class Config(LayeredConfig):
    """One network and training for all features."""

    hidden: tuple[int, ...] = (128,)
    spike_times: SpikeTimes = "grid"
    dt: float | None = 2.0
    duration: float = 600.0
    tau_syn: float = 10.0
    tau_syn_output: float = 10.0
    loss: str = "sum_weigh_exp"
    epochs: int = 15
    initial_spikes: float | None = 10.0
    learning_rate: float = 5e-3
    schedule: str = "ease_in,cosine"
    slope_floor: float = 0.02
    features: Literal["mel", "hair_cells", "rates", "spikes"] = "mel"
    """What drives the network."""
    step: float = 10.0
    """ms of each value of a current."""
    source: Path | None = None
    """Folder of wav files for mel and hair_cells; by default the recordings of the data set in the data folder."""
    validation: float = 0.1
    """Fraction of each class of the training set held out for validation."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    data, names, is_test = load(config)
    if is_test is None:  # the same samples are the test of every seed
        train, test = splits.stratified_split(data, 0.2, rng=0).apply(data)
    else:
        train, test = data[~is_test], data[is_test]
    train, validation = splits.stratified_split(train, config.validation, config.seed).apply(train)
    return layered(config, train, validation, test, names)


def load(config: Config) -> tuple[Events | Currents, list[str], np.ndarray | None]:
    """All recordings, the names of the classes, and which are the official test, if there is one."""
    if config.features in ("rates", "spikes"):
        if config.source is not None:
            raise SettingError(f"--features {config.features} reads spikes; --source is for mel and hair_cells")
        path = locate(config.data_dir, "fsdd/fsdd_spikes_700ch.npz", fsdd.RECORDINGS, source=SOURCE)
        events, names = open_events(path)
        if config.features == "rates":
            return from_spikes(events, config.step, CHANNELS), names, official_test(path)
        return apply([MergeChannels(CHANNELS)], events), names, official_test(path)
    path = config.source or locate(config.data_dir, fsdd.RECORDINGS, "fsdd/wav", source=SOURCE)
    kind = sound.mel if config.features == "mel" else sound.hair_cells
    settings: Mapping[str, Any] = {"dt": config.step} | ({} if kind is sound.mel else {"merge": CHANNELS})
    currents, names = sound.read_folder(path, kind, **settings)
    return currents, names, official_test(path)


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
