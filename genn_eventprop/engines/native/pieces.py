"""Pieces of recordings on `native`: the arrays of generated code and its calls; see `contract/recordings.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...codegen.cpp import generate_pieces
from ...codegen.cpp.context import streams
from ...errors import EngineError
from ...plan import Plan
from ...program.nodes import Buffer
from .memory import aligned
from .threads import BACKWARDS, FORWARDS, Program

Arrays = dict[str, Any]


class NativePieces:
    """See `contract.recordings.PieceProgram`; compiled when it is first called.

    Args:
        failed: raises the error of a trial that diverged, see `NativeEngine`.
    """

    def __init__(
        self, plan: Plan, dtype: np.dtype, halves: bool, failed: Callable[[Program, int, np.ndarray], None]
    ) -> None:
        source, self.crossing = generate_pieces(plan, dtype.name, halves)
        self.plan, self.dtype, self.failed = plan, dtype, failed
        self.buffers = {b.name: b for b in source.arrays}
        self.gradient = aligned((source.gradient_size,), dtype)  # of a recording so far, which nobody reads
        self.gradients = source.gradients
        self.program = Program(source, dtype, 1, sum(p.spiking for p in plan.populations))

    def shape(self, b: Buffer, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        return b.shape(arguments)

    def arrays(self, arguments: Arrays, stored: Arrays) -> Arrays:
        inputs = Arrays()
        if streams(self.plan) and self.plan.spike_times == "grid":
            inputs = inputs_apart(self.plan, *(arguments[n] for n in ("steps", "channels", "offsets")))
        written = [b for b in self.buffers.values() if not b.is_input and b.name not in arguments]
        memory = {b.name: stored[b.name] if b.name in stored else self._new(b, arguments) for b in written}
        return self.program.call.arrays(arguments | inputs, memory)

    def _new(self, b: Buffer, arguments: Mapping[str, Any]) -> np.ndarray:
        """On a cache line: vectors read and write whole rows of it, in every step."""
        return aligned(self.shape(b, arguments), np.dtype(b.type_in_numpy(self.dtype)))

    def copied(self, population: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As of `Program.copied`, the spikes that the last call has recorded."""
        return self.program.copied(population, 1)

    def call(self, arrays: Arrays, arguments: Arrays) -> int:
        half = BACKWARDS if arguments["back"] else FORWARDS
        one = {"half": half, "record": arguments.get("record", False), "whole_batch": 1}  # of samples in this call
        status = self.program.run(arrays, arguments | one)
        if status > 1:
            self.failed(self.program, status - 2, np.array([arguments["number"]]))
        if status:
            raise EngineError("out of memory while running a piece of a recording; use shorter pieces (chunk=)")
        return 0


def inputs_apart(plan: Plan, steps: np.ndarray, channels: np.ndarray, offsets: np.ndarray) -> Arrays:
    """The spikes of each of several inputs by themselves, by the names of their arrays."""
    parts = Arrays()
    for name, (first, last) in streams(plan).items():
        inside = (channels >= first) & (channels < last)
        before = np.concatenate([[0], np.cumsum(inside)])
        parts |= {f"{name}steps": steps[inside], f"{name}channels": channels[inside] - np.int32(first)}
        parts[f"{name}offsets"] = before[offsets].astype(np.int64)
    return parts
