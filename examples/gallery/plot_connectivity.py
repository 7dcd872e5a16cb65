"""
Kinds of connectivity
=====================

Which source (row) reaches which target (column), and by how much. White places have no synapse and cost
nothing, except under the mask of a dense connection.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Conv1D, Dense, Grouped, Network, Normal, OneToOne, Sparse
from genn_eventprop.models import LIF

w = Normal(1.0, 0.3)
kinds = {
    "Dense": Dense(w),
    "Dense with a mask": Dense(w, mask=np.tri(24)),
    "Sparse, 10 %": Sparse(w, probability=0.1),
    "OneToOne": OneToOne(w),
    "Grouped, 4 groups": Grouped(w, groups=4),
    "Conv1D, kernel 5": Conv1D(w, kernel=5, channels=1, padding=2),
}
fig, axes = plt.subplots(2, 3, figsize=(8, 5.6), layout="constrained")
for axis, (name, kind) in zip(axes.flat, kinds.items()):
    shape = {"shape": (1, 24, 1)} if "Conv" in name else {"size": 24}
    net = Network()
    source, target = net.input(**shape), net.population(LIF(), name="target", **shape)
    connection = net.connect(source, target, kind, name="c")
    values = net.initial_parameters(1)
    table = kind.synapses(source.shape, target.shape)
    matrix = np.full((24, 24), np.nan)
    if "c.pairs" in values:
        matrix[tuple(values["c.pairs"].T)] = values["c.weight"]
    elif table is None:
        matrix[:] = values["c.weight"]
        matrix[matrix == 0] = np.nan
    else:
        matrix[table.source, table.target] = values["c.weight"].ravel()[table.weights]
    image = axis.imshow(matrix, vmin=0, vmax=2, cmap="viridis")
    axis.set_title(name, fontsize=10)
for axis in axes[-1]:
    axis.set_xlabel("target")
for axis in axes[:, 0]:
    axis.set_ylabel("source")
fig.colorbar(image, ax=axes, label="weight", shrink=0.6)
plt.show()
