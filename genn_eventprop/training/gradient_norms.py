"""Gradients layer by layer: do they explode or vanish on the way back through a deep network?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..plan import Plan

APART = 1e4
"""Factor between layers from which a gradient counts as vanishing or exploding."""


def gradient_norms(
    plan: Plan, gradients: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Population -> (L2 norm of the gradient of the learned weights that lead to it, the same over that of the
    weights); in the order of the plan, only where weights are learned."""
    norms = {}
    for p in plan.populations:
        into = [c for c in plan.into(p.name) if c.weight in plan.trainable]
        if into:
            g, w = (_norm(_learned(arrays[c.weight], c.learned) for c in into) for arrays in (gradients, parameters))
            norms[p.name] = (g, g / w if w > 0 else float("nan"))
    return norms


def _learned(array: Any, mask: np.ndarray | None) -> np.ndarray:
    """Those weights that are learned."""
    return np.asarray(array) if mask is None else np.asarray(array)[mask]


def _norm(arrays: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(a, np.float64))) for a in arrays)))


def gradient_note(norms: Mapping[str, tuple[float, float]], output: str = "") -> str:
    """What is wrong with the gradients of layers, "" if nothing is.

    Args:
        norms: of `gradient_norms`. Gradients are compared relative to the weights, each layer's with that of the one
            which the main loss reads. output: its name; if nothing into it is learned, the last layer.
    """
    relative = {name: r for name, (_, r) in norms.items() if np.isfinite(r)}
    if len(relative) < 2:
        return ""
    last = output if output in relative else [*relative][-1]
    before = [name for name in relative if name != last]
    for name in before:
        if relative[name] * APART < relative[last]:
            return (
                f"the gradient vanishes in the backward pass: relative to the weights it is {relative[name]:.1e} for "
                f"{name} and {relative[last]:.1e} for {last}; scale the initial weights to a firing rate in every "
                "layer (initialise_rates, --initial-spikes), or use fewer layers"
            )
        if relative[name] > APART * relative[last] > 0:
            return (
                f"the gradient explodes in the backward pass: relative to the weights it is {relative[name]:.1e} for "
                f"{name} and {relative[last]:.1e} for {last}; clip it (clip_norm={{'*': ...}} of the optimiser, "
                "--clip-each; slope_floor), or scale the initial weights to a firing rate (--initial-spikes)"
            )
    return ""
