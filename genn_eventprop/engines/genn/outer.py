"""The outer loss as custom updates between the phases: dL/dr of every class, for any number of classes.

L = -log softmax(score(r))_y + term(r_y). The largest score and the sum of exponentials are reductions over the output's
neurons, one custom update each, since the next step needs them; the third writes `dr`. The expressions are those of
`Loss`, the one definition, printed in GeNN's language.
"""

from __future__ import annotations

from ...codegen import GENN
from ...codegen.printer import expression
from ...codegen.values import value_names
from ...modelling.expressions import symbol
from ...plan import Plan
from .readouts import READOUTS
from .text import NeuronText, UpdateText
from .updates import neuron_update

LEAST = "-3.0e38"  # below every score, also in float
PARAMS = (("T", "scalar"), ("per_example", "scalar"), ("ms_per_step", "scalar"))
LABEL = ("label", "int", "READ_ONLY", "loss_top", "label")


def on_device(plan: Plan) -> bool:
    """Whether the outer loss is taken by custom updates; a user's Python function and a squared error are not."""
    return plan.loss.outer == "cross_entropy"


def loss_updates(plan: Plan, output: NeuronText) -> dict[str, UpdateText]:
    """The chain `loss_top`, `loss_total`, `loss`; the host gives the label of each example, -1 for none."""
    if not on_device(plan):
        return {}
    loss, readout = plan.loss, READOUTS[plan.loss.readout](plan)
    score, term, d_score, d_term = (_text(plan, e) for e in (*loss.expressions, *loss.derivatives))
    valid = readout.valid if loss.silent == "exclude" else ""
    if_valid = lambda code, otherwise: f"{valid} ? {code} : {otherwise}" if valid else code  # noqa: E731
    head = f"const scalar r = {readout.value};\nconst scalar score = {score};\n"
    head_top = head + f"top = {if_valid('score', LEAST)};\n"
    exponent = if_valid("exp(score - top)", "0.0")
    head_total = head + f"total = {exponent};\n"
    head_total += f"right = (int)id == label{f' && {valid}' if valid else ''} ? 1.0 : 0.0;\n"
    code = head + f"const scalar p = ({exponent}) / total;\nconst bool known = (int)id == label;\n"
    code += f"const scalar slope = {d_term};\n"
    code += (
        f"dr = right > 0.0 ? ((p - (known ? 1.0 : 0.0)) * ({d_score}) + (known ? slope : 0.0)) * per_example : 0.0;\n"
    )
    if loss.silent == "end":
        v = plan.output.derived.model.readout
        code += f"lambda_{v} = known && !({readout.valid}) ? -tau_mem * slope * per_example : 0.0;\n"
    top = ("top", "scalar", "READ_ONLY", "loss_top", "top")
    of_total = tuple((n, "scalar", "READ_ONLY", "loss_total", n) for n in ("total", "right"))
    name, values = plan.output.name, value_names(plan, plan.output)
    params = (*PARAMS, *((f"k_{n}", "scalar") for n in loss.constants))
    return {
        "loss_top": neuron_update(
            "loss_top", name, output, values, head_top, params=params,
            vars=(("top", "scalar", "REDUCE_NEURON_MAX"), ("label", "int", "READ_ONLY_SHARED_NEURON")),
        ),
        "loss_total": neuron_update(
            "loss_total", name, output, values, head_total, params=params, refs=(top, LABEL),
            vars=(("total", "scalar", "REDUCE_NEURON_SUM"), ("right", "scalar", "REDUCE_NEURON_SUM")),
        ),
        "loss": neuron_update("loss", name, output, values, code, params=params, refs=(top, LABEL, *of_total)),
    }  # fmt: skip


def _text(plan: Plan, e) -> str:  # type: ignore[no-untyped-def]
    """An expression with the loss's constants under names that clash with nothing."""
    return expression(e.xreplace({symbol(n): symbol(f"k_{n}") for n in plan.loss.constants}), GENN)
