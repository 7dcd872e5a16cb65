"""The forward network as GeNN text.

GeNN updates synapses, then neurons, then time. A spike sent in GeNN step t acts in step t + 1, also one of the input.
So neurons make step k of the plan at t = k + start with start = lead + 1, the input sends the spikes of step k at
t = k + lead, and a trial takes K + lead + 1 steps. In the steps before `start` neurons take their first state and drop
what arrives: there the spikes still under way from the last trial run out, whatever the delays. GeNN's own dt is 1, so
that its time is the step, exact in any precision.
"""

from __future__ import annotations

from ...codegen import GENN, Snippets, derive_snippets
from ...codegen.printer import expression
from ...codegen.values import value_names
from ...plan import ConnectionRecord, Plan, PopulationRecord
from .readouts import READOUTS, Readout
from .text import (
    GIVEN,
    OWN,
    SHARED,
    NetworkText,
    NeuronText,
    SynapseText,
    WeightUpdateText,
    check_names,
    indent,
    used,
    used_values,
    value_params,
    value_vars,
)

PARAMS = (
    ("start", "int"), ("n_steps", "int"), ("capacity", "int"), ("ms_per_step", "scalar"), ("least_rise", "scalar"),
    ("guarded_inverse", "scalar"),
)  # fmt: skip

SOURCE = NeuronText(
    params=(("lead", "int"),),
    vars=(("begin", "int", GIVEN), ("end", "int", GIVEN), ("next", "int", OWN), ("count", "int", OWN)),
    arrays=(("event_step", "int"), ("event_count", "int")),
    inputs=(),
    sim_code="""\
const int step = (int)t - lead;
count = 0;
if (step < 0) {
    next = begin;
}
else if (next < end && event_step[next] == step) {
    count = event_count[next];
    next++;
}
""",
    threshold_condition_code="count > 0",
)


def forward_network(plan: Plan) -> NetworkText:
    """The network of a plan that runs forwards and keeps what the backward pass needs."""
    populations = {plan.input.name: (plan.input.size, SOURCE)}
    for p in plan.populations:
        check_names(p)
        populations[p.name] = (p.size, forward_neuron(plan, p))
    return NetworkText("forward", populations, {c.name: forward_synapse(plan, c) for c in plan.connections})


def forward_synapse(plan: Plan, c: ConnectionRecord) -> SynapseText:
    from_input = c.source == plan.input.name
    return SynapseText(
        source=c.source, target=c.target, post_input=f"arrived_{c.receptor}", delay=c.delay_steps,
        update=WeightUpdateText(
            vars=(("weight", "scalar", SHARED),),
            pre_refs=(("count_pre", "int", "count"),) if from_input else (),
            post_refs=(),
            pre_spike_syn_code="addToPost(weight * count_pre);\n" if from_input else "addToPost(weight);\n",
        ),
    )  # fmt: skip


def recorded_states(plan: Plan, p: PopulationRecord, snippets: Snippets) -> tuple[str, ...]:
    """States kept from right before every spike: what the jump, or an integral over the reset, needs."""
    states = snippets.jump_states
    v = p.derived.model.readout
    read = p.name == plan.output.name and plan.loss.readout == "integral"
    return (*states, v) if read and v not in states else states


def readout_of(plan: Plan, p: PopulationRecord) -> Readout:
    """The readout's text for the output population, an empty one for the others."""
    return READOUTS[plan.loss.readout](plan) if p.name == plan.output.name else Readout(plan)


def forward_neuron(plan: Plan, p: PopulationRecord) -> NeuronText:
    """Forward model of a population."""
    snippets, readout = derive_snippets(p.derived, GENN, p.trainable), readout_of(plan, p)
    sim = _sim_code(p, snippets, readout)
    threshold = f"step >= 0 && {snippets.threshold_condition_code}" if p.spiking else ""
    reset = _reset_code(snippets, recorded_states(plan, p, snippets)) if p.spiking else ""
    values = used_values(value_names(plan, p), sim, threshold, reset)
    arrays = list(readout.forward_arrays)
    variables = [(s, "scalar", OWN) for s in p.derived.states] + list(readout.forward_vars)
    if p.stores_states:
        arrays += [(f"trace_{s}", "scalar") for s in p.derived.states]
    if p.spiking:
        variables += [("n_spikes", "int", OWN), ("n_guarded", "int", OWN)]
        arrays += [("spike_step", "int"), ("inverse_slope", "scalar")]
        arrays += [(f"spike_{s}", "scalar") for s in recorded_states(plan, p, snippets)]
    return NeuronText(
        params=(*used(PARAMS, sim, reset), *value_params(values)), vars=(*variables, *value_vars(values)),
        arrays=used(arrays, sim, reset), inputs=tuple(f"arrived_{r}" for r in p.derived.receptors), sim_code=sim,
        threshold_condition_code=threshold, reset_code=reset, values=values,
    )  # fmt: skip


def _sim_code(p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    first = "".join(f"{s} = {expression(e, GENN)};\n" for s, e in zip(p.derived.states, p.derived.x0))
    first += readout.begin()
    step = readout.before_arrivals() + _arrivals(p) + readout.after_arrivals()
    if p.stores_states:
        where = "[(batch * n_steps + step) * num_neurons + id]"
        step += "".join(f"trace_{s}{where} = {s};\n" for s in p.derived.states)
    step += readout.in_step()
    head = "const int step = (int)t - start;\n"
    if p.spiking:
        first += "n_spikes = 0;\nn_guarded = 0;\n"
        head += "scalar g_before = 0.0;\n"
        step += f"g_before = {snippets.threshold};\n"
    return f"{head}if (step < 0) {{\n{indent(first)}}}\nelse {{\n{indent(step + snippets.sim_code)}}}\n"


def _arrivals(p: PopulationRecord) -> str:
    """What arrived in this step acts on the states along the receptor's direction e."""
    lines = []
    for r, e in p.derived.receptors.items():
        for s, v in zip(p.derived.states, e):
            if v != 0:
                lines.append(f"{s} += arrived_{r};\n" if v == 1 else f"{s} += e_{r}_{s} * arrived_{r};\n")
    return "".join(lines)


def _reset_code(snippets: Snippets, recorded: tuple[str, ...]) -> str:
    """Keeps the spike, also where the store is full (then only its number), and resets."""
    states = "".join(f"    spike_{s}[slot] = {s};\n" for s in recorded)
    return f"""\
const scalar rise = {snippets.threshold} - g_before;
const bool guarded = rise <= 0.0 || rise < least_rise;
if (guarded) {{
    n_guarded++;
}}
if (n_spikes < capacity) {{
    const int slot = (batch * num_neurons + id) * capacity + n_spikes;
    spike_step[slot] = step + 1;
    inverse_slope[slot] = guarded ? guarded_inverse : ms_per_step / rise;
{states}}}
n_spikes++;
{snippets.reset_code}
"""
