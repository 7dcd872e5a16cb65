"""MNIST row by row, one pixel per millisecond, with a spike where the grey value crosses a level.

Paper (task and encoding): Bellec et al. 2018, arXiv 1803.09574. The paper has 80 inputs (40 levels, crossed upwards or
downwards), a recurrent layer with several time constants, and all 60,000 images. Here: 8 inputs, one feed-forward
hidden layer, and the first 20,000 images. A delay line of 24 copies, one row (28 ms) apart, shows a hidden neuron a
column of the image at a time. Another one, 4 copies 6 ms apart, tells the output when it spiked, and so in which
column; the output is read at the end of the trial.
Data: mnist/mnist.npz, or the four IDX files in a folder mnist.

    genn-eventprop train sequential_mnist
    genn-eventprop train sequential_mnist --permuted
    genn-eventprop train sequential_mnist --quick

Here: 91.1 +- 0.2 % in the last epoch (3 seeds), 90.6 +- 0.5 % chosen on 500 validation images; permuted: 77.6 % after 2
epochs (one run). Three to five minutes on part of a busy core; docs/tried_settings.md tells how settings were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genn_eventprop.data.events import encode
from genn_eventprop.data.readers import mnist
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 6, "train_size": 2000, "test_size": 500, "validation_size": 200}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published EventProp settings exist; these are ours."""

    epochs: int = 4
    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 790.0
    recurrent: bool = False
    tau_mem: float = 6.0
    tau_syn: float = 4.0
    tau_mem_output: float = 5.0
    tau_syn_output: float = 5.0
    delay_line: tuple[int, float] = (24, 28.0)
    output_delay_line: tuple[int, float] = (4, 6.0)
    input_weight: tuple[float, float] = (0.1, 1.0)
    output_weight: tuple[float, float] = (0.0, 0.6)
    initial_spikes: float | None = 15.0
    loss: str = "end"
    learning_rate: float = 1.5e-3
    schedule: str = "cosine"
    revive: str = "lift=0.01"
    thresholds: int = 4
    """Number of grey levels, with two inputs each."""
    pixel_ms: float = 1.0
    """Duration of a pixel in ms."""
    permuted: bool = False
    """Present the pixels in a random order, the same for all images."""
    cue: bool = False
    """Add an input that spikes after the last pixel."""
    train_size: int | None = 20_000
    """Use only this many training images, from the first on; the paper uses all."""
    validation_size: int = 500
    """Number of images held out for validation."""
    test_size: int | None = None
    """Use only this many test images, from the first on."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
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
