"""Memory and processor time of the gradient of whole recordings, against their duration.

    python benchmarks/recordings.py [--minutes 1 10 60] [--memory "500 MB"] [--chunk STEPS]
                                    [--engine native] [--spike-times grid] [--figure FILE.png]

256 recurrent LIF neurons with 64 inputs at 20 Hz and 10 outputs, steps of 1 ms, each run in a process of its own:
in pieces, whose input stays in a file, and as one trial that keeps everything. Memory is the peak of the process beyond
what it had before; processor time is that of the second run.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop import Dense, Events, Network, Normal
from genn_eventprop.data.readers.recordings import open_recordings
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.data import mapped
from genn_eventprop.losses import Loss
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.training.runtime_estimate import peak_memory
from genn_eventprop.training.stateful import LEAST_STEPS, in_bytes

INPUTS, RATE = 64, 0.02  # per ms
KEPT = 12
"""Minutes up to which a trial keeps everything here: some 150 MB a minute."""


def measure(
    file: str, minutes: float, memory: str, chunk: int, engine_name: str, times: str
) -> dict[str, float]:  # fmt: skip
    """In this process; file: of the input. chunk: steps, 0 for one trial."""
    net, duration = Network(), 60_000 * minutes
    source = net.input(INPUTS)
    hidden = net.population(LIF(tau_mem=20.0, tau_syn=5.0), 256, name="hidden")
    output = net.population(LI(), 10, name="output")
    net.connect(source, hidden, Dense(Normal(0.25, 0.25)))
    net.connect(hidden, hidden, Dense(Normal(-0.02, 0.1)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.2)))
    one = {"threads": 1} if engine_name == "native" else {}
    plan = make_plan(net, Loss(output, "integral"), dt=1.0, duration=duration, spike_times=times)
    engine = create(plan, net.initial_parameters(1), engine=engine_name, dtype="float32", **one)
    before, found = peak_memory(), dict[str, float]()
    runner = engine.recordings(chunk, in_bytes(memory, "memory")) if chunk else None
    there = open_recordings(file, INPUTS, labels=[3])
    events, labels = there, np.array([3])
    if not chunk:
        events = Events(np.asarray(there.times), np.asarray(there.channels), there.offsets, INPUTS, labels)
    data = mapped(events, plan) if chunk else engine.load(events)
    for _ in range(2):
        began = time.process_time()
        if runner is None:
            result = engine.run(data, [0], training=True)
        else:
            result = runner.run(data, np.array([0]), True, False)
        found["seconds"] = time.process_time() - began
    after = peak_memory()
    assert before is not None
    assert after is not None
    found |= {"MB": (after - before) / 1e6, "Hz": result.spike_counts["hidden"].sum() / 256 / duration * 1000}
    if runner is None:
        return found
    forecast = runner.forecast(1)
    return found | {"runs": forecast.runs, "forecast": forecast.bytes / 1e6}


def write(file: Path, minutes: float) -> str:
    """The spikes of the input, in a file."""
    rng, duration = np.random.default_rng(0), 60_000 * minutes
    size = int(INPUTS * RATE * duration)
    times, channels = np.sort(rng.uniform(0, duration - 1, size)), rng.integers(0, INPUTS, size, np.int32)
    np.savez(file, times=times, channels=channels)
    return str(file)


def main() -> None:
    """Measure and print; draw, if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 5.0, 10.0, 20.0, 60.0])
    parser.add_argument("--memory", default="500 MB")
    parser.add_argument("--chunk", type=int, help="steps of a piece; default: as the trainer")
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="native", choices=["native", "c99"])
    parser.add_argument("--spike-times", default="grid", choices=["grid", "exact"])
    parser.add_argument("--figure", help="file for memory against duration")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.file, args.minutes[0], args.memory, args.chunk, args.engine, args.spike_times)))
        return
    rows: dict[str, dict[float, dict[str, float]]] = {"in pieces": {}, "one trial": {}}
    for minutes in args.minutes:
        for name, chunk in (
            ("in pieces", args.chunk or max(LEAST_STEPS, math.isqrt(round(60_000 * minutes)))),
            ("one trial", 0),
        ):
            if name == "one trial" and minutes > KEPT:
                continue
            options = ["--minutes", str(minutes), "--memory", args.memory, "--chunk", str(chunk)]
            with tempfile.TemporaryDirectory() as folder:
                options += [
                    "--engine",
                    args.engine,
                    "--spike-times",
                    args.spike_times,
                    "--file",
                    write(Path(folder) / "input.npz", minutes),
                    "--child",
                ]
                done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
            row = rows[name][minutes] = json.loads(done.stdout)
            runs = ""
            if "runs" in row:
                runs = f", every step forwards {row['runs']:.2f} times; forecast {row['forecast']:.0f} MB"
            print(f"{minutes:g} min {name}: {row['MB']:.0f} MB, {row['seconds']:.2f} s{runs}", flush=True)
    if args.figure:
        draw(rows, args.figure)


def draw(rows: dict[str, dict[float, dict[str, float]]], file: str) -> None:
    """Memory against duration, in the look of the other figures."""
    from genn_eventprop.report.plots.style import figure, save, styled

    @styled
    def drawn() -> Any:
        fig, axes = figure(size=(5.0, 3.2))
        for (name, found), marker in zip(rows.items(), "os"):
            axes.loglog(list(found), [row["MB"] for row in found.values()], f"{marker}-", label=name)
        minutes, sizes = next(iter(rows.values())), (10, 30, 100, 300, 1000)
        axes.set_xticks(list(minutes), [f"{m:g}" for m in minutes])
        axes.set_yticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set(xlabel="recording (min), log scale", ylabel="memory (MB), log scale")
        axes.legend()
        return fig

    save(drawn(), file)


if __name__ == "__main__":
    main()
