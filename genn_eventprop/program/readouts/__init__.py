"""Readouts, one file each; `losses.kinds` has a line for each, which names its class."""

from importlib import import_module

from ...losses.kinds import READOUTS
from ..scope import Scope
from .base import Readout
from .several import Several


def readout_class(name: str) -> type[Readout]:
    """The class of the readout called `name`."""
    file, _, class_name = READOUTS[name].code.rpartition(".")
    return getattr(import_module(f".{file}", __package__), class_name)


def make_readout(scope: Scope, split: bool = True) -> Readout:
    """What a loss reads of the population of `scope`; further readouts only in a split trial, for its host."""
    plan = scope.plan
    main = readout_class(plan.loss.readout)(plan, scope)
    others = [readout_class(name)(plan, scope, name) for name in plan.loss.also] if split else []
    return Several(plan, scope, [main, *others]) if others else main


__all__ = ["Readout", "Several", "make_readout", "readout_class"]
