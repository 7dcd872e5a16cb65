"""One trial looked at closely: voltages and adjoints over time, spikes of every population."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engines import ReferenceClock, Spikes
from .trainer import Trainer

if TYPE_CHECKING:
    from ..data import Events


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial on the time grid.

    Args:
        times: (T,) ms, start of every step.
        states: population -> state ("V", "lambda_V", ...) -> (T, N).
        spikes: population -> `Spikes` of this trial.
        input_times, input_channels: (E,) ms and channel of every input spike.
        n_inputs: number of input channels.
        label: of the sample, -1 without one.
    """

    times: np.ndarray
    states: dict[str, dict[str, np.ndarray]]
    spikes: dict[str, Spikes]
    input_times: np.ndarray
    input_channels: np.ndarray
    n_inputs: int
    label: int


def record_trial(trainer: Trainer, events: Events, index: int) -> Trial:
    """Record sample `index` with the trainer's current weights, on `reference_clock` in float64.

    A network with exact spike times is recorded on a grid of at most 0.05 ms.

    Adjoints (``lambda_V``...) are there if the sample has a label; they belong to this sample's loss alone.
    """
    plan = trainer.plan
    if plan.spike_times == "exact":
        n_steps = plan.n_steps * max(1, math.ceil(plan.dt / 0.05))
        plan = dataclasses.replace(plan, spike_times="grid", dt=plan.duration / n_steps, n_steps=n_steps)
    engine = ReferenceClock(plan, trainer.engine.parameters)
    sample = events[index : index + 1]
    data = engine.load(sample)
    label = int(data.labels[0])
    recorded = engine.record(data, [0], adjoint=label >= 0)
    spikes = engine.run(data, [0], record_spikes=True).spikes or {}
    states = {name: {state: values[0] for state, values in part.items()} for name, part in recorded.items()}
    times = np.arange(plan.n_steps) * plan.dt
    return Trial(times, states, spikes, np.asarray(sample.times), np.asarray(sample.channels), plan.input.size, label)
