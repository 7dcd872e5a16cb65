"""The arrays of one group of samples: where they are on the device, and what the host reads of them, in one block."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...codegen.cuda import DATA_SET, GATHERING, OF_DOUBLE, ROUND, ROUND_BLOCKS, Source, of_neurons, of_sample
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import delay_numbers
from ...program.events import OBSERVED
from ...program.nodes import Buffer
from ..contract.program_engine import Arrays, ProgramEngine
from .device import DeviceMemory, Module
from .memory import Memory

NOTHING = np.uint64(2**64 - 1)  # no trial has left its dynamics
REPORTED = ("error", "sum", "result", "of spikes")
"""Roles that the host reads, but for rows of spikes; first those whose place does not depend on the batch size, since
sums go on from group to group."""
PACKED = 1 << 16  # bytes; longer arrays, such as tables of synapses, are copied one by one
TABLES = (
    "start", "target", "weight_of", "source", "w_start", "w_synapse", "d_start", "d_synapse", "u", "edges",
    "first", "place", "delay_of", "group", "group_start",
)  # fmt: skip
"""Of a connection, or of a readout in exact time: arrays that nobody changes in place, so that the same array needs no
comparison."""


def layout_key(source: Source, arguments: Arrays) -> tuple[int, ...]:
    """What the sizes of a batch's arrays depend on; batches with one key share a `BatchLayout`."""
    return tuple([int(arguments[a]) for a in source.lengths if a in arguments])


@dataclass(frozen=True)
class Pack:
    """Short inputs in one array, which goes to the device in one copy; views, starts: of each, by its name."""

    name: str
    whole: np.ndarray
    views: list[tuple[str, np.ndarray]]
    starts: dict[str, int]

    def filled(self, arguments: Arrays) -> np.ndarray:
        for name, view in self.views:
            if name in arguments:
                value = arguments[name]  # of the same length, whatever its shape
                view[:] = value.reshape(-1) if isinstance(value, np.ndarray) else np.ravel(value)
        return self.whole


class BatchLayout:
    """Where the arrays of batches of one size are on the device, and the struct that kernels take.

    All of it is computed once: shapes of some forty buffers for every batch took longer than a small batch's kernels.
    What changes from batch to batch goes to the device in one copy, and its results come back in one.

    Args:
        arguments: numbers and arrays by the names of buffers, of the first batch of this size.
    """

    reports: tuple[str, ...] = REPORTED
    """Roles that the host reads after a batch."""
    prefix = ""
    """Of the names of work memory."""

    def __init__(self, engine: ProgramEngine, memory: Memory, source: Source, arguments: Arrays) -> None:
        self._memory, self._source, self._plan = memory, source, engine.plan
        self._shapes = {
            b.name: engine.shape(b, arguments, of_sample(b)) for b in source.arrays if b.name not in DATA_SET
        }
        self._kinds = {b.name: engine.kind(b) for b in source.arrays}
        # one block of memory for all that the host reads. Those of `ERRORS` come first: kernels count in them, so that
        # they are set to 0 before a batch, and nothing else is
        reported = [b for role in self.reports for b in source.arrays if b.role == role and b.kind != "bits"]
        errors = sum(b.role == "error" for b in reported)
        assert all(b.role == "error" for b in reported[:errors]) and reported[0].name == "trouble"
        starts = np.cumsum([0] + [_aligned(self._bytes(b)) for b in reported]).tolist()
        self._errors, self._report_bytes = starts[errors], starts[-1]
        self._reported = [(b.name, at) for b, at in zip(reported, starts)]
        self._report = np.dtype({
            "names": [b.name for b in reported], "offsets": starts[:-1], "itemsize": starts[-1],
            "formats": [(self._kinds[b.name], self._shapes[b.name]) for b in reported],
        })  # fmt: skip
        self._cleared = [(b.name, self._bytes(b)) for b in source.arrays if of_neurons(b)]
        inputs = [b for b in source.arrays if _is_input(b) and b.name not in DATA_SET]
        self._large = [b.name for b in inputs if self._bytes(b) > PACKED]
        short = [b for b in inputs if self._bytes(b) <= PACKED]
        of_batch = [b for b in short if "batch" in b.axes]
        self._packs = [
            self._pack("of a batch", of_batch), self._pack("coefficients", [b for b in short if b not in of_batch])
        ]  # fmt: skip
        self._struct(engine.kind)

    def _pack(self, name: str, buffers: list[Buffer]) -> Pack:
        """Several short inputs in one array."""
        starts = np.cumsum([0] + [_aligned(self._bytes(b)) for b in buffers]).tolist()
        whole, views = np.zeros(starts[-1], np.uint8), list[tuple[str, np.ndarray]]()
        for b, at in zip(buffers, starts):
            views.append((b.name, whole[at : at + self._bytes(b)].view(self._kinds[b.name])))
        return Pack(name, whole, views, {b.name: at for b, at in zip(buffers, starts)})

    def _struct(self, kind: Callable[[Buffer], np.dtype]) -> None:
        """The struct and views of its parts: addresses, numbers in the kernels' precision, doubles, 64-bit integers."""
        s = self._source
        ends = np.cumsum([len(s.arrays), len(s.numbers), len(s.doubles), len(s.integers)]).tolist()
        self._fields = np.zeros(ends[-1], np.uint64)
        self._addresses = self._fields[: ends[0]]
        self._numbers = list[tuple[np.ndarray, np.ndarray, list[str]]]()  # (fields, which of them, names) of every kind
        kinds = [kind(b) for b in s.numbers]
        for dtype in dict.fromkeys(kinds):
            # 8 bytes each in the struct, whatever their kind: the first bytes of these are the number
            fields = self._fields[ends[0] : ends[1]].view(dtype)[:: 8 // dtype.itemsize]
            which = [i for i, other in enumerate(kinds) if other == dtype]
            names = [s.numbers[i].name.removeprefix(OF_DOUBLE) for i in which]
            self._numbers.append((fields, np.array(which), names))
        self._doubles = self._fields[ends[1] : ends[2]].view(np.float64)
        self._integers = self._fields[ends[2] :].view(np.int64)
        self._state: tuple[object, ...] = ()  # of memory and inputs, for which the addresses are right

    # each batch

    def prepare(self, data: dict[str, int], arguments: Arrays) -> np.ndarray:
        """Copies to the device what is not there yet; returns the struct, which the next call overwrites.

        Args:
            data: name -> address of the data set's arrays.
        """
        large = {n: self._value(n, arguments) for n in self._large}
        packs = [self._memory.value(p.name, p.filled(arguments)).address for p in self._packs]
        state = (self._memory.generation, *packs, *large.values(), *data.values())
        if state != self._state:
            packed = {n: base + at for base, p in zip(packs, self._packs) for n, at in p.starts.items()}
            self._place(packed | large | data)
            # placing may have allocated: then the addresses are those of the new generation
            self._state = (self._memory.generation, *state[1:])
        for fields, which, names in self._numbers:
            fields[which] = [_number(arguments.get(name, 0.0)) for name in names]
        self._doubles[:] = [arguments.get(b.name, 0.0) for b in self._source.doubles]
        self._integers[:] = [arguments[n] for n in self._source.integers]
        for name, count in self._cleared:
            self._memory.work(self.prefix + name, count).clear(count)
        # what kernels count in; `trouble` stands first
        self._block.clear(self._errors)
        self._block.write(np.full(1, NOTHING))
        return self._fields

    def _value(self, name: str, arguments: Arrays) -> int:
        """The address of a long array, which is copied if it has changed."""
        value = np.ascontiguousarray(arguments.get(name, np.zeros(1)), self._kinds[name])
        return self._memory.value(name, value, constant=name.partition("_")[2] in TABLES).address

    def _place(self, inputs: dict[str, int]) -> None:
        """The address of every array."""
        memory = self._memory
        self._block = memory.work(f"{self.prefix}report", self._report_bytes)
        places = inputs | {n: self._block.address + at for n, at in self._reported}
        for b in self._source.arrays:
            if b.name in places:
                continue
            if is_weight(b):
                places[b.name] = memory.fixed(owner(self._plan, b.name), self._bytes(b)).address
            else:  # no spikes before the first step
                places[b.name] = self._work(b, zero=b.kind == "bits").address
        self._addresses[:] = [places[b.name] for b in self._source.arrays]

    def report(self) -> Arrays:
        """What the kernels have left, by the names of buffers; sums by those of what they are the sums of."""
        report = self._block.read((self._report_bytes,), np.dtype(np.uint8)).view(self._report)[0]
        return {n.removesuffix("_sum"): report[n] for n, _ in self._reported}

    def rows(self, wanted: list[Buffer]) -> Arrays:
        """Of every step: bits, one a neuron, and V."""
        return {b.name: self._work(b).read(self._shapes[b.name], self._kinds[b.name]) for b in wanted}

    def write(self, values: Arrays) -> None:
        """Values of buffers in work memory."""
        for b in self._source.arrays:
            if b.name in values:
                self._work(b).write(values[b.name])

    def _work(self, b: Buffer, zero: bool = False) -> DeviceMemory:
        return self._memory.work(self.prefix + b.name, self._bytes(b), zero=zero)

    def _bytes(self, b: Buffer) -> int:
        return math.prod(self._shapes[b.name]) * self._kinds[b.name].itemsize


def _number(value: Any) -> Any:
    """A number, or the first one of an array."""
    return value.item(0) if isinstance(value, (np.ndarray, np.generic)) else value


def _aligned(count: int) -> int:
    return -(-count // 16) * 16


def is_weight(b: Buffer) -> bool:
    """Whether a buffer holds weights or gradients of a connection, which stay on the device."""
    return b.role in ("number", "gradient") and b.name.startswith("c")


def _is_input(b: Buffer) -> bool:
    """Whether the host sends it with a batch."""
    return b.role in ("number", "host") and not is_weight(b)


def owner(plan: Plan, name: str) -> str:
    """The buffer of weights or gradients of a connection, or of the one whose weights it shares."""
    number, _, kind = name[1:].partition("_")
    shared = plan.connections[int(number)].shares if kind in ("weight", "master", "gradient") else ""
    return next((f"c{i}_{kind}" for i, c in enumerate(plan.connections) if c.name == shared), name)


def groups_of(c: ConnectionRecord, i: int, table: Synapses | None) -> Arrays:
    """Of connection number i: sources of synapses, and the synapses of every weight and every delay."""
    groups: Arrays = {} if table is None else {f"c{i}_source": table.source}
    keys: list[tuple[str, np.ndarray, tuple[int, ...]]] = []
    if table is not None:
        keys.append(("w", table.weights, c.weight_shape))
    if c.delays:
        keys.append(("d", delay_numbers(c, table), c.delays.shape))
    for kind, key, shape in keys:
        groups[f"c{i}_{kind}_synapse"] = np.argsort(key, kind="stable").astype(np.int32)
        groups[f"c{i}_{kind}_start"] = np.append(0, np.cumsum(np.bincount(key, minlength=math.prod(shape))))
    return groups


@dataclass(frozen=True)
class Program:
    """A text and what it is compiled to; of_samples: what has a part for each sample; layouts: of batches by size."""

    source: Source
    module: Module
    of_samples: frozenset[str]
    layouts: dict[tuple[int, ...], BatchLayout]

    def launch(
        self, memory: Memory, kernel: str, blocks: int, fields: np.ndarray, *, gathers: bool, rounds: bool = False
    ) -> None:
        """Run a kernel of trials, a block for each sample.

        Args:
            fields: the struct of `BatchLayout`. gathers: then sum the gradients of weights over samples and steps, from
                what the trials have stored. rounds: before it, make the float16 rows of weights.
        """
        source, launch = self.source, self.module.launch
        if not source.by_value:  # a struct that is longer than the argument of a kernel may be: its address then
            fields = np.array([memory.value(f"fields of {kernel}", fields).address], np.uint64)
        if rounds:
            launch(ROUND, ROUND_BLOCKS, GATHERING, 0, fields)
        launch(kernel, blocks, source.threads, source.shared, fields)
        for gather, rows in source.gathers if gathers else ():
            launch(gather, rows, GATHERING, 0, fields)


def by_channel(steps: np.ndarray, channels: np.ndarray, offsets: np.ndarray, n: int) -> Arrays:
    """Input spikes of samples in the order of their n channels: their steps, and where those of a channel begin."""
    S = len(offsets) - 1
    source = np.repeat(np.arange(S), np.diff(offsets)) * n + channels
    start = np.zeros((S, n + 1), np.int64)
    np.cumsum(np.bincount(source, minlength=S * n).reshape(S, n), axis=1, out=start[:, 1:])
    start += np.asarray(offsets)[:-1, None]
    ordered = np.ascontiguousarray(steps[np.argsort(source, kind="stable")], np.int32)
    return {"by_channel": ordered, "channel_start": start}


def bytes_a_sample(engine: ProgramEngine, source: Source, arguments: Arrays) -> int:
    """Of the work memory that a group needs."""
    one, total = (
        {**arguments, "batch": 1, "input_spikes": arguments["input_spikes"] // max(arguments["batch"], 1) + 1},
        0,
    )
    for b in source.arrays:
        if b.role in ("stored", *REPORTED) or of_neurons(b):
            total += int(np.prod(engine.shape(b, one, of_sample(b)))) * engine.kind(b).itemsize
    return total


def part_of(arguments: Arrays, start: int, stop: int, of_samples: frozenset[str]) -> Arrays:
    """Samples start to stop of a batch; of_samples: names of what has a part for each."""
    part = {k: v[start:stop] if k in of_samples and np.ndim(v) else v for k, v in arguments.items()}
    for name in (n for n in arguments if n[0] == "p" and n.endswith(f"_{OBSERVED}_start")):  # of lists of a batch
        part[name] = arguments[name][start : stop + 1]
    ends = np.append(arguments["input_start"], arguments["input_spikes"])
    part["input_start"] = part["input_start"] - ends[start]
    return part | {"batch": stop - start, "input_spikes": int(ends[stop] - ends[start])}


def joined(parts: list[Arrays]) -> Arrays:
    """The results of groups; sums over samples have gone on from one to the next."""
    if len(parts) == 1:
        return parts[0]
    sums = {n: v for n, v in parts[-1].items() if "_G_" in n}
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0] if n not in sums} | sums
