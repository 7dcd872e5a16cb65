"""Balanced resonate-and-fire neuron (BRF): V + i U rotates with omega; q raises threshold and damping after a spike.

The paper's unit of time, 100 of its steps, is taken as 100 ms. Its divergence boundary p(omega) belongs to its Euler
steps; for small steps it is zero, and the damping is b_offset + q. q decays by 0.9 a step, exp(-1 / 9.5). Input spikes
reach V through a current of time constant tau_syn.

Source: Higuchi, Kairat, Bohte, Otte 2024, "Balanced resonate-and-fire neurons", arXiv 2402.14603.
"""

from genn_eventprop import NeuronModel, Param

BalancedRF = NeuronModel(
    name="BalancedRF",
    state={"V": 0.0, "U": 0.0, "q": 0.0, "I": 0.0},
    params={
        "omega": Param(0.1, "1/ms"),
        "b_offset": Param(0.01, "1/ms"),
        "q_damping": Param(0.01, "1/ms"),
        "tau_q": Param(9.5, "ms"),
        "v_thresh": Param(1.0),
        "tau_syn": Param(5.0, "ms"),
    },
    dynamics={
        "V": "-(b_offset + q_damping * q) * V - omega * U + I / tau_syn",
        "U": "omega * V - (b_offset + q_damping * q) * U",
        "q": "-q / tau_q",
        "I": "-I / tau_syn",
    },
    threshold="V - v_thresh - q",
    reset={"q": "q + 1"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_syn"}},
)
