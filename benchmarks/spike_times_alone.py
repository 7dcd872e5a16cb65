"""Exact spike times against the grid where counts say nothing: spoken digits, of every group of channels 8 spikes.

    python benchmarks/spike_times_alone.py --seeds 1-5 --numbers docs/numbers/spike_times_alone.json

The set is `spoken_times` of `defaults.py` (700 channels of the ear, groups of ten; as Yu et al. 2025, arXiv 2507.16043,
remove counts), with the settings that `genn_eventprop` chooses for it, but for how spike times are found. What is
trained is tested as it is, with every spike moved by a normal number of milliseconds, and in reverse.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from defaults import spoken
from result_file import add_row
from seeds import seeds_of

from genn_eventprop import Trainer
from genn_eventprop.data import Events
from genn_eventprop.recipes import recipe_of

FINER = (1, 4)
"""Steps of the grid: that of the recipe, and a part of it."""
COLUMNS = ("spike times", "step (ms)", "test", "moved by 5 ms", "moved by 20 ms", "reversed", "s")


def moved(events: Events, by: float) -> Events:
    """Every spike, within the sample; by: the standard deviation in ms."""
    rng, samples = np.random.default_rng(0), []
    for i in range(len(events)):
        t, c = events.sample(i)
        samples.append((np.clip(t + rng.normal(0.0, by, len(t)), 0.0, t[-1]), c))
    return Events.from_samples(samples, events.n_channels, events.labels, sort=True)


def reversed_(events: Events) -> Events:
    """Every sample from its end to its beginning."""
    samples = (events.sample(i) for i in range(len(events)))
    return Events.from_samples([(t[-1] - t[::-1], c[::-1]) for t, c in samples], events.n_channels, events.labels)


def run(train: Events, tests: Mapping[str, Events], settings: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies in % of one training, and its processor time."""
    start = time.process_time()
    trainer = Trainer.auto(train, tests["test"], progress=False, **settings)
    trainer.callbacks.clear()
    trainer.fit()
    found = {name: 100 * trainer.evaluate(test).accuracy for name, test in tests.items()}
    trainer.close()
    return found | {"s": time.process_time() - start}


def main() -> None:
    """Train with every seed and way, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")))
    parser.add_argument("--numbers", type=Path, help="docs/numbers/spike_times_alone.json")
    asked = parser.parse_args()
    train, test = spoken(times_only=True)(asked.data, Path())
    tests = {"test": test, **{f"moved by {by} ms": moved(test, by) for by in (5, 20)}, "reversed": reversed_(test)}
    chosen = {c.setting: c.value for c in recipe_of(train, test)[1]} | {"threads": 1}
    step = chosen["dt"]
    ways = [("grid", step / finer, {"dt": step / finer}) for finer in FINER]
    for name, dt, settings in [*ways, ("exact", None, {"spike_times": "exact"})]:
        runs = [run(train, tests, {**chosen, **settings, "seed": seed}) for seed in asked.seeds]
        means = {n: statistics.mean(r[n] for r in runs) for n in COLUMNS[2:]}
        spread = statistics.stdev(r["test"] for r in runs) if len(runs) > 1 else 0.0
        words = [
            f"{means['test']:.1f} +- {spread:.1f}",
            *(f"{means[n]:.1f}" for n in COLUMNS[3:-1]),
            f"{means['s']:.0f}",
        ]
        cells = [name, "none" if dt is None else f"{dt:g}", *words]
        print(" | ".join(cells), flush=True)
        if asked.numbers:
            command = f"python benchmarks/spike_times_alone.py --seeds 1-{len(runs)}"
            add_row(asked.numbers, COLUMNS, cells, command, key=2, runs=runs)


if __name__ == "__main__":
    main()
