"""The symbolic part: everything the engines need to know of a model, as sympy matrices.

With costate lambda(t) = dL/dx(t), between events -dlambda/dt = (df/dx)^T lambda + dl/dx, and at an own event

    lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot,    gdot = dg/dx . f(x-),
    E = dl_p/dt_k + l(x-) - l(x+) + lambda+ . a + sum of D,    a = dh/dx f(x-) - f(x+),

where D = lambda_m . (f_m(x-) - f_m(x+)) + l_m(x-) - l_m(x+) for every arrival that the event causes, and

    dL/dp = lambda(0) . dx0/dp + int (lambda . df/dp + dl/dp) dt + sum_k [lambda+ . dh/dp + dl_p/dp - (dg/dp) E / gdot]
            + sum over arrivals of w lambda_m . de/dp.

Source: the costate form of Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z) for a general hybrid system; for
LIF it is their rule, ours = -tau_mem, -tau_syn times their lambda_V, lambda_I.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from ..errors import ModelError
from ..modelling.expressions import parse, symbol
from ..modelling.neuron import Event, NeuronModel


@dataclass(frozen=True, eq=False)
class DerivedEvent:
    """An own event and its jump; vectors are over states n, parameters p.

    g: threshold. h: (n,) state after. dg_dx (n,), dg_dp (p,), dh_dx (n, n), dh_dp (n, p), gdot: slope of g along f(x-).
    a: (n,) dh/dx f(x-) - f(x+), the coefficient of lambda+ in E.
    """

    name: str
    emits: bool
    g: sp.Expr
    h: sp.Matrix
    dg_dx: sp.Matrix
    dg_dp: sp.Matrix
    dh_dx: sp.Matrix
    dh_dp: sp.Matrix
    gdot: sp.Expr
    a: sp.Matrix

    def jump_states(self, x: tuple[sp.Symbol, ...]) -> tuple[sp.Symbol, ...]:
        """The states whose value right before the event the jump needs, besides gdot."""
        used = set().union(*(m.free_symbols for m in (self.a, self.dg_dx, self.dg_dp, self.dh_dx, self.dh_dp)))
        return tuple(s for s in x if s in used)


@dataclass(frozen=True, eq=False)
class Derived:
    """A model's equations and their derivatives.

    states, params: names; x, p: their symbols. f: (n,) right-hand side; x0: (n,) initial values; dx0_dp: (n, p).
    df_dx: (n, n); df_dp: (n, p). receptors: name -> e, the (n,) state change of a unit weight.
    """

    model: NeuronModel
    states: tuple[str, ...]
    params: tuple[str, ...]
    x: tuple[sp.Symbol, ...]
    p: tuple[sp.Symbol, ...]
    f: sp.Matrix
    df_dx: sp.Matrix
    df_dp: sp.Matrix
    x0: sp.Matrix
    dx0_dp: sp.Matrix
    receptors: dict[str, sp.Matrix]
    events: tuple[DerivedEvent, ...]

    @cached_property
    def linear(self) -> bool:
        """True if f = A x + b with A, b free of states: then steps are exact propagators."""
        return not any(entry.has(*self.x) for entry in self.df_dx)

    @property
    def A(self) -> sp.Matrix:
        """df/dx of a linear model, (n, n)."""
        self._need_linear()
        return self.df_dx

    @property
    def b(self) -> sp.Matrix:
        """The constant part of f of a linear model, (n,)."""
        self._need_linear()
        return sp.simplify(self.f - self.df_dx * sp.Matrix(self.x))

    @cached_property
    def dynamic_params(self) -> tuple[str, ...]:
        """The parameters that f depends on: their gradient needs the integral of lambda . df/dp."""
        return tuple(n for n, s in zip(self.params, self.p) if self.f.has(s))

    @cached_property
    def coupling(self) -> tuple[tuple[bool, ...], ...]:
        """(n, n): whether state j can influence state i within a step, the non-zero pattern of the propagator."""
        n = len(self.x)
        reach = [[i == j or self.df_dx[i, j] != 0 for j in range(n)] for i in range(n)]
        for k in range(n):
            for i in range(n):
                for j in range(n):
                    reach[i][j] = reach[i][j] or (reach[i][k] and reach[k][j])
        return tuple(tuple(row) for row in reach)

    def _need_linear(self) -> None:
        if not self.linear:
            raise ModelError(
                f"{self.model.name}: the dynamics are not linear in the state, so no exact propagator exists"
            )


def derive(model: NeuronModel) -> Derived:
    """Derive the adjoint system of a model.

    Raises:
        ModelError: if the algebra cannot be done, or an event resets the state to above its own threshold.
    """
    states, params = tuple(model.state), tuple(model.params)
    table = model.symbols()
    x, p = tuple(table[s] for s in states), tuple(table[n] for n in params)
    only_params = {n: table[n] for n in params}
    f = sp.Matrix([parse(model.dynamics[s], table, f"{model.name}: dynamics of {s}") for s in states])
    x0 = sp.Matrix([parse(model.state[s], only_params, f"{model.name}: initial value of {s}") for s in states])
    receptors = {
        r: sp.Matrix([parse(to.get(s, 0), only_params, f"{model.name}: input {r!r}") for s in states])
        for r, to in model.receptors.items()
    }
    return Derived(
        model=model, states=states, params=params, x=x, p=p, f=f, df_dx=f.jacobian(x), df_dp=_jacobian(f, p),
        x0=x0, dx0_dp=_jacobian(x0, p), receptors=receptors,
        events=tuple(_derive_event(model, e, f, x, p) for e in model.events),
    )  # fmt: skip


def _jacobian(v: sp.Matrix, p: tuple[sp.Symbol, ...]) -> sp.Matrix:
    return v.jacobian(p) if p else sp.zeros(v.rows, 0)


def _derive_event(model: NeuronModel, event: Event, f: sp.Matrix, x: tuple, p: tuple) -> DerivedEvent:
    table = model.symbols()
    g = parse(event.threshold, table, f"{model.name}: threshold of event {event.name!r}")
    h = sp.Matrix(
        [
            parse(event.reset[s], table, f"{model.name}: reset of {s}") if s in event.reset else table[s]
            for s in model.state
        ]
    )
    dg_dx = sp.Matrix([sp.diff(g, s) for s in x])
    dh_dx = h.jacobian(x)
    f_after = f.subs(dict(zip(x, h)), simultaneous=True)
    return DerivedEvent(
        name=event.name, emits=event.emits, g=g, h=h, dg_dx=dg_dx, dg_dp=sp.Matrix([sp.diff(g, s) for s in p]),
        dh_dx=dh_dx, dh_dp=_jacobian(h, p), gdot=sp.simplify((dg_dx.T * f)[0]),
        a=(dh_dx * f - f_after).applyfunc(sp.simplify),
    )  # fmt: skip


__all__ = ["Derived", "DerivedEvent", "derive", "symbol"]
