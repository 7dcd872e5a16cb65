"""Streams that are closed, full, or lose their reader after some bytes: a training ends bit for bit as without."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genn_eventprop.data.readers import yin_yang

from . import runs
from .child import BUG, command, run
from .kills import undisturbed
from .table import Part

WAYS = ("whole", "closed", "full", "unread", "read for a while")


def outputs(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """`count` commands, half of them trainings, each with stdout and stderr in random states."""
    part, began = Part("stdout and stderr closed, full, without a reader"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE.replace("progress=False", "progress=True"))
    whole = {variant: undisturbed(variant, folder)[0] for variant in runs.VARIANTS}
    yin_yang.load("test", 4).save(folder / "four.npz")
    target, path = folder / "target", str(whole["exact"])
    others = (
        ("report", path), ("predict", path, "four.npz", "--csv"), ("show", path), ("engines",), ("cache", "where"),
        ("plot", path, "--only", "curves"), ("export", path, str(folder / "weights.npz"), "--overwrite"), ("--help",),
        ("train", "page.py", "--help"), ("resume", "nothing"), ("scan", "nothing.toml"), ("nothing",),
    )  # fmt: skip
    for number in range(count):
        ways = [str(rng.choice(WAYS)) for _ in range(2)]
        after = int(rng.integers(1, 2000))
        variant = str(rng.choice(list(whole)))
        training = number % 2 == 0
        line = runs.line(variant, target) if training else others[rng.integers(len(others))]
        shutil.rmtree(target, ignore_errors=True)
        done = run(broken(command(*line), ways, after), folder, folder / "log")
        what = f"case {number}, {' '.join(line[:2])}, stdout {ways[0]}, stderr {ways[1]}: {done.said[-300:]}"
        fault = done.fault or ("bare traceback" if done.status == BUG else "")
        if not fault and training:
            allowed = (0, 1) if ways[0] == "full" else (0,)
            fault = "" if done.status in allowed else f"status {done.status}"
            fault = fault or runs.difference(target, whole[variant])
        elif not fault and done.status not in (0, 1, 2):
            fault = f"status {done.status}"
        part.count(fault or ("equal" if training else "harmless"), what)
    part.seconds = time.monotonic() - began
    return part


def broken(work: Callable[[], int], ways: list[str], after: int) -> Callable[[], int]:
    """The same work with stdout and stderr as `ways` tell; a reader leaves after so many bytes."""

    def child() -> int:
        for number, (name, way) in enumerate(zip(("stdout", "stderr"), ways), 1):
            if way == "closed":
                os.close(number)
                setattr(sys, name, None)
            elif way != "whole":
                os.dup2(os.open("/dev/full", os.O_WRONLY) if way == "full" else _pipe(way, after), number)
        return work()

    return child


def _pipe(way: str, after: int) -> int:
    """The end to write to of a pipe that nobody reads, or a process that leaves after some bytes."""
    read, write = os.pipe()
    if way == "read for a while" and os.fork() == 0:
        os.close(write)
        left = after
        while left > 0 and (some := os.read(read, left)):
            left -= len(some)
        os._exit(0)
    os.close(read)
    return write
