"""Adaptive exponential integrate-and-fire neuron (AdEx); weights are in pA.

Source: Brette & Gerstner 2005, "Adaptive exponential integrate-and-fire model as an effective description of neuronal
activity", doi 10.1152/jn.00686.2005 (the fitted regular spiking neuron). The upstroke is cut at
v_thresh + 5 delta_t instead of 20 mV, which V would reach 0.1 ms later with a slope of 10^10 mV / ms.
"""

from genn_eventprop import NeuronModel, Param

AdEx = NeuronModel(
    name="AdEx",
    state={"V": "e_leak", "w": 0.0, "I": 0.0},
    params={
        "c_mem": Param(281.0, "pF"),
        "g_leak": Param(30.0, "nS"),
        "e_leak": Param(-70.6, "mV"),
        "v_thresh": Param(-50.4, "mV"),
        "delta_t": Param(2.0, "mV"),
        "tau_w": Param(144.0, "ms"),
        "a": Param(4.0, "nS"),
        "b": Param(80.5, "pA"),
        "v_peak": Param(-40.4, "mV"),
        "v_reset": Param(-70.6, "mV"),
        "tau_syn": Param(5.0, "ms"),
    },
    dynamics={
        "V": "(g_leak * (e_leak - V + delta_t * exp((V - v_thresh) / delta_t)) - w + I) / c_mem",
        "w": "(a * (V - e_leak) - w) / tau_w",
        "I": "-I / tau_syn",
    },
    threshold="V - v_peak",
    reset={"V": "v_reset", "w": "w + b"},
    input="I",
    drives={"I_ext": {"V": "1 / c_mem"}},
)
