"""Neurons of the zoo fitted to cells with ion channels: does the first line say how much each explains?

    python benchmarks/fit_cells.py make cells                      # four cells as .nwb and .csv
    python benchmarks/fit_cells.py fit cells --time-limit 60       # writes benchmarks/results/fit_cells.json
    python benchmarks/fit_cells.py table                           # writes docs/numbers/fit_cells.json

The cells are the models of Hodgkin and Huxley's kind by Pospischil et al. (2008, doi 10.1007/s00422-008-0263-8):
regular, fast-spiking, bursting (a calcium current of high threshold) and adapting (a strong M current), integrated by
scipy. Each has 12 sweeps of 600 ms, sampled at 20 kHz, of a current that fluctuates around a mean which differs from
sweep to sweep. The cell has a noise current that nobody knows, 8 pA filtered with some 3 ms, and V an error of 0.3 mV.
Sweeps 8 to 11 are held out; 8 and 9, 10 and 11 repeat a stimulus, so that the cell's own reliability is known.

`fit` reads the .nwb files and fits each model of the zoo in mV, with a gain where its current is not in pA, AdEx with
bounds for small cells. Models without units get the same sweeps with V in units of 15 mV above -70 mV and the current
in units of 100 pA. What is in RESULTS is not fitted again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from result_file import add_row

from genn_eventprop import models
from genn_eventprop.errors import EventPropError
from genn_eventprop.fitting import Recording, read_recording
from genn_eventprop.fitting.compare import free_run
from genn_eventprop.fitting.fit import prepare
from genn_eventprop.fitting.verdict import Score, judge
from genn_eventprop.runs.run_folder import environment

DT, CHANGE, DURATION, SWEEPS = 0.05, 2.0, 600.0, 12  # ms
NOISE, TAU_NOISE, ERROR = 8.0, 3.0, 0.3  # pA, ms, mV
HELD_OUT = ("8", "9", "10", "11")
REST, STEP, UNIT = -70.0, 15.0, 100.0
"""mV, mV and pA: zero and units of V and the current of models without units."""
IN_MV = {
    "AdEx": ["c_mem=30:500", "g_leak=1:30", "a=-1:10", "b=1:150", "tau_w=20:600"], "EIF": ["gain=0.02:2"],
    "Izhikevich": ["gain=0.001:0.1"], "LIFConductance": ["gain=0.02:2"],
}  # fmt: skip
"""Models whose V is in mV, with the bounds that they need; the other Izhikevichs differ in what is fitted."""
UNITLESS = {n: ["gain=0.1:10"] for n in ("LIF", "LIFRefractory", "LIFRelativeReset", "ALIF", "SEAdLIF", "QIF", "Theta",
                                         "BalancedRF", "TwoCompartment")}  # fmt: skip
"""Models without units; those that differ in a synapse, which a fit leaves out, are LIF."""
RESULTS = Path(__file__).parent / "results" / "fit_cells.json"
NUMBERS = Path(__file__).parents[1] / "docs" / "numbers" / "fit_cells.json"

# mS/cm2, mV, ms; side: of the cylinder, um
KINDS: dict[str, dict[str, float]] = {
    "regular": {"side": 61.4, "leak": 0.0205, "e_leak": -70.3, "na": 56.0, "k": 6.0, "m": 0.03, "tau": 608.0,
                "v_t": -56.2, "ca": 0.0, "mean": 130.0, "std": 90.0},
    "fast-spiking": {"side": 56.9, "leak": 0.038, "e_leak": -70.4, "na": 58.0, "k": 3.9, "m": 0.0, "tau": 502.0,
                     "v_t": -57.9, "ca": 0.0, "mean": 150.0, "std": 120.0},
    "bursting": {"side": 96.0, "leak": 0.01, "e_leak": -70.0, "na": 50.0, "k": 5.0, "m": 0.03, "tau": 1000.0,
                 "v_t": -56.2, "ca": 0.17, "mean": 150.0, "std": 120.0},
    "adapting": {"side": 61.4, "leak": 0.0205, "e_leak": -70.3, "na": 56.0, "k": 6.0, "m": 0.15, "tau": 300.0,
                 "v_t": -56.2, "ca": 0.0, "mean": 250.0, "std": 120.0},
}  # fmt: skip


def _ratio(x: float, width: float) -> float:
    """x / (1 - exp(-x / width))."""
    return width if abs(x) < 1e-6 else x / -np.expm1(-x / width)


def slopes(t: float, y: np.ndarray, current: float, p: dict[str, float]) -> list[float]:
    """d/dt of V, m, h, n, p, q, r; current in pA."""
    v, m, h, n, slow, q, r = y
    x = v - p["v_t"]
    a_m, b_m = 0.32 * _ratio(x - 13, 4), 0.28 * _ratio(40 - x, 5)
    a_h, b_h = 0.128 * np.exp((17 - x) / 18), 4 / (1 + np.exp((40 - x) / 5))
    a_n, b_n = 0.032 * _ratio(x - 15, 5), 0.5 * np.exp((10 - x) / 40)
    a_q, b_q = 0.055 * _ratio(v + 27, 3.8), 0.94 * np.exp((-75 - v) / 17)
    a_r, b_r = 0.000457 * np.exp((-13 - v) / 50), 0.0065 / (1 + np.exp((-15 - v) / 28))
    tau_slow = p["tau"] / (3.3 * np.exp((v + 35) / 20) + np.exp(-(v + 35) / 20))
    area = np.pi * (p["side"] * 1e-4) ** 2  # cm2
    ions = (
        p["leak"] * (v - p["e_leak"])
        + p["na"] * m**3 * h * (v - 50)
        + (p["k"] * n**4 + p["m"] * slow) * (v + 90)
        + p["ca"] * q**2 * r * (v - 120)
    )  # uA/cm2
    return [
        current * 1e-6 / area - ions,  # 1 uF/cm2
        a_m * (1 - m) - b_m * m,
        a_h * (1 - h) - b_h * h,
        a_n * (1 - n) - b_n * n,
        (1 / (1 + np.exp(-(v + 35) / 10)) - slow) / tau_slow,
        a_q * (1 - q) - b_q * q,
        a_r * (1 - r) - b_r * r,
    ]


def cell_of(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Injected current in pA and measured V in mV, (sweeps, samples)."""
    from scipy.integrate import solve_ivp

    p = KINDS[kind]
    rng = np.random.default_rng([*kind.encode()])
    steps, per_step = round(DURATION / CHANGE), round(CHANGE / DT)
    stimuli = []
    for number in (*range(8), 8, 8, 9, 9):
        own, x, values = np.random.default_rng([*kind.encode(), number]), 0.0, []
        for _ in range(steps):
            x += -x * CHANGE / 10 + np.sqrt(2 * CHANGE / 10) * own.normal()
            values.append(p["mean"] * (0.7 + 0.1 * (number % 8)) + p["std"] * x)
        stimuli.append(np.where(np.arange(steps) * CHANGE < 40.0, 0.0, values))
    begin = [p["e_leak"], 0, 1, 0, 0, 0, 0.5]
    rest = solve_ivp(slopes, (0, 1000), begin, "LSODA", args=(0.0, p), max_step=5.0).y[:, -1]
    voltage = np.empty((SWEEPS, steps * per_step))
    for sweep, stimulus in enumerate(stimuli):
        y, noise = rest, 0.0
        for k, current in enumerate(stimulus):
            noise += -noise * CHANGE / TAU_NOISE * 0.5 + NOISE * np.sqrt(CHANGE / TAU_NOISE) * rng.normal()
            at = np.arange(per_step + 1) * DT
            found = solve_ivp(
                slopes, (0, CHANGE), y, "LSODA", t_eval=at, args=(current + noise, p), max_step=0.5, rtol=1e-5
            )
            voltage[sweep, k * per_step : (k + 1) * per_step], y = found.y[0, :-1], found.y[:, -1]
    return np.repeat(stimuli, per_step, axis=1), voltage + ERROR * rng.normal(size=voltage.shape)


def write_nwb(path: Path, current: np.ndarray, voltage: np.ndarray) -> None:
    """As an amplifier's program writes it: 16 bits with a factor, a pair of series for each sweep."""
    import pynwb
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    file = pynwb.NWBFile("a simulated cell", path.stem, datetime(2026, 1, 1, tzinfo=UTC))
    soma = file.create_icephys_electrode("soma", description="none", device=file.create_device("scipy"))
    how: dict[str, Any] = {"electrode": soma, "gain": 1.0, "rate": 1e3 / DT}
    for sweep, (i, v) in enumerate(zip(current, voltage)):
        volts = np.round(v / 0.01).astype(np.int16)
        file.add_acquisition(CurrentClampSeries(name=f"resp_{sweep:03d}", data=volts, conversion=1e-5, **how))
        file.add_stimulus(CurrentClampStimulusSeries(name=f"stim_{sweep:03d}", data=i * 1e-12, **how))
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def write_csv(path: Path, current: np.ndarray, voltage: np.ndarray) -> None:
    t = np.arange(current.shape[1]) * DT
    lines = ["time (ms),Im (pA),Vm (mV),sweep"]
    for sweep, (i, v) in enumerate(zip(current, voltage)):
        lines += [f"{a:.2f},{b!r},{0.01 * round(c / 0.01):.2f},{sweep}" for a, b, c in zip(t, i.tolist(), v)]
    path.write_text("\n".join(lines) + "\n")


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        current, voltage = cell_of(kind)
        write_nwb(folder / f"{kind}.nwb", current, voltage)
        write_csv(folder / f"{kind}.csv", current, voltage)
        print(f"{kind}: V from {voltage.min():.0f} to {voltage.max():.0f} mV", flush=True)


def unitless(folder: Path) -> None:
    """The cells in the units of models without any, with the spikes that were found in mV."""
    folder.joinpath("unitless").mkdir(exist_ok=True)
    for kind in KINDS:
        found = read_recording(folder / f"{kind}.nwb").with_spikes_found()
        assert found.voltage is not None
        scaled = replace(found, current=found.current / UNIT, voltage=(found.voltage - REST) / STEP)
        scaled.save(folder / "unitless" / f"{kind}.npz")


def fit(folder: Path, names: Sequence[str], kinds: Sequence[str], options: dict[str, Any]) -> None:
    """One fit after the other, each with what it found in RESULTS at once."""
    unitless(folder)
    recordings = dict[Path, Recording]()
    for model in names:
        for kind in kinds:
            table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            if f"{kind} {model}" in table:
                continue
            file = folder / (f"{kind}.nwb" if model in IN_MV else f"unitless/{kind}.npz")
            if file not in recordings:
                found = read_recording(file)
                recordings[file] = found if found.spikes else found.with_spikes_found()
            table[f"{kind} {model}"] = row = one(model, recordings[file], options)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(table, indent=1) + "\n")
            print(kind, model, row.get("first_line", row.get("failed")), f"{row['seconds']:.0f} s", flush=True)


def one(model: str, recording: Recording, options: dict[str, Any]) -> dict[str, Any]:
    """The fit of a model to a cell, and what the best end of the forced model explains, before any search."""
    bounds = [text.partition("=") for text in IN_MV.get(model, UNITLESS.get(model, []))]
    fixed = {"v_peak": -40.0} if model == "AdEx" else {}
    began, held_out = time.perf_counter(), [int(s) for s in HELD_OUT]
    chosen = [s for s in options["sweeps"] or range(SWEEPS) if s not in held_out]
    (task,) = prepare(
        getattr(models, model), [recording[[*chosen, *held_out]]],
        bounds={n: tuple(map(float, r.split(":"))) for n, _, r in bounds}, fixed=fixed,
        test_sweeps=[len(chosen) + i for i in range(len(held_out))],
        **{n: v for n, v in options.items() if n != "sweeps"}, threads=1, progress=False,
    )  # fmt: skip
    try:
        result = task.run()
    except EventPropError as error:
        return {"failed": str(error), "seconds": time.perf_counter() - began}
    assert task.held_out is not None
    best = dict(zip(result.names, result.ends[int(np.argmin(result.losses))].tolist()))
    defaults = {n: float(p.value) for n, p in task.residuals.fitted.free.params.items()}
    values = defaults | task.ranges.fixed | best
    run = free_run(task.residuals.fitted, task.held_out.recording, values, task.held_out, 1)
    verdict = result.record()["verdict"]
    return {n: verdict[n] for n in ("explains_little", "model", "null", "cell", "failure")} | {
        "first_line": str(result).splitlines()[0], "aic": result.aic, "stopped": result.stopped,
        "before": asdict(judge(task.residuals, task.held_out, run).model), "seconds": result.seconds,
        "parameters": len(result.names), "options": words_of(options), "about": environment(),
    }  # fmt: skip


def words_of(options: dict[str, Any]) -> str:
    """As they are given to this script."""
    words = [f"--{n.replace('_', '-')} {' '.join(map(str, v)) if isinstance(v, list) else v}"
             for n, v in options.items() if v is not None]  # fmt: skip
    return " ".join(words)


def table() -> None:
    """A row for each model: of each cell, held-out variance of V and coincidences, and those of the forced model; what
    the first lines say, which is checked."""
    record = json.loads(RESULTS.read_text())
    rows, said, about = dict[str, dict[str, str]](), dict[str, list[bool]](), dict[str, Any]()

    def both(score: dict[str, Any]) -> str:
        return ", ".join("none" if score[n] is None else f"{100 * score[n]:.0f} %" for n in ("voltage", "spikes"))

    for name, r in record.items():
        kind, model = name.split()
        if "failed" in r:
            rows.setdefault(model, {})[kind] = r["failed"]
            continue
        explains = min(r["model"][n] if r["model"][n] is not None else -1.0 for n in ("voltage", "spikes")) >= 0.8
        little = any(words in r["first_line"] for words in ("explains little", "explains nothing"))
        assert explains != little, (name, r["first_line"])
        said.setdefault(model, []).append(little)
        about[model] = r
        before = "" if r["before"] == r["model"] else f" (forced: {both(r['before'])})"
        rows.setdefault(model, {})[kind] = both(r["model"]) + before + (", time limit" if r["stopped"] else "")
        for label, part in (("passive membrane, even spikes", "null"), ("the cell itself", "cell")):
            rows.setdefault(label, {})[kind] = both(r[part])
            about[label] = r
    last = ("passive membrane, even spikes", "the cell itself")
    kinds = [kind for kind in KINDS if any(kind in row for row in rows.values())]
    for label in (*(n for n in rows if n not in last), *last):
        words = f"explains little: {sum(said[label])} of {len(said[label])}" if label in said else ""
        cells = [label, *(rows[label].get(kind, "") for kind in kinds), words]
        r = about.get(label)
        command = f"python benchmarks/fit_cells.py fit cells {r['options']}" if r else ""
        columns = ["variance of V, coincidences", *kinds, "first lines"]
        add_row(NUMBERS, columns, cells, command, r and r["about"])
        print(f"| {' | '.join(cells)} |")
    found = [(Score(**r["before"]), Score(**r["model"])) for r in record.values() if r.get("before") != r.get("model")]
    worth = [after.mean > before.mean for before, after in found]
    print(f"of {len(worth)} searches {sum(worth)} explain more of the sweeps held out")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "fit", "table"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("cells"))
    parser.add_argument("--models", nargs="+", default=[*IN_MV, *UNITLESS])
    parser.add_argument("--kinds", nargs="+", default=[*KINDS])
    parser.add_argument("--sweeps", type=int, nargs="+", help="that are fitted; all but those held out")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--time-limit", type=float, help="seconds for a fit")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.folder)
    elif arguments.what == "fit":
        fit(
            arguments.folder,
            arguments.models,
            arguments.kinds,
            {n: getattr(arguments, n) for n in ("sweeps", "starts", "time_limit")},
        )
    else:
        table()
