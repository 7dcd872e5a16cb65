"""The Yin-Yang plane: what the network says at every point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Arc, Circle
from matplotlib.ticker import MaxNLocator

from .style import CLASS_COLOURS, LIGHT, figure, styled, words

UNDECIDED = "#FFFFFF"


def disc(resolution: int = 121, r_big: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a square grid that lie inside the figure's circle.

    Returns:
        x, y: (S,) coordinates in [0, 1]. inside: (resolution, resolution) bool, row = y, where these points belong.
    """
    axis = np.linspace(0.0, 2.0 * r_big, resolution)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x - r_big, y - r_big) <= r_big
    return x[inside], y[inside], inside


def four_inputs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(S, 4): x, y, 1 - x, 1 - y, what the data set gives for a point."""
    return np.stack([x, y, 1.0 - x, 1.0 - y], axis=1)


@styled
def yin_yang_plane(
    x: np.ndarray,
    y: np.ndarray,
    inside: np.ndarray,
    predictions: np.ndarray,
    first_spikes: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """The plane coloured by prediction, and by the first spike time of each output.

    Args:
        x, y, inside: from `disc`.
        predictions: (S,) class of every point, -1 undecided.
        first_spikes: (S, K) ms, inf where an output stays silent.
        class_names: K names.
    """
    class_names = [words(name) for name in class_names]
    n_classes = len(class_names)
    fig, axes = figure(1, n_classes + 1, size=(2.9 * (n_classes + 1) + 0.6, 3.5))
    colours = ListedColormap([UNDECIDED, *CLASS_COLOURS[:n_classes]])
    axes[0].pcolormesh(
        *_edges(inside), _image(predictions + 1.0, inside), cmap=colours, vmin=-0.5, vmax=n_classes + 0.5
    )
    axes[0].set_title("Prediction")
    handles = [
        Line2D([], [], marker="s", ls="", color=c, label=n) for n, c in zip(class_names, CLASS_COLOURS, strict=False)
    ]
    if np.any(predictions < 0):
        handles.append(Line2D([], [], marker="s", ls="", markerfacecolor="w", markeredgecolor="k", label="undecided"))
    handles.append(Line2D([], [], color="k", lw=0.8, label="true border"))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02), "ncols": 4}
    axes[0].legend(handles=handles, handlelength=1.0, handletextpad=0.4, columnspacing=0.9, **below)
    finite = first_spikes[np.isfinite(first_spikes)]
    # the shared scale stops at the 99th percentile: a few very late spikes would take all the contrast
    low, high = (float(finite.min()), float(np.percentile(finite, 99))) if finite.size else (0.0, 1.0)
    mesh = None
    for k, name in enumerate(class_names):
        times = np.where(np.isfinite(first_spikes[:, k]), first_spikes[:, k], np.nan)
        mesh = axes[k + 1].pcolormesh(*_edges(inside), _image(times, inside), cmap="viridis_r", vmin=low, vmax=high)
        axes[k + 1].set_title(f"First spike of “{name}”")
    for ax in axes:
        _outline(ax)
    assert mesh is not None
    bar = fig.colorbar(mesh, ax=list(axes[1:]), shrink=0.75, pad=0.015, aspect=22, extend="max", ticks=MaxNLocator(6))
    bar.set_label("ms (grey: silent)")
    bar.outline.set_linewidth(0.5)
    return fig


def _image(values: np.ndarray, inside: np.ndarray) -> np.ma.MaskedArray:
    image = np.full(inside.shape, np.nan)
    image[inside] = values
    return np.ma.masked_invalid(image)


def _edges(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = inside.shape[0]
    edges = (np.arange(n + 1) - 0.5) / (n - 1)
    return edges, edges


def _outline(ax: Axes) -> None:
    """The figure itself: circle, the S-curve, the two dots; its grey shows wherever nothing is drawn over it."""
    ax.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_axis_off()
    ax.add_patch(Circle((0.5, 0.5), 0.5, facecolor=LIGHT, linewidth=0, zorder=0))
    line: dict[str, Any] = {"edgecolor": "k", "linewidth": 0.8, "zorder": 3}
    ax.add_patch(Circle((0.5, 0.5), 0.5, facecolor="none", **line))
    ax.add_patch(Arc((0.25, 0.5), 0.5, 0.5, theta1=180, theta2=360, **line))
    ax.add_patch(Arc((0.75, 0.5), 0.5, 0.5, theta1=0, theta2=180, **line))
    for centre in (0.25, 0.75):
        ax.add_patch(Circle((centre, 0.5), 0.1, facecolor="none", **line))
