"""Learned delays in the metrics of an epoch: where they are, and how many sit at a bound, where they may be stuck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..optimisers import Optimiser
from ..plan import Plan

NEAR = 1e-6
"""Of the maximum: what is nearer to a bound counts as at it (float32)."""


def late_delays(plan: Plan, parameters: Mapping[str, np.ndarray]) -> list[str]:
    """Notes on delays after which no spike arrives within the trial, so that they have no gradient."""
    notes = []
    for c in plan.connections:
        late = 0 if c.delays is None else np.count_nonzero(parameters[c.delays_name] >= plan.duration)
        if c.delays is not None and late:
            of = f"{late} of {np.size(parameters[c.delays_name])} delays of {c.name}"
            notes.append(f"{of} are as long as the trial of {plan.duration:g} ms: their spikes are lost")
    return notes


def delay_metrics(plan: Plan, parameters: Mapping[str, np.ndarray], optimiser: Optimiser) -> dict[str, Any]:
    """{"delays": connection -> mean (ms), shares at_zero and at_max} where any are learned, else nothing.

    The bounds are those that the optimiser keeps, at_zero is the share at the lower one.
    """
    metrics = {}
    for c in plan.connections:
        if c.delays is not None and c.learns_delays:
            delays = np.asarray(parameters[c.delays_name], np.float64)
            low, high = optimiser.bounds_of(c.delays_name)
            margin = NEAR * c.delays.limit
            metrics[c.name] = {
                "mean": float(delays.mean()),
                "at_zero": float(np.mean(delays <= low + margin)),
                "at_max": float(np.mean(delays >= high - margin)),
            }
    return {"delays": metrics} if metrics else {}
