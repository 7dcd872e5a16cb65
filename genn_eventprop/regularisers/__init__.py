"""Regularisers: penalties on a network in addition to its loss. `Trainer` and `make_plan` accept several.

| class | what it does | surrogate |
|---|---|---|
| `SpikeCount` | pushes every neuron towards a number of spikes, from both sides | yes |
| `LayerRate` | pushes a whole population below a number of spikes | yes |
| `WeightDecay` | L2 penalty on parameters | no, exact |
| `Clamp` | keeps parameters within bounds | no |
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..arguments import explain
from ..errors import SettingError, shown
from ..losses import Loss
from ..modelling.network import Network
from .parameters import Clamp, WeightDecay
from .published import published_scale
from .record import SpikePush
from .spikes import LayerRate, SpikeCount, SpikeRegulariser, pushed_state

Regulariser = SpikeRegulariser | WeightDecay | Clamp

REGULARISERS: dict[str, Callable[..., Regulariser]] = {
    "spike_count": SpikeCount,
    "layer_rate": LayerRate,
    "weight_decay": WeightDecay,
    "clamp": Clamp,
}
"""Regularisers by name, for the command line and configuration files."""


def checked(regularisers: Iterable[Any], network: Network, loss: Loss) -> tuple[Regulariser, ...]:
    """The regularisers as a tuple.

    Args:
        regularisers: of a `Trainer`.
        network, loss: those that they must fit.

    Raises:
        SettingError: for something that is none, or does not fit the network.
    """
    several = isinstance(regularisers, Iterable) and not isinstance(regularisers, str)
    regularisers = tuple(regularisers) if several else (regularisers,)
    for r in regularisers:
        if not isinstance(r, Regulariser):
            raise SettingError(
                f"a regulariser must be e.g. SpikeCount(population), got {shown(r)}; known: {', '.join(REGULARISERS)}"
            )
        r.check(network, loss)
    return regularisers


__all__ = [
    "REGULARISERS",
    "Clamp",
    "LayerRate",
    "Regulariser",
    "SpikeCount",
    "SpikePush",
    "SpikeRegulariser",
    "WeightDecay",
    "checked",
    "published_scale",
    "pushed_state",
]

explain(globals(), __all__, SettingError)
