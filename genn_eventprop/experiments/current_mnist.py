"""MNIST as constant currents, against MNIST as one spike per pixel, in the same network.

Every pixel drives the hidden neurons with a constant current for the whole trial, or spikes once, the earlier the
darker it is. The code by latencies, network size and loss are those of Wunderlich & Pehle 2021, doi
10.1038/s41598-021-91786-z (784 - 350 - 10, maximum voltage; `latency_mnist` has all their settings); time grid, trial
and training are ours, the same for both codes, and initial weights are scaled on the data. The first 5000 training
images are held out for validation. Data: mnist/mnist.npz, or the four IDX files in a folder mnist.

    genn-eventprop train current_mnist
    genn-eventprop train current_mnist --code latency
    genn-eventprop train current_mnist --quick

docs/currents.md has the results of both codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from genn_eventprop.data.currents.encode import constant
from genn_eventprop.data.readers import mnist
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.experiment import Experiment, LayeredConfig, SpikeTimes, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 5, "train_size": 3000, "validation_size": 500, "test_size": 1000}


@dataclass(frozen=True)
class Config(LayeredConfig):
    """One network and training for both codes."""

    hidden: tuple[int, ...] = (350,)
    recurrent: bool = False
    spike_times: SpikeTimes = "grid"
    dt: float | None = 0.5
    duration: float = 30.0
    loss: str = "max"
    epochs: int = 8
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    initial_spikes: float | None = 2.0
    slope_floor: float = 0.02
    code: Literal["currents", "latency"] = "currents"
    """Constant currents of pixels, or one spike a pixel in the first 20 ms."""
    train_size: int | None = 5000
    """Use only this many training images, from the first on; "none" is all of them."""
    validation_size: int = 1000
    """Use only this many of the held-out images, from the first on."""
    test_size: int | None = 2000
    """Use only this many test images, from the first on."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    path = locate(config.data_dir, "mnist/mnist.npz", "mnist", source=mnist.SOURCE)
    sizes = {"train": config.train_size, "validation": config.validation_size, "test": config.test_size}
    how: dict[str, Any] = {"encoder": constant, "duration": config.duration} if config.code == "currents" else {}
    train, validation, test = (mnist.load_events(path, part, size=size, **how) for part, size in sizes.items())
    return layered(config, train, validation, test, shape=(28, 28, 1))


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
