"""Networks to and from NIR (extra ``[nir]``, docs/nir.md): graphs of equations that simulators and chips exchange.

    graph = to_nir(network, values)             save("model.nir", network, values)
    network, values = from_nir("model.nir")     or from_nir(graph)

    read: NIR graph -> `flat` (nested graphs opened) -> `paths` (linear nodes between neurons as one matrix a delay)
          -> `neurons` (units and equations, by `dialects`) -> `Imported`
    write: network and values -> NIR graph

The package nir is imported when one of these is called.
"""

from .read import Imported, from_nir
from .write import lost, save, to_nir

__all__ = ["Imported", "from_nir", "lost", "save", "to_nir"]
