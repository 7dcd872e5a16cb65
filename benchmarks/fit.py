"""Fits of synthetic cells with known parameters: error, starts that find them, simulations, processor time.

    python benchmarks/fit.py --cells 20                       # clean, all three models
    python benchmarks/fit.py --cells 5 --noise                # noise of V and jittered spikes
    python benchmarks/fit.py --cells 1 --evolution 100        # and differential evolution, so many generations

A cell has parameters drawn around those of a published neuron, and two sweeps of filtered noise of 500 ms. Starts are
drawn within `bounds`, the same for every cell. Noise: 0.5 mV (ALIF: 0.02 of its threshold), spike times 0.1 ms.

`--evolution` runs scipy's differential evolution (Storn & Price 1997; brian2modelfitting offers it through nevergrad)
on the same engine, recordings and bounds, with two losses: the error of V of a free run, as is usual there, and the
residuals of the forced model, which is what `fit` makes small.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from result_file import add_row

from genn_eventprop import NeuronModel, Recording, fit, simulate
from genn_eventprop.fitting.cells import Cells
from genn_eventprop.fitting.forced import fitted_model
from genn_eventprop.fitting.problem import Problem
from genn_eventprop.fitting.residuals import Residuals
from genn_eventprop.models import ALIF, AdEx, Izhikevich

FOUND = 0.02  # every parameter
COLUMNS = ("model", "cells", "spikes", "largest error of a parameter", "starts within 2 %",
           "simulations: median, most", "processor time: median, most")  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A model, the range of its cells' parameters, the bounds of starts, its currents, its noise of V."""

    model: NeuronModel
    cells: dict[str, tuple[float, float]]
    bounds: dict[str, tuple[float, float]]
    mean: float
    std: float
    voltage_noise: float


TASKS = {
    "AdEx": Task(
        AdEx,
        {"c_mem": (150, 300), "g_leak": (9, 18), "e_leak": (-72, -66), "v_thresh": (-53, -48), "delta_t": (1.5, 3),
         "tau_w": (80, 200), "a": (2, 6), "b": (40, 100), "v_reset": (-64, -56)},
        {"c_mem": (60, 600), "g_leak": (4, 40), "e_leak": (-80, -60), "v_thresh": (-56, -45), "delta_t": (1, 5),
         "tau_w": (20, 400), "a": (0.1, 20), "b": (5, 250), "v_reset": (-75, -50)},
        600.0, 350.0, 0.5,
    ),
    "Izhikevich": Task(
        Izhikevich,
        {"a": (0.02, 0.06), "b": (0.18, 0.24), "c": (-66, -56), "d": (3, 9), "gain": (0.7, 1.4)},
        {"a": (0.005, 0.15), "b": (0.1, 0.3), "c": (-75, -45), "d": (0.5, 15), "gain": (0.3, 3)},
        10.0, 5.0, 0.5,
    ),
    "ALIF": Task(
        ALIF,
        {"tau_mem": (10, 25), "tau_B": (60, 150), "b_jump": (0.1, 0.25), "v_thresh": (0.8, 1.2), "v_reset": (0.1, 0.3),
         "gain": (0.8, 1.3)},
        {"tau_mem": (4, 60), "tau_B": (20, 400), "b_jump": (0.01, 0.6), "v_thresh": (0.5, 2.5), "v_reset": (-0.5, 0.45),
         "gain": (0.3, 3)},
        1.6, 0.8, 0.02,
    ),
}  # fmt: skip


def filtered_noise(rng: np.random.Generator, mean: float, std: float) -> np.ndarray:
    """(2, 5000) samples of 0.1 ms, a value a ms, with time constants of 5 and 20 ms."""
    rows = []
    for tau in (5.0, 20.0):
        x, row = 0.0, []
        for _ in range(500):
            x += -x / tau + np.sqrt(2 / tau) * rng.normal()
            row.append(mean + std * x)
        rows.append(np.repeat(row, 10))
    return np.array(rows)


def cell(task: Task, seed: int) -> tuple[dict[str, float], Recording]:
    """Parameters and a recording; cells with fewer than 10 spikes or more than 100 a sweep are drawn again."""
    rng = np.random.default_rng(seed)
    while True:
        true = {n: float(rng.uniform(*r)) for n, r in task.cells.items()}
        current = filtered_noise(rng, task.mean, task.std)
        values = {n: v for n, v in true.items() if n != "gain"}
        recording = simulate(
            task.model(**values), current, 0.1, gain=true.get("gain", 1.0), name=f"{task.model.name} {seed}"
        )
        assert recording.spikes is not None
        if all(10 <= len(times) <= 100 for times in recording.spikes):
            return true, recording


def noisy(task: Task, recording: Recording, seed: int) -> Recording:
    rng = np.random.default_rng([seed, 1])
    assert recording.voltage is not None and recording.spikes is not None
    v = recording.voltage + task.voltage_noise * rng.normal(size=recording.voltage.shape)
    moved = [np.sort(times + 0.1 * rng.normal(size=len(times))) for times in recording.spikes]
    spikes = tuple(t[(t > 0) & (t < recording.duration)] for t in moved)
    return replace(recording, voltage=v, spikes=spikes)


def evolve(task: Task, true: dict[str, float], recording: Recording, generations: int, forced: bool) -> str:
    """Differential evolution on the free run's error of V, or on the loss of the forced model."""
    from scipy.optimize import differential_evolution

    names = list(task.bounds)
    low, high = np.array(list(task.bounds.values())).T
    fitted = fitted_model(task.model)
    residuals = Residuals(
        fitted, recording, window=(0.5, 1.5), skip=0.0, every=0.5, voltage_noise=task.voltage_noise, spike_noise=0.5
    )
    size, runs = 10 * len(names), 0
    assert recording.voltage is not None
    measured = recording.voltage[:, residuals.samples, None]
    grid = residuals.samples * recording.dt
    problem = Problem(residuals, names, low, high, {}, -(-size // (1 + len(names))), threads=1)
    cells = Cells(fitted, recording, size, names, {}, threads=1)

    def loss(points: np.ndarray) -> np.ndarray:
        nonlocal runs
        values = (low + points.T * (high - low))[np.arange(size) % points.shape[1]]
        runs += points.shape[1]
        if forced:
            rows = np.resize(values, (problem.cells.size, len(names)))
            problem.cells.set(rows)
            states = problem.cells.states(residuals.times, residuals.names)
            params = problem.fixed | {n: rows[:, i] for i, n in enumerate(names)}
            return (residuals.of(states, params, problem.rest, 0.0) ** 2).sum(axis=1)[: points.shape[1]] / 2
        cells.set(values)
        v = cells.states(grid, [task.model.readout])[task.model.readout]
        return (((v - measured) ** 2)[residuals.counts].mean(axis=0))[: points.shape[1]]

    began = time.process_time()
    found = differential_evolution(
        loss, [(0, 1)] * len(names), maxiter=generations, popsize=10, init="random", rng=1, polish=False, tol=0,
        vectorized=True, updating="deferred",
    )  # fmt: skip
    off = error(low + found.x * (high - low), true)
    return f"largest error {100 * off:.3g} %, {runs} simulations, {time.process_time() - began:.1f} s"


def error(values: np.ndarray, true: dict[str, float]) -> float:
    return float(np.abs(values / np.array(list(true.values())) - 1).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed of the first cell")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument(
        "--numbers", type=Path, metavar="FILE", help="a result file for the rows, docs/numbers/fit.json"
    )
    parser.add_argument("--evolution", type=int, default=0, metavar="GENERATIONS")
    options = parser.parse_args()
    print("| cell | spikes | largest error of a parameter | starts within 2 % | simulations | processor time |")
    print("|---|---|---|---|---|---|", flush=True)
    summary = []
    for name in options.models:
        task, fits = TASKS[name], list[tuple[int, float, str, int, int, float]]()
        for seed in range(options.first, options.first + options.cells):
            true, recording = cell(task, seed)
            if options.noise:
                recording = noisy(task, recording, seed)
            began = time.process_time()
            result = fit(
                task.model, recording, bounds=task.bounds, only=list(task.bounds), starts=options.starts, seed=seed,
                voltage_noise=task.voltage_noise, threads=1, progress=False,
            )  # fmt: skip
            seconds = time.process_time() - began
            order = [result.names.index(n) for n in true]
            found = sum(error(end[order], true) < FOUND for end in result.ends)
            worst = max(true, key=lambda n: abs(result.parameters[n] / true[n] - 1))
            assert recording.spikes is not None
            wrong = error(result.values[order], true)
            off = f"{100 * wrong:.2g} % ({worst})"
            fits.append(
                (sum(map(len, recording.spikes)), wrong, f"{off}, cell {seed}", found, result.simulations, seconds)
            )
            row = (recording.name, sum(map(len, recording.spikes)), off, f"{found} of {options.starts}")
            print("|", " | ".join(map(str, (*row, result.simulations, f"{seconds:.1f} s"))), "|", flush=True)
            for forced in (False, True) if options.evolution else ():
                what = "the forced model's residuals" if forced else "V of a free run"
                outcome = evolve(task, true, recording, options.evolution, forced)
                print(f"differential evolution on {what}: {outcome}", flush=True)
        spikes, _, _, found_starts, simulations, times = zip(*fits)
        cells = (
            name, str(len(fits)), f"{min(spikes)} to {max(spikes)}", max(fits, key=lambda f: f[1])[2],
            f"{sum(found_starts)} of {options.starts * len(fits)}",
            f"{np.median(simulations):.0f}, {max(simulations)}", f"{np.median(times):.1f} s, {max(times):.1f} s",
        )  # fmt: skip
        summary.append(f"| {' | '.join(cells)} |")
        if options.numbers:
            noise = " --noise" if options.noise else ""
            add_row(
                options.numbers, COLUMNS, cells, f"python benchmarks/fit.py --models {name} --cells {len(fits)}{noise}"
            )
    print(f"\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    print("\n".join(summary))


if __name__ == "__main__":
    main()
