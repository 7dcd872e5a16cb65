"""Exponential integrate-and-fire neuron; I is the input current times the membrane resistance, in mV.

Source: Fourcaud-Trocme, Hansel, van Vreeswijk, Brunel 2003, "How spike generation mechanisms determine the neuronal
response to fluctuating inputs", doi 10.1523/JNEUROSCI.23-37-11628.2003, without the refractory
period. The upstroke is cut at v_thresh + 5 delta_t, where less than 0.1 ms is left until V is infinite.
"""

from genn_eventprop import NeuronModel, Param

EIF = NeuronModel(
    name="EIF",
    state={"V": "v_rest", "I": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "v_rest": Param(-65.0, "mV"),
        "v_thresh": Param(-59.9, "mV"),
        "delta_t": Param(3.48, "mV"),
        "v_peak": Param(-42.0, "mV"),
        "v_reset": Param(-68.0, "mV"),
    },
    dynamics={
        "V": "(v_rest - V + delta_t * exp((V - v_thresh) / delta_t) + I) / tau_mem",
        "I": "-I / tau_syn",
    },
    threshold="V - v_peak",
    reset={"V": "v_reset"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
