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
from ...program.nodes import Buffer
from ...program.outer import on_host
from ...toolchain import find_compiler
from ...toolchain.load import build
from ..contract.call import PYTHON, TrialCall, trial_function
from ..contract.engine import Availability
from ..contract.features import refuse
from ..contract.program_engine import Arrays, LoopEngine


class C99Engine(LoopEngine):
    """See the module. dtype: "float32" or "float64"."""

    name = "c99"
    records = True
    observes = frozenset({"grid"})

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
        self._programs: dict[tuple[bool, Plan], tuple[Source, TrialCall, Any]] = {}
        self.source = generate(plan, dtype)
        self.trial = self.source.trial

    def _program(self, split: bool) -> tuple[Source, TrialCall, Any]:
        """Text of the whole trial, or of its two passes, and how its function is called; compiled when first used."""
        key = split, (plan := self._running_plan)
        if key not in self._programs:
            own = not split and plan is self.plan
            source = self.source if own else generate(plan, self.dtype.name, split)
            call = TrialCall(source, self.dtype, lambda b, arguments: self.shape(b, arguments, False))
            self._programs[key] = source, call, trial_function(build(source.text, "c"))
        return self._programs[key]

    def buffers(self, split: bool) -> tuple[Buffer, ...]:
        return self._program(split)[0].arrays

    def call(self, arguments: Arrays, split: bool, stored: Arrays) -> tuple[int, Arrays]:
        _, call, function = self._program(split)
        arrays = call.arrays(arguments, stored)
        return call(function, arrays, arguments, PYTHON), arrays
