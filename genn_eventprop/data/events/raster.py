"""Raster plots of events."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import replaced_file
from ...errors import DataError
from . import check


def plot(
    events: check.Recordings,
    samples: Any = 0,
    path: str | Path | None = None,
    columns: int = 3,
    title: str | None = None,
    class_names: list[str] | None = None,
) -> Any:
    """Raster (time in ms, channel) of each chosen sample, one panel each with common axes.

    Args:
        samples: index, slice, indices or mask.
        path: where to write the picture; not written if None.
        columns: panels side by side.
        title: of the figure, default: the name of the data set.
        class_names: what to write instead of the label.

    Returns:
        The matplotlib Figure (made without pyplot: nothing to close).
    """
    from matplotlib.figure import Figure

    chosen = check.sample_indices(samples, len(events), events.name or "events")
    across = max(1, min(columns, len(chosen)))
    down = max(1, -(-len(chosen) // across))
    figure = Figure(
        figsize=(4.2 * across if across > 1 else 6.4, 2.8 * down if down > 1 else 4.0), layout="constrained"
    )
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis, i in zip(axes.flat, chosen, strict=False):
        times, channels = events.sample(int(i))
        size = float(np.clip(3000.0 / max(len(times), 1), 0.3, 24.0))  # points^2: dense rasters need small marks
        axis.scatter(times, channels, s=size, marker="o", linewidths=0, color="black", rasterized=len(times) > 5000)
        axis.set_title(caption(events, int(i), class_names), fontsize=9)
        if not len(times):
            axis.text(0.5, 0.5, "no events", transform=axis.transAxes, ha="center", va="center", color="0.4")
    for k in range(len(chosen), axes.size):
        axes.flat[k].set_axis_off()
        axes.flat[k - across].tick_params(labelbottom=True)  # now the lowest of its column
    axes[0, 0].set_xlim(0, 1.02 * max(float(events.durations[chosen].max(initial=0.0)), 1e-3))
    axes[0, 0].set_ylim(-0.5, events.n_channels - 0.5)
    figure.supxlabel("time (ms)")
    figure.supylabel("channel")
    if title or events.name:
        figure.suptitle(title or events.name.replace("$", r"\$"))
    if path is not None:
        content = io.BytesIO()
        figure.savefig(content, dpi=150, format=Path(path).suffix[1:] or None)
        with replaced_file(path, DataError) as temporary:
            temporary.write_bytes(content.getbuffer())
    return figure


def caption(events: check.Recordings, i: int, class_names: list[str] | None) -> str:
    """'sample 3, class 7, group lucas'."""
    parts = [f"sample {i}"]
    if events.labels is not None and events.labels[i] >= 0:
        label = int(events.labels[i])
        parts.append(class_names[label] if class_names else f"class {label}")
    if events.groups is not None:
        parts.append(f"group {events.groups[i]}")
    return ", ".join(parts).replace("$", r"\$")  # no mathematics
