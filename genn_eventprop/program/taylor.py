"""Taylor coefficients of expressions along a trajectory, as data: which recurrences make them, in which order.

Along x(t + s) = sum_k x_k s^k every expression of the states is a series in s too, and its coefficient k follows from
those of its parts up to k (Jorba & Zou 2005, doi 10.1080/10586458.2005.10128904):

    z = u v        z_k = sum_j u_j v_(k-j)
    z = u / v      z_k = (u_k - sum_(j>=1) v_j z_(k-j)) / v_0
    z = exp(u)     k z_k = sum_(j>=1) j u_j z_(k-j),      and likewise log, sin and cos, sinh and cosh, tan, tanh
    z = phi1(u)    k z_k = sum_(j>=1) j u_j d_(k-j),      d = phi1'(u), and in the same way phi1' from phi1'' and so on:
                   of derivative m to order p - m, which needs no division by u_0 where (exp(u) - 1) / u does
    z = u^a        k u_0 z_k = sum_(j>=1) (a j - (k - j)) u_j z_(k-j)

So dx/dt = f(x) gives x_(k+1) = f_k / (k + 1): the flow to any order, and the adjoint equation, whose right side is an
expression of the states and of lambda, in the same way. The expressions are those of `adjoint.derive`; an expression
that occurs twice is one node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from ..modelling.removable import MOMENTS

PAIRS = {sp.sin: "sincos", sp.cos: "sincos", sp.sinh: "sinhcosh", sp.cosh: "sinhcosh", sp.tan: "tan", sp.tanh: "tanh"}
"""Functions that come as two series at once: with the derivative of the function."""


@dataclass(frozen=True)
class Node:
    """One series.

    kind: "state", "sum", "product", "quotient", "exp", "log", "power", one of `PAIRS`, or "first" or "second" of such a
    pair; "moments" for phi1 and all its derivatives, or "moment" for one of them. of: the nodes that it is made of.
    factors: of a sum, those of its terms, then what is constant in it; of a quotient, the constant numerator, if that
    is no node; of a power, the exponent; of a moment, its number.
    """

    kind: str
    of: tuple[int, ...] = ()
    factors: tuple[sp.Expr, ...] = ()


class Recurrences:
    """The nodes that expressions need, each after those that it is made of.

    Args:
        states: the symbols that are series; all others are constant.
    """

    def __init__(self, states: Iterable[sp.Symbol]) -> None:
        self.states = tuple(states)
        self._symbols = set(self.states)
        self.nodes: list[Node] = []
        self.expressions: list[sp.Expr] = []  # what each node is, for comments
        self._known: dict[object, int] = {}

    def is_constant(self, e: sp.Expr) -> bool:
        return not (e.free_symbols & self._symbols)

    def sum(self, e: sp.Expr) -> int:
        """The node of an expression, a sum even where it has a single term or none."""
        return self._sum(*self._terms(sp.sympify(e)), e)

    def node(self, e: sp.Expr) -> int:
        """The node of an expression that is not constant."""
        if e in self._known:
            return self._known[e]
        constant, terms = self._terms(e)
        plain = constant == 0 and len(terms) == 1 and terms[0][0] == 1
        self._known[e] = terms[0][1] if plain else self._sum(constant, terms, e)
        return self._known[e]

    def _sum(self, constant: sp.Expr, terms: list[tuple[sp.Expr, int]], e: sp.Expr) -> int:
        return self._add(Node("sum", tuple(n for _, n in terms), (*(f for f, _ in terms), constant)), e)

    def _add(self, node: Node, e: sp.Expr) -> int:
        if node not in self._known:
            self._known[node] = len(self.nodes)
            self.nodes.append(node)
            self.expressions.append(e)
        return self._known[node]

    def _terms(self, e: sp.Expr) -> tuple[sp.Expr, list[tuple[sp.Expr, int]]]:
        """(constant, [(factor, node)]) that add up to an expression."""
        if self.is_constant(e):
            return e, []
        if isinstance(e, sp.Add):
            constant, factors = sp.Integer(0), dict[int, sp.Expr]()
            for term in e.args:
                more, terms = self._terms(term)
                constant += more
                for factor, node in terms:
                    factors[node] = factors.get(node, sp.Integer(0)) + factor
            return constant, [(factor, node) for node, factor in factors.items()]
        if isinstance(e, sp.Mul):
            factor = sp.Mul(*(a for a in e.args if self.is_constant(a)))
            rest = sp.Mul(*(a for a in e.args if not self.is_constant(a)))
            if factor != 1:
                constant, terms = self._terms(rest)
                return factor * constant, [(factor * f, n) for f, n in terms]
        return sp.Integer(0), [(sp.Integer(1), self._plain(e))]

    def _plain(self, e: sp.Expr) -> int:
        """The node of a state, a product, a power or a function."""
        if e in self._known:
            return self._known[e]
        if isinstance(e, sp.Symbol):
            number = self._add(Node("state", (), (e,)), e)
        elif isinstance(e, sp.Mul):
            number = self._product(e)
        elif isinstance(e, sp.exp):
            number = self._add(Node("exp", (self.node(e.args[0]),)), e)
        elif isinstance(e, sp.Pow):
            number = self._power(e)
        elif isinstance(e, sp.log):
            number = self._add(Node("log", (self.node(e.args[0]),)), e)
        elif type(e) in PAIRS:
            pair = self._add(Node(PAIRS[type(e)], (self.node(e.args[0]),)), e)
            number = self._add(Node("second" if isinstance(e, (sp.cos, sp.cosh)) else "first", (pair,)), e)
        elif type(e) in MOMENTS:
            every = self._add(Node("moments", (self.node(e.args[0]),)), MOMENTS[0](e.args[0]))
            number = self._add(Node("moment", (every,), (sp.Integer(MOMENTS.index(type(e))),)), e)
        else:
            raise NotImplementedError(f"{e.func} has no recurrence")
        self._known[e] = number
        return number

    def _product(self, e: sp.Mul) -> int:
        below = [a for a in e.args if isinstance(a, sp.Pow) and a.exp.is_Integer and a.exp.is_negative]
        above = [a for a in e.args if a not in below]
        if not below:
            number = self.node(above[0])
            for a in above[1:]:
                number = self._times(number, self.node(a), e)
            return number
        under = self.node(sp.Mul(*(a.base**-a.exp for a in below)))
        if not above:
            return self._add(Node("quotient", (under,), (sp.Integer(1),)), e)
        return self._add(Node("quotient", (self.node(sp.Mul(*above)), under)), e)

    def _times(self, a: int, b: int, e: sp.Expr) -> int:
        return self._add(Node("product", (min(a, b), max(a, b))), e)

    def _power(self, e: sp.Pow) -> int:
        base, exponent = e.base, e.exp
        if not self.is_constant(exponent):
            return self.node(sp.exp(exponent * sp.log(base), evaluate=False))
        if not exponent.is_Integer:
            return self._add(Node("power", (self.node(base),), (exponent,)), e)
        k = int(exponent)
        if k < 0:
            return self._add(Node("quotient", (self.node(base**-k),), (sp.Integer(1),)), e)
        half = self.node(base ** (k // 2)) if k > 3 else self.node(base)
        number = self._times(half, half, e)
        return self._times(number, self.node(base), e) if k % 2 else number


class Kinks:
    """|u| and its derivative sign(u) along a piece that ends where u crosses zero: there the sign is constant.

    Args:
        expressions: all that are asked for, with their derivatives.

    Attributes:
        arguments: every u that depends on the states. signs: the symbols of their signs.
    """

    def __init__(self, expressions: Iterable[sp.Expr], states: Iterable[sp.Symbol]) -> None:
        moving, every = set(states), (part for e in expressions for part in sp.preorder_traversal(e))
        bent = (p.args[0] for p in every if isinstance(p, (sp.Abs, sp.sign)) and p.free_symbols & moving)
        self.arguments = tuple(dict.fromkeys(bent))
        self.signs = tuple(sp.Symbol(f"sign_{j}", real=True) for j in range(len(self.arguments)))

    def smooth(self, e: sp.Expr) -> sp.Expr:
        """An expression with the signs as constants."""
        if not e.has(sp.Abs, sp.sign):
            return e
        if isinstance(e, (sp.Abs, sp.sign)) and e.args[0] in self.arguments:
            sign = self.signs[self.arguments.index(e.args[0])]
            return sign * self.smooth(e.args[0]) if isinstance(e, sp.Abs) else sign
        return e.func(*map(self.smooth, e.args))
