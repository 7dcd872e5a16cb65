"""What a training batch is expected to cost on a card: a reading of the machine code, and no measurement.

A trial is a chain of steps, and a step a chain of waits (`steps`): for rows of weights from the L2 cache, for
shuffles, for barriers. Blocks on one multiprocessor hide each other's waits until they run out of issue slots or of
bandwidth, whichever is first. Blocks that do not fit side by side make another wave. Then come the gathers, which are
bound by the bandwidth of L2 or by the chain of the longest list, the launches, and the host (benchmarks/gpu_host.py),
which waits for the results of every batch. `engine="auto"` compares this with native; benchmarks/gpu_cost.py prints
it for shapes and cards.

Latencies in cycles are those of published microbenchmarks, rates those of data sheets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...codegen.cuda import CHUNK, FLIGHT, WARP, side_by_side, threads_of
from ...plan import ConnectionRecord, Plan

ACTIVITY = 1 / 50
"""Of the neurons and channels, those that spike in a step, where nothing else is known."""
SHARED, SHUFFLE, BARRIER, ARITHMETIC = 30, 25, 40, 110  # cycles: a load from shared memory, ... a step of a neuron
LIST = SHARED + 5 * SHUFFLE + 60  # bits, a scan over the warp, the list
ISSUED = 420, 300  # instructions of a warp in a step, forwards and backwards; benchmarks/gpu_machine_code.py
LAUNCH, READ = 3e-6, 1e-5  # s: of a kernel, of the copy of results that the host waits for
HOST = 3e-4, 1.5e-6  # s of the host's work for a batch, and for each of its samples
SCHEDULERS = 4  # of a multiprocessor, an instruction a cycle each

# with exact spike times, of the machine code of linear neurons in float32
EXACT_REGISTERS = 128
POWERS = 6  # of the offset, in tables of a step
NEAR = 35  # cycles of a load that the L1 cache has
EXACT_ISSUED = 110, 90, 1500  # instructions of a warp: for an arrival, forwards and backwards; for the rest of a step


@dataclass(frozen=True)
class Card:
    """clock in GHz; latency of L2 in cycles; l2, memory in TB/s; the rest is of a multiprocessor.

    shared: KiB. double: products with sums in double precision that start in a cycle.
    """

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
    double: int

    @property
    def wait(self) -> float:
        """Cycles until the result of a sum in double precision is there: a pipeline, and the warp's way into it."""
        return 10 + WARP / self.double


H100 = Card("H100 SXM", "sm_90", 132, 1.75, 300, 5.5, 3.35, 2048, 32, 228, 64)
A100 = Card("A100 80 GB", "sm_80", 108, 1.41, 285, 4.0, 2.0, 2048, 32, 164, 32)
RTX_4090 = Card("RTX 4090", "sm_89", 128, 2.5, 325, 5.0, 1.0, 1536, 24, 100, 2)


@dataclass(frozen=True)
class Spikes:
    """In a step: of the input, and of each population by its name."""

    input: float
    sent: dict[str, float]

    @classmethod
    def usual(cls, plan: Plan) -> Spikes:
        sent = {p.name: p.size * ACTIVITY if p.spiking else 0.0 for p in plan.populations}
        return cls(plan.input.size * ACTIVITY, sent)

    def of(self, c: ConnectionRecord) -> float:
        return self.sent[c.source] if c.source in self.sent else self.input


def steps(plan: Plan, card: Card, spikes: Spikes) -> dict[str, float]:
    """What a block waits for in a step, both ways: name -> cycles."""
    threads = threads_of(plan)
    slots = {p.name: -(-p.size // threads) for p in plan.populations}
    rows = [c for c in plan.connections if c.by_rows]
    waits = dict.fromkeys(("input rows", "rows", "tables", "lists", "feedback"), 0.0)
    for c in rows:
        flight = max(FLIGHT // slots[c.target], 1)
        rounds = _rounds(spikes.of(c), flight)
        if c.source not in slots:  # the first are asked for before the list, the second beside the first rows of it
            waits["input rows"] += max(rounds - 2, 0) * card.latency
        else:
            waits["rows"] = max(waits["rows"], 2 * SHARED + rounds * card.latency)
            longest = math.ceil(c.post / WARP / FLIGHT) * card.latency
            of_warp = _rounds(spikes.of(c), threads // WARP)
            waits["feedback"] = max(waits["feedback"], of_warp * (longest + 5 * SHUFFLE + SHARED))
    for c in plan.connections:  # spike after spike: where its synapses begin, their targets, a barrier
        if not c.by_rows:
            turns = math.ceil(c.synapses / max(c.pre, 1) / threads)
            waits["tables"] += spikes.of(c) * (card.latency * (1 + 2 * turns) + BARRIER)
            waits["feedback"] += spikes.of(c) / (threads // WARP) * 3 * card.latency if c.source in slots else 0
    waits["lists"] = (2 * LIST) * any(p.spiking for p in plan.populations)
    waits["neurons"] = 2.2 * ARITHMETIC * sum(1 + (n - 1) / 4 for n in slots.values())
    waits["barriers"] = 4 * BARRIER
    return waits


def exact_steps(plan: Plan, card: Card, spikes: Spikes) -> dict[str, float]:
    """The same with exact spike times: populations one after the other, their arrivals in order, `CHUNK` at a time."""
    threads = threads_of(plan)
    warps, latency = threads // WARP, card.latency
    waits = dict.fromkeys(("arrivals", "factors", "walks", "crossings", "order", "feedback", "barriers"), 0.0)
    for p in plan.populations:
        n, slots, into, sent = len(p.derived.states), -(-p.size // threads), plan.into(p.name), spikes.sent[p.name]
        arrivals, fed = sum(map(spikes.of, into)), [c for c in into if c.source in spikes.sent]
        chunks = _rounds(arrivals, CHUNK)
        # times are read spike after spike, 32 at once; arrivals go through memory into their order
        waits["arrivals"] += (2 * len(into) + 1) * latency
        waits["factors"] += chunks * (4 * latency + _powers(2 * n + 2, card) + _powers(2 * n + 2, card))
        # the state behind an arrival, then g and its bound at the next one; an output has four weights on their way
        there = max(latency, (n + 8) * card.wait) if p.spiking else latency / 4 + 2 * card.wait
        waits["walks"] += slots * arrivals * (there + (latency if p.spiking else latency / 4))
        if p.spiking:
            # polynomials and their slopes at three times, five steps of Newton, P(s) both ways: alone in their warp
            each = 9 * POWERS * card.wait + 2 * _powers(n * (2 * n + 1), card) + 4 * latency
            waits["crossings"] += each * min(sent, sent / warps + math.sqrt(2 * sent / warps * math.log(warps)))
            waits["order"] += 4 * latency + math.ceil(sent / threads) * sent / 4 * 2 * latency
        for c in fed:
            rows = math.ceil(p.size / WARP / FLIGHT)
            waits["feedback"] += _rounds(spikes.of(c), warps) * ((rows + 1) * latency + 5 * SHUFFLE)
        waits["barriers"] += BARRIER * (1 + 4 * chunks + 4 * p.spiking + len(fed) * chunks)
    return waits


def _powers(columns: int, card: Card) -> float:
    """Cycles of a warp for so many polynomials side by side."""
    return POWERS * (NEAR / 4 + max(card.wait, columns * WARP / card.double))


def doubles(plan: Plan, spikes: Spikes) -> float:
    """Sums and products in double precision of a step with exact spike times, both ways; of whole warps."""
    total = 0.0
    for p in plan.populations:
        n, lanes = len(p.derived.states), -(-p.size // WARP) * WARP
        arrivals, sent = sum(map(spikes.of, plan.into(p.name))), spikes.sent[p.name]
        total += lanes * (arrivals * ((4 * n + 22 if p.spiking else n + 2) + 2 * n + 6) + 4 * n * n)
        total += WARP * POWERS * (_rounds(arrivals, CHUNK) * 2 * (2 * n + 2) + sent * (18 + 2 * n * (2 * n + 1)))
    return total


def _rounds(mean: float, together: int) -> float:
    """How often a step waits for spikes of which so many go together; their number is Poisson's."""
    probability, total, k = math.exp(-min(mean, 600)), 0.0, 0
    while k <= mean + 8 * math.sqrt(mean) + 8:
        total += probability * math.ceil(k / together)
        k += 1
        probability *= min(mean, 600) / k
    return total if mean < 600 else mean / together


def bytes_of(plan: Plan, spikes: Spikes) -> tuple[float, float]:
    """(of L2 in a step, of L2 in the gathers) a sample and step: rows of weights, of the adjoint.

    With exact spike times a step also adds to the sample's gradient, and the gathers are no part of it.
    """
    step = gathers = 0.0
    if plan.spike_times == "exact":
        return sum(spikes.of(c) * c.post * (16 if c.trainable else 8) for c in plan.connections), 0.0
    for c in plan.connections:
        row = 4 * (c.post if c.form == "dense" else 8 * c.synapses / c.pre)  # through a table each number is a sector
        step += spikes.of(c) * row * (2 if c.source in spikes.sent else 1)
        gathers += spikes.of(c) * row if c.trainable else 0
    return step, gathers


def blocks_beside(plan: Plan, card: Card) -> int:
    """Blocks of a trial on a multiprocessor, as registers, threads and its own limit allow."""
    threads = threads_of(plan)
    if plan.spike_times == "exact":
        return min(65536 // (EXACT_REGISTERS * threads), card.threads // threads, card.blocks)
    # of a neuron: states, adjoints, and what arrives, counts and lists
    values = sum(-(-p.size // threads) * (2 * len(p.derived.states) + 4) for p in plan.populations)
    return min(side_by_side(threads, values), card.threads // threads, card.blocks)


def limits(plan: Plan, card: Card, beside: int, spikes: Spikes) -> dict[str, float]:
    """Cycles of a step, both ways, of blocks beside each other on a multiprocessor, by each of what may be the longest:
    the waits of one, the instructions of all, the bytes that all read from L2."""
    threads = threads_of(plan)
    warps = (1 + sum(-(-p.size // threads) - 1 for p in plan.populations) / 3) * threads / WARP
    of_one = card.l2 * 1e12 / card.multiprocessors / (card.clock * 1e9)
    L2 = beside * bytes_of(plan, spikes)[0] / of_one
    if plan.spike_times == "exact":
        arrivals = sum(spikes.of(c) * -(-c.post // WARP) for c in plan.connections)  # a warp each
        issued = arrivals * sum(EXACT_ISSUED[:2]) + threads / WARP * EXACT_ISSUED[2]
        return {
            "waits": sum(exact_steps(plan, card, spikes).values()), "instructions": beside * issued / SCHEDULERS,
            "L2": L2, "double precision": beside * doubles(plan, spikes) / card.double,
        }  # fmt: skip
    return {
        "waits": sum(steps(plan, card, spikes).values()), "instructions": beside * sum(ISSUED) * warps / SCHEDULERS,
        "L2": L2,
    }  # fmt: skip


def seconds(
    plan: Plan, card: Card, batch: int, spikes: Spikes | None = None, resident: int | None = None
) -> dict[str, float]:
    """name -> s of a training batch.

    Args:
        resident: blocks of a trial that a multiprocessor may have, None: as registers allow.
    """
    spikes = spikes or Spikes.usual(plan)
    T, clock = plan.n_steps, card.clock * 1e9
    resident = resident or blocks_beside(plan, card)
    beside = min(math.ceil(batch / card.multiprocessors), resident)  # blocks on one multiprocessor
    waves = math.ceil(batch / (resident * card.multiprocessors))
    _, gathers = bytes_of(plan, spikes)
    of_step = max(limits(plan, card, beside, spikes).values()) / clock
    longest = max((spikes.of(c) / max(c.pre, 1) for c in plan.connections), default=0) * T * batch
    gather = max(batch * T * gathers / (card.l2 * 1e12), longest / FLIGHT * card.latency / clock)
    rows = 8 * T * sum(p.size for p in plan.populations)  # of the adjoint, written and read once
    if plan.spike_times == "exact":  # the gradient of a sample, set to zero, and read by the gather
        rows = 4 * sum(c.synapses for c in plan.connections if c.trainable)
        gather = batch * rows / (card.memory * 1e12)
    launches = 3 + len(plan.connections)
    return {
        "trial": max(waves * T * of_step, batch * rows / (card.memory * 1e12)), "gather": gather,
        "launches": launches * LAUNCH + READ, "host": HOST[0] + HOST[1] * batch,
    }  # fmt: skip
