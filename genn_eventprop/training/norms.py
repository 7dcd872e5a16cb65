"""Norm constraints: after every update the weights into a neuron are scaled down to a maximum norm."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingError, check_finite, suggest
from ..modelling import Connection, Conv2D, Pool2D
from ..plan.synapse_tables import Tables
from .callbacks import Callback
from .silent_neurons import bounded

if TYPE_CHECKING:
    from .epoch_statistics import EpochStatistics
    from .trainer import Trainer


class MaxNorm(Callback):
    """The L2 norm of a connection's weights into each target stays at most `most`: w <- w min(1, most / ||w||).

    Bounds, signs and weights that are not learned come first: the norm may then be larger.
    For a `Conv2D` the norm is that of the weights of each output channel; `Pool2D` is not constrained.

    Args:
        most: the largest norm, > 0.
        pattern: name pattern of the connections, among the learned ones.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[MaxNorm(2.0, "input_*")])

    Source: Srebro & Shraibman 2005 (max norm); Srivastava et al. 2014, with dropout.
    """

    def __init__(self, most: float, pattern: str = "*") -> None:
        check_finite(most, "MaxNorm: most", SettingError, above=True)
        self.most, self.pattern = float(most), pattern

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        fitting = [
            c
            for c in trainer.network.connections
            if c.trainable and not c.share and not isinstance(c.connectivity, Pool2D)
        ]
        self.connections = [c for c in fitting if fnmatch.fnmatchcase(c.name, self.pattern)]
        if not self.connections:
            hint = suggest(self.pattern, [c.name for c in fitting])
            raise SettingError(f"MaxNorm: no learned connection matches {self.pattern!r}; {hint}")
        self._tables = Tables(trainer.plan)

    def end_batch(self, trainer: Trainer, epoch: int, batch: int, statistics: EpochStatistics) -> None:
        for c in self.connections:
            weight = np.array(trainer.engine.parameters[f"{c.name}.weight"], np.float64)
            group = self._targets(trainer, c)
            norm = np.sqrt(np.bincount(group, weight.ravel() ** 2))
            scale = np.minimum(1.0, self.most / np.maximum(norm, 1e-300))
            if (scale < 1).any():
                scaled = weight * scale[group].reshape(weight.shape)
                trainer.engine.parameters[f"{c.name}.weight"][...] = bounded(trainer, c, scaled)

    def _targets(self, trainer: Trainer, c: Connection) -> np.ndarray:
        """(W,) to which target, or output channel, every weight leads."""
        weights = int(np.prod(c.weight_shape))
        if c.connectivity.form == "dense" or isinstance(c.connectivity, Conv2D):
            return np.arange(weights) % c.weight_shape[-1]
        record = next(r for r in trainer.plan.connections if r.name == c.name)
        table = self._tables.of(record, trainer.engine.parameters)
        targets = np.empty(weights, np.int64)
        targets[table.weights] = table.target
        return targets
