"""Tables of the exact engine: power series in the offset s inside a step, and bounds on the threshold function.

Within a step from t_k every state is written as x(t_k + s) = P(s) y + c(s). y is constant between events; an arrival at
offset s adds P(-s) e w to it, a spike P(-s) (h(x-) - x-). So nothing is propagated inside a step, and every factor
is a polynomial in s: exact to rounding, because a step lasts delta <= min(dt, 1 / |A|).

Axis letters: n states, S = 1 if all neurons of a population share its numbers, else N; D + 1 = 21 powers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from ..adjoint import Derived, Propagator, expm
from ..adjoint.propagator import numeric, units
from ..adjoint.scheme import linear_part
from ..losses import LossRecord
from ..losses.readout import gauss_legendre
from .records import Plan, PopulationRecord

DEGREE = 20  # as in series.hpp
MODES = ("", "_held")  # what names of tables begin with: of mode "free", and of the refractory period
SERIES = 11  # coefficients of the time weight in a step
NODES = 20  # most nodes at which V is taken between two events
BLOCK = 4096  # steps whose time weight is expanded together
FINEST = 0.5  # ms; shorter steps would only add work and rounding
_ANGLES = (np.arange(SERIES) + 0.5) * np.pi / SERIES  # of Chebyshev nodes
_POINTS = 33  # at which bounds over a step are sampled; what lies between is added
_ROUNDING = {"float32": 2.0**-28, "float64": 2.0**-56}


@dataclass(frozen=True)
class ExactTables:
    """Numbers of one population for steps of delta ms.

    step (n, n + 1, S): P(delta) - 1, c(delta) in the last column.
    spike (D + 1, n (n + 1) + n n, S): P(s) with c(s), P(-s).
    rho (D + 1, n + 1, S): dg P(s), the row of the threshold function, with its constant.
    arrive: receptor -> (D + 1, n + n + 1, S): P(-s) e, then rho.
    back: receptor -> (D + 1, (2 + L) n, S): P(-s) e, P(-s) (-A e), d P(-s) e by every learned parameter of the
    dynamics.
    dstep: parameter -> (n, n + 1, S): dP(delta) P(-delta). dspike: parameter -> (D + 1, n (n + 1), S): dP(s), dc(s).
    A (S, n, n + 1). dg, curve (n + 1, S): g as a linear function of the state, and a bound on |g''| in a step. kappa:
    receptor -> (2, S): an arrival of weight w at s lifts g in the rest of the step by at most (kappa[0] max(w, 0) +
    kappa[1] max(-w, 0)) (delta - s).

    A refractory period has other tables, with P and c of its dynamics; rho, dg, curve and kappa stay those of the
    threshold function along them and are not used.
    """

    step: np.ndarray
    spike: np.ndarray
    rho: np.ndarray
    arrive: dict[str, np.ndarray]
    back: dict[str, np.ndarray]
    dstep: dict[str, np.ndarray]
    dspike: dict[str, np.ndarray]
    A: np.ndarray
    dg: np.ndarray
    curve: np.ndarray
    kappa: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """All tables by the names that generated code uses."""
        out = {n: getattr(self, n) for n in ("step", "spike", "rho", "A", "dg", "curve")}
        for name in ("arrive", "back", "dstep", "dspike", "kappa"):
            out |= {f"{name}_{key}": table for key, table in getattr(self, name).items()}
        return out


def number_of_steps(plan: Plan, parameters: Mapping[str, np.ndarray], dtype: str) -> int:
    """Steps of a trial: the plan's, but not below `FINEST`, or as many as keep |A| delta <= 1 in every population.

    In float32 as many as keep it below 1 / 2, if they are not below `FINEST`: what a step adds is rounded.

    At least as many as the time weight needs, see `weight_steps`.
    """
    rates = [_rate(plan, p, parameters)[0] for p in plan.populations]
    # |A| delta <= 1: there the terms of the series fall from the first on, so that nothing cancels; the factor allows
    # a dt of exactly 1 / |A| in spite of rounding
    least = plan.duration * max(rates) * (1 - 1e-12)
    grid = min(max(plan.n_steps, math.ceil(2 * least) if dtype == "float32" else 1), math.ceil(plan.duration / FINEST))
    return max(grid, weight_steps(plan), math.ceil(least))


def degree(plan: Plan, p: PopulationRecord, parameters: Mapping[str, np.ndarray], delta: float, dtype: str) -> int:
    """Of a population's polynomials: the least whose remainder is below rounding in steps of delta ms."""
    rate, later = _rate(plan, p, parameters)
    m, reach = 1, rate * delta
    while m < DEGREE and reach ** (m + 1) / math.factorial(m + 1) > _ROUNDING[dtype]:
        m += 1
    return min(m + later, DEGREE)


@lru_cache(maxsize=16)
def weight_steps(plan: Plan) -> int:
    """Least steps in which `weight_series` are exact to rounding, 16 or more unless all weights are constant; but none
    below `FINEST`."""
    return max(_weight_steps(loss, plan.duration) for loss in plan.losses)


def _weight_steps(loss: LossRecord, duration: float) -> int:
    steps = 1
    if loss.readout == "integral" and loss.weight.expr.free_symbols:
        steps = 16
        while steps < duration / FINEST:
            values = _weight_values(loss, duration, steps, np.arange(steps))[0]
            last = values @ np.cos(np.outer(_ANGLES, (SERIES - 2, SERIES - 1))) / SERIES  # in Chebyshev polynomials
            if np.abs(last).max() <= 1e-14 * np.abs(values).max():
                break
            steps = min(2 * steps, math.ceil(duration / FINEST))
    return steps


@lru_cache(maxsize=256)
def table_params(p: PopulationRecord) -> frozenset[str]:
    """The parameters of the dynamics, the threshold and what an arrival does: all that tables follow from."""
    d = p.derived
    used = [*d.receptors.values(), *(sp.Matrix([e.g]) for e in d.events)]
    return frozenset({n for n, s in zip(d.params, d.p) if any(u.has(s) for u in used)} | set(d.dynamic_params))


def varies(p: PopulationRecord) -> bool:
    """True if the neurons of a population differ in what tables follow from."""
    return bool(table_params(p) & p.per_neuron)


def exact_tables(
    p: PopulationRecord,
    parameters: Mapping[str, np.ndarray],
    delta: float,
    watched: str | None = None,
    mode: int = 0,
) -> ExactTables:
    """Tables for one population at some values of its parameters, in one of its modes.

    Args:
        watched: of a population that does not spike, the state whose maximum is looked for: it stands for g.
    """
    d, values = p.derived, _values(p, parameters)
    propagator = _propagator(p, parameters, mode)
    n, S = propagator.n, p.size if varies(p) else 1
    # one set of tables where all neurons are alike
    M = np.broadcast_to(propagator.M, (S, n + 1, n + 1))
    learned = [q for q in p.trainable if q in d.dynamic_params]
    dM = {q: np.broadcast_to(propagator.derivative(q), M.shape) for q in learned}
    powers, d_powers = _powers(M, dM)
    # P(-s) by the same powers: an event at offset s is moved back to the start of the step
    back_powers = _alternate(powers)[..., :n, :n]
    g = _threshold(p, values, S, watched)
    arrive, back, kappa = {}, {}, {}
    rho = np.einsum("si,dsij->dsj", g, powers)
    rows, _ = _functions(d)
    for r in d.receptors:
        direction = _rows(rows[r], values, S)
        columns = [np.einsum("dsij,sj->dsi", back_powers, v) for v in (direction, -_times(M[:, :n, :n], direction))]
        arrive[r] = _last(np.concatenate([columns[0], rho], axis=-1), 1)
        for q in learned:
            columns.append(np.einsum("dsij,sj->dsi", _alternate(d_powers[q])[..., :n, :n], direction))
        back[r] = _last(np.concatenate(columns, axis=-1), 1)
        kappa[r] = _lift(g, M, np.concatenate([direction, np.zeros((S, 1))], axis=1), delta)
    reset = np.concatenate([powers[..., :n, :].reshape(DEGREE + 1, S, -1), back_powers.reshape(DEGREE + 1, S, -1)], -1)
    inverse = expm(-M * delta)
    return ExactTables(
        step=_last(expm(M * delta)[:, :n] - np.eye(n, n + 1)), spike=_last(reset, 1), rho=_last(rho, 1),
        arrive=arrive, back=back,
        dstep={q: _last((propagator_derivative(M, dM[q], delta) @ inverse)[:, :n]) for q in learned},
        dspike={q: _last(t[..., :n, :].reshape(DEGREE + 1, S, -1), 1) for q, t in d_powers.items()},
        A=np.ascontiguousarray(M[:, :n]), dg=_last(g), curve=_last(_curve(g, M, delta)),
        kappa=kappa,
    )  # fmt: skip


def propagator_derivative(M: np.ndarray, dM: np.ndarray, s: float) -> np.ndarray:
    """d expm(M s) along dM, (S, n + 1, n + 1)."""
    k = M.shape[-1]
    block = np.zeros((*M.shape[:-2], 2 * k, 2 * k))
    block[..., :k, :k] = block[..., k:, k:] = M
    block[..., :k, k:] = dM
    return expm(block * s)[..., :k, k:]


def weight_series(loss: LossRecord, duration: float, steps: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """(stop - start, SERIES) coefficients of w(end - v) / T as a polynomial in v, the time to the end of a step or, if
    that comes first, of the window; 0 outside of it. Those of steps `start` ... `stop` - 1."""
    stop = steps if stop is None else stop
    numbers = range(start // BLOCK, -(-stop // BLOCK))
    rows = np.concatenate([_weight_block(loss, duration, steps, k)[0] for k in numbers])
    first = numbers.start * BLOCK
    return np.ascontiguousarray(rows[start - first : stop - first])


def series_size(loss: LossRecord, duration: float, steps: int, dtype: str) -> int:
    """How many of these coefficients matter."""
    most = np.max([_weight_block(loss, duration, steps, k)[1] for k in range(-(-steps // BLOCK))], axis=0)
    return int(np.flatnonzero(most > 4 * _ROUNDING[dtype] * most.max()).max(initial=0)) + 1


@lru_cache(maxsize=16)
def _weight_block(loss: LossRecord, duration: float, steps: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `BLOCK` steps: coefficients, and the largest times powers of the ms of a step that are inside the window.

    Pieces of a recording ask for the same blocks, and get the same bits, as a whole trial.
    """
    which = np.arange(number * BLOCK, min((number + 1) * BLOCK, steps))
    values, length = _weight_values(loss, duration, steps, which)
    if values.shape[1] == 1:  # a constant
        rows = np.zeros((len(which), SERIES))
        rows[:, 0] = values[:, 0]
        return rows, np.abs(rows).max(0)
    vander = np.vander(0.5 - 0.5 * np.cos(_ANGLES), SERIES, increasing=True)
    scaled = np.linalg.solve(vander, values.T).T
    return scaled / length ** np.arange(SERIES), np.abs(scaled).max(0)


def _weight_values(loss: LossRecord, duration: float, steps: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, SERIES) w / T at Chebyshev nodes of the steps `which`, or (S, 1) of a constant, and the (S, 1) ms of each
    that are inside the window."""
    delta, (first, last) = duration / steps, loss.weight.ends(duration)
    start = which[:, None] * delta
    end = np.minimum(start + delta, last)
    length = end - np.maximum(start, first)
    inside = length > 1e-12 * delta
    length = np.where(inside, length, delta)
    v = (0.5 - 0.5 * np.cos(_ANGLES if loss.weight.expr.free_symbols else _ANGLES[:1])) * length
    values = np.where(inside, loss.weight(np.where(inside, end - v, last), duration), 0.0) / duration
    return values, length


def gauss_table() -> np.ndarray:
    """Gauss-Legendre nodes and weights on [0, 1] for 1, 2, ... `NODES` nodes one after the other: those of q nodes
    begin at q (q - 1), the nodes first."""
    return np.concatenate([np.concatenate(gauss_legendre(q, 1.0)) for q in range(1, NODES + 1)])


def _propagator(p: PopulationRecord, parameters: Mapping[str, np.ndarray], mode: int) -> Propagator:
    d = p.derived
    return Propagator(linear_part(d, d.modes[mode], tuple(range(len(d.states)))), _values(p, parameters))


def _values(p: PopulationRecord, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: np.asarray(parameters[f"{p.name}.{n}"], dtype=np.float64) for n in p.derived.params}


def _norm(M: np.ndarray) -> tuple[float, int]:
    """(|A|: the largest row sum of the rates, how many powers later the terms of some entries of P(s) fall).

    The constant drive does not count. Where units of the states make the rates large, those of `units`, in which
    entries may begin with a power as high as the number of states.
    """
    rates = np.abs(M[..., :-1, :-1])
    rows = float(rates.sum(-1).max(initial=0.0))
    if not 1 < rows * FINEST < np.inf:
        return rows, 0
    d = units(rates, 1 / FINEST)
    least = float((rates * d[..., None, :] / d[..., :, None]).sum(-1).max())
    return (rows, 0) if rows <= 2 * least else (least, rates.shape[-1])


def _rate(plan: Plan, p: PopulationRecord, parameters: Mapping[str, np.ndarray]) -> tuple[float, int]:
    """Largest |A| of a population's modes, see `_norm`; a time weight that follows the input adds its rate where it is
    read."""
    tau = next((l.weight.input_tau for l in plan.losses if l.output == p.name), None)
    norms = [_norm(_propagator(p, parameters, m).M) for m in range(len(p.derived.modes))]
    return max(n for n, _ in norms) + (0.0 if tau is None else 1 / tau), max(later for _, later in norms)


def _powers(M: np.ndarray, dM: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """M^m / m! and its derivatives, (D + 1, S, n + 1, n + 1)."""
    power = np.broadcast_to(np.eye(M.shape[-1]), M.shape)
    powers, changes = [power], {q: [np.zeros_like(M)] for q in dM}
    for m in range(1, DEGREE + 1):
        for q, change in changes.items():  # d(M^m) = dM^(m-1) M + M^(m-1) dM
            change.append((change[-1] @ M + powers[-1] @ dM[q]) / m)
        powers.append(powers[-1] @ M / m)
    return np.stack(powers), {q: np.stack(c) for q, c in changes.items()}


def _alternate(powers: np.ndarray) -> np.ndarray:
    """Series in -s from a series in s."""
    return powers * ((-1.0) ** np.arange(len(powers))).reshape(-1, *[1] * (powers.ndim - 1))


def _threshold(
    p: PopulationRecord, values: Mapping[str, np.ndarray], S: int, watched: str | None
) -> np.ndarray:  # fmt: skip
    """g = dg . x + g0 as rows (S, n + 1)."""
    d = p.derived
    rows = np.zeros((S, len(d.states) + 1))
    if not d.events:
        if watched is not None:
            rows[:, d.states.index(watched)] = 1.0
        return rows
    return _rows(_functions(d)[1], values, S)


Function = Callable[..., np.ndarray]


@lru_cache(maxsize=256)
def _functions(d: Derived) -> tuple[dict[str, Function], Function]:
    """Receptor -> its direction, and the first event's (dg/dx, g at x = 0), compiled once a model."""
    row = [*d.events[0].dg_dx, d.events[0].g.subs(dict.fromkeys(d.x, 0))] if d.events else []
    return {r: numeric(e, d.p) for r, e in d.receptors.items()}, numeric(row, d.p)


def _rows(function: Function, values: Mapping[str, np.ndarray], S: int) -> np.ndarray:
    """Numbers (S, k) of a function's k entries; S = 1 if no parameter in them differs between neurons, whatever others
    do."""
    rows = np.atleast_2d(function(*values.values())[..., 0])  # (k,) of a model without parameters
    return rows[:1] if S == 1 else np.broadcast_to(rows, (S, rows.shape[-1]))


def _curve(g: np.ndarray, M: np.ndarray, delta: float) -> np.ndarray:
    """(S, n + 1): |g''| in a step is at most curve . (|y|, 1).

    The search for crossings relies on it. It is sampled at `_POINTS` offsets; 5 % are added for what lies between.
    """
    second = _times_row(_times_row(g, M), M)
    return 1.05 * np.abs(np.stack([_times_row(second, expm(M * s)) for s in np.linspace(0, delta, _POINTS)])).max(0)


def _lift(g: np.ndarray, M: np.ndarray, direction: np.ndarray, delta: float) -> np.ndarray:
    """kappa (2, S): bounds on the response of g to an arrival, divided by the time since."""
    times = np.linspace(0, delta, _POINTS)[1:]
    first, second = _times_row(g, M), _times_row(_times_row(g, M), M)
    responses = [np.einsum("si,sij,sj->s", g, expm(M * s), direction) - (g * direction).sum(1) for s in times]
    bends = [np.abs(np.einsum("si,sij,sj->s", second, expm(M * s), direction)) for s in (0.0, *times)]
    rates = np.stack([(first * direction).sum(1), *(r / s for r, s in zip(responses, times))])
    between = 0.3 * times[0] * np.max(bends, axis=0)  # a rate changes by at most half of |g''| a ms
    return np.maximum(np.stack([rates.max(0) + between, between - rates.min(0)]), 0.0)


def _times(A: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("sij,sj->si", A, v)


def _times_row(v: np.ndarray, A: np.ndarray) -> np.ndarray:
    return np.einsum("si,sij->sj", v, A)


def _last(table: np.ndarray, axis: int = 0) -> np.ndarray:
    """The neuron axis S, number `axis`, moved to the end."""
    return np.ascontiguousarray(np.moveaxis(table, axis, -1))
