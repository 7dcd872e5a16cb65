"""Weights before and after training, as distributions and as matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, GREY, figure, matrix, styled


@styled
def weights(now: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray] | None = None) -> Figure:
    """One row a parameter: its distribution now (and before training), and a weight matrix as an image.

    Args:
        now: name -> (M, N) weights; weights of another shape, delays and parameters of neurons get a distribution only.
        before: the same names, initial values.
    """
    fig, axes = figure(len(now), 2, size=(8.6, 2.5 * len(now) + 0.3), squeeze=False, width_ratios=[1.0, 1.25])
    for (name, values), (left, right) in zip(now.items(), axes):
        _distribution(left, name, values, None if before is None else before[name])
        if values.ndim == 2 and values.size > 1:
            matrix(fig, right, values, "weight")
        else:
            right.set_axis_off()
    if before is not None:
        axes[0, 0].legend(loc="upper left")
    return fig


def _distribution(ax: Axes, name: str, values: np.ndarray, first: np.ndarray | None) -> None:
    both = values.ravel() if first is None else np.concatenate([values.ravel(), first.ravel()])
    low, high = np.percentile(both, [0.1, 99.9])
    room = 0.05 * (high - low) or 0.5
    bins = np.linspace(low - room, high + room, 61).tolist()
    if first is not None:
        ax.hist(
            np.clip(first.ravel(), bins[0], bins[-1]), bins=bins, histtype="step", color=GREY, label="before training"
        )
    # one patch: a rectangle for each bin takes much of the time of the figure
    counts, edges = np.histogram(np.clip(values.ravel(), bins[0], bins[-1]), bins=bins)
    ax.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75, label="after training")
    ax.set_title(name)
    ax.set(
        xlabel=f"value (mean {values.mean():.3g}, deviation {values.std():.3g})",
        ylabel={"weight": "weights", "delay": "delays"}.get(name.rpartition(".")[2], "neurons"),
    )
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.set_ylim(top=1.25 * ax.get_ylim()[1])
    ax.grid(False, axis="x")
