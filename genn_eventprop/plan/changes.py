"""Currents as arrivals: where one changes, the state that stands for it jumps by the difference.

In every step it begins at 0 and jumps to its value: else rounding of all jumps would add up. So a population that is
linear between spikes stays so, and has a closed form with currents, too. Each jump of the drive of a population is a
spike of an input channel of its own, whose weights are the differences of all neurons: values of a call. Their gradient
is lambda of the state, which gives dL/du; see `engines/native/changes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from .connection import ConnectionRecord
from .records import Plan, PopulationRecord

ROOM = 512
"""Changes of a population that a call has room for."""


@dataclass(frozen=True)
class Jumps:
    """The arrivals at a state of a population: of the current of a receptor, or with `slope` of its slope.

    They come through connection number `connection` with these `weight`, from `first` and the channels behind it.
    """

    population: str
    receptor: str
    slope: bool
    connection: int
    weight: str
    first: int


@lru_cache(maxsize=64)
def as_arrivals(plan: Plan) -> tuple[Plan, tuple[Jumps, ...]]:
    """The plan with arrivals in place of currents, and what they are."""
    if not plan.currents_into:
        return plan, ()
    own, source = {plan.input.name: (0, plan.input.size)}, plan.input.name or _new("changes", plan.numbers)
    connections = [replace(c, channels=c.channels or own.get(c.source)) for c in plan.connections]
    populations, jumps, first = [], list[Jumps](), plan.input.size
    for p in plan.populations:
        moved = dict[str, sp.Matrix]()
        for receptor, states in p.drives.items():
            for slope, state in enumerate(s for s in states if s):
                moved[state] = sp.Matrix([int(v == state) for v in p.derived.states])
                name = _new(f"{p.name}_{state}", (c.name for c in plan.connections))
                c = _changes(name, source, p, state, first)
                jumps.append(Jumps(p.name, receptor, bool(slope), len(connections), c.weight, first))
                connections.append(c)
                first += ROOM
        derived = replace(p.derived, receptors={**p.derived.receptors, **moved})
        populations.append(replace(p, drives={}, derived=derived, anew=tuple(moved)) if moved else p)
    every, input_ = tuple(connections), replace(plan.input, name=source, size=first)
    changed = replace(
        plan, input=input_, populations=tuple(populations), connections=every, currents=(), currents_into=()
    )
    return changed, tuple(jumps)


def _new(name: str, known: Iterable[str]) -> str:
    taken = set(known)
    while name in taken:
        name += "_"
    return name


def _changes(name: str, source: str, p: PopulationRecord, state: str, first: int) -> ConnectionRecord:
    return ConnectionRecord(
        name=name, source=source, target=p.name, pre=ROOM, post=p.size, receptor=state, delay=0.0,
        delay_steps=0, trainable=True, form="dense", weight_shape=(ROOM, p.size), channels=(first, first + ROOM),
    )  # fmt: skip
