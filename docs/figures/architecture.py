"""Draws architecture.png beside it: from a network to an engine that runs, with the record between two stages.

Run from anywhere: python docs/figures/architecture.py
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from genn_eventprop.report.plots import save
from genn_eventprop.report.plots.style import BLUE, GREY, LIGHT, styled

STAGES = [  # room, what it does, the record that it hands on
    ("modelling/  losses/", "equations, populations,\nconnections, losses", "Network, Loss"),
    ("adjoint/", "adjoint equations, jumps,\npropagators (sympy)", "Derived"),
    ("plan/", "sizes and coefficients:\nall that code may see", "Plan"),
    ("program/", "what a trial does:\nkernels and buffers", "Trial"),
    ("codegen/", "the trial as text\nof one target", "Source"),
    ("toolchain/", "compiled once,\nkept by its content", "library"),
    ("engines/", "batches of data in,\nlosses and gradients out", ""),
]
TARGETS = ("cpp/grid", "cpp/exact", "cpp/general", "c99", "cuda", "genn")
USERS = ("training/", "interop/", "deploy/", "verify/")


@styled
def draw() -> Figure:
    fig = Figure(figsize=(12.6, 3.7), layout="constrained")
    ax = fig.subplots()
    ax.set_axis_off()
    ax.set_xlim(-0.1, 14.1)
    ax.set_ylim(-2.15, 2.0)
    for i, (room, words, record) in enumerate(STAGES):
        x = 2.0 * i
        box = FancyBboxPatch((x, 0), 1.55, 1.15, boxstyle="round,pad=0.04", facecolor="white", edgecolor=BLUE)
        ax.add_patch(box)
        ax.text(x + 0.775, 0.92, room, ha="center", va="center", fontsize=8.5, color=BLUE, family="monospace")
        ax.text(x + 0.775, 0.42, words, ha="center", va="center", fontsize=7.2)
        if i + 1 < len(STAGES):
            ends = (x + 1.6, 0.58), (x + 1.95, 0.58)
            ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9, color=GREY))
            ax.text(x + 1.8, 1.45, record, ha="center", va="center", fontsize=8, color=GREY, style="italic")
            ax.plot([x + 1.8, x + 1.8], [0.72, 1.3], color=LIGHT, linewidth=0.8, zorder=0)
    for k, target in enumerate(TARGETS):
        ax.text(8.775, -0.30 - 0.27 * k, target, ha="center", va="center", fontsize=7.5, family="monospace")
    for k, user in enumerate(USERS):
        ax.text(12.775, -0.30 - 0.27 * k, user, ha="center", va="center", fontsize=7.5, family="monospace")
    ax.text(6.8, 1.85, "the record that one stage hands to the next", ha="center", fontsize=8, color=GREY)
    ax.text(8.775, -2.0, "targets", ha="center", fontsize=7.5, color=GREY)
    ax.text(12.775, -1.5, "who runs engines", ha="center", fontsize=7.5, color=GREY)
    ax.text(2.4, -0.75, "compile.py runs all of it; imports go from right to left only", fontsize=8, color=GREY)
    return fig


if __name__ == "__main__":
    print(save(draw(), Path(__file__).with_suffix(".png")))
