"""The coefficients of generated code: their names, which of them vary between neurons, and their values.

A *coefficient* is a number that follows from parameter values (and dt) and that generated code uses by name. The host
computes them in float64 whenever a parameter changes; a kernel only multiplies. Of a population there are

* entries of the exact part's propagators, `propagator_entries`. z(t + dt) = P z(t) + c, z the n states of the exact
  part (`adjoint/scheme.py`), all of them in a linear model. In mode "free" P_V_I is the entry of P(dt) that takes I to
  V, c_V the constant part; PH_V_I and cH_V are those of half a step; dP_tau_mem_V_I and dc_tau_mem_V are derivatives.
  In mode number 2 they are P2_V_I, c2_V, PH2_V_I ... A row of a mode that equals the one of mode "free" has the name
  of the latter, so that it is computed and stored once;
* u0_V, u0_1, dtau_mem_u0_V ...: what a step adds to the integral of the readout state against basis function 0 of the
  time weight, per state and as a constant, with derivatives; of a step that is not exact the weights u0_V and u1_V of V
  at its beginning and its end;
* Q_<receptor>_<state>: -A e, for D of an arrival (`docs/equations.md`); e_<receptor>_<state>: what a unit weight adds;
* dt where a step is no propagator alone, and the parameters of the model themselves.

`coefficient_names` lists them, `coefficient_values` computes them; `propagator` and `propagator_derivative` are
matrices of their symbols for whoever writes the step. The arrays of a plan's time weight stand at the end.

Axes: S is 1 if all neurons of the population share the dynamics, else N; n states, J basis functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from ..adjoint import Derived, Propagator
from ..adjoint.propagator import numeric
from ..adjoint.scheme import LinearPart, exact_part, linear_part
from ..adjoint.series import PropagatorSeries
from ..modelling.expressions import symbol
from . import clock
from .records import Plan, PopulationRecord

HALF_STEP = "H"  # the span dt / 2 in names of coefficients; dt itself is ""


@dataclass(frozen=True)
class PropagatorEntry:
    """Where a coefficient stands in a propagator.

    mode: index of the mode. span: "" (dt) or "H" (dt / 2). i: row; j: column, None in the constant part c.
    param: the parameter that it is the derivative by; None in the propagator itself.
    """

    name: str
    mode: int
    span: str
    i: int
    j: int | None
    param: str | None = None


def has_exact_step(d: Derived) -> bool:
    """True if a step is one exact propagator: linear dynamics and no modes."""
    return len(d.modes) == 1 and len(exact_part(d)) == len(d.states)


@lru_cache(maxsize=256)
def exact_parts(d: Derived) -> tuple[LinearPart, ...]:
    """The exact part in every mode."""
    states = exact_part(d)
    return tuple(linear_part(d, m, states) for m in d.modes)


def propagator(d: Derived, mode: int = 0, span: str = "") -> tuple[sp.Matrix, sp.Matrix]:
    """P (n, n) and c (n,) of the exact part as symbols, 0 where one state cannot reach another, 1 where it stands."""
    part = exact_parts(d)[mode]
    n = len(part.states)
    P, c = sp.zeros(n, n), sp.zeros(n, 1)
    for i, s in enumerate(part.states):
        m = "" if _same_row(d, mode, i) else str(mode)
        if not any(part.A[i, :]) and part.b[i] == 0:
            P[i, i] = 1
            continue
        for j, r in enumerate(part.states):
            if part.coupling[i][j]:
                P[i, j] = symbol(f"P{span}{m}_{s}_{r}")
        if any(part.coupling[i][j] and part.b[j] != 0 for j in range(n)):
            c[i] = symbol(f"c{span}{m}_{s}")
    return P, c


def propagator_derivative(d: Derived, param: str, mode: int = 0, span: str = "") -> tuple[sp.Matrix, sp.Matrix]:
    """dP/dparam (n, n) and dc/dparam (n,) as symbols, 0 where they vanish."""
    part = exact_parts(d)[mode]
    pattern, constant = _derivative_pattern(part, param)
    n = len(part.states)
    dP, dc = sp.zeros(n, n), sp.zeros(n, 1)
    for i, s in enumerate(part.states):
        m = "" if _same_row(d, mode, i) else str(mode)
        for j, r in enumerate(part.states):
            if pattern[i][j]:
                dP[i, j] = symbol(f"dP{span}{m}_{param}_{s}_{r}")
        if constant[i]:
            dc[i] = symbol(f"dc{span}{m}_{param}_{s}")
    return dP, dc


@lru_cache(maxsize=256)
def propagator_entries(d: Derived, learned: tuple[str, ...]) -> tuple[PropagatorEntry, ...]:
    """All entries that a step needs, in a fixed order; `learned`: parameters to differentiate by."""
    entries: dict[str, PropagatorEntry] = {}
    spans = ("",) if len(exact_part(d)) == len(d.x) else ("", HALF_STEP)
    for mode in range(len(d.modes)):
        for span in spans:
            for param in (None, *(n for n in learned if n in exact_parts(d)[mode].dynamic_params)):
                P, c = propagator(d, mode, span) if param is None else propagator_derivative(d, param, mode, span)
                places: list[tuple[sp.Expr, int, int | None]] = [
                    (P[i, j], i, j) for i in range(P.rows) for j in range(P.cols)
                ]
                places += [(c[i], i, None) for i in range(P.rows)]
                for number, i, j in places:
                    if number.is_Symbol:  # a row that modes share has one name: its first mode computes it
                        entries.setdefault(str(number), PropagatorEntry(str(number), mode, span, i, j, param))
    # by mode and span, values before derivatives: the order in which libraries declare and hosts write them
    return tuple(sorted(entries.values(), key=lambda e: (e.mode, e.span, e.param is not None)))


def _same_row(d: Derived, mode: int, i: int) -> bool:
    """Whether state i moves in `mode` as it does in mode "free".

    Its equation alone does not tell: P_ij is a path from j to i, so all states on such a path must move alike.
    """
    free, here = exact_parts(d)[0], exact_parts(d)[mode]
    reached = [j for j in range(len(free.states)) if free.coupling[i][j] or here.coupling[i][j]]
    return all(free.A[j, :] == here.A[j, :] and free.b[j] == here.b[j] for j in reached)


def _derivative_pattern(part: LinearPart, param: str) -> tuple[list[list[bool]], list[bool]]:
    """Where dP/dparam (n, n) and dc/dparam (n,) can be non-zero.

    d exp(A t) = int exp(A (t - s)) dA exp(A s) ds, so that (i, j) needs a path from j to l, dA_kl != 0, and one from k
    to i. The pattern is of symbols: a coefficient may still be zero for particular values.
    """
    p = part.p[part.params.index(param)]
    n, reach = len(part.states), part.coupling
    changes = [[part.A[k, l].diff(p) != 0 for l in range(n)] for k in range(n)]
    db = [v.diff(p) != 0 for v in part.b]
    pattern = [
        [any(reach[i][k] and changes[k][l] and reach[l][j] for k in range(n) for l in range(n)) for j in range(n)]
        for i in range(n)
    ]
    constant = [
        any(pattern[i][j] and part.b[j] != 0 for j in range(n)) or any(reach[i][k] and db[k] for k in range(n))
        for i in range(n)
    ]
    return pattern, constant


def feedback_symbols(d: Derived, receptor: str) -> sp.Matrix:
    """-A e (n,) as symbols, 0 where it vanishes: an arrival of weight w has D = w (-A e) . lambda in a linear model."""
    q = d.A * d.receptors[receptor]
    return sp.Matrix([symbol(f"Q_{receptor}_{s}") if v != 0 else 0 for s, v in zip(d.states, q)])


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of a population's generated code: an array (N,) if `per_neuron`, else one number."""

    name: str
    per_neuron: bool


def basis_size(plan: Plan, p: PopulationRecord) -> int:
    """J, the number of basis functions of the time weight that a step of `p` integrates; 0 without such a readout."""
    plan = plan.read_at(p.name)
    if not (plan.integrates_steps and plan.loss.output == p.name):
        return 0
    return plan.loss.basis_size(plan.dt) if has_exact_step(p.derived) else 2


@lru_cache(maxsize=256)
def coefficient_names(plan: Plan, p: PopulationRecord) -> tuple[Coefficient, ...]:
    """All coefficients of a population in a fixed order, the model's parameters last."""
    d = p.derived
    varies = has_exact_step(d) and _mode_varies(p, 0)
    names = [Coefficient(e.name, _mode_varies(p, e.mode)) for e in propagator_entries(d, p.trainable)]
    learned = [n for n in p.trainable if n in d.dynamic_params] if has_exact_step(d) else []
    for j in range(basis_size(plan, p)):
        for term in integral_terms(p):
            names += [Coefficient(n, varies) for n in (f"u{j}_{term}", *(f"d{n}_u{j}_{term}" for n in learned))]
    for r, e in d.receptors.items():
        if has_exact_step(d):
            names += [Coefficient(str(v), _varies(p, d.A * e)) for v in feedback_symbols(d, r) if v != 0]
        # 0 and 1 stand in the text as they are
        names += [Coefficient(f"e_{r}_{s}", _varies(p, e)) for s, v in zip(d.states, e) if v not in (0, 1)]
    if d.model.snippets or not p.exact:
        names.append(Coefficient("dt", False))
    return (*names, *(Coefficient(n, n in p.per_neuron) for n in d.params))


def integral_terms(p: PopulationRecord) -> list[str]:
    """The states that the readout state's integral over a step depends on, then "1" if a constant drives them; the
    readout state alone where it is a sum of V at both ends of the step."""
    d = p.derived
    if not has_exact_step(d):
        return [d.model.readout]
    v = d.states.index(d.model.readout)
    reached = [s for j, s in enumerate(d.states) if d.coupling[v][j]]
    return reached + (["1"] if any(d.b[d.states.index(s)] != 0 for s in reached) else [])


def _mode_varies(p: PopulationRecord, mode: int) -> bool:
    """Whether the propagators of a mode differ between neurons."""
    return any(n in p.per_neuron for n in exact_parts(p.derived)[mode].dynamic_params)


def _varies(p: PopulationRecord, v: object) -> bool:
    """Whether an expression has a parameter with one value per neuron."""
    return any(v.has(s) for n, s in zip(p.derived.params, p.derived.p) if n in p.per_neuron)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class PopulationCoefficients:
    """The arrays that coefficients are entries of; the grid reference works with them directly.

    P (S, n, n), c (S, n): z <- P z + c over a step in mode "free", z the n states of the exact part, all of them in a
    linear model. dP, dc: their derivatives by each trainable parameter.

    spans: (mode, step in ms) -> expm (S, n + 1, n + 1) of the exact part; d_spans: the same by parameter.

    For the output of an integral readout: u (J, S, n), u0 (J, S): the step adds sum_j weight[k, j] (u_j . x + u0_j) to
    r, x the state at the start of the step; du, du0: derivatives. Empty (J = 0) elsewhere. Of a step that is not exact
    u_1 belongs to the state at its end, before the events there.

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
    """The arrays of one population; `values`: parameter -> (1,) or (N,).

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
    if basis_size(plan, population):
        _, nodes, phi = _basis(plan)
        v = d.states.index(d.model.readout)
        if has_exact_step(d):
            rows, d_row = free.rows(v, nodes, phi / plan.duration)
        else:
            rows = np.zeros((len(phi), 1, len(d.states) + 1))
            rows[:, 0, v], d_row = np.diag(phi) / plan.duration, d_row[:0]
    d_rows = dict(zip(learned, d_row))
    all_values = [np.asarray(values[name], dtype=np.float64) for name in d.params]
    directions, feedbacks = _vectors(d)
    return PopulationCoefficients(
        spans=spans, d_spans=d_spans, P=step[:, :n, :n], c=step[:, :n, n],
        dP={p: v[:, :n, :n] for p, v in d_step.items()}, dc={p: v[:, :n, n] for p, v in d_step.items()},
        u=rows[..., :-1], u0=rows[..., -1],
        du={p: v[..., :-1] for p, v in d_rows.items()}, du0={p: v[..., -1] for p, v in d_rows.items()},
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
    for m, (series_of_mode, learned) in enumerate(series):
        for s in lengths:
            spans[m, s], d_span = series_of_mode(s)
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


def coefficient_values(plan: Plan, p: PopulationRecord, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float64 arrays, (N,) or (1,), of everything in `coefficient_names`."""
    d = p.derived
    values = {n: np.asarray(parameters[f"{p.name}.{n}"], dtype=np.float64) for n in d.params}
    k = coefficients(plan, p, values)
    arrays: dict[str, np.ndarray] = dict(values)
    for e in propagator_entries(d, p.trainable):
        span = e.mode, plan.dt / 2 if e.span == HALF_STEP else plan.dt
        matrix = k.spans[span] if e.param is None else k.d_spans[span][e.param]
        arrays[e.name] = matrix[:, e.i, -1 if e.j is None else e.j]  # the last column is c
    for i, s in enumerate(d.states):
        arrays |= {f"Q_{r}_{s}": q[:, i] for r, q in k.feedback.items()}
        arrays |= {f"e_{r}_{s}": e[:, i] for r, e in k.direction.items()}
        for b in range(len(k.u)):
            arrays[f"u{b}_{s}"] = k.u[b, :, i]
            arrays |= {f"d{n}_u{b}_{s}": k.du[n][b, :, i] for n in k.du}
    for b in range(len(k.u)):
        arrays[f"u{b}_1"] = k.u0[b]
        arrays |= {f"d{n}_u{b}_1": k.du0[n][b] for n in k.du0}
    arrays["dt"] = np.array([plan.dt])
    shapes = {v.name: (p.size,) if v.per_neuron else (1,) for v in coefficient_names(plan, p)}
    return {name: np.broadcast_to(arrays[name], shape) for name, shape in shapes.items()}


@lru_cache(maxsize=64)
def _basis(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The time weight's basis on the plan's grid."""
    if not has_exact_step(plan.output.derived):
        return plan.loss.weight.trapezoid(plan.dt, plan.n_steps)
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
