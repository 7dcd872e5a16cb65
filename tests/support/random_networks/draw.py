"""A random network by numbers: of a seed, of its structure (what is compiled in), and of what runs on it."""

from __future__ import annotations

from genn_eventprop.verify.engines import Case

from .dice import Random
from .layout import Layout, draw_layout
from .networks import draw_case
from .wiring import wired

WIRING, AUXILIARY, KIND, CURRENTS = 1, 2, 3, 4  # streams of their own


def draw(spike_times: str, seed: int, structure: int, number: int = 0, currents: bool = False) -> Case:
    """A network, half of them with tables of synapses and individual delays, a fifth with auxiliary losses.

    currents: whether it has these beside its spikes.

    Raises:
        EventPropError: where the network is refused.
    """
    layout, several = draw_structure(spike_times, seed, structure)
    more = Random(seed, structure, 0, AUXILIARY) if several else None
    driven = Random(seed, structure, 0, CURRENTS) if currents else None
    return draw_case(layout, Random(seed, structure, number), more, driven)


def draw_structure(spike_times: str, seed: int, structure: int) -> tuple[Layout, bool]:
    """(its layout, whether it has auxiliary losses)."""
    layout, kind = draw_layout(Random(seed, structure), spike_times), Random(seed, structure, 0, KIND)
    tables, several = kind.bernoulli(0.5), kind.bernoulli(0.2) and layout.loss != "several"
    return (wired(layout, Random(seed, structure, 0, WIRING)) if tables else layout), several
