"""Synapses as connections: what on_pre adds to states of the target, for every synapse as a number."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import DescriptionError
from .read_expressions import Translator, evaluated, number, short, statements, tree_of
from .read_neurons import Reader, check_units, is_known, resolved
from .read_units import converted

PLASTIC = "weights that change during a trial (plasticity) have no counterpart; training changes them instead"
OWN_STATES = (
    "synapses with an equation of their own have no counterpart; where it is linear, write it into the target group, "
    "and let on_pre add to it"
)


@dataclass(frozen=True, eq=False)
class Arrivals:
    """What one line of on_pre does.

    Args:
        name: of the connection. source: of Brian, a whole group. target: its name. state: in Brian.
        amounts: (S,) what a spike adds to it. pairs: (S, 2) source, target. delays: (S,) ms.
        event: of the source.
    """

    name: str
    source: Any
    target: str
    state: str
    amounts: np.ndarray
    pairs: np.ndarray
    delays: np.ndarray
    event: str


def whole(group: Any) -> tuple[Any, int]:
    """(the group that a subgroup is of, index of its first neuron)."""
    start = 0
    # a subgroup may be one of a subgroup
    while hasattr(group, "source") and hasattr(group, "start") and group.source is not group:
        start, group = start + group.start, group.source
    return group, start


def changed_variables(synapses: Any) -> set[str]:
    """Variables of the target that its pathways change."""
    changed = set()
    for pathway in synapses._pathways:
        for name, _, _ in statements(pathway.code, pathway.name):
            name = name.removesuffix("_post")
            if name not in synapses.equations and name in synapses.target.variables:
                changed.add(name)
    return changed


def check_synapses(synapses: Any) -> None:
    """Raise `DescriptionError` for what no connection does."""
    for equation in (*synapses.equations.values(), *(synapses.event_driven or {}).values()):
        if equation.type == "differential equation":
            line = f"d{equation.varname}/dt = {equation.expr}"
            raise DescriptionError(f"{synapses.name}: {short(line)}: {OWN_STATES}")
    for pathway in synapses._pathways:
        if pathway.prepost != "pre" and pathway.code.strip():
            raise DescriptionError(f"{synapses.name}: {short(pathway.code)} in on_post: {PLASTIC}")
    for owned in synapses.contained_objects:
        if type(owned).__name__ == "SummedVariableUpdater":
            line = short(f"{owned.target_varname} = {owned.expression}")
            raise DescriptionError(f"{synapses.name}: the summed variable {line} has no counterpart; {OWN_STATES}")
        if type(owned).__name__ == "CodeRunner":
            raise DescriptionError(f"{synapses.name}: run_regularly({short(owned.abstract_code)}) has no counterpart")


def arrivals(
    synapses: Any, reader: Reader, namespace: Mapping[str, Any], sources: Mapping[str, Reader]
) -> Iterator[Arrivals]:
    """What the pathways of synapses do, a line of on_pre each.

    Args:
        reader: of the target. sources: name -> reader of a source that has equations.
    """
    check_synapses(synapses)
    source, first = whole(synapses.source)
    _, first_target = whole(synapses.target)
    pre, post = np.asarray(synapses.i[:], dtype=int), np.asarray(synapses.j[:], dtype=int)
    pairs = np.stack([pre + first, post + first_target], axis=1)
    for pathway in synapses._pathways:
        if pathway.prepost != "pre":
            continue
        delays = np.asarray(pathway.variables["delay"].get_value(), dtype=np.float64)
        delays = np.broadcast_to(converted(delays, synapses.clock.variables["dt"].dim), (len(pairs),))
        name = synapses.name if pathway.objname == "pre" else f"{synapses.name}_{pathway.objname}"
        scope = _Scope(synapses, reader, sources.get(source.name), namespace, pairs)
        added = list(scope.run(pathway.code, f"{synapses.name}, on_{pathway.objname}"))
        check_units(synapses, namespace, pathway.code)
        for state, amounts in added:
            yield Arrivals(name, source, reader.name, state, amounts, pairs, delays, pathway.event)


class _Scope:
    """Names in the code of a pathway, and their values for every synapse."""

    def __init__(
        self, synapses: Any, target: Reader, source: Reader | None, namespace: Mapping[str, Any], pairs: np.ndarray
    ) -> None:
        self.synapses, self.target, self.source = synapses, target, source
        self.namespace, self.pairs = namespace, pairs
        self.values: dict[str, np.ndarray] = {}

    def run(self, code: str, where: str) -> Iterator[tuple[str, np.ndarray]]:
        """(state of the target in Brian, what is added to it, (S,)) of each line."""
        own: dict[str, ast.expr] = {}
        for name, operator, right in statements(code, where):
            line = f"{name} {operator} {right}"
            value = self._build(tree_of(right, where), line, where, own)
            if name in self.synapses.equations:
                raise DescriptionError(f"{where}: {short(line)}: {PLASTIC}")
            state = name.removesuffix("_post")
            if name.endswith("_pre") and name.removesuffix("_pre") in self.synapses.source.variables:
                raise DescriptionError(f"{where}: {short(line)} changes the source; synapses act on their target only")
            if state not in self.target.states:
                # a name of the line alone, which later lines use: its tree takes its place there
                if operator == "=" and state not in self.target.group.variables:
                    own[name] = value
                    continue
                raise DescriptionError(f"{where}: {short(line)}: {name} is not a state of {self.target.name}")
            if operator not in ("+=", "-="):
                raise DescriptionError(
                    f"{where}: {short(line)} has no counterpart; an arriving spike adds to a state, as in '{name} += w'"
                )
            amount = evaluated(value, self.values, f"{where}: {short(line)}")
            sign = 1.0 if operator == "+=" else -1.0
            yield state, np.broadcast_to(sign * amount, (len(self.pairs),)).astype(np.float64)

    def _build(self, tree: ast.expr, text: str, where: str, own: Mapping[str, ast.expr]) -> ast.expr:
        return Translator(
            lambda name: self._lookup(name, text, where, own), lambda name, arguments: None, text, where
        ).build(tree)

    def _lookup(self, name: str, text: str, where: str, own: Mapping[str, ast.expr]) -> ast.expr:
        equations = self.synapses.equations
        if name in own:
            return own[name]
        if name in equations and equations[name].type == "subexpression":
            inner = str(equations[name].expr)
            return self._build(tree_of(inner, where), inner, f"{self.synapses.name}, {name}", own)
        if name in ("t", "dt", "lastupdate", "t_in_timesteps"):
            raise DescriptionError(
                f"{where}: {name} has no counterpart; a weight does not depend on time, in {short(text)}"
            )
        # Brian's rule: a name without an ending is of the synapse, else of the target
        stem, _, side = name.rpartition("_")
        side, stem = (side, stem) if side in ("pre", "post") and stem in self._end(side).variables else ("post", name)
        if name not in equations and name not in ("i", "j") and stem in self._end(side).variables and stem != "N":
            return self._of_neurons(stem, side, text, where)
        if name in ("i", "j"):
            return self._value(name, self.pairs[:, "ij".index(name)])
        variable = self.synapses.variables.get(name)
        if variable is not None and name in equations:
            numbers = np.asarray(getattr(self.synapses, f"{name}_")[:], dtype=np.float64)
            return self._value(f"of_{name}", converted(np.broadcast_to(numbers, (len(self.pairs),)), variable.dim))
        found = resolved(name, self.synapses, self.namespace, where, text)
        value = float(converted(found.get_value(), found.dim))
        return number(value) if is_known(name, found) else self._value(f"of_{name}", np.asarray(value))

    def _value(self, name: str, values: np.ndarray) -> ast.expr:
        self.values[name] = values
        return ast.Name(name)

    def _end(self, side: str) -> Any:
        return self.synapses.source if side == "pre" else self.synapses.target

    def _of_neurons(self, name: str, side: str, text: str, where: str) -> ast.expr:
        """A variable of a neuron at one end, which must not change."""
        reader = self.source if side == "pre" else self.target
        group = whole(self._end(side))[0]
        if name == "i" or reader is None:
            values = np.asarray(getattr(group, f"{name}_" if name != "i" else "i")[:], dtype=np.float64)
            values = converted(values, group.variables[name].dim)
        elif name in reader.states or name not in reader.equations or reader.equations[name].type != "parameter":
            raise DescriptionError(
                f"{where}: what a spike adds depends on {name} of a neuron, which changes; use a conductance instead: "
                f"let the spike open it, and write the driving force into the equations, in {short(text)}"
            )
        else:
            values = reader.values(name)
        index = self.pairs[:, 0 if side == "pre" else 1]
        return self._value(f"{side}_{name}", values[index])
