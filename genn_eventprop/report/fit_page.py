"""The report of a fit as one HTML page: verdict, parameters, traces, action potentials, phase plane, command."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..fitting import FitResult, FreeRun, Recording
from ..fitting.residuals import outside
from ..modelling import NeuronModel
from .page import Block, Folded, Grid, Heading, Items, Picture, Text
from .plots.style import BLUE, GREY, LIGHT, VERMILION, figure, styled, words

SWEEPS = 4
"""That a figure shows, at most half of them held out; the numbers are of all."""
AROUND, SPIKES = (2.0, 4.0), 60
"""ms before and after a spike in the figure of action potentials, and how many it shows at most."""
BINS, FEW = 20, 5
"""Of V in the phase plane, and how many samples make a mean."""


def fit_blocks(results: Sequence[FitResult], command: str, failed: Mapping[str, str] | None = None) -> list[Block]:
    """The page of the fits of one command, a part for each cell and model.

    Args:
        failed: what was not fitted, and why.
    """
    models = list(dict.fromkeys(result.model.name for result in results))
    titles = [_title(result, len(models) > 1) for result in results]
    verdicts = [f"{title} {result.verdict}" for title, result in zip(titles, results)]
    verdicts += [f"{name} was not fitted: {reason}" for name, reason in (failed or {}).items()]
    blocks: list[Block] = [
        Heading(f"Fit of {', '.join(models)}", 1), Items(verdicts), Text(f"Repeat with `{command}`")
    ]  # fmt: skip
    if len(models) > 1:
        blocks += [_comparison([r for r in results if r.recording.name == name], name) for name in _cells(results)]
    for title, result in zip(titles, results):
        blocks += _cell(result, title)
    return blocks


def _title(result: FitResult, with_model: bool) -> str:
    return result.recording.name + (f", {result.model.name}:" if with_model else "")


def _cells(results: Sequence[FitResult]) -> list[str]:
    return list(dict.fromkeys(result.recording.name for result in results))


def _comparison(results: Sequence[FitResult], name: str) -> Grid:
    """Models of one cell, the one that explains most of what it explains least first."""
    of = "sweeps that were held out" if results[0].verdict.held_out else "the sweeps they were fitted to"
    least = [r.aic for r in results if r.aic is not None]
    rows = [
        [
            r.model.name, *(_percent(x) for x in (r.verdict.model.voltage, r.verdict.model.spikes)),
            "" if r.aic is None else f"{r.aic - min(least):.0f}", str(len(r.names)),
        ]
        for r in sorted(results, key=_worst, reverse=True)
    ]  # fmt: skip
    first = results[0].verdict
    for label, score in (("a passive membrane, evenly spaced spikes", first.null), ("the cell itself", first.cell)):
        if str(score):
            rows.append([label, _percent(score.voltage), _percent(score.spikes), "", ""])
    heads = ["model", "variance of V (%)", "coincidences (%)", "AIC above the least", "parameters fitted"]
    return Grid(f"{name}: what models explain of {of}", heads, rows)


def _worst(result: FitResult) -> float:
    model = result.verdict.model
    return min((x for x in (model.voltage, model.spikes, model.rates) if x is not None), default=-np.inf)


def _percent(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.1f}"


def table_of_cells(results: Sequence[FitResult], failed: Mapping[str, str]) -> str:
    """A line for each cell and model, as .csv: verdict, what is explained, values and deviations, what is in doubt."""
    parameters = list(dict.fromkeys(n for r in results for n in (*r.names, *r.fixed)))
    units = {n: p.unit for r in results for n, p in r.model.params.items()}
    heads = [
        "cell", "model", "verdict", "held out sweeps", "variance of V explained", "coincidence factor",
        "variance of rates explained", "passive membrane: variance of V", "evenly spaced spikes: coincidence factor",
        "cell itself: variance of V", "cell itself: coincidence factor", "AIC", "spikes fitted",
    ]  # fmt: skip
    for n in parameters:
        of = f" ({units[n]})" if units.get(n) else ""
        heads += [f"{n}{of}", f"deviation of {n}{of}"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*heads, "notes"])
    for r in results:
        v, values, deviations = r.verdict, r.parameters, dict(zip(r.names, r.deviations.tolist()))
        row = [
            r.recording.name, r.model.name, "explains little" if v.little else "explains",
            v.sweeps if v.held_out else 0, v.model.voltage, v.model.spikes, v.model.rates, v.null.voltage,
            v.null.spikes, v.cell.voltage, v.cell.spikes, r.aic, r.n_spikes,
        ]  # fmt: skip
        row += [x for n in parameters for x in (values.get(n), deviations.get(n))]
        notes = "; ".join([*([r.stopped] if r.stopped else []), *r.doubts(), *r.remarks])
        table.writerow(["" if x is None else f"{x:.6g}" if isinstance(x, float) else x for x in row] + [notes])
    for name, reason in failed.items():
        table.writerow([name, "", "failed", *[""] * (len(heads) - 3), reason])
    return text.getvalue()


def units_of(model: NeuronModel) -> tuple[str, str]:
    """Of V and of the injected current, as far as the parameters of the model tell: mV and pA, or nothing."""
    units = {p.unit for p in model.params.values()}
    return "mV" if "mV" in units else "", "pA" if "pF" in units else ""


def _in(text: str, unit: str) -> str:
    return f"{text} ({unit})" if unit else text


def _cell(result: FitResult, title: str) -> list[Block]:
    name, free = title.rstrip(":"), result.free
    in_v, _ = units_of(result.model)
    units = {n: p.unit for n, p in result.model.params.items()}
    rows = [
        [n, f"{v:.6g} +- {d:.2g}", units.get(n, ""), f"{lo:.4g} to {hi:.4g}"]
        for n, v, d, lo, hi in zip(result.names, result.values, result.deviations, result.low, result.high)
    ]
    rows += [[n, f"{v:.6g}", units.get(n, ""), "fixed"] for n, v in result.fixed.items()]
    error = [] if free.error is None else [f"V is off by {free.error:.4g} {in_v} (root mean square, outside spikes)"]
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
    data = (result.n_voltage, "samples of V"), (result.n_spikes, "spikes"), (result.n_rates, "rates")
    found = (
        f"{result.agreeing} of {len(result.losses)} starts found this minimum, in {result.simulations} simulations and "
        f"{result.seconds:.1f} s, from {' and '.join(f'{n} {what}' for n, what in data if n)} "
        f"in {len(result.recording)} sweeps of {_lengths(result)} ms."
    )
    blocks: list[Block] = [
        Heading(name), Text(f"This model {result.verdict}."),
        *([Text(result.stopped)] if result.stopped else []), Text(found),
        Grid("Parameters: value and standard deviation from the curvature of the loss, for a model that is right",
             ["parameter", "value", "unit", "bounds"], rows),
    ]  # fmt: skip
    blocks.append(Heading("What the recording does not determine", 3))
    blocks.append(Items([*result.doubts()] or ["nothing: each parameter is known to a tenth of its range or better"]))
    if result.remarks:
        blocks += [Heading("What the fit decided by itself", 3), Items(result.remarks)]
    if free.failure:
        alone = [f"It cannot be computed with these values: {free.failure}"]
    blocks += [Heading("The model by itself in the sweeps that were fitted", 3), Items(alone)]
    if len(free.rates) > 1:
        each = zip(result.recording.sweep_numbers, free.rates, free.measured_rates)
        of_sweeps = [[str(i), f"{r:.4g}", f"{m:.4g}"] for i, r, m in each]
        table = Grid("Spikes a second in every sweep", ["sweep", "model", "measured"], of_sweeps)
        blocks.append(Folded("Rates of sweeps", table))
    stem = name.replace(", ", "-")
    caption = (
        "Injected current; V of the recording and of the model, which no measured spike resets; their difference, grey "
        "where it does not count; spikes. The numbers of sweeps are those of the file, from 0"
    )
    blocks.append(Picture(f"{stem}-traces", traces(result), caption))
    if result.recording.voltage is not None and any(map(len, result.recording.spikes or ())):
        caption = (
            "V of the recording around its spikes: each line must be an action potential that rises at 0 ms and is "
            "over where the shade ends, in which V does not count; and no other may be left in V"
        )
        blocks.append(Picture(f"{stem}-spikes", action_potentials(result.recording, in_v, result.window), caption))
    if result.recording.voltage is not None and not free.failure:
        caption = "Phase plane: dV/dt over V of the recording and of the model by itself, and its means between spikes"
        blocks.append(Picture(f"{stem}-phase", phase_plane(result), caption))
    blocks.append(Picture(f"{stem}-starts", starts(result), "Where the starts began and ended, within the bounds"))
    if len(result.names) > 1:
        heads = ["", *result.names]
        correlation = [[n, *(f"{c:+.2f}" for c in row)] for n, row in zip(result.names, result.correlation)]
        blocks.append(Folded("Correlations of the errors", Grid("Correlations of the errors", heads, correlation)))
    return blocks


def _lengths(result: FitResult) -> str:
    shortest, longest = result.recording.durations.min(), result.recording.durations.max()
    return f"{longest:g}" if shortest == longest else f"{shortest:g} to {longest:g}"


def _shown(result: FitResult) -> list[tuple[str, Recording, FreeRun, int]]:
    """Sweeps of the figure of traces, fitted ones first: what they are, recording, model by itself, number there."""
    held_out = [] if result.test is None or result.tested is None else [*range(len(result.test))]
    test = [("held out", result.test, result.tested, i) for i in held_out[: SWEEPS // 2]]
    fitted = [("fitted", result.recording, result.free, i) for i in range(len(result.recording))]
    return [*fitted[: SWEEPS - len(test)], *test]  # type: ignore[list-item]  # both are there where one is


@styled
def traces(result: FitResult) -> Figure:
    """Current, both V, their difference and both spike trains of some sweeps, side by side."""
    shown = _shown(result)
    n, (in_v, in_i) = len(shown), units_of(result.model)
    heights = {"height_ratios": [1, 3, 1.6, 0.6]}
    fig, axes = figure(4, n, (max(7.0, 3.6 * n), 7.2), sharex="col", sharey="row", squeeze=False, gridspec_kw=heights)
    largest = 0.0
    for column, (kind, rec, run, sweep) in enumerate(shown):
        current, v, difference, spikes = axes[:, column]
        until = rec.samples[sweep]
        t = np.arange(until) * rec.dt
        times = rec.spikes[sweep] if rec.spikes else np.empty(0)
        current.plot(t, rec.current[sweep, :until], color=GREY, lw=0.8)
        name = rec.name if len(rec.name) <= 40 else f"{rec.name[:37]}..."  # a longer one leaves no place for the axes
        current.set_title(words(f"{name}, {kind}: sweep {rec.sweep_numbers[sweep]}"))
        model = run.voltage[sweep, :until]
        if rec.voltage is not None:
            measured = rec.voltage[sweep, :until]
            v.plot(t, measured, color=GREY, lw=1.4, label="recording")
            counts = outside(t, np.concatenate([times, run.spikes[sweep]]), result.window)
            off = model - measured
            difference.axhline(0.0, color=GREY, lw=0.7)
            difference.plot(t, np.where(counts, np.nan, off), color=LIGHT, lw=0.7)
            difference.plot(t, np.where(counts, off, np.nan), color=VERMILION, lw=0.9)
            known = np.abs(off[counts & np.isfinite(off)])
            largest = max(largest, float(np.quantile(known, 0.99)) if known.size else 0.0)
        v.plot(t, model, color=BLUE, lw=0.9, label="model")
        spikes.eventplot(
            [times, run.spikes[sweep]], lineoffsets=[1, 0], linelengths=0.8, linewidths=1.0, colors=[GREY, BLUE]
        )
        spikes.set_yticks([0, 1], ["model", "recording"])
        spikes.set_ylim(-0.6, 1.6)
        spikes.set_xlabel("time (ms)")
        spikes.set_xlim(0.0, float(rec.durations[sweep]))
    labels = (
        _in("current", in_i or "as recorded"),
        _in(result.model.readout, in_v),
        _in("model - recording", in_v),
        "spikes",
    )
    for axis, label in zip(axes[:, 0], labels):
        axis.set_ylabel(label)
    fig.align_ylabels(axes[:, 0])
    if largest:
        axes[2, 0].set_ylim(-1.3 * largest, 1.3 * largest)
    axes[1, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderpad=0.0)
    return fig


@styled
def action_potentials(recording: Recording, unit: str, window: tuple[float, float] | None = None) -> Figure:
    """V around the spikes of a recording on top of each other, and in the sweep with most of them.

    Args:
        window: ms before and after spikes in which V does not count; None: as long as action potentials are.
    """
    assert recording.voltage is not None and recording.spikes is not None
    fig, (near, sweep) = figure(1, 2, (9.0, 3.2), gridspec_kw={"width_ratios": [1, 2.2]})
    every = [(i, t) for i, times in enumerate(recording.spikes) for t in times]
    for i, time in every[:: max(1, len(every) // SPIKES)]:
        first = max(round((time - AROUND[0]) / recording.dt), 0)
        last = min(round((time + AROUND[1]) / recording.dt), int(recording.samples[i]))
        near.plot(np.arange(first, last) * recording.dt - time, recording.voltage[i, first:last], color=GREY, lw=0.6)
    before, after = window or recording.window()
    near.axvspan(max(-before, -AROUND[0]), min(after, AROUND[1]), color=LIGHT, alpha=0.5, lw=0, zorder=0)
    near.axvline(0.0, color=VERMILION, lw=0.9)
    near.set_xlabel("time from the spike (ms)")
    near.set_ylabel(_in("V", unit))
    near.set_title(f"{len(every)} spikes")
    busiest = int(np.argmax([len(times) for times in recording.spikes]))
    until, times = int(recording.samples[busiest]), recording.spikes[busiest]
    sweep.plot(np.arange(until) * recording.dt, recording.voltage[busiest, :until], color=GREY, lw=0.7)
    at = np.interp(times, np.arange(until) * recording.dt, recording.voltage[busiest, :until])
    sweep.plot(times, at, "o", color=VERMILION, ms=4)
    sweep.set_xlabel("time (ms)")
    sweep.set_title(f"sweep {recording.sweep_numbers[busiest]}, the one with most")
    return fig


@styled
def phase_plane(result: FitResult) -> Figure:
    """dV/dt over V: of whole action potentials, and its mean in bins of V where neither cell nor model spikes.

    The means are those of the dynamic I-V curve (Badel et al. 2008, doi 10.1152/jn.01107.2007), with the injected
    current in them, which is the same for both.
    """
    rec, free, (in_v, _) = result.recording, result.free, units_of(result.model)
    assert rec.voltage is not None
    steep, (fig, (whole, between)) = 0.0, figure(1, 2, (9.0, 3.6))
    for values, colour, label in ((rec.voltage, GREY, "recording"), (free.voltage, BLUE, "model")):
        parts = list[np.ndarray]()
        for sweep in range(len(rec)):
            until, times = rec.samples[sweep], rec.spikes[sweep] if rec.spikes else np.empty(0)
            if sweep < SWEEPS:
                v, slope, _ = _slopes(values[sweep, :until], rec.dt, 0.05)
                whole.plot(v, slope, color=colour, lw=0.5, label=label if sweep == 0 else None)
            v, slope, t = _slopes(values[sweep, :until], rec.dt, 0.5)  # in which noise of V makes less of a slope
            counts = outside(t, np.concatenate([times, free.spikes[sweep]]), result.window) & np.isfinite(slope)
            parts.append(np.array([v[counts], slope[counts]]))
        v, slope = np.concatenate(parts, axis=1)
        if not v.size or np.ptp(v) == 0:
            continue
        steep = max(steep, float(np.quantile(np.abs(slope), 0.99)))
        between.plot(v, slope, ".", color=colour, ms=1.0, alpha=0.25, zorder=1)
        edges = np.linspace(float(np.quantile(v, 0.005)), float(np.quantile(v, 0.995)), BINS + 1)
        inside = [slope[(v >= lo) & (v < hi)] for lo, hi in zip(edges, edges[1:])]
        full = [i for i, of in enumerate(inside) if len(of) >= FEW]
        middle, mean = 0.5 * (edges[1:] + edges[:-1]), [inside[i].mean() for i in full]
        between.plot(middle[full], mean, "o-", color=colour, ms=3.5, lw=1.4, label=f"{label}, mean", zorder=3)
    if steep:  # beyond are the ends of action potentials that are longer than the window
        between.set_ylim(-1.3 * steep, 1.3 * steep)
    for axis, title in ((whole, "all"), (between, "outside spikes")):
        _label_phase(axis, title, in_v)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0.0)
    return fig


def _slopes(v: np.ndarray, dt: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V at every `step` ms, dV/dt there, and the times."""
    stride = max(1, round(step / dt))
    v, t = v[::stride], np.arange(0, len(v), stride) * dt
    return v, np.gradient(v, t) if len(v) > 1 else np.zeros_like(v), t


def _label_phase(axis: Axes, title: str, unit: str) -> None:
    axis.axhline(0.0, color=GREY, lw=0.7)
    axis.set_title(title)
    axis.set_xlabel(_in("V", unit))
    axis.set_ylabel(f"dV/dt ({unit or '1'}/ms)")


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
    units = {n: p.unit for n, p in result.model.params.items()}
    ranges = zip(result.names, result.low, result.high)
    axis.set_yticks(rows, [words(f"{n}  {lo:.3g} to {hi:.3g} {units.get(n, '')}".rstrip()) for n, lo, hi in ranges])
    axis.set_xlim(-0.03, 1.03)
    axis.set_xticks([0, 1], ["low", "high"])
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig
