"""Yin-Yang with four hidden layers: initial weights that make every layer spike, gradients that reach every layer.

Data: Kriener, Goeltz, Petrovici 2022, doi 10.1145/3517343.3517380, generated. The network is ours.

    genn-eventprop train deep                           initial weights scaled to a firing rate: it learns
    genn-eventprop train deep --initial-spikes 0        initial weights as drawn: all layers after the first are silent
    genn-eventprop train deep --clip-each 1e9           without a limit on the gradient of each weight matrix
    genn-eventprop train deep --quick

Weights that suit one layer leave the next one silent, and silent neurons have no gradient. `--initial-spikes` scales
the initial weights layer by layer until each layer spikes as often as requested on the training set.

Expected: 95 % in a minute; 92 % without gradient limits; no decisions at all without scaled weights.
docs/silent_and_exploding.md has three seeds of each, and the gradients of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered

QUICK = {"epochs": 3, "train_size": 1000}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published settings exist; these are ours."""

    epochs: int = 40
    hidden: tuple[int, ...] = (64, 64, 64, 64)
    recurrent: bool = False
    spike_times: SpikeTimes = "grid"
    dt: float | None = 0.5
    duration: float = 80.0
    input_weight: tuple[float, float] = (1.5, 0.8)
    hidden_weight: tuple[float, float] = (0.01, 0.06)
    output_weight: tuple[float, float] = (0.0, 0.3)
    initial_spikes: float | None = 2.0
    loss: str = "sum_weigh_exp"
    clip_each: float | None = 0.05
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    train_size: int = 5000
    """Number of training samples, at most 5000."""


def build(config: Config) -> Experiment:
    """Network, loss and the published data."""
    train, validation, test = (yin_yang.load(split) for split in ("train", "validation", "test"))
    return layered(config, train[: config.train_size], validation, test, yin_yang.CLASSES)
