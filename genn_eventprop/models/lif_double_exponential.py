"""Leaky integrate-and-fire neuron whose synaptic current rises with tau_rise and decays with tau_decay.

Source: Gerstner, Kistler, Naud, Paninski 2014, "Neuronal Dynamics", section 3.1, as two linear equations, so that equal
time constants are no special case (they give the alpha function).
"""

from genn_eventprop import NeuronModel, Param

LIFDoubleExponential = NeuronModel(
    name="LIFDoubleExponential",
    state={"V": "v_reset", "I": 0.0, "S": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_rise": Param(1.0, "ms"),
        "tau_decay": Param(5.0, "ms"),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_decay + S / tau_rise", "S": "-S / tau_rise"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="S",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
