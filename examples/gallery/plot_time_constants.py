"""
Learned time constants
======================

Every hidden neuron starts with a membrane time constant of 20 ms and learns its own. The classes differ in
how close pairs of spikes follow each other.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Param, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam

rng = np.random.default_rng(1)
labels, samples = rng.integers(0, 2, 400), []
for label in labels:
    first = rng.uniform(5, 60, 10)
    times = np.concatenate([first, first + (2.0 if label else 15.0)])
    samples.append((times, np.tile(np.arange(10), 2)))
events = Events.from_samples(samples, 10, labels=labels, sort=True)

net = Network()
tau_mem = Param(20.0, "ms", trainable=True, bounds=(2.0, None))
hidden = net.population(LIF(tau_mem=tau_mem), 50, name="hidden")
output = net.population(LI(), 2, name="output")
net.connect(net.input(10), hidden, Dense())
net.connect(hidden, output, Dense())
optimiser = Adam(5e-3, groups={"hidden.tau_mem": {"learning_rate": 0.3}})
trainer = Trainer(
    net,
    IntegratedVoltageCrossEntropy(output),
    duration=100.0,
    dt=1.0,
    spike_times="grid",
    optimiser=optimiser,
    progress=False,
)
results = trainer.fit(events[:300], validation=events[300:], epochs=20)

fig, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.hist(trainer.engine.parameters["hidden.tau_mem"], bins=20)
axis.axvline(20.0, color="grey", linestyle=":", label="start")
accuracy = 100 * results["best_validation_accuracy"]
axis.set(xlabel="tau_mem (ms)", ylabel="neurons", title=f"validation accuracy {accuracy:.0f} %")
axis.legend()
plt.show()
