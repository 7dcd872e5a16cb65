"""N-MNIST: digits in front of an event camera that makes three saccades of 100 ms.

Data: Orchard et al. 2015, doi 10.3389/fnins.2015.00437; the full set through tonic (NMNIST in the data folder,
downloaded if it is not there), or with --small the 400 recordings of SLAYER's example (nmnist_small). No
EventProp result has been published; other spiking networks reach 99.5 % on the full set.

    genn-eventprop train nmnist --epochs 20 --batch-size 32
    genn-eventprop train nmnist --small --cross-validate --validation 0       five test sets of 100
    genn-eventprop train nmnist --small --cross-validate --config experiments/nmnist_saccades.toml
    genn-eventprop train nmnist --small --quick

Here, on the 400 recordings: 90.4 +- 1.3 % over five test sets, one minute each; with nmnist_saccades.toml, where a
delay line shows the three saccades side by side, 93.0 +- 1.9 % (3 seeds). The full set has not been run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genn_eventprop.data import Events
from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import aer
from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.data.readers.locate import data_folder, locate
from genn_eventprop.errors import DataError
from genn_eventprop.experiment import Experiment, SpikeTimes, UnscaledConfig, layered
from genn_eventprop.report import plots

QUICK = {"epochs": 20}


@dataclass(frozen=True)
class Config(UnscaledConfig):
    """No published EventProp settings exist; these are ours."""

    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 320.0
    recurrent: bool = False
    tau_syn: float = 20.0
    tau_syn_output: float = 20.0
    augment: str = "shift=1,shift(channels=1,stride=17),blend=0.5"
    """The strides of the shifts are one pixel and one row, 34 / pool."""
    epochs: int = 120
    batch_size: int = 10
    learning_rate: float = 5e-3
    schedule: str = "ease_in,cosine"
    pool: int = 2
    """Side of the pixel squares that share an input."""
    small: bool = False
    """Use the 300 training and 100 test recordings of SLAYER's example."""
    resplit: int | None = None
    """With --small: draw new test recordings, 100 of all 400, with this random seed."""
    validation: float = 0.1
    """Fraction of the training set held out for validation, the same for each digit; with 0 the last epoch counts."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    train, test = small_sets(config) if config.small else full_sets(config)
    side = -(-34 // config.pool)
    shape = (side, side, 2)
    if config.validation == 0:
        return layered(config, train, None, test, shape=shape)
    train, validation = splits.stratified_split(train, config.validation, config.seed).apply(train)
    return layered(config, train, validation, test, shape=shape)


def small_sets(config: Config) -> tuple[Events, Events]:
    """300 and 100 recordings, as they came or drawn anew."""
    folder = locate(config.data_dir, "nmnist_small", source="https://github.com/bamsumit/slayerPytorch")
    train, test = (aer.load_list(folder / f"{part}.txt", pool=config.pool) for part in ("train", "test"))
    if config.resplit is None:
        return train, test
    both = Events.concatenate([train, test])
    return splits.stratified_split(both, len(test) / len(both), config.resplit).apply(both)


def folds(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Of --cross-validate, with --small: five test sets drawn from the 400."""
    return {f"resplit{k}": {"small": True, "resplit": k} for k in range(5)}


def full_sets(config: Config) -> tuple[Events, Events]:
    """All 60,000 and 10,000 recordings."""
    folder = data_folder(config.data_dir)
    try:
        train, test = (tonic_sets.load("nmnist", folder, part, pool=config.pool) for part in ("train", "test"))
    except DataError as error:
        if (small := folder / "nmnist_small").is_dir():
            raise DataError(f"{error}; or add --small, for the 400 recordings in {small}") from error
        raise
    return train, test


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
