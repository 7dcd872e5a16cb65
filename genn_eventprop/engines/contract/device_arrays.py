"""Arrays on the device, copied to the host while they are needed there.

`engine.parameters` are live arrays: written in place, they count from the next run on. Copying all of them to and fro
for every batch would make that true, and slow. So an array comes to the host when it is asked for, goes back before
the next run if it was written, and stays current for as long as anybody refers to it or to a view of it. Whether it was
written is seen by comparing it with what came. Arrays to which nobody refers have no copy on the host.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np


def _no_other(array: Any) -> bool:
    return False


@dataclass(frozen=True)
class DeviceLocation:
    """Where an array is on the device. read: a fresh copy of it. write: put values there; None: read-only.

    beside: whether an array of another library is on the same device and of the same kind. take: copy such an array to
    this place; give: copy what is here into such an array; without the host, and done when they return.
    """

    read: Callable[[], np.ndarray]
    write: Callable[[np.ndarray], None] | None = None
    beside: Callable[[Any], bool] = _no_other
    take: Callable[[Any], object] = _no_other
    give: Callable[[Any], object] = _no_other


def _references(arrays: Mapping[str, np.ndarray], name: str) -> int:
    return sys.getrefcount(arrays[name])


_UNREFERENCED = _references({"": np.zeros(1)}, "")  # what Python counts for an array that only the dictionary holds


class DeviceArrays(MutableMapping[str, np.ndarray]):
    """Arrays by name; those with a location are copied to the host only while they are needed there.

    Assigning writes into the array that is there: the arrays themselves are never exchanged.

    Args:
        lock: locked while an array is copied to the host, as the device may be running for another thread.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], lock: Any = None) -> None:
        self._lock = nullcontext() if lock is None else lock
        self._host = dict(arrays)
        self._locations: dict[str, DeviceLocation] = {}
        self._device_values: dict[str, np.ndarray] = {}  # what the device has of the arrays that are on the host
        self._names = tuple(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._lock:
            if name not in self._host:
                self._host[name] = self._locations[name].read()
                self._device_values[name] = self._host[name].copy()
            return self._host[name]

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        with self._lock:
            if self[name] is not value:
                self[name][...] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name!r} cannot be removed from an engine")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def move_to(self, locations: Mapping[str, DeviceLocation], *, keep: bool = True) -> None:
        """Move arrays to new locations; with `keep` their values move along, without it the values there count."""
        self._locations.update(locations)
        self._device_values = {}
        if keep:
            self.push()
        else:
            self.pull()

    def push(self) -> None:
        """Send what the host may have written to the device."""
        self._push(self._locations)
        self._drop_unreferenced(self._locations)

    def _push(self, names: Collection[str]) -> None:
        for name in names:
            write = self._locations[name].write
            if name in self._host and write is not None and self._written(name):
                write(self._host[name])
                self._device_values[name] = self._host[name].copy()

    def pull(self) -> None:
        """Read what the device has changed into the arrays that somebody refers to."""
        self._pull(self._locations)

    def _pull(self, names: Collection[str]) -> None:
        self._drop_unreferenced(names)
        for name in names:
            if name in self._host:
                self._host[name][...] = self._locations[name].read()
                self._device_values[name] = self._host[name].copy()

    @contextmanager
    def unless_stopped(self) -> Iterator[None]:
        """Where `KeyboardInterrupt` leaves the block, the arrays are as they were before it."""
        before = {name: location.read() for name, location in self._locations.items()}
        try:
            yield
        except KeyboardInterrupt:
            for name, value in before.items():
                self._locations[name].write(value)  # type: ignore[misc]
            self.pull()
            raise

    def beside(self, name: str, array: Any) -> bool:
        """Whether an array of another library is on the device of the one with this name, and of the same kind."""
        location = self._locations.get(name)
        return location is not None and location.beside(array)

    def take(self, name: str, array: Any) -> None:
        """Copy such an array into the one with this name, on the device."""
        with self._lock:
            self._locations[name].take(array)
            self._pull([name])

    def give(self, name: str, array: Any) -> None:
        """Copy the array with this name, as it is with what the host has written, into such an array, on the device."""
        with self._lock:
            self._push([name])
            self._locations[name].give(array)

    def to_host(self) -> None:
        """Move all arrays to the host, which is then their only location."""
        for name in self._locations:
            self[name]
        self._locations, self._device_values = {}, {}

    def on_host(self, name: str) -> bool:
        """Whether an array is on the host."""
        return name in self._host

    def only_on_host(self) -> list[str]:
        """Names of the arrays that have no location."""
        return [name for name in self._names if name not in self._locations]

    def written(self) -> list[str]:
        """What the host has written since the device had it last."""
        with self._lock:
            mine = (n for n, location in self._locations.items() if location.write is not None)
            return [name for name in mine if name in self._host and self._written(name)]

    def _written(self, name: str) -> bool:
        """Whether the host's array has other bits than the device's; NaN equals itself."""
        # bits, not values: -0.0 and 0.0 differ, and an array with NaN is not written again and again
        device = self._device_values.get(name)
        return device is None or self._host[name].tobytes() != device.tobytes()

    def _drop_unreferenced(self, names: Collection[str]) -> None:
        for name in names:
            if name in self._host and _references(self._host, name) <= _UNREFERENCED:
                del self._host[name]
                self._device_values.pop(name, None)
