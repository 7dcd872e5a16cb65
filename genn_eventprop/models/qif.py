"""Quadratic integrate-and-fire neuron: the normal form of neurons that begin to fire at a saddle-node bifurcation.

Rest is at V = 0; above v_crit the neuron fires by itself, and the upstroke, not the threshold v_peak, decides when.

Source: Latham, Richmond, Nelson, Nirenberg 2000, "Intrinsic dynamics in neuronal networks. I. Theory",
doi 10.1152/jn.2000.83.2.808, with V - v_rest in units of v_crit - v_rest.
"""

from genn_eventprop import NeuronModel, Param

QIF = NeuronModel(
    name="QIF",
    state={"V": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "v_crit": Param(1.0),
        "v_peak": Param(5.0),
        "v_reset": Param(-1.0),
    },
    dynamics={"V": "(V * (V - v_crit) + I) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_peak",
    reset={"V": "v_reset"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
