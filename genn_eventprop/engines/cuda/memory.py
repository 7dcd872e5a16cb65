"""What is on the device: data sets that stay there, values that are copied when they have changed, work memory."""

from __future__ import annotations

import weakref

import numpy as np

from .device import Device, DeviceMemory


class Memory:
    """The memory of one engine, by name; it grows and is never shrunk before `close`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._values: dict[str, tuple[np.ndarray, DeviceMemory]] = {}
        self._work: dict[str, DeviceMemory] = {}
        self._sets: dict[int, tuple[weakref.ref, dict[str, DeviceMemory]]] = {}

    def value(self, name: str, value: np.ndarray) -> DeviceMemory:
        """A host array on the device; copied where it is not what it was."""
        seen = self._values.get(name)
        if seen is not None and seen[1].bytes >= value.nbytes:
            known, memory = seen
            if known.dtype == value.dtype and np.array_equal(known, value, equal_nan=value.dtype.kind == "f"):
                return memory
        else:
            memory = self._allocate(value.nbytes)
            if seen is not None:
                seen[1].free()
        memory.write(value)
        self._values[name] = value.copy(), memory
        return memory

    def work(self, name: str, count: int, *, zero: bool = False) -> DeviceMemory:
        """Memory of at least `count` bytes; zero: it is all 0 when it is new."""
        memory = self._work.get(name)
        if memory is None or memory.bytes < count:
            if memory is not None:
                memory.free()
            memory = self._work[name] = self._allocate(count)
            if zero:
                memory.clear(memory.bytes)
        return memory

    def data_set(self, key: np.ndarray, make: dict[str, np.ndarray]) -> dict[str, DeviceMemory]:
        """Arrays that stay as long as the host array `key` lives; copied when it is first seen."""
        for number, (ref, held) in list(self._sets.items()):
            if ref() is None:
                for memory in held.values():
                    memory.free()
                del self._sets[number]
        if id(key) not in self._sets:
            held = {}
            for name, value in make.items():
                held[name] = self._allocate(value.nbytes)
                held[name].write(value)
            self._sets[id(key)] = weakref.ref(key), held
        return self._sets[id(key)][1]

    def has_set(self, key: np.ndarray) -> bool:
        found = self._sets.get(id(key))
        return found is not None and found[0]() is key

    def _allocate(self, count: int) -> DeviceMemory:
        return self.device.allocate(max(count, 8))

    def close(self) -> None:
        """Give all of it back."""
        sets = [m for _, held in self._sets.values() for m in held.values()]
        for memory in (*sets, *self._work.values(), *(m for _, m in self._values.values())):
            memory.free()
        self._values, self._work, self._sets = {}, {}, {}
