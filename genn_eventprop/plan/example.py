"""The smallest network in which a model does all that it can: what `show` and the golden files are written for."""

from __future__ import annotations

from ..losses import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy
from ..modelling import Dense, Network, NeuronModel
from .make import make_plan
from .records import Plan


def example_plan(model: NeuronModel, spike_times: str = "grid") -> Plan:
    """Input -> the model, connected to itself -> an output of the same model, read by its first spike.

    A model that never spikes is itself the output, read by the integral of its readout state. With exact spike times
    its own spikes return after a delay, since those of delta synapses may not return at once.
    """
    network, delay = Network(), 0.5 if spike_times == "exact" else 0.0
    source = network.input(1, name="input")
    neuron = network.population(model, 1, name="neuron")
    for receptor in model.receptors:
        end = "" if len(model.receptors) == 1 else f"_{receptor}"
        network.connect(source, neuron, Dense(1.0), receptor=receptor, name=f"input_neuron{end}")
        if model.spiking:
            network.connect(neuron, neuron, Dense(1.0), receptor=receptor, name=f"neuron_neuron{end}", delay=delay)
    if not model.spiking:
        return make_plan(network, IntegratedVoltageCrossEntropy(neuron), dt=1.0, duration=1.0, spike_times=spike_times)
    output = network.population(model, 1, name="output")
    return make_plan(network, FirstSpikeCrossEntropy(output), dt=1.0, duration=1.0, spike_times=spike_times)
