"""Neurons with modes, several and silent events and delta synapses, and small networks of them."""

import numpy as np

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.modelling.neuron import Event, Mode
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

REFRACTORY = NeuronModel(
    name="Refractory",
    state={"V": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "v_thresh": Param(1.0), "t_ref": Param(3.1, "ms"),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    events=[Event("spike", "V - v_thresh", {"V": 0.0}, modes=("free",), next_mode="refractory")],
    modes=[Mode("refractory", {"V": "0"}, lasts="t_ref")],
    input="I",
)  # fmt: skip
BURSTING = NeuronModel(
    name="Bursting",
    state={"V": 0.0, "u": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"), "tau_syn": Param(5.0, "ms"), "tau_u": Param(30.0, "ms"), "v_peak": Param(3.0),
        "t_ref": Param(1.0, "ms"), "low": Param(0.3), "high": Param(0.5),
    },
    dynamics={"V": "(V * (V - 1) + I - u) / tau_mem", "I": "-I / tau_syn", "u": "(0.5 * V - u) / tau_u"},
    events=[
        Event("spike", "V - v_peak", {"V": -0.5, "u": "u + 0.4"}, modes=("free", "tired"), next_mode="refractory"),
        Event("tire", "u - high", {}, emits=False, modes=("free",), next_mode="tired"),
        Event("rest", "low - u", {"V": "V - 0.1"}, emits=False, modes=("tired",), next_mode="free"),
    ],
    modes=[Mode("refractory", {"V": "-0.1 * V / tau_mem"}, lasts="t_ref"), Mode("tired", {"u": "-8 * u / tau_u"})],
    input="I",
)  # fmt: skip
TWO_SPIKES = NeuronModel(
    name="TwoSpikes",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "up": Param(0.8), "down": Param(0.4)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    events=[Event("up", "V - up", {"V": 0.1}), Event("down", "-V - down", {"V": "0.2 * V"})],
    input="I",
)
DELTA = NeuronModel(
    name="Delta",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), "bias": Param(1.3)},
    dynamics={"V": "(bias - V) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": 0.0},
    input="V",
)
DELTA_LI = NeuronModel(
    name="DeltaLI", state={"V": 0.0}, params={"tau_mem": Param(15.0, "ms")}, dynamics={"V": "-V / tau_mem"}, input="V"
)


def learned(model):
    return model(**{n: Param(p.value, p.unit, trainable=True, shared=n == "tau_mem") for n, p in model.params.items()})


def build(model, mean, spread, loss="integral", dt=0.5, duration=40.0, layers=1, recurrent=True, out=None, delay=1.0):
    net = Network()
    last = net.input(6)
    for layer in range(layers):
        hidden = net.population(learned(model), 9, name=f"hidden{layer}")
        net.connect(last, hidden, Dense(Normal(mean, spread)), delay=delay if layer else 0.0)
        last = hidden
    if recurrent:
        net.connect(last, last, Dense(Normal(0.0, spread / 3)), delay=delay)
    output = net.population(learned(out or LI), 3, name="output")
    net.connect(last, output, Dense(Normal(0.3, 0.5)))
    losses_by_name = {
        "integral": losses.IntegratedVoltageCrossEntropy, "first": losses.FirstSpikeCrossEntropy,
        "max": losses.MaxVoltageCrossEntropy, "count": losses.SpikeCountCrossEntropy,
        "per step": losses.PerStepCrossEntropy, "times": losses.SpikeTimeError,
    }  # fmt: skip
    return make_plan(net, losses_by_name[loss](output), dt=dt, duration=duration)


def random_events(plan, n_samples=3, spikes=40, seed=3):
    rng = np.random.default_rng(seed)
    samples = [
        (np.sort(rng.uniform(0, plan.duration - 1, spikes)), rng.integers(0, plan.input.size, spikes))
        for _ in range(n_samples)
    ]
    labels, targets = rng.integers(0, 3, n_samples), None
    if plan.loss.compares == "targets":
        targets = np.sort(rng.uniform(0, plan.duration, (n_samples, 3, 2)))
    return Events.from_samples(samples, n_channels=plan.input.size, labels=labels, targets=targets)
