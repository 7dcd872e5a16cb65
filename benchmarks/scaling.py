"""How one training scales over threads and ranks, measured, and a cost model that tells the rest.

    python benchmarks/scaling.py             # 1 and 2 threads, 1, 2, 4 ranks; batch 32, 256, 1024; hidden 64, 256, 1024
    python benchmarks/scaling.py --quick     # a minute on a quiet machine: two sizes, short trials
    python benchmarks/scaling.py --numbers docs/numbers/scaling.json

A training step at the shape of SHD (700 inputs, 20 outputs, recurrent LIF, 1000 steps of 1 ms, 8000 input spikes a
sample): forward, backward, the sum over slices and ranks, Adam. Every line is the least time of a step over some
repeats, in processes of its own. The model of a step of batch B in S slices on R ranks with T threads each:

    seconds = a ceil(S / R T) B / S + b + 2 (R - 1) latency + 2 (R - 1) / R gradient / bandwidth

a: seconds per sample and core, b: what is done once a step (update, Python), both fitted to the lines of one rank;
latency and bandwidth to those of several with a core each, for every hidden size. Elsewhere latency and bandwidth are
those stated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from result_file import add_row

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.distributed import world
from genn_eventprop.distributed.engine import RankedEngine
from genn_eventprop.distributed.ranks import Ranks
from genn_eventprop.engines import create
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.report import plots

NETWORK = (30e-6, 1.25e9)
"""Latency in s and bandwidth in bytes a second of the network that is extrapolated to: 10 Gbit/s."""
CORES = 64  # of a machine
NODES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Line:
    """One measurement: seconds of a step."""

    hidden: int
    batch: int
    ranks: int
    threads: int
    slices: int
    gradient: int  # bytes
    seconds: float


def step_time(hidden: int, batch: int, threads: int, steps: int, repeats: int) -> Line:
    """The least time of a training step, on the ranks that this process belongs to."""
    net = Network()
    inp, hid = net.input(700), net.population(LIF(tau_mem=20.0), hidden, name="hidden")
    out = net.population(LI(tau_mem=20.0), 20, name="output")
    net.connect(inp, hid, Dense(Normal(0.03, 0.01)))
    net.connect(hid, hid, Dense(Normal(0.0, 0.3 / np.sqrt(hidden))))
    net.connect(hid, out, Dense(Normal(0.0, 0.03)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=1.0, duration=float(steps))
    engine = create(plan, net.initial_parameters(1), engine="native", threads=threads)
    slices, ranks = engine.slices_of(batch), world()
    gradient = engine.empty_gradient()
    if isinstance(ranks, Ranks):
        engine = RankedEngine(engine, ranks)
    rng, n = np.random.default_rng(0), 8 * steps
    samples = [(np.sort(rng.uniform(0, steps, n)), rng.integers(0, 700, n)) for _ in range(32)]
    data = engine.load(Events.from_samples(samples, 700, rng.integers(0, 20, 32)))
    optimiser, order, best = Adam(1e-3), np.arange(batch) % 32, float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        engine.run(data, order, training=True)
        engine.update(optimiser)
        best = min(best, time.perf_counter() - began)
    return Line(hidden, batch, ranks.size, threads, slices, gradient.nbytes, best)


def measured(hidden: int, batch: int, ranks: int, threads: int, steps: int, repeats: int) -> Line:
    """`step_time` in processes of its own."""
    words = [str(w) for w in (hidden, batch, threads, steps, repeats)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = [shutil.which("mpiexec", path=path) or "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*start, sys.executable, __file__, "worker", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{ranks} ranks: {done.stderr}")
    return Line(**json.loads(done.stdout.strip().splitlines()[-1]))


def fit(lines: list[Line]) -> dict[str, float]:
    """a, b, latency and bandwidth of the lines of one hidden size; never negative."""
    one = [x for x in lines if x.ranks == 1]
    a, b = positive(np.array([[share(x), 1.0] for x in one]), np.array([x.seconds for x in one]))
    several = [x for x in lines if x.ranks > 1 and x.ranks * x.threads <= (os.cpu_count() or 1)]
    latency, slowness = 0.0, 0.0
    if several:
        rest = np.array([x.seconds - a * share(x) - b for x in several])
        latency, slowness = positive(np.array([[2 * (x.ranks - 1), moved(x)] for x in several]), rest)
    return {"a": a, "b": b, "latency": latency, "bandwidth": 1 / slowness if slowness > 0 else float("inf")}


def share(x: Line) -> float:
    """Samples that the busiest core runs."""
    return -(-x.slices // (x.ranks * x.threads)) * x.batch / x.slices


def moved(x: Line) -> float:
    """Bytes of gradients that a rank sends."""
    return 2 * (x.ranks - 1) / x.ranks * x.gradient


def positive(matrix: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares, relative to the values, of two coefficients that are not negative."""
    weights = 1 / np.maximum(np.abs(values), 1e-9)
    found = np.linalg.lstsq(matrix * weights[:, None], values * weights, rcond=None)[0]
    if (found >= 0).all():
        return float(found[0]), float(found[1])
    column = int(np.argmax(found))
    single = max(0.0, float(np.mean(values * weights * (matrix[:, column] * weights)))) / float(
        np.mean((matrix[:, column] * weights) ** 2)
    )
    return (single, 0.0) if column == 0 else (0.0, single)


def predicted(model: dict[str, float], x: Line, network: tuple[float, float]) -> float:
    """Seconds of a step by the model, with a network's latency and bandwidth."""
    latency, bandwidth = network
    return model["a"] * share(x) + model["b"] + 2 * (x.ranks - 1) * latency + moved(x) / bandwidth


def slices_of(batch: int, gradient: int) -> int:
    """The slices of `NativeEngine.slices_of`."""
    many = min(batch // 4, 256, 512 * 2**20 // gradient)
    return min(batch, max(16, 1 << many.bit_length() >> 1))


def extrapolated(model: dict[str, float], hidden: int, gradient: int) -> list[str]:
    """Rows of the table: batch, then the speed-up over one core on 64 cores of 1 to 16 machines."""
    rows = []
    for batch in (32, 256, 1024, 4096):
        slices = slices_of(batch, gradient)
        alone = predicted(model, Line(hidden, batch, 1, 1, slices, gradient, 0.0), (0.0, 1.0))
        speed = [alone / predicted(model, Line(hidden, batch, n, CORES, slices, gradient, 0), NETWORK) for n in NODES]
        rows.append(f"| {hidden} | {batch} | {' | '.join(f'{s:.1f}' for s in speed)} |")
    return rows


def speed_ups(lines: list[Line]) -> list[list[str]]:
    """Heads and cells of what was measured."""
    kinds = list(dict.fromkeys((x.ranks, x.threads) for x in lines if x.ranks * x.threads > 1))
    heads = [f"{ranks} x {threads}" for ranks, threads in kinds]
    rows = [["hidden", "batch", "s per step, 1 x 1", f"speed-up, ranks x threads: {heads[0]}", *heads[1:]]]
    seconds = {(x.hidden, x.batch, x.ranks, x.threads): x.seconds for x in lines}
    for hidden, batch in dict.fromkeys((x.hidden, x.batch) for x in lines):
        base = seconds[hidden, batch, 1, 1]
        up = [f"{base / seconds[hidden, batch, *kind]:.2f}" for kind in kinds]
        rows.append([str(hidden), str(batch), f"{base:.4f}", *up])
    return rows


def report(lines: list[Line]) -> str:
    """The measurements, the model and what it says of 64 cores and 16 machines."""
    heads, *rows = speed_ups(lines)
    text = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(cells)} |" for cells in rows)]
    models = {h: fit([x for x in lines if x.hidden == h]) for h in sorted({x.hidden for x in lines})}
    text += ["", "| hidden | a, ms per sample | b, ms per step | latency, us | bandwidth, GB/s |", "|---" * 5 + "|"]
    for h, m in models.items():
        cells = f"{1e3 * m['a']:.3f} | {1e3 * m['b']:.2f} | {1e6 * m['latency']:.0f} | {m['bandwidth'] / 1e9:.3f}"
        text.append(f"| {h} | {cells} |")
    heads = " | ".join(f"{n} x {CORES} cores" for n in NODES)
    text += ["", f"| hidden | batch | speed-up predicted for {heads} |", "|---" * (2 + len(NODES)) + "|"]
    gradients = {x.hidden: x.gradient for x in lines}
    for h, m in models.items():
        text += extrapolated(m, h, gradients[h])
    return "\n".join(text) + "\n"


@plots.style.styled
def figure_of(lines: list[Line], path: Path) -> None:
    """Speed-up over cores, measured (points) and by the model (lines), for every batch of the middle size."""
    sizes = sorted({x.hidden for x in lines})
    hidden = sizes[len(sizes) // 2]
    mine = [x for x in lines if x.hidden == hidden]
    model, gradient = fit(mine), mine[0].gradient
    fig, axis = plots.style.figure(size=(6.0, 3.8))
    cores = np.array([1, 2, 4, 8, 16, 32, 64])
    for batch in sorted({x.batch for x in mine}):
        slices = slices_of(batch, gradient)
        of = [predicted(model, Line(hidden, batch, 1, int(c), slices, gradient, 0.0), (0.0, 1.0)) for c in cores]
        (line,) = axis.plot(cores, of[0] / np.array(of), label=f"batch {batch}, model")
        base = next(x.seconds for x in mine if x.batch == batch and x.ranks == x.threads == 1)
        points = [x for x in mine if x.batch == batch and x.ranks * x.threads <= (os.cpu_count() or 1)]
        used = [x.ranks * x.threads for x in points]
        axis.plot(used, [base / x.seconds for x in points], "o", color=line.get_color())
    axis.plot([], [], "ko", label="measured")
    axis.plot(cores, cores, color=plots.style.GREY, linewidth=0.8, label="perfect")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="cores of one machine",
        ylabel="speed-up (log)",
        title=f"{hidden} hidden neurons",
    )
    for which in (axis.xaxis, axis.yaxis):
        which.set_ticks(cores, [str(c) for c in cores])
        which.set_ticks([], minor=True)
    axis.legend()
    plots.save(fig, path)


def main(quick: bool = False, numbers: Path | None = None, repeats: int = 5, keep: Path = Path("scaling.json")) -> None:
    """Measure, fit, extrapolate.

    Args:
        quick: A minute: two batches, two sizes, trials of 100 ms.
        numbers: The result file for the measurements of the middle size; the figure goes to figures/ beside its folder.
        repeats: Steps of which the fastest counts.
        keep: File for the measurements; one that is there is reported without measuring again.
    """
    lines = [Line(**x) for x in json.loads(keep.read_text())] if keep.is_file() else []
    batches, sizes, steps = ((32, 128), (32, 64), 100) if quick else ((32, 256, 1024), (64, 256, 1024), 1000)
    if not lines:
        for hidden in sizes:
            for batch in batches:
                for ranks, threads in ((1, 1), (1, 2), (2, 1), (4, 1)):
                    lines.append(measured(hidden, batch, ranks, threads, steps, repeats))
                    print(lines[-1], flush=True)
        keep.write_text(json.dumps([asdict(x) for x in lines], indent=1))
    print(report(lines), end="")
    if numbers is not None:
        sizes = sorted({x.hidden for x in lines})
        heads, *rows = speed_ups([x for x in lines if x.hidden == sizes[len(sizes) // 2]])
        for cells in rows:
            add_row(numbers, heads, cells, "python benchmarks/scaling.py", key=2)
        figure_of(lines, numbers.parent.parent / "figures" / "scaling.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        found = step_time(*map(int, sys.argv[2:]))
        if world().first:
            print(json.dumps(asdict(found)))
    else:
        tyro.cli(main)
