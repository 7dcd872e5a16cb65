"""`weight_rows="float16"`: weights that are rounded as they are run, beside float32 masters that learn.

An engine with this option computes with fl16(w) in place of every weight w, in the forward and in the backward pass,
and sums in float32. Its gradient is that at the rounded weights, and the optimiser applies it to w. So results are
those of a float32 engine whose weights were rounded beforehand; what is gained is that rows of weights are half as
long.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...description.document import WEIGHT_ROWS
from ...errors import EngineError, suggest
from ...plan import Plan
from .options import EngineOption

OPTION = EngineOption(str, "float16: weights are rounded to float16 when they are used, in rows of half the length")
BEYOND = 65520.0  # rounds to infinity; the largest float16 is 65504
NORMAL = 2.0**-14  # below, float16 has fewer than 11 digits


def in_halves(weight_rows: str, dtype: str) -> bool:
    """Whether weights are to be rounded.

    Raises:
        EngineError: another name, or an engine in float64.
    """
    if weight_rows not in WEIGHT_ROWS:
        raise EngineError(f"weight_rows={weight_rows!r}: unknown ({suggest(str(weight_rows), WEIGHT_ROWS)})")
    if weight_rows == "float16" and dtype != "float32":
        raise EngineError(
            f"weight_rows='float16' is for dtype='float32', not {dtype!r}, whose digits it would drop; leave one out"
        )
    return weight_rows == "float16"


def check_largest(name: str, bits: int) -> None:
    """Refuse weights that float16 cannot hold.

    Args:
        name: of the parameter. bits: of its largest size as float32.

    Raises:
        EngineError: with the largest weight, and what to do.
    """
    largest = float(np.uint32(bits).view(np.float32))
    other = "use weight_rows='float32'"
    if not largest < BEYOND:
        raise EngineError(
            f"{name}: the largest weight, {largest:.6g}, is beyond the range of float16 (65504); {other}, bounds of "
            "the weights, or other units of the receptor"
        )
    if 0 < largest < NORMAL:
        raise EngineError(
            f"{name}: the largest weight, {largest:.3g}, is so small that float16 has fewer than 11 digits for it "
            f"(below {NORMAL:.2g}); {other}, or other units of the receptor"
        )


def rounded_weights(plan: Plan, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters with weights as an engine with ``weight_rows="float16"`` runs them.

    Raises:
        EngineError: see `check_largest`.
    """
    weights = {c.weight for c in (*plan.connections, *plan.currents_into)}
    for name in weights & values.keys():
        check_largest(name, int(np.abs(values[name]).max(initial=0.0).astype(np.float32).view(np.uint32)))
    return {
        n: np.asarray(v, np.float32).astype(np.float16).astype(v.dtype) if n in weights else v
        for n, v in values.items()
    }
