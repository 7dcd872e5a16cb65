"""`cuda`: a whole trial in one kernel, a thread block a sample; spikes on the grid."""

from .engine import CudaEngine

__all__ = ["CudaEngine"]
