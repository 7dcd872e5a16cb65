"""Leaky integrate-and-fire neuron with an exponential current synapse.

Source: Wunderlich & Pehle 2021, "Event-based backpropagation can compute exact gradients for spiking neural
networks", doi 10.1038/s41598-021-91786-z, equation 1, with V and I in units of the threshold.
"""

from genn_eventprop import NeuronModel, Param

LIF = NeuronModel(
    name="LIF",
    state={"V": "v_reset", "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
