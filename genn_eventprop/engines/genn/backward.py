"""The adjoint phase of a neuron, and the events it sends.

In the code `back` is the time index of lambda: the neuron makes the jumps of that index, then goes back over step
`back` - 1 and has what arrivals at `back` - 1 need: G = lambda . e for gradients, which it keeps for `gather.py`, and D
for feedback, which it shows. It is `due` one step before its own kept spike, and then sends an event: in the next
synapse update that event brings w D of its targets back as the feedback of the jump. For a delay of d steps the
targets' D is read d steps old, which is its value at the arrival. While the phase is idle it is zero.
"""

from __future__ import annotations

from ...codegen import GENN, Snippets
from ...codegen.printer import expression
from ...modelling.expressions import symbol
from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...regularisers import pushed_state
from . import events, gather
from .forward import readout_of, recorded_states
from .readouts import Readout
from .text import GIVEN, OWN, SHARED, SynapseText, WeightUpdateText, indent


def synapse(plan: Plan, c: ConnectionRecord, spike_code: str, training: bool) -> SynapseText:
    from_input = c.source == plan.input.name
    post_input = f"arrived_{c.receptor}"
    variables, pre = (("weight", "scalar", SHARED),), (("count_pre", "int", "count"),) if from_input else ()
    if not training or from_input:
        update = WeightUpdateText(variables, pre, (), spike_code)
        return SynapseText(c.source, c.target, update, post_input, delay=c.delay_steps)
    refs, kink, push = [("dL_ds_post", "scalar", f"dL_ds_{c.receptor}")], "", ""
    if c.target == plan.output.name and readout_of(plan, plan.output).kink:
        refs.append(("kink_post", "scalar", "kink_now"))
        kink = " + fmin(weight, 0.0) * kink_post"
    if events.used_connection(plan, c):
        refs.append(("push_post", "scalar", f"push_{c.receptor}"))
        push = " + fmax(weight, 0.0) * push_post"
    code = f"addToPre(weight * dL_ds_post{kink}{push});\n"
    due = (("due_pre", "int", "due"),)
    update = WeightUpdateText(variables, due, tuple(refs), spike_code, "due_pre > 0", code)
    return SynapseText(c.source, c.target, update, post_input, pre_input="feedback", delay=c.delay_steps)


def adjoint_vars(plan: Plan, p: PopulationRecord, readout: Readout) -> list[tuple[str, str, str]]:
    names = [*(f"lambda_{s}" for s in p.derived.states), *shown(plan, p, readout), *(f"grad_{n}" for n in p.trainable)]
    variables = [(n, "scalar", OWN) for n in names]
    if p.spiking:
        variables += [("next", "int", OWN), ("next_step", "int", OWN)]
        variables += [("due", "int", OWN)] if plan.out_of(p.name) else []
        variables += [("spike_push", "scalar", GIVEN)] if plan.spike_regularisers(p.name) else []
    return variables


def shown(plan: Plan, p: PopulationRecord, readout: Readout) -> list[str]:
    """Variables that events read."""
    names = [f"dL_ds_{r}" for r in _fed(plan, p)]
    return names + (["kink_now"] if readout.kink and _fed(plan, p) else []) + events.shown(plan, p)


def _fed(plan: Plan, p: PopulationRecord) -> list[str]:
    """Receptors that spikes of populations, not the input, act on."""
    return list(dict.fromkeys(c.receptor for c in plan.into(p.name) if c.source != plan.input.name))


def begin_code(p: PopulationRecord) -> str:
    """Before a trial: lambda(T) = 0 and no spike."""
    code = "".join(f"lambda_{s} = 0.0;\n" for s in p.derived.states)
    return code + ("next = -1;\nnext_step = -2;\n" if p.spiking else "")


def back_code(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    """One step of the adjoint, while 0 <= back <= n_steps."""
    jumps = readout.sample() + (_jump(plan, p, snippets, readout) if p.spiking else "")
    jumps += gather.mark(plan, p.name, "(batch * num_neurons + id) * capacity + next")
    retreat = _retreat(plan, p, snippets, readout)
    start = _initial_gradient(p)
    code = jumps + f"if (back > 0) {{\n{indent(retreat)}}}\n" + (f"else {{\n{indent(start)}}}\n" if start else "")
    if p.spiking and plan.out_of(p.name):
        code += "due = next_step == back - 1 ? 1 : 0;\n"
    return code


def _jump(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    if events.eventful(plan, p):
        return events.jumps(plan, p, readout)
    lines = "const int base = (batch * num_neurons + id) * capacity;\n"
    lines += "scalar dl_dt = feedback;\nconst scalar inv_gdot = inverse_slope[base + next];\n"
    lines += "".join(f"const scalar {s} = spike_{s}[base + next];\n" for s in recorded_states(plan, p, snippets))
    if p.name == plan.output.name:
        lines += readout.own_spike()
    lines += "".join(f"grad_{n} += {code};\n" for n, code in snippets.jump_gradients.items())
    lines += snippets.adjoint_jump_code + "\n"
    if p.name == plan.output.name:
        lines += readout.at_own_spike()
    if plan.spike_regularisers(p.name):
        lines += f"lambda_{pushed_state(p.derived.model)} += spike_push;\n"
    lines += "next--;\nnext_step = next >= 0 ? spike_step[base + next] : -2;\n"
    return f"if (next_step == back) {{\n{indent(lines)}}}\n"


def _retreat(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout) -> str:
    """Back over step `back` - 1, with the parameter integrals, then what arrivals at `back` - 1 need."""
    lines = ""
    if p.stores_states:
        where = "[(batch * n_steps + back - 1) * num_neurons + id]"
        lines += "".join(f"const scalar {s} = trace_{s}{where};\n" for s in p.derived.states)
    lines += snippets.stages + "\n" if snippets.stages else ""
    for n, code in snippets.parameter_rates.items():
        lines += f"grad_{n} += {code}{readout.parameter_rate(n)};\n"
    lines += snippets.adjoint_sim_code + "\n" + readout.source()
    lines += gather.keep(plan, p, snippets)
    lines += "".join(f"dL_ds_{r} = {snippets.feedback[r]}{readout.arrival(r)};\n" for r in _fed(plan, p))
    if readout.kink and _fed(plan, p):
        lines += "kink_now = max_step == back - 1 ? kink * dr : 0.0;\n"
    return lines


def _initial_gradient(p: PopulationRecord) -> str:
    """lambda(0) . dx0/dp."""
    d, lines = p.derived, ""
    for n in p.trainable:
        change = sum(symbol(f"lambda_{s}") * d.dx0_dp[i, d.params.index(n)] for i, s in enumerate(d.states))
        if change != 0:
            lines += f"grad_{n} += {expression(change, GENN)};\n"
    return lines
