"""Training curves of several runs on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...errors import SettingError
from .curves import accuracy_scale, activity_axes, column, loss_scale, smallest
from .style import CLASS_COLOURS, GREY, figure, styled, words

Metrics = Sequence[Mapping[str, Any]]


@styled
def compare_runs(runs: Mapping[str, Metrics], notes: Mapping[str, str] | None = None) -> Figure:
    """Loss, accuracy, spikes and silent neurons of every run, a colour each; validation solid, training dashed.

    Args:
        runs: name -> lines of metrics.jsonl. notes: name -> words for the legend, such as the test accuracy.

    Raises:
        SettingError: no run has an epoch yet.
    """
    runs = {name: lines for name, lines in runs.items() if lines}
    if not runs:
        raise SettingError("there is no epoch to plot yet")
    columns = 1 if max(map(len, runs)) > 45 or len(runs) < 3 else 2
    lines_of_legend = -(-(len(runs) + 2) // columns)
    fig, axes = figure(2, 2, size=(9.6, 5.8 + 0.2 * lines_of_legend), sharex=True)
    (loss, accuracy), (spikes, silent) = axes
    for colour, lines in zip(_colours(len(runs)), runs.values()):
        epochs = column(lines, "epoch")
        for ax, what, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            held_out = factor * column(lines, f"validation_{what}")
            training = factor * column(lines, f"train_{what}")
            has = np.isfinite(held_out).any()
            ax.plot(epochs, training, color=colour, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.8)
            if has:
                ax.plot(epochs, held_out, color=colour, marker="o" if len(epochs) == 1 else None)
        for ax, key in ((spikes, "spikes_per_neuron"), (silent, "silent")):
            ax.plot(epochs, _mean_of_hidden(lines, key), color=colour, marker="o" if len(epochs) == 1 else None)
    every = [line for lines in runs.values() for line in lines]
    loss_scale(loss, every)
    lows = [column(every, f"{part}_accuracy") for part in ("train", "validation")]
    accuracy_scale(accuracy, 100 * smallest(*lows))
    loss.set(title="Loss")
    accuracy.set(title="Accuracy")
    activity_axes(spikes, silent)
    _legend(fig, runs, notes or {}, columns)
    return fig


def _legend(fig: Figure, runs: Mapping[str, Metrics], notes: Mapping[str, str], columns: int) -> None:
    handles = [
        Line2D([], [], color=colour, label=words(f"{name}  {notes.get(name, '')}".strip()))
        for colour, name in zip(_colours(len(runs)), runs)
    ]
    if any(np.isfinite(column(lines, "validation_loss")).any() for lines in runs.values()):
        handles.append(Line2D([], [], color=GREY, label="solid: validation"))
    handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=(0, (3, 2)), label="dashed: training"))
    fig.legend(handles=handles, loc="outside lower left", ncols=columns)


def _colours(n: int) -> list[Any]:
    """The seven colours that are easiest to tell apart, or shades from one map for more."""
    return list(CLASS_COLOURS[:n]) if n <= len(CLASS_COLOURS) else list(colormaps["viridis"](np.linspace(0.0, 0.93, n)))


def _mean_of_hidden(lines: Metrics, key: str) -> np.ndarray:
    """(epochs,) over all spiking populations but "output" (over that one if there is no other).

    Spikes a neuron are averaged over populations, silent neurons added up.
    """
    names = list(lines[0][key])
    hidden = [name for name in names if name != "output"] or names
    together = np.array([[line[key][name] for name in hidden] for line in lines], np.float64)
    if not hidden:
        return np.full(len(lines), np.nan)
    return together.sum(axis=1) if key == "silent" else together.mean(axis=1)
