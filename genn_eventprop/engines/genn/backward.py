"""The adjoint network as GeNN text.

A neuron is at time index `step` = K + lead - t: it makes the jumps of that index, then goes back over step `step` - 1
and shows the rest of the network what arrivals at `step` - 1 need: G = lambda . e for gradients, D for feedback. It
sends a spike one step before its own recorded spike is due; in the next synapse update that spike adds G of its
targets to the gradient and brings w D back as the feedback of the jump. For a delay of d steps the targets' G and D
are read d steps old, which is their value at the arrival. In the first `lead` steps everything is zero.
"""

from __future__ import annotations

from ...codegen import GENN, Snippets, derive_snippets
from ...codegen.printer import expression
from ...codegen.values import value_names
from ...modelling.expressions import symbol
from ...plan import ConnectionRecord, Plan, PopulationRecord
from .forward import readout_of, recorded_states
from .readouts import Readout
from .text import (
    GIVEN,
    OWN,
    SHARED,
    NetworkText,
    NeuronText,
    SynapseText,
    WeightUpdateText,
    indent,
    used,
    used_values,
    value_params,
    value_vars,
)

PARAMS = (("lead", "int"), ("n_steps", "int"), ("capacity", "int"), ("ms_per_step", "scalar"))

SOURCE = NeuronText(
    params=(("lead", "int"), ("n_steps", "int")),
    vars=(("begin", "int", GIVEN), ("end", "int", GIVEN), ("next", "int", OWN), ("count", "int", OWN)),
    arrays=(("event_step", "int"), ("event_count", "int")),
    inputs=(),
    sim_code="""\
const int step = n_steps + lead - (int)t;
count = 0;
if (step > n_steps) {
    next = end - 1;
}
else if (next >= begin && event_step[next] == step - 1) {
    count = event_count[next];
    next--;
}
""",
    threshold_condition_code="count > 0",
)


def backward_network(plan: Plan) -> NetworkText:
    """The adjoint network of a plan; connections that need neither gradient nor feedback are left out."""
    populations: dict[str, tuple[int, NeuronText]] = {}
    synapses = {c.name: backward_synapse(plan, c) for c in plan.connections if _needed(plan, c)}
    if any(s.source == plan.input.name for s in synapses.values()):
        populations[plan.input.name] = (plan.input.size, SOURCE)
    for p in plan.populations:
        populations[p.name] = (p.size, backward_neuron(plan, p))
    return NetworkText("backward", populations, synapses)


def _needed(plan: Plan, c: ConnectionRecord) -> bool:
    return c.trainable or c.source != plan.input.name


def backward_synapse(plan: Plan, c: ConnectionRecord) -> SynapseText:
    from_input = c.source == plan.input.name
    variables, refs, code = [], [], ""
    if c.trainable:
        variables.append(("gradient", "scalar", OWN))
        refs.append(("G_post", "scalar", f"G_{c.receptor}"))
        code += "gradient += count_pre * G_post;\n" if from_input else "gradient += G_post;\n"
    if not from_input:
        variables.append(("weight", "scalar", SHARED))
        refs.append(("D_post", "scalar", f"D_{c.receptor}"))
        kink = ""
        if c.target == plan.output.name and readout_of(plan, plan.output).kink:
            refs.append(("kink_post", "scalar", "kink_now"))
            kink = " + fmin(weight, 0.0) * kink_post"
        code += f"addToPre(weight * D_post{kink});\n"
    return SynapseText(
        source=c.source, target=c.target, pre_input="" if from_input else "feedback", look_back=c.delay_steps,
        update=WeightUpdateText(
            vars=tuple(variables), pre_refs=(("count_pre", "int", "count"),) if from_input else (),
            post_refs=tuple(refs), pre_spike_syn_code=code,
        ),
    )  # fmt: skip


def backward_neuron(plan: Plan, p: PopulationRecord) -> NeuronText:
    """Adjoint model of a population."""
    snippets, readout = derive_snippets(p.derived, GENN, p.trainable), readout_of(plan, p)
    recorded = recorded_states(plan, p, snippets)
    sim = _sim_code(plan, p, snippets, readout)
    sends = p.spiking and bool(plan.out_of(p.name))
    values = used_values(value_names(plan, p), sim)
    variables = [(f"lambda_{s}", "scalar", OWN) for s in p.derived.states] + list(readout.backward_vars)
    variables += [(f"G_{r}", "scalar", OWN) for r in _learned(plan, p)]
    variables += [(f"D_{r}", "scalar", OWN) for r in _fed(plan, p)]
    variables += [("kink_now", "scalar", OWN)] if readout.kink and _fed(plan, p) else []
    variables += [(f"grad_{n}", "scalar", OWN) for n in p.trainable]
    arrays = list(readout.backward_arrays)
    if p.spiking:
        variables += [("n_spikes", "int", GIVEN), ("next", "int", OWN), ("next_step", "int", OWN)]
        arrays += [("spike_step", "int"), ("inverse_slope", "scalar"), *((f"spike_{s}", "scalar") for s in recorded)]
    if p.stores_states:
        arrays += [(f"trace_{s}", "scalar") for s in p.derived.states]
    return NeuronText(
        params=(*used(PARAMS, sim), *value_params(values)), vars=(*variables, *value_vars(values)),
        arrays=used(arrays, sim), inputs=("feedback",) if p.spiking else (), sim_code=sim,
        threshold_condition_code="step > 0 && step <= n_steps && next_step == step - 1" if sends else "", values=values,
    )  # fmt: skip


def _learned(plan: Plan, p: PopulationRecord) -> list[str]:
    return list(dict.fromkeys(c.receptor for c in plan.into(p.name) if c.trainable))


def _fed(plan: Plan, p: PopulationRecord) -> list[str]:
    """Receptors that spikes of populations, not the input, act on."""
    return list(dict.fromkeys(c.receptor for c in plan.into(p.name) if c.source != plan.input.name))


def _sim_code(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    first = "".join(f"lambda_{s} = 0.0;\n" for s in p.derived.states) + readout.first_lambda()
    shown = [f"G_{r}" for r in _learned(plan, p)] + [f"D_{r}" for r in _fed(plan, p)]
    shown += ["kink_now"] if readout.kink and _fed(plan, p) else []
    first += "".join(f"{v} = 0.0;\n" for v in shown)
    if p.spiking:
        first += "next = n_spikes - 1;\nnext_step = n_spikes > 0 ? spike_step[base + next] : -2;\n"
    jumps = readout.sample() + (_jump(plan, p, snippets, readout) if p.spiking else "")
    back = _retreat(plan, p, snippets, readout)
    start = _initial_gradient(p)
    tail = f"if (step > 0) {{\n{indent(back)}}}\n" + (f"else {{\n{indent(start)}}}\n" if start else "")
    head = "const int step = n_steps + lead - (int)t;\n"
    head += "const int base = (batch * num_neurons + id) * capacity;\n" if p.spiking else ""
    return f"{head}if (step > n_steps) {{\n{indent(first)}}}\nelse {{\n{indent(jumps + tail)}}}\n"


def _jump(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    lines = "scalar dl_dt = feedback;\nconst scalar inv_gdot = inverse_slope[base + next];\n"
    lines += "".join(f"const scalar {s} = spike_{s}[base + next];\n" for s in recorded_states(plan, p, snippets))
    if p.name == plan.output.name:
        lines += readout.own_spike()
    lines += "".join(f"grad_{n} += {code};\n" for n, code in snippets.jump_gradients.items())
    lines += snippets.adjoint_jump_code + "\n"
    lines += "next--;\nnext_step = next >= 0 ? spike_step[base + next] : -2;\n"
    return f"if (next_step == step) {{\n{indent(lines)}}}\n"


def _retreat(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    """Back over step `step` - 1, with the parameter integrals, then what arrivals at `step` - 1 need."""
    lines = ""
    if p.stores_states:
        where = "[(batch * n_steps + step - 1) * num_neurons + id]"
        lines += "".join(f"const scalar {s} = trace_{s}{where};\n" for s in p.derived.states)
    for n, code in snippets.parameter_rates.items():
        lines += f"grad_{n} += {code}{readout.parameter_rate(n)};\n"
    lines += snippets.adjoint_sim_code + "\n" + readout.source()
    lines += "".join(f"G_{r} = {snippets.direction[r]};\n" for r in _learned(plan, p))
    lines += "".join(f"D_{r} = {snippets.feedback[r]}{readout.arrival(r)};\n" for r in _fed(plan, p))
    if readout.kink and _fed(plan, p):
        lines += "kink_now = max_step == step - 1 ? kink : 0.0;\n"
    return lines


def _initial_gradient(p: PopulationRecord) -> str:
    """lambda(0) . dx0/dp."""
    d, lines = p.derived, ""
    for n in p.trainable:
        change = sum(symbol(f"lambda_{s}") * d.dx0_dp[i, d.params.index(n)] for i, s in enumerate(d.states))
        if change != 0:
            lines += f"grad_{n} += {expression(change, GENN)};\n"
    return lines
