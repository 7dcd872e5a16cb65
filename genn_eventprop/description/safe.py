"""What a description from others may contain.

A description becomes C++ that is compiled and run. Its equations are arithmetic that `modelling.expressions` parses
without evaluating Python, and the code is derived from them, so nothing can be executed that is not arithmetic. Looked
at here is what is left: names that would end up in the code as they are, texts that would break out of a comment (which
nobody may write, trusted or not), and arithmetic that never ends (9**9**9). Hand-written snippets are C text and
refused altogether.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import DescriptionError, check_known, is_number, is_whole
from ..modelling.names import TITLE_RULE, is_title

LONGEST = 4000  # characters of an expression
DEEPEST = 60  # levels of brackets
NESTED = 4  # functions within functions
POWER = 16  # largest exponent
TERMS = 2000  # of an expression that is multiplied out
SIZE = 1 << 24  # neurons of a population
_EXPRESSION = re.compile(r"[A-Za-z0-9_ .+\-*/(),]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_LABEL = re.compile(r"[\w .,:;()\[\]<>+=/µΩ^*-]{0,200}")
_COMMENT = re.compile(r"\*/|/\*|//")


class Guard:
    """Checks of one document; `trust` leaves out those that only a foreign one needs."""

    def __init__(self, trust: bool) -> None:
        self.trust = trust

    def known(self, record: Any, known: Any, where: str, free: Iterable[str] = ()) -> None:
        """No key that nobody reads: a newer version may have written it, and the model would be another one.

        Args:
            known: what was built from the record, described again.
            free: keys of dictionaries whose own keys may be any.
        """
        if isinstance(record, Mapping) and isinstance(known, Mapping):
            for key, value in record.items():
                check_known(key, known, DescriptionError, f"{where}: unknown key {key!r}; ")
                if key not in free:
                    self.known(value, known[key], f"{where}, {key!r}", free)
        elif isinstance(record, list) and isinstance(known, list):
            for value, other in zip(record, known):
                self.known(value, other, where, free)

    def name(self, value: Any, where: str) -> str:
        """A name that becomes part of names in the code."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise DescriptionError(f"{where}: {value!r} is not a name; ASCII letters, digits and underscores")
        return value

    def label(self, value: Any, where: str) -> str:
        """A text for people, a unit say: one line without special characters."""
        plain_text = isinstance(value, str) and (self.trust or (_LABEL.fullmatch(value) and not _COMMENT.search(value)))
        if not plain_text:
            raise DescriptionError(f"{where}: {value!r} is not a short text on one line")
        return str(value)

    def title(self, value: Any, where: str) -> str:
        """The name of a model, an event or a mode, which comments of the code show."""
        if not is_title(value):
            raise DescriptionError(f"{where}: {value!r} is not a short text on one line: {TITLE_RULE}")
        return str(value)

    def size(self, value: Any, where: str) -> int:
        """A number of neurons or channels."""
        if not is_whole(value, 1) or value > SIZE:
            raise DescriptionError(f"{where}: the size must be an integer from 1 to {SIZE}, got {value!r}")
        return value

    def number(self, value: Any, where: str) -> float:
        """A finite number, as it was written."""
        if not is_number(value) or not math.isfinite(value):
            raise DescriptionError(f"{where}: expected a finite number, got {value!r}")
        return value

    def snippets(self, value: dict[str, str], where: str) -> dict[str, str]:
        """Hand-written C text."""
        if value and not self.trust:
            raise DescriptionError(
                f"{where} has hand-written code ({', '.join(map(str, value))}), which would be compiled and run; if "
                "you trust its author, pass --trust (in Python: trust=True)"
            )
        return dict(value)

    def expression(self, value: Any, where: str) -> str | float | int:
        """Arithmetic that is short enough to be evaluated.

        Raises:
            DescriptionError: naming what is not allowed.
        """
        if not isinstance(value, str):
            return self.number(value, where)
        if self.trust:
            return value
        if len(value) > LONGEST or not _EXPRESSION.fullmatch(value):
            raise DescriptionError(f"{where}: {value[:80]!r} is not an expression of names, numbers and + - * / **")
        depth = deepest = 0
        for letter in value:
            depth += (letter == "(") - (letter == ")")
            deepest = max(deepest, depth)
        if deepest > DEEPEST:
            raise DescriptionError(f"{where}: more than {DEEPEST} nested brackets")
        try:
            tree = ast.parse(value.strip(), mode="eval").body
            _look(tree, 0)
            _terms(tree)
        except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            raise DescriptionError(f"{where}: {value[:80]!r} cannot be used ({error})") from None
        return value


def _look(node: ast.expr, nested: int) -> float | None:
    """The value of a part without names, in floating point; None for one with names.

    Raises:
        ValueError, OverflowError, ZeroDivisionError: what would take for ever to work out, or is not arithmetic.
    """
    value: float | None = None
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value = float(node.value)  # type: ignore[arg-type]
    elif isinstance(node, ast.UnaryOp):
        value = _look(node.operand, nested)
    elif isinstance(node, ast.Call):
        if nested == NESTED:
            raise ValueError(f"more than {NESTED} nested functions")
        for argument in node.args:
            _look(argument, nested + 1)
    elif isinstance(node, ast.BinOp):
        left, right = _look(node.left, nested), _look(node.right, nested)
        if isinstance(node.op, ast.Pow):
            _check_power(node, right)
        value = None if left is None or right is None else _worked_out(node.op, left, right)
    elif not isinstance(node, ast.Name):
        raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{ast.unparse(node)} is not finite")
    return value


def _terms(node: ast.expr) -> int:
    """How many terms a part has once it is multiplied out, at most.

    Raises:
        ValueError: more than `TERMS`: (a + b + c + d + e + f)**16 would not end.
    """
    count = 1
    if isinstance(node, ast.UnaryOp):
        count = _terms(node.operand)
    elif isinstance(node, ast.Call):
        for argument in node.args:
            _terms(argument)
    elif isinstance(node, ast.BinOp):
        left, right = _terms(node.left), _terms(node.right)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            count = left + right
        elif isinstance(node.op, ast.Mult):
            count = left * right
        else:
            exponent = node.right.value if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) else 1
            count = math.comb(left + math.ceil(float(exponent)) - 1, left - 1)  # type: ignore[arg-type]
    if count > TERMS:
        raise ValueError(f"{ast.unparse(node)[:80]!r} has more than {TERMS} terms when expanded")
    return count


def _check_power(node: ast.BinOp, exponent: float | None) -> None:
    """An exponent is a small number or a name: V / V is 1 before anybody looks, so 9**(9**9 * V / V) is huge."""
    bare = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not isinstance(bare, (ast.Name, ast.Constant)) or abs(exponent or 0.0) > POWER:
        raise ValueError(f"the exponent {ast.unparse(node.right)} must be a name or a number up to {POWER}")
    if any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow) for part in ast.walk(node.left)):
        raise ValueError("a power of a power; multiply the exponents")


def _worked_out(operation: ast.operator, left: float, right: float) -> float:
    if isinstance(operation, ast.Pow):
        return float(left**right)
    if isinstance(operation, ast.Div):
        return left / right
    if isinstance(operation, ast.Mult):
        return left * right
    return left - right if isinstance(operation, ast.Sub) else left + right


def plain(text: Any) -> Any:
    """An expression as it is written to a description: a text over several lines, or with remarks, in one."""
    if isinstance(text, str) and not _EXPRESSION.fullmatch(text):
        return ast.unparse(ast.parse(text.strip(), mode="eval"))
    return text
