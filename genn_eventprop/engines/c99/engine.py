"""`c99`: the trial as plain scalar C, one sample after the other; spikes on the grid.

The simplest target of `program.trial`: no vectors, no threads, so several times slower than `native`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from ...codegen.c99 import Source, generate, generate_pieces
from ...errors import ToolchainError
from ...plan import Plan
from ...program.nodes import Buffer
from ...toolchain import find_compiler
from ...toolchain.load import build
from ..contract.call import PYTHON, TrialCall, trial_function
from ..contract.engine import Availability
from ..contract.program_engine import Arrays, LoopEngine
from ..contract.recordings import InPieces, piece_shape


class C99Engine(InPieces, LoopEngine):
    """See the module. dtype: "float32" or "float64"."""

    name, language, generate = "c99", "C99", staticmethod(generate)
    records = True
    observes = frozenset({"grid"})

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
        self._programs: dict[tuple[bool, Plan], tuple[Source, TrialCall, Any]] = {}
        self.source = generate(plan, dtype)
        self.trial = self.source.trial

    def _program(self, split: bool) -> tuple[Source, TrialCall, Any]:
        """Text of the whole trial, or of its two passes, and how its function is called; compiled when first used."""
        key = split, (plan := self._running_plan)
        if key not in self._programs:
            whole = not split and plan is self.plan
            source = self.source if whole else generate(plan, self.dtype.name, split)
            call = TrialCall(source, self.dtype, lambda b, arguments: self.shape(b, arguments, False))
            self._programs[key] = source, call, trial_function(build(source.text, "c"))
        return self._programs[key]

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self)

    def buffers(self, split: bool) -> tuple[Buffer, ...]:
        return self._program(split)[0].arrays

    def call(self, arguments: Arrays, split: bool, stored: Arrays) -> tuple[int, Arrays]:
        _, call, function = self._program(split)
        arrays = call.arrays(arguments, stored)
        return call(function, arrays, arguments, PYTHON), arrays


class Pieces:
    """A piece of a recording, compiled when it is first asked for; see `contract.recordings.PieceProgram`."""

    def __init__(self, engine: C99Engine) -> None:
        source, self.crossing = generate_pieces(engine.plan, engine.dtype.name)
        self.buffers = {b.name: b for b in source.arrays}
        self.shape = partial(piece_shape, engine)
        self._call = TrialCall(source, engine.dtype, self.shape)
        self._function = trial_function(build(source.text, "c"))

    def arrays(self, arguments: Arrays, stored: Arrays) -> Arrays:
        return self._call.arrays(arguments, stored)

    def call(self, arrays: Arrays, arguments: Arrays) -> int:
        return self._call(self._function, arrays, arguments, PYTHON)
