"""One loaded model in two and in eight threads: each gets what a single thread gets, and none waits for ever."""

from __future__ import annotations

import faulthandler
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import genn_eventprop
from genn_eventprop.data import Events
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.deploy.trained import TrainedModel

from . import runs
from .child import Child, command, run
from .table import Part

KINDS = [
    ("exact", "native"), ("grid", "native"), ("grid", "c99"), ("grid", "reference_clock"), ("exact", "reference_event"),
]  # fmt: skip
"""Spike times of a training, and an engine that runs the trained model."""
SHARING = (2, 8)
CALLS = 16
"""Of every trial, shared out among its threads."""


def threads(rounds: int, folder: Path, rng: np.random.Generator) -> Part:
    """`rounds` trials of every engine and number of threads, each in a process of its own, so that a crash is seen."""
    part, began = Part("two and eight threads on one model"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    for variant in runs.VARIANTS:
        done = run(command(*runs.line(variant, folder / variant)), folder, folder / "log")
        assert done.status == 0, done.said
    for number in range(rounds):
        for variant, engine in KINDS:
            for count in SHARING:
                log = folder / f"log-{variant}-{engine}-{count}-{number}"
                work = _shared(folder / variant, engine, count, int(rng.integers(2**31)))
                outcome = Child(work, folder, log).wait()
                end = json.loads(outcome.said.splitlines()[-1])["end"] if outcome.status == 0 else ""
                what = f"{engine}, {variant}, {count} threads: {outcome.said[-300:]}"
                part.count(outcome.fault or end or f"status {outcome.status}", what)
    part.seconds = time.monotonic() - began
    return part


def _shared(path: Path, engine: str, count: int, seed: int) -> Callable[[], int]:
    """A process that loads a trained model, asks it from `count` threads, and then asks again from one."""

    def work() -> int:
        faulthandler.enable()
        rng, every = np.random.default_rng(seed), yin_yang.load("test", 40)
        parts = [every[np.sort(rng.choice(40, size, replace=False))] for size in rng.integers(1, 30, CALLS)]
        model = genn_eventprop.load(path, engine=engine, threads=2)
        tasks = [_task(model, part, int(kind)) for part, kind in zip(parts, rng.integers(3, size=CALLS))]
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(lambda task: task(), tasks))
        same = all(_equal(a, task()) for a, task in zip(found, tasks))
        print(json.dumps({"end": "equal" if same else "another result than that of one thread"}))
        return 0

    return work


def _task(model: TrainedModel, events: Events, kind: int) -> Callable[[], dict[str, Any]]:
    """A call of the model: its outputs, its spike counts, or gradients of its loss."""

    def gradients() -> dict[str, Any]:
        engine = model.engine
        data = engine.load(model.prepared(events))
        with engine.lock:
            loss = engine.run(data, np.arange(len(events)), training=True).loss
            return {"loss": loss, **{name: np.array(value) for name, value in engine.gradients.items()}}

    calls = (lambda: vars(model.outputs(events)), lambda: model.spike_counts(events), gradients)
    return calls[kind]


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        x is y or np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f") for x, y in ((a[k], b[k]) for k in a)
    )
