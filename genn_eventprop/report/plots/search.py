"""A search over settings: how good its trials became, by order, by setting, and which settings mattered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .style import BLUE, GREY, ORANGE, figure, styled


@styled
def history(values: Sequence[tuple[int, float]], label: str, larger: bool = True) -> Figure:
    """The value of every trial, and the best so far.

    Args:
        values: (number of the trial, value), in order. label: of the value. larger: whether larger is better.
    """
    numbers, scores = (np.array(v) for v in zip(*values))
    best = (np.maximum if larger else np.minimum).accumulate(scores)
    fig, axis = figure(size=(6.0, 3.4))
    axis.plot(numbers, scores, ".", color=BLUE, label="trial")
    axis.step(numbers, best, where="post", color=ORANGE, label="best so far")
    axis.set(title="Trials", xlabel="trial", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return fig


@styled
def slices(trials: Sequence[tuple[Mapping[str, Any], float]], label: str, logarithmic: Collection[str] = ()) -> Figure:
    """The value of every trial over each setting.

    Args:
        trials: (settings, value). logarithmic: settings that were searched on a logarithmic scale.
    """
    names = sorted({name for settings, _ in trials for name in settings})
    fig, axes = figure(1, len(names), size=(2.9 * len(names) + 0.6, 3.0), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names):
        pairs = [(settings[name], value) for settings, value in trials if name in settings]
        numeric = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x, _ in pairs)
        xs = [x if numeric else str(x) for x, _ in pairs]
        axis.plot(xs, [value for _, value in pairs], ".", color=BLUE)
        axis.set(xlabel=name)
        if name in logarithmic and numeric:
            axis.set(xscale="log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0][0].set(ylabel=label)
    return fig


@styled
def importances(shares: Mapping[str, float]) -> Figure:
    """How much of the values' differences each setting explains; source: Watanabe et al. 2023, PED-ANOVA."""
    names = sorted(shares, key=lambda name: shares[name])
    fig, axis = figure(size=(5.0, 0.35 * len(names) + 1.2))
    axis.barh(names, [shares[name] for name in names], color=BLUE)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", color=GREY)
    axis.set(title="Importance", xlabel="fraction of the variance")
    return fig
