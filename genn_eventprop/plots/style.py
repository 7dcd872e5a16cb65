"""The look of all figures. No global state: figures are made without pyplot, so any backend or none will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
GREY, LIGHT = "#5F6368", "#D9DCE0"

RC: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "medium",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": "#202124",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
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
    "figure.constrained_layout.use": True,
}


def figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0), **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes; `size` in inches, `options` as for ``Figure.subplots``."""
    with rc_context(RC):
        fig = Figure(figsize=size)
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, columns, **options)
    return fig, axes


def save(fig: Figure, path: Path | str) -> Path:
    """Write a figure; the format is that of the file's name. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(RC):
        fig.savefig(path)
    return path


def label_line(axes: Axes, x: float, y: float, text: str, colour: str, **options: Any) -> None:
    """A label at the end of a line, in the line's colour: no legend to look up."""
    axes.annotate(
        text, (x, y), xytext=(4, 0), textcoords="offset points", color=colour, va="center", fontsize=8.5,
        annotation_clip=False, **options,
    )  # fmt: skip
