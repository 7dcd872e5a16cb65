"""What a network does with one sample: rasters of input and populations, and the voltages that the loss reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, CLASS_COLOURS, GREY, ORANGE, AlignedColumn, figure, styled, words

if TYPE_CHECKING:
    from ...training import Trial

MANY = len(CLASS_COLOURS)
"""Outputs that have a colour each; of more, only the right one and one other are coloured."""


OTHERS = "#BDC1C6"
"""The colour of outputs without one of their own."""


@styled
def layers(
    record: Trial, output: str, state: str = "V", prediction: int | None = None, class_names: Sequence[str] = ()
) -> Figure:
    """Rasters from input to output above the readout voltages.

    Args:
        record: from `training.record_trial`. output: name of the output population, and `state` what is read of it.
        prediction: the predicted class, -1 for none, for the title.
        class_names: names of the output's neurons, by default their numbers.
    """
    high = [1.6 if size > 20 or name == "input" else 0.8 for name, size, *_ in rasters_of(record)]
    fig, axes, _ = column_of(record, [*high, 1.8], 1.05, 0.9)
    values = record.states[output][state]
    names = [*map(words, class_names), *map(str, range(len(class_names), values.shape[1]))]
    voltages(axes[-1], record, output, state, output_lines(values, record.label, prediction, names), others=True)
    return finished(fig, axes, record, title(record.label, prediction, names))


def column_of(record: Trial, heights: Sequence[float], scale: float, margin: float) -> tuple[Figure, Any, int]:
    """(figure, axes, how many of them are drawn): currents and rasters above axes for the rest, on one axis of time.

    Args:
        heights: of the axes behind those of currents, `scale` inches each 1, and a `margin`.
    """
    rows, driving = rasters_of(record), dict(record.currents)
    heights = [*[1.6] * len(driving), *heights]
    size = (7.2, margin + scale * sum(heights))
    fig, axes = figure(len(heights), 1, size=size, sharex=True, height_ratios=heights)
    for ax, (name, (numbers, dt)) in zip(axes, driving.items()):
        currents(ax, name, numbers, dt, record.end)
    for ax, row in zip(axes[len(driving) :], rows):
        raster(ax, *row)
    return fig, axes, len(driving) + len(rows)


def finished(fig: Figure, axes: Any, record: Trial, words: str) -> Figure:
    """The column with its axis of time and its title."""
    axes[-1].set(xlabel="time (ms)", xlim=(-0.01 * record.end, record.end))
    axes[0].set_title(words)
    fig.set_layout_engine(AlignedColumn(axes))
    return fig


def title(label: int, prediction: int | None, names: Sequence[str]) -> str:
    """The class of a sample and, if given, the prediction: -1 if no output decides."""
    parts = [f"class “{names[label]}”"] if label >= 0 else ["no label"]
    if prediction is not None:
        verdict = f"predicted “{names[prediction]}”" if prediction >= 0 else "no output decides"
        parts.append(verdict + ("" if label < 0 else ", right" if prediction == label else ", wrong"))
    return "; ".join(parts)


def rasters_of(record: Trial) -> list[tuple[str, int, np.ndarray, np.ndarray, str]]:
    """(name, neurons, times, numbers, colour) of input spikes, if there are any, and of every spiking population."""
    sizes = {name: next(iter(states.values())).shape[1] for name, states in record.states.items()}
    rows = [("input", record.n_inputs, record.input_times, record.input_channels, BLUE)] if record.n_inputs else []
    spiking = ((name, record.spikes[name]) for name in record.states if name in record.spikes)
    return rows + [(name, sizes[name], s.time, s.neuron, "#202124") for name, s in spiking]


LINES = 6
"""Channels of a current, up to which each is a line; more are an image."""


def currents(ax: Axes, name: str, values: np.ndarray, dt: float, end: float) -> None:
    """A current over time: steps of a few channels, or an image, channel 0 at the bottom as in a raster.

    Args:
        values: (V, M), each for `dt` ms. end: of the trial, ms.
    """
    steps, size = values.shape
    if size <= LINES:
        edges, lines = dt * np.arange(steps + 1), values
        if edges[-1] < end:  # afterwards it is 0
            edges, lines = np.append(edges, end), np.vstack([values, np.zeros((1, size))])
        for channel, colour in zip(range(size), CLASS_COLOURS):
            ax.stairs(lines[:, channel], edges, baseline=None, color=colour, linewidth=1.1)
        ax.set_ylabel(name)
    else:
        most = float(np.abs(values).max(initial=0.0)) or 1.0
        low = -most if values.min() < 0 else 0.0
        box: tuple[float, float, float, float] = (0.0, dt * steps, -0.5, size - 0.5)
        colours = "RdBu_r" if low else "Blues"
        ax.imshow(values.T, aspect="auto", origin="lower", extent=box, vmin=low, vmax=most, cmap=colours)
        ax.set(ylabel=name, ylim=(-0.5, size - 0.5))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.grid(False, axis="both" if size > LINES else "y")
    note = f"current\n{size} channels\n{values.min():.2g} to {values.max():.2g}"
    ax.text(1.01, 1.0, note, transform=ax.transAxes, ha="left", va="top", color=GREY, fontsize=8)


def raster(ax: Axes, name: str, size: int, times: np.ndarray, neurons: np.ndarray, colour: str) -> None:
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
    note = f"{n} spikes\n{len(np.unique(neurons))} of {size}\nactive"
    ax.text(1.01, 1.0, note, transform=ax.transAxes, ha="left", va="top", color=GREY, fontsize=8)


def voltages(
    ax: Axes, record: Trial, name: str, state: str, lines: Sequence[tuple[int, str, str]], others: bool = False
) -> None:
    """A state of some neurons, a line (number, colour, label) for each; `others`: the rest in grey behind them."""
    values = record.states[name][state]
    ax.set_ylabel(f"{name} ${state}$" if len(state) == 1 else f"{name} {state}")
    rest = others and len(lines) < values.shape[1]
    if rest:
        ax.plot(record.times, values, color=OTHERS, linewidth=0.7)
    for k, colour, label in lines:
        ax.plot(
            record.times,
            values[:, k],
            color=colour,
            linewidth=1.9 if others and k == record.label else 1.2,
            label=label,
        )
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    words = f"{values.shape[1]} classes" if rest else None
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=1.2, borderaxespad=0.3, title=words)


def output_lines(
    values: np.ndarray, label: int, prediction: int | None, names: Sequence[str], neurons: Sequence[int] | None = None
) -> list[tuple[int, str, str]]:
    """(number, colour, label) of the outputs that have a colour: all of a few, else the right one and its rival.

    The rival is the predicted one; the highest other one (of `values`, (T, N)) where that is the right one.
    """
    if neurons is not None or values.shape[1] <= MANY:
        return [(k, colour, names[k]) for k, colour in zip(neurons or range(values.shape[1]), CLASS_COLOURS)]
    right = [] if label < 0 else [(label, BLUE, f"{names[label]}, right")]
    if prediction is not None and prediction >= 0 and prediction != label:
        return [*right, (prediction, ORANGE, f"{names[prediction]}, predicted")]
    order = np.array([k for k in range(values.shape[1]) if k != label])
    loudest = int(order[values[:, order].max(axis=0).argmax()])
    return [*right, (loudest, ORANGE, f"{names[loudest]}, highest" + (" other" if right else ""))]
