"""The report of a fit as one HTML page: parameters, traces, residuals, spikes, starts, the command that repeats it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..fitting import FitResult
from .page import Block, Folded, Grid, Heading, Items, Picture, Text
from .plots.style import BLUE, GREY, LIGHT, VERMILION, figure, styled, words

SWEEPS = 4
"""That a figure shows; the numbers are of all."""


def fit_blocks(results: Sequence[FitResult], command: str) -> list[Block]:
    """The page of the fits of one command, a part for each cell."""
    verdicts = [f"{result.recording.name} {result.verdict}" for result in results]
    blocks: list[Block] = [
        Heading(f"Fit of {results[0].model.name}", 1), Items(verdicts), Text(f"Repeat with `{command}`")
    ]  # fmt: skip
    for result in results:
        blocks += _cell(result)
    return blocks


def _cell(result: FitResult) -> list[Block]:
    name, free = result.recording.name, result.free
    units = {n: p.unit for n, p in result.model.params.items()}
    rows = [
        [n, f"{v:.6g} +- {d:.2g}", units.get(n, ""), f"{lo:.4g} to {hi:.4g}"]
        for n, v, d, lo, hi in zip(result.names, result.values, result.deviations, result.low, result.high)
    ]
    rows += [[n, f"{v:.6g}", units.get(n, ""), "fixed"] for n, v in result.fixed.items()]
    error = [] if free.error is None else [f"V is off by {free.error:.4g} (root mean square, outside spikes)"]
    jitter = "" if free.jitter is None else f", {free.jitter:.3g} ms apart"
    coincidence = "" if free.gamma is None else f"; coincidence factor {free.gamma:.3f}"
    spikes = (
        f"{free.coincident} spikes coincide{jitter}, {free.missing} are missing, {free.surplus} surplus{coincidence}"
    )
    alone = [
        *error,
        *([] if free.coincident is None else [spikes]),
        f"{free.rate:.3g} spikes a second, measured {free.measured_rate:.3g}",
    ]
    found = (
        f"{result.agreeing} of {len(result.losses)} starts found this minimum, in {result.simulations} simulations and "
        f"{result.seconds:.1f} s, from {result.n_voltage} samples of V, {result.n_spikes} spikes "
        f"and {result.n_rates} rates in {len(result.recording)} sweeps of {_lengths(result)} ms."
    )
    blocks: list[Block] = [
        Heading(name), *([Text(result.stopped)] if result.stopped else []), Text(found),
        Grid("Parameters: value and standard deviation from the curvature of the loss, for a model that is right",
             ["parameter", "value", "unit", "bounds"], rows),
    ]  # fmt: skip
    if notes := [*result.doubts(), *result.remarks]:
        blocks += [Heading("What the recording does not determine", 3), Items(notes)]
    if free.failure:
        alone = [f"It cannot be computed with these values: {free.failure}"]
    blocks += [Heading("The model by itself", 3), Items(alone)]
    caption = "Injected current, V of the recording and of the model that no measured spike resets, their difference"
    if len(free.rates) > 1:
        of_sweeps = [[str(i), f"{r:.4g}", f"{m:.4g}"] for i, (r, m) in enumerate(zip(free.rates, free.measured_rates))]
        table = Grid("Spikes a second in every sweep", ["sweep", "model", "measured"], of_sweeps)
        blocks.append(Folded("Rates of sweeps", table))
    blocks.append(Picture(f"{name}-traces", traces(result), caption))
    blocks.append(Picture(f"{name}-starts", starts(result), "Where the starts began and ended, within the bounds"))
    if len(result.names) > 1:
        heads = ["", *result.names]
        correlation = [[n, *(f"{c:+.2f}" for c in row)] for n, row in zip(result.names, result.correlation)]
        blocks.append(Folded("Correlations of the errors", Grid("Correlations of the errors", heads, correlation)))
    return blocks


def _lengths(result: FitResult) -> str:
    shortest, longest = result.recording.durations.min(), result.recording.durations.max()
    return f"{longest:g}" if shortest == longest else f"{shortest:g} to {longest:g}"


@styled
def traces(result: FitResult) -> Figure:
    """Current, both V, their difference and both spike trains of the first sweeps, side by side."""
    rec, free = result.recording, result.free
    n = min(len(rec), SWEEPS)
    heights = {"height_ratios": [1, 3, 1.2, 0.6]}
    fig, axes = figure(4, n, (max(7.0, 3.2 * n), 6.2), sharex=True, sharey="row", squeeze=False, gridspec_kw=heights)
    t = np.arange(rec.current.shape[1]) * rec.dt
    for sweep in range(n):
        current, v, difference, spikes = axes[:, sweep]
        until = rec.samples[sweep]
        current.plot(t[:until], rec.current[sweep, :until], color=GREY, lw=0.8)
        name = rec.name if len(rec.name) <= 40 else f"{rec.name[:37]}..."  # a longer one leaves no place for the axes
        current.set_title(words(f"{name}, sweep {sweep}"))
        if rec.voltage is not None:
            v.plot(t, rec.voltage[sweep], color=GREY, lw=1.6, label="recording")
            difference.plot(t, free.voltage[sweep] - rec.voltage[sweep], color=VERMILION, lw=0.7)
        v.plot(t, free.voltage[sweep], color=BLUE, lw=0.8, label="model")
        spikes.eventplot(
            [rec.spikes[sweep] if rec.spikes else [], free.spikes[sweep]],
            lineoffsets=[1, 0],
            linelengths=0.8,
            colors=[GREY, BLUE],
        )
        spikes.set_yticks([0, 1], ["model", "recording"])
        spikes.set_ylim(-0.6, 1.6)
        spikes.set_xlabel("time (ms)")
    for axis, label in zip(axes[:, 0], ("current", result.model.readout, "model - recording", "")):
        axis.set_ylabel(label)
    if rec.voltage is not None and not free.failure:
        # spikes that are a sample apart would hide the rest
        most = 1.2 * max(float(np.nanquantile(np.abs(free.voltage - rec.voltage), 0.98)), 1e-9)
        axes[2, 0].set_ylim(-most, most)
    axes[1, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderpad=0.0)
    return fig


@styled
def starts(result: FitResult) -> Figure:
    """A row for each parameter: its bounds, where the starts began and ended, the deviation of the best."""
    width = result.high - result.low
    fig, axis = figure(size=(7.0, 0.9 + 0.32 * len(result.names)))
    rows = np.arange(len(result.names))[::-1]
    drawn = (result.starts, "|", GREY, "began"), (result.ends, "o", LIGHT, "ended")
    for points, marker, colour, label in (*drawn, (result.values[None], "o", BLUE, "best")):
        places, edge = (points - result.low) / width, GREY if label == "ended" else colour
        size = 7 if marker == "|" else 5
        axis.plot(places.ravel(), np.tile(rows, len(points)), marker, color=colour, mec=edge, ms=size, label=label)
    best, error = (result.values - result.low) / width, np.minimum(result.deviations / width, 1.0)
    axis.errorbar(best, rows, xerr=error, fmt="none", ecolor=BLUE)
    ranges = zip(result.names, result.low, result.high)
    axis.set_yticks(rows, [words(f"{n}  {lo:.3g} to {hi:.3g}") for n, lo, hi in ranges])
    axis.set_xlim(-0.03, 1.03)
    axis.set_xticks([0, 1], ["low", "high"])
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig
