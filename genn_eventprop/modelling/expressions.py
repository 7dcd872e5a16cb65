"""Strings to sympy, without ``eval``: the small expression language of models, time weights and losses.

Names are looked up in a table given by the caller, so ``I``, ``E`` or ``S`` mean the model's own symbols and never
sympy's constants, and an unknown name is an error that says where it stands.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy as sp

from ..errors import ModelError, is_number, suggest
from .removable import NUMPY, phi1

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": sp.exp,
    "log": sp.log,
    "sqrt": sp.sqrt,
    "sin": sp.sin,
    "cos": sp.cos,
    "tan": sp.tan,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "abs": sp.Abs,
    "exprel": phi1,
}
_STEPS = "write a step or a kink as an event or a mode, whose gradient is exact: events=[Event(...)], modes=[Mode(...)]"
_NOISE = "a random equation or threshold has no exact gradient; noise on V is a setting of the run, not of the model"
_HINTS = dict.fromkeys(
    ("max", "min", "floor", "ceil", "round", "sign", "heaviside", "Heaviside", "where", "clip"), _STEPS
)
_HINTS |= dict.fromkeys(("rand", "random", "randn", "normal", "uniform", "noise", "gauss", "poisson"), _NOISE)
_TIME = (
    "equations cannot depend on time; use input spikes for what happens at given times, and drives= for "
    "currents that are given"
)
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def symbol(name: str) -> sp.Symbol:
    """The real symbol that stands for a state, parameter or time everywhere in the package."""
    return sp.Symbol(name, real=True)


def numpy_function(arguments: Sequence[Any], expressions: Any, cse: bool = False) -> Callable[..., Any]:
    """The expressions as a function of arrays, evaluated by NumPy; `cse`: common parts are evaluated once."""
    from sympy.printing.numpy import NumPyPrinter

    # modules="numpy" would import all of numpy, with f2py and numpy.testing: a quarter of the start of a command
    settings = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}
    function: Callable[..., Any] = sp.lambdify(arguments, expressions, [NUMPY], NumPyPrinter(settings), cse=cse)
    return function


def parse(text: str | float | int, symbols: Mapping[str, sp.Symbol], where: str) -> sp.Expr:
    """Parse an expression such as ``"(I - V) / tau_mem"``.

    Args:
        text: the expression, or a number.
        symbols: the names that may be used.
        where: words for the error message, e.g. ``"LIF: dynamics of V"``.

    Raises:
        ModelError: on a syntax error, an unknown name or function, anything beyond arithmetic, or an expression such
            as 1 / 0 that has no finite real value.
    """
    if is_number(text):
        if not math.isfinite(text):
            raise ModelError(f"{where}: {text} is not a finite real number")
        return sp.nsimplify(text) if float(text).is_integer() else sp.Float(text)
    if not isinstance(text, str):
        raise ModelError(f"{where}: expected an expression as a string or a number, got {type(text).__name__}")
    key = (text, tuple(symbols.items()))
    expression = _parsed.get(key)
    if expression is None:
        expression = _parse(text, symbols, where)
        if len(_parsed) >= PARSED:  # another thread may clear it too
            _parsed.clear()
        _parsed[key] = expression
    return expression


PARSED = 4096  # expressions that are kept
_parsed: dict[tuple[str, tuple[tuple[str, sp.Symbol], ...]], sp.Expr] = {}


def _parse(text: str, symbols: Mapping[str, sp.Symbol], where: str) -> sp.Expr:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        hint = "; write only the right-hand side, without =" if "=" in text else ""
        raise ModelError(
            f"{where}: {text!r} is not an expression ({error.msg}, column {error.offset}){hint}", text
        ) from None
    except ValueError as error:  # a null byte, on some versions of Python
        raise ModelError(f"{where}: {text!r} is not an expression ({error})", text) from None
    builder = _Builder(symbols, text, where)
    builder.top = tree.body
    result = builder.build(tree.body)
    if result.has(sp.zoo, sp.oo, -sp.oo, sp.nan, sp.I):
        raise ModelError(f"{where}: {text!r} has no finite real value", text)
    return result


class _Builder:
    def __init__(self, symbols: Mapping[str, sp.Symbol], text: str, where: str) -> None:
        self.symbols, self.text, self.where = symbols, text, where
        self.top: ast.expr | None = None

    def fail(self, what: str) -> ModelError:
        return ModelError(f"{self.where}: {what} in {self.text!r}", self.text)

    def build(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return sp.Integer(node.value) if isinstance(node.value, int) else sp.Float(node.value)
        if isinstance(node, ast.Name):
            if node.id not in self.symbols:
                hint = _TIME if node.id in ("t", "time") else suggest(node.id, self.symbols)
                raise self.fail(f"unknown symbol {node.id!r} ({hint})")
            return self.symbols[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return _BINARY[type(node.op)](self.build(node.left), self.build(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self.build(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id not in FUNCTIONS:
                hint = _HINTS.get(node.func.id) or suggest(node.func.id, FUNCTIONS)
                raise self.fail(f"unknown function {node.func.id!r} ({hint})")
            if len(node.args) != 1:
                raise self.fail(f"{node.func.id} takes one argument, got {len(node.args)},")
            return FUNCTIONS[node.func.id](self.build(node.args[0]))
        hint = f" ({_STEPS})" if isinstance(node, (ast.IfExp, ast.Compare, ast.BoolOp)) else ""
        if isinstance(node, ast.Compare) and node is self.top and len(node.ops) == 1:
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            hint = f" (a threshold is an expression that crosses zero from below, as {left} - {right}; {_STEPS})"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            hint = " (a power is written **, as V**2)"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:
            hint = f" (write {node.func.attr}(...) without {ast.unparse(node.func.value)})"
        raise self.fail(f"{ast.unparse(node)!r} is not arithmetic{hint}")
