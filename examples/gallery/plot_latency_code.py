"""
An image as spike times
=======================

Every pixel spikes once, bright ones early: the code of latency MNIST. Dark pixels do not spike at all.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop.data.events import encode

y, x = np.mgrid[:28, :28] / 28
image = np.exp(-(((x - 0.5) ** 2 + (y - 0.5) ** 2 - 0.09) ** 2) / 0.002)  # a ring
events = encode.latency_linear(image.reshape(1, -1), t_max=20.0, threshold=0.2)
times, channels = events.sample(0)

fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set(title="image", xlabel="pixel", ylabel="pixel")
first = np.full(28 * 28, np.nan)
first[channels] = times
shown = axes[1].imshow(first.reshape(28, 28), cmap="viridis_r")
axes[1].set(title="spike times", xlabel="pixel")
fig.colorbar(shown, label="time (ms)")
plt.show()
