"""`reference_event`: NumPy float64, event by event; the reference for gradients."""

from .engine import ReferenceEvent

__all__ = ["ReferenceEvent"]
