"""Random networks for `genn_eventprop.verify.engines`, and those that found faults.

`dice` (what decides) -> `layout` (what is compiled in: models, sizes, connections, loss), `wiring` (tables of synapses,
individual delays, shared weights) -> `networks` (numbers, input, targets: a `Case`). `draw` does all of it by a
seed; `coverage` says what a network has. `known` has the networks that found faults.
"""

from .coverage import ASKED_FOR, FEATURES, features
from .dice import Dice, Random
from .draw import ALSO, draw
from .layout import Layout, draw_layout, with_births, with_modes, with_sharp_spikes
from .networks import draw_case
from .wiring import wired

__all__ = [
    "ALSO", "ASKED_FOR", "FEATURES", "Dice", "Layout", "Random", "draw", "draw_case", "draw_layout", "features",
    "wired", "with_births", "with_modes", "with_sharp_spikes",
]  # fmt: skip
