"""Neuron models, one small file each: equations, parameters, units, source. `ZOO`: name -> model, all of them."""

from genn_eventprop import NeuronModel

from .adex import AdEx
from .alif import ALIF
from .eif import EIF
from .izhikevich import Izhikevich, IzhikevichBursting, IzhikevichFast
from .li import LI
from .li_adaptive import LIAdaptive
from .lif import LIF
from .lif_alpha import LIFAlpha
from .lif_conductance import LIFConductance
from .lif_delta import LIFDelta
from .lif_double_exponential import LIFDoubleExponential
from .lif_refractory import LIFRefractory
from .lif_relative_reset import LIFRelativeReset
from .qif import QIF
from .resonate_and_fire import BalancedRF
from .se_adlif import SEAdLIF
from .theta import Theta
from .two_compartment import TwoCompartment

_ALL = (
    LIF, LIFDelta, LIFAlpha, LIFDoubleExponential, LIFConductance, LIFRefractory, LIFRelativeReset, ALIF, SEAdLIF, QIF,
    Theta, EIF, AdEx, Izhikevich, IzhikevichFast, IzhikevichBursting, BalancedRF, TwoCompartment, LI, LIAdaptive,
)  # fmt: skip
ZOO: dict[str, NeuronModel] = {model.name: model for model in _ALL}
__all__ = [
    "ZOO",
    "AdEx",
    "ALIF",
    "BalancedRF",
    "EIF",
    "Izhikevich",
    "IzhikevichBursting",
    "IzhikevichFast",
    "LI",
    "LIAdaptive",
    "LIF",
    "LIFAlpha",
    "LIFConductance",
    "LIFDelta",
    "LIFDoubleExponential",
    "LIFRefractory",
    "LIFRelativeReset",
    "QIF",
    "SEAdLIF",
    "Theta",
    "TwoCompartment",
]
