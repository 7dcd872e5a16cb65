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


def make_readout(scope: Scope, split: bool = True) -> Readout:
    """What a loss reads of the population of `scope`; a trial that is not split has no use for more than its own."""
    plan = scope.plan
    own = readout_class(plan.loss.readout)(plan, scope)
    others = [readout_class(name)(plan, scope, name) for name in plan.loss.also] if split else []
    return Several(plan, scope, [own, *others]) if others else own


__all__ = ["Readout", "Several", "make_readout", "readout_class"]
