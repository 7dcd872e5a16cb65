"""What surrounds the outer loss of a trial, which comes from `program`: prediction, host-given slopes, other readouts.

And `pointwise`, the outer loss of V at one time, for the readout "voltage".
"""

from __future__ import annotations

import re

from ..printer import CPP, DOUBLE, Dialect, expression
from .context import Context, indent, read

RUNNING = """\
args.loss[sample] = has_target(args, sample) ? work.reader.running : std::numeric_limits<double>::quiet_NaN();
"""
GIVEN = """\
args.loss[sample] = 0;
if (args.half != BACKWARDS) return;
args.loss[sample] = args.given_loss[sample];
for (int n = 0; n < N_OUT; ++n) {
    work.dr[n] = scalar(args.given_dr[sample * N_OUT + n]);
    LAST
}
"""


def outer(ctx: Context) -> str:
    """score, term and their derivatives as functions of r, and how silent outputs count."""
    loss = ctx.plan.loss
    out = [_function(ctx, "score", loss.expressions[0], DOUBLE)]
    out.append(f"constexpr bool SILENT_EXCLUDED = {'true' if loss.silent == 'exclude' else 'false'};")
    return "\n".join([*out, "", *_pointwise(ctx)])


def _expressions(ctx: Context) -> list[tuple[str, object]]:
    loss = ctx.plan.loss
    return list(zip(("score", "term", "score_slope", "term_slope"), (*loss.expressions, *loss.derivatives)))


def _function(ctx: Context, name: str, expr: object, dialect: Dialect) -> str:
    real = "double" if dialect is DOUBLE else "scalar"
    names = {"T": "args.duration"} | {c: f"args.{c}" for c in ctx.plan.loss.constants}
    names = names if dialect is DOUBLE else {n: f"scalar({v})" for n, v in names.items()}
    text = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m.group(), m.group()), expression(expr, dialect))
    return f"inline {real} {name}({real} r, const Args& args) {{ (void)r; (void)args; return {text}; }}"


def _pointwise(ctx: Context) -> list[str]:
    loss = ctx.plan.loss
    if loss.readout != "voltage":
        return []
    labels = loss.compares == "labels"
    if labels:
        target = "return {args.labels[sample], nullptr, nullptr, part}; (void)step;"
    else:
        target = (
            "const double* low = args.targets + (sample * args.target_rows + step) * N_OUT; "
            "return {0, low, step + 1 < args.target_rows ? low + N_OUT : low, part};"
        )
    parts = [_function(ctx, f"{name}_at", expr, CPP) for name, expr in _expressions(ctx)] if labels else []
    return [
        read("target.hpp"),
        f"inline Target target_of(const Args& args, int64_t sample, int64_t step, scalar part) {{ (void)step; {target} }}",
        "inline bool has_target(const Args& args, int64_t sample) { (void)args; (void)sample; "
        f"return {'args.labels[sample] >= 0' if labels else 'true'}; }}",
        *parts,
        read(f"pointwise_{'cross_entropy' if labels else 'squared_error'}.hpp"),
    ]


def outer_loss(ctx: Context, compared: str, others: str, silent: bool) -> str:
    """The functions that `batch.hpp` calls between forward and backward.

    Args:
        compared: the loss of readouts, as code. others: auxiliary losses. silent: whether outputs without a spike have no readout.
    """
    valid = "work.first_step[n] >= 0" if silent else "true"
    return (
        "void compare(const Args& args, Work& work, int64_t sample, const double* r) {\n    (void)r;\n"
        + indent(_compare(ctx, compared)) + "}\n\n" + OUTER_LOSS.replace("VALID", valid)
        + indent("compare(args, work, sample, r);\n" + others + _also(ctx)) + "}\n"
    )  # fmt: skip


def _also(ctx: Context) -> str:
    """Readouts besides that of the loss: copied out after the pass forwards, their dL/dr copied in before the one backwards."""
    if not (ctx.plan.loss.also and ctx.split):
        return ""
    prefix = f"work.p{ctx.plan.populations.index(ctx.plan.output)}_w_"
    out, back, real = "", "", "double" if ctx.exact else "scalar"
    for name in ctx.plan.loss.also:
        rows = "args.n_steps + 1" if name == "trace" else "1"
        value = "double(r[i * NP_OUT + n])"
        if name == "first_spike":
            value = f"work.first_step[n] >= 0 ? {value} : std::numeric_limits<double>::infinity()"
        for_all = f"for (int64_t i = 0; i < {rows}; ++i)\n    for (int n = 0; n < N_OUT; ++n) "
        at = f"[(sample * ({rows}) + i) * N_OUT + n]"
        out += f"{{\n    const {real}* r = {prefix}r_{name};\n{indent(f'{for_all}args.also_{name}{at} = {value};')}}}\n"
        slope = f"{prefix}dr_{name}[i * NP_OUT + n] = scalar(args.given_{name}{at});"
        back += for_all + slope + "\n"
    return f"if (args.half == BACKWARDS) {{\n{indent(back)}}} else {{\n{indent(out)}}}\n"


OUTER_LOSS = """\
void outer_loss(const Args& args, Work& work, int64_t sample) {
    double r[N_OUT], top = 0;
    int64_t best = -1;  // -1 without an output that counts, or if several are the best
    bool several = false;
    for (int n = 0; n < N_OUT; ++n) {
        r[n] = double(work.readout[n]);
        const bool valid = VALID;
        const double value = score(r[n], args);
        if (valid && (best < 0 || value > top)) {
            best = n;
            top = value;
            several = false;
        } else if (valid && value == top) {
            several = true;
        }
        args.readout[sample * N_OUT + n] = valid ? r[n] : std::numeric_limits<double>::infinity();
    }
    args.prediction[sample] = several ? -1 : best;
    for (int n = 0; n < NP_OUT; ++n) work.dr[n] = 0;
"""


def _compare(ctx: Context, compared: str) -> str:
    loss = ctx.plan.loss
    if ctx.split:
        return GIVEN.replace(
            "LAST", "work.last[n] = scalar(args.given_last[sample * N_OUT + n]);" if loss.silent == "end" else ""
        )
    return RUNNING if ctx.exact and loss.readout == "voltage" else compared
