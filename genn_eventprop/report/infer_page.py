"""The report of an inferred population as one HTML page: what was found, the matrix, the strongest connections."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..fitting import InferResult
from .page import Block, Grid, Heading, Items, Picture, Text
from .plots.style import BLUE, GREY, VERMILION, figure, styled

STRONGEST = 20
"""Connections that the page lists."""
HEADS = ("from", "to", "weight", "deviation", "delay (ms)", "deviation of the delay (ms)", "found", "delay determined")


def infer_blocks(result: InferResult, command: str) -> list[Block]:
    """The page of one result."""
    rows = sorted(_rows(result), key=lambda row: -abs(row[2]))
    strongest = [
        [str(i), str(j), f"{w:.3g} +- {dw:.2g}", f"{d:.2f} +- {dd:.2g}" if timed else "not determined"]
        for i, j, w, dw, d, dd, sure, timed in rows
        if sure
    ]
    return [
        Heading("Connections inferred from spikes", 1), Items(str(result).splitlines()),
        Text(f"Repeat with `{command}`"),
        Picture("connections", picture(result), "Left: weights that are told from 0. Right: their delays."),
        Grid(f"The strongest of {len(strongest)} connections", ["from", "to", "weight", "delay (ms)"],
             strongest[:STRONGEST]),
    ]  # fmt: skip


def table_of_connections(result: InferResult) -> str:
    """A line for each pair of neurons, as .csv."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADS)
    for *numbers, sure, timed in _rows(result):
        table.writerow([*numbers[:2], *(f"{x:.6g}" for x in numbers[2:]), int(sure), int(timed)])
    return text.getvalue()


def table_of_neurons(result: InferResult) -> str:
    """A line for each neuron, as .csv."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["neuron", "spikes", "bias", "deviation", "noise", "deviation of the noise", "bits per spike"])
    columns = (result.bias, result.bias_deviations, result.noise, result.noise_deviations, result.gain)
    for i, count in enumerate(result.spikes):
        table.writerow([i, count, *(f"{column[i]:.6g}" for column in columns)])
    return text.getvalue()


def _rows(result: InferResult) -> list[tuple[Any, ...]]:
    columns = result.weights, result.weight_deviations, result.delays, result.delay_deviations
    sure, timed = result.connected, result.timed
    return [
        (i, j, *(float(column[i, j]) for column in columns), bool(sure[i, j]), bool(timed[i, j]))
        for i in range(len(sure))
        for j in range(len(sure))
        if i != j
    ]


@styled
def picture(result: InferResult) -> Figure:
    """The matrix of weights, and weights against delays with two deviations."""
    fig, (matrix, scatter) = figure(1, 2, size=(9.0, 4.2))
    sure, timed = result.connected, result.timed
    largest = float(np.abs(result.weights[sure]).max(initial=0.0)) or 1.0
    drawn = np.where(sure, result.weights, np.nan)
    image = matrix.imshow(drawn, cmap="RdBu", vmin=-largest, vmax=largest, interpolation="nearest")
    matrix.grid(False)
    matrix.set(xlabel="to neuron", ylabel="from neuron", title="weights")
    fig.colorbar(image, ax=matrix, shrink=0.8, label="weight")
    for sign, colour in ((1, BLUE), (-1, VERMILION)):
        of = timed & (np.sign(result.weights) == sign)
        x, y = result.delays[of], result.weights[of]
        errors = {"xerr": 2 * result.delay_deviations[of], "yerr": 2 * result.weight_deviations[of]}
        if len(x):
            scatter.errorbar(x, y, **errors, fmt="o", ms=3, lw=0.7, color=colour)
    scatter.axhline(0.0, color=GREY, lw=0.7)
    scatter.set(xlabel="delay (ms)", ylabel="weight", xlim=(0, result.max_delay), title="determined delays")
    return fig
