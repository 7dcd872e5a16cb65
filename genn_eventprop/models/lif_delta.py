"""Leaky integrate-and-fire neuron with delta synapses: an arriving spike moves V by its weight at once.

Source: Gerstner, Kistler, Naud, Paninski 2014, "Neuronal Dynamics", sections 1.3 and 8.3, V in units of the threshold.
"""

from genn_eventprop import NeuronModel, Param

LIFDelta = NeuronModel(
    name="LIFDelta",
    state={"V": "v_reset"},
    params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), "v_reset": Param(0.0)},
    dynamics={"V": "-V / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
