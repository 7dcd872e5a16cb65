"""``reproduce NAME``: a published table again, run like a scan, with ours beside theirs in one report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ..distributed import launched
from ..errors import SettingError, TrainingError, whole
from ..experiment.options import read_toml
from ..report.reproduce import Paper, find_paper, paper_names, summary, write_report
from ..studies.cluster import Slurm, SlurmRunner, slurm_of
from ..studies.jobs import Job, LocalRunner, Runner, follow, threads_for
from ..studies.scan import locked, prepare
from .options import operand, parse, show_usage
from .worker import run as run_command


def reproduce(arguments: Sequence[str], program: str) -> None:
    """Repeat the experiments of a paper and compare: reproduce yin-yang --quick."""
    if not arguments or arguments[0] in ("-h", "--help"):
        papers = "\n".join(f"  {name}" for name in paper_names())
        show_usage(
            f"usage: {program} NAME [OPTIONS]\n\nPapers; .DATA means a data set other than the paper's:\n{papers}\n\n"
            f"or a TOML file of your own.\n{program} NAME --help lists the options.",
            arguments,
        )
    parse(_reproduce, arguments, program)


def _reproduce(
    name: Annotated[str, *operand("NAME")],
    data: str | None = None,
    quick: bool = False,
    only: tuple[str, ...] = (),
    seeds: str | None = None,
    folder: Path | None = None,
    data_dir: Path | None = None,
    processes: int = 1,
    threads: int | None = None,
    runner: Literal["local", "slurm"] = "local",
    slurm: Path | None = None,
    report: bool = False,
    out: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Of `reproduce`.

    Run all cells of a published comparison that are not finished yet, then write report.html and report.md.

    After an interruption, run the same command again: finished runs are kept, started ones continue from their
    checkpoint. The first seed of every cell runs first, so that even an interrupted reproduction allows a comparison.

    Args:
        name: The paper, or a TOML file.
        data: Another data set, e.g. spoken_digits for loss-shaping.
        quick: A version of about five minutes: fewer cells, seeds and epochs.
        only: Names of cells, or patterns such as "sum*"; default: all.
        seeds: Seeds to use instead of those in the file, e.g. 1-3.
        folder: Folder for the runs and the report; default: runs/reproduce/NAME.
        data_dir: Folder of data files, for experiments that read them.
        processes: Number of trainings at once, which share the cores.
        threads: Number of threads per training; default: an equal share of the cores.
        runner: Processes on this machine, or SLURM jobs.
        slurm: With --runner slurm: TOML file whose table [slurm] has the job options.
        report: Only write the report of the existing runs.
        out: Folder for the report; default: that of the runs.
        dry_run: Only print what would run.
    """
    if launched()[1] > 1:
        raise SettingError("reproduce starts its own trainings; run it without mpiexec")
    whole(processes, "processes", SettingError)
    paper = find_paper(name, data, quick)
    paper = paper if seeds is None else paper.with_seeds(seeds)
    root = folder or Path("runs/reproduce") / (paper.name + ("-quick" if quick else ""))
    selection = paper.only(only) if only else paper
    extra = {} if data_dir is None else {"data_dir": str(data_dir)}
    if dry_run:
        _show(selection, root)
        return
    failed: list[str] = []
    try:
        if not report:
            table = {} if slurm is None else read_toml(slurm).get("slurm", {})
            failed = _run(selection, root, processes, threads, runner, slurm_of(table, str(slurm)), extra)
    except KeyboardInterrupt as stop:
        write_report(paper, root, _command(name, data, quick), out)
        raise type(stop)("continue with the same command; the report covers what is finished") from None
    written = write_report(paper, root, _command(name, data, quick), out)
    print(f"\n{summary(paper, root)}\n" + "\n".join(map(str, written)))
    if failed:
        raise TrainingError(f"{len(failed)} runs failed; see " + ", ".join(failed))


def _command(name: str, data: str | None, quick: bool) -> str:
    words = ["genn-eventprop", "reproduce", name, *(["--data", data] if data else []), *(["--quick"] if quick else [])]
    return shlex.join(words)


def _show(paper: Paper, root: Path) -> None:
    names = paper.runs()
    print(f"{len(names)} runs in {root}:")
    for name in names:
        print(f"  {name}")


def _run(
    paper: Paper, root: Path, processes: int, threads: int | None, runner: str, slurm: Slurm, extra: dict[str, Any]
) -> list[str]:
    """Run what remains; returns the logs of the runs that failed."""
    with locked(root) as lock:
        share = threads or threads_for(processes)
        where: Runner
        if runner == "slurm":
            where = SlurmRunner(root, slurm, processes, run_command)
            share, queued = slurm.threads or share, where.alive()
        else:
            where, queued = LocalRunner(processes, [lock], share), {}
        unfinished: dict[str, Job] = {}
        for scan in paper.scans(root, processes, **extra):
            unfinished |= {job.name: job for job in prepare(scan, share, queued)[0]}
        names = paper.runs()
        jobs = [unfinished[name] for name in names if name in unfinished]
        print(
            f"{len(names)} runs, {len(names) - len(jobs)} already finished, {processes} at once, in {root}", flush=True
        )
        return follow(where, jobs, len(names))
