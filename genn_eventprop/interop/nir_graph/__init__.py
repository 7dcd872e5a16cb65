"""Networks to and from NIR, the graphs of differential equations that simulators and chips exchange.

    read: NIR graph -> `flat` (nested graphs opened) -> `paths` (linear nodes between neurons as one matrix a delay)
          -> `neurons` (units and equations, by `dialects`) -> `Imported`
    write: network and values -> NIR graph

The public names are in `genn_eventprop.nir`; the package nir is imported when one of them is used.
"""

from .read import Imported, from_nir
from .write import lost, to_nir

__all__ = ["Imported", "from_nir", "lost", "to_nir"]
