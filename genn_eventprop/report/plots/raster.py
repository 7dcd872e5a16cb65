"""One trial: spikes of every population, V and lambda_V of some neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .layers import OTHERS, column_of, finished, output_lines, rasters_of, title, voltages
from .style import CLASS_COLOURS, GREY, styled, words

if TYPE_CHECKING:
    from ...training import Trial


@styled
def trial(
    record: Trial,
    class_names: Sequence[str] = (),
    neurons: dict[str, Sequence[int]] | None = None,
    v_thresh: float | None = None,
    prediction: int | None = None,
) -> Figure:
    """Currents and rasters of one trial above V and lambda_V of some neurons.

    Args:
        record: from `training.record_trial`.
        class_names: names of the output's neurons.
        neurons: population -> which of its neurons to show; by default the three hidden neurons with the largest
            lambda_V (those that the gradient changes most), and the outputs as in `layers`.
        v_thresh: where to draw the threshold of populations that spike; by default the record's.
        prediction: the predicted class, -1 for none, for the title.
    """
    populations = list(record.states)
    high = [1.6 if size > 20 else 0.9 for _, size, *_ in rasters_of(record)]
    fig, axes, above = column_of(record, high + [1.5] * (2 * len(populations)), 0.78, 1.0)
    for number, name in enumerate(populations):
        v, adjoint = axes[above + 2 * number : above + 2 * number + 2]
        state, numbers = observed(record, name), None if neurons is None else neurons[name]
        if name == record.decides:
            values = record.states[name][state]
            names = [*map(words, class_names), *(f"neuron {i}" for i in range(len(class_names), values.shape[1]))]
            lines = output_lines(values, record.label, prediction, names, numbers)
        else:
            neurons_of = _interesting(record, name) if numbers is None else numbers
            lines = [(i, colour, f"neuron {i}") for i, colour in zip(neurons_of, CLASS_COLOURS)]
        voltages(v, record, name, state, lines, others=name == record.decides)
        v.set_ylabel(f"{name}\n" + (f"${state}$" if len(state) == 1 else state))
        threshold = record.thresholds.get(name) if v_thresh is None else v_thresh
        if threshold is not None and name in record.spikes and state == "V":
            v.axhline(threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        _adjoint(adjoint, record, name, lines, name == record.decides)
    classes = [*map(words, class_names), *map(str, range(len(class_names), len(names)))]
    return finished(fig, axes, record, title(record.label, prediction, classes))


def observed(record: Trial, name: str) -> str:
    """V; of a population without it, its first state."""
    return "V" if "V" in record.states[name] else next(iter(record.states[name]))


def _interesting(record: Trial, name: str) -> list[int]:
    """All neurons of a small population, else the three with the largest |lambda_V| among those that spiked."""
    states, state = record.states[name], observed(record, name)
    size = states[state].shape[1]
    if size <= 4:
        return list(range(size))
    candidates = np.arange(size)
    if name in record.spikes and len(record.spikes[name].neuron):
        candidates = np.unique(record.spikes[name].neuron)
    weight = np.abs(states.get(f"lambda_{state}", states[state])).max(axis=0)[candidates]
    return sorted(int(i) for i in candidates[np.argsort(-weight, kind="stable")[:3]])


def _adjoint(ax: Axes, record: Trial, name: str, lines: Sequence[tuple[int, Any, str]], others: bool) -> None:
    """The adjoint of the neurons whose state is drawn."""
    state = observed(record, name)
    values = record.states[name].get(f"lambda_{state}")
    ax.set_ylabel(f"{name}\n" + (rf"$\lambda_{state}$" if len(state) == 1 else f"adjoint of {state}"))
    if values is None:
        ax.text(0.5, 0.5, "no adjoint: the sample has no label", transform=ax.transAxes, ha="center", color=GREY)
        return
    if others and len(lines) < values.shape[1]:
        ax.plot(record.times, values, color=OTHERS, linewidth=0.7)
    for i, colour, _ in lines:
        ax.plot(record.times, values[:, i], color=colour, linewidth=1.1)
