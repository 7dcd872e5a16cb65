"""Pieces of recordings on `cuda`; see `contract/recordings.py`.

What crosses from piece to piece goes to the host and comes from there: states are kept at the host, the device has the
memory of one piece. What `RecordingRunner.forecast` says is enough for either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...codegen.cuda import DATA_SET, of_sample, place_of
from ...errors import EngineError
from ...program.nodes import Buffer
from ...program.pieces import ROWS, SPIKE_ROWS, Crossing
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.recordings import piece_shape
from .batch import NOTHING, BatchLayout, Program, by_channel, layout_key
from .device import OutOfMemory
from .memory import Memory


class PieceLayout(BatchLayout):
    """Of a piece, whose results go on from piece to piece. Its memory is its own: whole trials find no spikes in theirs
    before the first step."""

    reports, prefix = ("error", "sum"), "piece "


class CudaPieces:
    """See `contract.recordings.PieceProgram`.

    Args:
        program, crossing: of `generate_pieces`, compiled. begin: puts weights on the device, and says which synapses
            share one. gathered: called with which gradients are not finite, once those of a recording are there.
    """

    def __init__(
        self, engine: ProgramEngine, program: Program, crossing: Crossing, memory: Memory, begin: Callable[[], Arrays],
        gathered: Callable[[np.ndarray], None],
    ) -> None:  # fmt: skip
        self.engine, self.crossing, source = engine, crossing, program.source
        self._program, self._memory, self._begin, self._gathered = program, memory, begin, gathered
        self.buffers = {b.name: replace(b, axes=("batch", *b.axes)) if of_sample(b) else b for b in source.arrays}
        self._of_data = [b for b in source.arrays if b.name in DATA_SET]
        self._rows = [n for n, b in self.buffers.items() if b.role == "host" and ROWS in b.axes]
        allocated = {n: b for n, b in self.buffers.items() if not b.is_input}
        spikes = {n for n, b in allocated.items() if SPIKE_ROWS in b.axes}
        results = {n for n, b in allocated.items() if b.role == "result" and ROWS not in b.axes}
        # forwards, then backwards: (to the device before the kernel, to the host after it)
        self._moved = (
            ({*crossing.forward, *crossing.rows} | spikes, {*crossing.forward, *crossing.read} | spikes | results),
            ({*crossing.back, *crossing.read}, {*crossing.back, *crossing.rows}),
        )
        every = set[str]().union(*self._moved[0], *self._moved[1])
        self._at_host = {n: b for n, b in allocated.items() if n in every}

    def shape(self, b: Buffer, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        return piece_shape(self.engine, b, arguments)

    def arrays(self, arguments: Arrays, stored: Arrays) -> Arrays:
        """Those that cross from piece to piece, or that the host reads: all else is on the device alone."""
        kind = self.engine.kind
        new = (b for n, b in self._at_host.items() if n not in stored)
        known = {n: stored[n] for n in self._at_host if n in stored}
        return known | {b.name: np.zeros(self.shape(b, arguments), kind(b)) for b in new}

    def call(self, arrays: Arrays, arguments: Arrays) -> int:
        program, memory, back = self._program, self._memory, bool(arguments["back"])
        source, layouts = program.source, program.layouts
        arguments = {"adding": False, "input_spikes": 0, **arguments, "n_channels": self.engine.plan.input.size + 1}
        arguments |= self._begin() | {n: self._padded(n, arguments) for n in self._rows if n in arguments}
        key = layout_key(source, arguments)
        if key not in layouts:
            layouts.clear()
            layouts[key] = PieceLayout(self.engine, memory, source, arguments)
        layout, (up, down) = layouts[key], self._moved[back]
        try:
            layout.write({n: arrays[n] for n in up})
            fields = layout.prepare(self._data(arguments), arguments)
        except OutOfMemory as error:
            raise EngineError(f"{error}; use shorter pieces of recordings (chunk=)") from None
        program.launch(memory, source.kernels[back], 1, fields, gathers=back)
        report = layout.report()
        arrays |= layout.rows([self.buffers[n] for n in down]) | report
        if back and arguments["first_step"] == 0:
            self._gathered(report["unfinite"])
        return self._status(report, arrays)

    def _status(self, report: Arrays, arrays: Arrays) -> int:
        """What `call` returns. `trouble` is the sample, step, state and neuron of a trial that diverged, or in the last
        place the room that a list needs."""
        needed, place = report["needed"].tolist(), report["trouble"][0]
        if any(needed):
            population = int(np.argmax(needed))
            arrays["trouble"] = np.array([0, 0, 0, needed[population]])
            return -1 - population
        if place == NOTHING:
            return 0
        plan = self.engine.plan
        sample, step, population, state, neuron = place_of(int(place), plan)
        arrays["trouble"] = np.array([0, sample * (plan.n_steps + 1) + step + 1, state, neuron])
        return 1 + population

    def _padded(self, name: str, arguments: Arrays) -> np.ndarray:
        """Rows that the host hands over, of a piece that has perhaps fewer."""
        value, axis = np.asarray(arguments[name]), self.buffers[name].axes.index(ROWS)
        missing = arguments[ROWS] - value.shape[axis]
        return np.pad(value, [(0, missing if k == axis else 0) for k in range(value.ndim)])

    def _data(self, arguments: Arrays) -> dict[str, int]:
        """The input spikes of a piece, and by channel those that it sends, on the device."""
        steps, channels = arguments["steps"], arguments["channels"]
        sent = steps >= arguments["first_step"]
        ends = np.array([0, np.count_nonzero(sent)])
        data = {n: arguments[n] for n in ("steps", "channels", "offsets")}
        data |= by_channel(steps[sent], channels[sent], ends, self.engine.plan.input.size)
        data = {b.name: np.ascontiguousarray(data[b.name], self.engine.kind(b)) for b in self._of_data}
        return {n: self._memory.value(f"piece {n}", a).address for n, a in data.items()}
