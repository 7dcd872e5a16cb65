"""The strings handed to pygenn, with titles, for `genn-eventprop show` and the golden files."""

from __future__ import annotations

from ...losses import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy
from ...modelling import Dense, Network, NeuronModel
from ...plan import Plan, make_plan
from .backward import backward_network
from .forward import forward_network
from .text import NetworkText


def texts(plan: Plan) -> list[tuple[str, str]]:
    """(title, code) of every string that the genn engine hands to pygenn for a plan."""
    return [part for network in (forward_network(plan), backward_network(plan)) for part in network_texts(network)]


def network_texts(network: NetworkText) -> list[tuple[str, str]]:
    """(title, code) of one of the two networks; titles read "forward, hidden: sim_code"."""
    parts = []
    for name, (_, neuron) in network.populations.items():
        parts += [
            (f"{network.name}, {name}: {kind}", getattr(neuron, kind))
            for kind in ("sim_code", "threshold_condition_code", "reset_code")
        ]
    for name, synapse in network.synapses.items():
        parts.append((f"{network.name}, {name}: pre_spike_syn_code", synapse.update.pre_spike_syn_code))
    return [(title, code) for title, code in parts if code]


def model_texts(model: NeuronModel) -> list[tuple[str, str]]:
    """The strings for one model: as hidden population "neuron" with an input and itself as targets.

    A model that never spikes is the output instead, read by the integral of its readout state.
    """
    plan = _example(model)
    mine = ("neuron:", "input_neuron", "neuron_neuron")
    return [(title, code) for title, code in texts(plan) if title.split(", ")[1].startswith(mine)]


def _example(model: NeuronModel) -> Plan:
    network = Network()
    given = network.input(1, name="input")
    neuron = network.population(model, 1, name="neuron")
    for receptor in model.receptors:
        network.connect(given, neuron, Dense(1.0), receptor=receptor, name=_name("input_neuron", receptor, model))
        if model.spiking:
            network.connect(neuron, neuron, Dense(1.0), receptor=receptor, name=_name("neuron_neuron", receptor, model))
    if not model.spiking:
        return make_plan(network, IntegratedVoltageCrossEntropy(neuron), dt=1.0, duration=1.0)
    output = network.population(model, 1, name="output")
    return make_plan(network, FirstSpikeCrossEntropy(output), dt=1.0, duration=1.0)


def _name(start: str, receptor: str, model: NeuronModel) -> str:
    return start if len(model.receptors) == 1 else f"{start}_{receptor}"
