"""The losses of a plan on the host: what a trial needs of them, and the evaluation of those in Python."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...losses import LossRecord
from ...plan import Plan
from ...program.host_values import prefixed_losses
from .data import Data

__all__ = ["activity", "evaluate_outer_loss", "loss_inputs", "prefixed_losses"]


def loss_inputs(loss: LossRecord, data: Data, batch: np.ndarray, part: slice) -> dict[str, Any]:
    """What a loss needs of a part of a batch: weights in the mean of the whole batch, labels, targets."""
    view, samples = data.for_loss(loss), batch[part]
    weight = _equal_weights(len(batch), loss.factor)
    if data.weights is not None:
        weight = loss.factor * data.sample_weight(batch)
    inputs = {"sample_weight": weight[part], "labels": view.labels[samples]}
    if view.targets is not None:
        inputs["targets"] = np.ascontiguousarray(view.targets[samples], np.float64)
    return inputs


@lru_cache(maxsize=16)
def _equal_weights(batch: int, factor: float) -> np.ndarray:
    """factor / B of every sample, not to be changed."""
    weight = factor * (np.ones(batch) / batch)
    weight.flags.writeable = False
    return weight


def activity(plan: Plan, loss: LossRecord, data: Data, samples: np.ndarray) -> dict[str, np.ndarray]:
    """(B, T + 1) the input's activity, where it drives a time weight."""
    counts = np.zeros((plan.n_steps + 1, len(samples)))
    for b, i in enumerate(samples):
        np.add.at(counts[:, b], data.steps[data.offsets[i] : data.offsets[i + 1]], 1.0)
    before, after = loss.weight.activity(counts, plan.dt)
    return {"activity_before": np.ascontiguousarray(before.T), "activity": np.ascontiguousarray(after.T)}


def evaluate_outer_loss(
    loss: LossRecord, readout: np.ndarray, data: Data, samples: np.ndarray, duration: float, tau: np.ndarray | None,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """An outer loss evaluated on the host: its value (B,), dL/dr (B, K), and lambda_V at T (B, K).

    Args:
        readout: (B, K), not finite where an output has none. tau: tau_mem of the outputs, if they have one. weight:
            (B,) of the samples in the mean, on the two last.
    """
    view, weight = data.for_loss(loss), weight[:, None]
    y, scored, valid = view.targets_of(samples), view.scored(samples), np.isfinite(readout)
    r = np.where(valid, readout, duration)
    value, slope = loss.evaluate(r, valid, y, duration)
    last = np.zeros_like(slope)
    if loss.silent == "end" and tau is not None:
        last = -tau.astype(np.float64) * loss.push(r, valid, y, duration) * weight
    return value, np.where(scored[:, None], slope, 0.0) * weight, np.where(scored[:, None], last, 0.0)
