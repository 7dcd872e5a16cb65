"""What one sample costs a network forwards, counted as NeuroBench counts: synaptic operations, spikes, sparsity.

Source: Yik et al. 2025, doi 10.1038/s41467-025-56739-4, "algorithm track", and the energies of Horowitz 2014,
doi 10.1109/ISSCC.2014.6757323.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..engines import Data
from ..plan import ConnectionRecord, Plan
from ..plan.synapse_tables import Tables

PICOJOULE, OF_PRODUCT = 0.9, 4.6
"""Of one addition, and of a product that is added, of 32-bit floating-point numbers in a 45 nm process, Horowitz 2014,
figure 1.1.9."""
WIDTH = 4
"""Bytes of a number, as NeuroBench's footprint is usually given: float32."""


def accounting(
    plan: Plan, parameters: Mapping[str, np.ndarray], spikes: Mapping[str, np.ndarray], data: Data
) -> dict[str, Any]:
    """The costs of a data set of S samples, as they go into results.json.

    synaptic_operations: mean of a sample: every spike, of the input too, counts once for each of its synapses whose
    weight is not zero (NeuroBench's effective ACs; there are no effective MACs, since all that arrives is spikes).
    dense_operations: the same if every source spiked in every time step; None with exact spike times, which have none.
    by_connection: synaptic operations of each. spikes: population -> spikes per neuron and sample.
    activation_sparsity: share of the neurons and time steps without a spike; None with exact spike times.
    connection_sparsity: share of the synapses with weight zero. parameters: numbers; footprint_bytes: in float32.
    energy_nJ: of the additions alone, 0.9 pJ each; moving data, and updating neurons, costs more on any hardware.
    multiply_accumulates: of a network with currents, NeuroBench's effective MACs: every value of a current that is not
    zero counts once for each weight of its channel that is not zero; by_connection and energy_nJ have them too (4.6 pJ
    each).

    Args:
        parameters: name -> values. spikes: population -> (N,) spikes of each neuron in all samples.
    """
    S, tables = max(len(data), 1), Tables(plan)
    counts = {plan.input.name: np.bincount(data.channels, minlength=plan.input.size), **spikes}
    operations, nonzero = dict[str, float](), 0
    for c in plan.connections:
        first, last = c.channels or (0, c.pre)
        effective = _effective_synapses(c, parameters, tables)
        operations[c.name] = float(counts[c.source][first:last] @ effective) / S
        nonzero += int(effective.sum())
    synapses = spiking_synapses = sum(c.synapses for c in plan.connections)
    neurons = sum(p.size for p in plan.populations if p.spiking)
    steps = plan.n_steps if plan.spike_times == "grid" else None
    total = sum(operations.values())
    products: dict[str, float] = {}
    for c in plan.currents_into:
        effective = _effective_synapses(c, parameters, tables)
        there = np.count_nonzero(data.currents[c.source].values, axis=(0, 1))
        products[c.name] = float(there @ effective) / S
        nonzero += int(effective.sum())
    synapses += sum(c.synapses for c in plan.currents_into)
    fired = sum(float(spikes[p.name].sum()) for p in plan.populations if p.spiking)
    numbers = sum(int(np.size(value)) for value in parameters.values())
    return {
        "synaptic_operations": total,
        "dense_operations": None if steps is None else spiking_synapses * steps,
        "by_connection": operations | products,
        "spikes": {p.name: float(spikes[p.name].mean()) / S for p in plan.populations if p.spiking},
        "activation_sparsity": None if steps is None or not neurons else 1 - fired / (S * neurons * steps),
        "connection_sparsity": 1 - nonzero / synapses if synapses else 0.0,
        "parameters": numbers,
        "footprint_bytes": WIDTH * numbers,
        "energy_nJ": (total * PICOJOULE + sum(products.values()) * OF_PRODUCT) * 1e-3,
    } | ({"multiply_accumulates": sum(products.values())} if products else {})


def _effective_synapses(c: ConnectionRecord, parameters: Mapping[str, np.ndarray], tables: Tables) -> np.ndarray:
    """(M,) synapses of each source whose weight is not zero."""
    weight = parameters[c.weight]
    if c.form == "dense":
        return np.count_nonzero(weight if c.mask is None else weight * c.mask, axis=1)
    if c.windows is not None:
        return c.windows.by_source((weight != 0).astype(np.int64))
    table = tables.of(c, parameters)
    return np.bincount(table.source, weight.ravel()[table.weights] != 0, minlength=c.pre).astype(np.int64)


def energy_words(nanojoule: float) -> str:
    """``"11.1 nJ"``, ``"1.24 µJ"``."""
    value, unit = next(
        (v, u) for v, u in ((nanojoule, "nJ"), (nanojoule * 1e-3, "µJ"), (nanojoule * 1e-6, "mJ"))
        if float(f"{v:.3g}") < 1000 or u == "mJ"
    )  # fmt: skip
    return f"{value:.3g} {unit}"


def describe_costs(costs: Mapping[str, Any]) -> str:
    """``"1.4 spikes a neuron of hidden; 12,300 synaptic operations; 11.1 nJ at 0.9 pJ each"``."""
    spikes = ", ".join(f"{value:.3g} spikes a neuron of {name}" for name, value in costs["spikes"].items())
    operations = f"{costs['synaptic_operations']:,.0f} synaptic operations"
    energy = f"{energy_words(costs['energy_nJ'])} at {PICOJOULE} pJ each"
    if products := costs.get("multiply_accumulates"):
        operations += f" and {products:,.0f} products of currents"
        energy = f"{energy_words(costs['energy_nJ'])} at {PICOJOULE} and {OF_PRODUCT} pJ each"
    return "; ".join(words for words in (spikes, operations, energy) if words)
