"""Random networks, every engine that is there against a reference that shares no code with it.

`dice` (what decides) -> `layout` (what is compiled in: models, sizes, connections, loss), `wiring` (tables of synapses,
delays that are values, shared weights) -> `networks` (numbers, input, targets: a `Case`) -> `check` (engines and
reference on a case, `Verdict`s). `draw` does all of it by a seed; `coverage` says what a network has. `known` has the
networks that found faults.
"""

from .check import ENGINES, Verdict, check, made
from .coverage import FEATURES, features
from .dice import Dice, Random
from .draw import draw
from .layout import Layout, draw_layout
from .networks import Case, draw_case
from .wiring import wired

__all__ = [
    "ENGINES",
    "FEATURES",
    "Case",
    "Dice",
    "Layout",
    "Random",
    "Verdict",
    "check",
    "draw",
    "draw_case",
    "draw_layout",
    "features",
    "made",
    "wired",
]
