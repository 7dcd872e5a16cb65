"""Leaky integrator with an adaptation current B that follows V: a readout that responds to changes.

Source: the subthreshold part of Brette & Gerstner 2005, doi 10.1152/jn.00686.2005, without the exponential; V and I in
units of a spike threshold.
"""

from genn_eventprop import NeuronModel, Param

LIAdaptive = NeuronModel(
    name="LIAdaptive",
    state={"V": 0.0, "I": 0.0, "B": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "tau_B": Param(100.0, "ms"), "a": Param(1.0)},
    dynamics={"V": "(I - B - V) / tau_mem", "I": "-I / tau_syn", "B": "(a * V - B) / tau_B"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
