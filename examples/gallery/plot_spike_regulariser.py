"""
A push on spike counts
======================

`SpikeCount` pushes every neuron towards a number of spikes per trial, from above and from below.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.regularisers import SpikeCount

rng = np.random.default_rng(1)
labels = rng.integers(0, 2, 200)
samples = [(np.sort(rng.uniform(0, 80, 60)), rng.integers(5 * y, 5 * y + 15, 60)) for y in labels]
events = Events.from_samples(samples, 20, labels=labels)

fig, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
for strength in (0.0, 1e-4, 1e-3):
    net = Network()
    hidden = net.population(LIF(), 60, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(20), hidden, Dense(Normal(0.5, 0.3)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
    trainer = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=100.0, dt=1.0, spike_times="grid", optimiser=Adam(5e-3),
        regularisers=[SpikeCount(hidden, target=4, strength=strength)], progress=False,
    )  # fmt: skip
    trainer.fit(events, epochs=15)
    counts = trainer.spike_counts(events)["hidden"].mean(axis=0)
    axis.hist(counts, bins=np.arange(0, 16, 0.5), alpha=0.6, label=f"strength {strength:g}")
axis.axvline(4.0, color="grey", linestyle=":", label="target")
axis.set(xlabel="spikes of a neuron in a trial", ylabel="neurons")
axis.legend()
plt.show()
