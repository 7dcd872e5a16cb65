"""One trial: spikes of every population, V and lambda_V of some neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import BLUE, CLASS_COLOURS, GREY, figure

if TYPE_CHECKING:
    from ..training import Trial


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
    shown = neurons if neurons is not None else {name: _interesting(record, name) for name in populations}
    heights = [1.0, *[2.2 if record.states[p]["V"].shape[1] > 20 else 0.9 for p in populations]]
    heights += [1.5] * (2 * len(populations))
    fig, axes = figure(
        len(heights), 1, size=(7.2, 1.0 + 0.72 * sum(heights)), sharex=True, gridspec_kw={"height_ratios": heights}
    )
    _raster(axes[0], record.input_times, record.input_channels, "input", "input")
    colour = dict.fromkeys(populations, BLUE)
    for ax, name in zip(axes[1:], populations, strict=False):
        if name in record.spikes:
            _raster(ax, record.spikes[name].time, record.spikes[name].neuron, name, colour[name], record, name)
    row = 1 + len(populations)
    for name in populations:
        labels = class_names if name == output and class_names else ()
        _traces(axes[row], record, name, "V", shown[name], labels)
        axes[row].axhline(v_thresh, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        _traces(axes[row + 1], record, name, "lambda_V", shown[name], labels)
        row += 2
    axes[-1].set_xlabel("time (ms)")
    axes[-1].set_xlim(0, record.times[-1] + record.times[1])
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
    weight = np.abs(states.get("lambda_V", states["V"])).max(axis=0)
    if name in record.spikes:
        spiked = np.zeros(size, bool)
        spiked[record.spikes[name].neuron] = True
        weight = np.where(spiked, weight, -1.0)
    return sorted(int(i) for i in np.argsort(weight)[::-1][:3])


def _raster(ax: Axes, times: np.ndarray, neurons: np.ndarray, name: str, *_: Any) -> None:
    ax.scatter(times, neurons, marker="|", s=26, linewidths=0.9, color=BLUE if name == "input" else "k")
    ax.set_ylabel(name)
    ax.grid(False, axis="y")


def _traces(ax: Axes, record: Trial, name: str, state: str, neurons: Sequence[int], labels: Sequence[str]) -> None:
    values = record.states[name].get(state)
    ax.set_ylabel(f"{name}\n{'V' if state == 'V' else 'λ' + chr(0x1D65)}")
    if values is None:
        ax.text(0.5, 0.5, "no adjoint: the sample has no label", transform=ax.transAxes, ha="center", color=GREY)
        return
    for i, colour in zip(neurons, CLASS_COLOURS, strict=False):
        ax.plot(record.times, values[:, i], color=colour, linewidth=1.1, label=labels[i] if labels else f"neuron {i}")
    if state == "V":
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), handlelength=1.2, borderaxespad=0.3)
