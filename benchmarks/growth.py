"""How the cost of a training step grows with neurons, steps, spikes, batch and channels, beside its limit.

    python benchmarks/growth.py                                          # the table
    python benchmarks/growth.py --figure docs/figures/growth.png         # and docs/benchmarks.md's figure

`native` on the grid, one thread, float32, around the shape of spoken digits (`shd_shape.py`: 700 channels, 256
recurrent neurons, 1000 steps, 8000 input spikes, batches of 8), of which one number changes at a time. Longer trials
have as many spikes a step; fewer or more input spikes have weights that leave the input as strong. Processor time of a
step, forwards, backwards and Adam, the least of several: other work on the machine changes it least. The limit is what
the rows of weights alone take with the best loop known on this processor, measured in the same run (`shd_shape.floor`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import tyro
from shd_shape import Settings as Shape
from shd_shape import floor, measure, row_times

from genn_eventprop.report.plots.style import figure, save, styled

BASE = Shape(batch=8, repeats=5)
GROWTH: dict[str, tuple[str, tuple[int, ...]]] = {
    "neurons": ("hidden", (128, 256, 512)),
    "steps": ("steps", (250, 500, 1000, 2000)),
    "input spikes": ("input_spikes", (2000, 4000, 8000, 16000)),
    "batch": ("batch", (1, 2, 8, 32)),
    "channels": ("inputs", (100, 700, 4000)),
}
"""What grows -> the setting, and its values."""


@dataclass(frozen=True)
class Settings:
    """What to do with the table.

    Args:
        figure: Where to draw it.
    """

    figure: Path | None = None


@dataclass(frozen=True)
class Point:
    """value of what grows; ms a sample; hidden spikes a sample."""

    value: int
    ms: float
    least: float
    spikes: float


@cache
def rows(hidden: int, inputs: int, steps: int) -> dict[str, tuple[float, int]]:
    """ns of a row, for one size of everything that rows depend on."""
    return row_times(replace(BASE, hidden=hidden, inputs=inputs, steps=steps))


def points(setting: str, values: tuple[int, ...]) -> Iterator[Point]:
    """One measurement for each value of a setting."""
    for value in values:
        shape = replace(BASE, **{setting: value})
        if setting == "steps":  # a longer trial has as many spikes a step
            shape = replace(shape, input_spikes=BASE.input_spikes * value // BASE.steps)
        as_strong = BASE.input_spikes * shape.steps / (shape.input_spikes * BASE.steps)
        shape = replace(shape, mean=BASE.mean * as_strong, spread=BASE.spread * as_strong)
        timing = measure("native", 1, shape)
        least = floor(shape, rows(shape.hidden, shape.inputs, shape.steps), timing.hidden_spikes)
        yield Point(value, timing.processor, least, timing.hidden_spikes)


@styled
def draw(found: dict[str, list[Point]], path: Path) -> None:
    """Time and limit against what grows, a panel each."""
    fig, axes = figure(1, len(found), size=(11, 2.7), sharey=True)
    for axis, (name, each) in zip(axes, found.items()):
        x = [p.value for p in each]
        axis.loglog(x, [p.ms for p in each], "o-", label="a training step")
        axis.loglog(x, [p.least for p in each], "k--", label="rows alone, best loop")
        axis.set_xticks(x, [str(v) for v in x])
        axis.minorticks_off()
        axis.set_xlabel(name)
    ticks = [2.0**k for k in range(-3, 5)]
    axes[0].set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0].set_ylim(
        min(p.least for e in found.values() for p in e) / 1.3, max(p.ms for e in found.values() for p in e) * 1.3
    )
    axes[0].set_ylabel("processor time,\nms a sample (log)")
    axes[0].legend()
    save(fig, path)


def main(s: Settings) -> None:
    head = [
        "| what grows | | hidden spikes a sample | ms a sample | limit | times the limit |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    print(*head, sep="\n", flush=True)
    found = dict[str, list[Point]]()
    for name, (setting, values) in GROWTH.items():
        found[name] = []
        for p in points(setting, values):
            found[name].append(p)
            cells = f"{p.value} | {p.spikes:.0f} | {p.ms:.2f} | {p.least:.2f} | {p.ms / p.least:.1f}"
            print(f"| {name} | {cells} |", flush=True)
    if s.figure is not None:
        draw(found, s.figure)


if __name__ == "__main__":
    main(tyro.cli(Settings))
