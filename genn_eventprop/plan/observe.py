"""A plan in which the spikes of some populations are given by others, such as a device or a recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from ..adjoint.derive import in_every_mode
from .records import Plan, PopulationRecord


def observe(plan: Plan, populations: Iterable[str]) -> Plan:
    """The plan with these populations observed: no crossing of theirs is searched, a given spike does what an own one
    would do, in whatever mode the neuron is. Spikes that were dropped are not among those given, so none is dropped.
    """
    names = frozenset(populations)
    return _observed(plan, names) if names else plan


@lru_cache(maxsize=64)
def _observed(plan: Plan, names: frozenset[str]) -> Plan:
    return replace(plan, populations=tuple(_given(p) if p.name in names else p for p in plan.populations))


def _given(p: PopulationRecord) -> PopulationRecord:
    return replace(p, derived=in_every_mode(p.derived), dropout=0.0, observed=True)
