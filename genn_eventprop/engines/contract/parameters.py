"""Parameter values as an engine's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import Plan
from ...plan.synapse_tables import Tables, Values, delay_steps, of_synapses, ring_steps

__all__ = ["Tables", "Values", "copied", "delay_steps", "of_synapses", "ring_steps"]


def copied(plan: Plan, parameters: Values, dtype: Any) -> dict[str, np.ndarray]:
    """Copies of `dtype`; of pairs as int32."""
    pairs = {c.pairs for c in plan.connections if c.drawn}
    return {k: np.array(v, np.int32 if k in pairs else dtype, order="C") for k, v in parameters.items()}
