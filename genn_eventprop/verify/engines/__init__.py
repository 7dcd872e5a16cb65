"""Random networks, every engine that is there against a reference that shares no code with it.

`dice` (what decides) -> `layout` (what is compiled in: models, sizes, connections, loss), `wiring` (tables of synapses,
delays that are values, on request) -> `networks` (numbers, input, targets: a `Case`) -> `check` (engines and reference
on a case, `Verdict`s). `known` has the networks that found faults.
"""

from .check import ENGINES, Verdict, check, made
from .dice import Dice, Random
from .layout import Layout, draw_layout
from .networks import Case, draw_case
from .wiring import wired

__all__ = [
    "ENGINES",
    "Case",
    "Dice",
    "Layout",
    "Random",
    "Verdict",
    "check",
    "draw_case",
    "draw_layout",
    "made",
    "wired",
]
