"""How often a network learns without a setting: the success rate of `genn_eventprop.recipes` on small data sets.

    python benchmarks/defaults.py --aeon aeon-1.6.0-py3-none-any.whl    # all sets, seed 1
    python benchmarks/defaults.py --sets iris,yin_yang --seeds 1-5
    python benchmarks/defaults.py --sets rules --split validation       # as rules are chosen: no test set is read
    python benchmarks/defaults.py --table                               # what the result file has
    python benchmarks/defaults.py --table --write docs/numbers/defaults.json    # and the table of docs/own_data.md

A run learns if it reaches 95 % of the better of two baselines, logistic regression (of a regression ridge regression)
and 1-NN (`data.baselines`), and 90 % of the tuned accuracy where one is known for the same samples. Of a regression
the numbers are explained variances of the targets. Results go to benchmarks/results/defaults.json
after every run; those that are there are not run again. Sets marked "kept" were not looked at while rules were chosen.

Data: the data folder (GENN_EVENTPROP_DATA or --data), scikit-learn's own sets, and files of the UCR and UEA archives
as they lie in the wheel of aeon (`pip download --no-deps aeon`). Of a larger set LIMIT samples are used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from result_file import add_row

from genn_eventprop.atomic import write_text
from genn_eventprop.data import Currents, Events
from genn_eventprop.data.baselines import LOGISTIC, NEAREST, RIDGE, baselines, of_targets
from genn_eventprop.data.events import encode, splits
from genn_eventprop.data.readers import aer, fsdd, mnist, ts, yin_yang
from genn_eventprop.data.target_scale import has_targets
from genn_eventprop.experiments.own_data import Config, of_sets
from genn_eventprop.recipes import recipe_of, split_off
from genn_eventprop.runs.run_folder import environment

LIMIT = 1000
"""Training samples, and test samples, of a set that has more."""
RATIO, TUNED = 0.95, 0.90
Sets = tuple[Any, Any]


def archive(name: str, *, suffix: str = "") -> Callable[[Path, Path], Sets]:
    """A set of the UCR and UEA archives from the wheel of aeon."""

    def load(data: Path, wheel: Path) -> Sets:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as file:
            members = [f"aeon/datasets/data/{name}/{name}{suffix}_{part}.ts" for part in ("TRAIN", "TEST")]
            train, test = (ts.read_ts(file.extract(member, folder))[0] for member in members)
        return train, test

    return load


def tabular(name: str, *, latency: bool = False) -> Callable[[Path, Path], Sets]:
    """Features of a set of scikit-learn as constant currents, or one spike each; 30 % of each class are the test."""

    def load(data: Path, wheel: Path) -> Sets:
        from sklearn import datasets

        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        all_: Any = encode.latency_linear(x / x.max(), y) if latency else Currents.constant(x, duration=100.0, labels=y)
        return splits.stratified_split(all_, 0.3, rng=0).apply(all_)

    return load


def diabetes(data: Path, wheel: Path) -> Sets:
    """Ten features, one target (scikit-learn)."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return split_off(Currents.constant(x, duration=100.0, targets=y[:, None]), 0.3, 0)


def friedman(data: Path, wheel: Path) -> Sets:
    """Ten features of which five matter, not linearly, with noise (Friedman 1991, doi 10.1214/aos/1176347963)."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(1000, noise=1.0, random_state=1)
    return split_off(Currents.constant(x, duration=100.0, targets=y[:, None]), 0.3, 0)


def word_lengths(data: Path, wheel: Path) -> Sets:
    """How long a spoken digit lasts and how many spikes it has, from its spikes."""
    path = data / "fsdd/fsdd_spikes_700ch.npz"

    def answered(e: Events) -> Events:
        ends = np.array([e.sample(i)[0][-1] for i in range(len(e))])
        targets = np.stack([ends, np.diff(e.offsets)], axis=1).astype(np.float64)
        return Events(e.times, e.channels, e.offsets, e.n_channels, targets=targets)

    return answered(_some(fsdd.load(path, "train"))), answered(_some(fsdd.load(path, "test")))


TEMPLATES = """
5 6 6.5 6.75 7 7 7 7 6.75 6.5 6 5 / 5 3 3 3.4 3.8 4.2 4.6 5 5.4 5.8 5 5 / 5 6 6.5 6.5 6 5.25 4.75 4 3.5 3.5 4 5
/ 5 6 6.5 6.5 6 5 5 6 6.5 6.5 6 5 / 5 4.4 3.8 3.2 2.6 2.6 5 5 5 5 5 5 / 5 3 3 3 3 5 6 6.5 6.5 6 4.5 5
/ 5 4 3.5 3.25 3 3 3 3 3.25 3.5 4 5 / 5 7 7 6.6 6.2 5.8 5.4 5 4.6 4.2 5 5 / 5 4 3.5 3.5 4 5 5 4 3.5 3.5 4 5
/ 5 4 3.5 3.5 4 5 5 5 5 4.7 4.3 5"""


def mnist1d(*, shuffled: bool = False) -> Callable[[Path, Path], Sets]:
    """MNIST-1D: ten shapes, padded, scaled, moved, on correlated noise, sheared (Greydanus & Kobak, arXiv 2011.14439).

    The published recipe with random numbers of NumPy's new generator, so not the published samples themselves.
    """

    def load(data: Path, wheel: Path) -> Sets:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(42)
        shapes = np.array([row.split() for row in TEMPLATES.split("/")], np.float64)
        shapes -= shapes.mean(1, keepdims=True)
        shapes /= shapes.std(1, keepdims=True)
        shapes = (shapes - shapes[:, :1]) / 6

        def resampled(x: np.ndarray, size: int) -> np.ndarray:
            return np.interp(np.linspace(0, 1, size), np.linspace(0, 1, len(x)), x)

        labels, rows = rng.permutation(np.arange(5000) % 10), []
        for k in labels:
            x = resampled(np.concatenate([shapes[k] + 1e-8, np.zeros(rng.integers(36, 61))]), 72)
            x = np.roll(x * (1 + 0.4 * (rng.random() - 0.5)), rng.integers(48))
            noise = gaussian_filter(0.25 * rng.standard_normal(72), 2)
            x = np.where(x == 0, noise, x) + 0.02 * rng.standard_normal(72)
            rows.append(resampled(x - 0.75 * (rng.random() - 0.5) * np.linspace(-0.5, 0.5, 72), 40))
        values = np.array(rows)
        values = values[:, rng.permutation(40)] if shuffled else values
        all_ = Currents(values[:, :, None], dt=1.0, labels=labels)
        return all_[:4000], all_[4000:]

    return load


def randman(data: Path, wheel: Path) -> Sets:
    """Spike times on random smooth manifolds, a spike a channel: counts say nothing (Zenke & Vogels 2021)."""
    rng, times, labels = np.random.default_rng(7), [], np.repeat(np.arange(5), 300)
    k = np.arange(1, 9)
    for _ in range(5):
        size, phase = rng.random((20, 8)) / k**2, rng.random((20, 8))
        place = rng.random(300)
        times.append((size * np.sin(2 * np.pi * (place[:, None, None] * k + phase))).sum(2))
    t = np.concatenate(times)
    all_ = encode.one_spike_each(50 * (t - t.min(0)) / np.ptp(t, 0), 20, labels=labels)
    return splits.stratified_split(all_, 0.3, rng=0).apply(all_)


def spoken(*, speakers: bool = False, times_only: bool = False) -> Callable[[Path, Path], Sets]:
    """Spoken digits as spikes of the ear: the digit, the speaker, or the digit from times alone, where 70 groups of
    channels have 8 spikes each, drawn from those that are there."""

    def load(data: Path, wheel: Path) -> Sets:
        path = data / "fsdd/fsdd_spikes_700ch.npz"
        train, test = _some(fsdd.load(path, "train")), _some(fsdd.load(path, "test"))
        if speakers:
            names = np.unique(train.groups)
            return tuple(  # type: ignore[return-value]
                Events(e.times, e.channels, e.offsets, e.n_channels, np.searchsorted(names, e.groups))
                for e in (train, test)
            )
        return (_times_alone(train), _times_alone(test)) if times_only else (train, test)

    return load


def _times_alone(events: Events) -> Events:
    rng, samples = np.random.default_rng(0), []
    for i in range(len(events)):
        t, c = events.sample(i)
        each = [t[c // 10 == group] for group in range(70)]
        drawn = [rng.choice(x, 8) if len(x) else rng.uniform(0, t[-1], 8) for x in each]
        samples.append((np.concatenate(drawn), np.repeat(np.arange(70), 8)))
    return Events.from_samples(samples, 70, events.labels, sort=True)


def stream(data: Path, wheel: Path) -> Sets:
    """Spoken digits one after the other with pauses, in windows of 400 ms: which is heard longest, or none."""

    def windows(events: Events, rng: np.random.Generator) -> Events:
        times, channels, said, now = [], [], [], 0.0
        for i in rng.permutation(len(events)):
            now += rng.uniform(0, 400)
            t, c = events.sample(i)
            times, channels = [*times, now + t], [*channels, c]
            said.append((now, now + t[-1], events.labels[i]))
            now += t[-1]
        t, c, samples, labels = np.concatenate(times), np.concatenate(channels), [], []
        begins, ends, digits = map(np.array, zip(*said))
        for start in np.arange(0.0, now - 400, 400):
            inside = slice(*np.searchsorted(t, (start, start + 400)))
            samples.append((t[inside] - start, c[inside]))
            heard = np.clip(np.minimum(ends, start + 400) - np.maximum(begins, start), 0, None)
            labels.append(digits[heard.argmax()] if heard.max() > 100 else 10)
        groups = np.arange(len(samples)) // 25  # of ten seconds each
        return Events.from_samples(samples, events.n_channels, labels, groups=groups)

    path = data / "fsdd/fsdd_spikes_700ch.npz"
    rng = np.random.default_rng(5)
    return windows(_some(fsdd.load(path, "train")), rng), windows(fsdd.load(path, "test"), rng)


def braille(data: Path, wheel: Path) -> Sets:
    """Twelve taxels as they were recorded, 0 to 255; every fifth repetition is the test, as in the page."""
    with np.load(data / "braille/braille_taxel.npz") as file:
        taxel, labels, held_out = file["taxel"], file["label"].astype(np.int64), file["repetition"] % 5 == 0
    all_ = Currents(taxel, dt=25.0, labels=labels)
    return all_[~held_out], all_[held_out]


@dataclasses.dataclass(frozen=True)
class Row:
    """A data set: how it is read, whether it was kept for the end, its tuned accuracy on the same samples."""

    load: Callable[[Path, Path], Sets]
    kept: bool = False
    tuned: float | None = None


ROWS = {
    "yin_yang": Row(lambda d, w: (yin_yang.load("train"), yin_yang.load("test"))),
    "latency_mnist": Row(lambda d, w: tuple(mnist.load_events(d / "mnist/mnist.npz", p) for p in ("train", "test"))),  # type: ignore[arg-type,return-value]
    "nmnist_small": Row(
        lambda d, w: tuple(aer.load_list(d / f"nmnist_small/{p}.txt", sort=True) for p in ("train", "test"))  # type: ignore[arg-type,return-value]
    ),
    "braille": Row(braille, tuned=0.977),
    "spoken_digits": Row(spoken()),
    "spoken_times": Row(spoken(times_only=True)),
    "speakers": Row(spoken(speakers=True)),
    "stream": Row(stream),
    "digits": Row(tabular("digits")),
    "digits_latency": Row(tabular("digits", latency=True)),
    "iris": Row(tabular("iris")),
    "wine": Row(tabular("wine")),
    "breast_cancer": Row(tabular("breast_cancer"), kept=True),
    "ACSF1": Row(archive("ACSF1")),
    "ArrowHead": Row(archive("ArrowHead")),
    "BasicMotions": Row(archive("BasicMotions")),
    "ItalyPowerDemand": Row(archive("ItalyPowerDemand")),
    "OSULeaf": Row(archive("OSULeaf")),
    "GunPoint": Row(archive("GunPoint"), kept=True),
    "JapaneseVowels": Row(archive("JapaneseVowels", suffix="_eq"), kept=True),
    "PickupGestureWiimoteZ": Row(archive("PickupGestureWiimoteZ", suffix="_eq"), kept=True),
    "mnist1d": Row(mnist1d()),
    "mnist1d_shuffled": Row(mnist1d(shuffled=True)),
    "randman": Row(randman),
    "friedman": Row(friedman),
    "diabetes": Row(diabetes),
    "word_lengths": Row(word_lengths),
}


def _some(data: Any) -> Any:
    """LIMIT samples at most, drawn at random but always the same."""
    if len(data) <= LIMIT:
        return data
    return data[np.sort(np.random.default_rng(0).permutation(len(data))[:LIMIT])]


def measure(
    row: Row, data: Path, wheel: Path, split: str, seed: int, threads: int, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One run and its baselines, which are those of a run that is `known`: seeds have the same samples."""
    train, test = map(_some, row.load(data, wheel))
    if split == "validation":  # of the training set alone
        train, test = split_off(train, 0.25, 0)
    start = time.process_time()
    _, choices = recipe_of(train, test)
    chosen: dict[str, Any] = {choice.setting: choice.value for choice in choices}
    experiment = of_sets(Config(seed=seed, threads=threads, **chosen), train, test, ())
    trainer = experiment.trainer
    trainer.callbacks.clear()
    found = trainer.fit(experiment.train, experiment.validation, experiment.test, epochs=chosen["epochs"])
    trainer.close()
    seconds = time.process_time() - start
    if has_targets(train):
        accuracy = found["test_explained_variance"]
        base = known or of_targets(train, {"test": test})["test"]
        base = {LOGISTIC: base.get(RIDGE, base.get(LOGISTIC)), NEAREST: base[NEAREST]}
    else:
        accuracy = found["test_accuracy"]
        base = known or baselines(train, {"test": test})["test"]
        base = {name: base[name] for name in (LOGISTIC, NEAREST)}
    learns = accuracy >= RATIO * max(base[LOGISTIC], base[NEAREST])
    return {
        "samples": [len(train), len(test)], "encoding": chosen["encoding"], "accuracy": accuracy,
        "training_accuracy": found["history"]["train_accuracy"][-1], "seconds": round(seconds, 1), **base,
        "learns": bool(learns and accuracy >= TUNED * (row.tuned or 0.0)),
    }  # fmt: skip


COLUMNS = ("data", "samples", "encoding", "test", "logistic or ridge regression", "1-NN", "runs that learn", "s")


def rows(results: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name -> cells of a row of the table, those kept for the end last."""
    found = {}
    for name, row in sorted(ROWS.items(), key=lambda item: item[1].kept):
        runs = list(results.get(name, {}).values())
        if runs:
            learned, seconds = sum(run["learns"] for run in runs), np.mean([run["seconds"] for run in runs])
            found[name] = (
                name + " (kept)" * row.kept, str(runs[0]["samples"][0]), f"`{runs[0]['encoding'] or 'none'}`",
                " ".join(f"{100 * run['accuracy']:.1f}" for run in runs), f"{100 * runs[0][LOGISTIC]:.1f}",
                f"{100 * runs[0][NEAREST]:.1f}", f"{learned} of {len(runs)}", f"{seconds:.0f}",
            )  # fmt: skip
    return found


def main() -> None:
    """Run what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", default="all", help="names separated by commas, all, or all but those that are kept: rules"
    )
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--aeon", type=Path, default=Path("aeon.whl"), help="the wheel of aeon")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "defaults.json")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, run nothing")
    parser.add_argument("--write", type=Path, help="the rows into this file too: docs/numbers/defaults.json")
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    parts = results.setdefault(options.split, {})
    names = [name for name, row in ROWS.items() if options.sets == "all" or not row.kept]
    names = names if options.sets in ("all", "rules") else options.sets.split(",")
    first, _, last = options.seeds.partition("-")
    for seed in [] if options.table else range(int(first), int(last or first) + 1):
        for name in names:
            if str(seed) in parts.get(name, {}):
                continue
            found = {"about": environment()} | measure(
                ROWS[name], options.data, options.aeon, options.split, seed, options.threads,
                next(iter(parts.get(name, {}).values()), None),
            )  # fmt: skip
            parts.setdefault(name, {})[str(seed)] = found
            options.out.parent.mkdir(exist_ok=True)
            write_text(options.out, json.dumps(results, indent=1))
            print(f"{name} seed {seed}: {found}", flush=True)
    for name, cells in rows(parts).items():
        print(" | ".join(cells))
        if options.write:
            last = list(parts[name].values())[-1]
            command = f"python benchmarks/defaults.py --sets {name} --seeds 1-{len(parts[name])} --aeon WHEEL"
            accuracies = {seed: run["accuracy"] for seed, run in parts[name].items()}
            add_row(options.write, COLUMNS, cells, command, last["about"], runs=accuracies)


if __name__ == "__main__":
    main()
