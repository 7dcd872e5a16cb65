"""All-to-all weights."""

from __future__ import annotations

import math
from typing import Any

from ...errors import NetworkError
from .base import Connectivity, Shape, as_mask


class Dense(Connectivity):
    """All-to-all weights.

    Args:
        weight: initialiser, number, or array of shape (M, N): row = one presynaptic neuron; None: scaled from data.
        bounds: (lower, upper), None for open; a number for all weights, or an array (M, N) with one for each.
        mask: (M, N); where it is False (0), the weight is and stays 0, at full cost (unlike `Sparse`).

    Example:
        >>> net.connect(inp, hidden, Dense(Normal(0.5, 0.2)), name="normal").weight_shape
        (4, 8)
        >>> net.connect(inp, hidden, Dense(0.1, mask=np.eye(4, 8)), name="masked").weight_shape
        (4, 8)
    """

    form = "dense"
    arguments = ("mask",)

    def __init__(self, weight: Any = None, bounds: tuple[Any, Any] = (None, None), *, mask: Any = None) -> None:
        super().__init__(weight, bounds)
        self.mask = None if mask is None else as_mask(mask, "Dense: mask")

    def check(self, source: Shape, target: Shape) -> None:
        wanted = self.weight_shape(source, target)
        if self.mask is not None and self.mask.shape != wanted:
            raise NetworkError(f"Dense: the mask has shape {self.mask.shape}, the weights have {wanted}")

    def options(self) -> dict[str, Any]:
        return {} if self.mask is None else {"mask": self.mask.astype(int).tolist()}

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (math.prod(source), math.prod(target))
