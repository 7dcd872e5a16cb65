"""
A gradient that sees spikes being born
======================================

The loss along one weight, and the slope that each gradient gives: that of the spikes that are there, and that
of the expected loss under noise of the thresholds, ``spike_birth=0.1``, which rises before a spike is born.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan

events = Events.from_samples([([5.0, 9.0, 30.0], [0, 0, 0])], 1, labels=[0], n_classes=2)
net = Network()
hidden = net.population(LIF(), 1, name="hidden")
output = net.population(LI(), 2, name="output")
net.connect(net.input(1), hidden, Dense(1.0))
net.connect(hidden, output, Dense([[4.0, 0.0]]))
loss, weights = IntegratedVoltageCrossEntropy(output), np.linspace(0.5, 6.0, 111)

fig, axes = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
for birth, label in ((0.0, "spikes that are there"), (0.1, "spike_birth=0.1")):
    plan = make_plan(net, loss, dt=0.1, duration=60.0, spike_birth=birth)
    engine = create(plan, net.initial_parameters(1), engine="native", dtype="float64")
    data, values = engine.load(events), []
    for w in weights:
        engine.parameters["input_hidden.weight"][:] = w
        result = engine.run(data, [0], training=True)
        values.append((result.loss[0], engine.gradients["input_hidden.weight"][0, 0]))
    axes[1].plot(weights, np.array(values)[:, 1], label=label)
axes[0].plot(weights, np.array(values)[:, 0], "k.", markersize=3)
axes[0].set_ylabel("loss")
axes[1].set(xlabel="input weight", ylabel="gradient")
axes[1].legend()
plt.show()
