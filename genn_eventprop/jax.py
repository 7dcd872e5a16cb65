"""A network as a function for JAX, with exact gradients: `EventProp`. Needs the extra ``[jax]``."""

from .arguments import explain
from .errors import SettingError
from .interop.jax_layer import EventProp, Output

__all__ = ["EventProp", "Output"]

explain(globals(), ("EventProp",), SettingError, methods=False)
