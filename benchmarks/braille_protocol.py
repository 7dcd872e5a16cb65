"""Braille letters in the protocol of their paper (Mueller-Cleve et al. 2022, doi 10.3389/fnins.2022.951164).

    python benchmarks/braille_protocol.py --seeds 1-5 --numbers docs/numbers/braille_protocol.json

As there: 27 letters, the first 1275 ms, spikes of a sigma-delta encoder with four thresholds, random parts of 70, 20
and 10 % of each letter for training, test and validation, new ones for every seed. The paper takes the epoch that is
best on the test set; here the one that is best on the validation set counts. The settings are those that
genn_eventprop chooses. Beside it logistic regression on counts in ten parts of the trial, and 1-NN; both learn from
the validation part too. Published: about 80 % with recurrent spiking neurons, 97 % with an LSTM that gets the values
of the sensor.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
from pathlib import Path

from result_file import add_row
from seeds import seeds_of

from genn_eventprop.data import Events
from genn_eventprop.data.augment.encodings import encoded
from genn_eventprop.data.augment.steps import Crop
from genn_eventprop.data.baselines import baselines
from genn_eventprop.data.events import splits
from genn_eventprop.data.readers import braille
from genn_eventprop.experiments.own_data import Config, of_sets
from genn_eventprop.recipes import recipe_of

DURATION = 1275.0  # ms
COLUMNS = ("threshold", "spikes a letter", "encoding", "genn_eventprop", "logistic regression", "1-NN")


def cut(events: Events) -> Events:
    """What the paper uses of each letter."""
    return dataclasses.replace(encoded([Crop(0.0, DURATION)], events)[1], groups=None)


def main() -> None:
    """Train with every threshold and seed; print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[1.0, 2.0, 5.0, 10.0])
    parser.add_argument("--numbers", type=Path, help="docs/numbers/braille_protocol.json")
    asked = parser.parse_args()
    path = Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")) / "braille/braille_taxel.npz"
    for threshold in asked.thresholds:
        found, events = dict[str, list[float]](), cut(braille.load(path, "all", threshold))
        for seed in asked.seeds:
            train, test = splits.stratified_split(events, 0.2, rng=seed).apply(events)
            chosen = {choice.setting: choice.value for choice in recipe_of(train, test)[1]} | {"validation": 1 / 8}
            experiment = of_sets(Config(**chosen, seed=seed, threads=1), train, test, ())
            experiment.trainer.callbacks.clear()
            sets = experiment.train, experiment.validation, experiment.test
            result = experiment.trainer.fit(*sets, epochs=chosen["epochs"])
            experiment.trainer.close()
            base = baselines(train, {"test": test})["test"]
            base["genn_eventprop"] = result["test_accuracy"]
            for name in COLUMNS[3:]:
                found.setdefault(name, []).append(100 * base[name])
            print(threshold, seed, {n: round(v[-1], 2) for n, v in found.items()}, flush=True)
        spread = [f"{statistics.mean(v):.1f} +- {statistics.stdev(v) if len(v) > 1 else 0:.1f}" for v in found.values()]
        encoding = f"`{chosen['encoding']}`" if chosen["encoding"] else "none"
        cells = [f"{threshold:g}", f"{len(events.times) / len(events):.0f}", encoding, *spread]
        print(" | ".join(cells))
        if asked.numbers:
            command = f"python benchmarks/braille_protocol.py --thresholds {threshold:g} --seeds 1-{len(asked.seeds)}"
            add_row(asked.numbers, COLUMNS, cells, command, runs=found)


if __name__ == "__main__":
    main()
