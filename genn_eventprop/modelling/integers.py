"""What `Network.quantise` hands over: populations and connections as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import NetworkError
from ..integer.network import IntegerNetwork
from ..integer.profile import Profile
from ..integer.quantise import MODELS, NumberConnection, NumberPopulation, quantised
from .connection import Connection
from .connectivity import Synapses
from .neuron import NeuronModel
from .places import Input, Population
from .steps import to_steps

Values = Mapping[str, np.ndarray]


def integer_network(
    profile: Profile, inputs: Sequence[Input], populations: Sequence[Population], connections: Sequence[Connection],
    parameters: Values, dt: float | None,
) -> IntegerNetwork:  # fmt: skip
    """The parts of a network in integers; see `Network.quantise`."""
    dt = dt or profile.dt or 1.0
    first = dict(zip([i.name for i in inputs], np.cumsum([0, *(i.size for i in inputs)]).tolist()))
    numbers = [
        NumberPopulation(
            p.name, p.size, model_name(p.model), {n: np.asarray(parameters[f"{p.name}.{n}"]) for n in p.neuron.params}
        )
        for p in populations
    ]
    made = [_connection(c, first, parameters, dt) for c in connections]
    others = {f"{c.name}.delay": dt * to_steps(parameters[f"{c.name}.delay"], dt) for c in connections if c.delays}
    others |= {f"{c.name}.pairs": parameters[f"{c.name}.pairs"] for c in connections if f"{c.name}.pairs" in parameters}
    return quantised(profile, numbers, made, dt, sum(i.size for i in inputs), others)


def model_name(model: NeuronModel) -> str:
    """The model of `integer.quantise.MODELS` with these equations; else its own name, which that then refuses."""
    if model.snippets or model.modes or model.receptors != {"input": {"I": 1}}:
        return f"{model.name}, which has more than the equations of one"
    events = [(str(e.threshold), {n: str(v) for n, v in e.reset.items()}) for e in model.events]
    flows = {n: str(f) for n, f in model.dynamics.items()}
    for name, (dynamics, threshold, reset) in MODELS.items():
        if flows == dynamics and events == ([] if threshold is None else [(threshold, reset)]):
            return name
    return model.name


def _connection(c: Connection, first: Mapping[str, int], parameters: Values, dt: float) -> NumberConnection:
    if c.of_current:
        raise NetworkError(f"connection {c.name!r}: integer networks take spikes, not currents")
    if c.share is not None:
        raise NetworkError(f"connection {c.name!r}: integer networks do not share weights between connections")
    pairs = parameters.get(f"{c.name}.pairs")
    rows = c.connectivity.rows(c.source.shape) if c.connectivity.form == "windows" else None
    table = c.connectivity.synapses(c.source.shape, c.target.shape)
    if table is None and rows is not None:
        table = rows.synapses()
    if table is None and pairs is not None:
        table = Synapses.of_pairs(pairs, *c.shape)
    weight = np.asarray(parameters[c.weight_name])
    channels = isinstance(c.source, Input)
    start, post, weight_of = (None, None, None) if table is None else (table.start, table.target, table.weights)
    return NumberConnection(
        c.name, c.weight_name, None if channels else c.source.name, first[c.source.name] if channels else 0,
        c.source.size, c.target.name, weight, start, post, weight_of, int(to_steps(c.delay, dt)),
        _delays(c, table, parameters, dt), int(to_steps(c.delays.max, dt)) if c.delays else 0,
    )  # fmt: skip


def _delays(c: Connection, table: Synapses | None, parameters: Values, dt: float) -> np.ndarray | None:
    """Steps of every synapse, (M, N) or (S,)."""
    if c.delays is None:
        return None
    M, N = c.shape
    steps = np.clip(to_steps(parameters[f"{c.name}.delay"], dt), 0, to_steps(c.delays.max, dt))
    if table is None:
        axis = {"synaptic": (M, N), "axonal": (M, 1), "dendritic": (1, N)}[c.delays.kind]
        return np.broadcast_to(steps.reshape(axis), (M, N))
    index = {"synaptic": table.weights, "axonal": table.source, "dendritic": table.target}[c.delays.kind]
    return np.asarray(steps.ravel()[index])
