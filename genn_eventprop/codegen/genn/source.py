"""The input as a GeNN population: it sends the events of the samples, several of a step as a count."""

from __future__ import annotations

from ...plan import Plan
from ..statements import indent
from . import gather
from .text import OWN, NeuronText, words

PARAMS = ("g_lead", "g_turn", "g_n_steps", "g_window")
ARRAYS = (
    ("sample", "int", ("batch",)), ("event_start", "int", ("starts",)), ("event_step", "int", ("events",)),
    ("event_count", "int", ("events",)),
)  # fmt: skip


def source(plan: Plan, training: bool) -> NeuronText:
    """Row `sample` of `event_start` says where the events of a sample begin, from channel to channel."""
    sim = """\
int step = (int)t - g_lead;
count = 0;
if (step < 0) {
    const int row = sample[batch] * (num_neurons + 1) + id;
    next = event_start[row];
    end = event_start[row + 1];
}
else if (step < g_n_steps) {
    if (next < end && event_step[next] == step) {
        count = event_count[next];
        next++;
    }
}
"""
    found = gather.of_source(plan, plan.input.name, plan.input.size) if training else []
    if found:  # backwards `next` is the last event before `step`
        back = f"""\
if (step == g_n_steps) {{
    next = end - 1;
}}
const int begin = event_start[sample[batch] * (num_neurons + 1) + id];
{gather.mark(plan, plan.input.name, "next")}if (next >= begin && event_step[next] == step - 1) {{
    next--;
}}
"""
        sim += f"else {{\n    step = g_turn - (int)t;\n    if (step <= g_n_steps) {{\n{indent(back, 2)}    }}\n}}\n"
    params = [n for n in PARAMS if n in words(sim)]
    return NeuronText(
        params=tuple((n, "int") for n in params),
        vars=(("end", "int", OWN), ("next", "int", OWN), ("count", "int", OWN)),
        arrays=(*ARRAYS, *((d.name, d.type, d.axes) for d in found)), inputs=(), sim_code=sim,
        threshold_condition_code="count > 0", given={n: n.removeprefix("g_") for n in params},
    )  # fmt: skip
