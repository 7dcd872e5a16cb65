"""The step of a model as text of one dialect; `program/step.py` says what a step is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from ..adjoint import Derived
from ..modelling.expressions import symbol
from ..program.nodes import Let
from ..program.step import DT, Locals, make_step
from ..program.step import pick as pick_mode
from .printer import Dialect, expression

MODE = "mode"  # the number of the neuron's mode, a floating-point number in loops over neurons


@dataclass(frozen=True)
class StepText:
    """forward: x <- Phi(x). stages: code that the transposed step needs first; it reads the states at the start of the
    step and lambda at its end. rates: parameter -> expression, what the step adds to its gradient. adjoint: lambda."""

    forward: str
    stages: str
    rates: dict[str, str]
    adjoint: str


def step_text(d: Derived, dialect: Dialect, learned: tuple[str, ...]) -> StepText:
    """The step of a model.

    Args:
        learned: parameters to write gradients for.
    """
    step = make_step(d, learned, Locals(dialect.temporary, frozenset(dialect.spelled)))
    ends, back = ([_print(e, dialect) for e in values] for values in (step.ends, step.back))
    return StepText(
        forward=_declare(step.forward, dialect) + "\n" + _assign(d.states, ends),
        stages=_declare(step.stages, dialect), rates={n: _print(e, dialect) for n, e in step.rates.items()},
        adjoint=_assign([f"lambda_{s}" for s in d.states], back),
    )  # fmt: skip


def _print(e: sp.Expr, dialect: Dialect) -> str:
    return expression(e.subs(DT, symbol(dialect.step)), dialect)


def _declare(lines: Iterable[Let], dialect: Dialect) -> str:
    return "\n".join(f"{dialect.declare} {line.target} = {_print(line.value, dialect)};" for line in lines)


def _assign(targets: Iterable[str], values: list[str]) -> str:
    return "\n".join(f"{t} = {v};" for t, v in zip(targets, values) if t != v)


def pick(values: list[sp.Expr], dialect: Dialect) -> str:
    """The value of the neuron's mode."""
    return expression(pick_mode(values), dialect)
