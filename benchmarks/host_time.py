"""Time of the host's side of a training step: what Python does around the compiled trial of a batch.

    python benchmarks/host_time.py [EXPERIMENT] [--blocks 60] [--epochs N]

The trial is replaced by a function that returns at once, so that what is left is the host: arguments, results, the
optimiser, statistics. Processor time of this thread, in us, the smallest and the median of blocks of 100 steps, since
other programs may use the machine. With --epochs, also the processor time of that many epochs with the trial in place.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from genn_eventprop.experiment import load_experiment
from genn_eventprop.training.epoch_statistics import EpochStatistics

STEPS = 100


def per_step(step: Callable[[np.ndarray], Any], batches: np.ndarray, blocks: int) -> str:
    """Smallest and median of `blocks` blocks, in us a step."""
    times = []
    for _ in range(blocks):
        start = time.thread_time_ns()
        for samples in batches:
            step(samples)
        times.append((time.thread_time_ns() - start) / len(batches) / 1e3)
    return f"{min(times):6.1f} {np.median(times):6.1f}"


class Instant:
    """A library whose trial returns at once."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def eventprop_run(self, *arguments: Any) -> int:
        """Done."""
        return 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="yin_yang")
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=0)
    options = parser.parse_args()
    page = load_experiment(options.experiment)
    experiment = page.build(page.config(seed=1, threads=1))
    trainer = experiment.trainer
    engine: Any = trainer.engine
    if options.epochs:
        engine.run(engine.load(experiment.train), np.arange(trainer.batch_size))  # compiled
        trainer.run_dir = tempfile.mkdtemp()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        trainer.fit(experiment.train, validation=experiment.validation, epochs=options.epochs)
        print(
            f"{options.epochs} epochs: {resource.getrusage(resource.RUSAGE_SELF).ru_utime - before:.2f} s of user time"
        )
    data = engine.load(experiment.train)
    order = np.random.default_rng(0).permutation(len(experiment.train))
    size = trainer.batch_size
    batches = np.array([np.roll(order, -k * size)[:size] for k in range(STEPS)])
    trainer.statistics, trainer._measured = EpochStatistics(np.inf), -1
    result = engine.run(data, batches[0], training=True)
    engine.update(trainer.optimiser)
    engine._main.__dict__["library"] = Instant(engine._main.library)
    print(f"us a step of {size} samples: min, median")
    print("training run ", per_step(lambda s: engine.run(data, s, training=True), batches, options.blocks))
    print("forward run  ", per_step(lambda s: engine.run(data, s), batches, options.blocks))
    print("optimiser    ", per_step(lambda s: engine.update(trainer.optimiser), batches, options.blocks))
    print("statistics   ", per_step(lambda s: trainer.statistics.add(result, data, s), batches, options.blocks))
    print("whole step   ", per_step(lambda s: trainer._batch(data, s, 0), batches, options.blocks))


if __name__ == "__main__":
    main()
