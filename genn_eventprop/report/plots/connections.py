"""Connectivity, kernels of convolutions, and delays before and after."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ...modelling.connectivity import Synapses
from .style import BLUE, GREY, figure, matrix, styled


@styled
def connectivity(table: Synapses, weight: np.ndarray, title: str = "") -> Figure:
    """Which source reaches which target, and by how much: sources upwards, targets to the right.

    Args:
        weight: (W,) or any shape, the weights of the connection.
    """
    dense = np.full((table.pre, table.post), np.nan)
    dense[table.source, table.target] = weight.reshape(-1)[table.weights]
    fig, ax = figure(size=(5.4, 4.2))
    matrix(fig, ax, dense)
    ax.set_title(title or f"{len(table)} of {table.pre} x {table.post} pairs")
    return fig


@styled
def kernels(weight: np.ndarray, channel: int = 0) -> Figure:
    """The receptive fields of a convolution: the kernel (kh, kw, c_in, c_out) of one input channel for every output."""
    count = weight.shape[3]
    columns = min(8, count)
    rows = -(-count // columns)
    fig, axes = figure(rows, columns, size=(1.25 * columns + 0.9, 1.3 * rows + 0.3), squeeze=False)
    limit = float(np.abs(weight[:, :, channel]).max()) or 1.0
    for k, ax in enumerate(axes.ravel()):
        ax.set_axis_off()
        if k < count:
            image = ax.imshow(weight[:, :, channel, k], cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set_title(str(k))
    bar = fig.colorbar(image, ax=axes, aspect=18)
    bar.outline.set_linewidth(0.5)
    return fig


@styled
def delays(now: dict[str, np.ndarray], before: dict[str, np.ndarray], limits: dict[str, float]) -> Figure:
    """Distributions of delays now and before training, and one against the other.

    Args:
        now, before: connection -> delays in ms, of the same shape. limits: their maxima.
    """
    fig, axes = figure(len(now), 2, size=(8.0, 2.7 * len(now) + 0.3), squeeze=False)
    for (name, values), (left, right) in zip(now.items(), axes):
        first, limit = before[name].ravel(), limits[name]
        bins = np.linspace(0.0, limit, 41).tolist()
        left.hist(first, bins=bins, histtype="step", color=GREY, label="initial")
        left.hist(values.ravel(), bins=bins, histtype="stepfilled", color=BLUE, alpha=0.75, label="now")
        stuck = [float(np.mean(at)) for at in (values <= 1e-6 * limit, values >= limit * (1 - 1e-6))]
        left.set(xlabel="delay (ms)", ylabel="how many")
        left.set_title(f"{name}: {100 * stuck[0]:.0f} % at 0, {100 * stuck[1]:.0f} % at {limit:g} ms")
        right.plot([0, limit], [0, limit], color=GREY, linewidth=0.7)
        right.plot(first, values.ravel(), ".", color=BLUE, markersize=3, alpha=0.6)
        right.set(xlabel="initial delay (ms)", ylabel="delay now (ms)")
    axes[0, 0].legend(loc="upper right")
    return fig
