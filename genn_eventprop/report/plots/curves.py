"""Loss, accuracy and activity over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ...errors import SettingError
from .style import BLUE, CLASS_COLOURS, GREY, ORANGE, figure, styled


@styled
def learning_curves(
    metrics: Sequence[Mapping[str, Any]], target: float | None = None, sizes: Mapping[str, int] | None = None
) -> Figure:
    """Loss, accuracy, activity and silent neurons of every epoch.

    Args:
        metrics: lines of metrics.jsonl.
        target: accuracy in 0..1 to draw as a reference line, e.g. the published one.
        sizes: population -> neurons, so that the silent ones can be told as a share.

    Raises:
        SettingError: without any epoch.
    """
    if not metrics:
        raise SettingError("there is no epoch to plot yet")
    rows = max(0, len(metrics[0]["spikes_per_neuron"]) - 2)  # of the legends, at most, beyond those of two populations
    fig, axes = figure(2, 2, size=(9.6, 6.2 + 0.2 * rows), sharex=True)
    (loss, accuracy), (activity, silent) = axes
    epochs = column(metrics, "epoch")
    _pair(loss, epochs, column(metrics, "train_loss"), column(metrics, "validation_loss"))
    loss.set(title="Loss")
    loss_scale(loss, metrics)
    training, validation = 100 * column(metrics, "train_accuracy"), 100 * column(metrics, "validation_accuracy")
    _pair(accuracy, epochs, training, validation)
    accuracy.set(title="Accuracy")
    accuracy_scale(accuracy, smallest(training, validation))
    if target is not None:
        words = f"published {100 * target:.1f} %"
        accuracy.axhline(100 * target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1, label=words)
    _populations(activity, silent, metrics, epochs, sizes or {})
    below(loss, accuracy, gap=0.05)
    below(activity, silent, gap=0.24)
    return fig


def _populations(
    activity: Axes, silent: Axes, metrics: Sequence[Mapping[str, Any]], epochs: np.ndarray, sizes: Mapping[str, int]
) -> None:
    """Spikes per neuron and silent neurons, a line a population; the legends tell how it ended."""
    marker = "o" if len(epochs) == 1 else None
    for (name, values), colour in zip(
        _of_populations(metrics, "spikes_per_neuron").items(), CLASS_COLOURS, strict=False
    ):
        activity.plot(epochs, values, color=colour, label=f"{name}: {values[-1]:.2f} at the end", marker=marker)
    for (name, values), colour in zip(_of_populations(metrics, "silent").items(), CLASS_COLOURS, strict=False):
        share = f" of {sizes[name]}" if name in sizes else ""
        silent.plot(epochs, values, color=colour, label=f"{name}: {values[-1]:.0f}{share} at the end", marker=marker)
    activity_axes(activity, silent, "Activity", "Silent neurons")


def activity_axes(
    activity: Axes, silent: Axes, first: str = "Activity of hidden neurons", second: str = "Silent hidden neurons"
) -> None:
    """Titles and scales of spikes and silent neurons over epochs, once they are drawn."""
    activity.set(title=first, ylabel="spikes per neuron and trial")
    silent.set(title=second, ylabel="neurons silent for the whole epoch")
    for ax in (activity, silent):
        ax.set_ylim(bottom=0, top=None if ax.dataLim.ymax > 0 else 1)
        epoch_axis(ax)
    silent.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def epoch_axis(ax: Axes) -> None:
    """Epochs to the right."""
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.margins(x=0.02)


def below(*axes: Axes, gap: float) -> None:
    """The legends under the axes, where they lie on no curve; `gap` in heights of the axes."""
    for ax in axes:
        longest = max((len(str(line.get_label())) for line in ax.get_lines()), default=0)
        columns = max(1, min(3, 64 // (longest + 8)))  # that fit the width of the axes
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, -gap), ncols=columns, borderaxespad=0.0, columnspacing=1.4)


def _pair(ax: Axes, epochs: np.ndarray, training: np.ndarray, validation: np.ndarray) -> None:
    marker = "o" if len(epochs) == 1 else None
    ax.plot(epochs, training, color=BLUE, label="training", marker=marker)
    if np.isfinite(validation).any():
        ax.plot(epochs, validation, color=ORANGE, label="validation", marker=marker)


def column(metrics: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if m[name] is None else m[name] for m in metrics], dtype=np.float64)


def loss_scale(ax: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Logarithmic when the loss is positive and falls by more than a factor of five; the axis says which."""
    ax.set_ylabel("mean loss")
    both = np.concatenate([column(metrics, "train_loss"), column(metrics, "validation_loss")])
    both = both[np.isfinite(both)]
    if both.size and both.min() > 0 and both.max() > 5 * both.min():
        ax.set_yscale("log")
        ax.set_ylabel("mean loss, log scale")
        decades = np.log10(both.max() / both.min())
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0) if decades < 2 else (1.0,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def smallest(*values: np.ndarray) -> float:
    """The smallest number; nan if there is none."""
    known = np.concatenate(values)
    return float(known[np.isfinite(known)].min(initial=np.inf)) if np.isfinite(known).any() else float("nan")


def accuracy_scale(ax: Axes, low: float) -> None:
    """Linear, unless most of the axis would lie above 90 %: then stretched towards 100 %, as log(101 - accuracy).

    So 97 and 98 % can be told apart; the label of the axis says which scale it is. Without
    accuracies (`low` is nan), as of a regression, there are no axes.
    """
    if math.isnan(low):
        ax.set_visible(False)
        return
    low = max(0.0, low - 0.1 * (101 - low))
    if ax.dataLim.ymax < 90:
        ax.set(
            ylabel="correct predictions (%), linear scale", ylim=(low, min(100.0, ax.dataLim.ymax + 0.1 * (101 - low)))
        )
        return
    ax.set_ylabel("correct predictions (%), not linear")
    ax.set_yscale("function", functions=(lambda a: -np.log10(np.maximum(101 - a, 1e-3)), lambda f: 101 - 10.0**-f))
    ticks = (0, 20, 40, 60, 70, 80, 90, 95, 97, 98, 99, 100)
    ax.set_yticks([tick for tick in ticks if tick >= low])
    ax.set_ylim(low, 100)


def _of_populations(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[str, np.ndarray]:
    """Population -> (epochs,) of "spikes_per_neuron" or "silent"."""
    return {name: np.array([m[key][name] for m in metrics]) for name in metrics[0][key]}
