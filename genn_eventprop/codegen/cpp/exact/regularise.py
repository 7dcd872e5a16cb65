"""Regularisers of spike counts with exact spike times: what every own spike adds to the costate, from the counts of the trial.

Formulas: `regularisers.spikes`. For every such regulariser the host hands over the strengths ``_upper`` and ``_lower``
(N,), divided by B, and ``_target`` (1,); for a batch mean instead of the target the excess itself, ``_excess`` (N,).
"""

from __future__ import annotations

from ....plan import Plan, PopulationRecord
from ....regularisers import SpikePush, pushed_state
from ..context import Context, regulariser_names


def jump_from_counts(ctx: Context, p: PopulationRecord) -> str:
    """What every spike of a neuron adds, of one trial, from the spike counts that its forward pass has left."""
    terms = ctx.plan.spike_regularisers(p.name)
    if not terms:
        return ""
    name, jump = f"p_{p.name}", f"work.p_{p.name}.jump"
    code = f"const int32_t* counts = args.{name}_counts + sample * N_{name}; (void)counts;\n"
    code += f"std::memset({jump}, 0, NP_{name} * sizeof(scalar));\n"
    for r, given in zip(terms, regulariser_names(ctx.plan, p.name)):
        code += _term(name, jump, r, given)
    return "{\n" + code + "}\n"


def _term(name: str, jump: str, r: SpikePush, given: str) -> str:
    z, before = "scalar(counts[neuron])", ""
    if r.whole_layer:
        z = "scalar(total)"
        before = f"int64_t total = 0;\nfor (int neuron = 0; neuron < N_{name}; ++neuron) total += counts[neuron];\n"
    excess = f"{z} - args.{given}_target[0]"
    if r.mean == "batch":
        excess, before = f"args.{given}_excess[neuron]", ""
    return (
        f"{{\n{before}for (int neuron = 0; neuron < N_{name}; ++neuron) {{\nconst scalar excess = {excess};\n"
        f"const scalar strength = excess > 0 ? args.{given}_upper[neuron] : args.{given}_lower[neuron];\n"
        f"{jump}[neuron] += strength * excess;\n}}\n}}\n"
    )


def pushed_index(plan: Plan, p: PopulationRecord) -> int:
    """Number of the state whose costate takes a jump at own spikes, -1 without one; for exact spike times."""
    pushed = plan.spike_regularisers(p.name) or (plan.loss.surrogate and p.name == plan.output.name)
    return p.derived.states.index(pushed_state(p.derived.model)) if pushed else -1
