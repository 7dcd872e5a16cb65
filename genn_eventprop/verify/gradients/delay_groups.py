"""Connections as a forward run sees them: the synapses of each delay as one dense matrix of weights.

Whatever the connectivity and the delays are, a connection is the sum of its delay groups, each dense with one delay and
zeros where it has no synapse. So the arithmetic of a step is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engines.contract.parameters import Tables, Values, delay_steps, of_synapses
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan


@dataclass(frozen=True, eq=False)
class DelayGroup:
    """The synapses of connection `record` at which a spike arrives after `delay_steps`.

    weight: (M, N), 0 where there is no synapse. mask: (M, N) where there is one; None: everywhere.
    """

    record: ConnectionRecord
    table: Synapses | None
    delay_steps: int
    weight: np.ndarray
    mask: np.ndarray | None

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


class Connections:
    """All delay groups of a plan, with these parameter values."""

    def __init__(self, plan: Plan, parameters: Values) -> None:
        tables = Tables(plan)
        self.groups: list[DelayGroup] = []
        for c in plan.connections:
            table = None if c.form == "dense" else tables.of(c, parameters)
            self.groups += _delay_groups(c, table, parameters, plan.dt)

    def into(self, population: str) -> tuple[DelayGroup, ...]:
        return tuple(group for group in self.groups if group.target == population)

    def out_of(self, source: str) -> tuple[DelayGroup, ...]:
        return tuple(group for group in self.groups if group.source == source)


def _delay_groups(c: ConnectionRecord, table: Synapses | None, parameters: Values, dt: float) -> list[DelayGroup]:
    weight, mask = parameters[c.weight], None
    if table is not None:
        mask = np.zeros((c.pre, c.post), bool)
        mask[table.source, table.target] = True
        weight = _dense(table, weight.reshape(-1)[table.weights])
    # individual delays: a group for each step that occurs, as they are rounded now; learned delays regroup
    if c.delays is None:
        return [DelayGroup(c, table, c.delay_steps, weight, mask)]
    steps = of_synapses(c, delay_steps(c, parameters, dt), table)
    steps = steps if table is None else _dense(table, steps)
    delays = np.unique(steps if mask is None else steps[mask])
    masks = [(steps == d) if mask is None else (steps == d) & mask for d in delays]
    return [DelayGroup(c, table, int(d), np.where(here, weight, 0.0), here) for d, here in zip(delays, masks)]


def _dense(table: Synapses, values: np.ndarray) -> np.ndarray:
    """Values (S,) of synapses as (M, N), zero elsewhere."""
    dense = np.zeros((table.pre, table.post), values.dtype)
    dense[table.source, table.target] = values
    return dense
