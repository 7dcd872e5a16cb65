"""
One spike and what follows
==========================

An input spike adds its weight to the synaptic current I, which charges the membrane potential V. A weight of
8 makes a LIF neuron spike; V is reset and charges again.
"""

import matplotlib.pyplot as plt

from genn_eventprop import Dense, Events, Network, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.training import record_trial

net = Network()
neurons = net.population(LIF(tau_mem=20.0, tau_syn=5.0), 2, name="neurons")
output = net.population(LI(), 2, name="output")
net.connect(net.input(1), neurons, Dense([[3.0, 8.0]]))
net.connect(neurons, output, Dense(0.5))
events = Events.from_samples([([5.0], [0])], n_channels=1, labels=[0], n_classes=2)
trainer = Trainer(net, IntegratedVoltageCrossEntropy(output), duration=60.0, spike_times="exact", progress=False)
trial = record_trial(trainer, events, 0)

fig, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
for i, weight in enumerate((3, 8)):
    axes[0].plot(trial.times, trial.states["neurons"]["I"][:, i], label=f"weight {weight}")
    axes[1].plot(trial.times, trial.states["neurons"]["V"][:, i])
axes[1].axhline(1.0, color="grey", linestyle=":", label="threshold")
axes[0].set_ylabel("I")
axes[1].set(ylabel="V", xlabel="time (ms)")
axes[0].legend()
plt.show()
