"""What connections cost: synapses, bytes, operations a spike."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .connection import ConnectionRecord
from .records import Plan
from .synapse_tables import ring_steps

INT = 4
"""Bytes of an index."""


@dataclass(frozen=True)
class ConnectionCost:
    """What a connection costs.

    synapses: S. weights, delays: numbers that are not shared. table: bytes of the table of synapses, or of the lists of
    windows. ring: bytes, for
    one sample, of what is on its way on the grid. per_spike: synapses of a source on average; a spike takes so many
    additions forwards, and multiplications and additions backwards.
    """

    name: str
    synapses: int
    weights: int
    delays: int
    table: int
    ring: int
    per_spike: float

    def bytes(self, real: int = 4) -> int:
        """Of weights, delays and table, with numbers of `real` bytes; gradients and moments of weights and delays take
        as much again, each."""
        return real * (self.weights + self.delays) + self.table


def cost(c: ConnectionRecord, dt: float, real: int = 4) -> ConnectionCost:
    """Of one connection on a grid of dt ms, with numbers of `real` bytes."""
    S = c.synapses
    indices = 0 if c.table is not None and c.table.weight_of is None else S
    table = INT * (c.pre + 1 + S + indices) if c.form == "synapses" else 0
    if c.windows is not None:
        table = sum(part.nbytes for axis in (c.windows.down, c.windows.across) for part in vars(axis).values())
    delays = math.prod(c.delays.shape) if c.delays else 0
    ring = real * ring_steps(c, dt) * c.post if c.delays else 0
    return ConnectionCost(c.name, S, 0 if c.shares else math.prod(c.weight_shape), delays, table, ring, S / c.pre)


def costs(plan: Plan) -> tuple[ConnectionCost, ...]:
    """Of every connection."""
    return tuple(cost(c, plan.dt) for c in plan.connections)
