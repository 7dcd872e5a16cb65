"""
A convolution of spikes
=======================

Two kernels look for vertical and horizontal edges; colour shows how often each neuron of the feature maps
spikes.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Conv2D, Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import EndVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan

edge = np.array([[-1.0, 0.0, 1.0]] * 3)
kernels = 2.0 * np.stack([edge, edge.T], axis=-1)[:, :, None, :]  # (3, 3, 1, 2)
square = np.zeros((16, 16))
square[4:12, 4:12] = 1.0
rng = np.random.default_rng(1)
pixels = np.tile(np.flatnonzero(square), 5)  # every bright pixel spikes five times
events = Events.from_samples([(rng.uniform(0, 40, len(pixels)), pixels)], 256, labels=[0], n_classes=2, sort=True)

net = Network()
image = net.input(shape=(16, 16, 1))
conv = Conv2D(kernels, kernel=3, channels=2, padding=1)
features = net.population(LIF(), name="features", shape=conv.output_shape(image.shape))
output = net.population(LI(), 2, name="output")
net.connect(image, features, conv)
net.connect(features, output, Dense(0.1))
plan = make_plan(net, EndVoltageCrossEntropy(output), dt=1.0, duration=60.0)
engine = create(plan, net.initial_parameters(1), engine="reference_clock")
counts = engine.run(engine.load(events), [0]).spike_counts["features"][0].reshape(16, 16, 2)

fig, axes = plt.subplots(1, 3, figsize=(9, 3.5), layout="constrained")
for axis, picture, title in zip(axes, (square, counts[..., 0], counts[..., 1]), ("input", "left edges", "upper edges")):
    image = axis.imshow(picture, cmap="magma", vmin=0, vmax=counts.max())
    axis.set(title=title, xlabel="pixel")
fig.colorbar(image, ax=axes, label="spikes", shrink=0.7)
plt.show()
