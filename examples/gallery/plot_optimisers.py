"""
Optimisers
==========

The same network trained by four optimisers, each with a learning rate that suits it.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD, Adam, AdamW, RMSprop

rng = np.random.default_rng(1)
patterns = [(rng.uniform(5, 75, 40), rng.integers(0, 30, 40)) for _ in range(4)]
labels = rng.integers(0, 4, 300)
samples = [(np.abs(patterns[y][0] + rng.normal(0, 4, 40)), patterns[y][1]) for y in labels]
events = Events.from_samples(samples, 30, labels=labels, sort=True)

fig, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
for optimiser in (SGD(0.5, momentum=0.9), RMSprop(2e-3), Adam(5e-3), AdamW(5e-3, weight_decay=0.1)):
    net = Network()
    hidden = net.population(LIF(), 40, name="hidden")
    output = net.population(LI(), 4, name="output")
    net.connect(net.input(30), hidden, Dense(Normal(0.5, 0.3)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
    trainer = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=100.0, dt=1.0, spike_times="grid", optimiser=optimiser,
        progress=False,
    )  # fmt: skip
    history = trainer.fit(events, epochs=20)["history"]
    axis.plot(history["epoch"], history["train_loss"], label=type(optimiser).__name__)
axis.set(xlabel="epoch", ylabel="training loss", xticks=range(0, 21, 5))
axis.legend()
plt.show()
