"""Numbers that kernels need, from parameter values and the grid: propagators, readout integrals, their derivatives.

Computed in float64 on the host whenever a parameter of the dynamics changes. S is 1 if all neurons of the population
share the dynamics, else N; n states, J basis functions of the time weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sympy as sp

from ..adjoint import Propagator
from ..adjoint.propagator import numeric
from ..adjoint.scheme import exact_part, linear_part
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
    plan.network.check_parameters({f"{population.name}.{n}": np.asarray(v) for n, v in values.items()})
    d, dt = population.derived, plan.dt
    spans, d_spans = _spans(population, values, (dt,) if population.exact else (dt, dt / 2))
    propagator = Propagator(linear_part(d, d.modes[0], exact_part(d)), values)
    n, step, d_step = propagator.n, spans[0, dt], d_spans[0, dt]
    learned = list(d_step)
    rows = np.zeros((0, *propagator.shape, n + 1))
    d_rows = dict.fromkeys(learned, rows)
    if plan.integrates_steps and plan.loss.population.name == population.name and population.exact:
        state = d.states.index(d.model.readout)
        _, nodes, phi = plan.loss.basis(dt, plan.n_steps)
        phi = phi / plan.duration
        rows = np.einsum("jq,qsi->jsi", phi, np.stack([propagator(s)[:, state] for s in nodes]))
        for p in learned:
            at_nodes = np.stack([propagator.step_derivative(p, s)[:, state] for s in nodes])
            d_rows[p] = np.einsum("jq,qsi->jsi", phi, at_nodes)
    all_values = [np.asarray(values[name], dtype=np.float64) for name in d.params]
    return PopulationCoefficients(
        spans=spans, d_spans=d_spans, P=step[:, :n, :n], c=step[:, :n, n],
        dP={p: v[:, :n, :n] for p, v in d_step.items()}, dc={p: v[:, :n, n] for p, v in d_step.items()},
        u=rows[..., :n], u0=rows[..., n],
        du={p: v[..., :n] for p, v in d_rows.items()}, du0={p: v[..., n] for p, v in d_rows.items()},
        direction={r: _vector(e, d.p, all_values) for r, e in d.receptors.items()},
        feedback={r: _vector(-(d.df_dx * e), d.p, all_values) for r, e in d.receptors.items() if population.exact},
    )  # fmt: skip


def _spans(
    population: PopulationRecord, values: Mapping[str, np.ndarray], lengths: tuple[float, ...]
) -> tuple[dict[tuple[int, float], np.ndarray], dict[tuple[int, float], dict[str, np.ndarray]]]:
    """Propagators of the exact part over `lengths` ms in every mode, and their derivatives by what is learned."""
    d, spans, d_spans = population.derived, {}, {}
    for m, mode in enumerate(d.modes):
        part = linear_part(d, mode, exact_part(d))
        propagator = Propagator(part, values)
        learned = [p for p in population.trainable if p in part.dynamic_params]
        for s in lengths:
            spans[m, s] = propagator(s)
            d_spans[m, s] = {p: propagator.step_derivative(p, s) for p in learned}
    return spans, d_spans


def _vector(v: sp.Matrix, symbols: tuple[sp.Symbol, ...], values: list[np.ndarray]) -> np.ndarray:
    """A symbolic (n,) vector at parameter values, (S, n), S = 1 where it depends on nothing that varies."""
    used = [(s, x) for s, x in zip(symbols, values) if v.has(s)]
    return np.atleast_2d(numeric(v, [s for s, _ in used])(*(x for _, x in used))[..., 0])


def weight_coefficients(plan: Plan) -> np.ndarray:
    """(T, J) coefficients of the time weight's basis at every step; J = 0 unless steps are integrated."""
    if not plan.integrates_steps:
        return np.zeros((plan.n_steps, 0))
    return plan.loss.basis(plan.dt, plan.n_steps)[0]


def integrand_weight(plan: Plan) -> np.ndarray:
    """(T + 1,) w / T at k dt, 0 outside of the window's steps, for what an instant adds to an integral; (1,) zero for
    other readouts."""
    if not plan.loss.integrates:
        return np.zeros(1)
    weight, steps = plan.loss.weight, np.arange(plan.n_steps + 1)
    first, last = clock.window_steps(weight.ends(plan.duration), plan.dt)
    inside = (steps >= first) & (steps < last + (last == plan.n_steps))  # T belongs to a window that ends there
    return np.where(inside, weight.smooth(np.where(inside, steps, first) * plan.dt, plan.duration), 0.0) / plan.duration


def node_scale(plan: Plan) -> np.ndarray:
    """(J,) for a readout of V(t): V at node j of a step is node_scale[j] (u_j . x + u0_j)."""
    if plan.loss.readout != "voltage":
        return np.zeros(0)
    return plan.duration / np.diag(plan.loss.basis(plan.dt, plan.n_steps)[2])
