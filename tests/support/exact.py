"""Small networks with exact spike times, and random input for them."""

from __future__ import annotations

import numpy as np

from genn_eventprop import Delay, Dense, Gamma, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.data import Events
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan

ADAPTIVE = NeuronModel(
    name="adaptive",
    state={"V": "v_reset", "I": 0.0, "B": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "tau_B": Param(30.0, "ms"),
        "v_thresh": Param(1.0), "v_reset": Param(0.0), "increment": Param(0.2), "bias": Param(0.02),
    },
    dynamics={"V": "(I - V + bias) / tau_mem", "I": "-I / tau_syn", "B": "-B / tau_B"},
    threshold="V - v_thresh - B",
    reset={"V": "v_reset", "B": "B + increment"},
    input="I",
)  # fmt: skip

LOSSES = {
    "first": lambda o: losses.FirstSpikeCrossEntropy(o),
    "first_inverse": lambda o: losses.FirstSpikeCrossEntropy(o, form="inverse", alpha=3.0, silent="end"),
    "max": losses.MaxVoltageCrossEntropy,
    "exponential": lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential"),
    "end": losses.EndVoltageCrossEntropy,
    "end_spiking": losses.EndVoltageCrossEntropy,
    "sigmoid_spiking": lambda o: losses.IntegratedVoltageCrossEntropy(o, "sigmoid"),
}


def neuron(kind: str, spiking: bool = True):
    start = {"tau_mem": 18.0, "tau_syn": 4.0} | ({"v_thresh": 0.9, "v_reset": -0.1} if spiking else {})
    model = LIF if spiking else LI
    if spiking and kind.startswith("refractory"):  # brief: shorter than a step
        model, start["t_ref"] = LIFRefractory, 0.2 if kind.endswith("brief") else 2.3
    if kind.endswith("trained"):
        return model(**{n: Param(v, trainable=True) for n, v in start.items()})
    if kind.endswith("reset learned") and spiking:  # what differs between neurons is not in their dynamics
        return model(**{n: Param(v, trainable=n in ("v_reset", "t_ref")) for n, v in start.items()})
    if kind.endswith("heterogeneous"):
        return model(**(start | {"tau_mem": Gamma(18.0, low=5.0, high=40.0), "tau_syn": Gamma(4.0, low=2.0, high=9.0)}))
    return model(**start)


def network(topology: str, loss: str, kind: str, delay: float, scale: float = 1.0):
    net = Network()
    inp = net.input(7)
    if topology == "adaptive":
        learned = ("tau_B", "increment", "bias", "v_thresh") if kind == "trained" else ()
        hidden = net.population(
            ADAPTIVE(**{n: Param(ADAPTIVE.params[n].value, trainable=True) for n in learned}), 21, "hidden"
        )
    else:
        hidden = net.population(neuron(kind), 21, "hidden")
    net.connect(inp, hidden, Dense(Normal(0.8 * scale, 0.6 * scale)), delay=delay)
    last = hidden
    if topology == "recurrent":
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=delay)
    if topology == "deep":
        last = net.population(neuron(kind), 18, "second")
        net.connect(hidden, last, Dense(Normal(0.5, 0.3)))
    output = net.population(neuron(kind, spiking=loss.startswith("first") or loss.endswith("spiking")), 4, "output")
    net.connect(last, output, Dense(Normal(0.4, 0.4)), delay=delay)
    return net, LOSSES[loss](output)


def recurrent(change):
    """A plan with one thing that `cuda` does not run with a thread a neuron: "births", "feedback" or "delays"."""
    net = Network()
    hidden, out = net.population(LIF(), 40, "hidden"), net.population(LI(), 4, "output")
    late = {"feedback": 0.4, "delays": Delay(1.0, kind="axonal", max=3.0)}
    net.connect(net.input(7), hidden, Dense(Normal(0.8, 0.6)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=late.get(change, 1.0))
    net.connect(hidden, out, Dense(Normal(0.4, 0.4)))
    births = {"spike_birth": 0.3} if change == "births" else {}
    return make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=50.0, spike_times="exact", **births)


def spikes(n_samples: int = 3, seed: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 40, n_samples)
    samples = [(np.sort(rng.uniform(0, 45, n)), rng.integers(0, 7, n)) for n in sizes]
    return Events.from_samples(samples, n_channels=7, labels=rng.integers(0, 4, n_samples))
