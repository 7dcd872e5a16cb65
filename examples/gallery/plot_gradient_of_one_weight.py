"""
The loss along one weight
=========================

The loss as a function of one weight, and its gradient as tangents. The gradient is exact wherever spikes
move; where a spike is born or dies, the loss jumps, and no gradient says so (``spike_birth=`` does, see the
page on it).
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal
from genn_eventprop.engines import create
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan

rng = np.random.default_rng(3)
events = Events.from_samples([(rng.uniform(0, 40, 12), rng.integers(0, 3, 12))], 3, labels=[0], n_classes=2, sort=True)
net = Network()
hidden = net.population(LIF(), 4, name="hidden")
output = net.population(LI(), 2, name="output")
net.connect(net.input(3), hidden, Dense(Normal(1.2, 0.3)))
net.connect(hidden, output, Dense(Normal(0.0, 2.0)))
plan = make_plan(net, IntegratedVoltageCrossEntropy(output), dt=1.0, duration=60.0, spike_times="exact")
parameters = net.initial_parameters(2)
engine = create(plan, parameters, engine="reference_event")
data = engine.load(events)


def loss_and_slope(w: float) -> tuple[float, float]:
    engine.parameters["input_hidden.weight"][0, 0] = w
    result = engine.run(data, [0], training=True)
    return result.loss[0], engine.gradients["input_hidden.weight"][0, 0]


weights = np.linspace(0.2, 3.0, 201)
values = np.array([loss_and_slope(w) for w in weights])
fig, axis = plt.subplots(figsize=(8, 4), layout="constrained")
axis.plot(weights, values[:, 0], ".", markersize=3)
for i in range(10, 201, 20):
    w = weights[i] + np.array([-0.1, 0.1])
    axis.plot(w, values[i, 0] + values[i, 1] * (w - weights[i]), color="C1", linewidth=2)
axis.set(xlabel="weight from input 0 to hidden neuron 0", ylabel="loss", title="loss (dots) and gradient (lines)")
plt.show()
