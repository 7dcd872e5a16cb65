"""`c99`: the trial as plain scalar C, one sample after the other; spikes on the grid.

The simplest target of `program.trial`: no vectors, no threads, so several times slower than `native`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..codegen.c99 import generate
from ..errors import ToolchainError
from ..plan import Plan
from ..program.nodes import Buffer
from ..toolchain import find_compiler
from ..toolchain.load import build
from .base import Availability, diverged
from .program_engine import Arrays, ProgramEngine


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

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, dtype: str = "float32"
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.source = generate(plan, dtype)
        self.trial = self.source.trial

    @cached_property
    def _library(self) -> ctypes.CDLL:
        library = build(self.source.text, "c")
        library.eventprop_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        return library

    def execute(self, given: Arrays, training: bool) -> Arrays:
        given = given | {"training": training}
        while True:
            arrays = {b.name: self._array(b, given) for b in self.source.arrays}
            status = self._call(arrays, given)
            if status >= 0:
                break
            full = -1 - status
            self.room[full] = 1 << int(arrays["trouble"][3] - 1).bit_length()
            given |= {f"p{full}_room": self.room[full]}
        if status > 0:
            sample, step, state, neuron = (int(v) for v in arrays["trouble"])
            number, population = int(given["numbers"][sample]), self.plan.populations[status - 1]
            raise diverged(self.plan, population, number, step, state, neuron)
        return {b.name: arrays[b.name] for b in self.source.arrays if b.role in ("result", "gradient")}

    def _array(self, buffer: Buffer, given: Arrays) -> np.ndarray:
        """The given array, or new memory."""
        kind = self.kind(buffer)
        if buffer.name in given:
            return np.ascontiguousarray(given[buffer.name], kind)
        needed = buffer.role != "given"  # this run does without what is not there
        return np.zeros(self.shape(buffer, given) if needed else 1, kind)

    def _call(self, arrays: Mapping[str, np.ndarray], given: Arrays) -> int:
        source = self.source
        pointers = (ctypes.c_void_p * len(source.arrays))(*[arrays[b.name].ctypes.data for b in source.arrays])
        numbers = (ctypes.c_double * len(source.doubles))(*[float(given.get(b.name, 0.0)) for b in source.doubles])
        integers = (ctypes.c_int64 * len(source.integers))(*[int(given[n]) for n in source.integers])
        return int(self._library.eventprop_run(pointers, numbers, integers))
