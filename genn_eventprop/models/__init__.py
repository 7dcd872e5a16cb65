"""Neuron models, one small file each: equations, parameters, units, source. `ZOO`: name -> model, all of them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genn_eventprop import NeuronModel

# name -> file; read when a model is asked for, since checking all of them takes longer than most commands
_FILES = {
    "LIF": "lif",
    "LIFDelta": "lif_delta",
    "LIFAlpha": "lif_alpha",
    "LIFDoubleExponential": "lif_double_exponential",
    "LIFConductance": "lif_conductance",
    "LIFRefractory": "lif_refractory",
    "LIFRelativeReset": "lif_relative_reset",
    "ALIF": "alif",
    "SEAdLIF": "se_adlif",
    "QIF": "qif",
    "Theta": "theta",
    "EIF": "eif",
    "AdEx": "adex",
    "Izhikevich": "izhikevich",
    "IzhikevichFast": "izhikevich",
    "IzhikevichBursting": "izhikevich",
    "BalancedRF": "resonate_and_fire",
    "TwoCompartment": "two_compartment",
    "LI": "li",
    "LIAdaptive": "li_adaptive",
}


class _Zoo(Mapping[str, "NeuronModel"]):
    def __getitem__(self, name: str) -> "NeuronModel":
        model: NeuronModel = getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
        return model

    def __iter__(self) -> Iterator[str]:
        return iter(_FILES)

    def __len__(self) -> int:
        return len(_FILES)


ZOO: Mapping[str, "NeuronModel"] = _Zoo()


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return ZOO[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})


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
