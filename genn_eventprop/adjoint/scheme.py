"""How a step of dt is made where f is not linear: which states keep exact propagators, and the scheme of the others.

The *exact part* is the largest set of states whose equations are linear in themselves and depend on nothing else, e.g.
the synaptic currents of a nonlinear neuron: z(t + s) = P(s) z(t) + c(s). The other states y follow dy/dt = f(y, z(t))
by one of

* "rk4": the classical Runge-Kutta method of order 4, z exact at the start, middle and end of the step;
* "exponential_euler": y_i <- y_i + dt phi1(dt a_i) f_i with a_i = df_i/dy_i, z at the middle of the step and
  phi1(x) = (e^x - 1) / x: exact where f_i is linear in y_i and the rest stands still, order 1 in general; stable for
  stiff leaks (Hochbruck & Ostermann 2010, doi 10.1017/S0962492910000048, with the diagonal of the Jacobian).

A linear model has no y: then a step is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import sympy as sp

SCHEMES = ("rk4", "exponential_euler")


class Field(Protocol):
    """The equations of a model, or of one of its modes: f (n,), df_dx (n, n), df_dp (n, p)."""

    @property
    def f(self) -> sp.Matrix: ...

    @property
    def df_dx(self) -> sp.Matrix: ...

    @property
    def df_dp(self) -> sp.Matrix: ...


def exact_states(fields: Iterable[Field], x: tuple[sp.Symbol, ...]) -> tuple[int, ...]:
    """Indices of the exact part: rows of every df/dx that are constant and zero outside the set."""
    fields = list(fields)
    # start from all rows that are constant, and take out those that need a state outside, until none does
    linear = [i for i in range(len(x)) if not any(f.df_dx[i, j].has(*x) for f in fields for j in range(len(x)))]
    while True:
        rest = [j for j in range(len(x)) if j not in linear]
        left = [i for i in linear if not any(f.df_dx[i, j] != 0 for f in fields for j in rest)]
        if left == linear:
            return tuple(linear)
        linear = left


@dataclass(frozen=True, eq=False)
class LinearPart:
    """dz/dt = A z + b of the exact part, with what `Propagator` needs.

    states, x: of the part. params, p: all of the model's. A (n, n), b (n,).
    """

    states: tuple[str, ...]
    x: tuple[sp.Symbol, ...]
    params: tuple[str, ...]
    p: tuple[sp.Symbol, ...]
    A: sp.Matrix
    b: sp.Matrix

    @cached_property
    def dynamic_params(self) -> tuple[str, ...]:
        """The parameters in A or b."""
        return tuple(n for n, s in zip(self.params, self.p) if self.A.has(s) or self.b.has(s))

    @cached_property
    def coupling(self) -> tuple[tuple[bool, ...], ...]:
        """(n, n): whether state j can influence state i within a step, the non-zero pattern of the propagator."""
        return connected(self.A)


@lru_cache(maxsize=256)
def exact_part(d: Any) -> tuple[int, ...]:
    """Indices of the exact part of a derived model, common to its modes."""
    return exact_states(d.modes, d.x)


@lru_cache(maxsize=256)
def linear_part(d: Any, field: Field, states: tuple[int, ...]) -> LinearPart:
    """dz/dt = A z + b of the states with indices `states`, in one mode of the model `d` (its states, x, params, p)."""
    A = field.df_dx.extract(list(states), list(states)) if states else sp.zeros(0, 0)
    x = tuple(d.x[i] for i in states)
    f = sp.Matrix([field.f[i] for i in states]) if states else sp.zeros(0, 1)
    b = (f - A * sp.Matrix(x)).applyfunc(sp.simplify) if states else f
    return LinearPart(tuple(d.states[i] for i in states), x, d.params, d.p, A, b)


def connected(*matrices: sp.Matrix) -> tuple[tuple[bool, ...], ...]:
    """(n, n): whether i is j, or leads to it through entries of some (n, n) matrices that are not zero."""
    n = matrices[0].rows
    reach = [[i == j or any(m[i, j] != 0 for m in matrices) for j in range(n)] for i in range(n)]
    for k in range(n):
        for i in range(n):
            for j in range(n):
                reach[i][j] = reach[i][j] or (reach[i][k] and reach[k][j])
    return tuple(tuple(row) for row in reach)
