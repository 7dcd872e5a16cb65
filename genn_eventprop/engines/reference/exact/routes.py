"""Where a spike goes: for every source of a connection, the synapses that it reaches at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ....plan import ConnectionRecord, Plan
from ...contract.parameters import Tables, Values


@dataclass(frozen=True, eq=False)
class Route:
    """Synapses of one source that share a delay: target (S,) neurons; weight (S,), where their weights stand in the
    flat parameter; delay: where the delay stands in that of delays, 0 for a delay of the whole connection."""

    source: int
    target: np.ndarray
    weight: np.ndarray
    delay: int


def routes(plan: Plan, tables: Tables, parameters: Values) -> dict[str, list[list[Route]]]:
    """Connection -> the routes of every source."""
    return {c.name: [_of_source(c, j, *_row(c, j, tables, parameters)) for j in range(c.pre)] for c in plan.connections}


def _row(c: ConnectionRecord, j: int, tables: Tables, parameters: Values) -> tuple[np.ndarray, np.ndarray]:
    """(targets, indices of weights) of source j."""
    if c.form == "dense":
        return np.arange(c.post), j * c.post + np.arange(c.post)
    table = tables.of(c, parameters)
    part = slice(table.start[j], table.start[j + 1])
    return table.target[part].astype(np.int64), table.weights[part].astype(np.int64)


def _of_source(c: ConnectionRecord, j: int, target: np.ndarray, weight: np.ndarray) -> list[Route]:
    kind = c.delays.kind if c.delays else "axonal"
    # of every synapse, which of the connection's delays it has; equal values of different delays stay apart, since each
    # has a gradient
    delay = {"synaptic": weight, "dendritic": target, "axonal": np.full(len(target), j if c.delays else 0)}[kind]
    groups = ((int(d), delay == d) for d in np.unique(delay))
    return [Route(j, target[here], weight[here], d) for d, here in groups]


def flat_delays(plan: Plan, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Connection -> (1, D) its delays in ms; D = 1 for a delay of the whole connection."""
    return {
        c.name: values[c.delays_name].reshape(1, -1) if c.delays else np.array([[c.delay]]) for c in plan.connections
    }
