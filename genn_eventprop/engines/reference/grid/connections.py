"""Connections as `reference_clock` sees them: lanes, the synapses of one delay as a dense matrix of weights.

Whatever the connectivity and the delays are, a connection is the sum of its lanes, each dense with one delay and zeros
where it has no synapse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....modelling.connectivity import Synapses
from ....plan import ConnectionRecord, Plan
from ...contract.parameters import Tables, Values, delay_steps, of_synapses


@dataclass(frozen=True, eq=False)
class Lane:
    """The synapses of connection `record` that arrive `delay_steps` after a spike: weight (M, N), 0 where `there`
    (M, N) says that there is none."""

    record: ConnectionRecord
    table: Synapses | None
    delay_steps: int
    weight: np.ndarray
    there: np.ndarray | None

    @property
    def source(self) -> str:
        return self.record.source

    @property
    def target(self) -> str:
        return self.record.target

    @property
    def receptor(self) -> str:
        return self.record.receptor

    @property
    def learned(self) -> bool:
        """Whether its delay is learned."""
        return self.record.delays is not None and self.record.delays.trainable

    @property
    def axonal(self) -> bool:
        return self.record.delays is not None and self.record.delays.kind == "axonal"

    def add_to_weights(self, gradients: dict[str, np.ndarray], dense: np.ndarray) -> None:
        """Add (M, N), what synapses would get if they were all there, to the gradient of the weights."""
        self._add(gradients[self.record.weight], dense)

    def add_to_delays(self, gradients: dict[str, np.ndarray], each: np.ndarray) -> None:
        """Add (M, N) of every synapse, or of axonal delays (M,) of every source, to the gradient of the delays."""
        total = gradients[self.record.delays_name]
        if self.axonal:
            total += each
        elif self.record.delays is not None and self.record.delays.kind == "dendritic":
            total += each.sum(0)
        else:
            self._add(total, each)

    def _add(self, total: np.ndarray, dense: np.ndarray) -> None:
        """Add (M, N) to what has the shape of the weights."""
        own = dense if self.there is None else np.where(self.there, dense, 0.0)
        if self.table is None:
            total += own
        else:
            np.add.at(total.reshape(-1), self.table.weights, own[self.table.source, self.table.target])


class Links:
    """All lanes of a plan with these parameter values."""

    def __init__(self, plan: Plan, parameters: Values) -> None:
        tables = Tables(plan)
        self.lanes: list[Lane] = []
        for c in plan.connections:
            table = None if c.form == "dense" else tables.of(c, parameters)
            self.lanes += _lanes(c, table, parameters, plan.dt)

    def into(self, population: str) -> tuple[Lane, ...]:
        return tuple(lane for lane in self.lanes if lane.target == population)

    def out_of(self, source: str) -> tuple[Lane, ...]:
        return tuple(lane for lane in self.lanes if lane.source == source)


def _lanes(c: ConnectionRecord, table: Synapses | None, parameters: Values, dt: float) -> list[Lane]:
    weight, there = parameters[c.weight], None
    if table is not None:
        there = np.zeros((c.pre, c.post), bool)
        there[table.source, table.target] = True
        weight = _spread(table, weight.reshape(-1)[table.weights])
    if c.delays is None:
        return [Lane(c, table, c.delay_steps, weight, there)]
    steps = of_synapses(c, delay_steps(c, parameters, dt), table)
    steps = steps if table is None else _spread(table, steps)
    found = np.unique(steps if there is None else steps[there])
    own = [(steps == d) if there is None else (steps == d) & there for d in found]
    return [Lane(c, table, int(d), np.where(here, weight, 0.0), here) for d, here in zip(found, own)]


def _spread(table: Synapses, values: np.ndarray) -> np.ndarray:
    """(S,) of synapses as (M, N), zero elsewhere."""
    dense = np.zeros((table.pre, table.post), values.dtype)
    dense[table.source, table.target] = values
    return dense
