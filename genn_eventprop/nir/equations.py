"""The neurons of NIR as models: those of the zoo where they say it all, and with rest, start and bias of their own.

R is part of the weights: I here is R I there. `KINDS` is read in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..modelling import NeuronModel, Param
from ..models import LI, LIF, LIFDelta

_TAUS = {"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")}
_SPIKE = {"v_thresh": Param(1.0), "v_reset": Param(0.0)}
_REST = {"v_rest": Param(0.0), "v_start": Param(0.0)}

CubaLIF = NeuronModel(
    name="CubaLIF",
    state={"V": "v_start", "I": 0.0},
    params=_TAUS | _SPIKE | _REST | {"bias": Param(0.0)},
    dynamics={"V": "(v_rest + I - V) / tau_mem", "I": "(bias - I) / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
)
CubaLI = NeuronModel(
    name="CubaLI",
    state={"V": "v_start", "I": 0.0},
    params=_TAUS | _REST | {"bias": Param(0.0)},
    dynamics={"V": "(v_rest + I - V) / tau_mem", "I": "(bias - I) / tau_syn"},
    input="I",
)
DeltaLIF = NeuronModel(
    name="DeltaLIF",
    state={"V": "v_start"},
    params={"tau_mem": Param(20.0, "ms")} | _SPIKE | _REST,
    dynamics={"V": "(v_rest - V) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
DeltaLI = NeuronModel(
    name="DeltaLI",
    state={"V": "v_start"},
    params={"tau_mem": Param(20.0, "ms")} | _REST,
    dynamics={"V": "(v_rest - V) / tau_mem"},
    input="V",
)
IF = NeuronModel(
    name="IF",
    state={"V": "v_start"},
    params=_SPIKE | {"v_start": Param(0.0), "bias": Param(0.0, "1/ms")},
    dynamics={"V": "bias"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
Integrator = NeuronModel(
    name="Integrator",
    state={"V": "v_start"},
    params={"v_start": Param(0.0), "bias": Param(0.0, "1/ms")},
    dynamics={"V": "bias"},
    input="V",
)


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of neuron of NIR.

    Args:
        general: the model that says all of it. plain: the one of the zoo, if any, for v_rest = bias = 0 that starts
            at v_reset.
        tau_mem: what the membrane time constant is called in the file, "" without one. current: has a synapse.
    """

    general: NeuronModel
    plain: NeuronModel | None
    tau_mem: str
    current: bool = False

    @property
    def spiking(self) -> bool:
        return self.general.spiking


KINDS = {
    "CubaLIF": Kind(CubaLIF, LIF, "tau_mem", current=True),
    "CubaLI": Kind(CubaLI, LI, "tau_mem", current=True),
    "LIF": Kind(DeltaLIF, LIFDelta, "tau"),
    "LI": Kind(DeltaLI, None, "tau"),
    "IF": Kind(IF, None, ""),
    "I": Kind(Integrator, None, ""),
}
