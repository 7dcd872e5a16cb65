"""Optimiser steps on the device: weights, gradients and moments do not leave it.

Parameters of neurons are stepped on the host, where the numbers that follow from them, such as propagators, are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...codegen.cuda.update import THREADS, update_text
from ...optimisers import Optimiser, ParameterStep
from ..contract.device_arrays import DeviceArrays, DeviceLocation
from .device import Device, DeviceMemory
from .memory import Memory


def location(memory: DeviceMemory, shape: tuple[int, ...], dtype: np.dtype) -> DeviceLocation:
    """Of an array at the beginning of a piece of memory."""
    beside = lambda array: memory.beside(array, shape, dtype)  # noqa: E731
    return DeviceLocation(lambda: memory.read(shape, dtype), memory.write, beside, memory.take, memory.give)


class DeviceOptimiser:
    """One optimiser on one device; another text needs another of these.

    Args:
        places: weight -> (memory of its values, memory of its gradient). shapes: of the weights.
    """

    def __init__(
        self, optimiser: Optimiser, device: Device, memory: Memory,
        places: Mapping[str, tuple[DeviceMemory, DeviceMemory]], shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype,
    ) -> None:  # fmt: skip
        self._key, self._memory = _key(optimiser), memory
        self._module = device.compile(update_text(optimiser, dtype.name))
        self._places, self._shapes, self._dtype = places, shapes, dtype
        self._sizes = {weight: math.prod(shape) for weight, shape in shapes.items()}
        self._states, self._scalars = optimiser.full_state_names(), optimiser.full_scalar_names()
        self._moments: dict[str, DeviceArrays] = {}
        self._structs: dict[str, tuple[object, np.ndarray, np.ndarray]] = {}

    def runs(self, optimiser: Optimiser) -> bool:
        """Whether it has this text."""
        return self._key == _key(optimiser)

    def take(self, optimiser: Optimiser) -> None:
        """Move the optimiser's state to the device, unless it is there."""
        for weight, shape in self._shapes.items():
            moments: object = optimiser.state[weight]
            if moments is self._moments.get(weight):
                continue
            state = DeviceArrays({k: np.asarray(v, self._dtype) for k, v in optimiser.state[weight].items()})
            state.move_to({k: location(self._state(weight, k), shape, self._dtype) for k in state})
            self._moments[weight] = optimiser.state[weight] = state  # type: ignore[assignment]

    def leave(self) -> None:
        """Moments to the host."""
        for state in self._moments.values():
            state.to_host()

    def squares(self, optimiser: Optimiser, gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`Optimiser.square` of all gradients; `gradients`: those that are on the host."""
        for weight in self._shapes:
            self._launch("squares", ParameterStep(weight, {}, {}, *optimiser.bounds_of(weight)), 1, 8 * THREADS)
        on_device = {w: float(self._squares(w).read((1,), np.dtype(np.float64))[0]) for w in self._shapes}
        return on_device | {name: optimiser.square(name, g) for name, g in gradients.items()}

    def step(self, optimiser: Optimiser, parameters: DeviceArrays, gradients: DeviceArrays) -> None:
        """One step; what the host has written counts."""
        host_names = [n for n in optimiser.state if n not in self._shapes]
        gradients.push()
        host_gradients = {n: gradients[n] for n in host_names}
        squares = None if optimiser.clip_norm is None else self.squares(optimiser, host_gradients)
        record = optimiser.next_step(squares=squares)
        on_host = tuple(item for item in record.parameters if item.name not in self._shapes)
        replace(record, parameters=on_host).apply(parameters, gradients)
        for arrays in (parameters, *self._moments.values()):
            arrays.push()
        for item in record.parameters:
            if item.name in self._shapes:
                self._launch("update", item, -(-self._sizes[item.name] // THREADS), 0)
        for arrays in (parameters, *self._moments.values()):
            arrays.pull()

    def _launch(self, kernel: str, item: ParameterStep, blocks: int, shared: int) -> None:
        """With the `Update` of codegen/cuda/update.py."""
        struct, scalars = self._struct(item)
        scalars[:] = [item.scalars.get(n, 0.0) for n in self._scalars]
        self._module.launch(kernel, blocks, THREADS, shared, struct)

    def _struct(self, item: ParameterStep) -> tuple[np.ndarray, np.ndarray]:
        """The struct of a weight, and the part of it that changes from step to step."""
        weight, bounds = item.name, (item.lower, item.upper)
        single = [bound is None or np.ndim(bound) == 0 for bound in bounds]
        constant = all(single)  # arrays may change in place
        if constant and weight in self._structs and self._structs[weight][0] == bounds:
            return self._structs[weight][1:]
        places, numbers = [m.address for m in self._places[weight]], list[float]()
        for side, bound, one, open_end in zip(("lower", "upper"), bounds, single, (-np.inf, np.inf)):
            numbers.append(float(open_end if bound is None else bound) if one else open_end)
            places.append(0 if one else self._bound(weight, side, bound).address)
        places += [self._squares(weight).address, *(self._state(weight, k).address for k in self._states)]
        struct = np.array([*places, *(0 for _ in (*numbers, *self._scalars)), self._sizes[weight]], np.uint64)
        floats = struct[len(places) : -1].view(np.float64)
        floats[: len(numbers)] = numbers
        if constant:
            self._structs[weight] = bounds, struct, floats[len(numbers) :]
        return struct, floats[len(numbers) :]

    def _state(self, weight: str, name: str) -> DeviceMemory:
        return self._memory.fixed(f"{name} of {weight}", self._sizes[weight] * self._dtype.itemsize)

    def _squares(self, weight: str) -> DeviceMemory:
        return self._memory.fixed(f"squares of {weight}", 8)

    def _bound(self, weight: str, side: str, bound: np.ndarray) -> DeviceMemory:
        whole = np.ascontiguousarray(np.broadcast_to(bound, self._shapes[weight]), self._dtype)
        return self._memory.value(f"{side} of {weight}", whole)


def _key(optimiser: Optimiser) -> tuple[object, ...]:
    """What the compiled text and the struct of its kernels follow from."""
    return optimiser.full_code(), optimiser.full_state_names(), optimiser.full_scalar_names()
