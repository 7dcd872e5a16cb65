"""The outer loss as custom updates between the phases: dL/dr of every class, for any number of classes.

Cross-entropy L = -log softmax(score(r))_y + term(r_y): the largest score and the sum of exponentials are reductions
over the output's neurons, one custom update each, as the next needs them; the third writes `dr`. A loss of V(t) is
taken at every node of every step; there neuron number i does steps i, i + K, ... of its example, for all classes. The
expressions are those of `Loss`, the one definition, printed in GeNN's language. A user's Python function and the
errors of spike times are taken by the host, which then gives `dr`.
"""

from __future__ import annotations

import sympy as sp

from ...codegen import GENN
from ...codegen.printer import expression
from ...modelling.expressions import symbol
from ...plan import Plan
from ...plan.numbers import value_names
from .readouts import READOUTS, Voltage
from .text import LOSS_NAMES, NeuronText, UpdateText, indent
from .updates import neuron_update

LEAST = "-3.0e38"  # below every score, also in float; stands for a missing target too
PARAMS = (("T", "scalar"), ("ms_per_step", "scalar"), ("n_steps", "int"))
LABEL = ("label", "int", "READ_ONLY_SHARED_NEURON")
SAMPLE_WEIGHT = ("sample_weight", "scalar", "READ_ONLY_SHARED_NEURON")  # weight of the example / size of the batch


def on_device(plan: Plan) -> bool:
    """Whether `dr` is made by custom updates."""
    return plan.loss.host is None and plan.loss.readout not in ("spike_times", "voltage")


def loss_updates(plan: Plan, output: NeuronText, training: bool) -> dict[str, UpdateText]:
    """The updates of a loss in the order in which they run; the host gives labels, -1 for none, or targets."""
    readout = READOUTS[plan.loss.readout](plan)
    updates = {}
    if isinstance(readout, Voltage):
        updates["outer"] = _every_step(plan, output, readout)
    elif training and on_device(plan):
        updates |= _squared_error(plan, output) if plan.loss.outer == "squared_error" else _softmax(plan, output)
    if training and readout.last():
        updates["last"] = _update(plan, "last", output, readout.last())
    return updates


def _update(plan: Plan, group: str, output: NeuronText, code: str, **more) -> UpdateText:  # type: ignore[no-untyped-def]
    params = (*PARAMS, *((f"k_{n}", "scalar") for n in plan.loss.constants))
    values = value_names(plan, plan.output)
    return neuron_update(group, plan.output.name, output, values, code, params=params, local_names=LOSS_NAMES, **more)


def _softmax(plan: Plan, output: NeuronText) -> dict[str, UpdateText]:
    """The chain `loss_top`, `loss_total`, `loss`."""
    loss, readout = plan.loss, READOUTS[plan.loss.readout](plan)
    score, term, d_score, d_term = _expressions(plan)
    valid = readout.valid if loss.silent == "exclude" else ""
    if_valid = lambda code, otherwise: f"{valid} ? {code} : {otherwise}" if valid else code  # noqa: E731
    head = f"const scalar r = {readout.value};\nconst scalar score = {score};\n"
    code_top = head + f"top = {if_valid('score', LEAST)};\n"
    exponent = if_valid("exp(score - top)", "0.0")
    code_total = head + f"total = {exponent};\n"
    code_total += f"right = (int)id == label{f' && {valid}' if valid else ''} ? 1.0 : 0.0;\n"
    code = head + f"const scalar p = ({exponent}) / total;\nconst bool known = (int)id == label;\n"
    code += f"const scalar slope = {d_term};\n"
    code += (
        f"dr = right > 0.0 ? ((p - (known ? 1.0 : 0.0)) * ({d_score}) + (known ? slope : 0.0)) * sample_weight : 0.0;\n"
    )
    if loss.silent == "end":
        v = plan.output.derived.model.readout
        code += f"lambda_{v} = known && !({readout.valid}) ? -tau_mem * slope * sample_weight : 0.0;\n"
    label, top = (
        ("label", "int", "READ_ONLY", "loss_top", "label"), ("top", "scalar", "READ_ONLY", "loss_top", "top"),
    )  # fmt: skip
    of_total = tuple((n, "scalar", "READ_ONLY", "loss_total", n) for n in ("total", "right"))
    sums = tuple((n, "scalar", "REDUCE_NEURON_SUM") for n in ("total", "right"))
    top_vars = (("top", "scalar", "REDUCE_NEURON_MAX"), LABEL)
    return {
        "loss_top": _update(plan, "loss_top", output, code_top, vars=top_vars),
        "loss_total": _update(plan, "loss_total", output, code_total, refs=(top, label), vars=sums),
        "loss": _update(plan, "loss", output, code, refs=(top, label, *of_total), vars=(SAMPLE_WEIGHT,)),
    }


def _squared_error(plan: Plan, output: NeuronText) -> dict[str, UpdateText]:
    """`loss`: dr = r - target where there is one; a silent output is left out, or counts as r = T with a push."""
    readout = READOUTS[plan.loss.readout](plan)
    used = f"target > 0.1 * {LEAST}"
    with_spike = f" && ({readout.valid})" if readout.valid and plan.loss.silent == "exclude" else ""
    code = f"const scalar r = {readout.value};\nconst bool wanted = {used};\n"
    code += f"dr = wanted{with_spike} ? (r - target) * sample_weight : 0.0;\n"
    if plan.loss.silent == "end":
        v = plan.output.derived.model.readout
        code += f"lambda_{v} = wanted && !({readout.valid}) ? -tau_mem * (T - target) * sample_weight : 0.0;\n"
    return {"loss": _update(plan, "loss", output, code, vars=(("target", "scalar", "READ_ONLY"), SAMPLE_WEIGHT))}


def _every_step(plan: Plan, output: NeuronText, readout: Voltage) -> UpdateText:
    """`outer`: V at every node becomes the factor of u_j . x + u_j1 in dL; `loss_part` adds up the loss."""
    targets = plan.loss.outer == "squared_error"
    body = f"const int first = ((batch * n_steps + step) * {readout.size} + j) * num_neurons;\n"
    body += f"const scalar weight = {readout.weight_at('j', 'step')};\n"
    body += _node_error() if targets else _node_softmax(plan)
    loop = f"for (int j = 0; j < {readout.size}; j++) {{\n{indent(body)}}}\n"
    code = "scalar sum = 0.0;\nfor (int step = id; step < n_steps; step += num_neurons) {\n"
    code += f"{indent(loop)}}}\nloss_part = sum;\n"
    return _update(plan, "outer", output, code, vars=(SAMPLE_WEIGHT,) if targets else (LABEL, SAMPLE_WEIGHT))


def _node_softmax(plan: Plan) -> str:
    score, term, d_score, d_term = _expressions(plan)
    each = "for (int c = 0; c < num_neurons; c++) {\n    const scalar r = node_value[first + c];\n"
    return f"""\
if (label >= 0) {{
    scalar top = {LEAST};
    {each}        top = fmax(top, {score});
    }}
    scalar total = 0.0;
    {each}        total += exp(({score}) - top);
    }}
    {{
        const scalar r = node_value[first + label];
        sum += weight / node_scale[j] * (log(total) + top - ({score}) + ({term}));
    }}
    {each}        const scalar p = exp(({score}) - top) / total;
        const scalar slope = (p - (c == label ? 1.0 : 0.0)) * ({d_score}) + (c == label ? {d_term} : 0.0);
        node_value[first + c] = weight * sample_weight * slope;
    }}
}}
else {{
    for (int c = 0; c < num_neurons; c++) {{
        node_value[first + c] = 0.0;
    }}
}}
"""


def _node_error() -> str:
    """Targets are linear between the steps; one that is missing takes both steps beside it out."""
    return f"""\
for (int c = 0; c < num_neurons; c++) {{
    const int at = (batch * (n_steps + 1) + step) * num_neurons + c;
    const scalar before = target[at];
    const scalar after = target[at + num_neurons];
    const bool wanted = before > 0.1 * {LEAST} && after > 0.1 * {LEAST};
    const scalar y = before * (1.0 - node_part[j]) + after * node_part[j];
    const scalar error = wanted ? node_value[first + c] - y : 0.0;
    sum += weight / node_scale[j] * 0.5 * error * error;
    node_value[first + c] = weight * sample_weight * error;
}}
"""


def _expressions(plan: Plan) -> list[str]:
    """score, term and their slopes, with the loss's constants under names that clash with nothing."""
    names = {symbol(n): symbol(f"k_{n}") for n in plan.loss.constants}
    every: tuple[sp.Expr, ...] = (*plan.loss.expressions, *plan.loss.derivatives)
    return [expression(e.xreplace(names), GENN) for e in every]
