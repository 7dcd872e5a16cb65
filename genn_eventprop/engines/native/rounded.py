"""Weights of a native engine as float16 rounds them, made again from the masters before every run."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import host_source, runs_in_halves
from ...plan import Plan
from ...toolchain import build
from ..contract.half_rows import check_largest
from .memory import NativeMemory, aligned
from .threads import declare_host


class RoundedWeights:
    """rows: connection -> what its generated code reads; values: parameters with weights that are rounded.

    Where rows are added one by one they are float16; a weight that is run otherwise, through a table, windows, delays
    of its own or with exact spike times, is the same number in float32.
    """

    def __init__(self, plan: Plan, memory: NativeMemory) -> None:
        self._memory, self.rows = memory, dict[str, np.ndarray]()
        self._halves, self._full = dict[str, np.ndarray](), dict[str, np.ndarray]()
        self.values = dict(memory.parameters)
        for c in plan.connections:
            master, shape = memory.padded[c.weight], memory.parameters[c.weight].shape
            if runs_in_halves(c, plan):
                self.rows[c.name] = self._halves.setdefault(c.weight, aligned(master.shape, np.dtype(np.uint16)))
                continue
            full = self.rows[c.name] = self._full.setdefault(c.weight, aligned(master.shape, master.dtype))
            self.values[c.weight] = full[:, : shape[1]] if len(shape) == 2 else full[: np.prod(shape)].reshape(shape)

    def refresh(self, host: int | None) -> None:
        """Round the masters; host: whose threads share the work, if some run.

        Raises:
            EngineError: a weight that float16 cannot hold.
        """
        place = lambda arrays, name: arrays[name].ctypes.data if name in arrays else None  # noqa: E731
        for name in {**self._halves, **self._full}:
            master = self._memory.padded[name]
            places = (master.ctypes.data, place(self._halves, name), place(self._full, name), master.size)
            check_largest(name, self._library.host_round(host, *places))

    @cached_property
    def _library(self) -> Any:
        library = declare_host(build(host_source()))
        library.host_round.restype = ctypes.c_uint32
        library.host_round.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_int64]
        return library
