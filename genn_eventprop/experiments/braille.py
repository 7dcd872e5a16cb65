"""Braille letters felt by a fingertip: 27 classes, 12 taxels, sigma-delta spikes.

Data: Mueller-Cleve et al. 2022, doi 10.3389/fnins.2022.951164; braille/braille_taxel.npz. Every fifth repetition
(repetition % 5 == 0) is the test set; a recurrent network with surrogate gradients reached about 0.8 there, a
support-vector machine on the same spikes 0.96. A letter takes 1.9 s; here it is played ten times faster, so that
membranes with a time constant of 20 ms remember more of it.

    genn-eventprop train braille
    genn-eventprop train braille --quick

Here: 97.7 +- 0.9 % (3 seeds), ten seconds a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import braille
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 10, "hidden": (64,)}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published EventProp settings exist; these are ours."""

    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 192.0
    recurrent: bool = False
    input_weight: tuple[float, float] = (0.2, 0.3)
    output_weight: tuple[float, float] = (0.0, 0.3)
    tau_syn_output: float = 20.0
    loss: str = "sum"
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    threshold: float = 1.0
    """Threshold of the sigma-delta encoder, in taxel counts (0 .. 255)."""
    speed: float = 10.0
    """How many times faster than recorded the letters are played."""
    validation: float = 0.1
    """Fraction of the training set held out for validation, the same for each letter."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    source = "https://doi.org/10.5281/zenodo.7050094"
    path = locate(config.data_dir, "braille/braille_taxel.npz", source=source)
    frame = braille.FRAME_MS / config.speed
    train, test = (braille.load(path, part, config.threshold, frame) for part in ("train", "test"))
    train, validation = splits.stratified_split(train, config.validation, config.seed).apply(train)
    return layered(config, train, validation, test, braille.class_names(path))


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
