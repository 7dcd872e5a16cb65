"""`c99`: the trial as plain scalar C, one sample after the other; spikes on the grid.

The simplest target of `program.trial`: no vectors, no threads, so several times slower than `native`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from ...codegen.c99 import Source, generate, of_sample
from ...errors import ToolchainError
from ...plan import Plan
from ...program.nodes import Buffer
from ...program.outer import on_host
from ...toolchain import find_compiler
from ...toolchain.load import build
from ..contract.engine import Availability, diverged
from ..contract.features import refuse
from ..contract.program_engine import Arrays, ProgramEngine


class C99Engine(ProgramEngine):
    """See the module. dtype: "float32" or "float64"."""

    name = "c99"

    @classmethod
    def availability(cls) -> Availability:
        try:
            find_compiler()
        except ToolchainError as error:
            return Availability(cls.name, False, str(error))
        return Availability(cls.name, True, "plain C, one sample at a time; for checking")

    @classmethod
    def program(cls, plan: Plan, dtype: str = "float32") -> list[tuple[str, str]]:
        refuse(plan, cls.name, cls.features)
        return [("C99 of the trial", generate(plan, dtype, split=on_host(plan)).text)]

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, dtype: str = "float32"
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self._programs: dict[bool, tuple[Source, ctypes.CDLL]] = {}
        self.source = generate(plan, dtype)
        self.trial = self.source.trial

    def _program(self, split: bool) -> tuple[Source, ctypes.CDLL]:
        """Text and library of the whole trial, or of its two passes; compiled when first used."""
        if split not in self._programs:
            source = generate(self.plan, self.dtype.name, True) if split else self.source
            library = build(source.text, "c")
            library.eventprop_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
            self._programs[split] = source, library
        return self._programs[split]

    def execute(self, given: Arrays, training: bool) -> Arrays:
        arrays = self._run(given | {"training": training}, False, {})
        return {b.name: arrays[b.name] for b in self.source.arrays if b.role in OUT}

    def execute_half(self, given: Arrays, kept: Arrays | None) -> tuple[Arrays, Arrays]:
        given = given | {"training": kept is not None} | {k: v for k, v in (kept or {}).items() if k.endswith("_room")}
        arrays = self._run(given, True, {k: v for k, v in (kept or {}).items() if k not in given})
        read, rows = self._program(True)[0].arrays, self.rows()
        out = {b.name: arrays[b.name] for b in read if b.role in OUT or b.name in rows}
        return out, arrays | {f"p{i}_room": room for i, room in enumerate(self.room)}

    def _run(self, given: Arrays, split: bool, kept: Arrays) -> Arrays:
        """All arrays after a call; `kept` those of the call before."""
        source, library = self._program(split)
        while True:
            arrays = {b.name: kept[b.name] if b.name in kept else self._array(b, given, split) for b in source.arrays}
            status = self._call(library, source, arrays, given)
            if status >= 0:
                break
            full = -1 - status
            self.room[full] = 1 << int(arrays["trouble"][3] - 1).bit_length()
            given |= {f"p{full}_room": self.room[full]}
        if status > 0:
            sample, step, state, neuron = (int(v) for v in arrays["trouble"])
            number, population = int(given["numbers"][sample]), self.plan.populations[status - 1]
            raise diverged(self.plan, population, number, step, state, neuron)
        return arrays

    def _array(self, buffer: Buffer, given: Arrays, split: bool) -> np.ndarray:
        """The given array, or new memory."""
        kind = self.kind(buffer)
        if buffer.name in given:
            return np.ascontiguousarray(given[buffer.name], kind)
        if buffer.role == "host":  # this run does without what is not there
            return np.zeros(1, kind)
        return np.zeros(self.shape(buffer, given, of_sample(buffer, split)), kind)

    def _call(self, library: ctypes.CDLL, source: Source, arrays: Mapping[str, np.ndarray], given: Arrays) -> int:
        pointers = (ctypes.c_void_p * len(source.arrays))(*[arrays[b.name].ctypes.data for b in source.arrays])
        numbers = (ctypes.c_double * len(source.doubles))(*[float(given.get(b.name, 0.0)) for b in source.doubles])
        integers = (ctypes.c_int64 * len(source.integers))(*[int(given[n]) for n in source.integers])
        return int(library.eventprop_run(pointers, numbers, integers))


OUT = ("result", "gradient", "of spikes")
"""Roles of buffers that the host reads."""
