"""The strings handed to pygenn, with titles, for `genn-eventprop show` and the golden files."""

from __future__ import annotations

import numpy as np

from ...modelling import NeuronModel
from ...optimisers import Adam, Optimiser
from ...plan import Plan
from ...plan.example import example_plan
from .learning import rule_of
from .target import network_text
from .text import POSTSYNAPTIC_CODE, NetworkText


def texts(plan: Plan, optimiser: Optimiser | None = None) -> list[tuple[str, str]]:
    """(title, code) of every string that the genn engine hands to pygenn for training a plan on the CPU backend."""
    return network_texts(_text(plan, optimiser or Adam()))


def _text(plan: Plan, optimiser: Optimiser) -> NetworkText:
    optimiser.prepare({c.weight: np.zeros(1) for c in plan.connections}, plan.bounds())
    return network_text(plan, rule=rule_of(optimiser, plan))


def network_texts(network: NetworkText) -> list[tuple[str, str]]:
    """(title, code) of a network; titles read "hidden: sim_code"."""
    parts = []
    for name, (_, neuron) in network.populations.items():
        kinds = ("sim_code", "threshold_condition_code")
        parts += [(f"{name}: {kind}", getattr(neuron, kind)) for kind in kinds]
    for name, synapse in network.synapses.items():
        codes = ("pre_spike_syn_code", "pre_event_threshold_condition_code", "pre_event_syn_code")
        parts += [(f"{name}: {kind}", getattr(synapse.update, kind)) for kind in codes]
        parts.append((f"{name}: postsynaptic sim_code", POSTSYNAPTIC_CODE))
    for name, update in network.updates.items():
        parts.append((f"custom update {name} of {update.of}: update_code", update.code))
    return [(title, code) for title, code in parts if code]


def model_texts(model: NeuronModel) -> list[tuple[str, str]]:
    """The strings for one model: as hidden population "neuron" with an input and itself as targets.

    A model that never spikes is the output instead, read by the integral of its readout state. The optimiser is Adam.
    """
    mine = ("neuron", "input_neuron", "neuron_neuron")
    owner = lambda title: title.split(": ")[0].split(" of ")[-1]  # noqa: E731
    return [(title, code) for title, code in network_texts(example_text(model)) if owner(title).startswith(mine)]


def example_text(model: NeuronModel) -> NetworkText:
    """The network whose strings `model_texts` picks from."""
    return _text(example_plan(model), Adam())
