"""What generated C++ reads of connections with exact spike times besides dense weights: routes.

A route is the synapses of one source that share a delay. Offsets follow the memory of `NativeEngine`: matrices have
padded rows, all else is flat.
"""

from __future__ import annotations

import numpy as np

from ...codegen.cpp import padded
from ...codegen.cpp.exact.arguments import routes
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import Tables, Values, delay_numbers
from ...program.connectivity.windows import window_values

INT = np.int32


class NativeRoutes:
    """Arrays by their names in generated code."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._tables = plan, Tables(plan)
        self.values: dict[str, np.ndarray] = {}
        for i, c in enumerate(plan.connections):
            self.values |= window_values(c, i) if c.windows else {}
        self._seen: dict[str, Synapses | None] = {}

    def refresh(self, parameters: Values) -> None:
        """Follow the pairs of tables; nothing here depends on other values."""
        for i, c in enumerate(self.plan.connections):
            if c.windows is not None or not c.spread:
                continue
            table = None if c.form == "dense" else self._tables.of(c, parameters)
            if c.name not in self._seen or self._seen[c.name] is not table:
                self._seen[c.name] = table
                made = route_arrays(c, table)
                made["place"] = _place(made["place"], c.weight_shape)
                made["delay_of"] = _place(made["delay_of"], c.delays.shape if c.delays else ())
                self.values |= {f"c{i}_{n}": np.ascontiguousarray(made[n], INT) for n in routes(c)}


def route_arrays(c: ConnectionRecord, table: Synapses | None) -> dict[str, np.ndarray]:
    """start (M + 1,): routes of a source; first (R + 1,): synapses of a route, by their targets; target, place (S,):
    of a synapse, place among the weights; delay_of (R,): place of a route's delay. table: None if it is dense."""
    if table is None:
        source, target = np.divmod(np.arange(c.pre * c.post), c.post)
        weight = np.arange(c.pre * c.post)
    else:
        source, target, weight = table.source, table.target, table.weights
    delay = source if c.delays is None else delay_numbers(c, table)
    order = np.lexsort((target, delay, source))
    source, target, weight, delay = (a[order].astype(np.int64) for a in (source, target, weight, delay))
    new = np.flatnonzero(np.r_[True, (np.diff(source) != 0) | (np.diff(delay) != 0)])
    return {
        "start": np.searchsorted(source[new], np.arange(c.pre + 1)), "first": np.r_[new, len(source)],
        "target": target, "place": weight, "delay_of": delay[new],
    }  # fmt: skip


def _place(number: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where an element of a parameter stands in its memory."""
    if len(shape) != 2:
        return number
    return number // shape[1] * padded(shape[1]) + number % shape[1]
