"""What a network does with one sample: rasters of input and populations, and the voltages that the loss reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, CLASS_COLOURS, GREY, ORANGE, figure, styled

if TYPE_CHECKING:
    from ..training import Trial

MANY = len(CLASS_COLOURS)
"""Outputs that have a colour each; of more, only the right one and one other are coloured."""


@styled
def layers(
    record: Trial, output: str, state: str = "V", prediction: int | None = None, class_names: Sequence[str] = ()
) -> Figure:
    """Rasters from input to output above the readout voltages.

    Args:
        record: from `training.record_trial`. output: name of the output population, and `state` what is read of it.
        prediction: class that the network says, -1 for none, for the title.
        class_names: names of the output's neurons, by default their numbers.
    """
    sizes = {name: next(iter(states.values())).shape[1] for name, states in record.states.items()}
    spiking = [name for name in record.states if name in record.spikes]
    rows = 2 + len(spiking)
    heights = [1.6, *[1.6 if sizes[name] > 20 else 0.8 for name in spiking], 1.8]
    fig, axes = figure(rows, 1, size=(7.2, 0.9 + 1.05 * sum(heights)), sharex=True, height_ratios=heights)
    _raster(axes[0], record.input_times, record.input_channels, "input", record.n_inputs, BLUE)
    for ax, name in zip(axes[1:], spiking):
        spikes = record.spikes[name]
        _raster(ax, spikes.time, spikes.neuron, name, sizes[name], "#202124")
    names = [*class_names, *map(str, range(len(class_names), sizes[output]))]
    _voltages(axes[-1], record, output, state, names, prediction)
    end = record.times[-1] + (record.times[1] if len(record.times) > 1 else 0.0)
    axes[-1].set(xlabel="time (ms)", xlim=(-0.01 * end, end))
    axes[0].set_title(_title(record.label, prediction, names))
    fig.align_ylabels(axes)
    return fig


def _title(label: int, prediction: int | None, names: Sequence[str]) -> str:
    parts = [f"class “{names[label]}”"] if label >= 0 else ["no label"]
    if prediction is not None:
        said = f"called “{names[prediction]}”" if prediction >= 0 else "no output decides"
        parts.append(said + ("" if label < 0 else ", right" if prediction == label else ", wrong"))
    return "; ".join(parts)


def _raster(ax: Axes, times: np.ndarray, neurons: np.ndarray, name: str, size: int, colour: str) -> None:
    """One mark a spike, smaller and fainter the more there are."""
    n = len(times)
    if n > 1500:
        dot = float(np.clip(8000 / n, 0.6, 3.0))
        ax.scatter(times, neurons, s=dot, marker="o", linewidths=0, color=colour, rasterized=True)
    else:
        ax.scatter(times, neurons, s=26 if size <= 60 else 10, marker="|", linewidths=0.9, color=colour)
    ax.set(ylabel=name, ylim=(-0.5 - 0.02 * size, size - 0.5 + 0.02 * size))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.grid(False, axis="y")
    active = len(np.unique(neurons))
    note = f"{n} spikes\n{active} of {size}\nactive"
    ax.text(1.01, 1.0, note, transform=ax.transAxes, ha="left", va="top", color=GREY, fontsize=8)


def _voltages(ax: Axes, record: Trial, output: str, state: str, names: Sequence[str], prediction: int | None) -> None:
    values = record.states[output][state]
    ax.set_ylabel(f"{output} ${state}$" if len(state) == 1 else f"{output} {state}")
    if values.shape[1] <= MANY:
        shown = [(k, CLASS_COLOURS[k], names[k]) for k in range(values.shape[1])]
    else:
        ax.plot(record.times, values, color="#BDC1C6", linewidth=0.7)
        shown = _two(values, record.label, prediction, names)
    for k, colour, label in shown:
        thick = 1.9 if k == record.label else 1.2
        ax.plot(record.times, values[:, k], color=colour, linewidth=thick, label=label)
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=1.2, borderaxespad=0.3, title=_rest(values))


def _two(values: np.ndarray, label: int, prediction: int | None, names: Sequence[str]) -> list[tuple[int, str, str]]:
    """Of many outputs: the right one, and the one called instead; the highest other one if the right one is called."""
    right = [] if label < 0 else [(label, BLUE, f"{names[label]}, right")]
    if prediction is not None and prediction >= 0 and prediction != label:
        return [*right, (prediction, ORANGE, f"{names[prediction]}, called")]
    order = np.array([k for k in range(values.shape[1]) if k != label])
    loudest = int(order[values[:, order].max(axis=0).argmax()])
    return [*right, (loudest, ORANGE, f"{names[loudest]}, highest" + (" other" if right else ""))]


def _rest(values: np.ndarray) -> str | None:
    return None if values.shape[1] <= MANY else f"{values.shape[1]} classes"
