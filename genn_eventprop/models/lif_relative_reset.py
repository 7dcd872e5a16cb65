"""Leaky integrate-and-fire neuron that subtracts the threshold from V at a spike instead of setting V (soft reset).

Source: Rueckauer, Lungu, Hu, Pfeiffer, Liu 2017, "Conversion of continuous-valued deep networks to efficient
event-driven networks for image classification", doi 10.3389/fnins.2017.00682.
"""

from genn_eventprop import NeuronModel, Param

LIFRelativeReset = NeuronModel(
    name="LIFRelativeReset",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "v_thresh": Param(1.0)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "V - v_thresh"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
