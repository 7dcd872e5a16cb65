"""Records of what is handed to GeNN, as text: neuron models, weight updates, the networks made of them.

Pure data: nothing here needs pygenn. `forward.py` and `backward.py` fill these records from a plan, `network.py` gives
them to pygenn, `show.py` prints them, and the tests execute them without GeNN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...codegen.values import Value
from ...errors import EngineError
from ...plan import PopulationRecord

# Written by the host, one value a neuron and example / written by the neuron / one value a neuron, for all examples.
GIVEN, OWN, SHARED = "READ_ONLY_DUPLICATE", "READ_WRITE", "READ_ONLY"

# Names that the generated code uses itself, or that GeNN defines; a model's states and parameters must not use them.
TAKEN = frozenset(
    "t dt id batch num_neurons num_batch Isyn scalar step start lead n_steps n_spikes n_guarded capacity ms_per_step "
    "least_rise guarded_inverse base slot rise guarded next next_step spike_step inverse_slope feedback dl_dt inv_gdot "
    "dr readout max_step max_slope max_kink larger kink first_lambda time_weight integrand_weight gradient weight "
    "count begin end".split()
)
TAKEN_STARTS = ("G_", "D_", "spike_", "arrived_", "tmp_")


@dataclass(frozen=True)
class NeuronText:
    """One GeNN neuron model.

    params: (name, type), all dynamic: they change without compiling. vars: (name, type, access). arrays: (name, type)
    of extra global parameters. inputs: additional input variables. values: the named numbers of the model
    (`codegen.values`) that the code uses; those with one value a neuron are among `vars`, the others among `params`.
    """

    params: tuple[tuple[str, str], ...]
    vars: tuple[tuple[str, str, str], ...]
    arrays: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    sim_code: str
    threshold_condition_code: str = ""
    reset_code: str = ""
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class WeightUpdateText:
    """One GeNN weight update model; pre_refs, post_refs: (name in the code, type, variable of the neuron)."""

    vars: tuple[tuple[str, str, str], ...]
    pre_refs: tuple[tuple[str, str, str], ...]
    post_refs: tuple[tuple[str, str, str], ...]
    pre_spike_syn_code: str


@dataclass(frozen=True)
class SynapseText:
    """A connection: dense, with the input variable it acts on, and its delay in steps.

    delay: of spikes on their way (GeNN's axonal delay). look_back: how many steps old the target's variables are that
    the code reads (GeNN's back-propagation delay).
    """

    source: str
    target: str
    update: WeightUpdateText
    post_input: str = ""
    pre_input: str = ""
    delay: int = 0
    look_back: int = 0


@dataclass(frozen=True)
class NetworkText:
    """A GeNN model: populations with their sizes, connections; `reduced`: connections whose gradient is summed."""

    name: str
    populations: dict[str, tuple[int, NeuronText]] = field(default_factory=dict)
    synapses: dict[str, SynapseText] = field(default_factory=dict)

    @property
    def reduced(self) -> tuple[str, ...]:
        return tuple(n for n, s in self.synapses.items() if any(v[0] == "gradient" for v in s.update.vars))


# The postsynaptic model of every connection: what arrived in this step goes to the neuron, and is gone.
POSTSYNAPTIC_CODE = "injectCurrent(inSyn);\ninSyn = 0.0;\n"
# Sum of the examples' gradients, at the end of a batch.
REDUCE_CODE = "total = gradient;\ngradient = 0.0;\n"


def words(*code: str) -> set[str]:
    """The identifiers in code."""
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(code)))


def used_values(values: Iterable[Value], *code: str) -> tuple[Value, ...]:
    """The named numbers that the code uses."""
    names = words(*code)
    return tuple(v for v in values if v.name in names)


def used(declared: Iterable[tuple[str, ...]], *code: str) -> tuple[Any, ...]:
    """The declarations (name first) whose names stand in the code; GeNN gives no memory to others."""
    names = words(*code)
    return tuple(d for d in declared if d[0] in names)


def value_params(values: tuple[Value, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((v.name, "scalar") for v in values if not v.per_neuron)


def value_vars(values: tuple[Value, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((v.name, "scalar", SHARED) for v in values if v.per_neuron)


def indent(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines() if line.strip())


def check_names(p: PopulationRecord) -> None:
    """Raise `EngineError` where a state or parameter has a name that the generated code needs."""
    clash = [n for n in (*p.derived.states, *p.derived.params) if n in TAKEN or n.startswith(TAKEN_STARTS)]
    if clash:
        raise EngineError(
            f"population {p.name!r}: {p.derived.model.name} has a state or parameter called {', '.join(clash)}, a name "
            "that the genn engine's code uses itself; rename it, or use engine='native'"
        )
