"""Where the engine's arrays are on the device: weights, gradients, an optimiser's moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...codegen.genn.gather import gradient_array
from ...plan import ConnectionRecord
from ..device_arrays import DeviceLocation

if TYPE_CHECKING:
    from .engine import GennEngine


def weight_locations(engine: GennEngine) -> dict[str, DeviceLocation]:
    return {c.weight: _weight(engine, c) for c in engine.plan.connections}


def _weight(engine: GennEngine, c: ConnectionRecord) -> DeviceLocation:
    network = engine.network

    def read() -> np.ndarray:
        return network.synapses(c.name, "weight", pull=True).reshape(c.pre, c.post).copy()

    def write(values: np.ndarray) -> None:
        network.synapses(c.name, "weight")[:] = values.ravel()
        network.push(c.name, "weight")

    return DeviceLocation(read, write)


def gradient_locations(engine: GennEngine) -> dict[str, DeviceLocation]:
    locations = {c.weight: _gradient(engine, c) for c in engine.plan.connections if c.trainable}
    for p in engine.plan.populations:
        locations |= {f"{p.name}.{n}": _rate(engine, p.name, n) for n in p.trainable}
    return locations


def _gradient(engine: GennEngine, c: ConnectionRecord) -> DeviceLocation:
    """Of a weight: the sum over the examples."""
    network, name = engine.network, gradient_array(c)

    def read() -> np.ndarray:
        return network.array(c.target, name, pull=True).reshape(c.pre, c.post).copy()

    def write(values: np.ndarray) -> None:
        network.array(c.target, name)[:] = values.ravel()
        network.push(c.target, name)

    return DeviceLocation(read, write)


def _rate(engine: GennEngine, population: str, parameter: str) -> DeviceLocation:
    """Of a neuron parameter: the sum over the examples, and over the neurons that share it, in float64."""
    network, variable = engine.network, f"G_{parameter}"
    shape = engine.parameters[f"{population}.{parameter}"].shape
    dtype = engine.dtype

    def read() -> np.ndarray:
        total = network.neurons(population, variable, pull=True).astype(np.float64).sum(axis=0)
        return (total if total.shape == shape else total.sum(keepdims=True)).astype(dtype)

    def write(values: np.ndarray) -> None:
        view = network.neurons(population, variable)
        view[:] = 0.0
        view[0, : values.size] = values
        network.push(population, variable)

    return DeviceLocation(read, write)


def moment_locations(engine: GennEngine, weight: str) -> dict[str, DeviceLocation]:
    """The optimiser's state of one weight."""
    c = next(c for c in engine.plan.connections if c.weight == weight)
    network, update = engine.network, f"update_{c.name}"

    def location(state: str) -> DeviceLocation:
        def read() -> np.ndarray:
            return network.update_variable(update, state, pull=True).reshape(c.pre, c.post).copy()

        def write(values: np.ndarray) -> None:
            network.update_variable(update, state)[:] = values.ravel()
            network.push_update(update, state)

        return DeviceLocation(read, write)

    return {n: location(n) for n, *_ in network.text.updates[update].vars if n not in ("lower", "upper")}
