"""Recordings with a label at each step: what came in, the true labels, the predicted ones, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ...data import Events
from .style import CLASS_COLOURS, GREY, figure, styled, words


@styled
def label_steps(
    events: Events | None, labels: np.ndarray, predictions: np.ndarray, scores: np.ndarray, dt: float,
    names: Sequence[str] = (), title: str = "",
) -> Figure:  # fmt: skip
    """A column for each recording: input spikes, true and predicted labels in the colours of their classes, and the
    softmax of the outputs. Steps without a label are white.

    Args:
        events: of the S recordings; None: currents, which are not drawn.
        labels, predictions: (S, T), -1 for none. scores: (S, T, K). dt: ms of a step.
        names: of the K classes, by default their numbers.
        title: of the whole.
    """
    S, T, K = scores.shape
    fig, axes = figure(3, S, size=(5.2 * S, 5.2), squeeze=False, sharex=True, height_ratios=(2, 1.1, 2))
    edges = np.arange(T + 1) * dt
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    for j in range(S):
        right = (labels[j] == predictions[j])[labels[j] >= 0]
        if events is not None:
            axes[0, j].plot(*events.sample(j), "|", color=GREY, markersize=5)
        axes[0, j].set_title(f"{100 * right.mean():.1f} % of labelled steps right" if right.size else "no labels")
        for k in range(K):
            colour = CLASS_COLOURS[k % len(CLASS_COLOURS)]
            for row, of in enumerate((predictions[j], labels[j])):
                band = {"baseline": row + 0.1, "fill": True, "color": colour, "linewidth": 0}
                axes[1, j].stairs(np.where(of == k, row + 0.9, row + 0.1), edges, **band)
            name = words(names[k]) if k < len(names) else str(k)
            axes[2, j].plot(edges[1:], p[j, :, k], color=colour, linewidth=1.0, label=name)
        axes[1, j].set(ylim=(0, 2), yticks=(0.5, 1.5), yticklabels=("predicted", "true"))
        axes[1, j].grid(False)
        axes[2, j].set(xlabel="time (ms)", xlim=(0, edges[-1]), ylim=(0, 1.02))
    axes[0, 0].set_ylabel("input channel")
    axes[2, 0].set_ylabel("softmax of outputs")
    axes[2, -1].legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        fig.suptitle(title)
    return fig
