"""What a regression predicts, beside the targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ...data.inputs import DataSet
from ...data.target_scale import TargetScale, explained_variance
from ...training.evaluator import Evaluation
from .style import BLUE, GREY, figure, styled, words

DRAWN = 12
"""Targets, at most."""


def in_units(scale: TargetScale | None, data: DataSet, result: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """(targets, predictions), (S, K), of samples with the targets that the network learns."""
    predicted = np.where(np.isfinite(result.readout), result.readout, np.nan)
    assert data.targets is not None
    return (data.targets, predicted) if scale is None else (scale.units(data.targets), scale.units(predicted))


@styled
def predictions(targets: np.ndarray, predicted: np.ndarray, names: Sequence[str] = (), title: str = "") -> Figure:
    """A panel for each of the first `DRAWN` targets: predicted over true, on the line where they agree.

    Args:
        targets, predicted: (S, K), nan where there is no target.
        names: of the K targets, by default their numbers.
        title: of the whole, e.g. the name of the set.
    """
    count = min(targets.shape[1], DRAWN)
    columns = min(count, 4)
    rows = -(-count // columns)
    fig, axes = figure(rows, columns, size=(max(3.6 * columns, 4.0), 3.7 * rows), squeeze=False)
    for k, ax in enumerate(axes.flat):
        if k >= count:
            ax.set_visible(False)
            continue
        true, found = targets[:, k], predicted[:, k]
        both = np.concatenate([true, found])
        low, high = np.nanmin(both), np.nanmax(both)
        margin = 0.04 * (high - low) or 1.0
        ends = (low - margin, high + margin)
        ax.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        ax.plot(true, found, "o", color=BLUE, markersize=3, alpha=0.6, markeredgewidth=0)
        name = words(names[k]) if k < len(names) else f"target {k}"
        explained = explained_variance(true[:, None], found[:, None])
        ax.set(xlim=ends, ylim=ends, xlabel=f"{name}, true", ylabel="predicted", title=f"explained {explained:.3f}")
        ax.set_aspect("equal")
    if title:
        fig.suptitle(title)
    return fig
