"""
What a loss asks for
====================

The same trial of one output, and the adjoint lambda_V that five losses give it: where it is negative, a
larger V there would lower the loss.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import make_loss
from genn_eventprop.models import LI
from genn_eventprop.plan import make_plan

T, dt = 80.0, 0.25
events = Events.from_samples([([5.0, 12.0, 20.0, 28.0], [0, 1, 0, 1])], 2, labels=[0], n_classes=2)
names = ("sum", "sum_weigh_exp", "avg_xentropy", "max", "end")

fig, axes = plt.subplots(len(names) + 1, 1, figsize=(8, 8), sharex=True, layout="constrained")
for axis, name in zip(axes[1:], names):
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(2), output, Dense([[1.6, 0.7], [0.2, 1.5]]))
    engine = create(
        make_plan(net, make_loss(name, output), dt=dt, duration=T), net.initial_parameters(1), engine="reference_clock"
    )
    states = engine.record(engine.load(events), [0])["output"]
    lambda_V = states["lambda_V"][0, :, 0]
    axis.plot(dt * np.arange(len(lambda_V)), lambda_V)
    axis.axhline(0.0, color="grey", linewidth=0.6)
    axis.set_ylabel(name)
V = states["V"][0]
axes[0].plot(dt * np.arange(len(V)), V, label=["right output", "other output"])
axes[0].set_ylabel("V")
axes[0].legend()
axes[-1].set_xlabel("time (ms)")
plt.show()
