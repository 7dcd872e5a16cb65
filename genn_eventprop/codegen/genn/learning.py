"""The optimiser as a custom update of every connection that is learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...optimisers import is_text
from ...plan import ConnectionRecord, Plan
from ..optimiser import statements
from ..printer import GENN
from . import gather
from .text import UpdateText

# of C, C++ and CUDA
KEYWORDS = frozenset(
    "alignas alignof asm auto bool break case catch char class const constexpr continue decltype default delete do "
    "double else enum explicit export extern false final float for friend goto if inline int long mutable namespace "
    "new noexcept nullptr operator override private protected public register return short signed sizeof static "
    "static_assert static_cast struct switch template this throw true try typedef typeid typename union unsigned "
    "using virtual void volatile while".split()
)
MACROS = frozenset(
    "NULL EOF INFINITY NAN errno stdin stdout stderr unix linux HUGE_VAL HUGE_VALF RAND_MAX BUFSIZ CHAR_BIT".split()
)  # of the C++ headers, which a declaration would expand

TAKEN = KEYWORDS | MACROS | frozenset(
    "t dt id batch scalar gradient lower upper id_syn id_pre id_post num_pre num_post timepoint uint8_t int8_t uint16_t "
    "int16_t uint32_t int32_t uint64_t int64_t size_t gennrand".split()
)  # fmt: skip
"""What the text of an optimiser must not call anything."""


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
    names = (*optimiser.full_state_names(), *optimiser.full_scalar_names(), *optimiser.local_names)
    if TAKEN & set(names):
        return None
    weights = [c.weight for c in plan.connections if on_device(c)]
    kind_of = lambda b: "" if b is None else "number" if np.ndim(b) == 0 else "array"  # noqa: E731
    bounds = {w: optimiser.bounds_of(w) for w in weights}
    return Rule(
        optimiser.full_code(), optimiser.full_state_names(), optimiser.full_scalar_names(), optimiser.local_names,
        {w: (kind_of(lower), kind_of(upper)) for w, (lower, upper) in bounds.items()},
    )  # fmt: skip


def on_device(c: ConnectionRecord) -> bool:
    """Whether an optimiser's text changes the weights on the device; weights of tables, which synapses may share, and
    delays are learned on the host."""
    return c.trainable and c.form == "dense"


def learning_updates(c: ConnectionRecord, rule: Rule | None) -> dict[str, UpdateText]:
    """Group `update` of a connection whose weights are learned on the device."""
    return {} if rule is None or not on_device(c) else {f"update_{c.name}": _step(c, rule, rule.bounds[c.weight])}


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
