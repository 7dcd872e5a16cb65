"""Where the engine's arrays are on the device: weights, gradients, an optimiser's moments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...codegen.genn.gather import delay_array, gradient_array
from ...codegen.genn.learning import on_device
from ...plan import ConnectionRecord
from ...plan.synapse_tables import delay_numbers
from ..contract.device_arrays import DeviceLocation
from .transfer import places, spread

if TYPE_CHECKING:
    from .engine import GennEngine


def weight_locations(engine: GennEngine) -> dict[str, DeviceLocation]:
    """Of dense connections; what tables and delays have is sent as it changes, see `transfer.py`."""
    return {c.weight: _weight(engine, c) for c in engine.plan.connections if c.form == "dense"}


def _weight(engine: GennEngine, c: ConnectionRecord) -> DeviceLocation:
    network = engine.network

    def read() -> np.ndarray:
        return network.synapses(c.name, "weight", pull=True).reshape(c.pre, c.post).copy()

    def write(values: np.ndarray) -> None:
        network.synapses(c.name, "weight")[:] = values.ravel()
        network.push(c.name, "weight")

    return DeviceLocation(read, write)


def gradient_locations(engine: GennEngine) -> dict[str, DeviceLocation]:
    locations = {c.weight: _gradient(engine, c) for c in engine.plan.connections if on_device(c)}
    for c in engine.plan.connections:
        table = engine._built.get(c.name)
        if c.trainable and table is not None:
            locations[c.weight] = _summed(engine, c, gradient_array(c), table.weights, c.weight_shape)
        if c.delays is not None and c.delays.trainable:
            numbers = delay_numbers(c, table)
            locations[c.delays_name] = _summed(engine, c, delay_array(c), numbers, c.delays.shape)
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


def _summed(
    engine: GennEngine, c: ConnectionRecord, name: str, numbers: np.ndarray, shape: tuple[int, ...]
) -> DeviceLocation:
    """The sum over the synapses that share a weight or a delay; numbers: which, of every synapse."""
    table = engine._built.get(c.name)

    def read() -> np.ndarray:
        values = engine.network.array(c.target, name, pull=True)
        if table is not None:
            at = places(table).ravel()
            values = values[: at.size][at >= 0]
        total = np.bincount(numbers, values.astype(np.float64), math.prod(shape))
        return total.reshape(shape).astype(engine.dtype)

    def write(values: np.ndarray) -> None:
        which, first = np.unique(numbers, return_index=True)
        each = np.zeros(len(numbers))
        each[first] = values.ravel()[which]  # the first of the synapses has it all
        array = engine.network.array(c.target, name)
        array[:] = each if table is None else spread(table, each)
        engine.network.push(c.target, name)

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
