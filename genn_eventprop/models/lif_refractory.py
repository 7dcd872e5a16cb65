"""Leaky integrate-and-fire neuron with an absolute refractory period: V is held at v_reset for t_ref ms after a spike.

Source: Gerstner, Kistler, Naud, Paninski 2014, "Neuronal Dynamics", section 1.3.1. The end of the period is a delayed
event with a term of its own in the adjoint (docs/equations.md).
"""

from genn_eventprop import Event, Mode, NeuronModel, Param

LIFRefractory = NeuronModel(
    name="LIFRefractory",
    state={"V": "v_reset", "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "t_ref": Param(5.0, "ms"),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    events=[Event("spike", "V - v_thresh", {"V": "v_reset"}, next_mode="refractory")],
    modes=[Mode("refractory", {"V": "0"}, lasts="t_ref")],
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
