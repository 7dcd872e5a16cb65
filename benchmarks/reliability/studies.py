"""Kills of scans and searches at random moments; the same line again ends with what an undisturbed one found."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.runs.run_folder import read_json

from . import runs
from .child import Outcome, command, run
from .table import Part

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 60.0
"""Seconds that trainings of a killed scan may take to write their last checkpoint."""
HEAD = 'experiment = "page.py"\nprocesses = 2\nfolder = "{folder}"\n[settings]\nepochs = 25\n'
STUDIES = {
    "scan": HEAD + '[grid]\nhidden = [[8], [12]]\nseed = "1-2"\n',
    "search": HEAD
    + '[search]\ntrials = 4\nsampler = "random"\npruner = "none"\n[search.ranges]\n'
    + "learning_rate = {{low = 1e-4, high = 1e-2, log = true}}\n",
}


def studies(kind: str, count: int, folder: Path, rng: np.random.Generator) -> Part:
    """Kill one process of a scan or search once or twice, then run it to its end."""
    part, began = Part(f"kills (-9, TERM, HUP) of {'searches' if kind == 'search' else 'scans'}"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    for _ in range(2):  # the second one compiles nothing
        shutil.rmtree(folder / "whole", ignore_errors=True)
        first = run(_line(kind, "whole", folder), folder, folder / "log")
        assert first.status == 0, first.said
    for number in range(count):
        name = f"killed-{number}"
        kills = [
            (SIGNALS[rng.integers(3)], float(rng.uniform(0, first.seconds))) for _ in range(int(rng.integers(1, 3)))
        ]
        what, fault = f"{kind}, {[(int(s), round(t, 3)) for s, t in kills]}", ""
        for sent, at in kills:
            killed = run(_line(kind, name, folder), folder, folder / "log", kill_after=at, number=sent)
            fault = fault or killed.fault
        done = _again(kind, name, folder)
        fault = fault or done.fault or ("" if done.status == 0 else f"status {done.status}: {done.said[-300:]}")
        fault = fault or difference(kind, folder / name, folder / "whole")
        part.count(fault or "equal", what)
        if not fault:
            shutil.rmtree(folder / name)
    part.seconds = time.monotonic() - began
    return part


def _line(kind: str, name: str, folder: Path) -> Any:
    file = folder / f"{name}.toml"
    file.write_text(STUDIES[kind].format(folder=name))
    return command("scan", file.name)


def _again(kind: str, name: str, folder: Path) -> Outcome:
    """Until the trainings of the killed one have ended, the line is refused."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = run(_line(kind, name, folder), folder, folder / "log")
        if "is still running" not in done.said or time.monotonic() > deadline:
            return done
        time.sleep(0.5)


def difference(kind: str, study: Path, whole: Path) -> str:
    """In what a study differs from the undisturbed one; "" if in nothing but time."""
    cells = sorted(path.name for path in whole.iterdir() if (path / "results.json").is_file())
    mine = sorted(path.name for path in study.iterdir() if (path / "results.json").is_file())
    if mine != cells:
        return f"runs {', '.join(mine)} in place of {', '.join(cells)}"
    if kind == "search" and _trials(study) != _trials(whole):
        return f"trials {_trials(study)} in place of {_trials(whole)}"
    return next((f"{d} of {name}" for name in cells if (d := runs.difference(study / name, whole / name))), "")


def _trials(study: Path) -> list[Any]:
    """Number, state, settings and value of every trial."""
    return [[row[key] for key in ("trial", "state", "settings", "value")] for row in _rows(study)]


def _rows(study: Path) -> list[dict[str, Any]]:
    return sorted(read_json(study / "search.json")["trials"], key=lambda row: int(row["trial"]))
