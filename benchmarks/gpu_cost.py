"""What a training batch of the cuda engine costs, from the compiled code: no GPU needed, and none was used.

    python benchmarks/gpu_cost.py                          # needs the extra [cuda] (NVRTC compiles without a driver)
    python benchmarks/gpu_cost.py --write docs/engines.md  # puts the tables between the marks in the page

Counted: registers, spills and shared memory as ptxas reports them for each architecture; launches as the engine makes
them; barriers in the text of the loops; blocks per multiprocessor that registers, shared memory and threads allow;
bytes of rows of weights and of the adjoint, for the spikes of the shape of spoken digits (8000 input spikes, 26 per
hidden neuron, 1000 steps).

Predicted: a trial is a chain of steps. In a step a thread waits for its loads (rows of spikes, four in flight
together), for the list of the spikes, for the barriers, and for the arithmetic of its neurons; backwards the warps
share the spikes. A batch takes as many chains one after the other as its blocks do not fit side by side, or what its
bytes take at the rates of the L2 cache and of memory, whichever is longer; then the gathering of gradients, and the
launches. Latencies and rates (`CARDS`) are from data sheets and published microbenchmarks. It is a model: it says what
the design should reach and what bounds it, not what a card does.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import tyro

from genn_eventprop.codegen.cuda import Source, generate
from genn_eventprop.verify.engines.representative import Shape

MARKS = ("<!-- gpu_cost: written by benchmarks/gpu_cost.py -->", "<!-- end of gpu_cost -->")
SPIKES = 26  # of a hidden neuron in a trial
BATCHES = (1, 32, 256)
ARITHMETIC, BARRIER, L1 = 120, 40, 35  # cycles: of a step of one neuron, of a barrier, of a load that hits L1
LIST = 150  # cycles to make a list of the spikes of a step, once their bits are there
IN_FLIGHT = 4  # rows that are loaded together; backwards parts of one row
LAUNCH = 3e-6  # s


@dataclass(frozen=True)
class Card:
    """clock in GHz; latency of L2 in cycles; l2, memory in TB/s; threads, blocks, KiB shared: per multiprocessor."""

    name: str
    architecture: str
    multiprocessors: int
    clock: float
    latency: int
    l2: float
    memory: float
    threads: int
    blocks: int
    shared: int


CARDS = (
    Card("H100 SXM", "sm_90", 132, 1.75, 265, 5.5, 3.35, 2048, 32, 228),
    Card("A100 80 GB", "sm_80", 108, 1.41, 250, 4.0, 2.0, 2048, 32, 164),
    Card("RTX 4090", "sm_89", 128, 2.5, 290, 5.0, 1.0, 1536, 24, 100),
)
PUBLISHED = (
    ("GeNN, EventProp, SHD (Nowotny et al.)", "0.95"),
    ("mlGeNN, SSC, batch 32", "0.78"),
    ("SpikingJelly CuPy, 512 neurons, T = 500, batch 16, RTX 4090", "0.27"),
    ("Spyx", "0.28"),
)
"""ms a training sample, other networks and other cards: for the order of magnitude."""


@dataclass(frozen=True)
class Compiled:
    """registers: kernel -> registers of a thread; spills: bytes in all."""

    source: Source
    registers: dict[str, int]
    spills: int


def compiled(shape: Shape, architecture: str) -> Compiled:
    """The kernels of a shape, in float32."""
    from cuda.core import Program, ProgramOptions

    plan, _ = shape.network()
    source, log = generate(plan, "float32"), io.StringIO()
    options = ProgramOptions(arch=architecture, std="c++17", ptxas_options=["-v"])
    Program(source.text, "c++", options).compile("cubin", logs=log)
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", log.getvalue(), re.S
    )
    return Compiled(source, {k: int(r) for k, _, r in found}, sum(int(s) for _, s, _ in found))


def side_by_side(c: Compiled, card: Card) -> int:
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


def bytes_of(shape: Shape) -> tuple[float, float]:
    """(through L2, to and from memory) a sample, both passes and the gathering.

    L2: a row of weights for every spike forwards and for every hidden spike backwards, a row of the adjoint for every
    spike gathered. Memory: the adjoint's rows, written and read once; bits and lists of spikes; the input.
    """
    N, K, hidden = shape.hidden, shape.outputs, SPIKES * shape.hidden
    rows = shape.spikes * N + hidden * (N + K)
    l2 = 4 * (rows + hidden * (N + K) + rows)
    memory = 2 * 4 * shape.steps * (N + K) + shape.steps * N / 8 * 3 + hidden * 2 * 20 + shape.spikes * 12
    return l2, memory


def chain(shape: Shape, c: Compiled, card: Card) -> float:
    """s of one trial, alone."""
    there, back = barriers(c.source)
    slots, warps = -(-shape.hidden // c.source.threads), c.source.threads // 32
    sent, came = SPIKES * shape.hidden / shape.steps, shape.spikes / shape.steps
    own = ARITHMETIC * (slots + 1)  # hidden neurons, then the outputs
    row = card.latency + L1
    forwards = L1 + (math.ceil(came / IN_FLIGHT) + math.ceil(sent / IN_FLIGHT)) * row + LIST + own + there * BARRIER
    parts = math.ceil(shape.hidden / 32 / IN_FLIGHT) + 1
    feedback = card.latency + LIST + math.ceil(sent / warps) * (parts * row + 150)
    return shape.steps * (forwards + feedback + 1.5 * own + back * BARRIER) / (card.clock * 1e9)


def gathering(shape: Shape, card: Card, batch: int) -> float:
    """s of the sums of gradients; the kernels run one after the other, the blocks of each side by side."""
    row = card.latency + L1
    of_input = 2 * math.ceil(shape.spikes / shape.inputs / IN_FLIGHT) * row
    of_hidden = math.ceil(shape.steps / 128) * row + SPIKES * row
    return batch * (of_input + 2 * of_hidden) / (card.clock * 1e9)


def seconds(shape: Shape, c: Compiled, card: Card, batch: int) -> tuple[float, str]:
    """(s a batch, what bounds the trials)."""
    waves = math.ceil(batch / (side_by_side(c, card) * card.multiprocessors))
    l2, memory = bytes_of(shape)
    bounds = {
        "chain of steps": waves * chain(shape, c, card),
        "L2": batch * l2 / (card.l2 * 1e12),
        "memory": batch * memory / (card.memory * 1e12),
    }
    bound = max(bounds, key=lambda k: bounds[k])
    launches = 1 + len(c.source.gathers) + 3
    return bounds[bound] + gathering(shape, card, batch) + launches * LAUNCH, bound


def resources(shapes: dict[str, Shape]) -> list[str]:
    lines = [
        "| shape | architecture | registers: trial, gathers | spills | shared memory | blocks per multiprocessor |"
    ]
    lines.append("|---|---|---|---|---|---|")
    cards = {card.architecture: card for card in CARDS} | {"sm_100": CARDS[0]}
    for name, shape in shapes.items():
        for architecture, card in cards.items():
            c = compiled(shape, architecture)
            gathers = sorted({c.registers[k] for k, _ in c.source.gathers})
            side = str(side_by_side(c, card)) if architecture == card.architecture else ""
            lines.append(
                f"| {name} | {architecture} | {c.registers['trial']}, {gathers[0]} to {gathers[-1]} | {c.spills} B | "
                f"{c.source.shared} B | {side} |"
            )
    return lines


def counts(shapes: dict[str, Shape]) -> list[str]:
    names = ("shape", "launches per batch", "barriers per trial", "L2 per sample", "memory traffic", "kept per sample")
    lines = [f"| {' | '.join(names)} |"]
    lines.append("|---|---|---|---|---|---|")
    for name, shape in shapes.items():
        source = generate(shape.network()[0], "float32")
        there, back = barriers(source)
        l2, memory = bytes_of(shape)
        kept = (
            4 * shape.steps * (shape.hidden + shape.outputs) + shape.steps * shape.hidden / 8 + 32 * shape.hidden * 16
        )
        lines.append(
            f"| {name} | {1 + len(source.gathers) + 3} | {shape.steps} x ({there} + {back}) | {l2 / 1e6:.0f} MB | "
            f"{memory / 1e6:.1f} MB | {kept / 1e6:.2f} MB |"
        )
    return lines


def predictions(shapes: dict[str, Shape]) -> list[str]:
    lines = [
        "| ms per sample, shape | batch | " + " | ".join(card.name for card in CARDS) + " |",
        "|---|---|" + "---|" * len(CARDS),
    ]
    for name, shape in shapes.items():
        made = {card.name: compiled(shape, card.architecture) for card in CARDS}
        for batch in BATCHES:
            cells = []
            for card in CARDS:
                s, bound = seconds(shape, made[card.name], card, batch)
                cells.append(f"{1e3 * s / batch:.3f} ({bound})")
            lines.append(f"| {name} | {batch} | " + " | ".join(cells) + " |")
    return lines


def page() -> str:
    shapes = {"700 - 256 - 20": Shape(), "700 - 1024 - 20": Shape(hidden=1024)}
    published = [
        "| published, training | ms per sample |",
        "|---|---|",
        *(f"| {name} | {ms} |" for name, ms in PUBLISHED),
    ]
    parts = [resources(shapes), counts(shapes), predictions(shapes), published]
    return "\n\n".join("\n".join(p) for p in parts)


def main(write: Path | None = None) -> None:
    """Print the tables, or put them into a page.

    Args:
        write: A page with the two marks of this script.
    """
    text = page()
    if write is None:
        print(text)
        return
    before, rest = write.read_text().split(MARKS[0])
    write.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
