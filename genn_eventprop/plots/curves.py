"""Loss, accuracy and activity over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import SettingError
from .style import BLUE, CLASS_COLOURS, GREY, ORANGE, figure, styled


@styled
def learning_curves(metrics: Sequence[Mapping[str, Any]], target: float | None = None) -> Figure:
    """Loss, error and activity of every epoch.

    Args:
        metrics: lines of metrics.jsonl.
        target: accuracy in 0..1 to draw as a reference line, e.g. the published one.

    Raises:
        SettingError: without any epoch.
    """
    if not metrics:
        raise SettingError("there is no epoch to plot yet")
    fig, axes = figure(1, 3, size=(10.5, 3.2))
    epochs = np.array([m["epoch"] for m in metrics])
    _pair(axes[0], epochs, _column(metrics, "train_loss"), _column(metrics, "validation_loss"))
    axes[0].set(title="Loss", ylabel="mean loss", yscale=_scale(metrics))
    training, validation = 100 * _column(metrics, "train_accuracy"), 100 * _column(metrics, "validation_accuracy")
    _pair(axes[1], epochs, training, validation)
    axes[1].set(title="Accuracy", ylabel="right predictions (%)", ylim=_accuracy_limits(training, validation))
    if target is not None:
        axes[1].axhline(100 * target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes[1].text(
            epochs[0], 100 * target, f" published {100 * target:.1f} %", color=GREY, fontsize=8, va="bottom", ha="left"
        )
    for (name, values), colour in zip(_spikes(metrics).items(), CLASS_COLOURS, strict=False):
        silent = metrics[-1]["silent"][name]
        label = f"{name}: {values[-1]:.2f} at the end, {silent} silent"
        axes[2].plot(epochs, values, color=colour, label=label, marker="o" if len(epochs) == 1 else None)
    axes[2].set(title="Activity", ylabel="spikes a neuron and trial")
    axes[2].set_ylim(bottom=0)
    axes[1].legend(loc="lower right")
    axes[2].legend(loc="best")
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.margins(x=0.02)
    return fig


def _pair(ax: Axes, epochs: np.ndarray, training: np.ndarray, validation: np.ndarray) -> None:
    marker = "o" if len(epochs) == 1 else None
    ax.plot(epochs, training, color=BLUE, label="training", marker=marker)
    if np.isfinite(validation).any():
        ax.plot(epochs, validation, color=ORANGE, label="validation", marker=marker)


def _column(metrics: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if m[name] is None else m[name] for m in metrics], dtype=np.float64)


def _scale(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Logarithmic when the loss is positive and falls by more than a factor of five."""
    both = np.concatenate([_column(metrics, "train_loss"), _column(metrics, "validation_loss")])
    both = both[np.isfinite(both)]
    return "log" if both.size and both.min() > 0 and both.max() > 5 * both.min() else "linear"


def _accuracy_limits(training: np.ndarray, validation: np.ndarray) -> tuple[float, float]:
    """From a little below the lowest value to 100."""
    low = float(np.nanmin(np.concatenate([training, validation])))
    return max(0.0, 5 * np.floor((low - 1) / 5)), 100.0


def _spikes(metrics: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    names = metrics[0]["spikes_per_neuron"]
    return {name: np.array([m["spikes_per_neuron"][name] for m in metrics]) for name in names}
