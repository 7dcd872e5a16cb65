"""Leaky integrator with an exponential current synapse: a readout that never spikes.

Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, section 2.1 (output neurons).
"""

from genn_eventprop import NeuronModel, Param

LI = NeuronModel(
    name="LI",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
