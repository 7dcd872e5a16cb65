"""Brian's expressions and statements as ours: one tree of Python's grammar, in which names, units and functions change.

A name is looked up where Brian does (`Group._resolve`): variables of the group, constants, units and functions of
Brian, the group's namespace, that of the run. Units become numbers, subexpressions what they stand for, everything that
is a number of its own a parameter of its name.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import DescriptionError
from ...modelling.expressions import FUNCTIONS, numpy_function, parse, symbol

REWRITTEN = {"log10": "log({}) / 2.302585092994046", "log1p": "log(1 + {})", "expm1": "({0}) * exprel({0})"}
"""Functions that ours lack -> ours."""
RANDOM = ("rand", "randn", "poisson", "binomial")
STEPS = ("int", "clip", "floor", "ceil", "sign", "timestep")
NO_NOISE = "a random equation has no exact gradient; leave it out, noise is an argument of Network.population"
NO_STEP = "has no derivative; write the step as a threshold or a refractory period, or leave it out"
DEEPEST = 100
"""Levels of brackets in an expression."""

Lookup = Callable[[str], ast.expr]
Call = Callable[[str, list[ast.expr]], "ast.expr | None"]


def number(value: float) -> ast.expr:
    """A number as a node; integers without a point, negative ones with a sign."""
    if not math.isfinite(value):
        raise DescriptionError(f"the number {value} is not finite")
    node = ast.Constant(int(abs(value)) if float(value).is_integer() and abs(value) < 1e9 else abs(float(value)))
    return ast.UnaryOp(ast.USub(), node) if value < 0 else node


def value_of(node: ast.expr) -> float | None:
    """The number that a node is."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = value_of(node.operand)
        return None if inner is None else -inner
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) else None


def tree_of(text: str, where: str) -> ast.expr:
    """The tree of an expression.

    Raises:
        DescriptionError: it is none.
    """
    try:
        return ast.parse(text.strip().replace("\n", " "), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DescriptionError(f"{where}: {short(text)} is not an expression ({type(error).__name__})") from None


def short(text: str) -> str:
    """A text in quotes, on one line, with its middle left out if it is long."""
    line = " ".join(str(text).split())
    return repr(line if len(line) <= 160 else f"{line[:100]} ... {line[-50:]}")


class Translator:
    """Trees of Brian's expressions as trees of ours.

    Args:
        lookup: name -> its node. call: (function, arguments) -> node, None for one that it does not know.
        text, where: for messages.
    """

    def __init__(self, lookup: Lookup, call: Call, text: str, where: str) -> None:
        self.lookup, self.call, self.text, self.where = lookup, call, text, where

    def fail(self, what: str) -> DescriptionError:
        return DescriptionError(f"{self.where}: {what}, in {short(self.text)}")

    def build(self, node: ast.expr, depth: int = 0) -> ast.expr:
        if depth > DEEPEST:
            raise self.fail(f"more than {DEEPEST} levels of brackets")
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            if not abs(node.value) < 1e300:
                raise self.fail("a number is too large")
            return number(float(node.value))
        if isinstance(node, ast.Name):
            for word in random_in(node):
                raise self.fail(f"{word} is random ({NO_NOISE})")
            return self.lookup(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self.build(node.operand, depth + 1)
            return value if isinstance(node.op, ast.UAdd) else _folded(ast.UnaryOp(ast.USub(), value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
            left, right = (self.build(n, depth + 1) for n in (node.left, node.right))
            return _folded(ast.BinOp(left, node.op, right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self.function(node.func.id, node.args, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.FloorDiv)):
            raise self.fail(f"{ast.unparse(node)!r} {NO_STEP}")
        if isinstance(node, (ast.Compare, ast.BoolOp)) or (isinstance(node, ast.UnaryOp)):
            raise self.fail(f"the condition {ast.unparse(node)!r} {NO_STEP}")
        raise self.fail(f"{ast.unparse(node)[:100]!r} is not arithmetic")

    def function(self, name: str, arguments: list[ast.expr], depth: int) -> ast.expr:
        if name == "int" and len(arguments) == 1 and isinstance(arguments[0], ast.Name):
            return self.lookup(arguments[0].id)  # of a variable that is 0 or 1
        if name in RANDOM:
            raise self.fail(f"{name}() is random ({NO_NOISE})")
        if name in STEPS:
            shown = ", ".join(map(ast.unparse, arguments))
            raise self.fail(f"{name}({shown[:100]}) {NO_STEP}")
        made = self.call(name, arguments)
        if made is not None:
            return made
        inner = [self.build(a, depth + 1) for a in arguments]
        if name in FUNCTIONS and len(inner) == 1:
            return ast.Call(ast.Name(name), inner, [])
        if name in REWRITTEN and len(inner) == 1:
            return ast.parse(REWRITTEN[name].format(f"({ast.unparse(inner[0])})"), mode="eval").body
        raise self.fail(f"the function {name} has no derivative here (those that do: {', '.join(FUNCTIONS)})")


STEPPED: dict[str, Callable[..., Any]] = {
    "int": np.trunc, "floor": np.floor, "ceil": np.ceil, "sign": np.sign, "clip": np.clip, "abs": np.abs,
    "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan, "exp": np.exp, "log": np.log, "log10": np.log10,
    "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
}  # fmt: skip
"""Functions of what is only computed, and needs no derivative."""
ARITHMETIC: dict[type, Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power,
    ast.Mod: np.mod, ast.FloorDiv: np.floor_divide, ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater,
    ast.GtE: np.greater_equal, ast.Eq: np.equal, ast.NotEq: np.not_equal, ast.USub: np.negative, ast.UAdd: np.positive,
    ast.Not: np.logical_not, ast.And: np.logical_and, ast.Or: np.logical_or,
}  # fmt: skip


class Numbers(Translator):
    """Expressions that are only computed, such as rates of inputs: with conditions and steps, too."""

    def build(self, node: ast.expr, depth: int = 0) -> ast.expr:
        if depth > DEEPEST:
            raise self.fail(f"more than {DEEPEST} levels of brackets")
        if isinstance(node, ast.Compare):
            parts = [self.build(part, depth + 1) for part in (node.left, *node.comparators)]
            if all(type(op) in ARITHMETIC for op in node.ops):
                return ast.Compare(parts[0], node.ops, parts[1:])
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(node.op, [self.build(part, depth + 1) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, self.build(node.operand, depth + 1))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.FloorDiv)):
            return ast.BinOp(self.build(node.left, depth + 1), node.op, self.build(node.right, depth + 1))
        return super().build(node, depth)

    def function(self, name: str, arguments: list[ast.expr], depth: int) -> ast.expr:
        if name in RANDOM:
            raise self.fail(f"{name}() is random; rates are numbers of t, i and TimedArrays")
        if name in STEPPED and len(arguments) == (3 if name == "clip" else 1):
            return ast.Call(ast.Name(name), [self.build(a, depth + 1) for a in arguments], [])
        made = self.call(name, arguments)
        if made is None:
            raise self.fail(f"the function {name} is not known here (those that are: {', '.join(STEPPED)})")
        return made


def computed(node: ast.expr, values: Mapping[str, Any], where: str) -> np.ndarray:
    """What a tree of `Numbers` is for these values of its names."""
    with np.errstate(all="ignore"):
        result = np.asarray(_computed(node, values), dtype=np.float64)
    if not np.isfinite(result).all():
        raise DescriptionError(f"{where}: {short(text_of(node))} is not a finite number")
    return result


def _computed(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        return ARITHMETIC[type(node.op)](_computed(node.operand, values))
    if isinstance(node, ast.BinOp):
        left = np.asarray(_computed(node.left, values), dtype=np.float64)  # a condition counts as 0 or 1
        return ARITHMETIC[type(node.op)](left, np.asarray(_computed(node.right, values), dtype=np.float64))
    if isinstance(node, ast.BoolOp):
        return functools.reduce(ARITHMETIC[type(node.op)], [_computed(part, values) for part in node.values])
    if isinstance(node, ast.Compare):
        parts = [_computed(part, values) for part in (node.left, *node.comparators)]
        held = [ARITHMETIC[type(op)](a, b) for op, a, b in zip(node.ops, parts, parts[1:])]
        return functools.reduce(np.logical_and, held)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return STEPPED[node.func.id](*(np.asarray(_computed(a, values), dtype=np.float64) for a in node.args))


def _folded(node: ast.expr) -> ast.expr:
    """Products, quotients and powers of two numbers as one; 0 times anything as 0.

    A factor of 1 stays: it was a unit, as in exp(v / mV), and says so to the check of units.
    """
    if isinstance(node, ast.UnaryOp):
        value = value_of(node.operand)
        return node if value is None else number(-value)
    assert isinstance(node, ast.BinOp)
    left, right = value_of(node.left), value_of(node.right)
    if isinstance(node.op, ast.Mult) and 0 in (left, right):
        return number(0)
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if isinstance(node.op, ast.Mult) and isinstance(one, ast.Constant) and one.value is True:
            return other  # int(not_refractory) * (...)
    if left is None or right is None or isinstance(node.op, (ast.Add, ast.Sub)):
        return node
    try:
        value = left * right if isinstance(node.op, ast.Mult) else left / right
        value = left**right if isinstance(node.op, ast.Pow) else value
    except (ZeroDivisionError, OverflowError):
        return node
    return node if isinstance(value, complex) or not math.isfinite(value) else number(_tidy(value))


def _tidy(value: float) -> float:
    rounded = float(f"{value:.15g}")
    return rounded if math.isclose(value, rounded, rel_tol=1e-15) else value


STATEMENT = re.compile(r"^\s*([A-Za-z_]\w*)\s*(\+=|-=|\*=|/=|=)(?!=)\s*(.+?)\s*$", re.DOTALL)
_OPERATORS: dict[str, ast.operator] = {"+=": ast.Add(), "-=": ast.Sub(), "*=": ast.Mult(), "/=": ast.Div()}


def statements(code: str, where: str) -> list[tuple[str, str, str]]:
    """(variable, operator, right-hand side) of each line of a reset or of on_pre.

    Raises:
        DescriptionError: a line that is no assignment.
    """
    lines: list[str] = []
    for line in re.split(r"[\n;]", "\n".join(line.partition("#")[0] for line in code.split("\n"))):
        # a line that goes on in the next one has an open bracket
        if lines and lines[-1].count("(") > lines[-1].count(")"):
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
    found = []
    for line in lines:
        match = STATEMENT.match(line)
        if match is None:
            raise DescriptionError(f"{where}: {short(line)} is not an assignment such as 'v = v_reset' or 'ge += w'")
        found.append((match[1], match[2], match[3]))
    return found


def applied(left: ast.expr, operator: str, right: ast.expr) -> ast.expr:
    """What `left` is after ``left operator right``."""
    return right if operator == "=" else ast.BinOp(left, _OPERATORS[operator], right)


def text_of(node: ast.expr) -> str:
    """A tree as text; what is true is 1."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and part.value is True:
            part.value = 1
    return ast.unparse(ast.fix_missing_locations(node))


def linear(node: ast.expr, u: str) -> tuple[ast.expr | None, ast.expr | None] | None:
    """(rest, amount) of an expression rest + amount u, None for 0; None if it is not of that form."""
    if u not in names_in(node):
        return node, None
    if isinstance(node, ast.Name):
        return None, number(1)
    if isinstance(node, ast.UnaryOp):
        return _both(linear(node.operand, u), lambda part: ast.UnaryOp(ast.USub(), part))
    if not isinstance(node, ast.BinOp):
        return None
    left, right, op = node.left, node.right, node.op
    if isinstance(op, (ast.Add, ast.Sub)):
        a, b = linear(left, u), linear(right, u)
        return None if a is None or b is None else (_sum(a[0], op, b[0]), _sum(a[1], op, b[1]))
    if isinstance(op, (ast.Mult, ast.Div)) and u not in names_in(right):
        return _both(linear(left, u), lambda part: ast.BinOp(part, op, right))
    if isinstance(op, ast.Mult) and u not in names_in(left):
        return _both(linear(right, u), lambda part: left if value_of(part) == 1 else ast.BinOp(left, op, part))
    return None


def _both(
    parts: tuple[ast.expr | None, ast.expr | None] | None, change: Callable[[ast.expr], ast.expr]
) -> tuple[ast.expr | None, ast.expr | None] | None:
    if parts is None:
        return None
    return (None if parts[0] is None else change(parts[0])), (None if parts[1] is None else change(parts[1]))


def _sum(a: ast.expr | None, op: ast.operator, b: ast.expr | None) -> ast.expr | None:
    if b is None:
        return a
    if a is None:
        return ast.UnaryOp(ast.USub(), b) if isinstance(op, ast.Sub) else b
    return ast.BinOp(a, op, b)


def random_in(node: ast.expr) -> list[str]:
    """What an expression draws, as it stands in it."""
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and (part.id == "xi" or part.id.startswith("xi_")):
            found.append(part.id)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in RANDOM:
            found.append(f"{part.func.id}()")
    return found


def names_in(node: ast.expr) -> set[str]:
    """Names that are no functions."""
    calls = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in calls}


def evaluated(node: ast.expr, values: Mapping[str, Any], where: str) -> np.ndarray:
    """The number, or array of numbers, that an expression is for these values of its names."""
    used = sorted(names_in(node))
    if changing := [n for n in used if n not in values]:
        raise DescriptionError(f"{where}: {changing[0]} changes, where a number is needed, in {short(text_of(node))}")
    expression = parse(text_of(node), {n: symbol(n) for n in used}, where)
    with np.errstate(all="ignore"):
        result = np.asarray(numpy_function([symbol(n) for n in used], expression)(*(values[n] for n in used)))
    if result.dtype.kind not in "iuf" or not np.isfinite(result).all():
        raise DescriptionError(f"{where}: {short(text_of(node))} is not a finite number")
    return result.astype(np.float64)
