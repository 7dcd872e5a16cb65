"""Custom updates: trial reset, gradients to zero, their sum over the batch, the optimiser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...codegen import GENN
from ...codegen.optimiser import statements
from ...optimisers import Optimiser
from ...plan import Plan
from ...plan.numbers import Value
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
    kind = type(optimiser)
    own = not isinstance(optimiser, Optimiser) or any(
        getattr(kind, n) is not getattr(Optimiser, n) for n in ("update", "next_step")
    )
    if own:
        return None
    names = (*optimiser.state_names, *optimiser.full_scalar_names(), *optimiser.local_names)
    if (TAKEN | {"gradient", "lower", "upper", "id_pre", "id_post", "num_pre", "num_post"}) & set(names):
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
    return UpdateText(
        group, of, code, refs=(*own, *refs), vars=vars,
        arrays=used(neuron.arrays, code), values=tuple(v for v in values if not v.per_neuron),
        params=(*used(tuple(dict.fromkeys((*FIXED, *params))), code), *value_params(values)),
    )  # fmt: skip


def _assigned(name: str, code: str) -> bool:
    return re.search(rf"\b{name}\s*(?:[-+*/]?=(?!=)|\+\+|--)", code) is not None


def learning_updates(
    plan: Plan, populations: dict[str, tuple[int, NeuronText]], rule: Rule | None, batched: bool
) -> dict[str, UpdateText]:
    """Group `zero` before a batch, `reduce` after it where examples run side by side, `update` for the optimiser."""
    updates: dict[str, UpdateText] = {}
    for p in plan.populations:
        if p.trainable:
            code = "".join(f"grad_{n} = 0.0;\n" for n in p.trainable)
            updates[f"zero_{p.name}"] = neuron_update("zero", p.name, populations[p.name][1], (), code)
    for c in plan.connections:
        if not c.trainable:
            continue
        mine = ("gradient", "scalar", "READ_WRITE", c.name, "gradient")
        updates[f"zero_{c.name}"] = UpdateText("zero", c.name, "gradient = 0.0;\n", refs=(mine,))
        mine = ("gradient", "scalar", "READ_ONLY", c.name, "gradient")
        if batched:
            total = (("total", "scalar", "REDUCE_BATCH_SUM"),)
            updates[f"reduce_{c.name}"] = UpdateText(
                "reduce", c.name, "total = gradient;\n", refs=(mine,), vars=total
            )  # fmt: skip
            mine = ("gradient", "scalar", "READ_ONLY", f"reduce_{c.name}", "total")
        if rule is not None:
            updates[f"update_{c.name}"] = _step(c.name, rule, rule.bounds[c.weight], mine)
    return updates


def _step(connection: str, rule: Rule, bounds: tuple[str, str], gradient: tuple[str, str, str, str, str]) -> UpdateText:
    """One optimiser step on the weights of a connection."""
    code = "scalar g = gradient;\n" + statements(rule.code, rule.local_names, GENN)
    params, variables = [(n, "scalar") for n in rule.scalars], [(n, "scalar", "READ_WRITE") for n in rule.states]
    for name, kind, function in zip(("lower", "upper"), bounds, ("fmax", "fmin")):
        if kind:
            code += f"x = {function}(x, {name});\n"
        if kind == "number":
            params.append((name, "scalar"))
        if kind == "array":
            variables.append((name, "scalar", "READ_ONLY_SHARED"))
    refs = (("x", "scalar", "READ_WRITE", connection, "weight"), gradient)
    return UpdateText("update", connection, code, refs=refs, params=tuple(params), vars=tuple(variables))
