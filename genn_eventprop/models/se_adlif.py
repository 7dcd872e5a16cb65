"""Adaptive leaky integrate-and-fire neuron of SE-adLIF networks: V drives the adaptation w, w pulls V back.

The paper steps tau_mem V' = I - w - V, tau_w w' = a V - w + b z(t) by symplectic Euler, because plain Euler makes the
oscillations of V and w unstable. Here the same linear equations run on their exact propagator, the limit of that scheme
for small steps: complex eigenvalues included, stable for every dt. A spike z adds b / tau_w times the paper's step of
1 ms to w. Input spikes reach V through a current of time constant tau_syn instead of one step of the grid.

Source: Baronig, Ferrand, Sabathiel, Legenstein 2025, "Advancing spatio-temporal processing through adaptation in
spiking neural networks", arXiv 2408.07517; values from its ranges of parameters.
"""

from genn_eventprop import NeuronModel, Param

SEAdLIF = NeuronModel(
    name="SEAdLIF",
    state={"V": 0.0, "I": 0.0, "w": 0.0},
    params={
        "tau_mem": Param(15.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "tau_w": Param(60.0, "ms"),
        "a": Param(5.0),
        "b": Param(10.0, "ms"),
        "v_thresh": Param(1.0),
    },
    dynamics={"V": "(I - w - V) / tau_mem", "I": "-I / tau_syn", "w": "(a * V - w) / tau_w"},
    threshold="V - v_thresh",
    reset={"V": 0.0, "w": "w + b / tau_w"},
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
