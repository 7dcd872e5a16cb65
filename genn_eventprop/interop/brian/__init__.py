"""Models and networks of Brian 2 (extra ``[brian]``, docs/from_brian.md).

    network, values = from_brian(brian_network)      or from_brian(neuron_group)

    read: objects of Brian -> `read_neurons` (equations as models; `read_expressions`, `read_units`) and `read_synapses`
          (connections), `read_inputs` (data) -> `Imported`
    write: a network with values -> the texts of groups (`write_neuron`) and synapses -> `BrianScript`
    fitter: brian2modelfitting's interface to `fit`

The package brian2 is imported when one of these is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fitter import GammaFactor, MSEMetric, SpikeFitter, TraceFitter
    from .read import Imported, from_brian
    from .write import BrianScript, to_brian

_FILES = {
    "BrianScript": "write",
    "GammaFactor": "fitter",
    "Imported": "read",
    "MSEMetric": "fitter",
    "SpikeFitter": "fitter",
    "TraceFitter": "fitter",
    "from_brian": "read",
    "to_brian": "write",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BrianScript",
    "GammaFactor",
    "Imported",
    "MSEMetric",
    "SpikeFitter",
    "TraceFitter",
    "from_brian",
    "to_brian",
]
