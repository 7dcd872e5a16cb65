"""Spoken digits: the Free Spoken Digit Dataset as spikes of 700 ear channels, or your own recordings.

Data: Jakobovski, free-spoken-digit-dataset, through the inner-ear model of Cramer et al. 2020 (doi
10.1109/TNNLS.2020.3044364). The default is fsdd/fsdd_spikes_700ch.npz in the data folder, or a clone of the data set
there, whose recordings are converted. --source may be a folder of wav files (CLASS/*.wav, or CLASS_SPEAKER_NUMBER.wav),
an npz file, or an HDF5 file in the layout of the Spiking Heidelberg Digits. Loss and augmentation: Nowotny, Turner,
Knight 2025, doi 10.1088/2634-4386/ada852.

    genn-eventprop train spoken_digits --validation 0               the official split, without validation
    genn-eventprop train spoken_digits --speaker-out lucas          test on lucas, train on all others
    genn-eventprop train spoken_digits --cross-validate --config experiments/spoken_digits_speakers.toml
                                                                    test on each speaker once
    genn-eventprop train spoken_digits --source recordings/         your own recordings
    genn-eventprop train spoken_digits --quick

Here, official split: 92.7 +- 0.2 % (3 seeds), six minutes per run on one busy core; with
experiments/spoken_digits_official.toml 94.7 +- 0.9 % (3 seeds). Held-out speakers: 65.7 % on average (3 seeds), from
62 to 71 %, with other settings: channels above the 4 kHz of the recordings and below speech are left out, as is what
lies before and after the word (trim_silence), every word starts and ends at the same times (fit_time), and time
constants are short. --baseline tells what logistic regression and 1-NN reach on the same spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.events import splits
from genn_eventprop.data.open import official_test, open_events
from genn_eventprop.data.readers import fsdd
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 20, "hidden": (128,), "augment": "merge_channels=10", "duration": 600.0, "delay_line": (0, 60.0)}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """Our settings, chosen on validation; loss and augmentation follow the loss-shaping paper."""

    spike_times: SpikeTimes = "grid"
    dt: float | None = 2.0
    duration: float = 800.0
    epochs: int = 40
    tau_syn: float = 20.0
    tau_syn_output: float = 20.0
    delay_line: tuple[int, float] = (3, 60.0)
    input_weight: tuple[float, float] = (0.005, 0.03)
    output_weight: tuple[float, float] = (0.0, 0.05)
    augment: str = "merge_channels=5,shift=2,blend=0.5"
    learning_rate: float = 5e-3
    schedule: str = "ease_in,cosine"
    source: Path | None = None
    """Spikes or recordings; by default the FSDD spikes in the data folder."""
    speaker_out: str | None = None
    """Use this speaker alone as the test set."""
    test: float = 0.1
    """Fraction of each class used as the test set, for data without an official split."""
    validation: float = 0.1
    """Fraction of each class of the training set held out for validation; with 0 the last epoch counts."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    train, test, names = train_and_test(config)
    if config.validation == 0:
        return layered(config, train, None, test, names)
    train, validation = splits.stratified_split(train, config.validation, config.seed).apply(train)
    return layered(config, train, validation, test, names)


def folds(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Of --cross-validate: each speaker is the test once."""
    return {str(s): {"speaker_out": str(s)} for s in np.unique(splits.all_groups(load(config)[0])).tolist()}


def load(config: Config) -> tuple[Events, list[str], Path]:
    """All recordings, the names of the classes, and where the data lies."""
    source = (
        "a clone in that folder (git clone https://github.com/Jakobovski/free-spoken-digit-dataset), whose wav files "
        "are converted when they are first used, or name your own recordings with --source FOLDER"
    )
    path = config.source or locate(config.data_dir, "fsdd/fsdd_spikes_700ch.npz", fsdd.RECORDINGS, source=source)
    return *open_events(path), path


def train_and_test(config: Config) -> tuple[Events, Events, list[str]]:
    """The official split, one speaker against the others, or a random share of each class; and names of classes."""
    events, names, path = load(config)
    is_test = official_test(path)
    if config.speaker_out is not None:
        groups = splits.all_groups(events)
        speaker = next((g for g in groups.tolist() if str(g) == config.speaker_out), config.speaker_out)
        return *splits.group_split(events, speaker).apply(events), names
    if is_test is not None:
        return events[~is_test], events[is_test], names
    # the same samples are the test of every seed, so that runs can be compared
    return *splits.stratified_split(events, config.test, rng=0).apply(events), names


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
