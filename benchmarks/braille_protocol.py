"""Braille letters in the protocol of their paper (Mueller-Cleve et al. 2022, doi 10.3389/fnins.2022.951164).

    python benchmarks/braille_protocol.py --seeds 1-5 --numbers docs/numbers/braille_protocol.json

As there: 27 letters, the first 1275 ms, spikes of a sigma-delta encoder with four thresholds, steps of 5 ms, 450
recurrent LIF neurons, random parts of 70, 20 and 10 % of each letter for training, test and validation, new ones for
every seed. The paper takes the epoch that is best on the test set; here the one that is best on the validation set
counts. Rates, weights and time constants are those of the page `braille`. Beside it logistic regression on counts in
ten parts of the trial, and 1-NN. Published: about 80 % with recurrent spiking neurons, 97 % with an LSTM that gets the
values of the sensor.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

from result_file import add_row
from seeds import seeds_of

from genn_eventprop.data import Events
from genn_eventprop.data.baselines import LOGISTIC, NEAREST, baselines
from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import braille
from genn_eventprop.experiment import layered
from genn_eventprop.experiments.braille import Config

SPEED = 10.0
DURATION, STEP = 1275.0 / SPEED, 5.0 / SPEED  # ms
COLUMNS = ("threshold", "spikes a letter", "recurrent", "feed-forward", "logistic regression", "1-NN")


def parts(events: Events, seed: int) -> tuple[Events, Events, Events]:
    """70 % of each letter for training, 10 for validation, 20 for the test."""
    train, rest = splits.stratified_split(events, 0.3, rng=seed).apply(events)
    test, validation = splits.stratified_split(rest, 1 / 3, rng=seed).apply(rest)
    return train, validation, test


def cut(events: Events) -> Events:
    """What the paper uses of each letter."""
    samples = (events.sample(i) for i in range(len(events)))
    return Events.from_samples(
        [(t[t < DURATION], c[t < DURATION]) for t, c in samples], events.n_channels, events.labels
    )  # fmt: skip


def main() -> None:
    """Train with every threshold, network and seed; print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[1.0, 2.0, 5.0, 10.0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--numbers", type=Path, help="docs/numbers/braille_protocol.json")
    asked = parser.parse_args()
    path = Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")) / "braille/braille_taxel.npz"
    for threshold in asked.thresholds:
        found, events = dict[str, list[float]](), cut(braille.load(path, "all", threshold, braille.FRAME_MS / SPEED))
        for seed in asked.seeds:
            train, validation, test = parts(events, seed)
            for name, recurrent in (("recurrent", True), ("feed-forward", False)):
                shape: dict[str, Any] = {"hidden": (450,), "recurrent": recurrent, "duration": DURATION, "dt": STEP}
                config = Config(**shape, epochs=asked.epochs, seed=seed, threads=1)
                experiment = layered(config, train, validation, test, braille.class_names(path))
                experiment.trainer.callbacks.clear()
                result = experiment.trainer.fit(train, validation, test, epochs=asked.epochs)
                experiment.trainer.close()
                found.setdefault(name, []).append(100 * result["test_accuracy"])
            base = baselines(train, {"test": test})["test"]
            for name in (LOGISTIC, NEAREST):
                found.setdefault(name, []).append(100 * base[name])
            print(threshold, seed, {n: round(v[-1], 2) for n, v in found.items()}, flush=True)
        spread = [
            f"{statistics.mean(v):.1f} +- {statistics.stdev(v) if len(v) > 1 else 0.0:.1f}" for v in found.values()
        ]
        cells = [f"{threshold:g}", f"{len(events.times) / len(events):.0f}", *spread]
        print(" | ".join(cells))
        if asked.numbers:
            command = f"python benchmarks/braille_protocol.py --thresholds {threshold:g} --seeds 1-{len(asked.seeds)}"
            add_row(asked.numbers, COLUMNS, cells, command, runs=found)


if __name__ == "__main__":
    main()
