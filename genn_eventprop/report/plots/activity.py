"""How many spikes neurons fire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .style import BLUE, GREY, ORANGE, VERMILION, figure, styled


@styled
def spike_counts(counts: np.ndarray, name: str) -> Figure:
    """Histograms of spikes a trial, and of the mean over trials of every neuron.

    Args:
        counts: (S, N) spikes of N neurons in S trials.
        name: of the population.
    """
    return _page({name: counts})


@styled
def spike_histograms(counts: Mapping[str, np.ndarray]) -> Figure:
    """The same of several populations, a row each.

    Args:
        counts: population -> (S, N).
    """
    return _page(counts)


def _page(counts: Mapping[str, np.ndarray]) -> Figure:
    fig, axes = figure(len(counts), 2, size=(8.0, 3.2 * len(counts)), squeeze=False)
    for (name, values), (left, right) in zip(counts.items(), axes):
        _of_trials(left, values, name)
        _of_neurons(right, values, name)
        for ax in (left, right):
            ax.grid(False, axis="x")
    return fig


def _of_trials(left: Axes, counts: np.ndarray, name: str) -> None:
    """Share of (neuron, trial) pairs with each number of spikes; wide ranges are binned."""
    most = int(counts.max(initial=0))
    width = max(1, -(-(most + 1) // 60))
    edges = np.arange(0, most + 1 + width, width)
    share: np.ndarray = 100.0 * np.histogram(counts, bins=edges - 0.5)[0] / max(counts.size, 1)
    bars = left.bar(edges[:-1] + (width - 1) / 2, share, width=0.86 * width, color=BLUE)
    if most < 8:
        left.bar_label(bars, labels=[f"{value:.2g} %" for value in share], fontsize=8, color=GREY, padding=2)
    left.set(
        title=(f"{name}: spikes per neuron and trial"), xlabel="spikes", ylabel="fraction of neurons and trials (%)"
    )
    left.set_ylim(top=1.08 * float(share.max()))
    if most >= 8 and len(share) > 1 and share[0] > 5 * share[1:].max() > 0:  # mostly silence: the rest must be seen too
        left.set(
            yscale="log", ylim=(0.5 * share[share > 0].min(), 150.0), ylabel=left.get_ylabel()[:-1] + ", log scale)"
        )
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))


def _of_neurons(right: Axes, counts: np.ndarray, name: str) -> None:
    """Mean over trials of every neuron that is not silent."""
    means = counts.mean(axis=0) if len(counts) else np.zeros(counts.shape[1])
    active = means[means > 0]
    bins = np.linspace(0.0, max(float(means.max(initial=0.0)), 1e-3), 31).tolist()
    right.hist(active, bins=bins, histtype="stepfilled", color=ORANGE)
    silent = means.size - active.size
    note = f"{silent} of {means.size} neurons silent" + (", not shown" if silent else "")
    colour = VERMILION if 2 * silent > means.size else GREY  # most of the layer does nothing: that must be seen
    place: Any = {"transform": right.transAxes, "ha": "right", "va": "top", "fontsize": 8.5}
    right.text(0.98, 0.97, note, color=colour, weight="bold" if 2 * silent > means.size else "normal", **place)
    right.text(0.98, 0.90, f"mean over all neurons {means.mean():.2f}", color=GREY, **place)
    right.set(title=f"{name}: mean of each active neuron", xlabel=f"spikes per trial, over {len(counts)} trials")
    right.set_ylabel("neurons")
    right.set_ylim(top=1.25 * right.get_ylim()[1])  # room for the note
    right.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    right.set_xlim(left=0)
