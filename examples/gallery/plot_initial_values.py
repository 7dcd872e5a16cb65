"""
Initial values
==============

Weights and neuron parameters start as numbers, arrays or draws from a distribution. Each parameter has its
own random stream, so one that is added does not change the others.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import FanIn, Gamma, Normal, Uniform

rng = np.random.default_rng(1)
kinds = {
    "Normal(1.5, 0.78)": Normal(1.5, 0.78),
    "Uniform(0, 20)": Uniform(0.0, 20.0),
    "FanIn(gain=2), 100 sources": FanIn(gain=2.0),
    "Gamma(20, low=3, high=60)": Gamma(20.0, low=3.0, high=60.0),
}
fig, axes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for axis, (name, kind) in zip(axes, kinds.items()):
    axis.hist(kind.sample(rng, (100, 100), fan_in=100).ravel(), bins=50)
    axis.set_title(name, fontsize=10)
    axis.set(yticks=[], xlabel="value")
plt.show()
