"""Networks to and from NIR files (extra ``[nir]``), see docs/nir.md.

graph = to_nir(network, values)                     nir.write("model.nir", graph)
network, values, lost = from_nir("model.nir")       or from_nir(graph)
"""

from .interop.nir_graph import Imported, from_nir, lost, to_nir

__all__ = ["Imported", "from_nir", "lost", "to_nir"]
