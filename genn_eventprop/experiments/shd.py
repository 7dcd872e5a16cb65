"""Spiking Heidelberg Digits with an exponentially weighted readout.

Paper: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852; data: Cramer et al. 2020, doi
10.1109/TNNLS.2020.3044364. 700 inputs and a delay line, 512 recurrent LIF neurons with learned time constants, 20 leaky
integrators; the input is shifted by up to 40 channels. One training speaker is held out for validation.
Data: through tonic (SHD in the data folder, downloaded if it is not there).

    genn-eventprop train shd --data-dir ~/data
    genn-eventprop train shd --cross-validate          each training speaker held out once
    genn-eventprop train shd --quick

Published: 93.5 +- 0.7 % (clean split; strength of the regulariser chosen by cross-validation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.audio.espeak import class_names
from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.data.readers.locate import data_folder
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

CLASSES = class_names()
"""Digits in English, then in German, as in the data's extra/keys."""
QUICK = {"epochs": 2, "hidden": (64,), "dt": 5.0, "delay_line": (0, 30.0)}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """The published settings, chosen by cross-validation."""

    hidden: tuple[int, ...] = (512,)
    spike_times: SpikeTimes = "grid"
    dt: float | None = 2.0
    train_tau: bool = True
    delay_line: tuple[int, float] = (10, 30.0)
    regulariser: str = "spike_count(target=14, strength=2.5e-10, published=True)"
    revive: str = "lift=0.002"
    augment: str = "shift=40"
    schedule: str = "ease_in,halve_on_plateau"
    validation_speaker: str = "first"
    """Speaker held out for validation: a number, "first", or "none" to train on all (the last epoch counts)."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    train, test = load("train", config), load("test", config)
    if config.validation_speaker == "none":
        # without validation nothing tells when to halve the learning rate
        schedule = ",".join(part for part in config.schedule.split(",") if not part.startswith("halve"))
        return layered(replace(config, schedule=schedule), train, None, test, CLASSES)
    first = config.validation_speaker == "first"
    speaker = int(splits.all_groups(train).min()) if first else config.validation_speaker
    train, validation = splits.group_split(train, int(speaker)).apply(train)
    return layered(config, train, validation, test, CLASSES)


def load(part: str, config: Config) -> Events:
    """The official training or test set."""
    return tonic_sets.load("shd", data_folder(config.data_dir), part)


def folds(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Of --cross-validate: each training speaker is held out once."""
    speakers = np.unique(splits.all_groups(load("train", config))).tolist()
    return {f"speaker{s}": {"validation_speaker": str(s)} for s in speakers}


plot = partial(plots.standard, target=0.935)


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
