"""Time and memory of a training step beside other packages, in one run on one machine: for docs/benchmarks.md.

    python benchmarks/peers.py --out runs/peers --numbers docs/numbers && python docs/numbers/tables.py
    python benchmarks/peers.py --out runs/peers --peers native snntorch --tasks layer
    python benchmarks/peers.py --out runs/peers --python mlgenn=OTHER/bin/python     # an environment that has it

Every peer gets an environment of its own, OUT/envs/NAME, made from the package index; a peer that cannot be installed
or that fails is named with the reason. Each measurement is a process of its own with one thread, and tells the
processor time of a step (which other work on the machine does not change much), the wall-clock time, and the memory
that its process has gained at the peak. What is measured already (OUT/results.jsonl) is not measured again.

    layer      one Linear + LIF, forward and backward of spike counts: 512 neurons, batch 16, 500 steps (the shape of
               Open Neuromorphic's benchmark), and growth with steps, neurons, batch, and the rate of the input
    shd        700 - 256 recurrent LIF - 20 LI, 1000 steps, batch 32, with Adam
    yin-yang   5 - 200 - 3 with exact spike times, batch 32, with Adam

Nothing is tuned for one that is not tuned for all: each peer's network is what its documentation shows for the task.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from peer_worker import Shape
from result_file import add_row

from genn_eventprop.report.plots import save
from genn_eventprop.report.plots.style import CLASS_COLOURS, GREY, figure, styled

HERE = Path(__file__).resolve().parent
LAYER = Shape(steps=500, batch=16, inputs=512, hidden=512)
SHD = Shape(steps=1000, batch=32, inputs=700, hidden=256, outputs=20, rate=8000 / 700_000)
YIN_YANG = Shape(steps=60, batch=32, inputs=5, hidden=200, outputs=3)
REQUIREMENTS = {
    "spyx": ["spyx==1.0.0"], "snntorch": ["snntorch==1.0.0", "torch"], "norse": ["norse==1.1.0"],
    "spikingjelly": ["spikingjelly==2.0.0", "torch"], "eventax": ["eventax==0.1.0", "optax"],
}  # fmt: skip
OURS = ("native", "genn")
PEERS = (*OURS, "mlgenn", "spyx", "snntorch", "norse", "spikingjelly", "eventax")
ABSENT = {"mlgenn": "not on the package index; give an environment that has it: --python mlgenn=PATH"}
GROWTH: dict[str, list[Shape]] = {
    "steps": [replace(LAYER, steps=n) for n in (125, 250, 500, 1000)],
    "neurons": [replace(LAYER, inputs=n, hidden=n) for n in (128, 256, 512, 1024)],
    "batch": [replace(LAYER, batch=n) for n in (4, 16, 64)],
    "rate": [replace(LAYER, rate=r) for r in (0.005, 0.02, 0.1)],
}
CAN = {
    "layer": ("native", "genn", "spyx", "snntorch", "norse", "spikingjelly"),
    "shd": ("native", "genn", "mlgenn", "spyx", "snntorch", "norse", "spikingjelly"),
    "yin-yang": ("native", "eventax"),
}
FILES = {"layer": ("peers_layer", LAYER), "shd": ("peers_shd", SHD), "yin-yang": ("peers_yin_yang", YIN_YANG)}
"""Result file of a task, and its shape."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    out: Path
    """Environments and results."""
    peers: tuple[str, ...] = PEERS
    """Which packages."""
    tasks: tuple[str, ...] = ("layer", "shd", "yin-yang")
    """Which tasks."""
    python: tuple[str, ...] = ()
    """NAME=PATH: a Python that has a peer, instead of an environment made here."""
    growth: bool = True
    """Also the layer task with other numbers of steps, neurons, samples and spikes."""
    repeats: int = 3
    """Timed steps; the median counts."""
    timeout: float = 900.0
    """Seconds for one measurement, compiling included."""
    small: bool = False
    """Tiny shapes, to try the script."""
    numbers: Path | None = None
    """Folder of the result files; the figure goes to figures/ beside it."""


def main(s: Settings) -> None:
    s.out.mkdir(parents=True, exist_ok=True)
    pythons = dict(pair.split("=", 1) for pair in s.python)
    missing: dict[str, str] = {}
    for peer in s.peers:
        try:
            if peer not in pythons:
                pythons[peer] = python_of(peer, s.out)
        except LookupError as error:
            missing[peer] = str(error)
            print(f"{peer} absent: {error}", flush=True)
    for task, peer, shape in wanted(s):
        if peer in pythons:
            found = measured(s, pythons[peer], peer, task, shape)
            words = found.get("error") or f"{found['cpu']:.1f} ms of processor time, {found['memory']:.0f} MB"
            print(f"{task} {peer} {describe(shape)}: {words}", flush=True)
    if s.numbers is not None:
        write(s.numbers, rows_of(s.out), missing, s)


def wanted(s: Settings) -> list[tuple[str, str, Shape]]:
    """(task, peer, shape), the fixed shapes first."""
    shapes = {"layer": [LAYER], "shd": [SHD], "yin-yang": [YIN_YANG]}
    if s.growth:
        shapes["layer"] += [shape for series in GROWTH.values() for shape in series if shape != LAYER]
    if s.small:
        shapes = {task: [replace(x, steps=20, batch=2) for x in series[:1]] for task, series in shapes.items()}
    found = [(task, peer, x) for task in s.tasks for peer in CAN[task] if peer in s.peers for x in shapes[task][:1]]
    return found + [
        (task, peer, x) for task in s.tasks for x in shapes[task][1:] for peer in CAN[task] if peer in s.peers
    ]


def python_of(peer: str, out: Path) -> str:
    """The Python of a peer; its environment is made at first use.

    Raises:
        LookupError: it cannot be installed.
    """
    if peer in OURS:
        return sys.executable
    if peer in ABSENT:
        raise LookupError(ABSENT[peer])
    folder, log = out / "envs" / peer, out / "envs" / f"{peer}.log"
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "-q", "numpy", *REQUIREMENTS[peer]]
        with log.open("w") as file:
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                raise LookupError(f"pip install {' '.join(REQUIREMENTS[peer])} failed, see {log}")
        (folder / ".done").touch()
    return str(python)


def measured(s: Settings, python: str, peer: str, task: str, shape: Shape) -> dict[str, Any]:
    """One measurement, from results.jsonl if it is there."""
    key = {"peer": peer, "task": task, "shape": asdict(shape), "repeats": s.repeats}
    for row in rows_of(s.out):
        if all(row[k] == v for k, v in key.items()):
            return row
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))} | variables
    try:
        done = subprocess.run(
            [python, str(HERE / "peer_worker.py")], input=json.dumps(key) + "\n", capture_output=True, text=True,
            env=environment, timeout=s.timeout, check=False,
        )  # fmt: skip
        last = done.stdout.strip().splitlines()[-1:] or ["{}"]
        found = json.loads(last[0]) if last[0].startswith("{") else {}
        found = found or {"error": f"ended with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    except subprocess.TimeoutExpired:
        found = {"error": f"more than {s.timeout:.0f} s"}
    row = {**key, **found}
    with (s.out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def rows_of(out: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def describe(shape: Shape) -> str:
    return f"{shape.steps} steps, batch {shape.batch}, {shape.inputs} - {shape.hidden}, rate {shape.rate:g}"


def write(numbers: Path, rows: Sequence[Mapping[str, Any]], missing: Mapping[str, str], s: Settings) -> None:
    """A result file for every task, written anew, and with growth the figure."""
    for task, (name, shape) in FILES.items():
        (numbers / f"{name}.json").unlink(missing_ok=True)
        for cells in table(task, shape, rows, missing):
            add_row(numbers / f"{name}.json", HEADS, cells, f"python benchmarks/peers.py --out OUT --tasks {task}")
    if s.growth:
        save(draw(rows), numbers.parent / "figures" / "benchmarks.png")
    print(f"written: {numbers}")


HEADS = ("package", "ms per batch, processor time", "times the fastest", "memory (MB)")


def table(
    task: str, shape: Shape, rows: Sequence[Mapping[str, Any]], missing: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """The cells of a line a peer, fastest first; then those that failed, and those that are absent."""
    found = [r for r in rows if r["task"] == task and r["shape"] == asdict(shape)]
    good = sorted((r for r in found if "cpu" in r), key=lambda r: r["cpu"])
    lines = [(named(r), f"{r['cpu']:.4g}", f"{r['cpu'] / good[0]['cpu']:.1f}", f"{r['memory']:.0f}") for r in good]
    lines += [(named(r), r["error"], "-", "-") for r in found if "error" in r]
    return lines + [(peer, f"absent: {why}", "-", "-") for peer, why in missing.items() if peer in CAN[task]]


def named(row: Mapping[str, Any]) -> str:
    """A peer with its version, its own where it is a package: `native` and `genn` are this one."""
    versions, peer = row.get("versions", {}), row["peer"]
    version = next((v for k, v in versions.items() if k.replace("_", "") == peer), None)
    return peer if version is None else f"{peer} {version}"


def point(rows: Sequence[Mapping[str, Any]], peer: str, shape: Shape) -> Mapping[str, Any] | None:
    """The measurement of one peer at one shape."""
    return next(
        (r for r in rows if (r["task"], r["peer"], r["shape"]) == ("layer", peer, asdict(shape)) and "cpu" in r), None
    )


@styled
def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Time above, memory below, against each of what grows; both axes logarithmic."""
    fig, axes = figure(2, len(GROWTH), size=(11.0, 5.4), sharey="row", sharex="col")
    for column, (what, series) in enumerate(GROWTH.items()):
        x = [getattr(shape, "hidden" if what == "neurons" else what) for shape in series]
        for peer, colour in zip(CAN["layer"], CLASS_COLOURS):
            points = [(v, p) for v, shape in zip(x, series) if (p := point(rows, peer, shape)) is not None]
            for ax, key in zip(axes[:, column], ("cpu", "memory")):
                ax.plot([v for v, _ in points], [max(p[key], 0.1) for _, p in points], "o-", color=colour, label=peer,
                        markersize=3.5)  # fmt: skip
        for ax in axes[:, column]:
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(x, [f"{v:g}" for v in x])
            ax.minorticks_off()
        axes[1, column].set_xlabel({"rate": "spikes per input and step"}.get(what, what))
    axes[0, 0].set_ylabel("processor time, ms per batch (log)")
    axes[1, 0].set_ylabel("memory, MB (log)")
    axes[0, 0].set_yticks(ticks := (1, 10, 100, 1000), [f"{v:g}" for v in ticks])
    axes[1, 0].set_yticks(ticks := (10, 30, 100, 300), [f"{v:g}" for v in ticks])
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower left", ncols=6, labelcolor=GREY)
    return fig


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
