"""One trial: spikes of every population, V and lambda_V of some neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, CLASS_COLOURS, GREY, figure, styled

if TYPE_CHECKING:
    from ..training import Trial


@styled
def trial(
    record: Trial,
    class_names: Sequence[str] = (),
    neurons: dict[str, Sequence[int]] | None = None,
    v_thresh: float = 1.0,
) -> Figure:
    """A raster of one trial above V and lambda_V of some neurons.

    Args:
        record: from `training.record_trial`.
        class_names: names of the last population's neurons.
        neurons: population -> which of its neurons to show; by default all outputs, and the three hidden neurons with
            the largest lambda_V (those that the gradient changes most).
        v_thresh: where to draw the threshold.
    """
    populations = list(record.states)
    output = populations[-1]
    n_inputs = record.n_inputs
    shown = neurons if neurons is not None else {name: _interesting(record, name) for name in populations}
    heights = [1.0, *[2.2 if record.states[p]["V"].shape[1] > 20 else 0.9 for p in populations]]
    heights += [1.5] * (2 * len(populations))
    fig, axes = figure(
        len(heights), 1, size=(7.2, 1.0 + 0.72 * sum(heights)), sharex=True, gridspec_kw={"height_ratios": heights}
    )
    _raster(axes[0], record.input_times, record.input_channels, "input", n_inputs, BLUE)
    for ax, name in zip(axes[1:], populations, strict=False):
        size = record.states[name]["V"].shape[1]
        if name in record.spikes:
            _raster(ax, record.spikes[name].time, record.spikes[name].neuron, name, size, "k")
        else:
            ax.text(0.5, 0.5, "never spikes", transform=ax.transAxes, ha="center", color=GREY)
            ax.set_ylabel(name)
    row = 1 + len(populations)
    for name in populations:
        labels = class_names if name == output and class_names else ()
        _traces(axes[row], record, name, "V", shown[name], labels)
        axes[row].axhline(v_thresh, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        _traces(axes[row + 1], record, name, "lambda_V", shown[name], labels)
        row += 2
    axes[-1].set_xlabel("time (ms)")
    end = record.times[-1] + record.times[1]
    axes[-1].set_xlim(-0.01 * end, end)
    title = "One trial" + (f", class “{class_names[record.label]}”" if class_names and record.label >= 0 else "")
    axes[0].set_title(title)
    fig.align_ylabels(axes)
    return fig


def _interesting(record: Trial, name: str) -> list[int]:
    """All neurons of a small population, else the three with the largest |lambda_V| among those that spiked."""
    states = record.states[name]
    size = states["V"].shape[1]
    if size <= 4:
        return list(range(size))
    candidates = np.arange(size)
    if name in record.spikes and len(record.spikes[name].neuron):
        candidates = np.unique(record.spikes[name].neuron)
    weight = np.abs(states.get("lambda_V", states["V"])).max(axis=0)[candidates]
    return sorted(int(i) for i in candidates[np.argsort(-weight, kind="stable")[:3]])


def _raster(ax: Axes, times: np.ndarray, neurons: np.ndarray, name: str, size: int, colour: str) -> None:
    ax.scatter(times, neurons, marker="|", s=26, linewidths=0.9, color=colour)
    ax.set(ylabel=name, ylim=(-0.5 - 0.02 * size, size - 0.5 + 0.02 * size))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.grid(False, axis="y")


def _traces(ax: Axes, record: Trial, name: str, state: str, neurons: Sequence[int], labels: Sequence[str]) -> None:
    values = record.states[name].get(state)
    ax.set_ylabel(f"{name}\n" + {"V": "$V$", "lambda_V": r"$\lambda_V$"}[state])
    if values is None:
        ax.text(0.5, 0.5, "no adjoint: the sample has no label", transform=ax.transAxes, ha="center", color=GREY)
        return
    for i, colour in zip(neurons, CLASS_COLOURS, strict=False):
        ax.plot(record.times, values[:, i], color=colour, linewidth=1.1, label=labels[i] if labels else f"neuron {i}")
    if state == "V":
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), handlelength=1.2, borderaxespad=0.3)
