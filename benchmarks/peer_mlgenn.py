"""The shape of SHD on mlGeNN's EventProp compiler; batch size 1 on the CPU backend, which allows no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from peer_worker import Shape, Step


def prepare(peer: str) -> None:
    """The package is loaded before memory is counted."""
    __import__("ml_genn")


def shd(shape: Shape) -> Step:
    """All samples of the batch in turn: one epoch of `train`."""
    from shd_peers import mlgenn_train

    dense = shape.dense()
    events: Any = SimpleNamespace(
        sample=lambda i: tuple(a.astype(k) for a, k in zip(np.nonzero(dense[:, i]), (float, int)))
    )
    settings = SimpleNamespace(
        batch=shape.batch, inputs=shape.inputs, hidden=shape.hidden, outputs=shape.outputs, steps=shape.steps,
        mean=0.03, spread=0.015, input_spikes=int(dense.sum(axis=(0, 2)).max()),
    )  # fmt: skip
    return mlgenn_train(settings, events, shape.labels(), shape.batch)[0]


TASKS = {("mlgenn", "shd"): shd}
