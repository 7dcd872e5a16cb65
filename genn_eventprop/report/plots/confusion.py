"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from .style import GREY, figure, styled, words

READABLE = 25
"""Classes up to which every cell carries its number."""


@styled
def confusion(matrix: np.ndarray, class_names: Sequence[str] = (), title: str = "Confusion") -> Figure:
    """A confusion matrix, each row in per cent of its class.

    Args:
        matrix: (K, K + 1) counts, rows the true class, the last column undecided (`training.metrics`); that column is
            left out if it is empty.
        class_names: K names, by default numbers.
    """
    matrix = np.asarray(matrix)
    n_classes = len(matrix)
    counts = matrix if matrix[:, -1].any() else matrix[:, :-1]
    names = [*map(words, class_names), *map(str, range(len(class_names), n_classes))]
    share = 100.0 * counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.36 * n_classes + 1.4, 3.6, 9.5))
    fig, ax = figure(size=(side + 0.9, side))
    image = ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100))  # one mistake in a hundred is seen
    ticks = [*names, "undecided"][: counts.shape[1]]
    small = 9.0 if n_classes <= 15 else 6.5
    turned = 90 if max(map(len, ticks)) * len(ticks) > 60 and max(map(len, ticks)) > 2 else 0
    ax.set_xticks(range(counts.shape[1]), ticks, rotation=turned, fontsize=small)
    ax.set_yticks(range(n_classes), names, fontsize=small)
    ax.set(xlabel="predicted class", ylabel="true class")
    right, total = int(matrix.diagonal().sum()), int(matrix.sum())
    ax.set_title(f"{title}: {100 * right / max(total, 1):.2f} % of {total} right")
    ax.grid(False)
    if n_classes <= READABLE:
        for i, j in zip(*np.nonzero(counts)):
            colour = "white" if share[i, j] > 35 else "#202124"
            ax.text(
                j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8 if n_classes <= 12 else 6
            )
    bar = fig.colorbar(image, ax=ax, shrink=0.8, aspect=25)
    bar.set_ticks([0, 1, 5, 10, 25, 50, 100])
    bar.set_label("% of the true class", color=GREY)
    bar.outline.set_linewidth(0.5)
    return fig
