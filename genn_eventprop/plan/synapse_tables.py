"""The synapses and delays of connections from parameter values: one definition for every engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..modelling.connectivity import Synapses
from . import clock
from .connection import ConnectionRecord
from .records import Plan

Values = Mapping[str, np.ndarray]


class Tables:
    """The tables of a plan's connections; one that comes from pairs is made again only when they change."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._made: dict[str, tuple[np.ndarray, Synapses]] = {}
        self._of_windows: dict[str, Synapses] = {}

    def of(self, c: ConnectionRecord, parameters: Values) -> Synapses:
        """The table of a connection that is not dense; for one of windows it is what engines without rows run."""
        if c.table is not None:
            return c.table
        if c.windows is not None:
            if c.name not in self._of_windows:
                self._of_windows[c.name] = c.windows.synapses()
            return self._of_windows[c.name]
        pairs = parameters[c.pairs]
        cached = self._made.get(c.name)
        # by value, and against a copy: the array of the pairs itself is changed in place
        if cached is None or not np.array_equal(cached[0], pairs):
            cached = self._made[c.name] = (np.array(pairs), Synapses.of_pairs(pairs, c.pre, c.post))
        return cached[1]


def ring_steps(c: ConnectionRecord, dt: float) -> int:
    """Steps of a ring that holds all that is on its way: the longest delay, and the present step."""
    assert c.delays is not None
    return int(clock.to_steps(c.delays.limit, dt)) + 1


def delay_steps(c: ConnectionRecord, parameters: Values, dt: float) -> np.ndarray:
    """int32 whole steps of individual delays, in the shape of the parameter; at most those of its limit."""
    assert c.delays is not None
    last = clock.to_steps(c.delays.limit, dt)
    return np.clip(clock.to_steps(parameters[c.delays_name], dt), 0, last).astype(np.int32)


def delay_numbers(c: ConnectionRecord, table: Synapses | None) -> np.ndarray:
    """(S,) where the delay of every synapse stands among the delays, flat; table: None if the connection is dense."""
    assert c.delays is not None
    if table is None:
        every = np.arange(c.pre * c.post)
        return {"synaptic": every, "axonal": every // c.post, "dendritic": every % c.post}[c.delays.kind]
    return {"synaptic": table.weights, "axonal": table.source, "dendritic": table.target}[c.delays.kind]


def of_synapses(c: ConnectionRecord, delays: np.ndarray, table: Synapses | None) -> np.ndarray:
    """What stands in the shape of a connection's delays, for every synapse: (M, N) if dense, else (S,)."""
    by_synapse = delays.ravel()[delay_numbers(c, table)]
    return by_synapse.reshape(c.pre, c.post) if table is None else by_synapse
