"""Numbers that kernels need, from parameter values and the grid: propagators, readout integrals, their derivatives.

Computed in float64 on the host whenever a parameter of the dynamics changes. S is 1 if all neurons of the population
share the dynamics, else N; n states, J basis functions of the time weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from ..adjoint import Derived, Propagator
from ..adjoint.propagator import numeric
from ..adjoint.scheme import exact_part, linear_part
from ..adjoint.series import PropagatorSeries
from . import clock
from .records import Plan, PopulationRecord


@dataclass(frozen=True)
class PopulationCoefficients:
    """P (S, n, n), c (S, n): z <- P z + c over a step in mode "free", z the n states of the exact part, all of them in
    a linear model. dP, dc: their derivatives by each trainable parameter.

    spans: (mode, step in ms) -> expm (S, n + 1, n + 1) of the exact part; d_spans: the same by parameter.

    For the output of an integral readout: u (J, S, n), u0 (J, S): the step adds sum_j weight[k, j] (u_j . x + u0_j) to
    r, x the state at the start of the step; du, du0: derivatives. Empty (J = 0) elsewhere.

    direction, feedback: receptor -> e and -A e, (S, n): an arrival of weight w adds w e, and D = w (-A e) . lambda.
    """

    spans: dict[tuple[int, float], np.ndarray]
    d_spans: dict[tuple[int, float], dict[str, np.ndarray]]
    P: np.ndarray
    c: np.ndarray
    dP: dict[str, np.ndarray]
    dc: dict[str, np.ndarray]
    u: np.ndarray
    u0: np.ndarray
    du: dict[str, np.ndarray]
    du0: dict[str, np.ndarray]
    direction: dict[str, np.ndarray]
    feedback: dict[str, np.ndarray]


def coefficients(plan: Plan, population: PopulationRecord, values: Mapping[str, np.ndarray]) -> PopulationCoefficients:
    """Coefficients of one population; `values`: parameter -> (1,) or (N,).

    Raises:
        NetworkError: if a value is not finite or a time constant not positive, for example after an optimiser's step.
    """
    plan.check_parameters({f"{population.name}.{n}": np.asarray(v) for n, v in values.items()})
    plan = plan.read_at(population.name)
    d, dt = population.derived, plan.dt
    series = [_series(population, mode, values, dt) for mode in range(len(d.modes))]
    spans, d_spans = _spans(series, (dt,) if population.exact else (dt, dt / 2))
    free, learned = series[0]
    n, step, d_step = free.k - 1, spans[0, dt], d_spans[0, dt]
    rows, d_row = np.zeros((0, free.size, n + 1)), np.zeros((len(learned), 0, free.size, n + 1))
    if plan.integrates_steps and plan.loss.output == population.name and population.exact:
        _, nodes, phi = _basis(plan)
        rows, d_row = free.rows(d.states.index(d.model.readout), nodes, phi / plan.duration)
    d_rows = dict(zip(learned, d_row))
    all_values = [np.asarray(values[name], dtype=np.float64) for name in d.params]
    directions, feedbacks = _vectors(d)
    return PopulationCoefficients(
        spans=spans, d_spans=d_spans, P=step[:, :n, :n], c=step[:, :n, n],
        dP={p: v[:, :n, :n] for p, v in d_step.items()}, dc={p: v[:, :n, n] for p, v in d_step.items()},
        u=rows[..., :n], u0=rows[..., n],
        du={p: v[..., :n] for p, v in d_rows.items()}, du0={p: v[..., n] for p, v in d_rows.items()},
        direction={r: v(all_values) for r, v in directions.items()},
        feedback={r: v(all_values) for r, v in feedbacks.items()} if population.exact else {},
    )  # fmt: skip


def _series(
    population: PopulationRecord, mode: int, values: Mapping[str, np.ndarray], longest: float
) -> tuple[PropagatorSeries, list[str]]:
    """The exact part's propagator in a mode, and by which learned parameters it is differentiated."""
    d = population.derived
    part = linear_part(d, d.modes[mode], exact_part(d))
    learned = [p for p in population.trainable if p in part.dynamic_params]
    return Propagator(part, values).series(learned, longest), learned


def _spans(
    series: list[tuple[PropagatorSeries, list[str]]], lengths: tuple[float, ...]
) -> tuple[dict[tuple[int, float], np.ndarray], dict[tuple[int, float], dict[str, np.ndarray]]]:
    """Propagators over `lengths` ms in every mode, and their derivatives by what is learned."""
    spans, d_spans = {}, {}
    for m, (propagator, learned) in enumerate(series):
        for s in lengths:
            spans[m, s], d_span = propagator(s)
            d_spans[m, s] = dict(zip(learned, d_span))
    return spans, d_spans


Vector = Callable[[list[np.ndarray]], np.ndarray]


@lru_cache(maxsize=256)
def _vectors(d: Derived) -> tuple[dict[str, Vector], dict[str, Vector]]:
    """e and -A e of every receptor as functions of all parameters; compiled once a model."""
    feedback = {r: -(d.df_dx * e) for r, e in d.receptors.items()}
    return tuple({r: _vector(v, d.p) for r, v in vectors.items()} for vectors in (d.receptors, feedback))  # type: ignore[return-value]


def _vector(v: sp.Matrix, symbols: tuple[sp.Symbol, ...]) -> Vector:
    """A symbolic (n,) vector as a function of all parameters: (S, n), S = 1 where it depends on nothing that varies."""
    used = [i for i, s in enumerate(symbols) if v.has(s)]
    function = numeric(v, [symbols[i] for i in used])
    return lambda values: np.atleast_2d(function(*(values[i] for i in used))[..., 0])


@lru_cache(maxsize=64)
def _basis(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The time weight's basis on the plan's grid."""
    return plan.loss.basis(plan.dt, plan.n_steps)


def weight_coefficients(plan: Plan) -> np.ndarray:
    """(T, J) coefficients of the time weight's basis at every step; J = 0 unless steps are integrated."""
    if not plan.integrates_steps:
        return np.zeros((plan.n_steps, 0))
    return _basis(plan)[0]


def integrand_weight(plan: Plan) -> np.ndarray:
    """(T + 1,) w / T at k dt, 0 outside of the window's steps, for what an instant adds to an integral; (1,) zero for
    other readouts."""
    if not plan.loss.integrates:
        return np.zeros(1)
    weight, steps = plan.loss.weight, np.arange(plan.n_steps + 1)
    first, last = clock.window_steps(weight.ends(plan.duration), plan.dt)
    inside = (steps >= first) & (steps < last + (last == plan.n_steps))  # T belongs to a window that ends there
    return np.where(inside, weight.smooth(np.where(inside, steps, first) * plan.dt, plan.duration), 0.0) / plan.duration


def node_part(plan: Plan) -> np.ndarray:
    """(J,) for a readout of V(t): where in a step its nodes are, as parts of dt."""
    return _basis(plan)[1] / plan.dt if plan.loss.readout == "voltage" else np.zeros(0)


def node_scale(plan: Plan) -> np.ndarray:
    """(J,) for a readout of V(t): V at node j of a step is node_scale[j] (u_j . x + u0_j)."""
    if plan.loss.readout != "voltage":
        return np.zeros(0)
    return plan.duration / np.diag(_basis(plan)[2])
