"""All-to-all connections: a row of weights for every source neuron.

What a kind of connectivity says: the buffers of its weights, and for each of the three operations between neurons how
a target finds the weights of one source. A dense row is as wide as the target population.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...plan import ConnectionRecord
from ..nodes import Buffer


@dataclass(frozen=True)
class Dense:
    """weight (M, N) and its gradient."""

    weight: Buffer
    gradient: Buffer | None


def dense(c: ConnectionRecord, index: int, buffers: dict[str, Buffer]) -> Dense:
    """The buffers of a dense connection."""
    weight = Buffer(f"c{index}_weight", (c.pre, c.post), "real", "number")
    gradient = Buffer(f"c{index}_gradient", (c.pre, c.post), "real", "gradient") if c.trainable else None
    for buffer in (weight, gradient):
        if buffer is not None:
            buffers[buffer.name] = buffer
    return Dense(weight, gradient)
