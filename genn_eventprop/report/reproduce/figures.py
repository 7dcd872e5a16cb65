"""The figures of a table: how accuracy and activity went in every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..plots.curves import activity_axes, epoch_axis
from ..plots.style import CLASS_COLOURS, figure, styled
from .collect import Outcome
from .paper import ACCURACIES

Value = Callable[[dict[str, Any]], float]


@styled
def curves(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy, hidden spikes and silent hidden neurons over the epochs: thin lines are runs, thick ones medians."""
    cells = [o for o in outcomes if any(o.metrics.values())]
    rows = -(-len(cells) // 3)
    fig, axes = figure(1, 3, size=(10.5, 3.3 + 0.19 * rows))
    validated = any(
        m.get("validation_accuracy") is not None for o in cells for lines in o.metrics.values() for m in lines
    )
    part = "validation" if validated else "train"
    for outcome, (colour, dashes) in zip(cells, _looks(len(cells))):
        _lines(axes[0], outcome, lambda m: 100 * _number(m[f"{part}_accuracy"]), colour, dashes)
        _lines(axes[1], outcome, lambda m: _hidden(m, "spikes_per_neuron", np.mean), colour, dashes)
        _lines(axes[2], outcome, lambda m: _hidden(m, "silent", np.sum), colour, dashes)
    split = "Validation" if validated else "Training"
    axes[0].set(title=f"{split} accuracy", ylabel="correct predictions (%), linear scale")
    epoch_axis(axes[0])
    axes[0].set_ylim(top=101)
    activity_axes(*axes[1:])
    handles = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=2, label=o.cell.name)
        for o, (colour, dashes) in zip(cells, _looks(len(cells)))
    ]
    fig.legend(handles=handles, loc="outside lower left", ncols=3)
    return fig


@styled
def accuracies(outcomes: Sequence[Outcome]) -> Figure:
    """Every run's accuracy, the mean, and what was published with its standard deviation; one line a cell."""
    cells = [o for o in outcomes if o.values]
    fig, ax = figure(size=(7.6, 1.5 + 0.34 * len(cells)))
    for row, outcome in enumerate(cells):
        values = list(outcome.values.values())
        ax.plot(values, [row] * len(values), "o", color=CLASS_COLOURS[0], markersize=4, alpha=0.45)
        ax.plot([outcome.mean], [row], "|", color=CLASS_COLOURS[0], markersize=15, markeredgewidth=2.2)
        published = outcome.cell.published
        if published is not None and published.accuracy is not None:
            ax.errorbar(published.accuracy, row + 0.25, xerr=published.deviation, fmt="D", color=CLASS_COLOURS[1],
                        markersize=4, capsize=3)  # fmt: skip
    words = "validation" if cells[0].accuracy == ACCURACIES["validation"] else "test"
    ax.set_yticks(range(len(cells)), [o.cell.name for o in cells])
    ax.set(xlabel=f"{words} accuracy (%), linear scale", ylim=(len(cells) - 0.4, -0.6))
    ax.grid(False, axis="y")
    ours, theirs = CLASS_COLOURS[:2]
    handles = [
        Line2D([], [], linestyle="", marker="o", color=ours, alpha=0.45, label="a run"),
        Line2D([], [], linestyle="", marker="|", color=ours, markersize=11, markeredgewidth=2.2, label="mean"),
        Line2D([], [], linestyle="", marker="D", color=theirs, markersize=4, label="published, standard deviation"),
    ]
    any_published = any(o.cell.published is not None and o.cell.published.accuracy is not None for o in cells)
    fig.legend(handles=handles if any_published else handles[:2], loc="outside lower left", ncols=3)
    return fig


def _looks(n: int) -> list[tuple[Any, Any]]:
    """A colour and a dash pattern each; more than seven lines share the colours, dashed."""
    if n <= len(CLASS_COLOURS):
        return [(colour, "-") for colour in CLASS_COLOURS[:n]]
    if n <= 2 * len(CLASS_COLOURS):
        return [(colour, dash) for dash in ("-", (0, (4, 2))) for colour in CLASS_COLOURS][:n]
    return [(colour, "-") for colour in colormaps["viridis"](np.linspace(0.0, 0.93, n))]


def _lines(ax: Axes, outcome: Outcome, value: Value, colour: Any, dashes: Any) -> None:
    every = [np.array([value(m) for m in lines]) for lines in outcome.metrics.values() if lines]
    shortest = min(map(len, every))
    for line in every if len(every) > 1 else ():
        ax.plot(np.arange(1, len(line) + 1), line, color=colour, linewidth=0.5, alpha=0.35)
    median = np.median([line[:shortest] for line in every], axis=0)
    marker = "o" if shortest == 1 else None
    ax.plot(np.arange(1, shortest + 1), median, color=colour, linestyle=dashes, linewidth=1.8, marker=marker)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _hidden(metrics: dict[str, Any], key: str, over: Callable[[list[float]], Any]) -> float:
    values = [v for name, v in metrics[key].items() if name != "output"]
    return float(over(values)) if values else np.nan
