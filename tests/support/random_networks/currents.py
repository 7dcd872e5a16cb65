"""Currents for a random network: sources on time grids of their own, beside its spikes."""

from __future__ import annotations

from functools import partial

import numpy as np

from genn_eventprop import Dense, Network, OneToOne, Sparse
from genn_eventprop.data import Currents
from genn_eventprop.modelling import Array, Current
from genn_eventprop.modelling.connectivity import Connectivity

from .dice import Dice


def add_currents(net: Network, twins: set[str], dice: Dice, dt: float, duration: float) -> None:
    """One to three sources into populations that are not all alike, each through one of the ways there are."""
    targets = [p for p in net.populations if p.name not in twins]
    for i in range(dice.pick((1, 2, 3)) if targets else 0):
        target = dice.pick(targets)
        alone = dice.bernoulli(0.25)
        size = target.size if alone else dice.pick((1, 3, 8))
        source = net.current(
            size, dt=dice.pick((dt, 2.5 * dt, 0.7, 0.3 * dt, duration)), name=f"current{i}",
            interpolation=dice.pick(("constant", "linear")),
        )  # fmt: skip
        rng = dice.numbers()
        weights = partial(rng.normal, dice.pick((0.1, 0.3)), 0.2)
        mask = rng.random((size, target.size)) < 0.6
        kinds: tuple[Connectivity, ...] = (
            Dense(Array(weights(size=(size, target.size)))),
            Dense(Array(weights(size=(size, target.size))), mask=mask),
            Sparse(Array(weights(size=int(mask.sum()))), pairs=np.argwhere(mask)),
        )
        kind = OneToOne(Array(weights(size=size))) if alone else dice.pick(kinds if mask.any() else kinds[:1])
        named = [*target.model.drives, *target.model.receptors]
        net.connect(
            source, target, kind, receptor=dice.pick(named), trainable=dice.bernoulli(0.7),
            delay=dice.pick([d for d in (0.0, dt, 0.4 * dt, 0.3 * duration) if d < duration]),
        )  # fmt: skip


def draw_currents(sources: list[Current], samples: int, dice: Dice, duration: float) -> dict[str, Currents]:
    """Values of every source; those of some samples are zero, and some end before the trial."""
    found = {}
    for source in sources:
        rng = dice.numbers()
        steps = max(1, int(np.ceil(dice.pick((1.0, 0.5)) * duration / source.dt - 1e-9)))
        values = rng.normal(dice.pick((0.0, 1.0)), 1.0, (samples, steps, source.size))
        values *= (rng.random((samples, 1, 1)) < 0.85) / max(1.0, 0.1 * duration)
        found[source.name] = Currents(values, source.dt)
    return found
