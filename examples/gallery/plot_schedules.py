"""
Schedules of the learning rate
==============================

A schedule multiplies the learning rate; several may be combined.
"""

import matplotlib.pyplot as plt

from genn_eventprop.optimisers import Cosine, EaseIn, Exponential, Product, Progress, Step

BATCHES = 20  # an epoch
schedules = {
    "Exponential(0.95)": Exponential(0.95),
    "Step(25, 0.5)": Step(25, gamma=0.5),
    "Cosine(100)": Cosine(100),
    "EaseIn() and Cosine(100)": Product(EaseIn(growth=1.01), Cosine(100)),
}
fig, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
for name, schedule in schedules.items():
    factors = [schedule.factor(Progress(epoch=u // BATCHES, update=u)) for u in range(100 * BATCHES)]
    axis.plot([u / BATCHES for u in range(len(factors))], factors, label=name)
axis.set(xlabel="epoch", ylabel="factor of the learning rate")
axis.legend()
plt.show()
