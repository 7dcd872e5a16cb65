"""Records of the text given to GeNN: neuron models, weight updates, the networks made of them.

Pure data: nothing here needs pygenn. `trial.py` and `updates.py` fill these records from a plan, `network.py` gives
them to pygenn, `show.py` prints them, and the tests execute them without GeNN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...codegen.words import KEYWORDS, MACROS
from ...errors import EngineError
from ...plan import Plan, PopulationRecord
from ...plan.numbers import Value

# Written by the host, one value a neuron and example / written by the neuron / one value a neuron, for all examples.
GIVEN, OWN, SHARED = "READ_ONLY_DUPLICATE", "READ_WRITE", "READ_ONLY"

# Names that a neuron's code uses itself, or that GeNN defines; a model's states and parameters must not use them.
TAKEN = KEYWORDS | MACROS | frozenset(
    "t dt id batch num_neurons num_batch Isyn scalar step start lead turn back n_steps n_spikes n_guarded "
    "capacity ms_per_step least_rise guarded_inverse base slot rise guarded next next_step due spike_step "
    "inverse_slope feedback dl_dt inv_gdot dr readout max_step max_slope max_kink larger kink kink_now "
    "first_step spiked mode until n_events next_event next_event_step pending place ended end_term by_arrivals "
    "push_now along time_weight n_targets integrand_weight node_scale node_part node_value activity activity_before "
    "window window_last window_end "
    "target loss_part g T st prev_st set prev_set injectCurrent inSyn addToPre addToPost addToPostDelay "
    "for_each_synapse timepoint "
    "uint8_t int8_t uint16_t int16_t uint32_t int32_t uint64_t int64_t size_t gennrand".split()
)  # fmt: skip
TAKEN_STARTS = (
    "dL_", "push_", "spike_", "own_", "steps_", "arrived_", "g_before", "g_early", "tmp_", "k_", "gennrand_",
    "stochastic_", "kink_",
)  # fmt: skip


# Local names of the loss's custom updates: only the state that is read must not have one of them.
LOSS_NAMES = frozenset(
    "label top total right valid sample_weight known wanted p r score term slope weight sum first before after error y "
    "at j c".split()
)


@dataclass(frozen=True)
class NeuronText:
    """One GeNN neuron model.

    params: (name, type), all dynamic: they change without compiling. vars: (name, type, access). arrays: (name, type)
    of extra global parameters. inputs: additional input variables. values: the named numbers of the model
    (`plan.numbers`) that the code uses; those with one value a neuron are among `vars`, the others among `params`.
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
    """One GeNN weight update model; pre_refs, post_refs: (name in the code, type, variable of the neuron).

    Spikes are those of the forward pass, the events those that an adjoint neuron sends back.
    """

    vars: tuple[tuple[str, str, str], ...]
    pre_refs: tuple[tuple[str, str, str], ...]
    post_refs: tuple[tuple[str, str, str], ...]
    pre_spike_syn_code: str
    pre_event_threshold_condition_code: str = ""
    pre_event_syn_code: str = ""


@dataclass(frozen=True)
class SynapseText:
    """A connection: dense, with the input variable it acts on, and its delay in steps.

    The delay is GeNN's dendritic delay for spikes and its back-propagation delay for the target's variables, which an
    event reads as old as that.
    """

    source: str
    target: str
    update: WeightUpdateText
    post_input: str
    pre_input: str = ""
    delay: int = 0


@dataclass(frozen=True)
class UpdateText:
    """One GeNN custom update.

    group: updates of one group are launched together. of: the population or connection that it acts on. params: (name,
    type), all dynamic. vars: (name, type, access) of its own. refs: (name, type, access mode, owner, variable), owner
    the population, connection or other custom update that has the variable. arrays: (name, type, population, array of
    it). values: as in `NeuronText`.
    """

    group: str
    of: str
    code: str
    refs: tuple[tuple[str, str, str, str, str], ...]
    arrays: tuple[tuple[str, str, str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    vars: tuple[tuple[str, str, str], ...] = ()
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class NetworkText:
    """A GeNN model: populations with their sizes, connections, custom updates in the order of their references."""

    name: str
    populations: dict[str, tuple[int, NeuronText]] = field(default_factory=dict)
    synapses: dict[str, SynapseText] = field(default_factory=dict)
    updates: dict[str, UpdateText] = field(default_factory=dict)

    def has(self, group: str) -> bool:
        """Whether there is a custom update in a group."""
        return any(u.group == group for u in self.updates.values())


# The postsynaptic model of every connection: what arrived in this step goes to the neuron, and is gone.
POSTSYNAPTIC_CODE = "injectCurrent(inSyn);\ninSyn = 0.0;\n"


def words(*code: str) -> set[str]:
    """The identifiers in code."""
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(code)))


def used_values(values: Iterable[Value], *code: str) -> tuple[Value, ...]:
    """The named numbers that the code uses."""
    names = words(*code)
    return tuple(v for v in values if v.name in names)


def used(declared: Iterable[tuple[str, ...]], *code: str) -> tuple[Any, ...]:
    """The declarations (name first) whose names occur in the code; GeNN allocates no memory for others."""
    names = words(*code)
    return tuple(d for d in declared if d[0] in names)


def value_params(values: tuple[Value, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((v.name, "scalar") for v in values if not v.per_neuron)


def value_vars(values: tuple[Value, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((v.name, "scalar", SHARED) for v in values if v.per_neuron)


def indent(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines() if line.strip())


def check_names(plan: Plan, p: PopulationRecord) -> None:
    """Raise `EngineError` where a state or parameter has a name that the generated code needs."""
    clash = [n for n in (*p.derived.states, *p.derived.params) if n in TAKEN or n.startswith(TAKEN_STARTS)]
    if p.name == plan.output.name and p.derived.model.readout in LOSS_NAMES:
        clash.append(p.derived.model.readout)
    if clash:
        raise EngineError(
            f"population {p.name!r}: {p.derived.model.name} has a state or parameter called {', '.join(clash)}, a name "
            "that the genn engine's code uses itself; rename it, or use engine='native'"
        )
