"""``fit MODEL RECORDING...``: parameters of a neuron model from recordings of cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..atomic import replaced_file, write_text
from ..errors import EventPropError, SettingError, TrainingError, UsageError, WriteError, whole
from ..fitting import FitOptions, FitResult
from ..fitting.files import file_hash
from ..modelling import NeuronModel
from ..output import say
from ..report.fit_page import fit_blocks, table_of_cells
from ..report.page import Picture, write_html
from ..report.plots import save
from ..runs.run_folder import write_json
from ..studies.jobs import threads_for
from ..verify.gradients.command import find_model
from .fit_cells import Job, Order, best_so_far, failure_of, files_of, fit_here, fit_in_processes, is_fitted, names_of
from .going_on import read_or_nothing, run_folder

RESULTS, TABLE, REPORT = "results.json", "cells.csv", "report.html"
ANY = ("progress", "threads", "time_limit")
"""Settings that a command which goes on may change."""


def fit_command(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    recordings: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECORDING...")],
    bounds: tuple[str, ...] = (),
    fixed: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    priors: tuple[str, ...] = (),
    spikes: tuple[Path, ...] = (),
    spikes_above: float | None = None,
    signals: tuple[str, ...] = (),
    sweeps: tuple[int, ...] = (),
    test_sweeps: tuple[int, ...] = (),
    inject: str | None = None,
    current_step: float | None = None,
    series_resistance: float | None = None,
    junction_potential: float | None = None,
    run_dir: Path | None = None,
    processes: int = 1,
    options: Annotated[FitOptions, tyro.conf.arg(name="")] = FitOptions(),  # noqa: B008
) -> None:
    """Fit a neuron model to recordings of a cell: fit adex cell.csv --spikes-above 0.

    Fit the parameters of one or more models to recordings, one file for each cell, and write a report.

    A recording is a .csv file with the columns time (ms), current, voltage and, for several, sweep; an .npz file with
    current (sweeps, samples), dt, voltage, spike_times, spike_sweeps, rates; or .nwb, .abf, .smr, ... (extra ephys).
    The run folder has report.html, results.json, cells.csv (a line for each cell), traces.npz and the command that
    repeats the fit. Each cell's result is saved before the next begins; after an interruption, the same command
    continues.

    Args:
        model: Name of an installed model, or my_neuron.py:MyNeuron; several are compared: adex,eif,izhikevich.
        recordings: Files, each of one cell, or folders of them.
        bounds: Bounds of parameters, such as tau_w=20:400; with several models, adex.tau_w=20:400 is of one of them.
            Default: those of the model, else 15 mV around potentials, and a fifth to five times any other value.
        fixed: Parameters whose values are known, such as v_peak=-40.
        only: Fit only these parameters.
        priors: Mean and standard deviation of parameters, such as b=60:10.
        spikes: A .csv file with the columns time (ms) and sweep, for every recording.
        spikes_above: A spike is where V rises through this level; default: action potentials are found by their
            upstroke and height, in mV and ms, and a figure shows them.
        signals: Names of the signals to read, or of the electrode, where a file has several.
        sweeps: Numbers of the sweeps that are fitted, from 0; default: all but the test sweeps.
        test_sweeps: Numbers of sweeps that are held out: the first line of the result says how much of them the model
            explains.
        inject: Drive, state or parameter of the model that receives the injected current; default: its only drive,
            or I.
        current_step: Average the current over steps of this length in ms, which is faster.
        series_resistance: What the bridge has not balanced, in MOhm; V (mV) is corrected for it by the current (pA).
            Default: what an .nwb file says.
        junction_potential: Potential between pipette and bath, in mV, which is subtracted from V; default: as above.
        processes: Number of fits at once, where there are several cells or models.
        run_dir: Folder of the run; default: runs/fit-MODEL-1, or the next number.
        options: Of the fit.
    """
    _check_named(model, recordings)
    whole(processes, "processes", SettingError)
    models, neurons = _models(model)
    paths = files_of(recordings)
    _check_together(paths, spikes, spikes_above, sweeps, test_sweeps)
    reading: dict[str, Any] = {
        "signals": signals, "sweeps": (*sweeps, *test_sweeps) if sweeps else (), "spikes_above": spikes_above,
        "current_step": current_step, "series_resistance": series_resistance, "junction_potential": junction_potential,
    }  # fmt: skip
    # of the recording as it was read, where the test sweeps are the last ones
    held_out = [len(sweeps) + i for i in range(len(test_sweeps))] if sweeps else [*test_sweeps]
    settings: dict[str, Any] = {
        **_of_parameters(bounds, fixed, only, priors), "inject": inject, "test_sweeps": held_out, **asdict(options),
    }  # fmt: skip
    if processes > 1 and options.threads is None:
        settings["threads"] = threads_for(processes)
    order = Order(models, tuple(paths), names_of(paths), spikes, reading, settings)
    # settings and files are read before there is a folder: what is refused leaves nothing behind
    order = order.check()
    config: dict[str, Any] = {"model": model, "files": _hashes(order), "cells": order.names, **reading, **settings}
    stem = Path("runs") / f"fit-{'-'.join(n.name.lower() for n in neurons)}"[:100]
    with run_folder("fit", run_dir, stem, config, _finished, ANY) as (folder, command):
        _fit_all(folder, order, processes, command)
    print(f"report  {folder / REPORT}")


def _check_named(model: str, recordings: Sequence[Path]) -> None:
    """Raise `UsageError` unless there is a recording."""
    if not recordings:
        forgot = f"; {model} is a file: name the model before it" if Path(model).is_file() else ""
        raise UsageError(f"fit: name at least one recording, such as cell.csv{forgot}")


def _models(names: str) -> tuple[tuple[str, ...], list[NeuronModel]]:
    """As they are named, and themselves."""
    models = tuple(name.strip() for name in names.split(","))
    neurons = [find_model(name) for name in models]
    if len({neuron.name for neuron in neurons}) < len(neurons):
        raise SettingError(f"a model is named twice in {names}")
    return models, neurons


def _check_together(
    paths: Sequence[Path],
    spikes: Sequence[Path],
    spikes_above: float | None,
    sweeps: Sequence[int],
    test_sweeps: Sequence[int],
) -> None:
    """Raise `SettingError` for options that do not go together."""
    if spikes and spikes_above is not None:
        raise SettingError("give --spikes or --spikes-above, not both")
    if spikes and len(spikes) != len(paths):
        raise SettingError(f"--spikes needs a file for each of the {len(paths)} recordings, got {len(spikes)}")
    if both := {*sweeps} & {*test_sweeps}:
        raise SettingError(f"sweep {min(both)} is in --sweeps and in --test-sweeps; a test needs sweeps of its own")


def _of_parameters(
    bounds: Sequence[str], fixed: Sequence[str], only: Sequence[str], priors: Sequence[str]
) -> dict[str, Any]:
    """What `fit` takes of the same names."""
    return {
        "bounds": {n: _numbers(text, 2, "bounds") for n, text in _named(bounds, "bounds")},
        "fixed": {n: _numbers(text, 1, "fixed")[0] for n, text in _named(fixed, "fixed")},
        "only": list(only) or None,
        "priors": {n: _numbers(text, 2, "priors") for n, text in _named(priors, "priors")},
    }


def _hashes(order: Order) -> dict[str, str]:
    """File -> hash: a path alone does not say which data a result is of, nor which model."""
    own_models = [path for name in order.models if (path := Path(name.partition(":")[0])).is_file()]
    return {str(path): file_hash(path) for path in (*order.paths, *order.spikes, *own_models)}


def _finished(folder: Path) -> bool:
    """Whether all cells are fitted, and the report is there."""
    return (folder / REPORT).exists() and read_or_nothing(folder / RESULTS).get("failed") == {}


def _fit_all(folder: Path, order: Order, processes: int, command: str) -> None:
    """Fit one cell after the other, or several at once; each result is in the folder before the next begins.

    Raises:
        TrainingError: a cell could not be fitted; the others are.
    """
    jobs, results, failed = order.jobs, list[FitResult](), dict(order.unread)

    def record(job: Job, best: Mapping[str, Any]) -> None:
        write_json(folder / RESULTS, {**_record(results, failed), "stopped": {job.name: best}})

    for job in jobs:
        if is_fitted(folder, job):
            say(f"{job.name} was fitted before: {folder / 'cells' / job.stem}.npz")
    if processes > 1:
        try:
            fit_in_processes(folder, order, processes)
        except KeyboardInterrupt:
            write_json(folder / RESULTS, {**_record(results, failed), "stopped": best_so_far(folder, jobs)})
            raise
    for job in jobs:
        if processes > 1 and (reason := failure_of(folder, job)):
            failed[job.name] = reason
            continue
        try:
            results.append(fit_here(folder, order, job, partial(record, job)))
        except WriteError:
            raise
        except EventPropError as error:
            failed[job.name] = str(error)
            say(f"{job.name} could not be fitted: {error}")
    write_json(folder / RESULTS, _record(results, failed))
    write_text(folder / TABLE, table_of_cells(results, failed))
    if results:
        _write(folder, results, failed, command)
    if failed:
        reasons = "; ".join(f"{n}: {e}" for n, e in failed.items())
        total = len(jobs) + len(order.unread)
        raise TrainingError(f"{len(failed)} of {total} cells could not be fitted: {reasons}")


def _named(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """NAME=TEXT, split."""
    pairs = [text.partition("=") for text in texts]
    for text, (_, sign, _) in zip(texts, pairs):
        if not sign:
            raise SettingError(f"--{option}: {text!r} is not of the form NAME=..., such as tau_w=20:400")
    return [(name.strip(), value) for name, _, value in pairs]


def _numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(":"))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        form = "two numbers with a colon between them, such as 20:400" if count == 2 else "a number"
        raise SettingError(f"--{option}: {text!r} is not {form}")
    return numbers


def _record(results: Sequence[FitResult], failed: Mapping[str, str]) -> dict[str, Any]:
    return {"cells": [r.record() for r in results], "failed": dict(failed)}


def _write(folder: Path, results: Sequence[FitResult], failed: Mapping[str, str], command: str) -> None:
    """Traces, then figures and last the report, without which a fit is not finished."""
    arrays: dict[str, np.ndarray] = {}
    for i, r in enumerate(results):
        # spikes of all sweeps in one array with the sweep of each: npz holds no ragged ones without pickle
        arrays |= {f"voltage_{i}": r.free.voltage, f"spike_times_{i}": np.concatenate(r.free.spikes)}
        arrays[f"spike_sweeps_{i}"] = np.repeat(np.arange(len(r.free.spikes)), [len(t) for t in r.free.spikes])
    with replaced_file(folder / "traces.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    try:
        blocks = fit_blocks(results, command, failed)
        names = set[str]()
        for block in blocks:
            if isinstance(block, Picture):
                # a name of a cell may be longer than one of a file, and have signs that are none of a file's
                name = re.sub(r"[^\w.-]+", "_", block.name, flags=re.ASCII)[-100:].lstrip(".")
                names.add(name := name if name not in names else f"{len(names)}-{name}")
                save(block.figure, folder / "figures" / f"{name}.png")
        page = write_html(blocks)
    except EventPropError:
        raise
    except Exception as error:  # whatever a drawing says about strange numbers: the results are there
        what = f"{type(error).__name__}: {error}"
        raise TrainingError(
            f"the figures of {folder} cannot be drawn ({what}); the results are in {RESULTS}"
        ) from error
    write_text(folder / REPORT, page)
