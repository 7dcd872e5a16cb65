"""Auxiliary losses of a random network: of hidden layers, with factors and targets of their own by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.losses import (
    FirstSpikeCrossEntropy,
    Loss,
    PerStepCrossEntropy,
    SpikeCountCrossEntropy,
    SpikeTimeError,
    SquaredError,
    VoltageSquaredError,
)
from genn_eventprop.losses.readout import TimeWeight
from genn_eventprop.modelling import Population
from genn_eventprop.plan import Plan

from .dice import Dice
from .layout import LINEAR, WEIGHTS, Layout

MAIN = "main"  # the targets of the main loss among those of a data set
FACTORS = (0.5, 0.2, 3.0)


def with_auxiliary(loss: Loss, layout: Layout, hidden: list[Population], dice: Dice) -> list[Loss]:
    """The loss and, of every hidden layer whose spikes may be read, another one more often than not."""
    asked = [loss.against(MAIN) if loss.compares == "targets" else loss]
    for layer, population in zip(layout.hidden, hidden, strict=True):
        if not population.dropout and dice.bernoulli(0.6):
            name = f"of_{population.name}"
            asked.append(dice.pick(FACTORS) * _loss(layer.model, population, dice).against(name))
    if len(asked) > 1 and dice.bernoulli(0.5):
        population = asked.pop().population
        along = dice.pick((PerStepCrossEntropy, VoltageSquaredError, SpikeTimeError))(population)
        asked.append(dice.pick(FACTORS) * along.against(f"of_{population.name}"))
    return [dice.pick((0.7, 1.0)) * asked[0], *asked[1:]]


def _loss(model: str, population: Population, dice: Dice) -> Loss:
    kinds = ["count", "first_spike", "end"]
    kinds += ["integral"] if model in LINEAR and not population.model.modes else []
    kind = dice.pick(kinds)
    if kind == "count":
        return SpikeCountCrossEntropy(population, gain=0.5)
    if kind == "first_spike":
        silent = dice.pick(("exclude", "end")) if "tau_mem" in population.model.params else "exclude"
        return FirstSpikeCrossEntropy(population, tau0=2.0, alpha=0.05, silent=silent)
    if kind == "end":
        return SquaredError(population, "end")
    shape = dice.pick(WEIGHTS)
    return SquaredError(population, weight=TimeWeight("constant", input_tau=20.0) if shape == "input" else shape)


def with_answers(events: Events, plan: Plan, rng: np.random.Generator) -> Events:
    """The events with targets by name, a part of them missing."""
    named: dict[str, Any] = {} if events.targets is None else {MAIN: events.targets}
    for loss in plan.auxiliary:
        if loss.compares == "labels":
            named[loss.answer] = rng.integers(-1, loss.n_classes, len(events))
        else:
            shape = [2 if m is None else m for m in loss.target_shape(plan.n_steps)]
            by = plan.duration if loss.readout == "spike_times" else 1.0
            named[loss.answer] = by * rng.uniform(0.2, 0.8, (len(events), *shape))
    return replace(events, targets=named) if named else events
