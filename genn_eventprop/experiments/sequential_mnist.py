"""MNIST row by row, one pixel per millisecond, with a spike where the grey value crosses a level.

Paper (task and encoding): Bellec et al. 2018, arXiv 1803.09574. The paper has 80 inputs (40 levels, crossed upwards or
downwards) and a recurrent layer with several time constants. Here: 8 inputs and one feed-forward hidden layer. A delay
line of 24 copies, one row (28 ms) apart, shows a hidden neuron a column of the image at a time. Another one, 7 copies
4 ms apart, tells the output when it spiked, and so in which column; the output is read at the end of the trial. What
neurons do more than 60 ms before the end hardly reaches it, so only the last 60 ms are simulated: the first delay line
and the crop are steps of the data. The gradient sees spikes about to be born (docs/spike_birth.md).
Data: mnist/mnist.npz, or the four IDX files in a folder mnist.

    genn-eventprop train sequential_mnist
    genn-eventprop train sequential_mnist --config experiments/sequential_mnist_permuted.toml
    genn-eventprop train sequential_mnist --quick

docs/tried_settings.md has the accuracies, and tells how settings were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genn_eventprop.data.events import encode
from genn_eventprop.data.readers import mnist
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 6, "train_size": 2000, "test_size": 500, "validation_size": 200}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published EventProp settings exist; these are ours."""

    epochs: int = 15
    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 60.0
    recurrent: bool = False
    hidden: tuple[int, ...] = (240,)
    tau_mem: float = 4.0
    tau_syn: float = 3.0
    tau_mem_output: float = 5.0
    tau_syn_output: float = 5.0
    encoding: str = "delay_line(24, 28),crop(730, 790)"
    output_delay_line: tuple[int, float] = (7, 4.0)
    input_weight: tuple[float, float] = (0.004, 0.04)
    output_weight: tuple[float, float] = (0.0, 0.6)
    initial_spikes: float | None = 1.5
    loss: str = "end"
    learning_rate: float = 1.5e-3
    schedule: str = "cosine"
    revive: str = "lift=0.01"
    spike_birth: float = 0.1
    thresholds: int = 4
    """Number of grey levels, with two inputs each."""
    pixel_ms: float = 1.0
    """Duration of a pixel in ms."""
    permuted: bool = False
    """Present the pixels in a random order, the same for all images."""
    cue: bool = False
    """Add an input that spikes after the last pixel."""
    train_size: int | None = None
    """Use only this many training images, from the first on."""
    validation_size: int = 1000
    """Number of images held out for validation."""
    test_size: int | None = None
    """Use only this many test images, from the first on."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    if config.pixel_ms != 1 and config.encoding == Config.encoding:
        raise SettingError(
            "--pixel-ms: the delay line and the crop of --encoding, and --duration, are those of pixels of 1 ms; give "
            "these, too"
        )
    path = locate(config.data_dir, "mnist/mnist.npz", "mnist", source=mnist.SOURCE)
    sizes = {"train": config.train_size, "validation": config.validation_size, "test": config.test_size}
    settings: dict[str, Any] = {"thresholds": config.thresholds, "dt": config.pixel_ms, "cue": config.cue}
    settings["order"] = np.random.default_rng(0).permutation(28 * 28) if config.permuted else None
    train, validation, test = (mnist.load_events(path, p, encode.sequential, n, **settings) for p, n in sizes.items())
    return layered(config, train, validation, test)


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
