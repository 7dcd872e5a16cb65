"""The synapses and delays of connections from parameter values: one definition for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..modelling.connectivity import Synapses
from ..plan import ConnectionRecord, Plan, clock

Values = Mapping[str, np.ndarray]


class Tables:
    """The tables of a plan's connections; one that comes from pairs is made again only when they change."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._made: dict[str, tuple[np.ndarray, Synapses]] = {}

    def of(self, c: ConnectionRecord, parameters: Values) -> Synapses:
        """The table of a connection of form "synapses"."""
        if c.table is not None:
            return c.table
        pairs = parameters[c.pairs]
        kept = self._made.get(c.name)
        if kept is None or not np.array_equal(kept[0], pairs):
            kept = self._made[c.name] = (np.array(pairs), Synapses.of_pairs(pairs, c.pre, c.post))
        return kept[1]


def delay_steps(c: ConnectionRecord, parameters: Values, dt: float) -> np.ndarray:
    """int32 whole steps of delays that are values, in the shape of the parameter; at most those of its limit."""
    assert c.delays is not None
    last = clock.to_steps(c.delays.limit, dt)
    return np.clip(clock.to_steps(parameters[c.delays_name], dt), 0, last).astype(np.int32)


def of_synapses(c: ConnectionRecord, delays: np.ndarray, table: Synapses | None) -> np.ndarray:
    """What stands in the shape of a connection's delays, for every synapse: (M, N) if dense, else (S,)."""
    assert c.delays is not None
    if table is None:
        wide = {"synaptic": delays, "axonal": delays.reshape(-1, 1), "dendritic": delays.reshape(1, -1)}
        return np.broadcast_to(wide[c.delays.kind], (c.pre, c.post))
    at = {"synaptic": table.weights, "axonal": table.source, "dendritic": table.target}
    return delays.ravel()[at[c.delays.kind]]


def copied(plan: Plan, parameters: Values, dtype: Any) -> dict[str, np.ndarray]:
    """Parameter values as an engine's own: of `dtype`, pairs as int32."""
    pairs = {c.pairs for c in plan.connections if c.drawn}
    return {k: np.array(v, np.int32 if k in pairs else dtype, order="C") for k, v in parameters.items()}
