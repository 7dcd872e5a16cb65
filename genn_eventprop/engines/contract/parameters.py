"""Parameter values: an engine's copies, and their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...codegen.printer import C_REAL
from ...errors import SettingError
from ...plan import Plan
from ...plan.synapse_tables import Tables, Values, delay_steps, of_synapses, ring_steps

__all__ = ["Tables", "Values", "copied", "delay_steps", "of_synapses", "parameter_shapes", "real_numbers", "ring_steps"]


def real_numbers(dtype: str) -> np.dtype:
    """The real numbers of an engine, by their name.

    Raises:
        SettingError: neither "float32" nor "float64".
    """
    if dtype not in C_REAL:
        raise SettingError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    return np.dtype(dtype)


def copied(plan: Plan, parameters: Values, dtype: Any) -> dict[str, np.ndarray]:
    """Copies of `dtype`; of pairs as int32."""
    pairs = {c.pairs for c in plan.weighted if c.drawn}
    return {k: np.array(v, np.int32 if k in pairs else dtype, order="C") for k, v in parameters.items()}


def parameter_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter: those of connections, see `ConnectionRecord.values`; of neurons (N,) or (1,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for c in plan.weighted:
        shapes |= c.values
    for p in plan.populations:
        for n in p.derived.params:
            shapes[f"{p.name}.{n}"] = (p.size,) if n in p.per_neuron else (1,)
    return shapes
