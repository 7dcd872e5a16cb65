"""What networks have that engines treat in a way of its own: the generator has to draw all of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genn_eventprop.adjoint.arrivals import is_linear_along
from genn_eventprop.engines.contract.features import moves_threshold
from genn_eventprop.plan import ConnectionRecord, Plan
from genn_eventprop.verify.engines import Case


def _any_target(test: Callable[[Plan, ConnectionRecord], bool]) -> Callable[[Case], bool]:
    return lambda case: any(test(case.plan, c) for c in case.plan.connections)


def _jumps_at_output(plan: Plan, c: ConnectionRecord) -> bool:
    """An arrival moves what the loss reads of V."""
    d = plan.output.derived
    if c.target != plan.output.name or d.model.readout not in d.states:
        return False
    return d.receptors[c.receptor][d.states.index(d.model.readout)] != 0


def _moves_threshold(plan: Plan, c: ConnectionRecord) -> bool:
    return moves_threshold(plan.population(c.target).derived, c.receptor)


def _bent(plan: Plan, c: ConnectionRecord) -> bool:
    return not is_linear_along(plan.population(c.target).derived, c.receptor)


def _bent_input(plan: Plan, c: ConnectionRecord) -> bool:
    return c.source == plan.input.name and _bent(plan, c)


def _pool_behind_learned_weights(case: Case) -> bool:
    learned = {c.target for c in case.plan.connections if c.trainable}
    return any(_is_pool(c) and c.source in learned for c in case.plan.connections)


def _is_pool(c: ConnectionRecord) -> bool:
    """Many synapses of a table have one weight, or one a channel."""
    return c.table is not None and len(c.weight_shape) == 1 and len(c.table) > c.weight_shape[0]


def _shared(kind: str) -> Callable[[Case], bool]:
    """Connections share a table of weights, and one of them has delays of this kind, "" for a single one."""

    def has(case: Case) -> bool:
        every = {c.name: c for c in case.plan.connections}
        pairs = [(c, every[c.shares]) for c in every.values() if c.shares]
        tables = [c for pair in pairs if any(x.form != "dense" for x in pair) for c in pair]
        return any(c.delays.kind == kind if c.delays else kind == "" for c in tables)

    return has


def _empty_with_class_weights(case: Case) -> bool:
    lengths = np.diff(case.events.offsets)
    return case.class_weights and bool((lengths == 0).any() and (lengths > 0).any())


FEATURES: dict[str, Callable[[Case], bool]] = {
    "delta synapses at the output": _any_target(_jumps_at_output),
    "delta synapses that move a threshold": _any_target(_moves_threshold),
    "receptors along which the dynamics are not linear": _any_target(_bent),
    "such receptors of the input": _any_target(_bent_input),
    "pooling behind learned weights": _pool_behind_learned_weights,
    "shared table, one delay": _shared(""),
    "shared table, synaptic delays": _shared("synaptic"),
    "shared table, axonal delays": _shared("axonal"),
    "shared table, dendritic delays": _shared("dendritic"),
    "one output": lambda case: case.plan.output.size == 1,
    "an empty sample and class weights": _empty_with_class_weights,
    "several losses": lambda case: bool(case.plan.auxiliary),
    "several readouts": lambda case: bool(case.plan.loss.also),
    "modes": lambda case: any(p.derived.modes for p in case.plan.populations),
}
ASKED_FOR: dict[str, Callable[[Case], bool]] = {
    "several inputs": lambda case: len(case.plan.input.sizes) > 1,
    "currents beside spikes": lambda case: bool(case.plan.currents and case.plan.input.size),
    "currents alone": lambda case: not case.plan.input.size,
    "events that send nothing": lambda case: any(not e.emits for p in case.plan.populations for e in p.derived.events),
    "births": lambda case: case.plan.spike_birth > 0,
    "births and learned delays": lambda case: (
        case.plan.spike_birth > 0 and any(c.learns_delays for c in case.plan.connections)
    ),
}
"""Of networks with more (`draw`)."""


def features(case: Case) -> tuple[str, ...]:
    """Names of what a network has."""
    return tuple(name for name, has in (FEATURES | ASKED_FOR).items() if has(case))
