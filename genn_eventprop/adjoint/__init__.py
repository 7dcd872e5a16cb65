"""From the equations f, g, h of a model to its adjoint system, jumps and exact propagators (docs/equations.md)."""

from .derive import Derived, DerivedEvent, DerivedMode, derive
from .propagator import Propagator, expm

__all__ = ["Derived", "DerivedEvent", "DerivedMode", "Propagator", "derive", "expm"]
