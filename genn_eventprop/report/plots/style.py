"""The look of all figures. No global state: figures are made without pyplot, so any backend or none will do."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator

from ...atomic import replaced_file

# Okabe & Ito 2008, told apart with every common colour-vision deficiency
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
CLASS_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, YELLOW)
GREY, LIGHT = "#5F6368", "#DFE2E6"

RC: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": "#202124",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CLASS_COLOURS),
    "grid.color": LIGHT,
    "grid.linewidth": 0.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#202124",
    "ytick.labelcolor": "#202124",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "figure.dpi": 110,
    "savefig.dpi": 160,
}


P = ParamSpec("P")


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Give a plotting function the look: titles and legends read it when they are made."""

    @functools.wraps(plot)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(RC):
            return plot(*args, **kwargs)

    return inner


def figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0), **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes; `size` in inches, `options` as for ``Figure.subplots``."""
    fig = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, **options)


def matrix(fig: Figure, ax: Axes, values: np.ndarray, label: str = "") -> None:
    """Numbers between neurons, sources upwards, targets to the right; white is 0, grey (nan) no synapse.

    The scale ends at the 99.5th percentile of |values|.
    """
    limit = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    ax.set_facecolor("#E8EAED")
    image = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower",
                      interpolation="nearest")  # fmt: skip
    ax.set(xlabel="to neuron", ylabel="from neuron")
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    bar = fig.colorbar(image, ax=ax, aspect=18, extend="both")
    bar.set_label(label, color=GREY)
    bar.outline.set_linewidth(0.5)


class AlignedColumn(ConstrainedLayoutEngine):
    """Constrained layout of axes above one another, whose y labels stand in one line.

    `Figure.align_ylabels` does the same, but measures the tick labels of all axes again for each of them.
    """

    def __init__(self, axes: Sequence[Axes]) -> None:
        super().__init__()
        self._axes = axes
        self._pads = [ax.yaxis.labelpad for ax in axes]

    def execute(self, fig: Figure) -> None:
        self._align(fig)  # before: a label that is moved outwards needs its room
        super().execute(fig)
        self._align(fig)  # and again: heights, and with them the ticks, have changed

    def _align(self, fig: Figure) -> None:
        edges = []
        for ax, pad in zip(self._axes, self._pads):
            ax.yaxis.labelpad = pad
            ax.yaxis.get_tightbbox()  # places the label beside the tick labels of now
            edges.append(ax.yaxis.label.get_window_extent().x1)
        for ax, pad, edge in zip(self._axes, self._pads, edges):
            ax.yaxis.labelpad = pad + (edge - min(edges)) * 72 / fig.dpi  # points


SIGNED = {".png": {"Software": "genn_eventprop"}, ".pdf": {"Creator": "genn_eventprop"}}
SIGNED[".svg"] = SIGNED[".pdf"]
"""Who made a figure, by the kind of file: one of somebody else is not replaced, see `runs.mark`."""


def words(name: object) -> str:
    """A name of the user's as matplotlib shows it: it would read what is between two $ as mathematics."""
    return str(name).replace("$", r"\$")


def save(fig: Figure, path: Path | str) -> Path:
    """Write a figure; the format is that of the file's name. Returns the path."""
    path = Path(path)
    content = io.BytesIO()  # matplotlib's PDF fails in other ways than `OSError` where it cannot write
    with rc_context(RC):
        if (layout := fig.get_layout_engine()) is not None:
            # once: `savefig` would draw the figure a first time for the layout alone, which takes a third of the time
            fig.set_dpi(RC["savefig.dpi"])
            layout.execute(fig)
            fig.set_layout_engine(None)
        kind = path.suffix[1:].lower() or None
        options: dict[str, Any] = {}
        if kind == "png":
            options["pil_kwargs"] = {"compress_level": 1}  # a third of the time for a tenth more bytes
        fig.savefig(content, format=kind, metadata=SIGNED.get(path.suffix.lower()), **options)
    with replaced_file(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return path
