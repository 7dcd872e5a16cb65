"""A compiled network of a native engine, its threads, and the spikes that they have recorded."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import Source, host_source
from ...codegen.optimiser import update_source
from ...errors import EngineError
from ...toolchain import build
from ..contract.program_engine import KINDS

Arrays = Mapping[str, Any]
WHOLE, FORWARDS, BACKWARDS, SPIKES = 0, 1, 2, 3  # which part of a batch a call runs, as in batch.hpp


class Program:
    """Threads are started by the first run, and again in a forked child, which inherits none.

    Args:
        source: of the network. dtype: of its numbers. count: of threads. populations: how many can record spikes.
    """

    def __init__(self, source: Source, dtype: np.dtype, count: int, populations: int) -> None:
        self.source, self.count, self.populations = source, count, populations
        self._kinds = [(b, np.dtype(KINDS.get(b.kind, dtype.name))) for b in source.arrays]
        self._handle: int | None = None
        self._pid = 0
        self._passed: list[np.ndarray | None] = [None] * len(source.arrays)
        self._pointers = (ctypes.c_void_p * len(source.arrays))()
        self._updates: dict[str, ctypes.CDLL] = {}  # text of an optimiser -> its library

    def arrays(self, given: Arrays, kept: Arrays) -> dict[str, np.ndarray]:
        """What a call reads and writes, by name: what is given, else what an earlier call has kept, else new memory."""
        arrays: dict[str, np.ndarray] = {}
        for (b, kind), last in zip(self._kinds, self._passed):
            array: np.ndarray | None = given.get(b.name)
            if array is None:
                array = kept.get(b.name)
            if array is None:
                shape = (1,) if b.role == "host" else tuple(a if isinstance(a, int) else given[a] for a in b.axes)
                array = np.zeros(shape, kind)  # a call does without what is not given
            elif array is not last:  # few are other arrays than in the last call
                array = np.ascontiguousarray(array, kind)
            arrays[b.name] = array
        return arrays

    def run(self, arrays: Arrays, given: Arrays) -> int:
        """The status of `eventprop_run`; given: numbers."""
        source = self.source
        for i, b in enumerate(source.arrays):
            if self._passed[i] is not arrays[b.name]:
                self._passed[i], self._pointers[i] = arrays[b.name], arrays[b.name].ctypes.data
        numbers = (ctypes.c_double * len(source.doubles))(*[given.get(b.name, 0.0) for b in source.doubles])
        integers = (ctypes.c_int64 * len(source.integers))(*[int(given.get(n, 0)) for n in source.integers])
        return int(self.library.eventprop_run(self.handle(), self._pointers, numbers, integers))

    @cached_property
    def library(self) -> ctypes.CDLL:
        """Compiled on first use, so that unsuitable data is refused before that."""
        return declare(build(self.source.text))

    @cached_property
    def host(self) -> ctypes.CDLL:
        """Threads and recorded spikes: one library for all networks."""
        return declare_host(build(host_source()))

    @property
    def running(self) -> bool:
        """Whether this process has started them."""
        return self._handle is not None and self._pid == os.getpid()

    def handle(self) -> int:
        """Handle of the C++ threads, which are started if they do not run."""
        if not self.running:
            library, handle = self.library, self.host.host_create(self.count, self.populations)
            if not handle:
                raise EngineError(f"could not start {self.count} threads; ask for fewer with threads=")
            if library.eventprop_attach(handle):
                self.host.host_destroy(handle)
                raise EngineError(f"out of memory while preparing {self.count} threads; use fewer threads")
            self._handle, self._pid = handle, os.getpid()
        assert self._handle is not None
        return self._handle

    def copied(self, population: int, B: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample, time (ms) and neuron of the recorded spikes of a population in B samples."""
        host, engine = self.host, self.handle()
        counts = np.array([host.host_recorded(engine, population, b) for b in range(B)])
        neuron, time = np.empty(counts.sum(), np.int32), np.empty(counts.sum())
        for b, start in enumerate(np.cumsum(counts) - counts):
            place = neuron.ctypes.data + 4 * int(start), time.ctypes.data + 8 * int(start)
            host.host_copy_recorded(engine, population, b, *place)
        return np.repeat(np.arange(B), counts), time, neuron.astype(np.int64)

    def trouble(self) -> tuple[int, ...]:
        """Sample, step, state and neuron of the trial that diverged."""
        found = np.empty(4, np.int64)
        self.library.eventprop_trouble(self.handle(), found.ctypes.data)
        return tuple(int(v) for v in found)

    def update(self, step: Any, dtype: str, parameters: Arrays, gradients: Arrays) -> None:
        """One step of an optimiser, whose text is compiled to C++, on all parameters."""
        if step.code not in self._updates:
            source = update_source(step.code, step.state_names, step.scalar_names, step.local_names, dtype)
            self._updates[step.code] = build(source)
        for item in step.parameters:
            x, g = parameters[item.name], gradients[item.name]
            run_update(self._updates[step.code], self.host, self.handle(), item, step, x, g)

    def close(self) -> None:
        if self.running:
            self.host.host_destroy(self._handle)
        self._handle = None


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.eventprop_attach.argtypes = [c.c_void_p]
    library.eventprop_run.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]
    library.eventprop_trouble.argtypes = [c.c_void_p, c.c_void_p]
    library.eventprop_trouble.restype = None
    return library


def declare_host(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.host_create.restype = c.c_void_p
    library.host_create.argtypes = [c.c_int, c.c_int]
    library.host_destroy.argtypes = [c.c_void_p]
    library.host_destroy.restype = None
    library.host_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64]
    library.host_recorded.restype = c.c_int64
    library.host_copy_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64, c.c_void_p, c.c_void_p]
    library.host_copy_recorded.restype = None
    return library


def run_update(
    library: ctypes.CDLL, host: ctypes.CDLL, engine: int, item: Any, step: Any, x: np.ndarray, g: np.ndarray
) -> None:
    """One step of an optimiser for one parameter x with gradient g, on the threads of an engine."""
    rows, columns = (x.shape[0], x.shape[1]) if x.ndim == 2 else (1, x.size)
    state = [item.state[n] for n in step.state_names]
    lower, upper = (_bound(b, x) for b in (item.lower, item.upper))
    stride = lambda a: a.strides[0] // a.itemsize if a.ndim == 2 else a.size  # noqa: E731
    pointers = [x, g, *state, *(b for b in (lower, upper) if b is not None)]
    strides = [stride(a) for a in pointers]
    library.eventprop_update(
        (ctypes.c_void_p * len(pointers))(*[a.ctypes.data for a in pointers]),
        (ctypes.c_int64 * len(strides))(*strides), ctypes.c_int64(rows), ctypes.c_int64(columns),
        (ctypes.c_double * len(step.scalar_names))(*[item.scalars[n] for n in step.scalar_names]),
        ctypes.c_int(lower is not None), ctypes.c_int(upper is not None),
        ctypes.cast(host.host_parallel, ctypes.c_void_p), ctypes.c_void_p(engine),
    )  # fmt: skip


def _bound(bound: Any, x: np.ndarray) -> np.ndarray | None:
    return None if bound is None else np.ascontiguousarray(np.broadcast_to(np.asarray(bound, x.dtype), x.shape))
