"""``infer SPIKES``: connections of a recurrent population from its spikes."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..atomic import replaced_file, write_text
from ..data import Events
from ..data.open import open_events
from ..errors import SettingError, UsageError, check_known
from ..fitting import InferResult
from ..fitting.files import file_hash
from ..fitting.infer import Inference
from ..fitting.population import simulate_population
from ..output import say
from ..report.infer_page import infer_blocks, picture, table_of_connections, table_of_neurons
from ..report.page import write_html
from ..report.plots import save
from ..runs.fingerprint import describe_data
from ..runs.run_folder import write_json
from ..verify.gradients.command import find_model
from .fit import _named, _numbers
from .going_on import run_folder
from .options import operand

REPORT, NEURONS = "report.html", "neurons"


def infer(
    spikes: Annotated[Path | None, *operand("SPIKES")] = None,
    model: str = "LIF",
    fixed: tuple[str, ...] = (),
    duration: float | None = None,
    max_delay: float = 10.0,
    step: float = 1.0,
    tau_0: Annotated[float, tyro.conf.arg(name="tau-0")] = 1.0,
    unit: str | None = None,
    threads: int = 1,
    run_dir: Path | None = None,
    quick: bool = False,
    progress: bool = True,
) -> None:
    """Infer weights and delays of a population from its spikes: infer spikes.csv --fixed tau_mem=10.

    Infer weights and delays of a recurrent population from its own spike trains, and write a report.

    SPIKES has a channel for each neuron: a .csv file with the columns time (ms) and neuron, or what
    genn-eventprop events reads; samples are separate recordings of the same population. The run folder has
    report.html, results.json, connections.csv, neurons.csv and connections.npz. After an
    interruption, the same command continues with the neurons that are left.

    Args:
        spikes: File or folder.
        model: Neuron that is linear between its spikes: LIF, LIFRelativeReset, ALIF, or my_neuron.py:MyNeuron.
        fixed: Values of its parameters, such as tau_mem=10, for all neurons; the others are the model's.
        duration: Length of a sample in ms; default: until its last spike.
        max_delay: Longest delay that is considered, in ms.
        step: Largest step in ms of the integral in the likelihood.
        tau_0: 1 / rate of spikes at the threshold, in ms.
        unit: Unit of the times in a .csv file: s, ms, us or ns.
        threads: Number of neurons inferred at once.
        run_dir: Folder of the run; default: runs/infer-1, or the next number.
        quick: Without SPIKES: simulate six neurons whose connections are known, and compare.
        progress: Show a progress bar.
    """
    if (spikes is None) != quick:
        raise UsageError("infer: name a file of spikes, such as spikes.csv, or try --quick without one")
    neuron, weights, delays = find_model(model), np.zeros((0, 0)), np.zeros((0, 0))
    values = {name: _numbers(text, 1, "fixed")[0] for name, text in _named(fixed, "fixed")}
    for name in values:
        check_known(name, neuron.params, SettingError, f"--fixed: {neuron.name} has no parameter {name!r} (")
    if spikes is None:
        if model != "LIF" or fixed:
            raise SettingError("infer --quick simulates LIF neurons as they are; leave out --model and --fixed")
        duration = 10_000.0
        weights, delays, data = example(duration)
    else:
        how: dict[str, Any] = {} if unit is None else {"unit": unit}
        data = open_events(spikes, **how)[0]
    options: dict[str, Any] = {"duration": duration, "max_delay": max_delay, "step": step, "tau_0": tau_0}
    inference = Inference(data, neuron(**values), **options)  # what is refused leaves nothing behind
    own_model = Path(model.partition(":")[0])
    files = {str(path): file_hash(path) for path in (own_model,) if path.is_file()}
    config = {"model": model, "fixed": values, "files": files, "spikes": describe_data(data), **options}
    with run_folder("infer", run_dir, Path("runs") / "infer", config, _finished) as (folder, command):
        (folder / NEURONS).mkdir(exist_ok=True)
        if begun := sum(1 for _ in (folder / NEURONS).glob("*.npz")):
            say(f"{folder}: goes on after {begun} neurons")
        try:
            result = inference.run(threads=threads, progress=progress, keep=folder / NEURONS)
        except KeyboardInterrupt as stop:
            stop.args = (*stop.args, f"the same command goes on in {folder}")
            raise
        _write(folder, result, command)
        shutil.rmtree(folder / NEURONS)
    print(result)
    if spikes is None:
        print(_compared(result, weights, delays))
    print(f"report  {folder / 'report.html'}")


def _compared(result: InferResult, weights: np.ndarray, delays: np.ndarray) -> str:
    """How many connections of the simulated network were inferred, and how well."""
    sure = result.connected & (weights != 0)
    return (
        f"{sure.sum()} of {(weights != 0).sum()} connections of the simulated network are found, "
        f"{(result.connected & (weights == 0)).sum()} that it does not have; errors of weights "
        f"{_rms((result.weights - weights)[sure]):.2g}, of delays {_rms((result.delays - delays)[sure]):.2g} ms "
        "(root mean square)"
    )


def _finished(folder: Path) -> bool:
    return (folder / REPORT).exists()


def example(duration: float) -> tuple[np.ndarray, np.ndarray, Events]:
    """(weights, delays, spikes) of six neurons."""
    rng = np.random.default_rng(1)
    weights = np.where(rng.random((6, 6)) < 0.3, rng.choice([1.5, 2.0, -2.5], (6, 6)), 0.0)
    np.fill_diagonal(weights, 0.0)
    delays = rng.uniform(1.0, 8.0, (6, 6))
    bias = np.linspace(0.95, 1.1, 6)
    return weights, delays, simulate_population(
        weights, delays, bias=bias, noise=0.05, duration=duration, seed=1, tau_0=1.0
    )  # fmt: skip


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean())) if errors.size else 0.0


def _write(folder: Path, result: InferResult, command: str) -> None:
    """Numbers, then the figure and last the report."""
    arrays = {f.name: getattr(result, f.name) for f in fields(result) if f.name not in ("remarks", "max_delay")}
    with replaced_file(folder / "connections.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, connected=result.connected, timed=result.timed)
    write_json(folder / "results.json", result.record())
    write_text(folder / "connections.csv", table_of_connections(result))
    write_text(folder / "neurons.csv", table_of_neurons(result))
    save(picture(result), folder / "figures" / "connections.png")
    write_text(folder / REPORT, write_html(infer_blocks(result, command)))
