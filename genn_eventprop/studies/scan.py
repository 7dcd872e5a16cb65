"""A grid of settings of one experiment, written in a TOML file.

    experiment = "yin_yang"            # a name, or a Python file beside this one
    processes = 2                      # trainings at once; 1 if not given
    runner = "local"                   # processes of this machine; or "slurm", see cluster.py for its table [slurm]
    folder = "runs/widths"             # runs/NAME-OF-THIS-FILE if not given

    [settings]                         # the same in every cell
    epochs = 20

    [grid]                             # every combination is a cell
    hidden = [50, 100, 200]
    learning_rate = [1e-3, 5e-3]
    seed = "1-3"                       # ranges as for --seeds; or a list

The folder gets cells/NAME.toml and a run folder for every cell, logs/NAME.log, and table.md and table.json at the end.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ..atomic import write_text
from ..errors import SettingError, check_known, whole
from ..experiment.experiment import ExperimentFile, check_settings, config_from_json, load_experiment, settings_file
from ..experiment.options import read_toml, write_toml
from ..runs.run_folder import RunFolder, mark_folder, read_json, run_in, run_state
from ..runs.run_lock import is_locked, lock_for_writing
from ..training.runtime_estimate import duration
from .cluster import Slurm, slurm_of
from .jobs import ENDED, Job, last_line
from .repeats import same_settings, whole_numbers
from .search import Search, search_of
from .tables import markdown_table

TOP = ("experiment", "processes", "folder", "runner", "settings", "grid", "slurm", "search")
RUNNERS = ("local", "slurm")
MOST_CELLS = 10_000
LONGEST = 150
"""Characters of a cell's name; longer names are cut, with a checksum appended."""
RESERVED = ("run_dir", "config", "seeds", "cross_validate")


@dataclass(frozen=True, eq=False)
class Scan:
    """A parsed scan file. grid: setting -> its values, in the order of the file.

    listed: cell name -> its settings; cells that a program names one by one, in place of a grid.
    """

    file: ExperimentFile
    folder: Path
    processes: int
    settings: Mapping[str, Any]
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    runner: str = "local"
    slurm: Slurm = field(default_factory=lambda: Slurm({}))
    search: Search | None = None
    listed: Mapping[str, Mapping[str, Any]] | None = None

    def cells(self) -> dict[str, dict[str, Any]]:
        """Cell name -> the settings of the grid that make it; ``hidden=50,seed=1``."""
        if self.listed is not None:
            return {name: dict(settings) for name, settings in self.listed.items()}
        cells = {}
        for values in itertools.product(*self.grid.values()):
            settings = dict(zip(self.grid, values))
            cells[cell_name(settings)] = settings
        return cells

    def job(self, name: str, threads: int | None = None) -> Job:
        """The training of a cell; `threads` of its engine, if the settings do not say."""
        file = self.folder / "cells" / f"{name}.toml"
        extra = () if threads is None or "threads" in self.settings else ("--threads", str(threads))
        arguments = (self.file.source, "--config", str(file), *extra)
        return Job(name, arguments, run_in(self.folder, name), self.folder / "logs" / f"{name}.log")

    def expected(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a cell, the experiment's defaults filled in."""
        settings = {**self.settings, **cell}
        quick = self.file.quick if settings.get("quick") else {}
        return dict(vars(config_from_json(self.file.config, {**quick, **settings})))


def read_scan(path: Path | str) -> Scan:
    """A scan from its TOML file.

    Raises:
        SettingError: no such file, not TOML, an unknown key or setting, an empty or doubled list of values.
    """
    path = settings_file(path)
    if path.suffix != ".toml":
        raise SettingError(
            f"{path}: a scan is a TOML file, with experiment = {path.stem!r} say, and a table [grid] of values"
        )
    table = read_toml(path)
    for key in table:
        check_known(key, TOP, SettingError, f"{path}: unknown key {key!r}; ")
    if not isinstance(table.get("experiment"), str):
        raise SettingError(f'{path}: name the experiment, e.g. experiment = "yin_yang"')
    source = table["experiment"]
    beside = path.parent / source
    file = load_experiment(beside if source.endswith(".py") and beside.is_file() else source)
    settings, grid = _names(table, "settings", path), _names(table, "grid", path)
    for name in (*settings, *grid):
        if name in RESERVED:
            raise SettingError(f'{path}: {name} cannot be set in a scan; for repeats give seed = "1-3" in [grid]')
    check_settings(file.config, settings, f"{path}, [settings]")
    check_settings(file.config, grid, f"{path}, [grid]")
    both = sorted(set(settings) & set(grid))
    if both:
        raise SettingError(f"{path}: {both[0]} is in [settings] and in [grid]; keep one")
    values = {name: _values(name, choices, path) for name, choices in grid.items()}
    for each in (settings, *({name: value} for name, choices in values.items() for value in choices)):
        try:
            config_from_json(file.config, each)
        except SettingError as error:
            raise SettingError(f"{path}: {error}") from None
    processes = whole(table.get("processes", 1), f"{path}: processes", SettingError)
    runner, slurm = table.get("runner", "local"), table.get("slurm", {})
    check_known(runner, RUNNERS, SettingError, f"{path}: runner = {runner!r}; ")
    if not isinstance(slurm, Mapping):
        raise SettingError(f"{path}: slurm must be a table, [slurm] and lines below it")
    folder = table.get("folder", f"runs/{path.stem}")
    if not isinstance(folder, str) or not folder:
        raise SettingError(f'{path}: folder must be a string, e.g. folder = "runs/{path.stem}", got {folder!r}')
    search = _search(table, settings, file, path)
    scan = Scan(file, Path(folder), processes, settings, values, runner, slurm_of(slurm, str(path)), search)
    count = math.prod(len(choices) for choices in values.values())
    if count > MOST_CELLS:
        raise SettingError(f"{path}: the grid has {count:,} cells, more than {MOST_CELLS:,}; list fewer values")
    cells = scan.cells()
    if len(cells) < count:
        raise SettingError(f"{path}: two cells of the grid have the same name; remove duplicate values")
    return scan


def _search(table: Mapping[str, Any], settings: Mapping[str, Any], file: ExperimentFile, path: Path) -> Search | None:
    if "search" not in table:
        return None
    if "grid" in table:
        raise SettingError(f"{path}: a scan has [grid] or [search], not both")
    if not isinstance(table["search"], Mapping):
        raise SettingError(f"{path}: search must be a table, [search] and lines below it")
    search = search_of(table["search"], str(path))
    check_settings(file.config, search.ranges, f"{path}, [search.ranges]")
    both = sorted((set(settings) | set(RESERVED)) & set(search.ranges))
    if both:
        raise SettingError(
            f"{path}: {both[0]} is searched; it cannot be in [settings] too, nor set the folder of a run"
        )
    return search


def _names(table: Mapping[str, Any], part: str, path: Path) -> dict[str, Any]:
    entries = table.get(part, {})
    if not isinstance(entries, Mapping):
        raise SettingError(f"{path}: {part} must be a table, [{part}] and lines below it")
    return {name.replace("-", "_"): value for name, value in entries.items()}


def _values(name: str, choices: Any, path: Path) -> list[Any]:
    if name == "seed" and isinstance(choices, str):
        return list(whole_numbers(choices, f"{path}: seed"))
    if not isinstance(choices, list) or not choices:
        raise SettingError(f"{path}: {name} in [grid] must be a list of values, got {choices!r}")
    return choices


def cell_name(settings: Mapping[str, Any]) -> str:
    """A name that can be a folder's: ``hidden=50,spread=2.0_0.5``; "all" for a scan without a grid."""
    texts = []
    for name, value in settings.items():
        text = "_".join(map(str, value)) if isinstance(value, list) else str(value)
        texts.append(f"{name}={''.join(c if c.isalnum() or c in '+-._=' else '_' for c in text)}")
    name = ",".join(texts) or "all"
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{zlib.crc32(name.encode()):08x}"


def prepare(scan: Scan, threads: int | None, queued: Iterable[str] = ()) -> tuple[list[Job], list[str]]:
    """(jobs that are not finished yet, names of the finished cells); checks that the finished ones are of this scan.

    Args:
        queued: cells that a cluster's queue holds already: their folders are not touched.

    Raises:
        SettingError: a cell was run with other settings.
    """
    jobs, finished = [], []
    for name, settings in scan.cells().items():
        job = scan.job(name, threads)
        run_dir, file = job.run_dir, Path(job.arguments[2])
        state = run_state(run_dir)
        if state != "finished" and name in queued:
            jobs.append(job)
            continue
        if state == "new":
            with lock_for_writing(run_dir):
                RunFolder(run_dir).start_over()  # killed before its first checkpoint
        else:
            same_settings(run_dir, scan.expected(settings))
        if state == "finished":
            finished.append(name)
            continue
        write_text(file, write_toml({**scan.settings, **settings}))
        jobs.append(job)
    return jobs, finished


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold `folder` for one scan at a time; the lock ends with the last process that has the descriptor.

    Raises:
        SettingError: another scan, or a training that it started, still runs; or the folder is not that of a scan.
    """
    import fcntl

    mark_folder(folder, "scan", "folder")
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = _holders(folder / ".lock")
            raise SettingError(
                f"another scan, or one of its trainings, is still running in {folder}{who}; wait for it or stop it"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _holders(lock: Path) -> str:
    """The processes of this machine that have a lock file open, in words: a worker may outlive its scan."""
    here, numbers = lock.stat(), []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError, ValueError):  # processes that end, or of others
            if int(entry.parts[2]) != os.getpid() and os.path.samestat(entry.stat(), here):
                numbers.append(int(entry.parts[2]))
    processes = ", ".join(map(str, sorted(set(numbers))))
    return f" (process {processes})" if processes else " (on another machine, or of another user)"


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
    lines = RunFolder(job.run_dir).readable_metrics
    epochs, done = int(settings["epochs"]), len(lines)
    accuracies = [line["validation_accuracy"] for line in lines if line["validation_accuracy"] is not None]
    remaining = fmean(line["seconds"] for line in lines) * max(0, epochs - done) if lines else None
    return CellState(
        job.name, state, done, epochs, remaining if state == "running" else None, max(accuracies, default=None), remark
    )


def _state(job: Job, queue: Mapping[str, str]) -> tuple[str, str]:
    if run_state(job.run_dir) == "finished":
        return "done", ""
    if is_locked(job.run_dir):
        return "running", ""
    if job.name in queue:
        return ("running" if queue[job.name] == "RUNNING" else "waiting"), queue[job.name].lower()
    status = read_json(job.status_file)["status"] if job.status_file.is_file() else None
    if status is not None and status not in (0, *ENDED):
        return "failed", last_line(job.log)
    return ("stopped", "resumes with the next scan") if run_state(job.run_dir) == "started" else ("waiting", "")


def status_table(cells: list[CellState]) -> str:
    """The table, and how many cells are in which state."""
    heads = ["cell", "state", "epoch", "to go", "validation", "remark"]
    body = [
        [c.name, c.state, f"{c.epoch}/{c.epochs}", "-" if c.remaining is None else duration(c.remaining),
         "-" if c.validation is None else f"{100 * c.validation:.2f} %", c.remark]
        for c in cells
    ]  # fmt: skip
    counts = {state: sum(c.state == state for c in cells) for state in STATES}
    return markdown_table(heads, body) + "\n" + ", ".join(f"{n} {state}" for state, n in counts.items() if n) + "\n"
