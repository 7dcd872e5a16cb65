"""Three losses on words with a silent tail, and without: the table in docs/losses.md and docs/figures/loss_shaping.png.

    python benchmarks/loss_shaping.py --out runs/loss_shaping && python docs/numbers/tables.py

Trains `loss_shaping_toy` with every loss and seed; a run folder that holds results.json is not run again. Exit status 1
if the losses are not in the paper's order for `--least` seeds.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from result_file import add_row
from seeds import run, seeds_of

from genn_eventprop.experiment import load_experiment
from genn_eventprop.report.plots import save
from genn_eventprop.report.plots.style import BLUE, GREEN, GREY, LIGHT, VERMILION, figure, styled

ROOT = Path(__file__).resolve().parent.parent
LOSSES = {  # worst first, as published: name -> colour, words
    "avg_xentropy": (VERMILION, "cross-entropy of every step"),
    "sum": (BLUE, "cross-entropy of the integral"),
    "sum_weigh_exp": (GREEN, "the same, weighted with exp(-t/T)"),
}
TAIL, NONE = 400.0, 60.0  # trial lengths in ms, with and without silence after the 50 ms of the word

Runs = dict[tuple[str, float], list[Path]]


@dataclass(frozen=True)
class Settings:
    """What to run."""

    out: Path
    """Folder of the run folders."""
    seeds: str = "1-10"
    """1-3,7 and the like."""
    control: str = "1-3"
    """Seeds of the trials without a silent tail."""
    least: int = 8
    """Seeds in which the losses must be in order."""
    numbers: Path = ROOT / "docs" / "numbers" / "loss_shaping.json"
    """The result file for the rows of the table."""
    picture: Path = ROOT / "docs" / "figures" / "loss_shaping.png"
    """Where the figure goes."""


def main(s: Settings) -> int:
    seeds = seeds_of(s.seeds)
    runs: Runs = {(loss, duration): [] for duration in (TAIL, NONE) for loss in LOSSES}
    for (loss, duration), folders in runs.items():
        for seed in seeds if duration == TAIL else seeds_of(s.control):
            folders.append(s.out / f"{loss}-{duration:g}ms" / f"seed{seed}")
            options = ["--loss", loss, "--duration", f"{duration:g}", "--threads", "1"]
            results = run("loss_shaping_toy", seed, folders[-1], options)
            print(f"{loss}, {duration:g} ms, seed {seed}: {100 * results['final_test_accuracy']:.1f} %", flush=True)
    in_order = keep(s.numbers, runs)
    save(draw(runs), s.picture)
    print(f"in this order in {in_order} of {len(seeds)} seeds; written: {s.numbers}, {s.picture}")
    return 0 if in_order >= min(s.least, len(seeds)) else 1


def final(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def keep(numbers: Path, runs: Runs) -> int:
    """A row for every loss and trial; the number of seeds in which avg_xentropy < sum < sum_weigh_exp with the tail."""
    heads = ("loss", "trial", "seeds", "test accuracy (%)", "hidden spikes at the end")
    with_tail = [[final(folder)["final_test_accuracy"] for folder in runs[loss, TAIL]] for loss in LOSSES]
    in_order = sum(a < b < c for a, b, c in zip(*with_tail))
    for (loss, duration), folders in runs.items():
        accuracy = [100 * final(folder)["final_test_accuracy"] for folder in folders]
        spikes = mean(lines(folder)[-1]["spikes_per_neuron"]["hidden"] for folder in folders)
        spread = f" +- {stdev(accuracy):.1f}" if len(accuracy) > 1 else ""
        cells = (f"`{loss}`", f"{duration:g} ms", str(len(accuracy)), f"{mean(accuracy):.1f}{spread}", f"{spikes:.2f}")
        command = "python benchmarks/loss_shaping.py --out OUT"
        add_row(numbers, heads, cells, command, key=2, accuracies=accuracy, in_order=in_order)
    return in_order


@styled
def draw(runs: Runs) -> Figure:
    """A trial, accuracy with the silent tail and without, spikes of the hidden layer; a line a seed."""
    fig, (trial, with_tail, without, spikes) = figure(1, 4, size=(12.5, 3.1), width_ratios=(1.15, 1, 1, 1))
    _trial(trial)
    for ax, duration in ((with_tail, TAIL), (without, NONE)):
        _curves(ax, runs, duration, lambda m: 100 * m["validation_accuracy"])
        ax.set(
            ylim=(0, 103), ylabel="correct predictions (%), linear scale", title=f"Accuracy, trial of {duration:g} ms"
        )
    _curves(spikes, runs, TAIL, lambda m: m["spikes_per_neuron"]["hidden"])
    spikes.set(ylabel="spikes per neuron and trial", title=f"Hidden layer, trial of {TAIL:g} ms")
    spikes.set_ylim(bottom=0)
    fig.legend(*with_tail.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _curves(ax: Axes, runs: Runs, duration: float, value: Any) -> None:
    for loss, (colour, words) in LOSSES.items():
        every = np.array([[value(m) for m in lines(folder)] for folder in runs[loss, duration]])
        epochs = np.arange(1, every.shape[1] + 1)
        ax.plot(epochs, every.T, color=colour, linewidth=0.6, alpha=0.35)
        ax.plot(epochs, np.median(every, axis=0), color=colour, linewidth=2.0, label=f"{loss}: {words}")
    ax.set_xlabel("epoch")
    ax.margins(x=0.02)


def _trial(ax: Axes) -> None:
    file = load_experiment("loss_shaping_toy")
    events = file.build(file.config()).events("train")
    assert events is not None
    times, channels = events.sample(0)
    ax.plot(times, channels, "|", color=GREY, markersize=4)
    ax.axvspan(50.0, TAIL, color=LIGHT, alpha=0.5, linewidth=0)
    ax.text(0.5 * (50.0 + TAIL), 20, "silence", ha="center", va="center", color=GREY)
    ax.set(xlim=(0, TAIL), xlabel="time (ms)", ylabel="input channel", title="One of six patterns")
    ax.grid(False)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
