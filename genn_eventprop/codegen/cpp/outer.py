"""The outer loss of a trial as C++: prediction, loss, dL/dr / batch in work.dr, lambda_V at T in work.last.

One text for each outer loss, from the readouts of a trial; and `pointwise`, the same loss of V at one time, for the
readout "voltage".
"""

from __future__ import annotations

import re

from ..printer import CPP, DOUBLE, Dialect, expression
from .context import Context, indent

# of the readouts of one trial: label, softmax over the outputs that count, the term of the right one
CROSS_ENTROPY = """\
const int64_t label = args.labels[sample];
if (label < 0) {
    args.loss[sample] = std::numeric_limits<double>::quiet_NaN();
    return;
}
args.loss[sample] = 0;
bool used[N_OUT];
for (int n = 0; n < N_OUT; ++n) used[n] = valid[n] || !SILENT_EXCLUDED;
if (!used[label]) return;
double value[N_OUT], total = 0, top = -std::numeric_limits<double>::infinity();
for (int n = 0; n < N_OUT; ++n) {
    value[n] = score(r[n], args);
    if (used[n] && value[n] > top) top = value[n];
}
for (int n = 0; n < N_OUT; ++n) total += used[n] ? std::exp(value[n] - top) : 0.0;
args.loss[sample] = std::log(total) + top - value[label] + term(r[label], args);
for (int n = 0; n < N_OUT; ++n) {
    const double p = used[n] ? std::exp(value[n] - top) / total : 0.0;
    const double slope = (p - (n == label)) * score_slope(r[n], args) + (n == label ? term_slope(r[n], args) : 0.0);
    work.dr[n] = scalar(slope * args.sample_weight[sample]);
}
"""
SQUARED_ERROR = """\
const double* target = args.targets + sample * N_OUT;
args.loss[sample] = 0;
for (int n = 0; n < N_OUT; ++n) {
    if (target[n] != target[n] || !(valid[n] || !SILENT_EXCLUDED)) continue;
    const double difference = r[n] - target[n];
    args.loss[sample] += 0.5 * difference * difference;
    work.dr[n] = scalar(difference * args.sample_weight[sample]);
    MISSING
}
"""
SPIKE_TIMES = """\
const double* target = args.targets + sample * N_OUT * args.n_targets;
auto& spikes = work.SPIKES;
scalar* slope = SLOPE;
int64_t seen[N_OUT] = {};
args.loss[sample] = 0;
EVERY {
    const int32_t n = spikes.neuron[i];
    const int64_t m = seen[n]++;
    slope[i] = 0;
    if (m >= args.n_targets) continue;
    const double difference = TIME - target[n * args.n_targets + m];
    if (difference != difference) continue;
    args.loss[sample] += 0.5 * difference * difference;
    slope[i] = scalar(difference * args.sample_weight[sample]);
}
for (int n = 0; n < N_OUT && !SILENT_EXCLUDED; ++n)
    for (int64_t m = seen[n]; m < args.n_targets; ++m) {
        const double difference = args.duration - target[n * args.n_targets + m];
        if (difference != difference) continue;
        args.loss[sample] += 0.5 * difference * difference;
        MISSING
    }
"""
# where the spikes of the output stand, and their times: on the grid, and exact
ON_GRID = {
    "SPIKES": "OUTPUT_spikes", "SLOPE": "spikes.record[OWN_LOSS]", "TIME": "double(step) * args.dt",
    "EVERY": "for (int64_t step = 0; step <= args.n_steps; ++step)\n"
    "for (int64_t i = spikes.start[step]; i < spikes.start[step + 1]; ++i)",
}  # fmt: skip
EXACT = {
    "SPIKES": "OUTPUT.spikes", "SLOPE": "work.reader.slope", "TIME": "work.OUTPUT.spike_time[i]",
    "EVERY": "for (int64_t i = 0; i < spikes.count; ++i)",
}  # fmt: skip
RUNNING = """\
args.loss[sample] = has_goal(args, sample) ? work.running : std::numeric_limits<double>::quiet_NaN();
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
# of V at one time, (NP_OUT): the loss, and its slope; see `losses.outer`
POINTWISE_CROSS_ENTROPY = """\
inline scalar pointwise(const Args& args, const scalar* __restrict voltage, Goal goal, scalar* __restrict slope) {
    (void)args;
    alignas(64) scalar value[NP_OUT], part[NP_OUT];
    for (int n = 0; n < NP_OUT; ++n)
        value[n] = n < N_OUT ? score_at(voltage[n], args) : -std::numeric_limits<scalar>::max();
    const scalar top = lanes_max<NP_OUT>(value);
    for (int n = 0; n < NP_OUT; ++n) part[n] = n < N_OUT ? quick_exp(value[n] - top) : scalar(0);
    const scalar total = lanes_total<NP_OUT>(part), share = 1 / total;
    for (int n = 0; n < NP_OUT; ++n) slope[n] = part[n] * share * score_slope_at(voltage[n], args);
    const scalar right = voltage[goal.label];
    slope[goal.label] += term_slope_at(right, args) - score_slope_at(right, args);
    return std::log(total) + top - value[goal.label] + term_at(right, args);
}
"""
POINTWISE_SQUARED_ERROR = """\
inline scalar pointwise(const Args&, const scalar* __restrict voltage, Goal goal, scalar* __restrict slope) {
    scalar total = 0;
    for (int n = 0; n < NP_OUT; ++n) slope[n] = 0;
    for (int n = 0; n < N_OUT; ++n) {
        const scalar target = scalar(goal.low[n] + (goal.high[n] - goal.low[n]) * double(goal.part));
        slope[n] = target == target ? voltage[n] - target : scalar(0);
        total += slope[n] * slope[n];
    }
    return scalar(0.5) * total;
}
"""
GOALS = """\
// What V is compared with at one time: the label, or targets between two steps.
struct Goal {
    int64_t label;
    const double* low;
    const double* high;
    scalar part;
};
"""


def outer(ctx: Context) -> str:
    """score, term and their derivatives by r as functions of r, and what silent outputs are."""
    loss = ctx.plan.loss
    out = [_function(ctx, name, expr, DOUBLE) for name, expr in _expressions(ctx)]
    out.append(f"constexpr bool SILENT_EXCLUDED = {'true' if loss.silent == 'exclude' else 'false'};")
    if not ctx.exact and "own_loss" in ctx.recorded(ctx.plan.output):
        out.append(f"constexpr int OWN_LOSS = {1 + ctx.recorded(ctx.plan.output).index('own_loss')};")
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
        goal = "return {args.labels[sample], nullptr, nullptr, part}; (void)step;"
    else:
        goal = (
            "const double* low = args.targets + (sample * args.target_rows + step) * N_OUT; "
            "return {0, low, step + 1 < args.target_rows ? low + N_OUT : low, part};"
        )
    parts = [_function(ctx, f"{name}_at", expr, CPP) for name, expr in _expressions(ctx)] if labels else []
    return [
        GOALS,
        f"inline Goal goal_of(const Args& args, int64_t sample, int64_t step, scalar part) {{ (void)step; {goal} }}",
        "inline bool has_goal(const Args& args, int64_t sample) { (void)args; (void)sample; "
        f"return {'args.labels[sample] >= 0' if labels else 'true'}; }}",
        *parts,
        POINTWISE_CROSS_ENTROPY if labels else POINTWISE_SQUARED_ERROR,
    ]


def outer_loss(ctx: Context) -> str:
    """The functions that `batch.hpp` calls between forward and backward."""
    loss, out = ctx.plan.loss, ctx.plan.output.name
    valid = "work.first_step[n] >= 0" if loss.readout in ("first_spike", "spike_times") else "true"
    index = "n" if "tau_mem" in ctx.plan.output.per_neuron else "0"
    push = f"work.last[n] -= args.p_{out}_tau_mem[{index}] * scalar(SIZE * args.sample_weight[sample]);"
    last = ctx.has_last
    zero_last = "for (int n = 0; n < NP_OUT; ++n) work.last[n] = 0;\n" if last else ""
    return (
        "void compare(const Args& args, Work& work, int64_t sample, const double* r, const bool* valid) {\n"
        "    (void)r; (void)valid;\n" + indent(_compare(ctx, push if last and loss.silent == "end" else "")) + "}\n\n"
        "void outer_loss(const Args& args, Work& work, int64_t sample) {\n"
        f"""\
    bool valid[N_OUT];
    double r[N_OUT], top = 0;
    int64_t best = -1;  // -1 without an output that counts, or if several are the best
    bool several = false;
    for (int n = 0; n < N_OUT; ++n) {{
        r[n] = double(work.readout[n]);
        valid[n] = {valid};
        const double value = score(r[n], args);
        if (valid[n] && (best < 0 || value > top)) {{
            best = n;
            top = value;
            several = false;
        }} else if (valid[n] && value == top) {{
            several = true;
        }}
        args.readout[sample * N_OUT + n] = valid[n] ? r[n] : std::numeric_limits<double>::infinity();
    }}
    args.prediction[sample] = several ? -1 : best;
    for (int n = 0; n < NP_OUT; ++n) work.dr[n] = 0;
"""
        + indent(zero_last + "compare(args, work, sample, r, valid);\n" + _others(ctx) + ctx.readout.last()) + "}\n"
    )  # fmt: skip


def _others(ctx: Context) -> str:
    """Readouts besides the loss's own: out of a trial forwards, and their dL/dr into a trial backwards."""
    if not ctx.plan.loss.also:
        return ""
    take = f"if (args.half == BACKWARDS) {{\n{indent(ctx.readout.take())}}} else {{\n" if ctx.split else "{\n"
    return f"{take}{indent(ctx.readout.hand_out())}}}\n"


def _compare(ctx: Context, push: str) -> str:
    loss, out = ctx.plan.loss, ctx.plan.output.name
    missing = push.replace("SIZE", "difference")
    if ctx.split:
        return GIVEN.replace("LAST", "work.last[n] = scalar(args.given_last[sample * N_OUT + n]);" if push else "")
    if loss.readout == "voltage":
        return RUNNING.replace("work.running", "work.reader.running") if ctx.exact else RUNNING
    if loss.readout == "spike_times":
        text = SPIKE_TIMES.replace("MISSING", missing)
        for word, place in (EXACT if ctx.exact else ON_GRID).items():
            text = text.replace(word, place)
        return text.replace("OUTPUT", f"p_{out}")
    if loss.outer == "squared_error":
        return SQUARED_ERROR.replace("MISSING", f"if (!valid[n]) {missing}" if push else "")
    if not push:
        return CROSS_ENTROPY
    pushed = push.replace("[n]", "[label]").replace("SIZE", "term_slope(args.duration, args)")
    return CROSS_ENTROPY + f"if (!valid[label]) {pushed}\n"
