"""The text form of an optimiser: elementwise assignments that mean the same in Python, NumPy and C.

Allowed are `name = expression` lines with + - * /, unary minus, numbers, names and the functions of `FUNCTIONS`.
There is no power (`**` and `^` differ between the languages; write `g * g`) and no division of two integers
(C would round it).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from ..errors import SettingError, check_known

FUNCTIONS: dict[str, Callable[..., Any]] = {"sqrt": np.sqrt, "fabs": np.abs, "fmin": np.fmin, "fmax": np.fmax}


def check_text(code: str, known: Iterable[str], where: str) -> tuple[str, ...]:
    """Check that `code` is in the common subset; return its local names in order of first assignment.

    Args:
        code: the assignments, one a line.
        known: names that may be read from the start: `x`, `g`, the state and the scalars.
        where: words for the message, e.g. ``"Adam"``.

    Raises:
        SettingError: naming the line and what is wrong with it.
    """
    readable, assigned = set(known), []
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise SettingError(f"{where}: line {error.lineno} of the update is not an assignment ({error.msg})") from None
    for line in tree.body:
        if not (isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name)):
            raise SettingError(f"{where}: {ast.unparse(line)!r} is not of the form 'name = expression'")
        _check_expression(line.value, readable, f"{where}: {ast.unparse(line)!r}")
        name = line.targets[0].id
        if name not in readable:
            assigned.append(name)
        readable.add(name)
    return tuple(assigned)


def _check_expression(node: ast.expr, readable: set[str], where: str) -> None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        if isinstance(node.op, ast.Div) and _whole(node.left) and _whole(node.right):
            raise SettingError(f"{where}: a division of two integers is rounded in C; write 1.0 instead of 1")
        _check_expression(node.left, readable, where)
        _check_expression(node.right, readable, where)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _check_expression(node.operand, readable, where)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        check_known(node.func.id, FUNCTIONS, SettingError, f"{where}: unknown function {node.func.id!r}; ")
        for argument in node.args:
            _check_expression(argument, readable, where)
    elif isinstance(node, ast.Name):
        check_known(node.id, readable, SettingError, f"{where}: unknown name {node.id!r}; ")
    elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        raise SettingError(f"{where}: {ast.unparse(node)!r} is not elementwise arithmetic common to Python and C")


def _whole(node: ast.expr) -> bool:
    """True for arithmetic that C does in integers, e.g. `1` or `(1 + 2)`."""
    if isinstance(node, ast.BinOp):
        return _whole(node.left) and _whole(node.right)
    if isinstance(node, ast.UnaryOp):
        return _whole(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) is int


@lru_cache(maxsize=64)
def _compiled(code: str) -> CodeType:
    return compile(code, "<optimiser>", "exec")


def execute(code: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run the assignments on NumPy arrays and return every name afterwards; the arrays given are not changed."""
    namespace = dict(names)
    exec(_compiled(code), {"__builtins__": {}, **FUNCTIONS}, namespace)  # noqa: S102 - text checked by check_text
    return namespace
