"""Readouts, one file each; `losses.kinds` has a line for each, which names its class."""

from importlib import import_module

from ...losses.kinds import READOUTS
from ..scope import Scope
from .base import Readout
from .several import Several


def readout_class(name: str) -> type[Readout]:
    """The class of the readout called `name`."""
    file, _, found = READOUTS[name].code.rpartition(".")
    return getattr(import_module(f".{file}", __package__), found)


def make_readout(scope: Scope) -> Readout:
    """What a loss reads of the population of `scope`."""
    plan = scope.plan
    own = readout_class(plan.loss.readout)(plan, scope)
    others = [readout_class(name)(plan, scope, name) for name in plan.loss.also]
    return Several(plan, scope, [own, *others]) if others else own


__all__ = ["Readout", "make_readout", "readout_class"]
