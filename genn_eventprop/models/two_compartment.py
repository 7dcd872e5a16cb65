"""Two compartments: a dendrite U with its own current drives the soma V, which spikes.

Both compartments take input: receptors "dendrite" and "soma".

Source: Urbanczik & Senn 2014, "Learning by the dendritic prediction of somatic spiking",
doi 10.1016/j.neuron.2013.11.030 (g_leak 0.1 / ms, g_dend 1.8 / ms, the dendrite is not loaded by the soma),
with a hard threshold instead of a stochastic one, V and U in units of the threshold.
"""

from genn_eventprop import NeuronModel, Param

TwoCompartment = NeuronModel(
    name="TwoCompartment",
    state={"V": "v_reset", "U": 0.0, "I_dend": 0.0, "I_soma": 0.0},
    params={
        "g_leak": Param(0.1, "1/ms"),
        "g_dend": Param(1.8, "1/ms"),
        "tau_dend": Param(10.0, "ms"),
        "tau_syn": Param(3.0, "ms"),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={
        "V": "g_leak * (I_soma - V) + g_dend * (U - V)",
        "U": "(I_dend - U) / tau_dend",
        "I_dend": "-I_dend / tau_syn",
        "I_soma": "-I_soma / tau_syn",
    },
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input={"dendrite": "I_dend", "soma": "I_soma"},
    drives={"I_ext": {"V": "g_leak"}},
)
