"""DVS gesture: eleven hand gestures recorded by an event camera.

Data: Amir et al. 2017, doi 10.1109/CVPR.2017.781, through tonic (DVSGesture in the data folder, downloaded if it is not
there). The 128 x 128 pixels and two polarities become 2048 inputs, one per square of 4 x 4 pixels and polarity; the
first seconds of a gesture are played faster, so that the network remembers more of it. No EventProp result has been
published; other spiking networks reach 98.6 %.

    genn-eventprop train dvs_gesture --data-dir ~/data
    genn-eventprop train dvs_gesture --quick
"""

from __future__ import annotations

from dataclasses import dataclass

from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.data.readers.locate import data_folder
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 2, "hidden": (32,), "pool": 8}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published EventProp settings exist; these are ours, not tuned, since the data was not at hand."""

    spike_times: SpikeTimes = "grid"
    dt: float | None = 2.0
    duration: float = 600.0
    augment: str = "compress_time=5,bin=2"
    input_weight: tuple[float, float] = (0.005, 0.01)
    output_weight: tuple[float, float] = (0.0, 0.1)
    tau_syn_output: float = 20.0
    schedule: str = "ease_in,cosine"
    pool: int = 4
    """Side of the pixel squares that share an input."""
    validation: float = 0.1
    """Fraction of the training set held out for validation, the same for each gesture; with 0 the last epoch counts."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    folder = data_folder(config.data_dir)
    train, test = (tonic_sets.load("dvs_gesture", folder, part, pool=config.pool) for part in ("train", "test"))
    side = -(-128 // config.pool)
    shape = (side, side, 2)
    if config.validation == 0:
        return layered(config, train, None, test, shape=shape)
    train, validation = splits.stratified_split(train, config.validation, config.seed).apply(train)
    return layered(config, train, validation, test, shape=shape)


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
