"""Outer losses: from readouts of a batch and what they should be to a loss, with its gradient.

Axis letters: B samples, K outputs. y: labels (B,) int64, or targets (B, K), nan where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError, shown
from ..modelling.expressions import numpy_function, parse, symbol
from .sums import SUMS

NAMED = {"cross_entropy": "labels", "squared_error": "targets", **{name: s.compares for name, s in SUMS.items()}}
"""Outer loss -> what it compares with."""
COMPARES = ("labels", "targets")


def cross_entropy(
    score: np.ndarray, term: np.ndarray, dscore: np.ndarray, dterm: np.ndarray, used: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """L = -log softmax(score)_y + term_y over the outputs that are `used`; an unused right class contributes nothing.

    Args:
        score, term, dscore, dterm, used: (..., K). labels: (...,).

    Returns:
        L (...,) and dL/dr (..., K).
    """
    right = np.take_along_axis(used, labels[..., None], -1)[..., 0]
    masked = np.where(used, score, -np.inf)
    top = np.where(right, masked.max(axis=-1, initial=-np.inf), 0.0)
    e = np.where(used, np.exp(np.where(used, score, 0.0) - top[..., None]), 0.0)
    total = e.sum(axis=-1)
    is_label = np.arange(score.shape[-1]) == labels[..., None]
    loss = np.log(np.where(right, total, 1.0)) + top + np.where(is_label, term - score, 0.0).sum(-1)
    p = e / np.where(total > 0, total, 1.0)[..., None]
    gradient = (p - is_label) * dscore + is_label * dterm
    return np.where(right, loss, 0.0), np.where(right[..., None], gradient, 0.0)


def squared_error(r: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L = 1/2 sum_c (r_c - target_c)^2 over the last axis, where there is a target; L (...,) and dL/dr (..., K)."""
    difference = np.where(np.isnan(target), 0.0, r - target)
    return 0.5 * np.sum(difference**2, axis=-1), difference


@dataclass(frozen=True, eq=False)
class Function:
    """A user's outer loss.

    Args:
        function: (r (B, K), y) -> (loss (B,), dL/dr (B, K)), NumPy float64, not divided by B. A silent output has
            r = T; its gradient is not used.
        compares: meaning of y: "labels" (B,) or "targets" (B, K).
        name: for messages and run folders.
        formula, outputs: the expression and the number of outputs, if it was made by `formula`.

    Example:
        >>> def hinge(r, y):  # (B, 2) readouts, (B,) labels
        ...     sign = np.where(y == 1, 1.0, -1.0)
        ...     short = np.maximum(1 - sign * (r[:, 1] - r[:, 0]), 0.0)
        ...     slope = -sign * (short > 0)
        ...     return short, np.stack([-slope, slope], axis=1)
        >>> OwnLoss(output, "integral", Function(hinge, name="hinge")).outer.label
        'hinge'
    """

    function: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]
    compares: str = "labels"
    name: str = ""
    formula: str = ""
    outputs: int = 0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise LossError(f"an outer loss must be a function of (readout, y), got {type(self.function).__name__}")
        if self.compares not in COMPARES:
            raise LossError(f"compares={self.compares!r}: choose one of {', '.join(COMPARES)}")

    def __call__(self, r: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(loss, gradient), checked.

        Raises:
            LossError: for a wrong shape, or values that are not finite.
        """
        result = self.function(r.copy(), y)
        if not isinstance(result, tuple) or len(result) != 2:
            raise LossError(f"the outer loss {self.label} must return (loss, gradient), got {type(result).__name__}")
        try:
            loss, gradient = (np.asarray(v, dtype=np.float64) for v in result)
        except (TypeError, ValueError) as error:
            raise LossError(f"the outer loss {self.label} must return arrays of numbers ({error})") from error
        for what, array, shape in (("loss", loss, r.shape[:1]), ("gradient", gradient, r.shape)):
            if array.shape != shape:
                raise LossError(
                    f"the outer loss {self.label} returned a {what} of shape {array.shape} for readouts of shape "
                    f"{r.shape}; it must be {shape}"
                )
            if not np.all(np.isfinite(array)):
                raise LossError(f"the outer loss {self.label} returned a {what} that is not finite")
        return loss, gradient

    @property
    def label(self) -> str:
        """Its name for people: `name`, the formula, or the function's own name."""
        return self.name or getattr(self.function, "__qualname__", type(self.function).__name__)


MOST_OUTPUTS = 10_000
"""Of a formula: each is a symbol with a derivative."""


def formula(text: str | sp.Expr, n_outputs: int, compares: str = "labels") -> Function:
    """An outer loss as an expression in r0, r1, ... and y0, y1, ...; its gradient is derived.

    Args:
        text: e.g. "(r0 - y0)**2 + 0.1 * r1**2", or a sympy expression.
        n_outputs: K, number of readouts r0, r1, ...
        compares: "targets": y are those of the data; "labels": 1 for the correct output and 0 for the others.

    Example:
        >>> error = formula("(r0 - y0)**2 + (r1 - y1)**2", 2)
        >>> value, slope = error.function(np.array([[0.5, 0.0]]), np.array([0]))
        >>> value.tolist(), slope.tolist()
        ([0.25], [[-1.0, 0.0]])

    Raises:
        LossError: for a symbol that does not exist.
    """
    text = str(text)
    if not 1 <= n_outputs <= MOST_OUTPUTS:
        raise LossError(f"formula: n_outputs must be from 1 to {MOST_OUTPUTS:,}, got {shown(n_outputs)}")
    r, y = (tuple(symbol(f"{letter}{i}") for i in range(n_outputs)) for letter in "ry")
    try:
        expr = parse(text, {str(s): s for s in (*r, *y)}, "outer loss")
    except ModelError as error:
        raise LossError(str(error)) from None
    evaluate = numpy_function([*r, *y], [expr, *(sp.diff(expr, s) for s in r)], cse=True)

    def function(readout: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answers = target if target.ndim == 2 else np.equal(np.arange(n_outputs), target[:, None]).astype(np.float64)
        with np.errstate(all="ignore"):  # what is not finite gets a message of its own
            values = evaluate(*readout.T, *answers.T)
        loss, *gradient = (np.broadcast_to(np.asarray(v, dtype=np.float64), len(readout)) for v in values)
        return loss, np.stack(gradient, axis=1)

    return Function(function, compares, text, text, n_outputs)


class UnavailableLoss(Function):
    """The place of an outer loss that is a Python function somewhere else: enough to predict, not to train.

    The loss of every sample is 0; `Trainer.fit` refuses it.
    """

    def __init__(self, compares: str, name: str) -> None:
        super().__init__(_no_loss, compares, name)


def _no_loss(r: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(r)), np.zeros_like(r)


@lru_cache(maxsize=64)
def score_function(score: sp.Expr, names: tuple[str, ...]) -> Callable[..., np.ndarray]:
    """The score alone."""
    return numpy_function([symbol(n) for n in names], score)


@lru_cache(maxsize=64)
def score_functions(score: sp.Expr, term: sp.Expr, names: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
    """[score, term, dscore/dr, dterm/dr] as a NumPy function of `names`, r first."""
    r = symbol("r")
    return numpy_function([symbol(n) for n in names], [score, term, sp.diff(score, r), sp.diff(term, r)])
