"""Kills at random moments of training, conversion and build: what goes on afterwards ends bit-equal."""

from __future__ import annotations

import ctypes
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5
from genn_eventprop.toolchain import build

from . import runs
from .child import Outcome, command, run
from .table import Part

SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def undisturbed(variant: str, folder: Path) -> tuple[Path, float]:
    """(run folder, seconds) of a run that nothing happens to; its code is in the cache afterwards."""
    path = folder / f"whole-{variant}"
    for _ in range(2):  # the second one compiles nothing
        shutil.rmtree(path, ignore_errors=True)
        done = run(command(*runs.line(variant, path)), folder, folder / "whole.log")
        assert done.status == 0, done.said
    return path, done.seconds


def training(
    count: int, folder: Path, rng: np.random.Generator, signals: tuple[int, ...] = SIGNALS, name: str = "-9, TERM"
) -> Part:
    """Kill a training once or twice, at any moment from its first to its last; then the same line again."""
    part, began = Part(f"kills ({name}) of trainings"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    whole = {variant: undisturbed(variant, folder) for variant in runs.VARIANTS}
    for number in range(count):
        variant = str(rng.choice(list(whole)))
        path, seconds = whole[variant]
        target, log = folder / f"killed-{number}", folder / "killed.log"
        kills = [
            (signals[rng.integers(len(signals))], float(rng.uniform(0, seconds))) for _ in range(rng.integers(1, 3))
        ]
        what, fault = f"{variant}, {[(int(s), round(t, 3)) for s, t in kills]}", ""
        for sent, at in kills:
            done = run(command(*runs.line(variant, target)), folder, log, kill_after=at, number=sent)
            fault = fault or done.fault
        done = run(command(*runs.line(variant, target)), folder, log)
        fault = fault or done.fault or ("" if done.status == 0 else f"status {done.status}: {done.said[-300:]}")
        fault = fault or runs.difference(target, path)
        part.count(fault or "equal", what)
        if not fault:
            shutil.rmtree(target)
    part.seconds = time.monotonic() - began
    return part


def _again(part: Part, count: int, rng: np.random.Generator, work: Callable[[Path], Callable[[], int]],
           same: Callable[[Path], bool], folder: Path) -> None:  # fmt: skip
    """Kill `work(place)` at a random moment, do it again without, and compare."""
    first = run(work(folder / "first"), folder, folder / "log")
    assert first.status == 0 and same(folder / "first"), first.said
    for number in range(count):
        place, at = folder / f"place-{number}", float(rng.uniform(0, first.seconds))
        sent = SIGNALS[rng.integers(2)]
        killed = run(work(place), folder, folder / "log", kill_after=at, number=sent)
        done: Outcome = run(work(place), folder, folder / "log")
        fault = killed.fault or done.fault or ("" if done.status == 0 else f"status {done.status}: {done.said[-300:]}")
        part.count(fault or ("equal" if same(place) else "differs"), f"signal {int(sent)} after {at:.3f} s")
        if not fault:
            shutil.rmtree(place, ignore_errors=True)


def conversion(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """Kill the conversion of an HDF5 file into the cache of data."""
    part, began = Part("kills of conversions of data"), time.monotonic()
    samples = [(np.sort(rng.uniform(0, 900, 400)), rng.integers(0, 700, 400)) for _ in range(300)]
    hdf5.write_shd(Events.from_samples(samples, 700, np.arange(300) % 20), folder / "x.h5")
    want = hdf5.read_shd(folder / "x.h5")

    def work(place: Path) -> Callable[[], int]:
        return lambda: len(open_events(folder / "x.h5", cache=place)[0]) != 300

    def same(place: Path) -> bool:
        found = open_events(folder / "x.h5", cache=place)[0]
        return all(np.array_equal(getattr(found, n), getattr(want, n)) for n in ("times", "channels", "labels"))

    _again(part, count, rng, work, same, folder)
    part.seconds = time.monotonic() - began
    return part


SOURCE = """
#include <vector>
#include <algorithm>
extern "C" int answer() { std::vector<int> v{3, 1, 2}; std::sort(v.begin(), v.end()); return 40 + v[1]; }
"""


def building(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """Kill the compilation into the cache of code."""
    part, began = Part("kills of compilations"), time.monotonic()

    def work(place: Path) -> Callable[[], int]:
        def child() -> int:
            import os

            os.environ["GENN_EVENTPROP_CACHE"] = str(place)
            library: ctypes.CDLL = build(SOURCE)
            return int(library.answer() != 42)

        return child

    _again(part, count, rng, work, lambda place: len(list(place.glob("*.so"))) == 1, folder)
    part.seconds = time.monotonic() - began
    return part
