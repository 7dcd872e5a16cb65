"""Calls of the compiled library of a native engine: arguments, errors, and the spikes that a call recorded."""

from __future__ import annotations

import ctypes
import threading
import weakref

import numpy as np

from ...errors import EngineError
from ..contract.engine import diverged
from ..contract.result import SpikeRecords
from ..contract.slices import BatchShard
from .batches import NativeBatches
from .threads import NativeThreads

WHOLE, FORWARDS, BACKWARDS, SPIKES = 0, 1, 2, 3  # which part of a batch a call runs, as in batch.hpp


class NativeCalls(NativeBatches):
    """The part of `NativeEngine` that calls the library; its attributes are set there."""

    threads: int
    segment: int
    _threads: NativeThreads
    _passed: list[np.ndarray | None]
    _pointers: ctypes.Array[ctypes.c_void_p]
    _kept_arrays: dict[str, np.ndarray]
    _wants_inputs: bool
    _records: int
    _recorder: int
    _last_recorded: weakref.ref[SpikeRecords] | None = None
    _stochastic: bool
    _numbers: np.ndarray

    def _call(
        self, arrays: dict[str, np.ndarray], part: BatchShard, training: bool, record: bool, half: int = WHOLE
    ) -> None:
        if half == FORWARDS or (record and half != SPIKES):
            self._fetch_for_others()
            self._records += 1
        for i, (_, n) in enumerate(self.source.arrays):  # few are other arrays than in the last call
            if self._passed[i] is not arrays[n]:
                self._passed[i], self._pointers[i] = arrays[n], arrays[n].ctypes.data
        numbers = self._values.numbers(self.slope_floor, self._stochastic)
        integers = {"batch": len(part), "training": training, "record": record, "half": half, "segment": self.segment}
        integers |= self._integers(arrays, part)
        numbers["target_dt"] = self.plan.duration / (integers["target_rows"] - 1)
        status = self._threads.library.eventprop_run(
            self._threads.handle(), self._pointers,
            (ctypes.c_double * len(self.source.numbers))(*[numbers[n] for n in self.source.numbers]),
            (ctypes.c_int64 * len(self.source.integers))(*[int(integers[n]) for n in self.source.integers]),
        )  # fmt: skip
        if status > 1:
            self._raise_trouble(status - 2)
        if status != 0:
            trials = f"{len(part)} trials of {self.plan.n_steps} steps on {self.threads} threads"
            raise EngineError(f"out of memory while running {trials}; use fewer threads or a smaller network")

    def _integers(self, arrays: dict[str, np.ndarray], part: BatchShard) -> dict[str, int]:
        """Of a part of a batch, whatever is run of it."""
        loss = self.plan.loss
        found = {"n_slices": part.last - part.first, "first_slice": part.first}
        found |= {"whole_batch": part.batch, "whole_slices": part.slices, "input_gradients": self._wants_inputs}
        found |= {} if self._carry is None else self._carry.integers
        found["n_targets"] = arrays["targets"].shape[2] if loss.readout == "spike_times" else 0
        of_targets = "targets" in arrays and loss.readout == "voltage"
        found["target_rows"] = arrays["targets"].shape[1] if of_targets else self.plan.n_steps + 1
        return found | self._values.integers(self._stochastic) | self._connections.integers

    def _raise_trouble(self, population: int) -> None:
        """Raise the error of a trial that diverged."""
        sample, step, state, neuron = self._threads.trouble()
        if self.plan.spike_times == "grid":
            raise diverged(
                self.plan, self.plan.populations[population], int(self._numbers[sample]), step, state, neuron
            )
        raise EngineError(
            f"population {self._spiking[population]!r} diverged in sample {self._numbers[sample]}: more than 200 "
            f"spikes per neuron in {self.plan.duration / max(self._values.exact_steps, 1):g} ms; use smaller weights "
            "or an engine on the grid"
        )

    def _recorded(self, B: int, kept: BatchShard | None = None) -> SpikeRecords:
        """SpikeRecords spikes, copied from the C++ side on first access, which must come before the next run.

        kept: the part of the batch whose trials are kept.
        """
        number, arrays = self._records, self._kept_arrays

        def read(population: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            if number != self._records or not self._threads.running:
                raise EngineError("the spikes of an earlier run are gone; read them before the engine runs again")
            if kept is not None:
                self._call(arrays, kept, False, True, SPIKES)
            return self._threads.copied(population, B)

        recorded = SpikeRecords(self._spiking, read, self.lock)
        self._last_recorded, self._recorder = weakref.ref(recorded), threading.get_ident()
        return recorded

    def _fetch_for_others(self) -> None:
        """Read the spikes of the last run if another thread may still look at them: it cannot know of this run."""
        recorded = None if self._last_recorded is None else self._last_recorded()
        if recorded is not None and self._recorder != threading.get_ident() and self._threads.running:
            recorded.fetch()
        self._last_recorded = None
