"""Tables of the exact engine: power series of the propagators and bounds on the threshold function, per population.

S is 1 if all neurons of a population share its dynamics, else N; n states; D + 1 = 21 powers. A segment between two
events lasts at most `longest` = min(dt, 1 / |A|) ms, so that the series is exact to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..adjoint import Propagator, expm
from ..adjoint.propagator import numeric
from ..errors import PlanError
from ..plan import Plan, PopulationRecord

DEGREE = 20  # as in exact.hpp
_POINTS = 33  # at which bounds over a segment are sampled; 5 % are added for what lies between


@dataclass(frozen=True)
class ExactTables:
    """taylor (D + 1, n, n + 1, S): A^m / m!, the constant drive in the last column. derivative: parameter -> the same of
    its derivative. limit (D + 1,): longest segment that degree m serves. A (S, n, n + 1). dg, slope, curve (n + 1, G): g,
    its time derivative as linear functions of the state, and a bound on |g''| over a segment; G is 1 or N.
    """

    taylor: np.ndarray
    derivative: dict[str, np.ndarray]
    limit: np.ndarray
    A: np.ndarray
    dg: np.ndarray
    slope: np.ndarray
    curve: np.ndarray


def longest_segment(plan: Plan, parameters: Mapping[str, np.ndarray]) -> float:
    """min(dt, 1 / |A|) over all populations, ms."""
    rates = [_norm(Propagator(p.derived, _own(p, parameters)).M) for p in plan.populations]
    return min(plan.dt, 1.0 / max(*rates, 1e-12))


def exact_tables(p: PopulationRecord, parameters: Mapping[str, np.ndarray], longest: float) -> ExactTables:
    """Tables for one population at given parameter values."""
    d, values = p.derived, _own(p, parameters)
    propagator = Propagator(d, values)
    n, M = propagator.n, propagator.M
    norm = max(_norm(M), 1e-12)
    power = np.broadcast_to(np.eye(n + 1), M.shape)
    taylor, factorial = [power], 1.0
    learned = [q for q in p.trainable if q in d.dynamic_params]
    d_power = {q: np.zeros_like(M) for q in learned}
    derivative = {q: [d_power[q]] for q in learned}
    limit = [0.0]
    for m in range(1, DEGREE + 1):
        for q in learned:  # d(M^m) = dM^(m-1) M + M^(m-1) dM
            d_power[q] = d_power[q] @ M + power @ propagator.derivative(q)
        power = power @ M
        factorial *= m
        taylor.append(power / factorial)
        for q in learned:
            derivative[q].append(d_power[q] / factorial)
        limit.append((2.0**-56 * factorial * (m + 1)) ** (1.0 / (m + 1)) / norm)
    dg, slope, curve = _threshold(p, values, M, longest)
    return ExactTables(
        taylor=_table(taylor, n), derivative={q: _table(t, n) for q, t in derivative.items()},
        limit=np.array(limit), A=np.ascontiguousarray(M[:, :n, :]), dg=dg, slope=slope, curve=curve,
    )  # fmt: skip


def _own(p: PopulationRecord, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: np.asarray(parameters[f"{p.name}.{n}"], dtype=np.float64) for n in p.derived.params}


def _norm(M: np.ndarray) -> float:
    """Largest row sum of the rates; the constant drive does not count."""
    return float(np.abs(M[..., :-1, :-1]).sum(-1).max(initial=0.0))


def _table(powers: list[np.ndarray], n: int) -> np.ndarray:
    return np.moveaxis(np.stack(powers)[:, :, :n, :], 1, -1)


def varying_threshold(p: PopulationRecord) -> bool:
    """True if g or its slope differs between neurons of the population."""
    if not p.derived.events:
        return False
    g = p.derived.events[0].g
    names = {n for n, s in zip(p.derived.params, p.derived.p) if g.has(s)} | set(p.derived.dynamic_params)
    return bool(names & p.per_neuron)


def _threshold(
    p: PopulationRecord, values: Mapping[str, np.ndarray], M: np.ndarray, longest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = p.derived
    n = len(d.states)
    if not d.events:
        return (np.zeros((n + 1, 1)),) * 3
    event = d.events[0]
    if any(e.has(*d.x) for e in event.dg_dx):
        raise PlanError(f"{p.name!r}: exact spike times need a threshold that is linear in the state, not {event.g}")
    constant = event.g.subs(dict.fromkeys(d.x, 0))
    rows = numeric([*event.dg_dx, constant], d.p)(*values.values())[..., 0]
    size = p.size if varying_threshold(p) else 1
    rows = np.broadcast_to(np.atleast_2d(rows), (size, n + 1))
    generator = np.broadcast_to(M, (size, n + 1, n + 1))
    slope = np.einsum("si,sij->sj", rows, generator)
    second = np.einsum("si,sij->sj", slope, generator)
    times = np.linspace(0.0, longest, _POINTS)
    reached = np.stack([np.einsum("si,sij->sj", second, expm(generator * s)) for s in times])
    curve = 1.05 * np.abs(reached).max(0)
    return tuple(np.ascontiguousarray(v.T) for v in (rows, slope, curve))  # type: ignore[return-value]
