"""Spiking Speech Commands with an exponentially weighted readout.

Paper: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852; data: Cramer et al. 2020, doi
10.1109/TNNLS.2020.3044364. 700 inputs and a delay line, 1024 recurrent LIF neurons with random initial, learned time
constants, 35 leaky integrators; the input is shifted by up to 40 channels and blended. The data set has its own
validation split. Data: through tonic (SSC in the data folder, downloaded if it is not there); 75,466 training samples,
read from disk.

    genn-eventprop train ssc --data-dir ~/data
    genn-eventprop train ssc --quick

Published: 74.1 +- 0.9 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.data.readers.locate import data_folder
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 1, "hidden": (64,), "dt": 5.0, "delay_line": (0, 30.0), "augment": "shift=40"}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """The published settings, the best on the validation split."""

    epochs: int = 50
    hidden: tuple[int, ...] = (1024,)
    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    heterogeneous: bool = True
    train_tau: bool = True
    delay_line: tuple[int, float] = (10, 30.0)
    regulariser: str = "spike_count(target=14, strength=5e-10, published=True)"
    revive: str = "lift=0.002"
    augment: str = "blend=0.5,shift=40"
    schedule: str = "ease_in,halve_on_plateau"


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    folder = data_folder(config.data_dir)
    train, validation, test = (tonic_sets.load("ssc", folder, part) for part in ("train", "validation", "test"))
    return layered(config, train, validation, test)


plot = partial(plots.standard, target=0.741)


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
