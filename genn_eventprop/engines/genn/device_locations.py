"""Where parameters, gradients and an optimiser's moments are in a GeNN network, as locations for `DeviceArrays`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.genn.gather import delay_array, gradient_array
from ...codegen.genn.learning import on_device
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.synapse_tables import delay_numbers
from ..contract.device_arrays import DeviceLocation
from .transfer import pad_rows, synapse_places


def weight_locations(network: Any, plan: Plan) -> dict[str, DeviceLocation]:
    """Weights of dense connections; those of tables are sent as they change, see `HostTransfer.synapses`."""
    return {c.weight: _weight(network, c) for c in plan.connections if c.form == "dense"}


def _weight(network: Any, c: ConnectionRecord) -> DeviceLocation:
    def read() -> np.ndarray:
        return network.synapses(c.name, "weight", pull=True).reshape(c.pre, c.post).copy()

    def write(values: np.ndarray) -> None:
        network.synapses(c.name, "weight")[:] = values.ravel()
        network.push(c.name, "weight")

    return DeviceLocation(read, write)


def gradient_locations(
    network: Any, plan: Plan, tables: Mapping[str, Synapses], dtype: np.dtype
) -> dict[str, DeviceLocation]:
    """Gradients of everything that is trainable.

    Args:
        tables: synapses of the sparse connections, as the network was built.
    """
    # a dense connection with one delay needs no sum here: it has an array in the shape of its weights
    locations = {c.weight: _dense_gradient(network, c) for c in plan.connections if on_device(c)}
    for c in plan.connections:
        table = tables.get(c.name)
        if c.trainable and table is not None:
            synapses = SynapseGradient(network, c, table, gradient_array(c), table.weights, dtype)
            locations[c.weight] = synapses.location(c.weight_shape)
        if c.delays is not None and c.delays.trainable:
            synapses = SynapseGradient(network, c, table, delay_array(c), delay_numbers(c, table), dtype)
            locations[c.delays_name] = synapses.location(c.delays.shape)
    for p in plan.populations:
        locations |= {f"{p.name}.{n}": _neuron_gradient(network, p, n, dtype) for n in p.trainable}
    return locations


def _dense_gradient(network: Any, c: ConnectionRecord) -> DeviceLocation:
    """The gradient of dense weights, summed over the examples on the device."""
    name = gradient_array(c)

    def read() -> np.ndarray:
        return network.array(c.target, name, pull=True).reshape(c.pre, c.post).copy()

    def write(values: np.ndarray) -> None:
        network.array(c.target, name)[:] = values.ravel()
        network.push(c.target, name)

    return DeviceLocation(read, write)


class SynapseGradient:
    """The gradient of weights or delays that synapses share: one number a synapse on the device, summed here.

    Args:
        table: synapses of the connection, None if it is dense. array: where the numbers are. index: of every synapse,
            the weight or delay that it has.
    """

    def __init__(
        self, network: Any, c: ConnectionRecord, table: Synapses | None, array: str, index: np.ndarray, dtype: np.dtype
    ) -> None:
        self.network, self.population, self.array = network, c.target, array
        self.table, self.index, self.dtype = table, index, dtype

    def location(self, shape: tuple[int, ...]) -> DeviceLocation:
        """shape: of the parameter."""
        return DeviceLocation(lambda: self._read(shape), self._write)

    def _read(self, shape: tuple[int, ...]) -> np.ndarray:
        # in float64: many synapses may share a weight
        values = self.network.array(self.population, self.array, pull=True)
        if self.table is not None:
            at = synapse_places(self.table).ravel()
            values = values[: at.size][at >= 0]
        total = np.bincount(self.index, values.astype(np.float64), math.prod(shape))
        return total.reshape(shape).astype(self.dtype)

    def _write(self, values: np.ndarray) -> None:
        which, first = np.unique(self.index, return_index=True)
        each = np.zeros(len(self.index))
        each[first] = values.ravel()[which]  # the sum is what counts: all of it to the first synapse that shares it
        array = self.network.array(self.population, self.array)
        array[:] = each if self.table is None else pad_rows(self.table, each)
        self.network.push(self.population, self.array)


def _neuron_gradient(network: Any, p: PopulationRecord, parameter: str, dtype: np.dtype) -> DeviceLocation:
    """The gradient of a neuron parameter: summed over the examples, and over the neurons that share it, in float64."""
    variable = f"G_{parameter}"
    shape = (p.size,) if parameter in p.per_neuron else (1,)

    def read() -> np.ndarray:
        total = network.neurons(p.name, variable, pull=True).astype(np.float64).sum(axis=0)
        return (total if total.shape == shape else total.sum(keepdims=True)).astype(dtype)

    def write(values: np.ndarray) -> None:
        # as in `SynapseGradient`: the first example has the sum, so that reading gives back what was written
        view = network.neurons(p.name, variable)
        view[:] = 0.0
        view[0, : values.size] = values
        network.push(p.name, variable)

    return DeviceLocation(read, write)


def moment_locations(network: Any, plan: Plan, weight: str) -> dict[str, DeviceLocation]:
    """The optimiser's state of one weight, by its names."""
    c = next(c for c in plan.connections if c.weight == weight)
    update = f"update_{c.name}"

    def location(state: str) -> DeviceLocation:
        def read() -> np.ndarray:
            return network.update_variable(update, state, pull=True).reshape(c.pre, c.post).copy()

        def write(values: np.ndarray) -> None:
            network.update_variable(update, state)[:] = values.ravel()
            network.push_update(update, state)

        return DeviceLocation(read, write)

    return {n: location(n) for n, *_ in network.text.updates[update].vars if n not in ("lower", "upper")}
