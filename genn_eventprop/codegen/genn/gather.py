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

from ...plan import ConnectionRecord, Plan
from ..statements import indent
from .text import UpdateText
from .writer import Declared

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


def of_target(plan: Plan, population: str) -> list[Declared]:
    """What a target has of gradients."""
    found = []
    for c in learned(plan, population):
        found.append(Declared(gradient_array(c), "array", "scalar", (c.pre, c.post)))
        found.append(Declared(size_variable(c), "shared", "scalar"))
    return found


def of_source(plan: Plan, population: str, size: int) -> list[Declared]:
    """What a source has of them."""
    last, end = (
        Declared("window_last", "array", "int", ("batch", size)), Declared("window_end", "array", "int", (1,)),
    )  # fmt: skip
    return [last, end] if _read(plan, population) else []


def mark(plan: Plan, population: str, last: str) -> str:
    """Where a window ends at `step`, after the jumps there. last: place of the last spike before `step`."""
    if not _read(plan, population):
        return ""
    code = f"window_last[batch * num_neurons + id] = {last};\n"
    code += "if (id == 0 && batch == 0) {\n    window_end[0] = step;\n}\n"
    return f"if (step == g_n_steps || step % g_window == 0) {{\n{indent(code)}}}\n"


def updates(plan: Plan, c: ConnectionRecord, steps: str, room: str) -> dict[str, UpdateText]:
    """Groups `zero`, `gather` and `check` of a connection; steps: array of its source's spikes, with `room` for each."""
    weight = (("weight", "scalar", "READ_ONLY", c.name, "weight"),)  # says which connection it is
    gradient = ("gradient", "scalar", c.target, gradient_array(c))
    size = ("size", "scalar", "READ_WRITE", c.target, size_variable(c))
    return {
        f"zero_{c.name}": UpdateText("zero", c.name, f"gradient[{PLACE}] = 0.0;\n", weight, (gradient,)),
        f"gather_{c.name}": _gather(plan, c, steps, room, weight, gradient),
        f"check_{c.name}": UpdateText("check", c.target, _check(c), (size,), (gradient,)),
    }


def _check(c: ConnectionRecord) -> str:
    row = "    sum += fabs(gradient[i * num_neurons + id]);\n"
    return f"scalar sum = 0.0;\nfor (int i = 0; i < {c.pre}; i++) {{\n{row}}}\nsize = sum;\n"


def _gather(
    plan: Plan, c: ConnectionRecord, steps: str, room: str, weight: tuple[tuple[str, str, str, str, str], ...],
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
    names = {"at": steps, "window_last": "window_last", "window_end": "window_end"}
    names |= {n: n for n in ("event_start", "event_count", "sample")} if from_input else {}
    spikes_of = tuple((n, "int", c.source, a) for n, a in names.items())
    rows = ("rows", "scalar", c.target, f"w_along_{c.receptor}")
    given = {"window": "window", "examples": "batch", **({} if from_input else {"capacity": room})}
    params = tuple((n, "int") for n in given)
    return UpdateText("gather", c.name, code, weight, (*spikes_of, rows, gradient), params, given=given)
