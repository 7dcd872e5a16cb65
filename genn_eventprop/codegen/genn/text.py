"""Records of the text given to GeNN: neuron models, weight updates, the networks made of them.

Pure data: nothing here needs pygenn. `target.py` fills these records from a plan, `engines/genn/network.py` gives them
to pygenn, `show.py` prints them, and the tests execute them without GeNN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Written by the neuron / one value a neuron, for all examples.
OWN, SHARED = "READ_WRITE", "READ_ONLY"


@dataclass(frozen=True)
class NeuronText:
    """One GeNN neuron model.

    params: (name, type), all dynamic: they change without compiling. vars: (name, type, access). arrays: (name, type,
    axes) of extra global parameters. inputs: additional input variables. host_buffers: parameter, variable or array ->
    the buffer of the trial whose values the host sends there. words: arrays of keys of random numbers, see `writer.py`.
    """

    params: tuple[tuple[str, str], ...]
    vars: tuple[tuple[str, str, str], ...]
    arrays: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    inputs: tuple[str, ...]
    sim_code: str
    threshold_condition_code: str = ""
    host_buffers: Mapping[str, str] = field(default_factory=dict)
    words: frozenset[str] = frozenset()


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
    """A connection, with the input variable it acts on, and its delay in steps.

    The delay is GeNN's dendritic delay for spikes and its back-propagation delay for the target's variables, which an
    event reads as old as that. delays: every synapse has its own, up to `delay`. sparse: its synapses are a table. of: the
    connection of the plan whose table and delays it has.
    """

    source: str
    target: str
    update: WeightUpdateText
    post_input: str
    pre_input: str = ""
    delay: int = 0
    delays: bool = False
    sparse: bool = False
    of: str = ""


@dataclass(frozen=True)
class UpdateText:
    """One GeNN custom update.

    group: updates of one group are launched together. of: the population or connection that it acts on. params: (name,
    type), all dynamic. vars: (name, type, access) of its own. refs: (name, type, access mode, owner, variable), owner
    the population, connection or other custom update that has the variable. arrays: (name, type, population, array of
    it). host_buffers: as in `NeuronText`, of parameters.
    """

    group: str
    of: str
    code: str
    refs: tuple[tuple[str, str, str, str, str], ...]
    arrays: tuple[tuple[str, str, str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    vars: tuple[tuple[str, str, str], ...] = ()
    host_buffers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkText:
    """A GeNN model: populations with their sizes, connections, custom updates in the order of their references.

    results: buffer of the trial -> where GeNN has it: ("variable", "array" or "update", its owner, name).
    """

    name: str
    populations: dict[str, tuple[int, NeuronText]] = field(default_factory=dict)
    synapses: dict[str, SynapseText] = field(default_factory=dict)
    updates: dict[str, UpdateText] = field(default_factory=dict)
    results: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def has(self, group: str) -> bool:
        """Whether there is a custom update in a group."""
        return any(u.group == group for u in self.updates.values())


# The postsynaptic model of every connection: what arrived in this step goes to the neuron, and is gone.
POSTSYNAPTIC_CODE = "injectCurrent(inSyn);\ninSyn = 0.0;\n"


def words(*code: str) -> set[str]:
    """The identifiers in code."""
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(code)))
