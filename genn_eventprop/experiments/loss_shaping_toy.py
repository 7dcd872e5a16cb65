"""Words that end long before the trial does: which loss learns to tell them apart?

Paper: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, who found this effect with spoken digits; this page
shows it on generated data. A class is a spike pattern in the first 50 of 400 ms; the rest of the trial is silent.

    genn-eventprop train loss_shaping_toy                          the exponentially weighted integral learns
    genn-eventprop train loss_shaping_toy --loss sum               the plain integral learns slowly
    genn-eventprop train loss_shaping_toy --loss avg_xentropy      per-step cross-entropy silences the network
    genn-eventprop train loss_shaping_toy --duration 60            without the silence all three learn
    genn-eventprop train loss_shaping_toy --quick

A hidden spike far from the end contributes the same to a plain integral whatever its time, so `sum` hardly changes
hidden weights. `avg_xentropy` falls when spikes are delayed into the silence: input weights shrink until no spike and
no gradient is left. With a falling weight, earlier spikes count more, and input weights of useful neurons grow.

Expected: 100, 39 +- 13 and 17 % (chance; ten seeds, docs/losses.md), in seconds. --quick: about 98 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 25}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published settings exist; these are ours."""

    epochs: int = 40
    hidden: tuple[int, ...] = (64,)
    recurrent: bool = False
    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 400.0
    input_weight: tuple[float, float] = (0.2, 0.06)
    learning_rate: float = 1e-2
    classes: int = 6
    """Number of patterns."""
    channels: int = 40
    """Number of input channels."""
    spikes: int = 2
    """Spikes per channel in a pattern."""
    stimulus: float = 50.0
    """Length of a pattern in ms; the rest of the trial is silent."""
    jitter: float = 3.0
    """Standard deviation of each spike time around the pattern, in ms."""
    kept: float = 0.9
    """Probability that a spike of the pattern occurs."""
    train_size: int = 512
    """Number of training samples; the validation and test sets have 512 each."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run; the data is the same for every seed."""
    sizes = (config.train_size, 512, 512)
    train, validation, test = (words(config, size, part) for part, size in enumerate(sizes))
    return layered(config, train, validation, test)


def words(config: Config, size: int, part: int) -> Events:
    """`size` noisy copies of the patterns, an even number of each class."""
    C, n = config.classes, config.channels * config.spikes
    patterns = np.random.default_rng(7).uniform(0.0, config.stimulus, (C, n))
    channels = np.repeat(np.arange(config.channels), config.spikes)
    rng = np.random.default_rng([7, part])
    labels = rng.permutation(np.arange(size) % C)
    times = np.abs(patterns[labels] + rng.normal(0.0, config.jitter, (size, n)))
    kept = rng.random((size, n)) < config.kept
    samples = [(np.sort(t[k]), channels[k][np.argsort(t[k])]) for t, k in zip(times, kept)]
    return Events.from_samples(samples, config.channels, labels=labels, n_classes=C)


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
