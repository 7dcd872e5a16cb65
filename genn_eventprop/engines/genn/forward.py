"""The forward phase of a neuron: its step, what it keeps of a spike, and what its custom update `reset` sets.

In the code `step` is the step of the plan. What arrived since the last step acts first, then the step propagates; a
crossing has step + 1.
"""

from __future__ import annotations

from ...codegen import GENN, Snippets
from ...codegen.printer import expression
from ...plan import ConnectionRecord, Plan, PopulationRecord
from . import events, stochastic
from .readouts import READOUTS, Readout
from .text import indent


def readout_of(plan: Plan, p: PopulationRecord) -> Readout:
    """The readout's text for the output population, an empty one for the others."""
    return READOUTS[plan.loss.readout](plan) if p.name == plan.output.name else Readout(plan)


def recorded_states(plan: Plan, p: PopulationRecord, snippets: Snippets) -> tuple[str, ...]:
    """States kept from right before every spike: what the jump, or an integral over the reset, needs."""
    states = snippets.jump_states
    v = p.derived.model.readout
    read = p.name == plan.output.name and plan.loss.readout == "integral"
    return (*states, v) if read and v not in states else states


def step_code(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout, training: bool) -> str:
    """One step; states are kept for the adjoint only if there is one."""
    eventful = events.eventful(plan, p)
    code = events.before_arrivals(plan, p, training) if eventful else ""
    code += readout.before_arrivals() + _arrivals(p) + readout.after_arrivals()
    if p.stores_states and training:
        where = "[(batch * n_steps + step) * num_neurons + id]"
        code += "".join(f"trace_{s}{where} = {s};\n" for s in p.derived.states)
    code += readout.in_step()
    step = snippets.sim_code + "\n" + (stochastic.noise(p) if training else "")
    if eventful:
        return code + events.around_step(plan, p, step, training)
    if p.spiking and training:
        code += f"g_before = {snippets.threshold};\n"
    dropped = stochastic.lost(p, snippets.threshold_condition_code) if p.dropout > 0 and training else ""
    return code + step + dropped


def _arrivals(p: PopulationRecord) -> str:
    """What arrived in this step acts on the states along the receptor's direction e."""
    lines = []
    for r, e in p.derived.receptors.items():
        for s, v in zip(p.derived.states, e):
            if v != 0:
                lines.append(f"{s} += arrived_{r};\n" if v == 1 else f"{s} += e_{r}_{s} * arrived_{r};\n")
    return "".join(lines)


def reset_code(plan: Plan, p: PopulationRecord, snippets: Snippets, readout: Readout, training: bool) -> str:
    """At a spike: keeps it, also where the store is full (then only its number), and resets."""
    if events.eventful(plan, p):
        return events.at_spike(readout, training)
    keep = "const int slot = (batch * num_neurons + id) * capacity + n_spikes;\nspike_step[slot] = step + 1;\n"
    code = ""
    if training:
        keep += "inverse_slope[slot] = guarded ? guarded_inverse : ms_per_step / rise;\n"
        keep += "".join(f"spike_{s}[slot] = {s};\n" for s in recorded_states(plan, p, snippets))
        code = f"""\
const scalar rise = {snippets.threshold} - g_before;
const bool guarded = rise <= 0.0 || rise < least_rise;
if (guarded) {{
    n_guarded++;
}}
next = n_spikes;
next_step = step + 1;
"""
    code += f"if (n_spikes < capacity) {{\n{indent(keep)}}}\n{readout.at_spike()}n_spikes++;\n"
    return code + snippets.reset_code + "\n"


def begin_code(plan: Plan, p: PopulationRecord, readout: Readout, training: bool) -> str:
    """Before a trial."""
    code = "".join(f"{s} = {expression(e, GENN)};\n" for s, e in zip(p.derived.states, p.derived.x0))
    code += readout.begin() + ("n_spikes = 0;\n" if p.spiking else "")
    code += events.begin_code(p, training) if events.eventful(plan, p) else ""
    return code + ("n_guarded = 0;\n" if p.spiking and training else "")


def spike_code(plan: Plan, c: ConnectionRecord) -> str:
    """The effect of a spike at each synapse."""
    amount = "weight * count_pre" if c.source == plan.input.name else "weight"
    return f"addToPostDelay({amount}, {c.delay_steps});\n" if c.delay_steps else f"addToPost({amount});\n"
