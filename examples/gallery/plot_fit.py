"""
A model for a cell
==================

A leaky integrate-and-fire neuron fitted to one noisy sweep of an adapting one, and judged on another: V and spikes of
the cell, of the model that lacks its adaptation, and of one that has it.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import fit, simulate
from genn_eventprop.fitting import Recording
from genn_eventprop.models import ALIF, LIF

rng = np.random.default_rng(2)
current = np.repeat(rng.normal(2.0, 1.0, (2, 75)), 20, axis=1)
cell = simulate(ALIF(tau_B=80.0, b_jump=0.25), current, dt=0.2)
noisy = Recording(current, 0.2, cell.voltage + 0.03 * rng.normal(size=cell.voltage.shape), cell.spikes)

settings = {"only": ["tau_mem", "v_thresh"], "test_sweeps": [1], "starts": 2, "progress": False}
models = [fit(LIF, noisy, **settings), fit(ALIF, noisy, **{**settings, "only": ["tau_mem", "b_jump", "tau_B"]})]

fig, axes = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
t = np.arange(noisy.current.shape[1]) * noisy.dt
for axis, result in zip(axes, models):
    axis.plot(t, result.test.voltage[0], color="0.6", label="cell")
    axis.plot(t, result.tested.voltage[0], linewidth=1, label=result.model.name)
    for level, times, colour in ((2.2, result.test.spikes[0], "0.6"), (1.9, result.tested.spikes[0], "C0")):
        axis.plot(times, np.full(len(times), level), "|", color=colour)
    explained = result.verdict.model
    axis.set_title(f"{100 * explained.voltage:.0f} % of the variance, {100 * explained.spikes:.0f} % of coincidences")
    axis.set_ylabel("V")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
axes[1].set_xlabel("time (ms)")
plt.show()
