"""`Delay`: individual delays, one per synapse, source or target, fixed or learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import NetworkError, check_known, is_number
from .parameters import Array, Constant, Initialiser, as_initialiser

KINDS = ("synaptic", "axonal", "dendritic")


class Delay:
    """Delays of a connection as the parameter "connection.delay", in ms.

    Args:
        initial: initialiser, number or array; random draws are clipped to 0 .. max.
        kind: "synaptic": one for each weight, in the shape of the weights (a shared weight shares its delay);
            "axonal": one for each source (M,); "dendritic": one for each target (N,).
        trainable: learn them.
        max: upper bound of the delays in ms, which determines the size of the engine's buffers.

    Spikes that arrive at or after the end of the trial are lost. On the grid a delay is rounded to whole steps; for its
    gradient see docs/connectivity.md.

    Example:
        >>> late = net.connect(inp, hidden, Dense(), delay=Delay(Uniform(0, 20), max=60.0), name="late")
        >>> late.delay_shape
        (4, 8)
    """

    def __init__(self, initial: Any, *, kind: str = "synaptic", trainable: bool = True, max: float = 60.0) -> None:
        self.initial: Initialiser = as_initialiser(initial, "Delay")
        check_known(kind, KINDS, NetworkError, f"Delay: kind={kind!r} (")
        if not is_number(max) or not 0 < max < math.inf:
            raise NetworkError(f"Delay: max must be a finite time > 0 ms, got {max!r}")
        self.kind, self.trainable, self.max = kind, bool(trainable), float(max)

    @property
    def bounds(self) -> tuple[float, float]:
        """(0, max), which the optimiser keeps."""
        return (0.0, self.max)

    def shape(self, weights: tuple[int, ...], pre: int, post: int) -> tuple[int, ...]:
        """Shape of the delays of a connection whose `weights` have that shape, between `pre` sources and `post`
        targets."""
        return {"synaptic": weights, "axonal": (pre,), "dendritic": (post,)}[self.kind]

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], where: str) -> np.ndarray:
        """Initial delays in ms, within 0 .. max.

        Args:
            rng: random stream. shape: see `shape`. where: the parameter's name in messages.
        """
        try:
            values = self.initial.sample(rng, shape, 1)
        except NetworkError as error:
            raise NetworkError(f"{where}: {error} ({self.kind} delays)") from None
        clipped = np.clip(values, 0.0, self.max)
        if isinstance(self.initial, (Array, Constant)) and not np.array_equal(clipped, values):
            raise NetworkError(
                f"{where}: given delays of {values.min():g} to {values.max():g} ms lie outside 0 to max={self.max:g} ms"
            )
        return clipped


def as_delay(value: Any, name: str) -> tuple[float, Delay | None]:
    """(fixed delay in ms, None) of a number, (0, delays) of an array, one for each weight, or of a `Delay`.

    Raises:
        NetworkError: for anything else, and for times that are negative or not finite.
    """
    if isinstance(value, Delay):
        return 0.0, value
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value):
        times = np.asarray(value)
        if not times.size or times.dtype.kind not in "iuf" or not np.isfinite(times).all() or (times < 0).any():
            raise NetworkError(f"connection {name!r}: delays must be finite times >= 0 ms")
        return 0.0, Delay(times, trainable=False, max=max(float(times.max()), 1e-9))
    if not (isinstance(value, (int, float, np.number)) and math.isfinite(value) and value >= 0):
        individual = f"Delay({value!r}, max=...)" if hasattr(value, "sample") else "an array, or Delay(...)"
        raise NetworkError(
            f"connection {name!r}: delay must be a finite time >= 0 ms, got {value!r}; for individual delays give "
            f"{individual}"
        )
    return float(value), None
