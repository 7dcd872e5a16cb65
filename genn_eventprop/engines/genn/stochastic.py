"""Noise on V and spike dropout as GeNN text: the numbers of `engines/stochastic.py`, in training networks alone.

The host makes the step keys, two words of 32 bits for every example and step; a neuron mixes its own number into them.
Where the network runs without noise, `stochastic_noise` and `stochastic_dropout` are 0. Shifts to the right are written
as divisions: GeNN 5.4.0 cannot parse `>>`.
"""

from __future__ import annotations

import math

import numpy as np

from ...plan import Plan, PopulationRecord
from ..stochastic import TABLE_BITS, limit, step_words
from .text import indent

PARAMS = (("stochastic_noise", "scalar"), ("stochastic_dropout", "uint32_t"))
ARRAYS = (
    ("stochastic_quantiles", "scalar"),
    ("stochastic_noise_key", "uint32_t"),
    ("stochastic_dropout_key", "uint32_t"),
)
TABLE = f"stochastic_quantiles[{{}} & {(1 << TABLE_BITS) - 1}U]"


def numbers(plan: Plan, population: str, acts: bool) -> dict[str, float]:
    """Values of `PARAMS`; acts: whether there is noise and dropout in this run."""
    p = next((p for p in plan.populations if p.name == population), None)
    if p is None or not acts:
        return {"stochastic_noise": 0.0, "stochastic_dropout": 0}
    return {"stochastic_noise": p.noise * math.sqrt(plan.dt), "stochastic_dropout": min(limit(p.dropout), 2**32 - 1)}


def words(key: np.ndarray, n_steps: int) -> np.ndarray:
    """(B, 2 K) uint32, the low and the high word of every step's key; key (B,)."""
    low, high = step_words(key[:, None], np.arange(1, n_steps + 1))
    return np.stack([low, high], axis=2).reshape(len(key), -1)


def noise(p: PopulationRecord) -> str:
    """After the step of the dynamics."""
    if p.noise == 0:
        return ""
    drawn = f"{TABLE.format('stochastic_bits')} + {TABLE.format(f'(stochastic_bits / {1 << TABLE_BITS}U)')}"
    return f"{{\n{indent(_bits('noise') + f'{p.noisy_state} += stochastic_noise * ({drawn});')}}}\n"


def lost(p: PopulationRecord, crossed: str) -> str:
    """Sets `stochastic_lost` where a spike is found."""
    return f"if ({crossed}) {{\n{indent(draw_lost())}}}\n"


def draw_lost() -> str:
    return _bits("dropout") + "stochastic_lost = stochastic_bits < stochastic_dropout;\n"


def _bits(kind: str) -> str:
    key = f"stochastic_{kind}_key[2 * (batch * n_steps + step)"
    mixing = """\
stochastic_bits = (stochastic_bits ^ (stochastic_bits / 65536U)) * 0x7FEB352DU;
stochastic_bits = (stochastic_bits ^ (stochastic_bits / 32768U)) * 0x846CA68BU;
stochastic_bits = stochastic_bits ^ (stochastic_bits / 65536U);
"""
    first, second = f"(uint32_t)id ^ {key}];\n", f"stochastic_bits ^ {key} + 1];\n"
    return f"uint32_t stochastic_bits = {first}{mixing}stochastic_bits = {second}{mixing}"
