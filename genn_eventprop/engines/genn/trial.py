"""A plan as one GeNN network: forward and adjoint in the same neurons and synapses, a phase after the other.

GeNN updates synapses, then neurons, then time, and a spike sent in GeNN step t acts in step t + 1, also one of the
input. Its own dt is 1, so that its time is the number of the step, exact in any precision. With lead = 1 + the longest
delay, a phase takes K + lead + 1 GeNN steps:

* forwards the input sends the spikes of step k at t = lead + k, and neurons make step k at t = start + k, start = lead
  + 1. In the steps before, what is still under way from the last trial runs out and is dropped.
* backwards, `back` = turn - t counts down. Neurons are idle until it is K, act until it is 0. In the idle steps G and D
  are zero, whatever the delays.

Without training there is the forward phase alone, and nothing in the code that only the adjoint needs.
"""

from __future__ import annotations

from ...codegen import GENN, derive_snippets
from ...plan import Plan, PopulationRecord
from ...plan.numbers import value_names
from . import backward, events, forward, gather, kinks, stochastic
from .outer import loss_updates
from .text import (
    OWN,
    NetworkText,
    NeuronText,
    UpdateText,
    check_names,
    indent,
    used,
    used_values,
    value_params,
    value_vars,
)
from .updates import Rule, learning_updates, neuron_update

PARAMS = (
    ("lead", "int"), ("start", "int"), ("turn", "int"), ("n_steps", "int"), ("capacity", "int"),
    ("window", "int"), ("n_targets", "int"), ("ms_per_step", "scalar"),
    ("least_rise", "scalar"), ("guarded_inverse", "scalar"),
)  # fmt: skip


def network_text(plan: Plan, *, training: bool = True, rule: Rule | None = None) -> NetworkText:
    """The network of a plan.

    Args:
        training: with the adjoint. rule: the optimiser that changes weights on the device, if one does.
    """
    populations = {plan.input.name: (plan.input.size, source(plan, training))}
    updates: dict[str, UpdateText] = {}
    for p in plan.populations:
        check_names(plan, p)
        neuron, begin, end = neuron_text(plan, p, training)
        populations[p.name] = (p.size, neuron)
        updates |= begin | end
    synapses = {c.name: backward.synapse(plan, c, forward.spike_code(plan, c), training) for c in plan.connections}
    updates |= loss_updates(plan, populations[plan.output.name][1], training)
    if training:
        updates |= kinks.updates(plan, populations)
        updates |= learning_updates(plan, populations, rule)
    return NetworkText("training" if training else "inference", populations, synapses, updates)


def source(plan: Plan, training: bool) -> NeuronText:
    """The input: events of a channel of a sample, several in one step as a count.

    Row `sample` of `event_start` says where they begin, from channel to channel.
    """
    sim = """\
const int step = (int)t - lead;
count = 0;
if (step < 0) {
    const int row = sample[batch] * (num_neurons + 1) + id;
    next = event_start[row];
    end = event_start[row + 1];
}
else if (step < n_steps) {
    if (next < end && event_step[next] == step) {
        count = event_count[next];
        next++;
    }
}
"""
    found = gather.arrays(plan, plan.input.name) if training else []
    if found:  # backwards `next` is the last event before `back`
        sim = f"""\
const int back = turn - (int)t;
{sim}else if (back <= n_steps) {{
    if (back == n_steps) {{
        next = end - 1;
    }}
    const int begin = event_start[sample[batch] * (num_neurons + 1) + id];
{indent(gather.mark(plan, plan.input.name, "next"))}    if (next >= begin && event_step[next] == back - 1) {{
        next--;
    }}
}}
"""
    return NeuronText(
        params=used(PARAMS, sim), vars=(("end", "int", OWN), ("next", "int", OWN), ("count", "int", OWN)),
        arrays=(("sample", "int"), ("event_start", "int"), ("event_step", "int"), ("event_count", "int"), *found),
        inputs=(), sim_code=sim, threshold_condition_code="count > 0",
    )  # fmt: skip


def neuron_text(
    plan: Plan, p: PopulationRecord, training: bool
) -> tuple[NeuronText, dict[str, UpdateText], dict[str, UpdateText]]:
    """Neuron model of a population, and the custom updates before and after its forward phase."""
    snippets, readout = derive_snippets(p.derived, GENN, p.trainable), forward.readout_of(plan, p)
    variables = [(s, "scalar", OWN) for s in p.derived.states] + list(readout.forward_vars)
    arrays, inputs = list(readout.forward_arrays), [f"arrived_{r}" for r in p.derived.receptors]
    begin, end = forward.begin_code(plan, p, readout, training), readout.at_end()
    eventful, every = events.eventful(plan, p), [*value_names(plan, p), *events.durations(p)]
    threshold = reset = ""
    if p.spiking:
        variables.append(("n_spikes", "int", OWN))
        arrays.append(("spike_step", "int"))
        crossed = "spiked" if eventful else f"step >= 0 && step < n_steps && {snippets.threshold_condition_code}"
        crossed += " && !stochastic_lost" if p.dropout > 0 and training and not eventful else ""
        threshold = crossed
        reset = forward.reset_code(plan, p, snippets, readout, training)
    per_step = plan.loss.readout == "voltage" and p.name == plan.output.name
    variables += events.variables(p, training) if eventful else []
    if training or per_step:  # a loss of V(t) is taken on the device, also without training
        arrays += [a for a in readout.backward_arrays if a not in arrays]
    if training:
        begin += backward.begin_code(p)
        variables += [*backward.adjoint_vars(plan, p, readout), *readout.backward_vars]
        arrays += [(f"trace_{s}", "scalar") for s in p.derived.states] if p.stores_states else []
        arrays += stochastic.ARRAYS
        arrays += _of_updates(plan, p)
        variables += gather.variables(plan, p.name)
        inputs += ["feedback"] if p.spiking else []
        if p.spiking:
            variables.append(("n_guarded", "int", OWN))
            kept = forward.recorded_states(plan, p, snippets)
            of_spikes = [("inverse_slope", "scalar"), *((f"spike_{s}", "scalar") for s in kept)]
            arrays += events.arrays(plan, p) if eventful else of_spikes
    sim = _phases(plan, p, training, snippets, readout)
    values = used_values(every, sim, threshold, reset)
    kept_values = used_values(every, sim, threshold, reset, begin, end, *_loss_names(plan, p))
    of_updates = (*(_outer_names(plan) if per_step else ()), *(n for n, _ in _of_updates(plan, p) if training))
    arrays_used = used(arrays, sim, reset, *of_updates)
    text = NeuronText(
        params=(*used((*PARAMS, *stochastic.PARAMS), sim, reset, threshold), *value_params(values)),
        vars=(*variables, *value_vars(kept_values)), arrays=arrays_used, inputs=tuple(inputs),
        sim_code=sim, threshold_condition_code=threshold, reset_code=reset,
        values=tuple(v for v in kept_values if v.per_neuron or v in values),
    )  # fmt: skip
    return (
        text,
        {f"reset_{p.name}": neuron_update("reset", p.name, text, every, begin)},
        {f"read_{p.name}": neuron_update("read", p.name, text, every, end)} if end else {},
    )


def _loss_names(plan: Plan, p: PopulationRecord) -> tuple[str, ...]:
    """Parameters of the output that the loss uses."""
    return ("tau_mem",) if p.name == plan.output.name and plan.loss.silent == "end" else ()


def _of_updates(plan: Plan, p: PopulationRecord) -> list[tuple[str, str]]:
    """Arrays that custom updates use, of the adjoint."""
    return [*gather.arrays(plan, p.name), *kinks.arrays(plan, p.name)]


def _outer_names(plan: Plan) -> tuple[str, ...]:
    """Arrays that the custom update of a loss of V(t) uses."""
    return ("target", "node_part") if plan.loss.outer == "squared_error" else ()


def _phases(plan: Plan, p: PopulationRecord, training: bool, snippets, readout) -> str:  # type: ignore[no-untyped-def]
    step = forward.step_code(plan, p, snippets, readout, training)
    eventful = events.eventful(plan, p)
    code = "const int step = (int)t - start;\n" + ("bool spiked = false;\n" if eventful else "")
    code += "bool stochastic_lost = false;\n" if p.dropout > 0 and training else ""
    if not training:
        return code + f"if (step >= 0 && step < n_steps) {{\n{indent(step)}}}\n"
    code += "const int back = turn - (int)t;\n" + ("scalar g_before = 0.0;\n" if p.spiking and not eventful else "")
    code += f"if (step >= 0 && step < n_steps) {{\n{indent(step)}}}\n"
    code += f"else if (back <= n_steps) {{\n{indent(backward.back_code(plan, p, snippets, readout))}}}\n"
    idle = "".join(f"{v} = 0.0;\n" for v in backward.shown(plan, p, readout))
    return code + (f"else {{\n{indent(idle)}}}\n" if idle else "")
