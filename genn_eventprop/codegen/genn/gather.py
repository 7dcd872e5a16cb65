"""Gradients of weights: sums over the examples and the spikes, taken after every window of steps of the adjoint phase.

    dL/dw_ij = sum over examples b and over spikes of i at k:  G_bj(k + d),   G = lambda . e at an arrival

The target keeps its G of the last `window` steps; where a window ends, the source notes the last of its spikes from
before (`window_last`). When G of the whole window is there, a custom update of every connection adds up the spikes that
arrived in it, one example after the other: the gradient is one array, whatever the batch, and the order of its sums is
always the same. A gradient of every example, as events could add it up, would be 1 MB a sample at the shape of SHD.

Next, `check` adds up the sizes of a gradient, for each target neuron and then all of them, to one number: NaN and infinity
show in it, though code that is compiled with -ffast-math cannot test for them.
"""

from __future__ import annotations

from ...plan import ConnectionRecord, Plan
from ..statements import indent
from .text import UpdateText
from .writer import Declared

WINDOW = 64  # steps, where examples run side by side; one alone has its whole trial, up to:
LONGEST_WINDOW = 1024
# parts of a weight, see `program.operations`
OF_WEIGHT = {
    "all": "{0}", "positive": "fmax({0}, 0.0)", "negative": "fmin({0}, 0.0)", "square": "({0} * {0})",
    "cube": "({0} * {0} * {0})", "fourth": "({0} * {0} * {0} * {0})",
}  # fmt: skip
PLACE = "id_syn"  # of a synapse in (M, N); GeNN 5.4.0's id_pre and id_post do not compile here on cuda (no semicolon)


def is_gathered(c: ConnectionRecord) -> bool:
    return c.trainable or c.learns_delays


def source_of(plan: Plan, c: ConnectionRecord) -> str:
    """The GeNN population that a connection begins at, one of several inputs for example."""
    return next((name for name, channels in plan.input.parts if channels == c.channels), c.source)


def _read(plan: Plan, source: str) -> bool:
    """Whether spikes of a population are looked up for gradients."""
    return any(is_gathered(c) for c in plan.connections if source_of(plan, c) == source)


def gradient_array(c: ConnectionRecord) -> str:
    """Array of the target: the gradient of the weight of every synapse, (M, N) or the places of a table."""
    return f"dL_dweight_{c.name}"


def delay_array(c: ConnectionRecord) -> str:
    """Array of the target: the same of delays."""
    return f"dL_ddelay_{c.name}"


def ends_arrays(c: ConnectionRecord) -> tuple[str, str]:
    """Arrays of the target of a table: source and target of every place."""
    return f"source_of_{c.name}", f"target_of_{c.name}"


def size_variable(c: ConnectionRecord) -> str:
    """Variable of the target of a dense connection: the sum of |gradient| over the sources."""
    return f"dL_size_{c.name}"


def window_array(row: str) -> str:
    """Array of a population: D of the last `window` steps, for delays that are learned."""
    return f"{row}_kept"


def places(i: int, c: ConnectionRecord) -> tuple[int | str, ...]:
    """Axes of an array with a number for every synapse of connection number i."""
    return (c.pre, c.post) if c.form == "dense" else (f"c{i}_places",)


def check_update(c: ConnectionRecord) -> str:
    """The custom update whose `total` is the sum of |gradient| of a weight."""
    return f"check_{c.name}"


def of_target(plan: Plan, population: str) -> list[Declared]:
    """What a target has of gradients."""
    declarations = []
    for i, c in ((i, c) for i, c in enumerate(plan.connections) if c.target == population and is_gathered(c)):
        axes = places(i, c)
        if c.trainable:
            declarations.append(Declared(gradient_array(c), "array", "scalar", axes))
        if c.learns_delays:
            declarations.append(Declared(delay_array(c), "array", "scalar", axes))
        if c.form != "dense":
            declarations += [Declared(n, "array", "int", axes) for n in ends_arrays(c)]
        elif c.trainable:
            declarations.append(Declared(size_variable(c), "shared", "scalar"))
    return declarations


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


def updates(
    plan: Plan, c: ConnectionRecord, steps: str, room: str, late: list[tuple[str, str]]
) -> dict[str, UpdateText]:
    """Groups `zero`, `gather` and `check` of a connection; steps: array of its source's spikes, with `room` for each; late:
    what D is made of where delays are learned, (part of the weight, row of the target)."""
    weight = (("weight", "scalar", "READ_ONLY", c.name, "weight"),)  # says which connection it is
    names = {"gradient": gradient_array(c)} if c.trainable else {}
    names |= {"delay_gradient": delay_array(c)} if c.learns_delays else {}
    sums = tuple((n, "scalar", c.target, a) for n, a in names.items())
    zero = "".join(f"{n}[{PLACE}] = 0.0;\n" for n in names)
    updates_of = {
        f"zero_{c.name}": UpdateText("zero", c.name, zero, weight, sums),
        f"gather_{c.name}": _gather(plan, c, steps, room, late, weight, sums),
    }
    if c.trainable and c.form == "dense":
        size = ("size", "scalar", "READ_WRITE", c.target, size_variable(c))
        total = ("total", "scalar", "REDUCE_NEURON_SUM")
        updates_of[check_update(c)] = UpdateText("check", c.target, _check(c), (size,), sums[:1], vars=(total,))
    return updates_of


def _check(c: ConnectionRecord) -> str:
    row = "    sum += fabs(gradient[i * num_neurons + id]);\n"
    return f"scalar sum = 0.0;\nfor (int i = 0; i < {c.pre}; i++) {{\n{row}}}\nsize = sum;\ntotal = sum;\n"


def _gather(
    plan: Plan, c: ConnectionRecord, steps: str, room: str, late: list[tuple[str, str]],
    weight: tuple[tuple[str, str, str, str, str], ...], sums: tuple[tuple[str, str, str, str], ...],
) -> UpdateText:  # fmt: skip
    from_input, table = c.source == plan.input.name, c.form != "dense"
    delay = "delay" if c.delays else str(c.delay_steps or "")
    arrived = f"at[e] + {delay}" if delay else "at[e]"
    M, N = (str(c.pre), str(c.post)) if table else ("num_pre", "num_post")
    first = f"event_start[sample[b] * ({M} + 1) + pre]" if from_input else f"(b * {M} + pre) * capacity"
    later = f"while (e >= first && {arrived} >= window_end[0]) {{\n    e--;\n}}\n" if delay else ""
    count = "event_count[e] * " if from_input else ""
    place = f"(b * window + {arrived} - begin) * {N} + post"
    add = f"sum += {count}rows[{place}];\n" if c.trainable else ""
    number = [str(k or "") for k in range(len(late))]
    add += "".join(f"late{k} += {count}D{k}[{place}];\n" for k in number)
    spikes = f"""\
const int first = {first};
int e = window_last[b * {M} + pre];
{later}while (e >= first && {arrived} >= begin) {{
{indent(add)}    e--;
}}
"""
    ends = ends_arrays(c)
    code = f"const int pre = {f'source_of[{PLACE}]' if table else f'{PLACE} / {N}'};\n"
    code += f"const int post = {f'target_of[{PLACE}]' if table else f'{PLACE} % {N}'};\n"
    code += "const int begin = (window_end[0] - 1) / window * window;\n"
    code += ("scalar sum = 0.0;\n" if c.trainable else "") + "".join(f"scalar late{k} = 0.0;\n" for k in number)
    code += f"for (int b = 0; b < examples; b++) {{\n{indent(spikes)}}}\n"
    code += f"gradient[{PLACE}] += sum;\n" if c.trainable else ""
    caused = " + ".join(f"{OF_WEIGHT[part].format('weight')} * late{k}" for k, (part, _) in zip(number, late))
    code += f"delay_gradient[{PLACE}] += {caused};\n" if late else ""
    names = {"at": steps, "window_last": "window_last", "window_end": "window_end"}
    names |= {n: n for n in ("event_start", "event_count", "sample")} if from_input else {}
    arrays = [(n, "int", source_of(plan, c), a) for n, a in names.items()]
    arrays += [(n, "int", c.target, a) for n, a in zip(("source_of", "target_of"), ends)] if table else []
    arrays += [("rows", "scalar", c.target, f"w_along_{c.receptor}")] if c.trainable else []
    arrays += [(f"D{k}", "scalar", c.target, window_array(row)) for k, (_, row) in zip(number, late)]
    refs = (*weight, *((("delay", "int", "READ_ONLY", c.name, "delay"),) if c.delays else ()))
    host_buffers = {"window": "window", "examples": "batch", **({} if from_input else {"capacity": room})}
    params = tuple((n, "int") for n in host_buffers)
    return UpdateText("gather", c.name, code, refs, (*arrays, *sums), params, host_buffers=host_buffers)
