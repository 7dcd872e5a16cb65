"""What a training batch of the cuda engine costs, from the compiled code: no GPU needed, and none was used.

    python benchmarks/gpu_cost.py                          # needs the extra [cuda] (NVRTC compiles without a driver)
    python benchmarks/gpu_cost.py --write docs/cuda.md     # puts the predictions between the marks in the page

Counted: registers, stack, spills and shared memory as ptxas -v reports them for each architecture; launches as the
engine makes them; barriers in the text of the loops; blocks per multiprocessor that registers, shared memory and
threads allow; bytes of rows of weights and of the adjoint, for the spikes of the shape of spoken digits (8000 input
spikes, 26 per hidden neuron, 1000 steps).

Predicted (`engines/cuda/cost.py`, which `engine="auto"` asks too): a trial is a chain of steps, a step a chain of waits
for rows, lists, shuffles and barriers, printed one by one; blocks beside each other share issue slots and the bandwidth
of L2; blocks that do not fit side by side make another wave; then the gathers, the launches, and the host, whose time
is that of benchmarks/gpu_host.py. It is a model: it says what the design should reach and what bounds it, not what a
card does.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import tyro

from genn_eventprop.codegen.cuda import Source, generate
from genn_eventprop.engines.cuda.cost import (
    A100,
    H100,
    RTX_4090,
    Card,
    Spikes,
    bytes_of,
    exact_steps,
    limits,
    seconds,
    steps,
)
from genn_eventprop.verify.engines.representative import Shape

MARKS = ("<!-- gpu_cost: written by benchmarks/gpu_cost.py -->", "<!-- end of gpu_cost -->")
SPIKES = 26  # of a hidden neuron in a trial
BATCHES = (1, 32, 256)
SMALL = Shape(inputs=5, hidden=30, outputs=3, steps=300, spikes=30)
CARDS = (H100, A100, RTX_4090)
PUBLISHED = (
    ("GeNN, EventProp, SHD (Nowotny et al.)", "0.95"),
    ("mlGeNN, SSC, batch 32", "0.78"),
    ("SpikingJelly CuPy, 512 neurons, T = 500, batch 16, RTX 4090", "0.27"),
    ("Spyx", "0.28"),
)
"""ms a training sample, other networks and other cards: for the order of magnitude."""


@dataclass(frozen=True)
class Compiled:
    """registers: kernel -> registers of a thread; stack: bytes of the trial's frame in local memory, which has arrays
    that are indexed, and spilled registers; spills: bytes of the latter, of all kernels."""

    source: Source
    registers: dict[str, int]
    spills: int
    stack: int


def compiled(shape: Shape, architecture: str) -> Compiled:
    """The kernels of a shape, in float32."""
    from cuda.core import Program, ProgramOptions

    plan, _ = shape.network()
    source, log = generate(plan, "float32"), io.StringIO()
    options = ProgramOptions(arch=architecture, std="c++17", ptxas_options=["-v"])
    Program(source.text, "c++", options).compile("cubin", logs=log)
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers",
        log.getvalue(), re.S,
    )  # fmt: skip
    stacks, registers = {k: int(n) for k, n, _, _ in found}, {k: int(r) for k, _, _, r in found}
    return Compiled(source, registers, sum(int(s) for _, _, s, _ in found), stacks["trial"])


def blocks_beside(c: Compiled, card: Card) -> int:
    """Blocks of a trial on a multiprocessor."""
    threads = c.source.threads
    registers = -(-c.registers["trial"] // 8) * 8 * threads
    shared = c.source.shared + 1024
    return min(65536 // registers, card.shared * 1024 // shared, card.threads // threads, card.blocks)


def barriers(source: Source) -> tuple[int, int]:
    """In the loop over steps forwards, and backwards."""
    trial = source.text[source.text.index(" trial(") :]
    forwards, rest = trial.split("for (step = 0;", 1)[1].split("for (step = t->n_steps;;", 1)
    there = forwards[: forwards.index("\n    }\n")].count("__syncthreads")
    return there, rest[: rest.index("\n    }\n")].count("__syncthreads")


def spikes_of(shape: Shape) -> Spikes:
    """In a step of the shape's trials."""
    return Spikes(shape.spikes / shape.steps, {"hidden": SPIKES * shape.hidden / shape.steps, "output": 0.0})


def resources(shapes: dict[str, Shape]) -> list[str]:
    lines = [
        "| shape | architecture | registers: trial, gathers | stack, spills | shared memory "
        "| blocks per multiprocessor |"
    ]
    lines.append("|---|---|---|---|---|---|")
    cards = {card.architecture: card for card in CARDS} | {"sm_100": CARDS[0]}
    for name, shape in shapes.items():
        for architecture, card in cards.items():
            c = compiled(shape, architecture)
            gathers = sorted({c.registers[k] for k, _ in c.source.gathers})
            side = str(blocks_beside(c, card)) if architecture == card.architecture else ""
            lines.append(
                f"| {name} | {architecture} | {c.registers['trial']}, {gathers[0]} to {gathers[-1]} "
                f"| {c.stack}, {c.spills} B | {c.source.shared} B | {side} |"
            )
    return lines


def counts(shapes: dict[str, Shape]) -> list[str]:
    names = ("shape", "launches per batch", "barriers per trial", "L2 per sample", "kept per sample")
    lines = [f"| {' | '.join(names)} |"]
    lines.append("|---|---|---|---|---|")
    for name, shape in shapes.items():
        plan, _ = shape.network()
        source = generate(plan, "float32")
        there, back = barriers(source)
        step, gathers = bytes_of(plan, spikes_of(shape))
        kept = (
            4 * shape.steps * (shape.hidden + shape.outputs) + shape.steps * shape.hidden / 8 + 32 * shape.hidden * 20
        )
        lines.append(
            f"| {name} | {1 + len(source.gathers) + 3} | {shape.steps} x ({there} + {back}) | "
            f"{shape.steps * (step + gathers) / 1e6:.0f} MB | {kept / 1e6:.2f} MB |"
        )
    return lines


def waits(shapes: dict[str, Shape]) -> list[str]:
    """Of a block in a step, both ways."""
    found = {name: steps(shape.network()[0], H100, spikes_of(shape)) for name, shape in shapes.items()}
    names = [n for n in next(iter(found.values())) if any(f[n] for f in found.values())]
    lines = [f"| cycles of a step, H100 | {' | '.join(names)} | together |", f"|---|{'---|' * len(names)}---|"]
    for name, each in found.items():
        lines.append(f"| {name} | {' | '.join(f'{each[n]:.0f}' for n in names)} | {sum(each.values()):.0f} |")
    return lines


def predictions(shapes: dict[str, Shape]) -> list[str]:
    lines = [
        f"| predicted ms per sample | batch | {' | '.join(card.name for card in CARDS)} |",
        "|---|---|" + "---|" * len(CARDS),
    ]
    for name, shape in shapes.items():
        plan, _ = shape.network()
        beside = {card.name: blocks_beside(compiled(shape, card.architecture), card) for card in CARDS}
        for batch in BATCHES:
            parts = [seconds(plan, card, batch, spikes_of(shape), beside[card.name]) for card in CARDS]
            cells = (f"{1e3 * sum(each.values()) / batch:.3f}" for each in parts)
            lines.append(f"| {name} | {batch} | " + " | ".join(cells) + " |")
    return lines


def small() -> list[str]:
    """What a small network waits for: whether several samples a block would help."""
    columns = (
        "5 - 30 - 3, 300 steps, H100: batch",
        "blocks per multiprocessor: there, at most",
        "cycles of a step: waits, instructions, L2",
        "ms per batch: trial, gather + launches, host",
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---|---|---|"]
    plan, _ = SMALL.network()
    spikes, most = spikes_of(SMALL), blocks_beside(compiled(SMALL, H100.architecture), H100)
    for batch in (256, 1024, 4096):
        there = min(-(-batch // H100.multiprocessors), most)
        cycles = ", ".join(f"{c:.0f}" for c in limits(plan, H100, there, spikes).values())
        s = {n: 1e3 * v for n, v in seconds(plan, H100, batch, spikes, most).items()}
        times = f"{s['trial']:.2f}, {s['gather'] + s['launches']:.2f}, {s['host']:.2f}"
        lines.append(f"| {batch} | {there}, {most} | {cycles} | {times} |")
    return lines


def exact(every: bool) -> list[str]:
    """With exact spike times, where the card's rate in double precision may be what is longest."""
    columns = (
        "exact, 700 - 256 - 20",
        "predicted ms per sample: batch 32, 256",
        "registers, stack, spills",
        "blocks per multiprocessor",
        "cycles of a step of these: waits, instructions, L2, double precision",
    )[: 5 if every else 2]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    shape = Shape(spike_times="exact")
    plan, spikes = shape.network()[0], spikes_of(shape)
    for card in CARDS:
        c = compiled(shape, card.architecture)
        most = blocks_beside(c, card)
        cycles = ", ".join(f"{v:.0f}" for v in limits(plan, card, most, spikes).values())
        times = (1e3 * sum(seconds(plan, card, b, spikes, most).values()) / b for b in BATCHES[1:])
        ms = ", ".join(f"{t:.3f}" for t in times)
        counted = f" {c.registers['trial']}, {c.stack}, {c.spills} B | {most} | {cycles} |"
        lines.append(f"| {card.name} | {ms} |{counted if every else ''}")
    return lines


def exact_waits() -> list[str]:
    """Of a block in a step with exact spike times."""
    shape = Shape(spike_times="exact")
    found = {card.name: exact_steps(shape.network()[0], card, spikes_of(shape)) for card in CARDS}
    lines = [f"| cycles that a block waits in a step | {' | '.join(found[H100.name])} |"]
    lines.append(f"|---|{'---|' * len(found[H100.name])}")
    return lines + [f"| {n} | {' | '.join(f'{v:.0f}' for v in waits.values())} |" for n, waits in found.items()]


def tables(every: bool) -> str:
    """All tables, or those of the page."""
    shapes = {f"700 - {n} - 20": Shape(hidden=n) for n in (256, 1024, 4096)}
    parts = [predictions(shapes), exact(every)]
    if every:
        published = [
            "| published, training | ms per sample |",
            "|---|---|",
            *(f"| {n} | {ms} |" for n, ms in PUBLISHED),
        ]
        parts += [resources(shapes), counts(shapes), waits(shapes), exact_waits(), small(), published]
    return "\n\n".join("\n".join(p) for p in parts)


def main(write: Path | None = None) -> None:
    """Print all tables, or put those of the page into it.

    Args:
        write: A page with the two marks of this script.
    """
    if write is None:
        print(tables(every=True))
        return
    before, rest = write.read_text().split(MARKS[0])
    write.write_text(f"{before}{MARKS[0]}\n{tables(every=False)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
