"""The ten published networks of Yin-Yang, evaluated by this program, beside runs of it from the same initial weights.

Wunderlich & Pehle 2021 keep the weights of their ten runs in their repository (github.com/eventprop/eventprop,
paper/yinyang_0.pkl .. yinyang_9.pkl). The pickles are read without running anything in them.

    python benchmarks/yin_yang_published.py PAPER --initial INIT       writes INIT/0.npz .. 9.npz
    for i in 0 1 2 3 4 5 6 7 8 9; do
        genn-eventprop train yin_yang --seed $i --init-from INIT/$i.npz --partial --run-dir RUNS/$i; done
    python benchmarks/yin_yang_published.py PAPER --ours RUNS
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

import genn_eventprop
from genn_eventprop import Trainer
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import load_experiment

NAMES = ("input_hidden.weight", "hidden_output.weight")
SPLITS = ("train", "validation", "test")
COLUMNS = (*SPLITS, "fresh")
FRESH = 20_000, 1000
"""Number and random seed of samples that nobody has trained, chosen or tested with."""
ALLOWED = {("scalar", "multiarray"), ("_reconstruct", "multiarray"), ("dtype", "numpy"), ("ndarray", "numpy")}


class Arrays(pickle.Unpickler):
    """Unpickles NumPy arrays and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (name, module.split(".")[-1]) not in ALLOWED or module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def initial(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The weights that the published run of this seed starts from: one generator for each layer, both of the seed."""
    return tuple(np.random.default_rng(seed).normal(*given) for given in ((1.5, 0.78, (5, 200)), (0.93, 0.1, (200, 3))))  # type: ignore[return-value]


def with_weights(trainer: Trainer, weights: tuple[np.ndarray, np.ndarray]) -> Trainer:
    """The trainer with these weights."""
    for name, values in zip(NAMES, weights, strict=True):
        trainer.engine.parameters[name][...] = values
    return trainer


def row(values: list[float]) -> str:
    """Percent, in columns."""
    return " | ".join(f"{100 * v:.2f}" for v in values)


def mean(rows: list[list[float]]) -> str:
    """Mean and standard deviation of each column."""
    columns = 100 * np.array(rows).T
    return " | ".join(f"{c.mean():.2f} +- {c.std(ddof=1):.2f}" for c in columns)


def main() -> None:
    """Write initial weights, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", type=Path, help="folder with yinyang_0.pkl ..")
    parser.add_argument("--initial", type=Path, help="write the initial weights here")
    parser.add_argument("--ours", type=Path, help="folder with run folders 0 .. 9 from these initial weights")
    arguments = parser.parse_args()
    page = load_experiment("yin_yang")
    trainer = page.build(page.config(seed=0, threads=1)).trainer
    sets = [*(yin_yang.load(name) for name in SPLITS), yin_yang.encode(*yin_yang.points(*FRESH))]
    published, ours, silent = [], [], []
    for seed in range(10):
        with (arguments.paper / f"yinyang_{seed}.pkl").open("rb") as file:
            weights = Arrays(file).load()[-1]  # after epochs 1, 11, .. 91 and 100
        start = initial(seed)
        untouched = np.isclose(weights[-1][0], start[0], atol=1e-12).all(axis=0)
        counts = []
        for epoch in (0, 1, -1):
            data = with_weights(trainer, weights[epoch]).engine.load(sets[0])
            spikes = trainer.engine.run(data, np.arange(len(sets[0]))).spike_counts
            counts += [int((spikes["hidden"].sum(axis=0) == 0).sum()), float(spikes["output"].sum(axis=1).mean()) / 3]
        silent.append([*counts, int(untouched.sum())])
        published.append([trainer.evaluate(events).accuracy for events in sets])
        if arguments.initial:
            arguments.initial.mkdir(parents=True, exist_ok=True)
            np.savez(arguments.initial / f"{seed}.npz", **dict(zip(NAMES, start, strict=True)))
        if arguments.ours:
            folder = arguments.ours / str(seed)
            last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
            test = json.loads((folder / "results.json").read_text())["final_test_accuracy"]
            fresh = genn_eventprop.load(folder, checkpoint="last").evaluate(sets[-1]).accuracy
            ours.append([last["train_accuracy"], last["validation_accuracy"], test, fresh])
    titles = [f"{who}: {name}" for who in ["published", *["ours"] * bool(ours)] for name in COLUMNS]
    print(f"| seed | {' | '.join(titles)} |\n|{'---|' * (len(titles) + 1)}")
    for seed, values in enumerate(published):
        print(f"| {seed} | {row(values + (ours[seed] if ours else []))} |")
    print(f"| mean | {mean(published)}{' | ' + mean(ours) if ours else ''} |\n")
    parts = [f"{what} {epochs}" for epochs in (1, 11, 100) for what in ("silent after", "output spikes after")]
    print(f"| seed | {' | '.join(parts)} | untouched |")
    print(f"|{'---|' * 8}")
    for seed, values in enumerate(silent):
        print(f"| {seed} | {' | '.join(f'{v:.2f}' if isinstance(v, float) else str(v) for v in values)} |")
    print(f"| mean | {' | '.join(f'{v:.1f}' for v in np.mean(silent, axis=0))} |")


if __name__ == "__main__":
    main()
