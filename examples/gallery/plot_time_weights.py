"""
Weights over time
=================

The readout of an output may be an integral of V with a weight w(t). Four have names; any expression in t and
T (ms) will do, and a window sets it to zero outside.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop.losses import TimeWeight

T = 100.0
t = np.linspace(0, T, 400)
weights = [TimeWeight(name) for name in ("constant", "linear", "exponential", "sigmoid")]
weights += [TimeWeight("exp(-3 * t / T)"), TimeWeight("sin(3.1416 * t / T)", window=(20.0, 80.0))]

fig, axes = plt.subplots(2, 3, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
for axis, weight in zip(axes.flat, weights):
    start, end = weight.ends(T)
    axis.plot(t, np.where((t >= start) & (t <= end), weight.smooth(t, T) + 0 * t, 0.0))
    axis.set_title(weight.expression)
for axis in axes[:, 0]:
    axis.set_ylabel("weight")
for axis in axes[-1]:
    axis.set_xlabel("time (ms)")
plt.show()
