"""A network as a function for JAX, with exact gradients: `EventProp`. Needs the extra ``[jax]``."""

from .interop.jax_layer import EventProp, Output

__all__ = ["EventProp", "Output"]
