"""Izhikevich's neuron with three of its parameter sets: regular spiking, fast spiking and chattering (bursts).

V is in mV, time in ms, U and I in mV / ms: the paper's equations as they stand.

Source: Izhikevich 2003, "Simple model of spiking neurons", doi 10.1109/TNN.2003.820440.
"""

from dataclasses import replace

from genn_eventprop import NeuronModel, Param

Izhikevich = NeuronModel(
    name="Izhikevich",
    state={"V": "v_start", "U": "b * v_start", "I": 0.0},
    params={
        "a": Param(0.02, "1/ms"),
        "b": Param(0.2, "1/ms"),
        "c": Param(-65.0, "mV"),
        "d": Param(8.0, "mV/ms"),
        "v_start": Param(-65.0, "mV"),
        "v_peak": Param(30.0, "mV"),
        "tau_syn": Param(5.0, "ms"),
    },
    dynamics={"V": "0.04 * V**2 + 5 * V + 140 - U + I", "U": "a * (b * V - U)", "I": "-I / tau_syn"},
    threshold="V - v_peak",
    reset={"V": "c", "U": "U + d"},
    input="I",
    drives={"I_ext": "V"},
)
_FAST = {"a": Param(0.1, "1/ms"), "d": Param(2.0, "mV/ms")}
_BURSTS = {"c": Param(-50.0, "mV"), "d": Param(2.0, "mV/ms")}
IzhikevichFast = replace(
    Izhikevich, name="IzhikevichFast", params={**Izhikevich.params, **_FAST}, threshold=None, reset=None
)  # fmt: skip
IzhikevichBursting = replace(
    Izhikevich, name="IzhikevichBursting", params={**Izhikevich.params, **_BURSTS}, threshold=None, reset=None
)  # fmt: skip
