"""One step of dt of a model, forwards and transposed, as statements.

`adjoint/scheme.py` has the mathematics. The code is a straight line: locals are assigned once, subexpressions of a
stage are shared between f, df/dx and df/dp, factors made of parameters alone stand first, where a compiler moves them
out of the loop over neurons. With several modes every mode's step is made and the neuron's ``mode`` picks one, so that
the loop has no branch.

Symbols are those of the derived model: states, parameters, ``lambda_<state>``, and those of `plan.coefficients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from ..adjoint import Derived
from ..adjoint.scheme import exact_part
from ..modelling.expressions import symbol
from ..modelling.removable import phi1
from ..plan.coefficients import HALF_STEP, exact_parts, has_exact_step, propagator, propagator_derivative
from .nodes import BY_NAME, Let, choose, equal

DT = symbol("dt")
MODE = symbol("mode")  # the number of the neuron's mode


@dataclass(frozen=True)
class Step:
    """One step of a model.

    forward: locals; ends: the states after the step. stages: locals that the transposed step needs, from the states at
    the start of the step and lambda at its end; rates: parameter -> what the step adds to its gradient; back: lambda
    at the start of the step.
    """

    forward: tuple[Let, ...]
    ends: tuple[sp.Expr, ...]
    stages: tuple[Let, ...]
    rates: Mapping[str, sp.Expr]
    back: tuple[sp.Expr, ...]


@dataclass(frozen=True)
class Locals:
    """How the locals of a target are called: their first letters, and the functions that it spells out, whose argument
    has to be a name since it is written many times."""

    prefix: str = "_"
    spelled: frozenset[str] = frozenset()


class Lines:
    """Straight-line code under construction.

    fixed: expression of parameters alone -> its local; these stand first. varying: symbols that change step by step.
    """

    def __init__(self, local: Locals, varying: set[sp.Symbol]) -> None:
        self.local, self.varying = local, set(varying)
        self.fixed: dict[sp.Expr, sp.Symbol] = {}
        self.lines: list[Let] = []
        self.numbers = sp.numbered_symbols(f"{local.prefix}c", real=True)

    def statements(self, results: Iterable[sp.Expr]) -> tuple[Let, ...]:
        """Those that results depend on: not every stage of every model is used by the transposed step."""
        live, out = set().union(*(sp.sympify(e).free_symbols for e in results)), list[Let]()
        for s in reversed([*(Let(s, e) for e, s in self.fixed.items()), *self.lines]):
            if s.target in live:
                live |= s.value.free_symbols
                out.append(s)
        return tuple(reversed(out))

    def let(self, values: Mapping[str, sp.Expr]) -> dict[str, sp.Expr]:
        """Assign temporaries that share subexpressions; what needs none (a symbol, a fixed value) is handed back."""
        # fixed factors get their names first: cse would otherwise tie them to what varies and keep them in the loop
        hoisted = {name: self.hoist(sp.sympify(e)) for name, e in values.items()}
        out = {n: e for n, e in hoisted.items() if not e.args}
        work = {n: e for n, e in hoisted.items() if e.args}
        # in canonical order: the text is the same in every process
        shared, reduced = sp.cse(list(work.values()), symbols=self.numbers, order="canonical")
        for s, e in shared:
            self._declare(s, e)
        for name, e in zip(work, reduced):
            if e.args:
                out[name] = symbol(f"{self.local.prefix}{name}")
                self._declare(out[name], e)
            else:
                out[name] = e
        return out

    def _declare(self, name: sp.Symbol, value: sp.Expr) -> None:
        value = self._named_arguments(value, self._argument)
        self.varying.add(name)
        self.lines.append(Let(name, value))

    def _argument(self, value: sp.Expr) -> sp.Symbol:
        name = next(self.numbers)
        self._declare(name, value)
        return name

    def _named_arguments(self, e: sp.Expr, name: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
        """Functions that the dialect spells out write their argument many times: it becomes a local first."""
        calls = [f for f in e.atoms(sp.Function) if f.func.__name__ in self.local.spelled and f.args[0].args]
        return e.xreplace({f: f.func(name(f.args[0])) for f in sorted(calls, key=str)})

    def hoist(self, e: sp.Expr) -> sp.Expr:
        """`e` with every factor, term or subexpression of parameters alone replaced by a name."""
        if not e.args or not e.free_symbols:
            return e
        if not e.free_symbols & self.varying:
            return self._fix(e)
        if e.is_Mul or e.is_Add:
            fixed, rest = e.as_independent(*sorted(self.varying, key=BY_NAME), as_Add=e.is_Add)
            terms = [self.hoist(a) for a in e.func.make_args(rest)]  # before `fixed`: locals are numbered in this order
            return e.func(self._fix(fixed), *terms)
        return e.func(*(self.hoist(a) for a in e.args))

    def _fix(self, e: sp.Expr) -> sp.Expr:
        if not e.args or not e.free_symbols:
            return e
        # a factor and its negative share one local
        negative = (-e).is_Symbol or e.could_extract_minus_sign()
        if negative:
            return -self._fix(-e)
        e = self._named_arguments(e, self._fix)
        if e not in self.fixed:
            self.fixed[e] = symbol(f"{self.local.prefix}f{len(self.fixed)}")
        return self.fixed[e]


@lru_cache(maxsize=256)
def make_step(d: Derived, learned: tuple[str, ...], local: Locals = Locals()) -> Step:
    """The step of a model, made once; `learned`: parameters to make rates for."""
    learned = tuple(n for n in learned if n in d.dynamic_params)
    lam = [symbol(f"lambda_{s}") for s in d.states]
    if has_exact_step(d):
        return _exact_step(d, lam, learned)
    forward = Lines(local, set(d.x))
    new = [_Mode(d, m, forward, learned).advance() for m in range(len(d.modes))]
    backward = Lines(local, {*d.x, *lam})
    back = [_Mode(d, m, backward, learned).retreat(lam) for m in range(len(d.modes))]
    ends = tuple(pick([n[i] for n in new]) for i in range(len(d.states)))
    rates = {n: pick([b[1].get(n, sp.Integer(0)) for b in back]) for n in learned}
    before = tuple(pick([b[0][i] for b in back]) for i in range(len(d.states)))
    stages = backward.statements([*rates.values(), *before])
    return Step(forward=forward.statements(ends), ends=ends, stages=stages, rates=rates, back=before)


def _exact_step(d: Derived, lam: list[sp.Symbol], learned: tuple[str, ...]) -> Step:
    """x <- P x + c; lambda^T (dP/dparam x + dc/dparam), x from the step's start."""
    P, c = propagator(d)
    row = sp.Matrix([lam])
    rates = {}
    for n in learned:
        dP, dc = propagator_derivative(d, n)
        rates[n] = (row * (dP * sp.Matrix(d.x) + dc))[0]
    return Step((), tuple(P * sp.Matrix(d.x) + c), (), rates, tuple(P.T * row.T))


def pick(values: list[sp.Expr]) -> sp.Expr:
    """The value of the neuron's mode."""
    picked = values[0]
    for m, value in enumerate(values[1:], 1):
        if value != values[0]:
            picked = choose(equal(MODE, m), value, picked)
    return picked


class _Mode:
    """The step in one mode, written into `lines`; every result is a symbol or a number."""

    def __init__(self, d: Derived, mode: int, lines: Lines, learned: tuple[str, ...]) -> None:
        self.d, self.mode, self.lines = d, mode, lines
        self.field = d.modes[mode]
        self.tail = f"_{mode}" if len(d.modes) > 1 else ""
        self.z = list(exact_part(d))
        self.y = [i for i in range(len(d.states)) if i not in self.z]
        self.part = exact_parts(d)[mode]
        self.learned = [n for n in learned if self.field.f.has(d.p[d.params.index(n)])]

    def _let(self, name: str, values: list[sp.Expr], indices: list[int]) -> list[sp.Expr]:
        """Temporaries ``name_<state>`` for the states `indices`."""
        names = [f"{name}_{self.d.states[i]}{self.tail}" for i in indices]
        out = self.lines.let(dict(zip(names, values)))
        return [out[n] for n in names]

    def _at(self, expr: sp.Expr, x: list[sp.Expr]) -> sp.Expr:
        """`expr` at a stage, multiplied out: sums of a fixed factor times a state are one instruction each."""
        return sp.expand_mul(sp.sympify(expr)).subs(dict(zip(self.d.x, x)), simultaneous=True)

    def _join(self, y: list[sp.Expr], z: list[sp.Expr]) -> list[sp.Expr]:
        out: list[sp.Expr] = [sp.Integer(0)] * len(self.d.states)
        for i, v in zip(self.y, y):
            out[i] = v
        for i, v in zip(self.z, z):
            out[i] = v
        return out

    def _node(self, name: str, span: str, needed: set[sp.Symbol]) -> list[sp.Expr]:
        """z after `span`; 0 for those that are not needed."""
        P, c = propagator(self.d, self.mode, span)
        z = P * sp.Matrix([self.d.x[i] for i in self.z]) + c if self.z else []
        wanted = [k for k, i in enumerate(self.z) if self.d.x[i] in needed]
        values = self._let(name, [z[k] for k in wanted], [self.z[k] for k in wanted])
        out: list[sp.Expr] = [sp.Integer(0)] * len(self.z)
        for k, v in zip(wanted, values):
            out[k] = v
        return out

    def _drives(self) -> set[sp.Symbol]:
        """The exact states that f of the others uses."""
        return set().union(*(self.field.f[i].free_symbols for i in self.y)) if self.y else set()

    def advance(self) -> list[sp.Expr]:
        x, d = list(self.d.x), self.d
        y = [x[i] for i in self.y]
        if self.y and d.scheme == "exponential_euler":
            stage = self._join(y, self._node("mid", HALF_STEP, self._drives()))
            a = [self._at(self.field.df_dx[i, i], stage) for i in self.y]
            f = [self._at(self.field.f[i], stage) for i in self.y]
            y = self._let("new", [v + DT * phi1(DT * b) * g for v, b, g in zip(y, a, f)], self.y)
        elif self.y:
            k = self._slopes()
            ends = [v + DT / 6 * (a + 2 * b + 2 * c + e) for v, a, b, c, e in zip(y, *k)]
            y = self._let("new", ends, self.y)
        z = self._node("new", "", set(x))
        return self._join(y, z)

    def _slopes(self) -> list[list[sp.Expr]]:
        """k_1 ... k_4 of the Runge-Kutta method."""
        k: list[list[sp.Expr]] = []
        for stage in self._stages(k):
            k.append(self._let(f"k{len(k) + 1}", [self._at(self.field.f[i], stage) for i in self.y], self.y))
        return k

    def _stages(self, k: list[list[sp.Expr]]) -> Iterator[list[sp.Expr]]:
        """The four states at which f is evaluated; `k` is filled by the caller as they come."""
        y, drives = [self.d.x[i] for i in self.y], self._drives()
        yield self._join(y, [self.d.x[i] for i in self.z])
        middle = self._node("mid", HALF_STEP, drives)  # exact, so that rk4 keeps its order under a current
        for n, share in ((2, DT / 2), (3, DT / 2)):
            yield self._join(self._let(f"y{n}", [v + share * s for v, s in zip(y, k[n - 2])], self.y), middle)
        end = self._node("end", "", drives)
        yield self._join(self._let("y4", [v + DT * s for v, s in zip(y, k[2])], self.y), end)

    def retreat(self, lam: list[sp.Expr]) -> tuple[list[sp.Expr], dict[str, sp.Expr]]:
        """lambda at the start of the step, and parameter -> what the step adds to its gradient.

        The transpose of `advance`, see docs/equations.md, section 6: first through the stages of nonlinear states y,
        then through P^T of the exact part z, which the stages read at the start (first), the middle and the end.
        """
        rates: dict[str, sp.Expr] = {n: sp.Integer(0) for n in self.learned}
        new = list(lam)
        ends: dict[str, list[sp.Expr]] = {"": [lam[i] for i in self.z], HALF_STEP: [sp.Integer(0)] * len(self.z)}
        first: list[sp.Expr] = [sp.Integer(0)] * len(self.z)
        if self.y:
            how = self._euler if self.d.scheme == "exponential_euler" else self._runge_kutta
            total, first, middle, end = how([lam[i] for i in self.y], rates)
            for i, v in zip(self.y, total):
                new[i] = v
            ends[HALF_STEP] = middle
            ends[""] = [a + b for a, b in zip(ends[""], end)]
        back = list(first)  # z at the start of the step is the state itself: no propagator
        for span, value in ends.items():
            at = self._let("at" + span, value, self.z)
            P, _ = propagator(self.d, self.mode, span)
            for j in range(len(self.z)):
                back[j] += sum((P[i, j] * v for i, v in enumerate(at)), sp.Integer(0))
            self._span_rates(span, at, rates)  # with lambda at the node, before P^T moves it
        for i, v in zip(self.z, self._let("back", back, self.z)):
            new[i] = v
        names = {n: f"rate_{n}{self.tail}" for n in rates}
        done = self.lines.let({names[n]: e for n, e in rates.items()})
        return new, {n: done[names[n]] for n in rates}

    def _span_rates(self, span: str, at: list[sp.Expr], rates: dict[str, sp.Expr]) -> None:
        z = sp.Matrix([self.d.x[i] for i in self.z])
        for n in self.learned:
            if n in self.part.dynamic_params:
                dP, dc = propagator_derivative(self.d, n, self.mode, span)
                rates[n] += sum((v * e for v, e in zip(at, dP * z + dc)), sp.Integer(0))

    def _runge_kutta(self, lam: list[sp.Expr], rates: dict[str, sp.Expr]) -> tuple[list[sp.Expr], ...]:
        """mu_s = dL/dk_s from the last stage to the first; v_s = J(Y_s)^T mu_s goes to what Y_s was made of."""
        k: list[list[sp.Expr]] = []
        jacobians = []
        for s, stage in enumerate(self._stages(k), 1):
            k_s, J, Fp = self._stage(s, stage, slope=s < 4)  # no stage is made of k_4
            k.append(k_s)
            jacobians.append((J, Fp))
        above = [sp.Integer(0)] * len(self.y)
        total, z_parts = list(lam), []
        for s, share, back in ((4, DT / 6, 0), (3, DT / 3, DT), (2, DT / 3, DT / 2), (1, DT / 6, DT / 2)):
            J, Fp = jacobians[s - 1]
            mu = self._let(f"mu{s}", [share * v + back * a for v, a in zip(lam, above)], self.y)
            v = [sum((J[i, j] * m for i, m in zip(self.y, mu)), sp.Integer(0)) for j in range(len(self.d.states))]
            above = self._let(f"v{s}", [v[j] for j in self.y], self.y)
            total = [a + b for a, b in zip(total, above)]
            z_parts.append(self._let(f"v{s}", [v[j] for j in self.z], self.z))
            for n in self.learned:
                rates[n] += sum((Fp[i, n] * m for i, m in zip(self.y, mu)), sp.Integer(0))
        end, third, second, first = z_parts
        return self._let("back", total, self.y), first, [a + b for a, b in zip(second, third)], end

    def _stage(
        self, s: int, stage: list[sp.Expr], slope: bool
    ) -> tuple[list[sp.Expr], dict[tuple[int, int], sp.Expr], dict[tuple[int, str], sp.Expr]]:
        """f, df/dx and df/dp of the nonlinear rows at a stage, sharing what they have in common."""
        d, names = self.d, {}
        for i in self.y:
            if slope:
                names[f"k{s}_{d.states[i]}{self.tail}"] = self._at(self.field.f[i], stage)
            for j in range(len(d.states)):
                names[f"J{s}_{d.states[i]}_{d.states[j]}{self.tail}"] = self._at(self.field.df_dx[i, j], stage)
            for n in self.learned:
                names[f"F{s}_{d.states[i]}_{n}{self.tail}"] = self._at(self.field.df_dp[i, d.params.index(n)], stage)
        out = self.lines.let(names)
        k = [out[f"k{s}_{d.states[i]}{self.tail}"] for i in self.y] if slope else []
        J = {(i, j): out[f"J{s}_{d.states[i]}_{d.states[j]}{self.tail}"] for i in self.y for j in range(len(d.states))}
        Fp = {(i, n): out[f"F{s}_{d.states[i]}_{n}{self.tail}"] for i in self.y for n in self.learned}
        return k, J, Fp

    def _euler(self, lam: list[sp.Expr], rates: dict[str, sp.Expr]) -> tuple[list[sp.Expr], ...]:
        """Derivatives of y_i + dt phi1(dt a_i) f_i, by sympy."""
        d = self.d
        stage = self._join([d.x[i] for i in self.y], self._node("mid", HALF_STEP, self._drives()))
        gain = {i: DT * phi1(DT * self.field.df_dx[i, i]) * self.field.f[i] for i in self.y}
        names = {
            f"J_{d.states[i]}_{d.states[j]}{self.tail}": self._at(sp.diff(gain[i], d.x[j]), stage)
            for i in self.y for j in range(len(d.states))
        }  # fmt: skip
        for i in self.y:
            for n in self.learned:
                slope = sp.diff(gain[i], d.p[d.params.index(n)])
                names[f"F_{d.states[i]}_{n}{self.tail}"] = self._at(slope, stage)
        out = self.lines.let(names)
        v = []
        for j in range(len(d.states)):
            terms = (m * out[f"J_{d.states[i]}_{d.states[j]}{self.tail}"] for i, m in zip(self.y, lam))
            v.append(sum(terms, sp.Integer(0)))
        for n in self.learned:
            terms = (m * out[f"F_{d.states[i]}_{n}{self.tail}"] for i, m in zip(self.y, lam))
            rates[n] += sum(terms, sp.Integer(0))
        nothing: list[sp.Expr] = [sp.Integer(0)] * len(self.z)
        total = self._let("back", [m + v[i] for i, m in zip(self.y, lam)], self.y)
        return total, nothing, [v[i] for i in self.z], nothing
