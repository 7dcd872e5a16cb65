"""The symbolic part: everything the engines need to know of a model, as sympy matrices.

With costate lambda(t) = dL/dx(t), between events -dlambda/dt = (df/dx)^T lambda + dl/dx, and at an event of the neuron

    lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot,    gdot = dg/dx . f(x-),
    E = dl_p/dt_k + l(x-) - l(x+) + lambda+ . a + sum of D,    a = dh/dx f(x-) - f(x+),

where D = lambda_m . (f_m(x-) - f_m(x+)) + l_m(x-) - l_m(x+) for every arrival that the event causes, and

    dL/dp = lambda(0) . dx0/dp + int (lambda . df/dp + dl/dp) dt + sum_k [lambda+ . dh/dp + dl_p/dp - (dg/dp) E / gdot]
            + sum over arrivals of w lambda_m . de/dp.

Source: the costate form of Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z) for a general hybrid system; for
LIF it is their rule, ours = -tau_mem, -tau_syn times their lambda_V, lambda_I.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import sympy as sp

from ..errors import ModelError
from ..modelling.expressions import parse, symbol
from ..modelling.neuron import FREE, Event, Mode, NeuronModel
from ..modelling.removable import without_removable
from ..modelling.source_location import located
from .scheme import connected

Symbols = tuple[sp.Symbol, ...]

LONG = 400  # operations; sympy.simplify takes minutes for longer ones
# what sympy leaves in a result that it could not compute; code generation would fail on it far from the model
UNDONE = (sp.Derivative, sp.Subs, sp.Integral, sp.zoo, sp.oo, sp.nan, sp.I)


@dataclass(frozen=True, eq=False)
class DerivedEvent:
    """An event of the neuron and its jump; vectors are over states n, parameters p.

    g: threshold. h: (n,) state after. dg_dx (n,), dg_dp (p,), dh_dx (n, n), dh_dp (n, p).
    modes: indices into `Derived.modes` in which it can happen. next_mode: index of the mode after it, None to stay.
    gdots: mode before -> slope of g along f(x-). jumps: mode before -> a (n,) = dh/dx f(x-) - f_next(x+), the
    coefficient of lambda+ in E. gdot, a: those of the first of `modes`, all there is for a model without modes.
    """

    name: str
    emits: bool
    modes: tuple[int, ...]
    next_mode: int | None
    g: sp.Expr
    h: sp.Matrix
    dg_dx: sp.Matrix
    dg_dp: sp.Matrix
    dh_dx: sp.Matrix
    dh_dp: sp.Matrix
    gdot: sp.Expr
    a: sp.Matrix
    gdots: dict[int, sp.Expr]
    jumps: dict[int, sp.Matrix]

    def jump_states(self, x: tuple[sp.Symbol, ...]) -> tuple[sp.Symbol, ...]:
        """The states whose value right before the event the jump needs, besides gdot."""
        used = set().union(
            *(m.free_symbols for m in (*self.jumps.values(), self.dg_dx, self.dg_dp, self.dh_dx, self.dh_dp))
        )
        return tuple(s for s in x if s in used)


@dataclass(frozen=True, eq=False)
class DerivedMode:
    """One mode: f (n,), df_dx (n, n), df_dp (n, p); it lasts for parameter `lasts` (None: until an event), and then
    comes the mode with index `then`."""

    name: str
    f: sp.Matrix
    df_dx: sp.Matrix
    df_dp: sp.Matrix
    lasts: str | None
    then: int

    def linear(self, x: tuple[sp.Symbol, ...]) -> bool:
        """True if f = A x + b with A, b free of the states x."""
        return not any(entry.has(*x) for entry in self.df_dx)

    def b(self, x: tuple[sp.Symbol, ...]) -> sp.Matrix:
        """The constant part of a linear f, (n,)."""
        return _constant_part(self, x)


@lru_cache(maxsize=256)
def _constant_part(mode: DerivedMode, x: tuple[sp.Symbol, ...]) -> sp.Matrix:
    return sp.simplify(mode.f - mode.df_dx * sp.Matrix(x))


@dataclass(frozen=True, eq=False)
class Derived:
    """A model's equations and their derivatives.

    states, params: names; x, p: their symbols. x0: (n,) initial values; dx0_dp: (n, p). modes: index 0 is "free", the
    dynamics outside of all modes of the model. receptors: name -> e, the (n,) state change of a unit weight.
    f (n,), df_dx (n, n), df_dp (n, p): of mode "free".
    """

    model: NeuronModel
    states: tuple[str, ...]
    params: tuple[str, ...]
    x: tuple[sp.Symbol, ...]
    p: tuple[sp.Symbol, ...]
    modes: tuple[DerivedMode, ...]
    x0: sp.Matrix
    dx0_dp: sp.Matrix
    receptors: dict[str, sp.Matrix]
    events: tuple[DerivedEvent, ...]

    @property
    def f(self) -> sp.Matrix:
        return self.modes[0].f

    @property
    def df_dx(self) -> sp.Matrix:
        return self.modes[0].df_dx

    @property
    def df_dp(self) -> sp.Matrix:
        return self.modes[0].df_dp

    @cached_property
    def linear(self) -> bool:
        """True if f = A x + b in every mode, with A, b free of states: then steps are exact propagators."""
        return all(m.linear(self.x) for m in self.modes)

    @property
    def scheme(self) -> str:
        """ "exact", "exponential_euler" or "rk4": how grid engines integrate between events."""
        asked = self.model.scheme
        return asked if asked != "auto" else "exact" if self.linear else "rk4"

    @property
    def A(self) -> sp.Matrix:
        """df/dx of a linear model in mode "free", (n, n)."""
        self._need_linear()
        return self.df_dx

    @property
    def b(self) -> sp.Matrix:
        """The constant part of f of a linear model in mode "free", (n,)."""
        self._need_linear()
        return self.modes[0].b(self.x)

    @cached_property
    def dynamic_params(self) -> tuple[str, ...]:
        """The parameters that f depends on in some mode: their gradient needs the integral of lambda . df/dp."""
        return tuple(n for n, s in zip(self.params, self.p) if any(m.f.has(s) for m in self.modes))

    @cached_property
    def durations(self) -> tuple[str, ...]:
        """The parameters that a timed mode lasts for: their gradient is the sum of D over its ends."""
        return tuple(n for n in self.params if any(m.lasts == n for m in self.modes))

    @cached_property
    def coupling(self) -> tuple[tuple[bool, ...], ...]:
        """(n, n): whether state j can influence state i within a step, the non-zero pattern of the propagator."""
        return connected(*(m.df_dx for m in self.modes))

    def _need_linear(self) -> None:
        if not self.linear:
            raise ModelError(
                f"{self.model.name}: the dynamics are not linear in the state, so no exact propagator exists"
            )


@lru_cache(maxsize=256)
def derive(model: NeuronModel) -> Derived:
    """Derive the adjoint system of a model; the same object for the same model.

    Raises:
        ModelError: if the algebra cannot be done, or an event resets the state to above its threshold.
    """
    with located(model.made_at):  # errors name the line of the model's file
        try:
            derived = _derive(model)
        except (NotImplementedError, RecursionError) as error:
            raise ModelError(f"{model.name}: sympy cannot do the algebra of this model ({error})") from None
        for where, matrix in _results(derived):
            if matrix.has(*UNDONE):
                raise ModelError(
                    f"{model.name}: sympy cannot do the algebra of {where}: it evaluates to "
                    f"{matrix.tolist()}; write it "
                    "with other functions"
                )
        return derived


def _results(d: Derived) -> Iterator[tuple[str, sp.Matrix]]:
    for m in d.modes:
        yield from ((f"the dynamics in mode {m.name!r}", v) for v in (m.df_dx, m.df_dp))
    for e in d.events:
        parts = (e.dg_dx, e.dg_dp, e.dh_dx, e.dh_dp, *e.jumps.values())
        yield from ((f"event {e.name!r}", v) for v in parts)


def _derive(model: NeuronModel) -> Derived:
    states, params = tuple(model.state), tuple(model.params)
    table = model.symbols()
    x, p = tuple(table[s] for s in states), tuple(table[n] for n in params)
    only_params = {n: table[n] for n in params}
    modes = _derive_modes(model, table, x, p)
    x0 = sp.Matrix([parse(model.state[s], only_params, f"{model.name}: initial value of {s}") for s in states])
    receptors = {
        r: sp.Matrix([parse(to.get(s, 0), only_params, f"{model.name}: input {r!r}") for s in states])
        for r, to in model.receptors.items()
    }
    derived = Derived(
        model=model, states=states, params=params, x=x, p=p, modes=modes, x0=x0, dx0_dp=_jacobian(x0, p),
        receptors=receptors, events=tuple(_derive_event(model, e, modes, x, p) for e in model.events),
    )  # fmt: skip
    if model.scheme == "exact":
        derived._need_linear()
    return derived


def _derive_modes(model: NeuronModel, table: dict[str, sp.Symbol], x: Symbols, p: Symbols) -> tuple[DerivedMode, ...]:
    names = [FREE, *(m.name for m in model.modes)]  # number 0 is "free": a trial starts with w_mode = 0
    modes = []
    for mode in (Mode(FREE, {}), *model.modes):
        where = f"{model.name}: " if mode.name == FREE else f"{model.name}: mode {mode.name!r}, "
        right = {**model.dynamics, **mode.dynamics}  # a mode says only which equations it changes
        read = [parse(right[s], table, f"{where}dynamics of {s}") for s in model.state]
        f = sp.Matrix([without_removable(e, x) for e in read])
        then = names.index(mode.then or FREE)
        modes.append(DerivedMode(mode.name, f, f.jacobian(x), _jacobian(f, p), mode.lasts, then))
    return tuple(modes)


def _jacobian(v: sp.Matrix, p: tuple[sp.Symbol, ...]) -> sp.Matrix:
    return v.jacobian(p) if p else sp.zeros(v.rows, 0)


@lru_cache(maxsize=4096)  # a model with other values of its parameters has the same expressions
def _tidy(e: sp.Expr) -> sp.Expr:
    """Simplified, unless sympy would take minutes: where it is long, or would have to find the common factors of
    denominators with several exponentials, as in alpha / (alpha + beta) of published rates. A symbol or number is
    simple, and `simplify` would import sympy's units for it, a quarter of a second. Logarithms stay as they are:
    sympy would join a log(u) - a log(v) as log(u^a / v^a), which overflows."""
    if e.is_Symbol or e.is_Rational or e.count_ops() >= LONG or _divides_by_functions(e):
        return e
    logs = {term: sp.Dummy() for term in e.atoms(sp.log)}
    return sp.simplify(e.xreplace(logs)).xreplace({dummy: term for term, dummy in logs.items()})


def _divides_by_functions(e: sp.Expr) -> bool:
    below = (p.base.atoms(sp.Function) for p in e.atoms(sp.Pow) if p.exp.could_extract_minus_sign())
    return len(set[sp.Function]().union(*below)) > 1


def _derive_event(
    model: NeuronModel, event: Event, modes: tuple[DerivedMode, ...], x: Symbols, p: Symbols
) -> DerivedEvent:
    table = model.symbols()
    names = [m.name for m in modes]
    possible = tuple(i for i, n in enumerate(names) if not event.modes or n in event.modes)
    next_mode = None if event.next_mode is None else names.index(event.next_mode)
    g = without_removable(parse(event.threshold, table, f"{model.name}: threshold of event {event.name!r}"), x)
    h = sp.Matrix(
        [
            without_removable(parse(event.reset[s], table, f"{model.name}: reset of {s}"), x)
            if s in event.reset
            else table[s]
            for s in model.state
        ]
    )
    dg_dx = sp.Matrix([sp.diff(g, s) for s in x])
    dh_dx = h.jacobian(x)
    after = dict(zip(x, h))
    # by the mode before the event, since gdot and a depend on the f that the state moved with
    gdots, jumps = {}, {}
    for i in possible:
        # f(x+) of the mode after the event, at the state after its reset: a shift of the event exchanges f(x-) for it
        f_after = modes[i if next_mode is None else next_mode].f.subs(after, simultaneous=True)
        gdots[i] = _tidy((dg_dx.T * modes[i].f)[0])
        jumps[i] = (dh_dx * modes[i].f - f_after).applyfunc(_tidy)
    return DerivedEvent(
        name=event.name, emits=event.emits, modes=possible, next_mode=next_mode, g=g, h=h, dg_dx=dg_dx,
        dg_dp=sp.Matrix([sp.diff(g, s) for s in p]),
        dh_dx=dh_dx, dh_dp=_jacobian(h, p), gdot=gdots[possible[0]], a=jumps[possible[0]], gdots=gdots, jumps=jumps,
    )  # fmt: skip


@lru_cache(maxsize=256)
def in_every_mode(d: Derived) -> Derived:
    """The same neuron with a spike that may come in any mode, as one that is not its own may."""
    spikes = [e for e in d.events if e.emits and len(e.modes) < len(d.modes)]
    if not spikes:
        return d
    by_name = {e.name: replace(e, modes=()) for e in d.model.events}
    made = {e.name: _derive_event(d.model, by_name[e.name], d.modes, d.x, d.p) for e in spikes}
    return replace(d, events=tuple(made.get(e.name, e) for e in d.events))


__all__ = ["Derived", "DerivedEvent", "DerivedMode", "derive", "in_every_mode", "symbol"]
