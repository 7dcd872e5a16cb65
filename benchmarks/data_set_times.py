"""How long a training of the data sets that are not at hand takes here.

    python benchmarks/data_set_times.py

Makes random recordings with the channels, lengths, classes and numbers of spikes of SHD, SSC, N-MNIST and DVS gesture,
builds each experiment page with its default settings on them, and times training batches, augmentation included, in
processor time of one core. The epoch and the whole run are that times the size of the data set. Random recordings make
other numbers of hidden spikes than real ones: the times tell the order of magnitude before training, not the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tyro

from genn_eventprop import Events
from genn_eventprop.experiment import layered
from genn_eventprop.experiments import dvs_gesture, nmnist, shd, ssc


@dataclass(frozen=True)
class DataSet:
    """What is known of one: training samples, classes, spikes and ms of a recording, shape or channels."""

    page: Any
    samples: int
    classes: int
    spikes: int
    duration: float
    shape: tuple[int, ...]
    settings: dict[str, Any]


SETS = {
    "SHD, published speed run: 256 hidden, 1 ms": DataSet(
        shd, 8156, 20, 8000, 1000.0, (700,),
        {"hidden": (256,), "dt": 1.0, "delay_line": (0, 30.0), "epochs": 100, "train_tau": False},
    ),
    "SHD, page": DataSet(shd, 8156, 20, 8000, 1000.0, (700,), {}),
    "SSC, page": DataSet(ssc, 75466, 35, 8000, 1000.0, (700,), {}),
    "N-MNIST, page": DataSet(nmnist, 60000, 10, 4200, 310.0, (17, 17, 2), {"epochs": 20, "batch_size": 32}),
    "DVS gesture, page": DataSet(dvs_gesture, 1077, 11, 100_000, 3000.0, (32, 32, 2), {}),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    batches: int = 4
    """Timed training batches, after as many that are not timed."""
    only: tuple[str, ...] = ()
    """Beginnings of names; default: all."""


def main(s: Settings) -> None:
    """Measure and print."""
    heads = ("data set", "network", "ms a sample", "an epoch", "the run")
    print(f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", sep="\n", flush=True)
    for name, data_set in SETS.items():
        if not s.only or name.startswith(s.only):
            print(row(name, data_set, s.batches), flush=True)


def row(name: str, data_set: DataSet, batches: int) -> str:
    """One line of the table."""
    common = {"threads": 1, "engine": "native", "read_test": False, "schedule": "ease_in"}
    config = replace(data_set.page.Config(), **common, **data_set.settings)
    train = recordings(data_set, batches * config.batch_size)
    shape = {"shape": data_set.shape} if len(data_set.shape) > 1 else {}
    experiment = layered(config, train, None, None, progress=False, **shape)
    trainer = experiment.trainer
    assert experiment.train is not None
    trainer.fit(experiment.train, epochs=1)
    epochs = trainer.state.epoch
    began = time.process_time()
    trainer.fit(experiment.train, epochs=epochs + 1)
    seconds = time.process_time() - began
    extended = len(experiment.train) / len(train)  # blending doubles the data set
    sample = seconds / len(train)
    epoch = sample * data_set.samples
    hidden = " - ".join(map(str, config.hidden))
    doubled = f", {extended:g} times the samples" if extended != 1 else ""
    return (
        f"| {name} | {np.prod(data_set.shape)} x {config.delay_line[0] + 1} - {hidden}, dt {config.dt:g} ms{doubled} | "
        f"{1e3 * sample:.2f} | {words(epoch)} | {words(epoch * config.epochs)} "
        f"({config.epochs} epochs) |"
    )


def recordings(data_set: DataSet, count: int) -> Events:
    """Spikes at random channels and times, as many as a recording has."""
    rng = np.random.default_rng(1)
    channels = int(np.prod(data_set.shape))
    samples = []
    for _ in range(count):
        n = rng.poisson(data_set.spikes)
        samples.append((np.sort(rng.uniform(0, data_set.duration, n)), rng.integers(0, channels, n)))
    return Events.from_samples(samples, n_channels=channels, labels=np.arange(count) % data_set.classes)


def words(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
