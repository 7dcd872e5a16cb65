"""Connections: what spikes do to their targets, and what events bring back to their sources.

A GeNN connection adds to one variable of its target. Where weights of one sign have a sum of their own (`Deliver.sums`),
there is a second connection with these weights alone, copied from those that are learned before every training batch.
"""

from __future__ import annotations

from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import ring_steps
from ...program.nodes import Buffer
from ...program.operations import Deliver
from ...program.population import POWERS
from .gather import OF_WEIGHT, PLACE, source_of
from .text import SHARED, SynapseText, UpdateText, WeightUpdateText, words

Called = dict[str, str]  # buffer -> what it is called in GeNN


def synapses(plan: Plan, c: ConnectionRecord, delivered: Deliver, called: Called, back: str) -> dict[str, SynapseText]:
    """The connection, and those of weights of one sign; back: code of its events, "" if it sends none."""
    from_input, connections, longest = c.source == plan.input.name, {}, longest_delay(plan, c)
    amount = "weight * count_pre" if from_input else "weight"
    delay = "delay" if c.delays else str(longest)
    spike = f"addToPostDelay({amount}, {delay});\n" if longest or c.delays else f"addToPost({amount});\n"
    variables = (("weight", "scalar", SHARED), *((("delay", "int", SHARED),) if c.delays else ()))
    count = (("count_pre", "int", "count"),) if from_input else ()
    for part, into in delivered.sums:
        update, name = WeightUpdateText(variables, count, (), spike), c.name
        if part == "all" and back:
            update = _with_events(update, back)
        if part != "all":
            name = part_name(c, part)
        pre_input = "w_feedback" if part == "all" and back else ""
        connections[name] = SynapseText(
            source_of(plan, c), c.target, update, called[into.name], pre_input, longest, c.delays is not None,
            c.form != "dense", c.name,
        )  # fmt: skip
    return connections


def without_powers(o: Deliver) -> Deliver:
    """Gradients of delays are formed from D of every step here, not from powers that arrive."""
    return Deliver(o.connection, tuple((part, b) for part, b in o.sums if part not in POWERS.values()))


def _with_events(update: WeightUpdateText, back: str) -> WeightUpdateText:
    rows = sorted(word for word in words(back) if word.endswith("_post"))
    refs = tuple((row, "scalar", row.removesuffix("_post")) for row in rows)
    return WeightUpdateText(
        update.vars, (*update.pre_refs, ("due_pre", "int", "s_due")), refs, update.pre_spike_syn_code, "due_pre > 0", back
    )  # fmt: skip


def longest_delay(plan: Plan, c: ConnectionRecord) -> int:
    """Steps; what takes longer than the trial never arrives."""
    return c.delay_steps if c.delays is None else min(ring_steps(c, plan.dt) - 1, plan.n_steps)


def events(c: ConnectionRecord, terms: list[tuple[str, Buffer]], called: Called) -> str:
    """What a spike caused through a synapse goes back to its source, from when it arrived there."""
    then = "_post[delay]" if c.delays else "_post"
    total = " + ".join(f"{OF_WEIGHT[part].format('weight')} * {called[row.name]}{then}" for part, row in terms)
    return f"addToPre({total});\n" if terms else ""


def part_name(c: ConnectionRecord, part: str) -> str:
    return f"{c.name}_{part}"


def copy_array(c: ConnectionRecord) -> str:
    """Array of the target: the weights of a connection, for its parts."""
    return f"copy_{c.name}"


def copies(c: ConnectionRecord, delivered: Deliver) -> dict[str, UpdateText]:
    """Group `copy` copies the weights, group `parts` takes those of one sign."""
    parts, array = [p for p, _ in delivered.sums if p != "all"], (("copy", "scalar", c.target, copy_array(c)),)
    updates = {}
    if parts:
        weight = (("weight", "scalar", "READ_ONLY", c.name, "weight"),)
        updates[copy_array(c)] = UpdateText("copy", c.name, f"copy[{PLACE}] = weight;\n", weight, array)
    for part in parts:
        name = part_name(c, part)
        weight_of_part = (("weight", "scalar", "READ_WRITE", name, "weight"),)
        code = f"weight = {OF_WEIGHT[part].format(f'copy[{PLACE}]')};\n"
        updates[f"take_{name}"] = UpdateText("parts", name, code, weight_of_part, array)
    return updates
