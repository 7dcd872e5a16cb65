"""
One neuron over a training
==========================

`Record` keeps chosen samples after chosen epochs, here V of one output that is to be the larger one.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import Record

rng = np.random.default_rng(1)
patterns = [(rng.uniform(5, 75, 40), rng.integers(0, 30, 40)) for _ in range(4)]
labels = np.arange(200) % 4
samples = [(np.abs(patterns[y][0] + rng.normal(0, 4, 40)), patterns[y][1]) for y in labels]
events = Events.from_samples(samples, 30, labels=labels, sort=True)

net = Network()
hidden = net.population(LIF(), 40, name="hidden")
output = net.population(LI(), 4, name="output")
net.connect(net.input(30), hidden, Dense(Normal(0.5, 0.3)))
net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
record = Record(events, [0], epochs=[1, 5, 10, 20], populations=["output"], states=["V"])
trainer = Trainer(
    net, IntegratedVoltageCrossEntropy(output), duration=100.0, dt=1.0, spike_times="grid", optimiser=Adam(5e-3),
    callbacks=[record], progress=False,
)  # fmt: skip
trainer.fit(events, epochs=20)

fig, axes = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True, layout="constrained")
for axis, (epoch, trials) in zip(axes, record.recordings.items()):
    V = trials[0].states["output"]["V"]
    axis.plot(trials[0].times, V[:, 1:], color="lightgrey", label=["other outputs", None, None])
    axis.plot(trials[0].times, V[:, 0], color="C0", label="right output")
    axis.set(title=f"epoch {epoch}", xlabel="time (ms)")
axes[0].set_ylabel("V of the outputs")
axes[0].legend(loc="upper left")
plt.show()
