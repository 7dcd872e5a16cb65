"""Revival of silent neurons, which receive no gradient: their incoming weights are changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingError, check_known
from ..modelling import Connection, Conv2D, Pool2D
from ..modelling.parameters import Array, Constant
from ..plan.synapse_tables import Tables
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer

WAYS = ("redraw", "lift")


class Revive(Callback):
    """Change the incoming weights of neurons that were silent for a whole epoch.

    "redraw" draws all weights into the neuron again from their connection's initialiser, in a random stream of the
    epoch and the connection. "lift" increases all of them by `amount`. Only learned connections from other populations
    are changed, within their bounds. The metric ``revived`` counts the neurons changed before an epoch.

    Args:
        how: "redraw" or "lift".
        amount: of a lift, in units of the weights.
        populations: their names; None: all that can spike except the output.

    Raises:
        SettingError: an unknown way or population, or weights that cannot be redrawn because they were given.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852 (redraw; lift by 0.002 in the final runs).

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[Revive("lift", 0.002)])
    """

    def __init__(self, how: str = "redraw", amount: float = 0.002, populations: Iterable[str] | None = None) -> None:
        check_known(how, WAYS, SettingError, f"Revive: how={how!r} (")
        if not np.isfinite(amount):
            raise SettingError(f"Revive: amount must be a finite number, got {amount}")
        self.how, self.amount = how, float(amount)
        self.populations = None if populations is None else tuple(populations)
        self.revived: dict[str, int] = {}

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        spiking = [p.name for p in trainer.plan.populations if p.spiking]
        names = self.populations
        if names is None:
            names = tuple(name for name in spiking if name != trainer.plan.output.name)
        for name in names:
            check_known(name, spiking, SettingError, f"Revive: no population {name!r} that spikes (")
        self.into = {name: incoming(trainer, name) for name in names}
        shared = [c for cs in self.into.values() for c in cs if isinstance(c.connectivity, (Conv2D, Pool2D))]
        if shared:
            raise SettingError(
                f"Revive: the neurons of {shared[0].target.name!r} share the weights of {shared[0].name!r} "
                f"({type(shared[0].connectivity).__name__}), which cannot be changed for one of them; name the other "
                "populations"
            )
        fixed = [
            c.name for cs in self.into.values() for c in cs if isinstance(c.connectivity.weight, (Array, Constant))
        ]
        if self.how == "redraw" and fixed:
            raise SettingError(
                f"Revive: the weights of {fixed[0]!r} were given, so they cannot be redrawn; use Revive('lift')"
            )

    def start_epoch(self, trainer: Trainer, epoch: int) -> None:
        self.revived = {}
        for name, connections in self.into.items():
            silent = trainer.silent.get(name, np.zeros(0, bool))
            for c in connections if silent.any() else ():
                self._change(trainer, c, silent, epoch)
                self.revived[name] = int(silent.sum())

    def _change(self, trainer: Trainer, c: Connection, silent: np.ndarray, epoch: int) -> None:
        weight = trainer.engine.parameters[c.weight_name]
        theirs = _into(trainer, c, silent)
        if self.how == "lift":
            new = weight + self.amount
        else:
            stream = trainer.streams.at(f"redraw {c.name}", epoch)
            fan_in = c.connectivity.fan_in(c.source.shape, c.target.shape)
            new = c.initialiser.sample(stream, c.weight_shape, fan_in)
            if c.from_data:  # drawn without a scale; that of now is the one that the data and the training have set
                new *= np.sqrt(np.mean(np.square(weight)) / np.mean(np.square(new)))
        weight[...] = np.where(theirs, bounded(trainer, c, new), weight)

    def end_epoch(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        metrics["revived"] = dict(self.revived)

    def state_dict(self) -> dict[str, Any]:
        return {"revived": self.revived}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.revived = dict(state["revived"])


def _into(trainer: Trainer, c: Connection, neurons: np.ndarray) -> np.ndarray:
    """Which weights lead to some neurons (N,) bool of the target: bool, in the shape of the weights or (1, N)."""
    if c.connectivity.form == "dense":
        return neurons[None]
    record = next(r for r in trainer.plan.connections if r.name == c.name)
    table = Tables(trainer.plan).of(record, trainer.engine.parameters)
    mask = np.zeros(c.weight_shape, bool)
    mask.reshape(-1)[table.weights[neurons[table.target]]] = True
    return mask


def incoming(trainer: Trainer, population: str) -> list[Connection]:
    """The learned connections into a population from others, with weights of their own."""
    into = (c for c in trainer.network.connections if c.target.name == population and c.share is None)
    return [c for c in into if c.source is not c.target and c.trainable]


def bounded(trainer: Trainer, c: Connection, weight: np.ndarray) -> np.ndarray:
    """`weight` within the bounds that the optimiser keeps; what is not learned keeps its value."""
    low, high = trainer.optimiser.bounds_of(c.weight_name)
    return weight if low is None and high is None else np.clip(weight, low, high)
