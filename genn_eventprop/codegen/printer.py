"""sympy expressions as text of one dialect. A dialect is a table of differences, never an ``if`` in a generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sympy as sp
from sympy.printing.c import C99CodePrinter

from ..adjoint.propagator import without_deltas


@dataclass(frozen=True)
class Dialect:
    """How one target writes things.

    Args:
        name: "genn" or "cpp".
        literal: format of a floating-point number, e.g. "{}" or "scalar({})".
        declare: how a temporary is declared.
        functions: sympy function name -> name in the target, where it differs from C99.
        spelled: sympy function name -> the target's expression for the text of its argument, where it has no such function.
        temporary: first letters of a temporary's name; GeNN's scanner knows no names that begin with an underscore.
        step: name of the step in ms; GeNN's own dt is its unit of time, which is one step here.
    """

    name: str
    literal: str = "{}"
    declare: str = "const scalar"
    functions: Mapping[str, str] = field(default_factory=dict)
    spelled: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    temporary: str = "_"
    step: str = "dt"


def _phi1(x: str) -> str:
    return f"({x} == 0.0 ? 1.0 : expm1({x}) / ({x}))"


def _phi1_slope(x: str) -> str:
    """(e^x - phi1) / x, where that would cancel the series sum_k k x^(k - 1) / (k + 1)!."""
    series = ""
    for k in range(14, 0, -1):
        term = repr(k / math.factorial(k + 1))
        series = f"({term} + {x} * {series})" if series else term
    return f"(fabs({x}) < 0.5 ? {series} : (exp({x}) - {_phi1(x)}) / ({x}))"


def _phi1_bend(x: str) -> str:
    """(e^x - 2 phi1') / x, where that would cancel the series sum_k x^k / (k! (k + 3))."""
    series = ""
    for k in range(13, -1, -1):
        term = repr(1 / (math.factorial(k) * (k + 3)))
        series = f"({term} + {x} * {series})" if series else term
    return f"(fabs({x}) < 0.5 ? {series} : (exp({x}) - 2.0 * {_phi1_slope(x)}) / ({x}))"


C_REAL = {"float32": "float", "float64": "double"}
"""dtype of an engine -> the type of its real numbers in C, C++, CUDA and GeNN."""
SPELLED = {"phi1": _phi1, "phi1_slope": _phi1_slope, "phi1_bend": _phi1_bend}
GENN = Dialect("genn", temporary="tmp_", step="ms_per_step", spelled=SPELLED)
# functions.hpp has these: no calls, so that loops over neurons become vectors
_INLINE = {n: f"fn_{n}" for n in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", *SPELLED)}
CPP = Dialect("cpp", literal="scalar({})", functions={**_INLINE, "Abs": "fn_abs"})
# phi1.h has these; tgmath.h or overloads pick the precision of all functions
_BY_NAME = {n: n for n in SPELLED}
REAL = Dialect("c", literal="(real){}", functions=_BY_NAME)
# in double precision, whatever `real` and `scalar` are
DOUBLE = Dialect("double", declare="const double", functions=_BY_NAME)
DIALECTS = {d.name: d for d in (GENN, CPP)}


class Printer(C99CodePrinter):
    reserved_words: set[str] = set()  # targets keep a model's names apart from their own: rename nothing

    def __init__(self, dialect: Dialect, names: Mapping[str, str] | None = None) -> None:
        self.names = names or {}
        spelled = {n: [(lambda *_: True, write)] for n, write in dialect.spelled.items()}
        super().__init__({"user_functions": {**dialect.functions, **spelled}, "math_macros": {}})
        self.dialect = dialect

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return self.names.get(str(expr)) or super()._print_Symbol(expr)

    def _print_Float(self, expr: sp.Float) -> str:
        text = repr(float(expr))
        return self.dialect.literal.format(text)

    def _print_Integer(self, expr: sp.Integer) -> str:
        return self.dialect.literal.format(f"{int(expr)}.0")

    _print_Zero = _print_One = _print_NegativeOne = _print_Integer

    def _print_Rational(self, expr: sp.Rational) -> str:
        return self.dialect.literal.format(repr(float(expr)))

    _print_Half = _print_Rational
    _print_NumberSymbol = _print_Exp1 = _print_Pi = _print_Float  # M_E and M_PI are not in GeNN's language

    def _print_choose(self, expr: sp.Expr) -> str:
        condition, a, b = (self._print(e) for e in expr.args)
        return f"({condition} ? {a} : {b})"

    def _print_equal(self, expr: sp.Expr) -> str:
        return " == ".join(self._print(e) for e in expr.args)

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, exponent = expr.as_base_exp()
        if exponent.is_Integer and 1 < abs(int(exponent)) <= 4:
            product = " * ".join([self.parenthesize(base, 1000)] * abs(int(exponent)))
            return f"({product})" if exponent > 0 else f"({self._print(sp.Integer(1))} / ({product}))"
        return super()._print_Pow(expr)


def expression(expr: sp.Expr, dialect: Dialect, names: Mapping[str, str] | None = None) -> str:
    """One expression as text; names: symbol -> its spelling."""
    return Printer(dialect, names).doprint(without_deltas(sp.sympify(expr)))


def assignments(
    targets: Mapping[str, sp.Expr] | Sequence[tuple[str, sp.Expr]], dialect: Dialect, *, add: Iterable[str] = ()
) -> str:
    """Simultaneous assignments ``target = expression``; all right-hand sides see the old values.

    Common subexpressions are shared; targets in `add` are added to instead (``+=``).
    """
    items = list(targets.items()) if isinstance(targets, Mapping) else list(targets)
    items = [(t, e) for t, e in items if e != sp.Symbol(t, real=True)]
    shared, reduced = sp.cse(
        [without_deltas(e) for _, e in items],
        symbols=sp.numbered_symbols(f"{dialect.temporary}c", real=True),
        order="canonical",
    )
    lines = [f"{dialect.declare} {s} = {expression(e, dialect)};" for s, e in shared]
    names = {t for t, _ in items}
    plain = []
    for i, (target, e) in enumerate(zip([t for t, _ in items], reduced)):
        read_later = any(sp.Symbol(target, real=True) in later.free_symbols for later in reduced[i + 1 :])
        op = "+=" if target in set(add) else "="
        if read_later and target in names:
            lines.append(f"{dialect.declare} {dialect.temporary}{target} = {expression(e, dialect)};")
            plain.append(f"{target} {op} {dialect.temporary}{target};")
        else:
            lines.append(f"{target} {op} {expression(e, dialect)};")
    return "\n".join(lines + plain)
