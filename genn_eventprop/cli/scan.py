"""``scan FILE.toml``: a grid of settings, several trainings at once, resumed after a kill, and its table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import SettingError, TrainingError
from ..training.distributed import launched
from ..training.jobs import LocalRunner
from ..training.run_folder import RunFolder, write_json, write_text
from ..training.scan import Scan, locked, prepare, read_scan
from ..training.tabulate import markdown, rows_of
from .options import parse


def scan(arguments: Sequence[str], program: str) -> None:
    """Run a grid of settings from a TOML file, and tabulate it: scan widths.toml."""
    parse(_scan, arguments, program)


def _scan(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.toml")],
    processes: int | None = None,
    table: bool = False,
) -> None:
    """Run every cell of a grid of settings that is not finished yet, then print the table.

    The file says experiment = "NAME", [settings] that all cells share, and [grid] with a list of values for each
    setting that varies; seed = "1-3" in it repeats every cell. Run the same command again after a kill: finished cells
    are kept, started ones go on from their last checkpoint.

    Args:
        file: The scan.
        processes: Trainings at once; default: what the file says, else 1. The cores are shared among them.
        table: Only print the table of what is finished.
    """
    if launched()[1] > 1:
        raise SettingError("a scan starts trainings of its own; run it without mpiexec")
    grid = read_scan(file)
    processes = grid.processes if processes is None else processes
    if processes < 1:
        raise SettingError(f"processes must be at least 1, got {processes}")
    failed = [] if table else _run(grid, processes)
    rows = rows_of(grid.cells(), _results(grid))
    if grid.folder.is_dir():
        write_text(grid.folder / "table.md", markdown(rows))
        write_json(grid.folder / "table.json", {"rows": rows})
    print(markdown(rows), end="")
    if failed:
        raise TrainingError(f"{len(failed)} cells failed; the reasons: " + ", ".join(failed))


def _run(grid: Scan, processes: int) -> list[str]:
    """Run what is left; returns the logs of the cells that failed."""
    failed = []
    with locked(grid.folder) as lock:
        threads = max(1, (os.cpu_count() or 1) // processes) if processes > 1 else None
        jobs, finished = prepare(grid, threads)
        print(f"{len(grid.cells())} cells, {len(finished)} finished before, {processes} at once, in {grid.folder}")
        for position, (job, status) in enumerate(LocalRunner(processes, [lock]).run(jobs), len(finished) + 1):
            word = "finished" if status == 0 else f"failed: {_last_line(job.log)}"
            print(f"{position}/{len(grid.cells())} {job.name}: {word}", flush=True)
            failed += [str(job.log)] if status else []
    return failed


def _results(grid: Scan) -> dict[str, dict]:
    folders = {name: grid.folder / name for name in grid.cells()}
    return {name: RunFolder(path).results for name, path in folders.items() if (path / "results.json").is_file()}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it left no message")
