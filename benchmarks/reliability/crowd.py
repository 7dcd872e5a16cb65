"""Several processes at once on one cache and on one run folder."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np

from . import runs
from .child import Child, command
from .damage import _asks, _opens
from .kills import undisturbed
from .table import Part


def crowd(count: int, rounds: int, folder: Path, rng: np.random.Generator) -> Part:
    """`count` processes build one library, convert one file, and train into one folder; `rounds` times each."""
    from genn_eventprop.data import Events
    from genn_eventprop.data.readers import hdf5

    part, began = Part(f"{count} processes on one cache, one run folder"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    whole, _ = undisturbed("exact", folder)
    samples = [(np.sort(rng.uniform(0, 900, 400)), rng.integers(0, 700, 400)) for _ in range(30)]
    hdf5.write_shd(Events.from_samples(samples, 700, np.arange(30) % 20), folder / "x.h5")
    for number in range(rounds):
        places = [folder / f"{kind}-{number}" for kind in ("code", "data", "run")]
        for place, work in ((places[0], _asks(places[0])), (places[1], _opens(places[1], folder / "x.h5"))):
            done = [Child(work, folder, folder / f"log-{i}") for i in range(count)]
            for outcome in (child.wait() for child in done):
                fault = outcome.fault or ("" if outcome.status == 0 else f"status {outcome.status}")
                part.count(fault or "equal", f"{place.name}: {outcome.said[-300:]}")
        line = command(*runs.line("exact", places[2]))
        writers = [Child(line, folder, folder / f"log-{i}") for i in range(count)]
        for outcome in (child.wait() for child in writers):
            refused = outcome.status == 1 and "a run folder has one writer" in outcome.said
            end = (
                "equal" if outcome.status == 0 else "refused with a message" if refused else f"status {outcome.status}"
            )
            part.count(outcome.fault or end, f"one run folder: {outcome.said[-300:]}")
        end = runs.difference(places[2], whole)
        part.count(end or "equal", "the run that all wanted to write")
        shutil.rmtree(places[2], ignore_errors=True)
    part.seconds = time.monotonic() - began
    return part
