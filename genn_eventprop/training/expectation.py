"""What a training will take: time from a batch that is tried out, memory from what has to be held."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from .checks import check_labels

if TYPE_CHECKING:
    from ..data import Events
    from .experiment import Experiment
    from .trainer import Trainer


def expectation(experiment: Experiment, epochs: int) -> str:
    """One line for people: ``expected: 23 min for 100 epochs of 14 s, 0.4 GB of memory``.

    Two training batches are run and thrown away, the second is timed; weights, random streams and metrics stay as
    they are. Epochs that are behind a resumed training are not counted.
    """
    trainer = experiment.trainer
    left = max(epochs - trainer.position.epoch, 0)
    seconds = _epoch_seconds(experiment)
    gigabytes = (peak_bytes() + _bytes_to_come(experiment)) / 1e9
    return f"expected: {_words(left * seconds)} for {left} epochs of {_words(seconds)}, {gigabytes:.1f} GB of memory"


def _epoch_seconds(experiment: Experiment) -> float:
    trainer, size = experiment.trainer, experiment.trainer.batch_size
    training = _batch_seconds(trainer, experiment.train, True) * math.ceil(len(experiment.train) / size)
    if experiment.validation is None or not len(experiment.validation):
        return training
    held_out = _batch_seconds(trainer, experiment.validation, False) * math.ceil(len(experiment.validation) / size)
    return training + held_out


def _batch_seconds(trainer: Trainer, events: Events, training: bool) -> float:
    """Seconds of the faster of two batches, loading and the optimiser's arithmetic included."""
    samples = np.arange(min(trainer.batch_size, len(events)))
    fastest = math.inf
    for _ in range(2):  # the first may compile or start threads
        began = time.perf_counter()
        batch = events.batch(samples, 0) if hasattr(events, "batch") else events[samples]
        data = trainer.engine.load(batch)
        if training:
            check_labels(data.labels, "training")
        trainer.engine.run(data, np.arange(len(data)), training=training)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest


def _bytes_to_come(experiment: Experiment) -> int:
    """What `fit` will allocate: the data sets as the engine reads them, and the best weights."""
    each = 16 if experiment.trainer.plan.spike_times == "exact" else 8  # step and channel, and the exact time
    sets = (experiment.train, experiment.validation, experiment.test)
    held = sum(each * len(events.times) for events in sets if events is not None and hasattr(events, "times"))
    return held + sum(value.nbytes for value in experiment.trainer.engine.parameters.values())


def peak_bytes() -> int:
    """The most memory that this process has used so far."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _words(seconds: float) -> str:
    for limit, unit, name in ((5400.0, 3600.0, "h"), (100.0, 60.0, "min")):
        if seconds >= limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
