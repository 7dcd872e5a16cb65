"""What a network and a batch need at least, before any of it is allocated: what cannot fit is refused with numbers."""

from __future__ import annotations

import math

from ...errors import EngineError
from ...modelling.memory import check_fits
from ...plan import Plan
from .parameters import parameter_shapes

INITIAL = 8
"""Bytes of an initial value, which is drawn as float64."""


def check_training(plan: Plan, itemsize: int, moments: int, copies: int) -> None:
    """Raise `EngineError` if weights, gradients and the optimiser's state need more memory than there is.

    Args:
        itemsize: bytes of a number of the engine. moments: numbers that the optimiser keeps of each learned value.
        copies: of the gradient, that the engine sums up beside each other.
    """
    sizes = {name: math.prod(shape) for name, shape in parameter_shapes(plan).items()}
    values, learned = sum(sizes.values()), sum(sizes[name] for name in plan.trainable)
    drawing = (INITIAL + itemsize) * values
    training = itemsize * (values + (1 + moments + copies) * learned)
    more = 1 + moments + copies
    what = f"{values:,} parameters, and for each that is learned {more} numbers of gradients and optimiser,"
    advice = "use smaller populations" + (", sparse connections or smaller batches" if copies > 1 else "")
    check_fits(max(drawing, training), what, advice, EngineError)


def check_batch(trials: int, trial: int) -> None:
    """Raise `EngineError` if a batch needs more memory than there is; trial: bytes that one takes at least."""
    check_fits(trials * trial, f"{trials:,} trials at once", "use a smaller batch", EngineError)


def trial_bytes(plan: Plan) -> int:
    """What every engine has of a trial: spike counts, as int32 and as int64, and readouts of the outputs."""
    counts = sum(p.size for p in plan.populations if p.spiking)
    return 12 * counts + 8 * sum(loss.n_classes for loss in plan.losses)
