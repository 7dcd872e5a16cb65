"""``scan FILE.toml``: a grid of settings, several trainings at once, resumed after a kill, and its table."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ..atomic import write_text
from ..distributed import launched
from ..errors import SettingError, TrainingError, whole
from ..experiment.options import write_toml
from ..runs import mark
from ..runs.run_folder import RunFolder, run_in, write_json
from ..studies.cluster import SlurmRunner
from ..studies.jobs import LocalRunner, follow, threads_for
from ..studies.scan import Scan, cell_states, locked, prepare, read_scan, status_table
from ..studies.search import import_optuna, study_of
from ..studies.search_run import SearchRun, describe
from ..studies.tables import markdown_table, scan_rows, scan_table
from .options import operand, parse
from .worker import run as run_command

File = Annotated[Path, *operand("FILE.toml")]


def scan(arguments: Sequence[str], program: str) -> None:
    """Run a grid of settings from a TOML file and tabulate it: scan w.toml; show its progress: scan status w.toml."""
    if arguments[:1] == ["status"] and len(arguments) > 1:
        parse(_status, arguments[1:], f"{program} status")
    else:
        parse(_scan, arguments, program)


def _status(file: File) -> None:
    """Of `scan status`.

    Show every cell of a scan: waiting, running (with epoch and remaining time), stopped, failed or done.

    It works while the scan runs, from any machine that can see its folder.

    Args:
        file: The scan.
    """
    grid = read_scan(file)
    if grid.search is not None:
        print(finish(grid), end="")
        return
    print(status_table(cell_states(grid, _queue(grid))), end="")


def _scan(
    file: File,
    processes: int | None = None,
    runner: Literal["local", "slurm"] | None = None,
    table: bool = False,
    dry_run: bool = False,
    detach: bool = False,
) -> None:
    """Of `scan`.

    Run those cells of a grid of settings that are not finished yet, then print the table.

    The file contains experiment = "NAME", a table [settings] that all cells share, and a table [grid] with a list of
    values for each setting that varies; seed = "1-3" in it repeats every cell. After an interruption, run the same
    command again: finished cells are kept, started ones continue from their last checkpoint. With runner = "slurm" the
    cells are jobs of an array; they keep running if this command ends, and the same command follows them again. With
    [search] instead of [grid], optuna searches the settings: see docs/cluster.md.

    Args:
        file: The TOML file of the scan.
        processes: Number of trainings at once, which share the cores; default: as in the file, else 1.
        runner: Processes on this machine, or SLURM jobs; default: as in the file, else local.
        table: Only print the table of finished cells.
        dry_run: Only print what would run; with SLURM, the script.
        detach: With SLURM: return once the jobs are in the queue.
    """
    if launched()[1] > 1:
        raise SettingError("a scan starts its own trainings; run it without mpiexec")
    grid = read_scan(file)
    processes, where = grid.processes if processes is None else processes, runner or grid.runner
    whole(processes, "processes", SettingError)
    if detach and where != "slurm":
        raise SettingError('--detach is for runner = "slurm": local trainings end with the scan')
    if grid.search is not None:
        _search(grid, processes, where, table or dry_run)
        return
    if dry_run:
        _show(grid, processes, where)
        return
    failed = [] if table else _run(grid, processes, where, detach)
    rows = scan_rows(grid.cells(), _results(grid))
    if grid.folder.is_dir():
        mark.check(grid.folder, "scan", "folder")
        write_text(grid.folder / "table.md", scan_table(rows))
        write_json(grid.folder / "table.json", {"rows": rows})
    print(scan_table(rows), end="")
    if failed:
        raise TrainingError(f"{len(failed)} cells failed; see " + ", ".join(failed))


def _run(grid: Scan, processes: int, runner: str, detach: bool) -> list[str]:
    """Run what remains; returns the logs of the cells that failed."""
    with locked(grid.folder) as lock:
        if runner == "slurm":
            slurm = SlurmRunner(grid.folder, grid.slurm, processes, run_command)
            jobs, finished = prepare(grid, grid.slurm.threads, slurm.alive())
            numbers = slurm.submit(jobs)
            _begin(grid, len(finished), processes)
            print(f"{len(jobs)} jobs in the queue: {' '.join(sorted({n.split('_')[0] for n in numbers.values()}))}")
            try:
                return [] if detach else follow(slurm, jobs, len(grid.cells()))
            except KeyboardInterrupt as stop:
                raise type(stop)("the jobs stay in the queue; the same command follows them again") from None
        share = threads_for(processes)
        jobs, finished = prepare(grid, share if processes > 1 else None)
        _begin(grid, len(finished), processes)
        return follow(LocalRunner(processes, [lock], share), jobs, len(grid.cells()))


def _search(grid: Scan, processes: int, where: str, table: bool) -> None:
    """Run the trials of a search that are left, then report what was found."""
    share = threads_for(processes)
    threads = grid.slurm.threads if where == "slurm" else share if processes > 1 else None
    run = SearchRun(grid, threads, lambda line: print(line, flush=True))
    slurm = where == "slurm"
    runner = (
        SlurmRunner(grid.folder, grid.slurm, processes, run_command, run.watch)
        if slurm
        else LocalRunner(processes, (), share, run.watch)
    )
    with contextlib.nullcontext() if table else run.alive():
        for job, status in () if table else runner.stream(run.next_job):
            run.ended(job, status)
    print(finish(grid), end="")


def _begin(grid: Scan, finished: int, processes: int) -> None:
    print(f"{len(grid.cells())} cells, {finished} already finished, {processes} at once, in {grid.folder}", flush=True)


def _show(grid: Scan, processes: int, runner: str) -> None:
    """Print what a scan would do."""
    open_cells = [c for c in cell_states(grid, _queue(grid)) if c.state != "done"]
    if runner == "slurm" and open_cells:
        print(SlurmRunner.script(grid.folder, grid.slurm, processes, len(open_cells)), end="")
    names = ", ".join(cell.name for cell in open_cells)
    print(f"{len(open_cells)} cells to run, {processes} at once, in {grid.folder}: {names}")


def _queue(grid: Scan) -> Mapping[str, str]:
    """Cells in a cluster's queue, if the scan has put some there."""
    if not (grid.folder / "slurm" / "jobs.json").is_file():
        return {}
    try:
        return SlurmRunner(grid.folder, grid.slurm, 1, run_command).alive()
    except SettingError:  # asked on a machine without SLURM: the folders tell nearly as much
        return {}


def _results(grid: Scan) -> dict[str, dict[str, Any]]:
    folders = {name: run_in(grid.folder, name) for name in grid.cells()}
    return {name: RunFolder(path).results for name, path in folders.items() if (path / "results.json").is_file()}


SHOWN = 10


def finish(scan: Scan) -> str:
    """Write best.toml, search.json and plots/ into the scan's folder; returns the table for the terminal."""
    assert scan.search is not None
    study = study_of(scan.search, scan.folder)
    trials = study.get_trials(deepcopy=False)
    done = [t for t in trials if t.state.name == "COMPLETE"]
    done.sort(key=lambda t: -scan.search.worse * t.value if scan.search else 0)
    rows = [
        {"trial": t.number, "state": t.state.name.lower(), "value": t.value, "settings": scan.search.settings(t.params),
         "epochs": max(t.intermediate_values, default=None)}
        for t in trials
    ]  # fmt: skip
    write_json(scan.folder / "search.json", {"objective": f"validation_{scan.search.objective}", "trials": rows})
    if done:
        settings = {**scan.settings, **scan.search.settings(done[0].params)}
        write_text(scan.folder / "best.toml", write_toml(settings))
        _plot(study, scan, done)
    return _text(scan, trials, done)


def _text(scan: Scan, trials: list[Any], done: list[Any]) -> str:
    assert scan.search is not None
    counts: dict[str, int] = {}
    for t in trials:
        counts[t.state.name.lower()] = counts.get(t.state.name.lower(), 0) + 1
    accuracy = scan.search.objective == "accuracy"
    words = lambda v: f"{100 * v:.2f} %" if accuracy else f"{v:.4f}"  # noqa: E731
    body = [[str(t.number), words(t.value), describe(scan.search.settings(t.params))] for t in done[:SHOWN]]
    text = markdown_table(["trial", f"validation {scan.search.objective}", "settings"], body)
    text += "\n" + ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {scan.search.trials} trials\n"
    if done:
        command = f"genn-eventprop train {scan.file.source} --config {scan.folder / 'best.toml'}"
        text += f"The best settings: {command}\n"
    return text


def _plot(study: Any, scan: Scan, done: list[Any]) -> None:
    """history.png, slices.png, importances.png, if there are enough trials."""
    from ..report import plots
    from ..report.plots.search import history, importances, slices

    assert scan.search is not None
    accuracy, folder = scan.search.objective == "accuracy", scan.folder / "plots"
    label = f"validation {scan.search.objective}{' (%)' if accuracy else ''}, linear scale"
    value = lambda t: 100 * t.value if accuracy else t.value  # noqa: E731
    values = [(t.number, value(t)) for t in sorted(done, key=lambda t: t.number)]
    plots.save(history(values, label, larger=scan.search.worse > 0), folder / "history.png")
    logs = {n for n, d in scan.search.distributions().items() if getattr(d, "log", False)}
    plots.save(slices([(t.params, value(t)) for t in done], label, logs), folder / "slices.png")
    if len(done) >= 4 and len({t.value for t in done}) > 1:
        optuna = import_optuna()
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        plots.save(importances(shares), folder / "importances.png")
