"""Are the deviations of `fit` right? Noisy cells of known parameters, simulated without this package.

    python benchmarks/fit_calibration.py --cells 100                  # writes benchmarks/results/fit_calibration.json
    python benchmarks/fit_calibration.py --cells 20 --models LIF --without-voltage
    python benchmarks/fit_calibration.py --table  # the rows of docs/fit_measured.md

A cell has parameters drawn around those of a published neuron and one sweep of 600 ms of a current that changes every
2 ms. V is measured every 0.1 ms with an error of `VOLTAGE` and every spike with one of 0.1 ms, both normal and known to
the fit, which starts within a fifth of the true values. z is (fitted - true) / deviation: of a right deviation it has
the mean 0 and the variance 1, and 95 % lie within 1.96.

The cells are simulated here: LIF and LIFRefractory by their exact solution between changes of the current, the others
by Runge and Kutta's fourth order with steps of 0.01 ms, of which the one that crosses the threshold is halved 40 times.
A file with cells that were fitted before gets the others, and those that `--again` names are fitted once more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop import Recording, fit
from genn_eventprop.models import ALIF, EIF, LIF, AdEx, Izhikevich, LIFRefractory, LIFRelativeReset
from genn_eventprop.runs.run_folder import environment

DT, CHANGE, DURATION, JITTER, V_PEAK = 0.1, 2.0, 600.0, 0.1, -40.0  # ms, mV
RESULTS = Path(__file__).parent / "results" / "fit_calibration.json"
_LIF = {"tau_mem": (10, 25), "v_thresh": (0.8, 1.2), "v_reset": (-0.2, 0.3)}
_ADEX = {"c_mem": (150, 300), "g_leak": (9, 18), "e_leak": (-72, -66), "v_thresh": (-53, -48), "delta_t": (1.5, 3),
         "tau_w": (80, 200), "a": (2, 6), "b": (40, 100), "v_reset": (-64, -56)}  # fmt: skip
FIXED = {"AdEx": {"v_peak": V_PEAK}, "EIF": {"v_peak": V_PEAK}, "Izhikevich": {"v_start": -65.0}}
POTENTIALS = ("e_leak", "v_rest", "v_thresh", "v_reset", "c")
TASKS: dict[str, tuple[Any, dict[str, tuple[float, float]], float, float, float]] = {
    "LIF": (LIF, _LIF, 1.4, 0.6, 0.02),
    "LIFRefractory": (LIFRefractory, _LIF | {"t_ref": (2, 6)}, 1.4, 0.6, 0.02),
    "LIFRelativeReset": (LIFRelativeReset, {n: r for n, r in _LIF.items() if n != "v_reset"}, 1.4, 0.6, 0.02),
    "ALIF": (ALIF, _LIF | {"tau_B": (60, 200), "b_jump": (0.05, 0.2)}, 1.7, 0.7, 0.02),
    "EIF": (
        EIF,
        {"tau_mem": (8, 20), "v_rest": (-70, -62), "v_thresh": (-56, -50), "delta_t": (1.5, 3), "v_reset": (-70, -60)},
        14.0,
        10.0,
        0.5,
    ),
    "Izhikevich": (Izhikevich, {"a": (0.02, 0.1), "b": (0.15, 0.25), "c": (-65, -52), "d": (2, 8)}, 8.0, 5.0, 0.5),
    "AdEx": (AdEx, _ADEX, 600.0, 350.0, 0.5),
}
"""Model, ranges of its cells, mean and deviation of the current, error of V."""
NUMBERS = Path(__file__).parents[1] / "docs" / "numbers" / "fit_calibration.json"
COLUMNS = ("model", "cells", "the model by itself has all spikes", "\\|z\\| < 1.96", "all z: standard deviation",
           "of a parameter: smallest and largest", "largest \\|z\\|",
           "of cells without a warning: number, standard deviation, largest \\|z\\|")  # fmt: skip
STEEPEST = 20.0
"""(V - v_thresh) / delta_t beyond the peak of every cell."""
FAR = 5.0
"""|z| that no right deviation gives."""


def current_of(rng: np.random.Generator, mean: float, std: float) -> np.ndarray:
    """Values of CHANGE ms each, filtered with 8 ms."""
    x, values = 0.0, []
    for _ in range(round(DURATION / CHANGE)):
        x += -x * CHANGE / 8 + np.sqrt(2 * CHANGE / 8) * rng.normal()
        values.append(mean + std * x)
    return np.array(values)


def leaky(current: np.ndarray, p: dict[str, float]) -> tuple[np.ndarray, list[float]]:
    """V at every DT and the spikes of a LIF, exact."""
    tau, v, t, free_at = p["tau_mem"], p["v_reset"], 0.0, 0.0
    grid = np.arange(round(DURATION / DT)) * DT
    voltage, spikes = np.zeros(len(grid)), list[float]()
    for k, i in enumerate(current):
        end = (k + 1) * CHANGE
        while t < end:
            if t < free_at:  # held at the reset
                until = min(free_at, end)
                voltage[(grid >= t - 1e-9) & (grid < until - 1e-9)] = v
                t = until
                continue
            crosses = i > p["v_thresh"] > v
            until = t + tau * np.log((i - v) / (i - p["v_thresh"])) if crosses else np.inf
            stop = min(until, end)
            here = (grid >= t - 1e-9) & (grid < stop - 1e-9)
            voltage[here] = i + (v - i) * np.exp(-(grid[here] - t) / tau)
            v, t = i + (v - i) * np.exp(-(stop - t) / tau), stop
            if until <= end:
                spikes.append(t)
                v, free_at = p["v_reset"], t + p.get("t_ref", 0.0)
    return voltage, spikes


def slope_of(name: str, p: dict[str, np.ndarray]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """dV/dt and d/dt of what adapts, w."""

    def upstroke(v: np.ndarray) -> np.ndarray:
        # a stage of a step may be far beyond the peak, where the exponential is no number any more
        return np.exp(np.minimum((v - p["v_thresh"]) / p["delta_t"], STEEPEST))

    def adex(v: np.ndarray, w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rise = p["g_leak"] * p["delta_t"] * upstroke(v)
        dv = (-p["g_leak"] * (v - p["e_leak"]) + rise - w + i) / p["c_mem"]
        return dv, (p["a"] * (v - p["e_leak"]) - w) / p["tau_w"]

    def eif(v: np.ndarray, w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rise = p["delta_t"] * upstroke(v)
        return (p["v_rest"] - v + rise + i) / p["tau_mem"], 0.0 * w

    def izhikevich(v: np.ndarray, w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.04 * v**2 + 5 * v + 140 - w + i, p["a"] * (p["b"] * v - w)

    def alif(v: np.ndarray, w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (i - v) / p["tau_mem"], -w / p["tau_B"]

    def relative(v: np.ndarray, w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (i - v) / p["tau_mem"], w

    return {"AdEx": adex, "EIF": eif, "Izhikevich": izhikevich, "ALIF": alif, "LIFRelativeReset": relative}[name]


def integrated(name: str, currents: np.ndarray, cells: list[dict[str, float]]) -> tuple[Any, list[list[float]]]:
    """V (cells, samples) at every DT and the spikes of neurons, side by side."""
    p = {n: np.array([c[n] for c in cells]) for n in cells[0]}
    h, inner, nothing = 0.01, round(DT / 0.01), np.zeros(len(cells))
    slope = slope_of(name, p)
    v = {"AdEx": p.get("e_leak"), "EIF": p.get("v_rest"), "ALIF": p.get("v_reset")}.get(name, nothing)
    w = nothing
    if name == "Izhikevich":
        v, w = nothing - 65.0, -65.0 * p["b"]
    peak = {"AdEx": V_PEAK, "EIF": V_PEAK, "Izhikevich": 30.0}.get(name, p.get("v_thresh"))
    after_v = p.get("v_reset", p.get("c", nothing))  # of LIFRelativeReset, whose V ends at the threshold
    after_w = p.get("b_jump", p.get("d", p.get("b", nothing)))

    def beyond(v: np.ndarray, w: np.ndarray) -> np.ndarray:
        return v - peak - w >= 0 if name == "ALIF" else v - peak >= 0

    def step(v: np.ndarray, w: np.ndarray, i: np.ndarray, h: Any) -> tuple[np.ndarray, np.ndarray]:
        a, b = slope(v, w, i)
        c, d = slope(v + h / 2 * a, w + h / 2 * b, i)
        e, f = slope(v + h / 2 * c, w + h / 2 * d, i)
        g, j = slope(v + h * e, w + h * f, i)
        return v + h / 6 * (a + 2 * c + 2 * e + g), w + h / 6 * (b + 2 * d + 2 * f + j)

    samples, spikes = [], [list[float]() for _ in cells]
    for k in range(round(DURATION / DT)):
        samples.append(v)
        i = currents[:, int(k * DT / CHANGE + 1e-9)]
        for n in range(inner):
            new_v, new_w = step(v, w, i, h)
            over = beyond(new_v, new_w)
            if over.any():
                low, high = np.zeros(len(cells)), np.full(len(cells), h)
                for _ in range(40):  # the length of the step that ends at the threshold
                    middle = (low + high) / 2
                    above = beyond(*step(v, w, i, middle))
                    low, high = np.where(above, low, middle), np.where(above, middle, high)
                at_peak = step(v, w, i, high)
                after = step(after_v, at_peak[1] + after_w, i, h - high)
                for cell in np.flatnonzero(over):
                    spikes[cell].append(k * DT + n * h + float(high[cell]))
                    new_v[cell], new_w[cell] = after[0][cell], after[1][cell]
            v, w = new_v, new_w
    return np.array(samples).T, spikes


def cells_of(name: str, count: int) -> list[tuple[dict[str, float], Recording]]:
    """True parameters and a noisy recording of each cell; the number of a cell is its seed."""
    _, ranges, mean, std, error = TASKS[name]
    rngs = [np.random.default_rng([seed, 7]) for seed in range(count)]
    true = [{n: float(rng.uniform(*r)) for n, r in ranges.items()} for rng in rngs]
    currents = np.array([current_of(rng, mean, std) for rng in rngs])
    if name in ("LIF", "LIFRefractory"):
        voltages, trains = zip(*(leaky(i, p) for i, p in zip(currents, true)))
    else:
        voltages, trains = integrated(name, currents, true)
    assert np.isfinite(voltages).all()
    made = []
    for seed, rng in enumerate(rngs):
        v = voltages[seed] + error * rng.normal(size=len(voltages[seed]))
        spikes = np.sort(np.array(trains[seed]) + JITTER * rng.normal(size=len(trains[seed])))
        spikes = spikes[(spikes > 0) & (spikes < DURATION)]
        current = np.repeat(currents[seed], round(CHANGE / DT))
        made.append((true[seed], Recording(current, DT, v, [spikes], f"{name} {seed}")))
    return made


def fitted(name: str, true: dict[str, float], cell: Recording, voltage: bool, seed: int, starts: int) -> dict[str, Any]:
    model, _, _, _, error = TASKS[name]
    fixed = dict(FIXED.get(name, {}))
    # 10 mV below and above for potentials, whose zero means nothing
    bounds = {n: (v - 10, v + 10) if n in POTENTIALS and name in FIXED else
              (v - 0.3, v + 0.3) if n == "v_reset" else (v / 2, 2 * v) for n, v in true.items()}  # fmt: skip
    if not voltage:
        cell = Recording(cell.current, cell.dt, None, cell.spikes, cell.name)
        bounds = {n: b for n, b in bounds.items() if n in ("tau_mem", "v_reset", "t_ref")}
        fixed |= {n: v for n, v in true.items() if n not in bounds}
    began = time.process_time()
    result = fit(
        model, cell, bounds=bounds, only=list(bounds), fixed=fixed, starts=starts, seed=seed, voltage_noise=error,
        spike_noise=JITTER, threads=1, progress=False,
    )  # fmt: skip
    z = {n: round(float((v - true[n]) / d), 3) for n, v, d in zip(result.names, result.values, result.deviations)}
    by_itself = not any("by itself" in remark for remark in result.remarks)
    return {"cell": seed, "spikes": result.n_spikes, "by_itself": by_itself, "z": z,
            "missing": result.free.missing, "surplus": result.free.surplus, "doubts": result.doubts(),
            "warned": not by_itself or bool(result.alike),
            "seconds": round(time.process_time() - began, 2)}  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    z = np.array([list(row["z"].values()) for row in rows])
    names = list(rows[0]["z"])
    return {
        "cells": len(rows),
        "by_itself": sum(row["by_itself"] for row in rows),
        "warned": sum(row["warned"] for row in rows),
        "within_1.96": float((np.abs(z) < 1.96).mean()),
        "parameters": {
            n: {"mean": float(z[:, i].mean()), "std": float(z[:, i].std(ddof=1)) if len(z) > 1 else 0.0,
                "within_1.96": float((np.abs(z[:, i]) < 1.96).mean())}
            for i, n in enumerate(names)
        },
    }  # fmt: skip


def table_row(name: str, rows: list[dict[str, Any]]) -> str:
    """The row of docs/fit_measured.md; behind it the cells that are farthest off.

    A result warns where it says that the model by itself has not the measured spikes, or that errors are no noise.
    """
    z, told = (
        np.array([list(row["z"].values()) for row in some]) for some in (rows, [r for r in rows if not r["warned"]])
    )
    std, names = z.std(axis=0, ddof=1), list(rows[0]["z"])
    low, high = (f"{std[i]:.2f} ({names[i]})" for i in (std.argmin(), std.argmax()))
    worst = np.abs(z).max(axis=1)
    far = [
        f"{rows[i]['cell']} ({worst[i]:.1f}{', warned' if rows[i]['warned'] else ''})"
        for i in np.argsort(-worst)
        if worst[i] > FAR
    ]
    within = f"{100 * (np.abs(z) < 1.96).mean():.0f} %"
    row = (
        f"| {name} | {len(rows)} | {sum(r['by_itself'] for r in rows)} | {within} | {z.std():.2f} | {low}, {high} | "
        f"{worst.max():.1f} | {len(told)}, {told.std():.2f}, {np.abs(told).max():.1f} |"
    )
    return row + (f"\ncells with a z beyond {FAR}: {', '.join(far)}" if far else "")


def text_of(results: dict[str, Any]) -> str:
    """The results as JSON with a line for each cell."""
    parts = []
    for key, result in results.items():
        rows = ",\n".join(f"   {json.dumps(row)}" for row in result["rows"])
        head = json.dumps({n: v for n, v in result.items() if n != "rows"})[:-1]
        parts.append(f' {json.dumps(key)}: {head}, "rows": [\n{rows}]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--without-voltage", action="store_true", help="spike times alone")
    parser.add_argument("--again", type=int, nargs="+", default=[], help="numbers of cells")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="fit nothing: rows of the results so far, docs/numbers")
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.table:
        from result_file import add_row  # beside this file, where it is a script

        for key in (key for key in results if key.partition(",")[0] in options.models):
            print(row := table_row(key, results[key]["rows"]))
            command = f"python benchmarks/fit_calibration.py --models {key} --cells {len(results[key]['rows'])}"
            add_row(NUMBERS, COLUMNS, row.splitlines()[0].strip("| ").split(" | "), command, results[key]["about"])
        return
    for name in options.models:
        key = name + (", spikes alone" if options.without_voltage else "")
        rows = results.get(key, {}).get("rows", [])
        before = [row["cell"] for row in rows if row["cell"] not in options.again]
        for seed, (true, cell) in enumerate(cells_of(name, options.cells)):
            if seed in before:
                continue
            one = fitted(name, true, cell, not options.without_voltage, seed, options.starts)
            rows = sorted([*(r for r in rows if r["cell"] != seed), one], key=lambda r: r["cell"])
            print(key, seed, {n: round(z, 2) for n, z in one["z"].items()}, one["by_itself"], flush=True)
            results[key] = summary(rows) | {"starts": options.starts, "about": environment(), "rows": rows}
            options.out.parent.mkdir(exist_ok=True)
            options.out.write_text(text_of(results))
        print(table_row(key, rows), flush=True)


if __name__ == "__main__":
    main()
