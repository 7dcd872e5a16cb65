"""Leaky integrate-and-fire neuron with alpha synapses, I(t) = w t / tau_syn exp(1 - t / tau_syn): peak w at tau_syn.

Source: Rotter & Diesmann 1999, "Exact digital simulation of time-invariant linear systems with applications to neuronal
modeling", doi 10.1007/s004220050570.
"""

from genn_eventprop import NeuronModel, Param

LIFAlpha = NeuronModel(
    name="LIFAlpha",
    state={"V": "v_reset", "I": 0.0, "S": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "(S - I) / tau_syn", "S": "-S / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input={"input": {"S": "exp(1)"}},
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
