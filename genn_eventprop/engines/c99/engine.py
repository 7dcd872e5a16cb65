"""`c99`: the trial as plain scalar C, one sample after the other; spikes on the grid.

The simplest target of `program.trial`: no vectors, no threads, so several times slower than `native`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.c99 import Source, generate
from ...errors import ToolchainError
from ...plan import Plan
from ...program.outer import on_host
from ...toolchain import find_compiler
from ...toolchain.load import build
from ..contract.call import PYTHON, TrialCall, trial_function
from ..contract.engine import Availability, diverged
from ..contract.features import refuse
from ..contract.program_engine import Arrays, ProgramEngine


class C99Engine(ProgramEngine):
    """See the module. dtype: "float32" or "float64"."""

    name = "c99"
    records = True

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
        self._programs: dict[bool, tuple[Source, TrialCall, Any]] = {}
        self.source = generate(plan, dtype)
        self.trial = self.source.trial

    def _program(self, split: bool) -> tuple[Source, TrialCall, Any]:
        """Text of the whole trial, or of its two passes, and how its function is called; compiled when first used."""
        if split not in self._programs:
            source = generate(self.plan, self.dtype.name, True) if split else self.source
            call = TrialCall(source, self.dtype, lambda b, arguments: self.shape(b, arguments, False))
            self._programs[split] = source, call, trial_function(build(source.text, "c"))
        return self._programs[split]

    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        arrays = self._run(arguments | {"training": training}, False, {})
        return {b.name: arrays[b.name] for b in self.source.arrays if b.role in OUT}

    def execute_half(self, arguments: Arrays, saved: Arrays | None) -> tuple[Arrays, Arrays]:
        rooms = {k: v for k, v in (saved or {}).items() if k.endswith("_room")}
        arrays = self._run(arguments | {"training": saved is not None} | rooms, True, saved or {})
        read, rows = self._program(True)[0].arrays, self.rows()
        out = {b.name: arrays[b.name] for b in read if b.role in OUT or b.name in rows}
        return out, arrays | {f"p{i}_room": room for i, room in enumerate(self.room)}

    def _run(self, arguments: Arrays, split: bool, stored: Arrays) -> Arrays:
        """All arrays after a call; stored: those of the call before."""
        _, call, function = self._program(split)
        while True:
            arrays = call.arrays(arguments, stored)
            status = call(function, arrays, arguments, PYTHON)
            if status >= 0:
                break
            full = -1 - status
            self.room[full] = 1 << int(arrays["trouble"][3] - 1).bit_length()
            arguments |= {f"p{full}_room": self.room[full]}
        if status > 0:
            sample, step, state, neuron = (int(v) for v in arrays["trouble"])
            number, population = int(arguments["numbers"][sample]), self.plan.populations[status - 1]
            raise diverged(self.plan, population, number, step, state, neuron)
        return arrays


OUT = ("result", "gradient", "of spikes")
"""Roles of buffers that the host reads."""
