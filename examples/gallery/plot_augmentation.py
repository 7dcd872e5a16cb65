"""
Augmentation
============

Another version of a recording in every epoch. What a sample looks like depends on the seed, the epoch and the
sample alone.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Events
from genn_eventprop.data.augment import Augmented, Dilate, Dropout, Jitter, Shift, Warp

rng = np.random.default_rng(1)
t = np.sort(rng.uniform(0, 100, 400))
sweep = Events.from_samples([(t, (50 + 30 * np.sin(t / 12) + rng.normal(0, 2, 400)).astype(int))], 100, labels=[0])
steps = {
    "as recorded": [],
    "Shift(15)": [Shift(15)],
    "Jitter(3)": [Jitter(3.0)],
    "Dropout(0.5)": [Dropout(0.5)],
    "Dilate()": [Dilate()],
    "Warp()": [Warp()],
}
fig, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for axis, (name, chosen) in zip(axes.flat, steps.items()):
    times, channels = Augmented(sweep, chosen, seed=3).batch([0], epoch=4).sample(0)
    axis.plot(times, channels, ".", markersize=2)
    axis.set_title(name)
for axis in axes[-1]:
    axis.set_xlabel("time (ms)")
for axis in axes[:, 0]:
    axis.set_ylabel("channel")
plt.show()
