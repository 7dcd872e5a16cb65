"""Further sources of a random network: currents on time grids of their own, and other inputs of spikes."""

from __future__ import annotations

from functools import partial

import numpy as np

from genn_eventprop import Dense, Events, Network, OneToOne, Sparse
from genn_eventprop.data import Currents
from genn_eventprop.modelling import Array, Current, Input, Population
from genn_eventprop.modelling.connectivity import Connectivity

from .dice import Dice


def add_currents(net: Network, twins: set[str], dice: Dice, dt: float, duration: float, alone: bool = False) -> None:
    """One to three sources into populations that are not all alike, each through one of the ways there are; alone: the
    network has no other input, and its first population gets one of them."""
    targets = [p for p in net.populations if p.name not in twins]
    for i in range(dice.pick((1, 2, 3)) if targets or alone else 0):
        target = net.populations[0] if alone and (i == 0 or not targets) else dice.pick(targets)
        one_to_one = dice.bernoulli(0.25)
        size = target.size if one_to_one else dice.pick((1, 3, 8))
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
        kind = OneToOne(Array(weights(size=size))) if one_to_one else dice.pick(kinds if mask.any() else kinds[:1])
        named = [*target.model.drives, *target.model.receptors]
        net.connect(
            source, target, kind, receptor=dice.pick(named), trainable=dice.bernoulli(0.7),
            delay=dice.pick([d for d in (0.0, dt, 0.4 * dt, 0.3 * duration) if d < duration]),
        )  # fmt: skip


def add_inputs(net: Network, twins: set[str], dice: Dice, dt: float, duration: float) -> None:
    """One or two inputs of spikes beside the first, each into one or two populations that are not all alike."""
    targets = [p for p in net.populations if p.name not in twins]
    for i in range(dice.pick((1, 2)) if targets else 0):
        source = net.input(dice.pick((1, 2, 5)), name=("more", "other")[i])
        for target in dict.fromkeys([dice.pick(targets), dice.pick(targets)]):
            _connect_input(net, source, target, dice, [d for d in (0.0, dt, 0.5 * dt, 0.3 * duration) if d < duration])


def _connect_input(net: Network, source: Input, target: Population, dice: Dice, delays: list[float]) -> None:
    rng = dice.numbers()
    weights = rng.normal(0.5, 0.4, (source.size, target.size))
    mask = rng.random(weights.shape) < 0.6
    kinds: tuple[Connectivity, ...] = (Dense(Array(weights)), Dense(Array(weights), mask=mask))
    if mask.any():
        kinds += (Sparse(Array(weights[mask]), pairs=np.argwhere(mask)),)
    net.connect(
        source, target, dice.pick(kinds), receptor=dice.pick([*target.model.receptors]),
        trainable=dice.bernoulli(0.7), delay=dice.pick(delays),
    )  # fmt: skip


def draw_inputs(sources: list[Input], samples: int, dice: Dice, duration: float) -> dict[str, Events]:
    """Spikes of every further input, few or none in a sample."""
    found = {}
    for source in sources:
        rng = dice.numbers()
        counts = [dice.pick((4, 0, 1, 12)) for _ in range(samples)]
        trials = [(np.sort(rng.uniform(0.0, duration, n)), rng.integers(0, source.size, n)) for n in counts]
        found[source.name] = Events.from_samples(trials, source.size)
    return found


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
