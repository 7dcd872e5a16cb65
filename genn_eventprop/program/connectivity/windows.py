"""Windows over an image: for every place a source reaches, a row of weights to the channels of that place.

`modelling/connectivity/window_rows.py` says where the rows of a source are. Two short lists are data, one for each axis
of the image; the numbers of channels and the width of the image are constants of the text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...plan import ConnectionRecord
from ..nodes import Buffer


@dataclass(frozen=True)
class Windows:
    """weight (W,) and its gradient; the windows over each row and each column of the source."""

    weight: Buffer
    gradient: Buffer | None
    down: Buffer
    down_target: Buffer
    down_weight: Buffer
    across: Buffer
    across_target: Buffer
    across_weight: Buffer


def windows(c: ConnectionRecord, index: int, buffers: dict[str, Buffer]) -> Windows:
    """The buffers of a connection of form "windows"."""
    assert c.windows is not None
    size = (math.prod(c.weight_shape),)
    rows = Windows(
        Buffer(f"c{index}_weight", size, "real", "number"),
        Buffer(f"c{index}_gradient", size, "real", "gradient") if c.trainable else None,
        *(Buffer(name, (len(value),), "int", "host") for name, value in window_values(c, index).items()),
    )
    for buffer in vars(rows).values():
        if buffer is not None:
            buffers[buffer.name] = buffer
    return rows


def window_values(c: ConnectionRecord, index: int) -> dict[str, np.ndarray]:
    """The windows over rows and columns, by the names of their buffers."""
    assert c.windows is not None
    axes = {"down": c.windows.down, "across": c.windows.across}
    return {
        f"c{index}_{name}{tail}": value
        for name, axis in axes.items()
        for tail, value in (("", axis.start), ("_target", axis.target), ("_weight", axis.weight))
    }
