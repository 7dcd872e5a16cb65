"""
The Yin-Yang plane
==================

60 hidden neurons learn by first spike times which part of the figure a point belongs to. Right: the
predictions for the test set after 15 epochs; dark purple where no output spikes.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Network, Normal, Trainer
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF
from genn_eventprop.optimisers import Adam

train = yin_yang.load("train")
net = Network()
hidden = net.population(LIF(), 60, name="hidden")
output = net.population(LIF(), 3, name="output")
net.connect(net.input(5), hidden, Dense(Normal(1.5, 0.78)))
net.connect(hidden, output, Dense(Normal(0.93, 0.1)))
trainer = Trainer(
    net, FirstSpikeCrossEntropy(output), duration=60.0, spike_times="exact", optimiser=Adam(5e-3), progress=False
)
trainer.fit(train, epochs=15)

test = yin_yang.load("test")
classes = trainer.predict(test)
early = np.array(
    [[np.min(t[c == i], initial=60.0) for i in (0, 1)] for t, c in (test.sample(k) for k in range(len(test)))]
)
fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axis, colours, title in zip(axes, (test.labels, classes), ("classes", "predictions")):
    axis.scatter(*early.T, c=colours, s=8, cmap="viridis", vmin=-1, vmax=2)
    axis.set(title=title, xlabel="spike time of x (ms)", aspect="equal")
axes[0].set_ylabel("spike time of y (ms)")
plt.show()
