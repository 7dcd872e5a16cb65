"""A request to record states and adjoints of chosen neurons, checked against the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import EngineError, suggest
from ...plan import Plan, PopulationRecord

ADJOINT = "lambda_"
"""In front of the name of a state: its adjoint dL/dx."""


def variables(p: PopulationRecord) -> list[str]:
    """What can be recorded of a population: its states, and after them their adjoints."""
    return [*p.derived.states, *(ADJOINT + s for s in p.derived.states)]


@dataclass(frozen=True, eq=False)
class Request:
    """What to record.

    Args:
        variables: population -> names, of states such as "V" and adjoints such as "lambda_V".
        neurons: population -> numbers of its neurons.
        times: (R,) ms.
    """

    variables: Mapping[str, tuple[str, ...]]
    neurons: Mapping[str, np.ndarray]
    times: np.ndarray

    @property
    def adjoint(self) -> bool:
        """Whether the trial must run backwards as well."""
        return any(name.startswith(ADJOINT) for names in self.variables.values() for name in names)

    def choose(self, plan: Plan, rows: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
        """Population -> variable -> (B, R, n) float64; rows: population -> (B, R, variables, N) of all of them."""
        chosen: dict[str, dict[str, np.ndarray]] = {}
        for name, names in self.variables.items():
            known = variables(plan.population(name))
            every = ((v, rows[name][:, :, known.index(v)]) for v in names)
            chosen[name] = {v: np.asarray(x[:, :, self.neurons[name]], np.float64) for v, x in every}
        return chosen


def request(
    plan: Plan,
    neurons: Mapping[str, Any] | Iterable[str] | None,
    names: Iterable[str] | None,
    adjoint: bool,
    times: Any,
) -> Request:
    """A request with the defaults of `Engine.record` filled in.

    Raises:
        EngineError: an unknown population, neuron or variable, or times outside the trial or the grid.
    """
    populations = {p.name: p for p in plan.populations}
    chosen = dict(neurons) if isinstance(neurons, Mapping) else dict.fromkeys(neurons or populations)
    for name in chosen:
        if name not in populations:
            raise EngineError(f"record: no population {name!r} ({suggest(name, populations)})")
    of = {name: [v for v in variables(populations[name]) if adjoint or not v.startswith(ADJOINT)] for name in chosen}
    if names is not None:
        wanted = list(names)
        for v in wanted:
            if not any(v in variables(populations[name]) for name in chosen):
                known = dict.fromkeys(v for name in chosen for v in variables(populations[name]))
                raise EngineError(f"record: no state {v!r} in {', '.join(chosen)} ({suggest(v, known)})")
        of = {name: [v for v in wanted if v in variables(populations[name])] for name in chosen}
    places = {name: _neurons(populations[name], which) for name, which in chosen.items()}
    return Request({name: tuple(v) for name, v in of.items()}, places, _times(plan, times))


def _neurons(p: PopulationRecord, which: Any) -> np.ndarray:
    if which is None:
        return np.arange(p.size)
    numbers = np.atleast_1d(np.asarray(which, np.int64))
    outside = numbers[(numbers < 0) | (numbers >= p.size)]
    if outside.size:
        raise EngineError(
            f"record: population {p.name!r} has no neuron {outside[0]}; its neurons are 0 to {p.size - 1}"
        )
    return numbers


def _times(plan: Plan, times: Any) -> np.ndarray:
    if times is None:
        return np.arange(plan.n_steps) * plan.dt
    if plan.spike_times == "grid":
        raise EngineError("record: on the grid states are known at the start of every step; leave times out")
    times = np.atleast_1d(np.asarray(times, np.float64))
    if times.ndim != 1 or not (np.diff(times) >= 0).all() or not ((times >= 0) & (times <= plan.duration)).all():
        raise EngineError(f"record: times must ascend within the trial, from 0 to {plan.duration:g} ms")
    return times
