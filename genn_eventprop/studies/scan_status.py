"""How far a scan is: a line for each cell, read from its folder, so that it can be asked from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import SettingError
from ..runs.run_folder import RunFolder, read_json
from ..runs.run_lock import held
from ..training.runtime_estimate import duration
from .jobs import ENDED, Job
from .repeats import run_state
from .scan import Scan
from .tabulate import lined

STATES = ("running", "waiting", "stopped", "failed", "done")


@dataclass(frozen=True)
class CellState:
    """One cell: state, epochs done of those wanted, seconds to go if it runs, best validation accuracy, a remark."""

    name: str
    state: str
    epoch: int
    epochs: int
    remaining: float | None
    validation: float | None
    remark: str = ""


def cell_states(scan: Scan, queue: Mapping[str, str]) -> list[CellState]:
    """Every cell of a scan, in its order; `queue`: name -> state of those that a cluster's queue holds."""
    return [_cell_state(scan.job(name), scan.expected(settings), queue) for name, settings in scan.cells().items()]


def _cell_state(job: Job, settings: Mapping[str, Any], queue: Mapping[str, str]) -> CellState:
    state, remark = _state(job, queue)
    lines = _metrics(job.run_dir)
    epochs, done = int(settings["epochs"]), len(lines)
    accuracies = [line["validation_accuracy"] for line in lines if line["validation_accuracy"] is not None]
    remaining = fmean(line["seconds"] for line in lines) * max(0, epochs - done) if lines else None
    return CellState(
        job.name, state, done, epochs, remaining if state == "running" else None, max(accuracies, default=None), remark
    )


def _state(job: Job, queue: Mapping[str, str]) -> tuple[str, str]:
    if run_state(job.run_dir) == "finished":
        return "done", ""
    if held(job.run_dir):
        return "running", ""
    if job.name in queue:
        return ("running" if queue[job.name] == "RUNNING" else "waiting"), queue[job.name].lower()
    status = read_json(job.status_file)["status"] if job.status_file.is_file() else None
    if status is not None and status not in (0, *ENDED):
        return "failed", last_line(job.log)
    return ("stopped", "resumes with the next scan") if run_state(job.run_dir) == "started" else ("waiting", "")


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    try:
        return RunFolder(run_dir).metrics
    except SettingError:  # damaged: a resume recreates it
        return []


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")


def status_table(cells: list[CellState]) -> str:
    """The table, and how many cells are in which state."""
    heads = ["cell", "state", "epoch", "to go", "validation", ""]
    body = [
        [c.name, c.state, f"{c.epoch}/{c.epochs}", "-" if c.remaining is None else duration(c.remaining),
         "-" if c.validation is None else f"{100 * c.validation:.2f} %", c.remark]
        for c in cells
    ]  # fmt: skip
    counts = {state: sum(c.state == state for c in cells) for state in STATES}
    return lined(heads, body) + "\n" + ", ".join(f"{n} {state}" for state, n in counts.items() if n) + "\n"
