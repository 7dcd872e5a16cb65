"""Loss, accuracy and activity over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

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
    _pair(axes[0], epochs, column(metrics, "train_loss"), column(metrics, "validation_loss"))
    axes[0].set(title="Loss", ylabel="mean loss")
    loss_scale(axes[0], metrics)
    training, validation = 100 * column(metrics, "train_accuracy"), 100 * column(metrics, "validation_accuracy")
    _pair(axes[1], epochs, training, validation)
    axes[1].set(title="Accuracy", ylabel="right predictions (%)")
    accuracy_scale(axes[1], float(np.nanmin([training, validation])))
    if target is not None:
        axes[1].axhline(100 * target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        words = f"published {100 * target:.1f} %"
        axes[1].text(epochs[-1], 100 * target, words, color=GREY, fontsize=8, va="top", ha="right")
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


def column(metrics: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if m[name] is None else m[name] for m in metrics], dtype=np.float64)


def loss_scale(ax: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Logarithmic when the loss is positive and falls by more than a factor of five."""
    both = np.concatenate([column(metrics, "train_loss"), column(metrics, "validation_loss")])
    both = both[np.isfinite(both)]
    if both.size and both.min() > 0 and both.max() > 5 * both.min():
        ax.set_yscale("log")
        decades = np.log10(both.max() / both.min())
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0) if decades < 2 else (1.0,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def accuracy_scale(ax: Axes, low: float) -> None:
    """Stretched towards 100 %, so that 97 and 98 can be told apart: distance goes as log(101 - accuracy)."""
    ax.set_yscale("function", functions=(lambda a: -np.log10(np.maximum(101 - a, 1e-3)), lambda f: 101 - 10.0**-f))
    low = max(0.0, low - 0.1 * (101 - low))
    ticks = (0, 20, 40, 60, 70, 80, 90, 95, 97, 98, 99, 100)
    ax.set_yticks([tick for tick in ticks if tick >= low])
    ax.set_ylim(low, 100)


def _spikes(metrics: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    names = metrics[0]["spikes_per_neuron"]
    return {name: np.array([m["spikes_per_neuron"][name] for m in metrics]) for name in names}
