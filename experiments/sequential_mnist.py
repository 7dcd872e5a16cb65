"""MNIST row by row, one pixel per millisecond, with a spike where the grey value crosses a level.

Paper (task and encoding): Bellec et al. 2018, arXiv 1803.09574. The paper has 80 inputs (40 levels, crossed upwards or
downwards), a recurrent layer with several time constants, and all 60,000 images. Here: 16 inputs and a delay line of
720 ms, so that one feed-forward hidden layer sees all rows; an integrating output; the first 10,000 images.
Data: mnist/mnist.npz, or the four IDX files in a folder mnist.

    genn-eventprop train sequential_mnist
    genn-eventprop train sequential_mnist --quick

Here: 78.8 % (one run), six minutes on one busy core.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genn_eventprop import plots
from genn_eventprop.data import encode, mnist
from genn_eventprop.data.locate import locate
from genn_eventprop.training import Experiment, LayeredConfig, layered

QUICK = {"epochs": 12, "train_size": 2000, "test_size": 500, "validation_size": 200}


@dataclass(frozen=True)
class Config(LayeredConfig):
    """No published EventProp settings exist; these are ours."""

    epochs: int = 40
    spike_times: Literal["grid", "exact"] | None = "grid"
    dt: float | None = 1.0
    duration: float = 840.0
    recurrent: bool = False
    tau_syn: float = 20.0
    tau_syn_output: float = 20.0
    delay_line: tuple[int, float] = (12, 60.0)
    input_weight: tuple[float, float] = (0.05, 0.3)
    output_weight: tuple[float, float] = (0.0, 0.1)
    loss: str = "sum"
    learning_rate: float = 3e-3
    schedule: str = "ease_in,cosine"
    revive: str = "lift=0.01"
    thresholds: int = 8
    """Number of grey levels, with two inputs each."""
    pixel_ms: float = 1.0
    """Duration of a pixel in ms."""
    permuted: bool = False
    """Present the pixels in a random order, the same for all images."""
    cue: bool = False
    """Add an input that spikes after the last pixel."""
    train_size: int | None = 10_000
    """Use only this many training images, from the first on; the paper uses all."""
    validation_size: int = 1000
    """Number of images held out for validation."""
    test_size: int | None = None
    """Use only this many test images, from the first on."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    path = locate(config.data_dir, "mnist/mnist.npz", "mnist", source="http://yann.lecun.com/exdb/mnist")
    sizes = {"train": config.train_size, "validation": config.validation_size, "test": config.test_size}
    settings: dict[str, Any] = {"thresholds": config.thresholds, "dt": config.pixel_ms, "cue": config.cue}
    settings["order"] = np.random.default_rng(0).permutation(28 * 28) if config.permuted else None
    train, validation, test = (mnist.load_events(path, p, encode.sequential, n, **settings) for p, n in sizes.items())
    return layered(config, train, validation, test)


def plot(experiment: Experiment, folder: Path) -> None:
    """Learning curves, one trial, hidden spike counts."""
    plots.standard(experiment, folder)


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
