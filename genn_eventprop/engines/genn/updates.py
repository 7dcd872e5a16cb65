"""Custom updates: trial reset, gradients to zero, the optimiser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...codegen import GENN
from ...codegen.optimiser import statements
from ...optimisers import is_text
from ...plan import ConnectionRecord, Plan
from ...plan.numbers import Value
from . import gather
from .text import TAKEN, NeuronText, UpdateText, used, used_values, value_params, words

FIXED = (("n_steps", "int"), ("ms_per_step", "scalar"))


@dataclass(frozen=True)
class Rule:
    """An optimiser's text, and for each connection's weight what kind of bounds it has: "", "number" or "array"."""

    code: str
    states: tuple[str, ...]
    scalars: tuple[str, ...]
    local_names: tuple[str, ...]
    bounds: dict[str, tuple[str, str]] = field(default_factory=dict)


def rule_of(optimiser: Any, plan: Plan) -> Rule | None:
    """The rule of an optimiser that has been prepared, None if it must run on the host.

    On the host run optimisers with an `update` of their own, and those whose text uses a name of GeNN's.
    """
    if not is_text(optimiser):
        return None
    names = (*optimiser.state_names, *optimiser.full_scalar_names(), *optimiser.local_names)
    if (TAKEN | {"gradient", "lower", "upper", "id_syn", "id_pre", "id_post", "num_pre", "num_post"}) & set(names):
        return None
    weights = [c.weight for c in plan.connections if c.trainable]
    kind_of = lambda b: "" if b is None else "number" if np.ndim(b) == 0 else "array"  # noqa: E731
    bounds = {w: optimiser.bounds_of(w) for w in weights}
    return Rule(
        optimiser.full_code(), optimiser.state_names, optimiser.full_scalar_names(), optimiser.local_names,
        {w: (kind_of(lower), kind_of(upper)) for w, (lower, upper) in bounds.items()},
    )  # fmt: skip


def neuron_update(
    group: str, of: str, neuron: NeuronText, values: Iterable[Value], code: str, *,
    params: tuple[tuple[str, str], ...] = (), vars: tuple[tuple[str, str, str], ...] = (),
    refs: tuple[tuple[str, str, str, str, str], ...] = (), local_names: frozenset[str] = frozenset(),
) -> UpdateText:  # fmt: skip
    """A custom update of a population; references to the neuron's variables are found in the code.

    Args:
        local_names: names that mean something of the code's own, whatever the neuron's variables are called.
    """
    values = used_values((v for v in values if v.name not in local_names), code)
    names = words(code) - local_names
    own = [(n, t, "READ_WRITE" if _assigned(n, code) else "READ_ONLY", of, n) for n, t, _ in neuron.vars if n in names]
    arrays = tuple((n, t, of, n) for n, t in used(neuron.arrays, code))
    return UpdateText(
        group, of, code, refs=(*own, *refs), vars=vars, arrays=arrays,
        values=tuple(v for v in values if not v.per_neuron),
        params=(*used(tuple(dict.fromkeys((*FIXED, *params))), code), *value_params(values)),
    )  # fmt: skip


def _assigned(name: str, code: str) -> bool:
    return re.search(rf"\b{name}\s*(?:[-+*/]?=(?!=)|\+\+|--)", code) is not None


def learning_updates(
    plan: Plan, populations: dict[str, tuple[int, NeuronText]], rule: Rule | None
) -> dict[str, UpdateText]:
    """Group `zero` before a batch, `gather` in it, `check` after it, `update` for the optimiser."""
    updates: dict[str, UpdateText] = {}
    for p in plan.populations:
        if p.trainable:
            code = "".join(f"grad_{n} = 0.0;\n" for n in p.trainable)
            updates[f"zero_{p.name}"] = neuron_update("zero", p.name, populations[p.name][1], (), code)
    for c in plan.connections:
        if not c.trainable:
            continue
        updates |= gather.updates(plan, c)
        if rule is not None:
            updates[f"update_{c.name}"] = _step(c, rule, rule.bounds[c.weight])
    return updates


def _step(c: ConnectionRecord, rule: Rule, bounds: tuple[str, str]) -> UpdateText:
    """One optimiser step on the weights of a connection."""
    code = f"scalar g = gradient[{gather.PLACE}];\n" + statements(rule.code, rule.local_names, GENN)
    params, variables = [(n, "scalar") for n in rule.scalars], [(n, "scalar", "READ_WRITE") for n in rule.states]
    for name, kind, function in zip(("lower", "upper"), bounds, ("fmax", "fmin")):
        if kind:
            code += f"x = {function}(x, {name});\n"
        if kind == "number":
            params.append((name, "scalar"))
        if kind == "array":
            variables.append((name, "scalar", "READ_ONLY_SHARED"))
    gradient = ("gradient", "scalar", c.target, gather.gradient_array(c))
    refs = (("x", "scalar", "READ_WRITE", c.name, "weight"),)
    return UpdateText("update", c.name, code, refs, (gradient,), tuple(params), tuple(variables))
