"""What surrounds the outer loss of a trial, which comes from `program`: prediction, host-given slopes, other readouts.

And `pointwise`, the outer loss of V at one time, for the readout "voltage".
"""

from __future__ import annotations

from ...losses import LossRecord
from ...program.host_values import prefixed_losses
from ...program.readouts.voltage import OF_ARRIVALS
from ..printer import CPP, expression
from ..safe_text import in_comment
from ..statements import indent
from .context import Context, read

STEEPNESS = """\
// How many times as fast as V its score changes.
static double steepness([[maybe_unused]] const Args& args, [[maybe_unused]] scalar v) {{ return {}; }}
static Target target_at(const Args& args, int64_t sample, double t) {{
    const int64_t last = rows(args) - 2;
    const double at = t / (args.duration / double(last + 1));
    const int64_t k = at < double(last) ? int64_t(at) : last;
    return target_of(args, sample, k, scalar(at - double(k)));
}}
"""

ARRIVALS = """\
static Target target_of_arrivals(const Args& args, [[maybe_unused]] int64_t sample, int64_t step) {{ return {}; }}
static double share_of_arrivals(const Args& args, [[maybe_unused]] int64_t sample, [[maybe_unused]] int64_t step) {{ return {}; }}
"""


def outer(ctx: Context) -> str:
    """A struct `Loss_p<i>` for every loss that compares V at single times; on the grid the main one alone has it."""
    losses = prefixed_losses(ctx.plan)[: None if ctx.exact else 1]
    structs = [_pointwise(ctx, prefix, loss) for prefix, loss in losses if loss.readout == "voltage"]
    main = [] if ctx.exact else [f"typedef Loss_{ctx.p(ctx.plan.output.name)} MainLoss;\n"]
    return "\n".join([read("target.hpp"), *structs, *main]) if structs else ""


def _function(name: str, expr: object, constants: dict[str, str]) -> str:
    text = expression(expr, CPP, {n: f"scalar({v})" for n, v in constants.items()})
    return f"static scalar {name}([[maybe_unused]] scalar r, [[maybe_unused]] const Args& args) {{ return {text}; }}"


def _pointwise(ctx: Context, prefix: str, loss: LossRecord) -> str:
    labels, of_loss, p = loss.compares == "labels", f"args.{prefix}", ctx.p(loss.output)
    target, faster = f"return {{{of_loss}labels[sample], nullptr, nullptr, part}};", "1.0"
    if labels:
        faster = "fmax(1.0, fabs(double(score_slope_at(v, args))))"
    else:
        target = f"""\
const double* low = {of_loss}targets + (sample * rows(args) + step) * N;
return {{0, low, step + 1 < rows(args) ? low + N : low, part}};"""
    of_arrivals, share = "target_of(args, sample, step, 0)", f"{of_loss}sample_weight[sample]"
    if ctx.trial and f"{prefix}{OF_ARRIVALS}sample_weight" in ctx.trial.buffers:  # they may be in a later interval
        row, share = f"{of_loss}{OF_ARRIVALS}targets + step * N", f"{of_loss}{OF_ARRIVALS}sample_weight[step]"
        of_arrivals = (
            f"{{{of_loss}{OF_ARRIVALS}labels[step], nullptr, nullptr, 0}}" if labels else f"{{0, {row}, {row}, 0}}"
        )
    rows = f"{of_loss}target_rows" if ctx.exact and not labels else "args.n_steps + 1"
    constants = {"T": "args.duration"} | {c: f"{of_loss}loss_{c}" for c in loss.constants}
    functions = zip(("score", "term", "score_slope", "term_slope"), (*loss.expressions, *loss.derivatives))
    body = f"""\
static constexpr int N = N_{p}, NP = NP_{p};
static double share(const Args& args, int64_t sample) {{ return {of_loss}sample_weight[sample]; }}
static int64_t rows(const Args& args) {{ return {rows}; }}  // of a series of targets
static bool has_target([[maybe_unused]] const Args& args, [[maybe_unused]] int64_t sample) {{
    return {f"{of_loss}labels[sample] >= 0" if labels else "true"};
}}
static Target target_of(const Args& args, int64_t sample, [[maybe_unused]] int64_t step, scalar part) {{
{indent(target)}}}
{"" if ctx.exact else ARRIVALS.format(of_arrivals, share)}\
{"".join(_function(f"{name}_at", e, constants) + chr(10) for name, e in functions) if labels else ""}\
{STEEPNESS.format(faster) if ctx.exact else ""}{read(f"pointwise_{'cross_entropy' if labels else 'squared_error'}.hpp")}"""
    return f"// The loss of V(t) of {in_comment(loss.output)}.\nstruct Loss_{p} {{\n{indent(body)}}};\n"


def running(prefix: str, tail: str, population: str) -> str:
    """A loss of V between events: its reader has added it up."""
    there = f"Loss_{population}::has_target(args, sample)"
    return (
        f"args.{prefix}loss[sample] = {there} ? work.reader{tail}.running : std::numeric_limits<double>::quiet_NaN();\n"
    )


def outer_loss(ctx: Context, compared: str, others: str, silent: bool, running: str = "") -> str:
    """The functions that `batch.hpp` calls between forward and backward.

    Args:
        compared: the loss of readouts, as code. others: auxiliary losses. silent: whether outputs without a spike have no
            readout. running: of a piece, losses that go on from one to the next.
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
    if ctx.pieces:
        body = f"if (args.half == BACKWARDS) return;\n{{\n{indent(running)}}}\nif (!args.closes) return;\n{body}"
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
        return running("", "", ctx.p(loss.output)) if ctx.exact and loss.readout == "voltage" else compared
    lines = [f"work.{ctx.out}dr[n] = scalar(args.dL_dr[sample * N_OUT + n]);"]
    if loss.silent == "end":
        lines.append(f"work.{ctx.out}missing[n] = scalar(args.lambda_V_end[sample * N_OUT + n]);")
    each = "\n".join(lines)
    return f"if (args.half != BACKWARDS) return;\nfor (int n = 0; n < N_OUT; ++n) {{\n{indent(each)}}}\n"
