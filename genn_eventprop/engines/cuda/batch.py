"""The arrays of one group of samples: where they are on the device, and what the host reads of them, in one block."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...codegen.cuda import Source, of_neurons, of_sample
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import delay_numbers
from ...program.nodes import Buffer
from ..contract.program_engine import Arrays, ProgramEngine
from .memory import Memory

NOTHING = np.uint64(2**64 - 1)  # no trial has left its dynamics
REPORTED = ("error", "sum", "result", "of spikes")
"""Roles that the host reads, but for rows of spikes; first those whose place does not depend on the batch size, since
sums go on from group to group."""


class Batch:
    """Copies to the device what is not there yet.

    Args:
        data: name -> address of the data set's arrays. given: numbers and arrays by the names of buffers.
    """

    def __init__(
        self, engine: ProgramEngine, memory: Memory, source: Source, data: Mapping[str, int], given: Arrays
    ) -> None:
        self._engine, self._memory, self._source, self._given = engine, memory, source, given
        self._places = dict(data)
        reported = [b for role in REPORTED for b in source.arrays if b.role == role and b.kind != "bits"]
        self._starts = np.cumsum([0] + [-(-self._bytes(b) // 16) * 16 for b in reported])
        self._reported = dict(zip((b.name for b in reported), reported))
        self._block = memory.work("report", int(self._starts[-1]))
        self._places |= {b.name: self._block.address + int(at) for b, at in zip(reported, self._starts)}
        for b in source.arrays:
            if b.name not in self._places:
                self._places[b.name] = self._place(b)
        self._clear(reported)

    def _place(self, b: Buffer) -> int:
        if b.role in ("number", "gradient") and b.name.startswith("c"):  # the weights of connections
            return self._memory.fixed(owner(self._engine.plan, b.name), self._bytes(b)).address
        if b.role in ("number", "host"):
            value = np.ascontiguousarray(self._given.get(b.name, np.zeros(1)), self._engine.kind(b))
            return self._memory.value(b.name, value).address
        piece = self._memory.work(b.name, self._bytes(b), zero=b.kind == "bits")  # no spikes before the first step
        if of_neurons(b):
            piece.clear(self._bytes(b))
        return piece.address

    def _clear(self, reported: list[Buffer]) -> None:
        """What kernels count in; it stands first, and first of it `trouble`."""
        count = sum(b.role == "error" for b in reported)
        assert all(b.role == "error" for b in reported[:count]) and reported[0].name == "trouble"
        self._block.clear(int(self._starts[count]))
        self._block.write(np.full(1, NOTHING))

    def fields(self) -> np.ndarray:
        """The struct that kernels are given: addresses, doubles, 64-bit integers."""
        s, given = self._source, self._given
        parts = [
            np.array([self._places[b.name] for b in s.arrays], np.uint64),
            np.array([float(given.get(b.name, 0.0)) for b in s.doubles], np.float64),
            np.array([int(given[n]) for n in s.integers], np.int64),
        ]
        return np.concatenate([p.view(np.uint64) for p in parts])

    def report(self) -> Arrays:
        """What the kernels have left, by the names of buffers."""
        raw = self._block.read((int(self._starts[-1]),), np.dtype(np.uint8))
        found = {}
        for (name, b), at in zip(self._reported.items(), self._starts):
            found[name] = raw[at : at + self._bytes(b)].view(self._engine.kind(b)).reshape(self._shape(b))
        return found

    def rows(self, wanted: list[Buffer]) -> Arrays:
        """Of every step: bits, one a neuron, and V."""
        work, kind = self._memory.work, self._engine.kind
        return {b.name: work(b.name, self._bytes(b)).read(self._shape(b), kind(b)) for b in wanted}

    def _shape(self, b: Buffer) -> tuple[int, ...]:
        return self._engine.shape(b, self._given, of_sample(b))

    def _bytes(self, b: Buffer) -> int:
        return int(np.prod(self._shape(b))) * self._engine.kind(b).itemsize


def owner(plan: Plan, name: str) -> str:
    """The buffer of weights or gradients of a connection, or of the one whose weights it shares."""
    number, _, kind = name[1:].partition("_")
    found = plan.connections[int(number)].shares if kind in ("weight", "gradient") else ""
    return next((f"c{i}_{kind}" for i, c in enumerate(plan.connections) if c.name == found), name)


def groups_of(c: ConnectionRecord, i: int, table: Synapses | None) -> Arrays:
    """Of connection number i: sources of synapses, and the synapses of every weight and every delay."""
    found: Arrays = {} if table is None else {f"c{i}_source": table.source}
    keys: list[tuple[str, np.ndarray, tuple[int, ...]]] = []
    if table is not None:
        keys.append(("w", table.weights, c.weight_shape))
    if c.delays:
        keys.append(("d", delay_numbers(c, table), c.delays.shape))
    for kind, key, shape in keys:
        found[f"c{i}_{kind}_synapse"] = np.argsort(key, kind="stable").astype(np.int32)
        found[f"c{i}_{kind}_start"] = np.append(0, np.cumsum(np.bincount(key, minlength=math.prod(shape))))
    return found


def bytes_a_sample(engine: ProgramEngine, source: Source, given: Arrays) -> int:
    """Of the work memory that a group needs."""
    one, total = {**given, "batch": 1, "input_spikes": given["input_spikes"] // max(given["batch"], 1) + 1}, 0
    for b in source.arrays:
        if b.role in ("stored", *REPORTED) or of_neurons(b):
            total += int(np.prod(engine.shape(b, one, of_sample(b)))) * engine.kind(b).itemsize
    return total


def part_of(given: Arrays, start: int, stop: int, of_samples: set[str]) -> Arrays:
    """Samples start to stop of a batch; of_samples: names of what has a part for each."""
    part = {k: v[start:stop] if k in of_samples and np.ndim(v) else v for k, v in given.items()}
    ends = np.append(given["input_start"], given["input_spikes"])
    part["input_start"] = part["input_start"] - ends[start]
    return part | {"batch": stop - start, "input_spikes": int(ends[stop] - ends[start])}


def joined(parts: list[Arrays]) -> Arrays:
    """The results of groups; sums over samples have gone on from one to the next."""
    sums = {n: v for n, v in parts[-1].items() if "_G_" in n}
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0] if n not in sums} | sums
