"""Theta neuron: the quadratic integrate-and-fire neuron on a circle; its jump at theta = pi is a full turn.

V = tan(theta / 2) turns tau_mem V' = V^2 + i_bias + I into the equation below. i_bias < 0 is an excitable neuron whose
rest is at cos(theta) = (1 + i_bias) / (1 - i_bias).

Source: Ermentrout & Kopell 1986, "Parabolic bursting in an excitable system coupled with a slow oscillation",
doi 10.1137/0146017; trained by spike times in McKennoch, Voegtlin, Bushnell 2009, doi 10.1162/neco.2009.09-07-610.
"""

from genn_eventprop import NeuronModel, Param

Theta = NeuronModel(
    name="Theta",
    state={"theta": "theta_start", "I": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "i_bias": Param(-0.25),
        "theta_start": Param(-0.93),
    },
    dynamics={
        "theta": "(1 - cos(theta) + (1 + cos(theta)) * (i_bias + I)) / tau_mem",
        "I": "-I / tau_syn",
    },
    threshold="theta - 3.141592653589793",
    reset={"theta": "theta - 6.283185307179586"},
    input="I",
    drives={"I_ext": {"theta": "(1 + cos(theta)) / tau_mem"}},
    readout="theta",
)
