"""Leaky integrate-and-fire neuron with an adaptive threshold v_thresh + B; B grows by b_jump at every spike.

Source: Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons",
doi 10.1038/s41467-020-17236-y; tau_B and the jump of Nowotny, Turner, Knight 2025,
doi 10.1088/2634-4386/ada852.
"""

from genn_eventprop import NeuronModel, Param

ALIF = NeuronModel(
    name="ALIF",
    state={"V": "v_reset", "I": 0.0, "B": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "tau_B": Param(100.0, "ms"),
        "b_jump": Param(0.1),
        "v_thresh": Param(1.0),
        "v_reset": Param(0.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn", "B": "-B / tau_B"},
    threshold="V - v_thresh - B",
    reset={"V": "v_reset", "B": "B + b_jump"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
