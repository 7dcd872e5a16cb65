"""Sparse connections whose pairs are learned too: Deep R, with a fixed number of synapses."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingError, check_finite, suggest
from ..modelling import Connection, Sparse
from .callbacks import Callback
from .silent_neurons import bounded

if TYPE_CHECKING:
    from .epoch_statistics import EpochStatistics
    from .trainer import Trainer

ACTIVE = 1e-12
"""Size of a new weight: as good as 0, with a sign."""


class Rewire(Callback):
    """Deep R: after every update, a synapse whose weight has changed sign is removed, and an unconnected pair of
    neurons gets a synapse instead, with a weight of 0, a random sign in which it may grow (or the sign of its source,
    if `connect` was given one), and a new random delay.

    Every update also reduces the size of every weight by ``l1`` times the learning rate and adds
    sqrt(2 eta temperature) N(0, 1), so that useless synapses reach 0. The number of synapses is constant. The metric
    ``rewired`` counts those rewired in an epoch.

    Args:
        pattern: name pattern of the connections, among the learned `Sparse` ones.
        l1: alpha, by which weights shrink, per learning rate.
        temperature: T of the noise.

    Source: Bellec, Kappel, Maass, Legenstein 2018, "Deep Rewiring", arXiv 1711.05136. Different: moments of the
    optimiser start at 0 with a new synapse, an average of weights with its own first weight.

    Example:
        >>> extra = net.connect(inp, hidden, Sparse(FanIn(), probability=0.5), name="extra")
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[Rewire("extra", l1=1e-3)])
    """

    def __init__(self, pattern: str = "*", l1: float = 0.0, temperature: float = 0.0) -> None:
        for name, value in (("l1", l1), ("temperature", temperature)):
            check_finite(value, f"Rewire: {name}", SettingError)
        self.pattern, self.l1, self.temperature = pattern, float(l1), float(temperature)
        self.rewired: dict[str, int] = {}

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        fitting = [c for c in trainer.network.connections if isinstance(c.connectivity, Sparse) and c.trainable]
        self.connections = [c for c in fitting if fnmatch.fnmatchcase(c.name, self.pattern)]
        if not self.connections:
            names = [c.name for c in fitting]
            raise SettingError(
                f"Rewire: no learned Sparse connection matches {self.pattern!r}; {suggest(self.pattern, names)}"
            )
        partly_learned = [c.name for c in self.connections if c.learned is not None]
        if partly_learned:
            raise SettingError(
                f"Rewire: some weights of {partly_learned[0]!r} are not learned, so they cannot be rewired"
            )
        for c in self.connections:
            _refuse_single(c)
        self._signs = {c.name: self._sign(trainer, c) for c in self.connections}

    def start_epoch(self, trainer: Trainer, epoch: int) -> None:
        self.rewired = {c.name: 0 for c in self.connections}

    def end_batch(self, trainer: Trainer, epoch: int, batch: int, statistics: EpochStatistics) -> None:
        for c in self.connections:
            self._after_update(trainer, c)

    def end_epoch(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        metrics["rewired"] = dict(self.rewired)

    def state_dict(self) -> dict[str, Any]:
        return {"rewired": self.rewired}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rewired = dict(state["rewired"])

    def _sign(self, trainer: Trainer, c: Connection) -> np.ndarray:
        """(S,) of every weight; those of sources rule where there are any. A weight of 0 has one, too."""
        sign = np.where(np.signbit(trainer.engine.parameters[f"{c.name}.weight"]), -1, 1)
        return self._of_sources(c, trainer.engine.parameters[f"{c.name}.pairs"][:, 0], _allowed(c, sign))

    def _of_sources(self, c: Connection, sources: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        if c.sign is None or len(c.sign) != c.shape[0]:
            return otherwise
        return np.where(c.sign[sources] == 0, otherwise, c.sign[sources])

    def _after_update(self, trainer: Trainer, c: Connection) -> None:
        name, parameters = f"{c.name}.weight", trainer.engine.parameters
        rng, sign = trainer.streams.at(f"rewire {c.name}", trainer.state.updates), self._signs[c.name]
        rate, weight = trainer.optimiser.rate_of(name), np.array(parameters[name], np.float64)
        weight -= rate * self.l1 * sign
        if self.temperature:
            weight += np.sqrt(2 * rate * self.temperature) * rng.standard_normal(len(weight))
        # what bounds hold at the border of its sign is 0
        low, high = trainer.optimiser.bounds_of(name)
        cut = np.flatnonzero((weight * sign < 0) | ((weight == 0) & (low is not None or high is not None)))
        if len(cut):
            self.rewired[c.name] += len(cut)
            self._rewire(trainer, c, cut, weight, sign, rng)
        elif self.l1 or self.temperature:
            parameters[name][...] = bounded(trainer, c, weight)

    def _rewire(
        self, trainer: Trainer, c: Connection, cut: np.ndarray, weight: np.ndarray, sign: np.ndarray,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """New pairs for the synapses `cut`; everything that belongs to a synapse stays sorted by its pair."""
        parameters = trainer.engine.parameters
        pairs = np.array(parameters[f"{c.name}.pairs"])
        pairs[cut] = free_pairs(pairs, cut, c.shape, rng)
        sign[cut] = self._of_sources(c, pairs[cut, 0], _allowed(c, rng.choice((-1, 1), len(cut))))
        weight[cut] = ACTIVE * sign[cut]
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        self._signs[c.name] = sign[order]
        parameters[f"{c.name}.pairs"][...] = pairs[order]
        if c.sign is not None:
            trainer.settle_bounds()
        parameters[f"{c.name}.weight"][...] = bounded(trainer, c, weight[order])
        new = {f"{c.name}.weight": weight}
        if c.delays is not None and c.delays.kind == "synaptic":
            name = f"{c.name}.delay"
            delays = np.array(parameters[name])
            delays[cut] = c.delays.draw(rng, delays.shape, name)[cut]
            parameters[name][...] = delays[order]
            new[name] = delays
        for name, values in new.items():
            for kind, moment in trainer.optimiser.state.get(name, {}).items():
                moments = np.array(moment)
                moments[cut] = values[cut] if kind == "average" else 0
                moment[...] = moments[order]


def _refuse_single(c: Connection) -> None:
    """Raise `SettingError` for constraints of single weights: a synapse that moves has none."""
    if c.sign is not None and c.sign.shape != (c.shape[0],):
        raise SettingError(
            f"Rewire: signs of single weights of {c.name!r} cannot go on to other pairs; give one for each source"
        )
    if any(np.ndim(b) for b in c.connectivity.bounds):
        raise SettingError(
            f"Rewire: bounds of single weights of {c.name!r} cannot go on to other pairs; give numbers for all"
        )


def _allowed(c: Connection, sign: np.ndarray) -> np.ndarray:
    """Signs of new synapses, which bounds on one side of 0 determine."""
    low, high = c.connectivity.bounds
    return np.where(low is not None and low >= 0, 1, np.where(high is not None and high <= 0, -1, sign))


def free_pairs(pairs: np.ndarray, cut: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(len(cut), 2) pairs, uniform among those of (M, N) that are not connected when the pairs `cut` are gone."""
    M, N = shape
    occupied = set(np.delete(pairs[:, 0].astype(np.int64) * N + pairs[:, 1], cut).tolist())
    if M * N - len(occupied) <= 4 * len(cut):
        unconnected = np.setdiff1d(np.arange(M * N), np.fromiter(occupied, np.int64, len(occupied)))
        keys = rng.choice(unconnected, len(cut), replace=False)
    else:
        new: list[int] = []
        while len(new) < len(cut):
            k = int(rng.integers(0, M * N))
            if k not in occupied:
                occupied.add(k)
                new.append(k)
        keys = np.array(new)
    return np.stack(np.divmod(keys, N), axis=1).astype(np.int32)
