"""Exact gradients of spiking networks by EventProp: write a neuron as equations, train it, check its gradient."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Currents, Events, Inputs
    from .deploy import load
    from .fitting import Recording, fit, simulate
    from .modelling import (
        Connection,
        Conv1D,
        Conv2D,
        Delay,
        Dense,
        Event,
        FanIn,
        Gamma,
        Grouped,
        Mode,
        Network,
        NeuronModel,
        Normal,
        OneToOne,
        Param,
        Pool2D,
        Population,
        Sparse,
        SynapseModel,
        Uniform,
    )
    from .training import Trainer

__version__ = "0.2.0"
__all__ = [
    "Connection",
    "Conv1D",
    "Conv2D",
    "Currents",
    "Delay",
    "Dense",
    "Event",
    "Events",
    "FanIn",
    "Gamma",
    "Grouped",
    "Inputs",
    "Mode",
    "Network",
    "NeuronModel",
    "Normal",
    "OneToOne",
    "Param",
    "Pool2D",
    "Population",
    "Recording",
    "Sparse",
    "SynapseModel",
    "Trainer",
    "Uniform",
    "fit",
    "load",
    "simulate",
]
# kept out of the first import, which is then quick: they pull in sympy, the engines, matplotlib, data readers
_LATER = dict.fromkeys(__all__, "modelling") | dict.fromkeys(("Currents", "Events", "Inputs"), "data")
_LATER |= {"Trainer": "training", "load": "deploy"}
_LATER |= dict.fromkeys(("Recording", "fit", "simulate"), "fitting")
_ROOMS = (
    "data",
    "deploy",
    "description",
    "engines",
    "experiment",
    "experiments",
    "fitting",
    "integer",
    "losses",
    "modelling",
    "models",
    "nir",
    "optimisers",
    "regularisers",
    "report",
    "training",
    "verify",
)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
