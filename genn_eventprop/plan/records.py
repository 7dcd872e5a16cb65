"""The records, but for that of a connection (`connection.py`). They hold structure, never parameter values, so that a
change of values or dt compiles nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..adjoint import Derived
from ..adjoint.scheme import exact_part
from ..losses import LossRecord
from ..modelling.network import check_synapses, check_values
from ..modelling.parameters import Param, within
from ..regularisers import SpikePush, pushed_state
from . import clock
from .connection import ConnectionRecord
from .enforced_bounds import enforced_bounds

SPIKE_TIMES = ("grid", "exact")


@dataclass(frozen=True)
class InputRecord:
    """The source of input spikes, one channel of the data a neuron; several inputs of a network together.

    parts: of several inputs, the name and the channels (first, last + 1) of each.
    """

    name: str
    size: int
    parts: tuple[tuple[str, tuple[int, int]], ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Input -> its channels; none of a network that has currents alone."""
        if not self.parts:
            return {self.name: self.size} if self.size else {}
        return {name: last - first for name, (first, last) in self.parts}


@dataclass(frozen=True)
class CurrentRecord:
    """A source of currents: value k of a channel holds from k `dt` ms on, or begins a straight line (`linear`)."""

    name: str
    size: int
    dt: float
    linear: bool


@dataclass(frozen=True, eq=False)
class PopulationRecord:
    """A population: its derived equations, its parameters, and which of them vary between neurons or are learned.

    drives: receptor that currents lead to -> (the state that is their sum, the state that is its slope or ""), which
    the host sets where the current changes; see `modelling.drive`. observed: its spikes are given (`observe`).
    anew: states that are 0 at the start of every step in exact time, for arrivals to set; see `changes`.
    """

    name: str
    size: int
    derived: Derived
    params: Mapping[str, Param]
    per_neuron: frozenset[str]
    trainable: tuple[str, ...]
    noise: float = 0.0
    dropout: float = 0.0
    dropped_reset: bool = False
    drives: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    observed: bool = False
    anew: tuple[str, ...] = ()

    @cached_property
    def noisy_state(self) -> str:
        """The state that receives noise: the one in the threshold of spiking neurons, the readout state of others."""
        model = self.derived.model
        return pushed_state(model) if model.spiking else model.readout

    @property
    def spiking(self) -> bool:
        """True if it sends spikes; a model may have events that send none."""
        return self.derived.model.spiking

    @cached_property
    def exact(self) -> bool:
        """True if every state has an exact propagator on the grid; see `adjoint/scheme.py`."""
        return len(exact_part(self.derived)) == len(self.derived.states)

    @property
    def exact_states(self) -> tuple[int, ...]:
        """Indices of the states that have an exact propagator."""
        return exact_part(self.derived)

    @cached_property
    def stores_states(self) -> bool:
        """True if the backward pass needs the state at every step: the dynamics are not linear, or learned."""
        return not self.exact or any(n in self.derived.dynamic_params for n in self.trainable)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything an engine needs to know, as data, without any `Network` or `Loss` object.

    Structure alone, no values: so code that is generated from it is the same, and cached, for all values.

    dt and duration in ms, n_steps = duration / dt. Parameter values live in the engine, under the names of
    `Network.initial_parameters`; trainable: those that are learned; limits: (lower, upper) of those that have any, None
    for open; decays: strength of the L2 penalty. pushes: what regularisers of spikes do to costates. loss: the main
    one, which decides predictions; auxiliary: further losses, one a population, which add up with it. spike_birth:
    sigma of docs/spike_birth.md, 0: gradients do not see spikes being born.

    connections are those of spikes, and `currents_into` those of `currents`, whose delay is not rounded to steps.
    """

    input: InputRecord
    populations: tuple[PopulationRecord, ...]
    connections: tuple[ConnectionRecord, ...]
    currents: tuple[CurrentRecord, ...]
    currents_into: tuple[ConnectionRecord, ...]
    loss: LossRecord
    auxiliary: tuple[LossRecord, ...]
    dt: float
    duration: float
    n_steps: int
    spike_times: str
    trainable: tuple[str, ...]
    limits: Mapping[str, tuple[float | None, float | None]]
    decays: Mapping[str, float]
    pushes: tuple[SpikePush, ...]
    spike_birth: float

    @property
    def output(self) -> PopulationRecord:
        """The population that the loss reads."""
        return self.population(self.loss.output)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Population -> its number, by which generated code calls it."""
        return {p.name: i for i, p in enumerate(self.populations)}

    @property
    def losses(self) -> tuple[LossRecord, ...]:
        """All losses, the main one first."""
        return (self.loss, *self.auxiliary)

    # made once: what is computed from a plan is cached by its identity
    @cached_property
    def _views(self) -> dict[str, Plan]:
        return {l.output: replace(self, loss=l, auxiliary=()) for l in self.auxiliary}

    def read_at(self, population: str) -> Plan:
        """The plan with the loss that reads a population as its only one; itself, unless an auxiliary loss does."""
        return self._views.get(population, self)

    @property
    def weighted(self) -> tuple[ConnectionRecord, ...]:
        """All connections, of spikes and of currents, whose weights are parameters."""
        return (*self.connections, *self.currents_into)

    @property
    def integrates_steps(self) -> bool:
        """True if the readout is an integral that is computed step by step on the grid."""
        return self.spike_times == "grid" and self.loss.integrates

    def population(self, name: str) -> PopulationRecord:
        return next(p for p in self.populations if p.name == name)

    def check_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Like `Network.check_parameters`, but only of what is in `values`."""
        check_values(values, ((p.name, p.derived.model, p.params) for p in self.populations))
        for c in self.weighted:
            check_synapses(values, c.name, c.pre, c.post, c.delays.limit if c.delays else math.inf)

    def births(self, population: str) -> bool:
        """Whether spikes of a population that are about to be born are in the gradient."""
        return self.spike_birth > 0 and self.population(population).spiking

    def births_through(self, c: ConnectionRecord) -> bool:
        """Whether spikes that are about to be born would arrive through a connection."""
        return c.source != self.input.name and self.births(c.source)

    def adds_up(self, population: str) -> bool:
        """`scores_births`, of the loss that reads a population, if any does."""
        return any(l.output == population and self.read_at(population).scores_births for l in self.losses)

    @property
    def scores_births(self) -> bool:
        """Whether the loss of a trial with one spike more is known: its readout is linear in what arrives, and the
        trial itself has the outer loss."""
        linear = self.output.derived.linear and len(self.output.derived.modes) == 1 and not self.output.derived.events
        out = [c for c in self.into(self.output.name) if c.source != self.input.name]
        linear = linear and all(c.form == "dense" and c.delays is None for c in out)
        known = self.loss.readout in ("integral", "end") and not self.loss.host and not self.loss.also
        return self.spike_birth > 0 and linear and known

    def spike_regularisers(self, population: str) -> tuple[SpikePush, ...]:
        """The regularisers that push a population's costate at its spikes."""
        return tuple(r for r in self.pushes if r.of == population)

    def bounds(self, values: Mapping[str, np.ndarray] | None = None) -> dict[str, tuple[Any, Any]]:
        """Bounds of parameters: of the network, tightened by every `Clamp`; with `values`, also the enforced ones."""
        bounds: dict[str, tuple[Any, Any]] = dict(self.limits)
        enforced = {} if values is None else self.enforced_bounds(values)
        return bounds | {name: within(bounds.get(name, (None, None)), enforced[name]) for name in enforced}

    def enforced_bounds(self, values: Mapping[str, np.ndarray]) -> dict[str, tuple[Any, Any]]:
        """Bounds that no optimiser replaces: delays from 0 to their maximum, signs that weights keep, weights that are
        not learned."""
        return enforced_bounds(self.weighted, values)

    def decay(self) -> dict[str, float]:
        """Parameter -> sum of the strengths of every `WeightDecay` that acts on it."""
        return dict(self.decays)

    def on_grid(self, n_steps: int) -> Plan:
        """The same trial on a grid of `n_steps`, its delays rounded to that grid."""
        dt = self.duration / n_steps
        delayed = tuple(replace(c, delay_steps=int(clock.to_steps(c.delay, dt))) for c in self.connections)
        return replace(self, spike_times="grid", dt=dt, n_steps=n_steps, connections=delayed)

    def into(self, population: str) -> tuple[ConnectionRecord, ...]:
        return tuple(c for c in self.connections if c.target == population)

    def out_of(self, source: str) -> tuple[ConnectionRecord, ...]:
        return tuple(c for c in self.connections if c.source == source)
