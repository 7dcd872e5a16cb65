"""The compiled library of a native engine, its threads, and the spikes that they have recorded."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import host_source
from ...codegen.optimiser import update_source
from ...errors import EngineError
from ...toolchain import build
from .library import declare, declare_host, run_update

Arrays = Mapping[str, np.ndarray]


class NativeThreads:
    """Started by the first run, and again in a forked child, which inherits no threads.

    Args:
        text: of the network's library. count: of threads. populations: how many can record spikes.
    """

    def __init__(self, text: str, count: int, populations: int) -> None:
        self.text, self.count, self.populations = text, count, populations
        self._handle: int | None = None
        self._pid = 0
        self._updates: dict[str, ctypes.CDLL] = {}  # text of an optimiser -> its library

    @cached_property
    def library(self) -> ctypes.CDLL:
        """Compiled on first use, so that unsuitable data is refused before that."""
        return declare(build(self.text))

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
