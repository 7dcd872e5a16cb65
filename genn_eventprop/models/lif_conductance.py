"""Leaky integrate-and-fire neuron with conductance synapses: spikes open channels that pull V to a reversal potential.

Conductances are in units of the leak conductance, potentials in mV.

Source: Vogels & Abbott 2005, "Signal propagation and logic gating in networks of integrate-and-fire neurons",
doi 10.1523/JNEUROSCI.3508-05.2005, without the refractory period (see `lif_refractory`).
"""

from genn_eventprop import NeuronModel, Param

LIFConductance = NeuronModel(
    name="LIFConductance",
    state={"V": "v_rest", "G_exc": 0.0, "G_inh": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_exc": Param(5.0, "ms"),
        "tau_inh": Param(10.0, "ms"),
        "v_rest": Param(-60.0, "mV"),
        "e_exc": Param(0.0, "mV"),
        "e_inh": Param(-80.0, "mV"),
        "v_thresh": Param(-50.0, "mV"),
        "v_reset": Param(-60.0, "mV"),
    },
    dynamics={
        "V": "(v_rest - V + G_exc * (e_exc - V) + G_inh * (e_inh - V)) / tau_mem",
        "G_exc": "-G_exc / tau_exc",
        "G_inh": "-G_inh / tau_inh",
    },
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input={"exc": "G_exc", "inh": "G_inh"},
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
