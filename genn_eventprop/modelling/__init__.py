"""What a user writes: models as equations, networks of populations, where parameters start."""

from .network import Connection, Dense, Input, Network, Population
from .neuron import Event, Mode, Neuron, NeuronModel, SynapseModel
from .parameters import Array, Constant, FanIn, Gamma, Initialiser, Normal, Param, Uniform

__all__ = [
    "Array",
    "Connection",
    "Constant",
    "Dense",
    "Event",
    "FanIn",
    "Gamma",
    "Initialiser",
    "Input",
    "Mode",
    "Network",
    "Neuron",
    "NeuronModel",
    "Normal",
    "Param",
    "Population",
    "SynapseModel",
    "Uniform",
]
