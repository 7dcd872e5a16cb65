"""Models and networks of Brian 2 (extra ``[brian]``, docs/from_brian.md).

    network, values = from_brian(brian_network)      or from_brian(neuron_group)

    read: objects of Brian -> `read_neurons` (equations as models; `read_expressions`, `read_units`) and `read_synapses`
          (connections), `read_inputs` (data) -> `Imported`

The package brian2 is imported when one of these is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .read import Imported, from_brian

_FILES = {
    "Imported": "read",
    "from_brian": "read",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Imported", "from_brian"]
