"""Gradients of weights: sums over the examples and the spikes, taken after every window of steps of the adjoint phase.

    dL/dw_ij = sum over examples b and over spikes of i at k:  G_bj(k + d),   G = lambda . e at an arrival

The target keeps its G of the last `window` steps; where a window ends, the source notes the last of its spikes from
before (`window_last`). When G of the whole window is there, a custom update of every connection adds up the spikes that
arrived in it, one example after the other: the gradient is one array, whatever the batch, and the order of its sums is
always the same. A gradient of every example, as events could add it up, would be 1 MB a sample at the shape of SHD.

Next, `check` adds up the sizes of a gradient, one sum for each target neuron: NaN and infinity show in it, though code
that is compiled with -ffast-math cannot test for them.
"""

from __future__ import annotations

from ...codegen import Snippets
from ...plan import ConnectionRecord, Plan, PopulationRecord
from .text import SHARED, UpdateText, indent

WINDOW = 64  # steps, where examples run side by side; one alone has its whole trial, up to:
LONGEST_WINDOW = 1024
PLACE = "id_syn"  # of a synapse in (M, N); GeNN 5.4.0's id_pre and id_post do not compile here on cuda (no semicolon)


def learned(plan: Plan, population: str) -> list[ConnectionRecord]:
    """Trainable connections into a population."""
    return [c for c in plan.into(population) if c.trainable]


def _read(plan: Plan, source: str) -> bool:
    """Whether spikes of a population are looked up for gradients."""
    return any(c.trainable for c in plan.out_of(source))


def gradient_array(c: ConnectionRecord) -> str:
    """Array of the target: (M * N,) the gradient of a weight."""
    return f"dL_dweight_{c.name}"


def size_variable(c: ConnectionRecord) -> str:
    """Variable of the target: the sum of |gradient| over the sources."""
    return f"dL_size_{c.name}"


def arrays(plan: Plan, population: str) -> list[tuple[str, str]]:
    found = [(f"dL_dw_{r}", "scalar") for r in dict.fromkeys(c.receptor for c in learned(plan, population))]
    found += [(gradient_array(c), "scalar") for c in learned(plan, population)]
    return found + ([("window_last", "int"), ("window_end", "int")] if _read(plan, population) else [])


def variables(plan: Plan, population: str) -> list[tuple[str, str, str]]:
    return [(size_variable(c), "scalar", SHARED) for c in learned(plan, population)]


def keep(plan: Plan, p: PopulationRecord, snippets: Snippets) -> str:
    """G of arrivals at `back` - 1, after lambda went back over that step."""
    place = "(batch * window + (back - 1) % window) * num_neurons + id"
    receptors = dict.fromkeys(c.receptor for c in learned(plan, p.name))
    return "".join(f"dL_dw_{r}[{place}] = {snippets.direction[r]};\n" for r in receptors)


def mark(plan: Plan, population: str, last: str) -> str:
    """Where a window ends at `back`, after the jumps there. last: place of the last spike before `back`."""
    if not _read(plan, population):
        return ""
    code = f"window_last[batch * num_neurons + id] = {last};\n"
    code += "if (id == 0 && batch == 0) {\n    window_end[0] = back;\n}\n"
    return f"if (back == n_steps || back % window == 0) {{\n{indent(code)}}}\n"


def updates(plan: Plan, c: ConnectionRecord) -> dict[str, UpdateText]:
    """Groups `zero`, `gather` and `check` of a connection."""
    weight = (("weight", "scalar", "READ_ONLY", c.name, "weight"),)  # says which connection it is
    gradient = ("gradient", "scalar", c.target, gradient_array(c))
    size = ("size", "scalar", "READ_WRITE", c.target, size_variable(c))
    return {
        f"zero_{c.name}": UpdateText("zero", c.name, f"gradient[{PLACE}] = 0.0;\n", weight, (gradient,)),
        f"gather_{c.name}": _gather(plan, c, weight, gradient),
        f"check_{c.name}": UpdateText("check", c.target, _check(c), (size,), (gradient,)),
    }


def _check(c: ConnectionRecord) -> str:
    row = "    sum += fabs(gradient[i * num_neurons + id]);\n"
    return f"scalar sum = 0.0;\nfor (int i = 0; i < {c.pre}; i++) {{\n{row}}}\nsize = sum;\n"


def _gather(
    plan: Plan, c: ConnectionRecord, weight: tuple[tuple[str, str, str, str, str], ...],
    gradient: tuple[str, str, str, str],
) -> UpdateText:  # fmt: skip
    from_input = c.source == plan.input.name
    arrived = f"at[e] + {c.delay_steps}" if c.delay_steps else "at[e]"
    first = "event_start[sample[b] * (num_pre + 1) + pre]" if from_input else "(b * num_pre + pre) * capacity"
    later = f"while (e >= first && {arrived} >= window_end[0]) {{\n    e--;\n}}\n" if c.delay_steps else ""
    count = "event_count[e] * " if from_input else ""
    spikes = f"""\
const int first = {first};
int e = window_last[b * num_pre + pre];
{later}while (e >= first && {arrived} >= begin) {{
    sum += {count}rows[(b * window + {arrived} - begin) * num_post + post];
    e--;
}}
"""
    code = f"""\
const int pre = id_syn / num_post;
const int post = id_syn % num_post;
const int begin = (window_end[0] - 1) / window * window;
scalar sum = 0.0;
for (int b = 0; b < examples; b++) {{
{indent(spikes)}}}
gradient[{PLACE}] += sum;
"""
    names = {"at": "event_step" if from_input else "spike_step", "window_last": "window_last"}
    names |= {"window_end": "window_end"}
    names |= {n: n for n in ("event_start", "event_count", "sample")} if from_input else {}
    of_source = tuple((n, "int", c.source, a) for n, a in names.items())
    rows = ("rows", "scalar", c.target, f"dL_dw_{c.receptor}")
    params = (("window", "int"), ("examples", "int"), *(() if from_input else (("capacity", "int"),)))
    return UpdateText("gather", c.name, code, weight, (*of_source, rows, gradient), params)
