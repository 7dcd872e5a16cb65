"""Draws losses.png beside it: what each loss reads of one trial, and the adjoint that it gives the output.

Run from anywhere: python docs/figures/losses.py
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genn_eventprop import Dense, Events, Network, Population, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.losses import Loss, TimeWeight
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.report.plots import save
from genn_eventprop.report.plots.style import BLUE, GREY, LIGHT, ORANGE, figure, styled

T, DT = 100.0, 0.25
TIMES = np.array([3.0, 8.0, 12.0, 15.0, 21.0, 26.0, 30.0, 36.0])
CHANNELS = np.array([0, 1, 0, 1, 1, 0, 1, 0])
WEIGHTS = np.array([[1.6, 0.7], [0.2, 1.5]])  # to output 0, the right one, and output 1
SERIES = 0.6 * np.sin(np.pi * np.arange(T / DT + 1) * DT / T)  # what the squared error asks of V of output 0
PANELS: dict[str, Callable[[Population], Loss]] = {
    **{name: losses.LOSSES[name] for name in ("sum", "sum_weigh_linear", "sum_weigh_exp", "sum_weigh_sigmoid")},
    "sum_weigh_input": losses.LOSSES["sum_weigh_input"],
    "sum in a window": lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight(window=(20.0, 60.0))),
    'weight "t / T"': lambda o: losses.IntegratedVoltageCrossEntropy(o, "t / T"),
    **{name: losses.LOSSES[name] for name in ("avg_xentropy", "voltage_error", "max", "end")},
    "first_spike": lambda o: losses.make_loss("first_spike", o, tau0=10.0, alpha=1.0),
    "first_spike_exp": lambda o: losses.make_loss("first_spike_exp", o, tau0=10.0, tau1=20.0, alpha=0.2),
    "spike_time_error": losses.SpikeTimeError,
    "spike_count": losses.SpikeCountCrossEntropy,
}


def recorded(make: Callable[[Population], Loss], spiking: bool) -> tuple[Plan, dict[str, np.ndarray], np.ndarray]:
    """(plan, V and lambda_V of the output (T, 2), spikes (T + 1, 2)) of one trial whose label is 0."""
    network = Network()
    output = network.population((LIF if spiking else LI)(), 2, name="output")
    network.connect(network.input(2), output, Dense(WEIGHTS * (4.0 if spiking else 1.0)))
    plan = make_plan(network, make(output), dt=DT, duration=T)
    targets = {"voltage": np.stack([SERIES, 0 * SERIES], 1)[None], "spike_times": [[[8.0, 30.0], [40.0, 70.0]]]}
    given = targets.get(plan.loss.readout) if plan.loss.compares == "targets" else None
    events = Events.from_samples([(TIMES, CHANNELS)], 2, labels=[0], targets=given)
    engine = ReferenceClock(plan, network.initial_parameters(0))
    data = engine.load(events)
    states = {name: values[0] for name, values in engine.record(data, [0])["output"].items()}
    spikes = np.zeros((plan.n_steps + 1, 2), bool)
    for s in (engine.run(data, [0], record_spikes=True).spikes or {}).values():
        spikes[np.rint(s.time / DT).astype(int), s.neuron] = True
    return plan, states, spikes


@styled
def draw() -> Figure:
    rows, columns = -(-len(PANELS) // 5), 5
    fig, axes = figure(2 * rows, columns, size=(14.0, 3.1 * rows), sharex=True)
    for i, (name, make) in enumerate(PANELS.items()):
        upper, lower = axes[2 * (i // columns), i % columns], axes[2 * (i // columns) + 1, i % columns]
        plan, states, spikes = recorded(make, "spike" in name)
        _readout(upper, plan, states["V"], spikes)
        t = np.arange(plan.n_steps) * DT
        for c, colour in ((1, ORANGE), (0, BLUE)):
            lower.plot(t, states["lambda_V"][:, c], color=colour)
        lower.axhline(0.0, color=GREY, linewidth=0.6)
        lower.ticklabel_format(axis="y", scilimits=(-2, 2))
        upper.set_title(name)
        lower.set_xlim(0, T)
        if i % columns == 0:
            upper.set_ylabel("V and weight")
            lower.set_ylabel(r"$\lambda_V = dL/dV$")
    for ax in axes[-1]:
        ax.set_xlabel("time (ms)")
    handles: list[Any] = [axes[0, 0].plot([], [], color=colour)[0] for colour in (BLUE, ORANGE, GREY)]
    words = ["right output", "wrong output", "weight in time, target (dashed), spikes (ticks)"]
    fig.legend(handles, words, loc="outside lower center", ncols=3)
    return fig


def _readout(ax: Axes, plan: Plan, V: np.ndarray, spikes: np.ndarray) -> None:
    t = np.arange(plan.n_steps) * DT
    for c, colour in ((1, ORANGE), (0, BLUE)):
        ax.plot(t, V[:, c], color=colour)
        times = np.flatnonzero(spikes[:, c]) * DT
        ax.plot(times, np.full(len(times), 1.15 + 0.15 * c), "|", color=colour, markersize=6)
    top = 1.4 if spikes.any() else 1.1 * V.max()
    if plan.loss.integrates:
        weight = plan.loss.weight
        counts = np.bincount(np.rint(TIMES / DT).astype(int), minlength=plan.n_steps + 1)
        w = weight(t, T) * weight.activity(counts, DT)[1][:-1]
        ax.fill_between(t, 0.0, w / w.max() * top, color=LIGHT, alpha=0.6, linewidth=0, zorder=0)
        ax.plot(t, w / w.max() * top, color=GREY, linewidth=0.9)
    if plan.loss.readout == "voltage" and plan.loss.compares == "targets":
        ax.plot(t, SERIES[:-1], color=GREY, linestyle=(0, (3, 2)))
    ax.set_ylim(min(0.0, 1.1 * V.min()), top * 1.03)


if __name__ == "__main__":
    print(save(draw(), Path(__file__).with_suffix(".png")))
