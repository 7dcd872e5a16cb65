"""Yin-Yang with coordinates as constant currents, against coordinates as spike times.

Data: Kriener, Goeltz, Petrovici 2022, doi 10.1145/3517343.3517380. Four numbers, x, y, 1 - x, 1 - y, and a fifth that
is always 1 drive 200 hidden LIF neurons with constant currents for the whole trial, or are the times of five spikes, as
in Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z; `yin_yang` has all their settings). The integrated voltage
of three leaky integrators is the class. Time grid, loss and training are ours, the same for both codes.

    genn-eventprop train current_yin_yang
    genn-eventprop train current_yin_yang --code times
    genn-eventprop train current_yin_yang --quick

docs/currents.md has the results of both codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from genn_eventprop.data import Currents, Events
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import Experiment, LayeredConfig, SpikeTimes, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 10, "train_size": 2000}


@dataclass(frozen=True)
class Config(LayeredConfig):
    """One network and training for both codes."""

    hidden: tuple[int, ...] = (200,)
    recurrent: bool = False
    spike_times: SpikeTimes = "grid"
    dt: float | None = 0.5
    duration: float = 40.0
    loss: str = "sum"
    epochs: int = 40
    learning_rate: float = 0.05
    schedule: str = "cosine"
    initial_spikes: float | None = 2.0
    slope_floor: float = 0.02
    code: Literal["currents", "times"] = "currents"
    """Constant currents of coordinates, or their spike times in the first 30 ms."""
    train_size: int = 5000
    """Number of training samples, at most 5000."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    load: Callable[..., Events | Currents] = yin_yang.load if config.code == "times" else yin_yang.load_currents
    how = {} if config.code == "times" else {"duration": config.duration}
    train = load("train", config.train_size, **how)
    return layered(config, train, load("validation", **how), load("test", **how), yin_yang.CLASSES)


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
