"""
Forwards and backwards
======================

The adjoint lambda_V of a membrane potential runs backwards in time and jumps at the neuron's own spikes. It
says how the loss would change if V did; times what arrives it is the gradient of the weights.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.training import record_trial

rng = np.random.default_rng(1)
events = Events.from_samples(
    [(rng.uniform(0, 60, 40), rng.integers(0, 10, 40))], 10, labels=[0], n_classes=2, sort=True
)
net = Network()
hidden = net.population(LIF(), 8, name="hidden")
output = net.population(LI(), 2, name="output")
net.connect(net.input(10), hidden, Dense(Normal(0.8, 0.3)))
net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
trainer = Trainer(net, IntegratedVoltageCrossEntropy(output), duration=80.0, spike_times="exact", progress=False)
trial = record_trial(trainer, events, 0)

fig, axes = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
for axis, state in zip(axes, ("V", "lambda_V")):
    axis.plot(trial.times, trial.states["hidden"][state][:, :3])
    axis.set_ylabel(state)
axes[0].axhline(1.0, color="grey", linestyle=":")
axes[1].set_xlabel("time (ms)")
plt.show()
