"""A compiled network of a native engine, its threads, and the spikes that they have recorded."""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import Source, host_source
from ...codegen.optimiser import update_source
from ...errors import EngineError, Stopped
from ...program.nodes import Buffer
from ...toolchain import build
from ..contract.call import PYTHON, TrialCall, trial_function

Arrays = Mapping[str, Any]
WHOLE, FORWARDS, BACKWARDS, SPIKES = 0, 1, 2, 3  # which part of a batch a call runs, as in batch.hpp
OVER = -1  # status of a batch that was stopped


class Program:
    """Threads are started by the first run, and again in a forked child, which inherits none.

    Args:
        source: of the network. dtype: of its numbers. count: of threads. populations: how many can record spikes.
    """

    def __init__(self, source: Source, dtype: np.dtype, count: int, populations: int) -> None:
        self.source, self.dtype, self.count, self.populations = source, dtype, count, populations
        self.call = TrialCall(source, dtype, Buffer.shape)
        self._handle: int | None = None
        self._pid, self._inside, self._stopping = 0, False, False
        self._updates: dict[str, ctypes.CDLL] = {}  # text of an optimiser -> its library
        self._update_memory: dict[str, UpdateMemory] = {}  # of parameters

    def run(self, arrays: Arrays, arguments: Arrays) -> int:
        """The status of `eventprop_run`.

        Raises:
            KeyboardInterrupt: Ctrl-C, heard within half a second; or what else a signal handler raises. Stopped: see
                `stop`.
        """
        handle = self.handle()
        if self._stopping:
            raise Stopped
        self._inside = True
        try:
            status = self.call(self.library.eventprop_run, arrays, arguments, handle)
        finally:
            self._inside = False
        if status == OVER:
            raise Stopped
        return status

    def stop(self, stopping: bool) -> None:
        """End the batch that runs, and all others until this is called with False."""
        self._stopping = stopping
        if stopping and self._inside:
            self.host.host_stop(self._handle)

    @cached_property
    def _libraries(self) -> tuple[ctypes.CDLL, ctypes.CDLL]:
        """Compiled side by side, on first use, so that unsuitable data is refused before that."""
        with ThreadPoolExecutor(1) as beside:
            host = beside.submit(build, host_source())
            return declare(build(self.source.text)), declare_host(host.result())

    @cached_property
    def library(self) -> ctypes.CDLL:
        """The network."""
        return self._libraries[0]

    @cached_property
    def host(self) -> ctypes.CDLL:
        """Threads and recorded spikes: one library for all networks."""
        return self._libraries[1]

    @property
    def running(self) -> bool:
        """Whether this process has started them."""
        return self._handle is not None and self._pid == os.getpid()

    def handle(self) -> int:
        """Handle of the C++ threads, which are started if they do not run."""
        self._stay_outside()
        if not self.running:
            library, handle = self.library, self.host.host_create(self.count, self.populations, PYTHON)
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
        place = np.empty(4, np.int64)
        self.library.eventprop_trouble(self.handle(), place.ctypes.data)
        return tuple(int(v) for v in place)

    def update(self, step: Any, parameters: Arrays, gradients: Arrays) -> None:
        """One step of an optimiser, whose text is compiled to C++, on all parameters."""
        if step.code not in self._updates:
            source = update_source(step.code, step.state_names, step.scalar_names, step.local_names, self.dtype.name)
            self._updates[step.code] = build(source)
        update, handle = self._updates[step.code].eventprop_update, ctypes.c_void_p(self.handle())
        parallel = ctypes.cast(self.host.host_parallel, ctypes.c_void_p)
        for item in step.parameters:
            states, bounds = [item.state[n] for n in step.state_names], (item.lower, item.upper)
            arrays = [parameters[item.name], gradients[item.name], *states]
            memory = self._update_memory.get(item.name)
            if memory is None or not memory.holds(arrays, bounds):
                memory = self._update_memory[item.name] = UpdateMemory(arrays, bounds)
            scalars = (ctypes.c_double * len(step.scalar_names))(*[item.scalars[n] for n in step.scalar_names])
            update(*memory.arguments, scalars, *(b is not None for b in bounds), parallel, handle)

    def _stay_outside(self) -> None:
        if self._inside:
            raise EngineError(
                "a signal handler used the engine in the middle of a batch; let it set a flag, or raise an exception"
            )

    def close(self) -> None:
        self._stay_outside()
        if self.running:
            self.host.host_destroy(self._handle)
        self._handle = None


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.eventprop_attach.argtypes = [c.c_void_p]
    library.eventprop_run = trial_function(library)  # type: ignore[attr-defined]
    library.eventprop_trouble.argtypes = [c.c_void_p, c.c_void_p]
    library.eventprop_trouble.restype = None
    return library


def declare_host(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.host_create.restype = c.c_void_p
    library.host_create.argtypes = [c.c_int, c.c_int, c.c_void_p]
    library.host_stop.argtypes = [c.c_void_p]
    library.host_stop.restype = None
    library.host_destroy.argtypes = [c.c_void_p]
    library.host_destroy.restype = None
    library.host_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64]
    library.host_recorded.restype = c.c_int64
    library.host_copy_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64, c.c_void_p, c.c_void_p]
    library.host_copy_recorded.restype = None
    return library


class UpdateMemory:
    """Where the step of an optimiser finds a parameter: addresses, strides, rows and columns.

    Args:
        arrays: the parameter, its gradient, states of the optimiser. bounds: lower and upper, a number or an array.
    """

    def __init__(self, arrays: list[np.ndarray], bounds: tuple[Any, Any]) -> None:
        self._arrays, self._bounds, x = arrays, bounds, arrays[0]
        full = (np.broadcast_to(np.asarray(b, x.dtype), x.shape) for b in bounds if b is not None)
        self._passed = [*arrays, *map(np.ascontiguousarray, full)]
        strides = [a.strides[0] // a.itemsize if a.ndim == 2 else a.size for a in self._passed]
        rows, columns = x.shape if x.ndim == 2 else (1, x.size)
        self.arguments = (
            (ctypes.c_void_p * len(strides))(*[a.ctypes.data for a in self._passed]),
            (ctypes.c_int64 * len(strides))(*strides), ctypes.c_int64(rows), ctypes.c_int64(columns),
        )  # fmt: skip

    def holds(self, arrays: list[np.ndarray], bounds: tuple[Any, Any]) -> bool:
        """Whether these are the arrays and bounds; an array of bounds may have been written to since."""
        same = all(map(operator.is_, (*arrays, *bounds), (*self._arrays, *self._bounds)))
        return same and not any(map(np.ndim, bounds))
