"""
The loss of first spikes
========================

The cross-entropy of first spike times over the times of two outputs, the first of which is right: early right
spikes cost nothing, and alpha punishes late ones.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Network
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF

output = Network().population(LIF(), 2, name="output")
t = np.linspace(0, 20, 101)
right, wrong = np.meshgrid(t, t)
times = np.stack([right.ravel(), wrong.ravel()], axis=1)
valid, labels = np.ones_like(times, bool), np.zeros(len(times), int)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axis, alpha in zip(axes, (0.0, 0.05)):
    loss, slope = FirstSpikeCrossEntropy(output, tau0=2.0, alpha=alpha).evaluate(times, valid, labels, 20.0)
    shown = axis.contourf(t, t, loss.reshape(right.shape), levels=20)
    some = np.arange(0, 101, 10)
    dx, dy = (-slope[:, i].reshape(right.shape)[np.ix_(some, some)] for i in (0, 1))
    axis.quiver(t[some], t[some], dx, dy, color="white")
    axis.set(xlabel="right output (ms)", ylabel="other output (ms)", title=f"alpha = {alpha}")
    fig.colorbar(shown, label="loss")
plt.show()
