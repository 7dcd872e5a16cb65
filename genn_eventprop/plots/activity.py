"""How many spikes neurons fire."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, GREY, ORANGE, figure


def spike_counts(counts: np.ndarray, name: str) -> Figure:
    """Histograms of spikes a trial, and of the mean over trials of every neuron.

    Args:
        counts: (S, N) spikes of N neurons in S trials.
        name: of the population.
    """
    fig, (left, right) = figure(1, 2, size=(8.0, 3.2))
    most = int(counts.max(initial=0))
    share = 100.0 * np.bincount(counts.ravel(), minlength=most + 1) / max(counts.size, 1)
    left.bar(np.arange(most + 1), share, width=0.86, color=BLUE)
    left.set(
        title=f"Spikes of one {name} neuron in one trial", xlabel="spikes", ylabel="share of neurons and trials (%)"
    )
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    means = counts.mean(axis=0) if len(counts) else np.zeros(counts.shape[1])
    silent = int(np.count_nonzero(counts.sum(axis=0) == 0))
    right.hist(means, bins=min(40, max(10, counts.shape[1] // 5)), color=ORANGE)
    right.axvline(means.mean(), color=GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    right.text(
        0.98, 0.96, f"mean {means.mean():.2f}\nsilent {silent} of {counts.shape[1]}", transform=right.transAxes, ha="right",
        va="top", color=GREY, fontsize=8.5,
    )  # fmt: skip
    right.set(
        title=f"Mean of every {name} neuron", xlabel=f"spikes a trial, mean over {len(counts)} trials", ylabel="neurons"
    )
    right.set_xlim(left=0)
    for ax in (left, right):
        ax.grid(False, axis="x")
    return fig
