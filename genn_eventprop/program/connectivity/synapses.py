"""Connections with a table of synapses: those of source j are number ``start[j]`` to ``start[j + 1]`` - 1.

Synapse s ends at neuron ``target[s]`` with weight number ``weight_of[s]`` of the flat weights. The table is data: other
pairs run the same code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...plan import ConnectionRecord
from ..nodes import Buffer


@dataclass(frozen=True)
class Table:
    """weight (W,) and its gradient; the table as arrays of integers."""

    weight: Buffer
    gradient: Buffer | None
    start: Buffer
    target: Buffer
    weight_of: Buffer


def table(c: ConnectionRecord, index: int, buffers: dict[str, Buffer]) -> Table:
    """The buffers of a connection of form "synapses"."""
    W = math.prod(c.weight_shape)
    table = Table(
        Buffer(f"c{index}_weight", (W,), "real", "number"),
        Buffer(f"c{index}_gradient", (W,), "real", "gradient") if c.trainable else None,
        Buffer(f"c{index}_start", (c.pre + 1,), "int", "host"),
        Buffer(f"c{index}_target", (c.synapses,), "int", "host"),
        Buffer(f"c{index}_weight_of", (c.synapses,), "int", "host"),
    )
    for buffer in (table.weight, table.gradient, table.start, table.target, table.weight_of):
        if buffer is not None:
            buffers[buffer.name] = buffer
    return table
