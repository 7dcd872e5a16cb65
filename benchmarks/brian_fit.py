r"""The fit of brian2modelfitting's tutorial (three conductances of a Hodgkin-Huxley neuron, five traces of V) by
`TraceFitter` of this package, and by theirs with its default optimiser, differential evolution, which gets 20 times as
many simulations.

    python benchmarks/brian_fit.py --data EXAMPLES --theirs THEIR_PYTHON --write docs/numbers/brian_fit.json

takes about 5 minutes of processor time.

EXAMPLES: the folder of brian2modelfitting's repository with input_traces_hh.csv and output_traces_hh.csv. THEIR_PYTHON:
a Python with brian2modelfitting (0.4 and later), which needs another NumPy than this package:
pip install "brian2modelfitting @ git+https://github.com/brian-team/brian2modelfitting" "numpy<2" "nevergrad>=1" \
    "bayesian-optimization<2"
This one needs the extra [brian].
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np

MODEL = """
dv/dt = (gl*(El-v) - g_na*(m*m*m)*h*(v-ENa) - g_kd*(n*n*n*n)*(v-EK) + I)/Cm : volt
dm/dt = 0.32*(mV**-1)*(13.*mV-v+VT)/
    (exp((13.*mV-v+VT)/(4.*mV))-1.)/ms*(1-m)-0.28*(mV**-1)*(v-VT-40.*mV)/
    (exp((v-VT-40.*mV)/(5.*mV))-1.)/ms*m : 1
dn/dt = 0.032*(mV**-1)*(15.*mV-v+VT)/
    (exp((15.*mV-v+VT)/(5.*mV))-1.)/ms*(1.-n)-.5*exp((10.*mV-v+VT)/(40.*mV))/ms*n : 1
dh/dt = 0.128*exp((17.*mV-v+VT)/(18.*mV))/ms*(1.-h)-4./(1+exp((40.*mV-v+VT)/(5.*mV)))/ms*h : 1
g_na : siemens (constant)
g_kd : siemens (constant)
gl   : siemens (constant)
"""
TIMES_MORE, SAMPLES, SEEDS, EARLY = 20, 100, (0, 1, 2), 1000
COLUMNS = ("fit", "simulations", "mean squared error, V²", f"of the best after {EARLY}", "processor time")
COMMAND = "python benchmarks/brian_fit.py --data EXAMPLES --theirs THEIR_PYTHON --write docs/numbers/brian_fit.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--theirs", help="their Python")
    parser.add_argument("--write", type=Path, help="the result file, docs/numbers/brian_fit.json")
    parser.add_argument("--worker", type=int, help="simulations of theirs, in this Python")
    arguments = parser.parse_args()
    b2.prefs.codegen.target = "numpy"
    if arguments.worker:
        print(json.dumps(theirs(arguments.data, arguments.worker)))
        return
    mine = ours(arguments.data)
    print(f"ours:   {mine['error']:.6g} V^2, {mine['simulations']} simulations, {mine['seconds']:.0f} s")
    note(arguments.write, "`TraceFitter`", mine)
    if arguments.theirs:
        budget = TIMES_MORE * mine["simulations"]
        command = [arguments.theirs, __file__, "--data", str(arguments.data), "--worker", str(budget)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for run in json.loads(done.stdout.splitlines()[-1]):
            every = "".join(f"  {n}: {e:.3g}" for n, e in run["errors"])
            print(f"theirs: {run['error']:.6g} V^2, {run['simulations']} simulations, {run['seconds']:.0f} s;{every}")
            note(arguments.write, f"differential evolution, seed {run['seed']}", run)


def note(file: Path | None, fit: str, run: dict[str, Any]) -> None:
    """A row of the result file."""
    if file:
        from result_file import add_row  # of this package, which their Python does not have

        early = [f"{error:.3g}" for simulations, error in run["errors"] if simulations == EARLY]
        cells = [fit, f"{run['simulations']}", f"{run['error']:.4e}", *(early or [""]), f"{run['seconds']:.0f} s"]
        add_row(file, COLUMNS, cells, COMMAND)


def ours(data: Path) -> dict[str, Any]:
    fitter, bounds = fitter_of("genn_eventprop.interop.brian", data, n_samples=4)
    began = time.process_time()
    _, error = fitter.fit(callback=None, **bounds)
    seconds = time.process_time() - began
    return {"error": float(error), "simulations": fitter.simulations, "seconds": seconds, "errors": []}


def theirs(data: Path, simulations: int) -> list[dict[str, Any]]:
    runs = []
    for seed in SEEDS:
        np.random.seed(seed)  # noqa: NPY002 (which nevergrad draws from)
        fitter, bounds = fitter_of("brian2modelfitting", data, n_samples=SAMPLES)
        package, errors = importlib.import_module("brian2modelfitting"), list[float]()

        def remember(parameters: Any, _: Any, best: Any, error: Any, *more: Any, errors: list[float] = errors) -> None:
            errors.append(float(error))

        began = time.process_time()
        fitter.fit(
            optimizer=package.NevergradOptimizer(), metric=package.MSEMetric(), callback=remember,
            n_rounds=-(-simulations // SAMPLES), **bounds,
        )  # fmt: skip
        some = [(SAMPLES * k, errors[k - 1]) for k in (5, 10, 20, 30) if k < len(errors)]
        runs.append(
            {"seed": seed, "error": errors[-1], "simulations": SAMPLES * len(errors), "errors": some,
             "seconds": time.process_time() - began}
        )  # fmt: skip
    return runs


def fitter_of(package: str, data: Path, n_samples: int) -> tuple[Any, dict[str, Any]]:
    """The tutorial's TraceFitter and bounds."""
    given, measured = (
        np.loadtxt(data / f"{what}_traces_hh.csv", delimiter=",", skiprows=1)[:, 1:] for what in ("input", "output")
    )
    globals().update(
        area=(area := 20000 * b2.umetre**2), Cm=1 * b2.ufarad * b2.cm**-2 * area, El=-65 * b2.mV, EK=-90 * b2.mV,
        ENa=50 * b2.mV, VT=-63 * b2.mV,
    )  # fmt: skip
    fitter = importlib.import_module(package).TraceFitter(
        model=MODEL, input={"I": given * b2.amp}, output={"v": measured * b2.mV}, dt=0.01 * b2.ms, n_samples=n_samples,
        method="exponential_euler", param_init={"v": -65 * b2.mV},
    )  # fmt: skip
    nS, uS = b2.nsiemens, b2.usiemens
    return fitter, {"gl": [0.002 * nS, 200 * nS], "g_na": [0.2 * uS, 400 * uS], "g_kd": [0.2 * uS, 200 * uS]}


if __name__ == "__main__":
    main()
