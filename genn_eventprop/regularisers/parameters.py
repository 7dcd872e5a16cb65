"""Regularisers of parameters: weight decay and clamps. Exact, and the same on every engine: the optimiser does them."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from ..errors import SettingError, check_finite, suggest
from ..losses import Loss
from ..modelling.network import Network


class _OfParameters:
    """Acts on the learned parameters whose names match `pattern`."""

    pattern: str

    def check(self, network: Network, loss: Loss) -> None:
        """Raise `SettingError` if no learned parameter of `network` matches, whatever the `loss`."""
        if not self.names(network):
            raise SettingError(
                f"{type(self).__name__}: no learned parameter matches {self.pattern!r}; "
                f"{suggest(self.pattern, network.trainable())}"
            )

    def names(self, network: Network) -> list[str]:
        """The learned parameters of `network` that this acts on."""
        return [name for name in network.trainable() if fnmatch.fnmatchcase(name, self.pattern)]


@dataclass(frozen=True)
class WeightDecay(_OfParameters):
    """L += 1/2 strength sum x^2, so the gradient of every matching parameter gets strength x.

    Args:
        strength: of the penalty.
        pattern: name pattern of the parameters, e.g. ``"hidden_*.weight"``.

    This is L2: Adam divides it by its running scale like the rest of the gradient. For decay that is decoupled from
    the gradient (x <- x - eta decay x) take `optimisers.AdamW`; under plain SGD both are the same. It is added
    after clipping of the gradient norm. Not a surrogate.

    Source: Krogh & Hertz 1991, "A simple weight decay can improve generalization"; decoupled: Loshchilov & Hutter
    2019, arXiv 1711.05101.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, regularisers=[WeightDecay(1e-4, "hidden_*.weight")])
    """

    strength: float
    pattern: str = "*.weight"

    def __post_init__(self) -> None:
        check_finite(self.strength, "WeightDecay: strength", SettingError)


@dataclass(frozen=True)
class Clamp(_OfParameters):
    """Matching parameters stay within [lower, upper], enforced after every update.

    Args:
        lower, upper: None for open.
        pattern: name pattern of the parameters.

    The tighter of this and the bounds of `Dense` or `Param` holds; `bounds` of the optimiser replace both.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, regularisers=[Clamp(-3.0, 3.0)])  # all learned weights
        >>> faster = Clamp(3.0, None, "hidden.tau_mem")  # ms
    """

    lower: float | None
    upper: float | None
    pattern: str = "*.weight"

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise SettingError("Clamp: give a lower bound, an upper bound or both")
        if self.lower is not None and self.upper is not None and not self.lower <= self.upper:
            raise SettingError(f"Clamp: bounds ({self.lower}, {self.upper}) are the wrong way round")
