"""A random network by numbers: of a seed, of its structure (what is compiled in), and of what runs on it."""

from __future__ import annotations

from collections.abc import Collection

from genn_eventprop.verify.engines import Case

from .dice import Random
from .layout import Layout, draw_layout, with_births, with_modes, with_sharp_spikes
from .networks import draw_case
from .wiring import wired

WIRING, AUXILIARY, KIND, CURRENTS, INPUTS, BIRTHS, MODES, SHARP = 1, 2, 3, 4, 5, 6, 7, 8  # streams of their own
ALSO = ("currents", "alone", "inputs", "births", "modes", "sharp")


def draw(spike_times: str, seed: int, structure: int, number: int = 0, also: Collection[str] = ()) -> Case:
    """A network, half of them with tables of synapses and individual delays, a fifth with auxiliary losses.

    also: what it has besides, of `ALSO`: "currents", beside its spikes or "alone", further "inputs" of spikes,
    gradients that see "births", models with "modes", exponential neurons with "sharp" spikes.

    Raises:
        EventPropError: where the network is refused.
    """
    layout, several = draw_structure(spike_times, seed, structure, also)

    def stream(number: int, asked: bool) -> Random | None:
        return Random(seed, structure, 0, number) if asked else None

    alone = "alone" in also
    return draw_case(
        layout, Random(seed, structure, number), stream(AUXILIARY, several),
        stream(CURRENTS, alone or "currents" in also), alone=alone,
        several=stream(INPUTS, "inputs" in also and not alone), births=stream(BIRTHS, "births" in also),
    )  # fmt: skip


def draw_structure(
    spike_times: str, seed: int, structure: int, also: Collection[str] = ()
) -> tuple[Layout, bool]:  # fmt: skip
    """(its layout, whether it has auxiliary losses)."""
    layout, kind = draw_layout(Random(seed, structure), spike_times), Random(seed, structure, 0, KIND)
    tables, several = kind.bernoulli(0.5), kind.bernoulli(0.2) and layout.loss != "several"
    if "modes" in also:
        layout = with_modes(layout, Random(seed, structure, 0, MODES))
    if "sharp" in also:
        layout = with_sharp_spikes(layout, Random(seed, structure, 0, SHARP))
    if "births" in also:
        layout = with_births(layout, Random(seed, structure, 1, BIRTHS))
    return (wired(layout, Random(seed, structure, 0, WIRING)) if tables else layout), several
