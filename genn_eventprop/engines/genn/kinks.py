"""Whose spikes arrived at the kink of a maximum: looked up on the device, among the kept spikes.

The host knows the steps of the maxima, and gives for each connection the step at which a spike would have been sent; a
custom update of the source answers with one bit an output, 32 of them a word. So the store of spikes stays where it is.
"""

from __future__ import annotations

import numpy as np

from ...plan import ConnectionRecord, Plan
from .readouts import READOUTS
from .text import NeuronText, UpdateText, indent
from .updates import neuron_update

GROUP = "kink_hits"


def connections(plan: Plan) -> list[ConnectionRecord]:
    """Those whose spikes share the kink, without the input's, which the host has."""
    into = plan.into(plan.output.name) if READOUTS[plan.loss.readout].kink else ()
    return [c for c in into if c.source != plan.input.name]


def asked(c: ConnectionRecord) -> str:
    """Array of the source: (B, K) step at which a spike would have been sent, -1 where there is no kink."""
    return f"kink_asked_{c.name}"


def hits(c: ConnectionRecord) -> str:
    """Array of the source: (B, W, M) whether a neuron did send it, bit k % 32 of word k // 32."""
    return f"kink_hits_{c.name}"


def n_words(plan: Plan) -> int:
    return -(-plan.output.size // 32)


def arrays(plan: Plan, population: str) -> list[tuple[str, str]]:
    mine = [c for c in connections(plan) if c.source == population]
    return [a for c in mine for a in ((asked(c), "int"), (hits(c), "uint32_t"))]


def updates(plan: Plan, populations: dict[str, tuple[int, NeuronText]]) -> dict[str, UpdateText]:
    """One for each connection, group `kink_hits`."""
    return {
        hits(c): neuron_update(
            GROUP, c.source, populations[c.source][1], (), _code(plan, c), params=(("capacity", "int"),)
        )
        for c in connections(plan)
    }


def _code(plan: Plan, c: ConnectionRecord) -> str:
    K = plan.output.size
    body = f"""\
uint32_t bits = 0;
uint32_t bit = 1;
for (int k = 32 * w; k < 32 * w + 32 && k < {K}; k++) {{
    const int sent = {asked(c)}[batch * {K} + k];
    for (int i = 0; sent > 0 && i < n_spikes; i++) {{
        if (spike_step[base + i] == sent) {{
            bits = bits | bit;
        }}
    }}
    bit = bit * 2;
}}
{hits(c)}[(batch * {n_words(plan)} + w) * num_neurons + id] = bits;
"""
    head = "const int base = (batch * num_neurons + id) * capacity;\n"
    return head + f"for (int w = 0; w < {n_words(plan)}; w++) {{\n{indent(body)}}}\n"


def unpacked(words: np.ndarray, n: int) -> np.ndarray:
    """(B, n, M) bool of (B, W, M) words."""
    k = np.arange(n)
    return (words[:, k // 32] >> (k % 32).astype(np.uint32)[:, None]) & 1 > 0
