"""Exact gradients for spiking neural networks (EventProp)."""

__version__ = "0.1.0"
