"""The user's description: models as equations, networks of populations, where parameters start."""

from ..arguments import explain
from ..errors import ModelError, NetworkError
from .connectivity import Connectivity, Conv1D, Conv2D, Dense, Grouped, OneToOne, Pool2D, Sparse, Synapses
from .delay import Delay
from .network import Connection, Current, Input, Network, Population
from .neuron import Event, Mode, Neuron, NeuronModel, SynapseModel
from .parameters import Array, Constant, FanIn, FromData, Gamma, Initialiser, Normal, Param, Uniform

__all__ = [
    "Array",
    "Connection",
    "Connectivity",
    "Constant",
    "Conv1D",
    "Conv2D",
    "Current",
    "Delay",
    "Dense",
    "Event",
    "FanIn",
    "FromData",
    "Gamma",
    "Grouped",
    "Initialiser",
    "Input",
    "Mode",
    "Network",
    "Neuron",
    "NeuronModel",
    "Normal",
    "OneToOne",
    "Param",
    "Pool2D",
    "Population",
    "Sparse",
    "SynapseModel",
    "Synapses",
    "Uniform",
]

explain(globals(), ("Event", "Mode", "Neuron", "NeuronModel", "SynapseModel"), ModelError)
explain(globals(), __all__, NetworkError)
