"""What surrounds the outer loss of a trial, which comes from `program`: prediction, host-given slopes, other readouts.

And `pointwise`, the outer loss of V at one time, for the readout "voltage".
"""

from __future__ import annotations

from ..printer import CPP, DOUBLE, Dialect, expression
from ..statements import indent
from .context import Context, read

RUNNING = """\
args.loss[sample] = has_target(args, sample) ? work.reader.running : std::numeric_limits<double>::quiet_NaN();
"""


def outer(ctx: Context) -> str:
    """Where V is compared at single times: score, term and their derivatives as functions of V, and `pointwise`."""
    return "\n".join(_pointwise(ctx))


def _expressions(ctx: Context) -> list[tuple[str, object]]:
    loss = ctx.plan.loss
    return list(zip(("score", "term", "score_slope", "term_slope"), (*loss.expressions, *loss.derivatives)))


def _function(ctx: Context, name: str, expr: object, dialect: Dialect) -> str:
    real = "double" if dialect is DOUBLE else "scalar"
    names = {"T": "args.duration"} | {c: f"args.loss_{c}" for c in ctx.plan.loss.constants}
    names = names if dialect is DOUBLE else {n: f"scalar({v})" for n, v in names.items()}
    text = expression(expr, dialect, names)
    return f"inline {real} {name}([[maybe_unused]] {real} r, [[maybe_unused]] const Args& args) {{ return {text}; }}"


def _pointwise(ctx: Context) -> list[str]:
    loss = ctx.plan.loss
    if loss.readout != "voltage":
        return []
    labels = loss.compares == "labels"
    if labels:
        target = "return {args.labels[sample], nullptr, nullptr, part};"
    else:
        target = (
            "const double* low = args.targets + (sample * args.target_rows + step) * N_OUT; "
            "return {0, low, step + 1 < args.target_rows ? low + N_OUT : low, part};"
        )
    parts = [_function(ctx, f"{name}_at", expr, CPP) for name, expr in _expressions(ctx)] if labels else []
    return [
        read("target.hpp"),
        "inline Target target_of(const Args& args, int64_t sample, [[maybe_unused]] int64_t step, scalar part) "
        f"{{ {target} }}",
        "inline bool has_target([[maybe_unused]] const Args& args, [[maybe_unused]] int64_t sample) "
        f"{{ return {'args.labels[sample] >= 0' if labels else 'true'}; }}",
        *parts,
        read(f"pointwise_{'cross_entropy' if labels else 'squared_error'}.hpp"),
    ]


def outer_loss(ctx: Context, compared: str, others: str, silent: bool) -> str:
    """The functions that `batch.hpp` calls between forward and backward.

    Args:
        compared: the loss of readouts, as code. others: auxiliary losses. silent: whether outputs without a spike have no readout.
    """
    read = f"work.{ctx.out}first[n] >= 0 ? r[n] : std::numeric_limits<double>::infinity()" if silent else "r[n]"
    body = f"""\
double r[N_OUT];
for (int n = 0; n < N_OUT; ++n) {{
    r[n] = double(work.{ctx.out}r[n]);
    args.{ctx.out}r[sample * N_OUT + n] = {read};
}}
for (int n = 0; n < NP_OUT; ++n) work.{ctx.out}dr[n] = 0;
compare(args, work, sample, r);
{others}{_also(ctx)}"""
    arguments = "([[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, [[maybe_unused]] int64_t sample"
    compare = f"void compare{arguments}, [[maybe_unused]] const double* r) {{\n{indent(_compare(ctx, compared))}}}\n"
    return f"{compare}\nvoid outer_loss(const Args& args, Work& work, int64_t sample) {{\n{indent(body)}}}\n"


def _also(ctx: Context) -> str:
    """Readouts besides that of the loss: copied out after the pass forwards, their dL/dr copied in before the one backwards."""
    if not (ctx.plan.loss.also and ctx.split):
        return ""
    prefix = f"work.{ctx.out}"
    out, back, real = "", "", "double" if ctx.exact else "scalar"
    for name in ctx.plan.loss.also:
        rows = "args.n_steps + 1" if name == "trace" else "1"
        value = "double(r[i * NP_OUT + n])"
        if name == "first_spike":
            value = f"{prefix}first[n] >= 0 ? {value} : std::numeric_limits<double>::infinity()"
        for_all = f"for (int64_t i = 0; i < {rows}; ++i)\n    for (int n = 0; n < N_OUT; ++n) "
        at = f"[(sample * ({rows}) + i) * N_OUT + n]"
        out += f"{{\n    const {real}* r = {prefix}r_{name};\n{indent(f'{for_all}args.{ctx.out}r_{name}{at} = {value};')}}}\n"
        slope = f"{prefix}dr_{name}[i * NP_OUT + n] = scalar(args.dL_dr_{name}{at});"
        back += for_all + slope + "\n"
    return f"if (args.half == BACKWARDS) {{\n{indent(back)}}} else {{\n{indent(out)}}}\n"


def _compare(ctx: Context, compared: str) -> str:
    loss = ctx.plan.loss
    if not ctx.split:
        return RUNNING if ctx.exact and loss.readout == "voltage" else compared
    lines = [f"work.{ctx.out}dr[n] = scalar(args.dL_dr[sample * N_OUT + n]);"]
    if loss.silent == "end":
        lines.append(f"work.{ctx.out}missing[n] = scalar(args.lambda_V_end[sample * N_OUT + n]);")
    each = "\n".join(lines)
    return f"if (args.half != BACKWARDS) return;\nfor (int n = 0; n < N_OUT; ++n) {{\n{indent(each)}}}\n"
