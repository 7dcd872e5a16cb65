"""
From a signal to spikes
=======================

`sigma_delta` sends a spike whenever a signal has risen or fallen by a threshold since the last one: two
channels for each signal.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop.data.events import encode

t = np.arange(0.0, 400.0, 2.0)  # ms
signal = np.sin(2 * np.pi * t / 180) + 0.3 * np.sin(2 * np.pi * t / 47)
events = encode.sigma_delta(signal[None, :, None], threshold=0.15, dt=2.0)
times, channels = events.sample(0)

fig, axes = plt.subplots(2, 1, figsize=(8, 4), sharex=True, height_ratios=(3, 1), layout="constrained")
axes[0].plot(t, signal)
axes[0].set_ylabel("signal")
axes[1].eventplot([times[channels == c] for c in range(events.n_channels)], colors=["C0", "C1"])
axes[1].set(xlabel="time (ms)", ylabel="channel", yticks=range(events.n_channels))
plt.show()
