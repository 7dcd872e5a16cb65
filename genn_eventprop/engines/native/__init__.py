"""`native`: generated C++, a batch forwards and backwards in one call; samples on threads, neurons on SIMD lanes."""

from .engine import NativeEngine

__all__ = ["NativeEngine"]
