"""The input as GeNN populations, one for each of several inputs: they send the events of the samples, several of a step
as a count."""

from __future__ import annotations

from ...plan import Plan
from ..statements import indent
from . import gather
from .text import OWN, NeuronText, words

PARAMS = ("g_lead", "g_turn", "g_n_steps", "g_window", "g_feed")
SLOPES = "slopes"  # array with D of every event of the examples, summed over the synapses


def sources(plan: Plan) -> dict[str, tuple[int, int]]:
    """Population -> its channels; of several inputs those that lead anywhere, none of a network with currents alone."""
    if not plan.input.parts:
        return {plan.input.name: (0, plan.input.size)} if plan.input.size else {}
    used = {c.channels for c in plan.connections if c.source == plan.input.name}
    return {name: channels for name, channels in plan.input.parts if channels in used}


def arrays(name: str) -> tuple[tuple[str, str, tuple[int | str, ...]], ...]:
    """(name, type, axes) of the events that a source sends."""
    events, starts = event_axes(name)
    return (
        ("sample", "int", ("batch",)), ("event_start", "int", (starts,)), ("event_step", "int", (events,)),
        ("event_count", "int", (events,)),
    )  # fmt: skip


def event_axes(name: str) -> tuple[str, str]:
    """What the lengths of a source's events, and of where they start, are called."""
    return f"{name}_events", f"{name}_starts"


def most_events(name: str) -> str:
    """What the most events of a channel in a sample are called."""
    return f"{name}_most"


def source(plan: Plan, name: str, size: int, training: bool, feeds: bool) -> NeuronText:
    """Row `sample` of `event_start` says where the events of a sample begin, from channel to channel.

    feeds: while `g_feed` is 1, each event is `s_due` one step before it is undone, and then keeps what comes back.
    """
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
    of_gradients = gather.of_source(plan, name, size) if training else []
    if of_gradients or feeds:  # backwards `next` is the last event before `step`
        took = f"{SLOPES}[(batch * num_neurons + id) * g_most + next + 1 - begin] = w_feedback;\n"
        keep = f"if (s_due > 0) {{\n    {took}}}\ns_due = 0;\n" if feeds else ""
        back = f"""\
if (step == g_n_steps) {{
    next = end - 1;
}}
const int begin = event_start[sample[batch] * (num_neurons + 1) + id];
{keep}{gather.mark(plan, name, "next")}if (next >= begin && event_step[next] == step - 1) {{
    next--;
{"    s_due = g_feed;" + chr(10) if feeds else ""}}}
"""
        sim += f"else {{\n    step = g_turn - (int)t;\n    if (step <= g_n_steps) {{\n{indent(back, 2)}    }}\n}}\n"
    params = {n: n.removeprefix("g_") for n in PARAMS if n in words(sim)}
    slopes = ((SLOPES, "scalar", ("batch", size, most_events(name))),) if feeds else ()
    params |= {"g_most": most_events(name)} if feeds else {}
    return NeuronText(
        params=tuple((n, "int") for n in params),
        vars=(("end", "int", OWN), ("next", "int", OWN), ("count", "int", OWN), *((("s_due", "int", OWN),) * feeds)),
        arrays=(*arrays(name), *((d.name, d.type, d.axes) for d in of_gradients), *slopes),
        inputs=("w_feedback",) * feeds, sim_code=sim, threshold_condition_code="count > 0", host_buffers=params,
    )  # fmt: skip
