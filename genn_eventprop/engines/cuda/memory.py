"""What is on the device: arrays that live there, data sets, values that are copied when they change, work memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .device import Device, DeviceMemory

Key = tuple[np.ndarray, ...]
SPARE = 10  # pieces of two data sets that are gone, kept for those that come


class Memory:
    """The memory of one engine, by name; work memory grows and is shrunk by `release` and `close` alone."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._fixed: dict[str, DeviceMemory] = {}
        self._values: dict[str, tuple[np.ndarray, DeviceMemory]] = {}
        self._constants: dict[str, np.ndarray] = {}
        self.generation = 0  # of addresses: another one may mean other places
        self._work: dict[str, DeviceMemory] = {}
        self._sets: dict[tuple[int, ...], tuple[list[weakref.ref[Any]], dict[str, DeviceMemory]]] = {}
        self._spare: list[DeviceMemory] = []
        self._lock = threading.Lock()  # of data sets, which another thread may bring

    def fixed(self, name: str, count: int) -> DeviceMemory:
        """Memory that stays what and where it is."""
        if name not in self._fixed:
            self._fixed[name] = self._allocate(count)
        return self._fixed[name]

    def value(self, name: str, value: np.ndarray, *, constant: bool = False) -> DeviceMemory:
        """A host array on the device; copied where it is not what it was. constant: nobody changes this array in place,
        so that the same one is not compared."""
        seen = self._values.get(name)
        if constant and seen is not None and self._constants.get(name) is value:
            return seen[1]
        if constant:
            self._constants[name] = value
        if seen is not None and seen[1].bytes >= value.nbytes:
            known, memory = seen
            if known.dtype == value.dtype and known.shape == value.shape and known.tobytes() == value.tobytes():
                return memory  # the same bits
        else:
            memory = self._allocate(value.nbytes)
            if seen is not None:
                seen[1].free()
        self._values[name] = value.copy(), memory
        memory.write(self._values[name][0])
        return memory

    def work(self, name: str, count: int, *, zero: bool = False) -> DeviceMemory:
        """Memory of at least `count` bytes; zero: it is all 0 when it is new."""
        memory = self._work.get(name)
        if memory is None or memory.bytes < count:
            if memory is not None:
                self._work.pop(name).free()
            memory = self._work[name] = self._allocate(count)
            if zero:
                memory.clear(memory.bytes)
        return memory

    @property
    def free_for_work(self) -> int:
        """Bytes that work memory may have in all."""
        return self.device.available + sum(m.bytes for m in self._work.values())

    def release(self) -> None:
        """Give work memory back."""
        with self._lock:  # a thread that brings a data set may be about to take a spare piece
            self._release()

    def _release(self) -> None:
        self.generation += 1
        for memory in (*self._work.values(), *self._spare):
            memory.free()
        self._work, self._spare = {}, []

    # data sets

    def data_set(self, key: Key, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, DeviceMemory]:
        """Arrays that stay as long as all of the host arrays `key` live; copied when these are first seen, beside what
        the device runs."""
        with self._lock:
            self._forget()
            number = tuple(map(id, key))
            if number not in self._sets:
                arrays = dict[str, DeviceMemory]()
                try:
                    for name, value in make().items():
                        arrays[name] = self._piece(value.nbytes)
                        arrays[name].write(value, ahead=True)
                except BaseException:  # not all of it fits
                    self._spare += arrays.values()
                    raise
                self._sets[number] = [weakref.ref(a) for a in key], arrays
            return self._sets[number][1]

    def has_set(self, key: Key) -> bool:
        """Whether a data set is there; what stands at an address now may be another array than before."""
        entry = self._sets.get(tuple(map(id, key)))
        return entry is not None and all(ref() is a for ref, a in zip(entry[0], key))

    def _forget(self) -> None:
        """Keep some memory of data sets that are gone."""
        for number, (refs, arrays) in list(self._sets.items()):
            if any(ref() is None for ref in refs):
                self._spare += arrays.values()
                del self._sets[number]
        self._spare.sort(key=lambda m: m.bytes)
        while len(self._spare) > SPARE:
            self._spare.pop(0).free()

    def _piece(self, count: int) -> DeviceMemory:
        """Memory for a data set, which batch by batch may be a new one of about the same size."""
        for i, memory in enumerate(self._spare):
            if count <= memory.bytes <= 2 * count:
                return self._spare.pop(i)
        return self._allocate(count + count // 4)

    def _allocate(self, count: int) -> DeviceMemory:
        """At least 8 bytes: an empty array has an address, too. Addresses that a layout has may now be out of date."""
        self.generation += 1
        return self.device.allocate(max(count, 8))

    def close(self) -> None:
        """Give all of it back."""
        with self._lock:
            self._release()
            sets = [m for _, arrays in self._sets.values() for m in arrays.values()]
            for memory in (*sets, *self._fixed.values(), *(m for _, m in self._values.values())):
                memory.free()
            self._fixed, self._values, self._constants, self._sets = {}, {}, {}, {}
