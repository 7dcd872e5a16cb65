"""Delays that are values: a number of steps for every weight, source or target.

Forwards a spike adds its weights to the rows of the steps on which they arrive, in a ring of as many rows as the
longest delay needs; a step takes its row and clears it. Backwards the adjoint rows of all steps are stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...plan import ConnectionRecord
from ..nodes import Buffer


@dataclass(frozen=True)
class Delays:
    """steps (D,) in the order of the delays, their gradient, and part of the weights -> (ring, N) what will arrive."""

    steps: Buffer
    gradient: Buffer | None
    arriving: dict[str, Buffer]


def delays(c: ConnectionRecord, index: int, parts: tuple[str, ...], buffers: dict[str, Buffer]) -> Delays | None:
    """The buffers of a connection's delays; parts: of the weights, see `Deliver`."""
    if c.delays is None:
        return None
    D = math.prod(c.delays.shape)
    arriving = {p: Buffer(f"c{index}_arriving_{p}", (f"c{index}_ring", c.post), "real", "stored") for p in parts}
    delays = Delays(
        Buffer(f"c{index}_delays", (D,), "int", "host"),
        Buffer(f"c{index}_delay_gradient", (D,), "real", "gradient") if c.delays.trainable else None,
        arriving,
    )
    for buffer in (delays.steps, delays.gradient, *arriving.values()):
        if buffer is not None:
            buffers[buffer.name] = buffer
    return delays
