"""``fit MODEL RECORDING...``: parameters of a neuron model from recordings of cells."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..atomic import replaced_file, write_text
from ..errors import SettingError, UsageError
from ..fitting import FitOptions, FitResult, Recording, read_recording, read_spikes
from ..fitting.fit import prepare
from ..fitting.recording import file_hash
from ..output import say
from ..report.fit_page import fit_blocks
from ..report.page import Picture, write_html
from ..report.plots import save
from ..runs import mark
from ..runs.run_folder import environment, mark_folder, write_json
from ..runs.run_lock import lock_for_writing
from ..verify.gradients.command import find_model
from .options import parse


def fit_command(arguments: Sequence[str], program: str) -> None:
    """Fit a neuron model to recordings of a cell: fit adex cell.csv --spikes-above 0."""
    parse(_fit, arguments, program)


def _fit(
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
    current: str | None = None,
    current_step: float | None = None,
    run_dir: Path | None = None,
    options: Annotated[FitOptions, tyro.conf.arg(name="")] = FitOptions(),  # noqa: B008
) -> None:
    """Fit the parameters of a model to recordings, a file for each cell, and write a report.

    A recording is a .csv file with the columns time (ms), current, voltage and, for several, sweep; an .npz file with
    current (sweeps, samples), dt, voltage, spike_times, spike_sweeps, rates; or a file that neo reads (.abf, ...; extra
    ephys). The run folder has report.html, results.json, traces.npz and the command that repeats the fit.

    Args:
        model: Name of an installed model, or my_neuron.py:MyNeuron.
        recordings: Files, each of one cell.
        bounds: Of parameters, such as tau_w=20:400; default: those of the model, a fifth to five times its value, or
            15 mV around it.
        fixed: Values that are known, such as v_peak=-40.
        only: Fit these parameters alone.
        priors: Mean and standard deviation of parameters, such as b=60:10.
        spikes: A .csv file with the columns time (ms) and sweep, for every recording.
        spikes_above: A spike is where V rises through this level.
        signals: Names of the signals to read, where a file that neo reads has several of voltage or current.
        sweeps: Numbers of the sweeps that are fitted, from 0; default: all.
        current: Drive, state or parameter of the model that is the injected current; default: its only drive, or I.
        current_step: Average the current over steps of so many ms, which is faster.
        run_dir: Folder of the run; default: runs/fit-MODEL-1, or the next number.
        options: Of the fit.
    """
    if not recordings:
        raise UsageError("fit: name at least one recording, such as cell.csv")
    if spikes and len(spikes) != len(recordings):
        raise SettingError(f"--spikes needs a file for each of the {len(recordings)} recordings, got {len(spikes)}")
    if spikes and spikes_above is not None:
        raise SettingError("give --spikes or --spikes-above, not both")
    neuron = find_model(model)
    cells = [
        _read(path, signals, sweeps, spikes[i] if spikes else None, spikes_above, current_step)
        for i, path in enumerate(recordings)
    ]
    settings: dict[str, Any] = {
        "bounds": {n: _numbers(text, 2, "bounds") for n, text in _named(bounds, "bounds")},
        "fixed": {n: _numbers(text, 1, "fixed")[0] for n, text in _named(fixed, "fixed")},
        "only": list(only) or None,
        "priors": {n: _numbers(text, 2, "priors") for n, text in _named(priors, "priors")},
        "current": current, **asdict(options),
    }  # fmt: skip
    # settings and files are read before there is a folder: what is refused leaves nothing behind
    folder = run_dir or next(
        path for i in itertools.count(1) if not (path := Path("runs") / f"fit-{neuron.name.lower()}-{i}").exists()
    )
    if mark.strangers(folder):
        raise SettingError(f"run folder {folder} exists and is not empty; choose another --run-dir")
    tasks = prepare(neuron, cells, **settings)
    command = shlex.join(["genn-eventprop", *sys.argv[1:]])
    # hashes, since a path alone does not say which data a result is of
    files = {str(path): file_hash(path) for path in (*recordings, *spikes)}
    with lock_for_writing(folder):
        mark_folder(folder, "fit", "--run-dir")  # first: what is killed later is known to be ours
        config = {"model": model, "files": files, "spikes_above": spikes_above, "signals": signals, "sweeps": sweeps}
        write_json(folder / "config.json", config | {"current_step": current_step, **settings})
        write_text(folder / "command.txt", command + "\n")
        write_json(folder / "environment.json", environment())
        results = [task.run() for task in tasks]
        _write(folder, results, command)
    for result in results:
        print(f"{result.recording.name}\n{result}\n")
    print(f"report  {folder / 'report.html'}")


def _read(
    path: Path,
    signals: Sequence[str],
    sweeps: Sequence[int],
    spikes: Path | None,
    level: float | None,
    step: float | None,
) -> Recording:
    recording = read_recording(path, signals)
    if spikes is not None:
        recording = replace(recording, spikes=read_spikes(spikes, len(recording)))
    elif level is not None:
        recording = recording.with_spikes_above(level)
    if sweeps:
        recording = recording[list(sweeps)]
    if level is not None and recording.spikes is not None and not any(map(len, recording.spikes)):
        assert recording.voltage is not None
        say(
            f"note: {recording.name}: V never rises through --spikes-above {level:g}, the fit is to a cell without "
            f"spikes; the highest V is {np.nanmax(recording.voltage, initial=-np.inf):g}"
        )
    return recording if step is None else recording.with_current_step(step)


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


def _write(folder: Path, results: Sequence[FitResult], command: str) -> None:
    """Report, figures and traces, and last the results, without which a run counts as unfinished."""
    blocks = fit_blocks(results, command)
    write_text(folder / "report.html", write_html(blocks))
    for block in blocks:
        if isinstance(block, Picture):
            save(block.figure, folder / "figures" / f"{block.name}.png")
    arrays: dict[str, np.ndarray] = {}
    for i, r in enumerate(results):
        # spikes of all sweeps in one array with the sweep of each: npz holds no ragged ones without pickle
        arrays |= {f"voltage_{i}": r.free.voltage, f"spike_times_{i}": np.concatenate(r.free.spikes)}
        arrays[f"spike_sweeps_{i}"] = np.repeat(np.arange(len(r.free.spikes)), [len(t) for t in r.free.spikes])
    with replaced_file(folder / "traces.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    write_json(folder / "results.json", {"cells": [r.record() for r in results]})
