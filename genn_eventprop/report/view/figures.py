"""Interactive figures of a run, as pieces of HTML; plotly (extra ``[view]``) is imported on use."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SettingError
from ..plots.raster import observed
from ..plots.style import BLUE, CLASS_COLOURS, GREY, LIGHT, ORANGE

if TYPE_CHECKING:
    from ...training import Trial

TRACES = 8
"""Neurons of a large population whose V and adjoint are drawn."""
MORE_COLOURS = ("#202124", GREY, "#9C27B0", "#795548", "#A6CE39")
"""After those of the classes: 12 lines are told apart."""
CELLS = 250_000
"""Weights of a matrix that is drawn; of more, every second, third, ... row and column."""
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "scrollZoom": False,
    # nothing of a run leaves the page; there is nothing to select
    "modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud", "select2d", "lasso2d"],
}


def plotly(module: str = "graph_objects") -> Any:
    """A module of plotly.

    Raises:
        SettingError: it is not installed.
    """
    try:
        return importlib.import_module(f"plotly.{module}")
    except ImportError:
        raise SettingError('interactive pages need plotly: pip install "genn_eventprop[view]"') from None


def script() -> str:
    """The JavaScript that draws the figures."""
    return str(plotly("offline").get_plotlyjs())


def _words(text: str) -> str:
    """A name as plotly shows it: it reads some HTML in every text of a figure."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _html(figure: Any, name: str, height: int) -> str:
    """The figure without the library, which stands in the page's head; `name` becomes the id of its element."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)  # plotly writes an id as it is
    figure.update_layout(
        template="plotly_white", height=height, margin={"l": 70, "r": 20, "t": 60, "b": 50}, hovermode="closest",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -70 / (height - 110), "yanchor": "top"},  # below the titles of the axes
    )  # fmt: skip
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG))


def curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Loss, accuracy, spikes per neuron and silent neurons over the epochs."""
    # on two lines: beside each other they must fit on the screen of a telephone
    titles = ("Loss", "Accuracy (%),<br>linear scale", "Spikes per neuron<br>and trial", "Neurons silent<br>all epoch")
    figure = plotly("subplots").make_subplots(2, 2, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.12)
    epochs = [m["epoch"] for m in metrics]
    for part, colour in (("train", BLUE), ("validation", ORANGE)):
        words = "training" if part == "train" else part
        for column, what, factor in ((1, "loss", 1), (2, "accuracy", 100)):
            values = [None if m[f"{part}_{what}"] is None else factor * m[f"{part}_{what}"] for m in metrics]
            if any(v is not None for v in values):
                _line(figure, epochs, values, words, colour, (1, column), legend=column == 1)
    for name, colour in zip(metrics[0]["silent"], CLASS_COLOURS[2:] + CLASS_COLOURS[:2], strict=False):
        _line(figure, epochs, [m["spikes_per_neuron"][name] for m in metrics], name, colour, (2, 1))
        _line(figure, epochs, [m["silent"][name] for m in metrics], name, colour, (2, 2), legend=False)
    figure.update_annotations(font_size=14)
    figure.update_xaxes(title_text="epoch", row=2)
    if len(epochs) <= 8:  # else there would be ticks between epochs
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(rangemode="tozero", row=2)
    return _html(figure, "curves", 620)


def _line(
    figure: Any, x: Any, y: Any, name: str, colour: str, at: tuple[int, int], legend: bool = True, width: float = 1.6
) -> None:
    mode = "lines+markers" if len(x) == 1 else "lines"
    line = {"color": colour, "width": width}
    trace = plotly().Scatter(
        x=x, y=y, name=_words(name), mode=mode, line=line, legendgroup=name, showlegend=legend, marker={"color": colour}
    )
    figure.add_trace(trace, row=at[0], col=at[1])


def trial(record: Trial, name: str, class_names: Sequence[str]) -> str:
    """Rasters of input and populations, V and the adjoint of V of some neurons of each, on one axis of time.

    A click on a neuron's name hides or shows its lines.
    """
    populations = list(record.states)
    sizes = {p: states[observed(record, p)].shape[1] for p, states in record.states.items()}
    spiking = [p for p in populations if p in record.spikes]
    rows = [(name, "current") for name in record.currents] + [("input", "raster")] * bool(record.n_inputs)
    rows += [(p, "raster") for p in spiking]
    shown = ((p, state) for p in populations for state in (observed(record, p), f"lambda_{observed(record, p)}"))
    rows += [(p, state) for p, state in shown if state in record.states[p]]
    heights = [2.0 if kind in ("raster", "current") else 1.4 for _, kind in rows]
    figure = plotly("subplots").make_subplots(
        len(rows), 1, shared_xaxes=True, vertical_spacing=0.02, row_heights=heights
    )
    for row, (population, kind) in enumerate(rows, 1):
        if kind == "raster":
            _raster(figure, record, population, row)
        elif kind == "current":
            _current(figure, record, population, row)
        else:
            names = class_names if population == record.decides else ()
            _traces(figure, record, population, kind, row, names)
        state = _words(kind.removeprefix("lambda_"))
        label = "" if kind in ("raster", "current") else f"<br>{state}" if kind == state else f"<br>λ<sub>{state}</sub>"
        size = sizes.get(population, record.n_inputs)
        few: dict[str, Any] = {"dtick": 1} if kind == "raster" and size <= 5 else {}
        few |= {"range": [-0.5 - 0.02 * size, size - 0.5 + 0.02 * size]} if kind == "raster" else {}
        figure.update_yaxes(
            title_text=_words(population) + label, row=row, **few, zeroline=kind != "raster", zerolinecolor=LIGHT
        )
    figure.update_xaxes(range=[-0.01 * record.end, record.end])
    figure.update_xaxes(title_text="time (ms)", row=len(rows))
    return _html(figure, name, 150 + int(95 * sum(heights)))


def _current(figure: Any, record: Trial, name: str, row: int) -> None:
    """An image of the channels over time."""
    values, dt = record.currents[name]
    times = dt * (np.arange(len(values)) + 0.5)
    words = "channel %{y} at %{x:.2f} ms: %{z:.4g}<extra>" + _words(name) + "</extra>"
    image = plotly().Heatmap(x=times, y=np.arange(values.shape[1]), z=values.T, showscale=False, hovertemplate=words)
    figure.add_trace(image, row=row, col=1)


def _raster(figure: Any, record: Trial, population: str, row: int) -> None:
    if population == "input":
        times, neurons, colour = record.input_times, record.input_channels, BLUE
    else:
        times, neurons, colour = record.spikes[population].time, record.spikes[population].neuron, "#202124"
    many = len(times) > 1500
    mark: dict[str, Any] = {"color": colour, "size": 3 if many else 6, "symbol": "circle" if many else "line-ns"}
    mark["line"] = {"color": colour, "width": 0 if many else 1.2}
    words = "%{y} at %{x:.2f} ms<extra>" + _words(population) + "</extra>"
    draw = plotly().Scattergl if len(times) > 5000 else plotly().Scatter
    x, y = np.asarray(times, np.float32), np.asarray(neurons, np.int32)
    figure.add_trace(draw(x=x, y=y, mode="markers", marker=mark, showlegend=False, hovertemplate=words), row=row, col=1)


def _traces(figure: Any, record: Trial, population: str, state: str, row: int, names: Sequence[str]) -> None:
    values = record.states[population][state]
    for i, colour in zip(neurons_drawn(record, population), CLASS_COLOURS + MORE_COLOURS):
        right = i < len(names) and i == record.label
        name = f"{population} {names[i]}" + (", right" if right else "") if i < len(names) else f"{population} {i}"
        y = np.asarray(values[:, i], np.float32)
        width = 2.4 if right else 1.3
        first = state == observed(record, population)
        _line(figure, np.asarray(record.times, np.float32), y, name, colour, (row, 1), legend=first, width=width)
    if state == "V" and population in record.thresholds and population in record.spikes:
        dashed = {"color": GREY, "width": 1, "dash": "dash"}
        figure.add_hline(record.thresholds[population], line=dashed, row=row, col=1)


def neurons_drawn(record: Trial, population: str) -> list[int]:
    """All neurons of a small population, else those with the largest adjoint, or state where there is none."""
    states = record.states[population]
    state = observed(record, population)
    size = states[state].shape[1]
    if size <= TRACES + 4:
        return list(range(size))
    weight = np.abs(states.get(f"lambda_{state}", states[state])).max(axis=0)
    return sorted(np.argsort(-weight, kind="stable")[:TRACES].tolist())


def weights(name: str, now: np.ndarray, before: np.ndarray | None) -> str:
    """Distribution before and after the training, and the matrix, sources upwards."""
    figure = plotly("subplots").make_subplots(1, 2, column_widths=[0.4, 0.6], horizontal_spacing=0.12)
    both = now.ravel() if before is None else np.concatenate([now.ravel(), before.ravel()])
    low, high = np.percentile(both, [0.1, 99.9])
    edges = np.linspace(low, high if high > low else low + 1.0, 61)
    centres = 0.5 * (edges[1:] + edges[:-1])
    for values, words, colour in ((before, "before training", GREY), (now, "after training", BLUE)):
        if values is not None:
            counts = np.histogram(np.clip(values.ravel(), edges[0], edges[-1]), edges)[0]
            _line(figure, centres, counts, words, colour, (1, 1))
    figure.update_xaxes(title_text="weight", row=1, col=1)
    figure.update_yaxes(title_text="weights" if now.ndim == 2 else "neurons", row=1, col=1)
    if now.ndim == 2:
        step = int(np.ceil(np.sqrt(now.size / CELLS)))
        limit = float(np.percentile(np.abs(now), 99.5)) or 1.0
        rows, columns = (np.arange(0, n, step) for n in now.shape)
        image = plotly().Heatmap(
            z=np.asarray(now[::step, ::step], np.float32), x=columns, y=rows,
            colorscale="RdBu_r", zmin=-limit, zmax=limit,
            hovertemplate="from %{y} to %{x}: %{z:.4g}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(image, row=1, col=2)
        figure.update_xaxes(title_text="to neuron", row=1, col=2)
        figure.update_yaxes(title_text="from neuron", row=1, col=2)
    return _html(figure, f"weights-{name}", 420)
