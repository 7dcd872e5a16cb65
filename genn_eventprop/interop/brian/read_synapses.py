"""Synapses as connections: what on_pre adds to states of the target, for every synapse as a number; and sums over
synapses (`(summed)`) as states of the target.

States s of the synapses that obey ds/dt = A s, A the same for all synapses of a neuron, act on it through the sum of
c q s, c a number of each synapse and q the same for all. With S the sum of c s that is q S; dS/dt = A S, and a spike
that adds a to s adds c a to S.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import DescriptionError
from .read_expressions import Translator, evaluated, linear, names_in, number, short, statements, tree_of, value_of
from .read_neurons import Reader, check_units, is_known, resolved
from .read_units import converted

PLASTIC = "weights that change during a trial (plasticity) have no counterpart; training changes them instead"
SHORT_TERM = (
    "what a spike does depends on a state of the synapse (short-term plasticity), which has no counterpart: a weight "
    "is a number, which training changes"
)
IN_TIME = "{} of the synapse changes in time by its equation, which has no counterpart: a weight is a number"
A_REST = "has a part without a state of the synapses that obeys an equation"
NOT_SUMMED = (
    "a neuron has no states for each of its synapses, only their sum, which exists where they are linear and alike"
)
TIMES = ("t", "dt", "lastupdate", "t_in_timesteps")
Sums = dict[str, list[tuple[str, np.ndarray]]]
"""State of the synapses -> the states of the target that sum it, with a factor of each synapse (S,)."""


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
    """Variables of the target, and states of the synapses, that its pathways change."""
    changed, own = set(), own_states(synapses)
    for pathway in synapses._pathways:
        for name, _, _ in statements(pathway.code, pathway.name):
            name = name if name in own else name.removesuffix("_post")
            if name in own or (name not in synapses.equations and name in synapses.target.variables):
                changed.add(name)
    return changed


def own_states(synapses: Any) -> dict[str, str]:
    """State of the synapses -> its rate."""
    every = (*synapses.equations.values(), *(synapses.event_driven or {}).values())
    return {e.varname: str(e.expr) for e in every if e.type == "differential equation"}


def summed_variables(synapses: Any) -> dict[str, str]:
    """Variable of the target that is a sum over these synapses -> what is summed."""
    updaters = [o for o in synapses.contained_objects if type(o).__name__ == "SummedVariableUpdater"]
    return {o.target_varname.removesuffix("_post"): str(o.expression) for o in updaters}


def check_synapses(synapses: Any) -> None:
    """Raise `DescriptionError` for what no connection does."""
    for pathway in synapses._pathways:
        if pathway.prepost != "pre" and pathway.code.strip():
            raise DescriptionError(f"{synapses.name}: {short(pathway.code)} in on_post: {PLASTIC}")
    for owned in synapses.contained_objects:
        if type(owned).__name__ == "CodeRunner":
            raise DescriptionError(f"{synapses.name}: run_regularly({short(owned.abstract_code)}) has no counterpart")


def sums(synapses: Any, reader: Reader, namespace: Mapping[str, Any], sources: Mapping[str, Reader]) -> Sums:
    """Give the target the states that its summed variables are made of; arguments as of `arrivals`."""
    made: Sums = {}
    for variable, text in summed_variables(synapses).items():
        scope = _Sum(synapses, reader, sources.get(whole(synapses.source)[0].name), namespace, pairs_of(synapses))
        reader.summed[variable] = scope.total(variable, text, made)
    return made


def pairs_of(synapses: Any) -> np.ndarray:
    """(S, 2) source and target in the whole groups."""
    pre, post = np.asarray(synapses.i[:], dtype=int), np.asarray(synapses.j[:], dtype=int)
    return np.stack([pre + whole(synapses.source)[1], post + whole(synapses.target)[1]], axis=1)


def arrivals(
    synapses: Any, reader: Reader, namespace: Mapping[str, Any], sources: Mapping[str, Reader], summed: Sums
) -> Iterator[Arrivals]:
    """What the pathways of synapses do, a line of on_pre each.

    Args:
        reader: of the target. sources: name -> reader of a source that has equations. summed: of `sums`.
    """
    source, pairs = whole(synapses.source)[0], pairs_of(synapses)
    for pathway in synapses._pathways:
        if pathway.prepost != "pre":
            continue
        delays = np.asarray(pathway.variables["delay"].get_value(), dtype=np.float64)
        delays = np.broadcast_to(converted(delays, synapses.clock.variables["dt"].dim), (len(pairs),))
        name = synapses.name if pathway.objname == "pre" else f"{synapses.name}_{pathway.objname}"
        scope = _Scope(synapses, reader, sources.get(source.name), namespace, pairs, summed)
        added = list(scope.run(pathway.code, f"{synapses.name}, on_{pathway.objname}"))
        check_units(synapses, namespace, pathway.code)
        for state, amounts in added:
            yield Arrivals(name, source, reader.name, state, amounts, pairs, delays, pathway.event)


class _Scope:
    """Names in the code of a pathway, and their values for every synapse."""

    def __init__(
        self,
        synapses: Any,
        target: Reader,
        source: Reader | None,
        namespace: Mapping[str, Any],
        pairs: np.ndarray,
        summed: Sums | None = None,
    ) -> None:
        self.synapses, self.target, self.source = synapses, target, source
        self.namespace, self.pairs, self.summed = namespace, pairs, summed or {}
        self.states = own_states(synapses)
        self.values: dict[str, np.ndarray] = {}
        self.dimensions: dict[str, Any] = {}

    def run(self, code: str, where: str) -> Iterator[tuple[str, np.ndarray]]:
        """(state of the target in Brian, what is added to it, (S,)) of each line."""
        own: dict[str, ast.expr] = {}
        for name, operator, right in statements(code, where):
            line = f"{name} {operator} {right}"
            value = self._build(tree_of(right, where), line, where, own)
            if name in self.synapses.equations and name not in self.states:
                raise DescriptionError(f"{where}: {short(line)}: {PLASTIC}")
            state = name.removesuffix("_post")
            if name.endswith("_pre") and name.removesuffix("_pre") in self.synapses.source.variables:
                raise DescriptionError(f"{where}: {short(line)} changes the source; synapses act on their target only")
            if name in self.states:
                if operator not in ("+=", "-="):
                    raise DescriptionError(f"{where}: {short(line)}: {SHORT_TERM}")
                amount = evaluated(value, self.values, f"{where}: {short(line)}") * (1.0 if operator == "+=" else -1.0)
                for total, factors in self.summed.get(name, []):
                    yield total, amount * factors
                continue
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
        if name in self.states:
            why = SHORT_TERM if name in changed_variables(self.synapses) else IN_TIME.format(name)
            raise DescriptionError(f"{where}: {short(text)}: {why}")
        if name in equations and equations[name].type == "subexpression":
            inner = str(equations[name].expr)
            return self._build(tree_of(inner, where), inner, f"{self.synapses.name}, {name}", own)
        if name in TIMES:
            raise DescriptionError(
                f"{where}: {name} has no counterpart; a weight does not depend on time, in {short(text)}"
            )
        if (found := self._place(name)) is not None:
            return self._of_neurons(*found, text, where)
        if name in ("i", "j"):
            return self._value(name, self.pairs[:, "ij".index(name)])
        variable = self.synapses.variables.get(name)
        if variable is not None and name in equations:
            numbers = np.asarray(getattr(self.synapses, f"{name}_")[:], dtype=np.float64)
            values = converted(np.broadcast_to(numbers, (len(self.pairs),)), variable.dim)
            return self._value(f"of_{name}", values, variable.dim)
        return self._constant(name, text, where)

    def _constant(self, name: str, text: str, where: str) -> ast.expr:
        constant = resolved(name, self.synapses, self.namespace, where, text)
        found = converted(constant.get_value(), constant.dim)
        if np.size(found) != 1:
            raise DescriptionError(
                f"{where}: {name} has {np.size(found)} values, one for each neuron, in {short(text)}; use a variable "
                "of the synapses, which has one for each of them"
            )
        value = float(found)
        if not np.isfinite(value):
            raise DescriptionError(f"{where}: {name} is {value}, which no weight can be, in {short(text)}")
        return number(value) if is_known(name, constant) else self._value(f"of_{name}", np.asarray(value), constant.dim)

    def _place(self, name: str) -> tuple[str, str] | None:
        """(variable, "pre" or "post") of a name that belongs to a neuron at one end; None of any other."""
        # Brian's rule: a name without an ending is of the synapse, else of the target
        stem, _, side = name.rpartition("_")
        side, stem = (side, stem) if side in ("pre", "post") and stem in self._end(side).variables else ("post", name)
        of_neuron = name not in self.synapses.equations and name not in ("i", "j") and stem != "N"
        return (stem, side) if of_neuron and stem in self._end(side).variables else None

    def _value(self, name: str, values: np.ndarray, dimensions: Any = None) -> ast.expr:
        self.values[name], self.dimensions[name] = values, dimensions
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
        elif (
            {name} & {*reader.states, *reader.summed}
            or name not in reader.equations
            or reader.equations[name].type != "parameter"
        ):
            raise DescriptionError(
                f"{where}: what a spike adds depends on {name} of a neuron, which changes; use a conductance instead: "
                f"let the spike open it, and write the driving force into the equations, in {short(text)}"
            )
        else:
            values = reader.values(name)
        index = self.pairs[:, 0 if side == "pre" else 1]
        return self._value(f"{side}_{name}", values[index], group.variables[name].dim)


class _Sum(_Scope):
    """The same for an expression that the target sums: what belongs to the target stays a name of its equations."""

    def total(self, variable: str, text: str, made: Sums) -> ast.expr:
        """What a summed variable is, in states of the target, which are added to `made`."""
        where = f"{self.synapses.name}, {variable} (summed)"
        tree = self._build(tree_of(text, where), text, where, {})
        rest: ast.expr | None = tree
        # factors of the synapses, and what multiplies each state beside them
        classes: list[tuple[np.ndarray, dict[str, ast.expr]]] = []
        for s in sorted(names_in(tree) & set(self._marked())):
            parts = None if rest is None else linear(rest, s)
            if parts is None or parts[1] is None or names_in(parts[1]) & set(self._marked()):
                raise DescriptionError(f"{where}: {short(text)} is not linear in states of the synapses; {NOT_SUMMED}")
            with np.errstate(all="ignore"):
                rest, (factors, common) = parts[0], self._split(parts[1], where, text)
            if not np.isfinite(factors).all():
                raise DescriptionError(f"{where}: {short(text)} has factors that are not finite")
            for other, to in classes:
                ratio = factors[0] / other[0] if other[0] else np.nan
                if np.allclose(factors, ratio * other, rtol=1e-13, atol=0):
                    to[s] = _product(common, number(float(ratio)))
                    break
            else:
                classes.append((factors, {s: common}))
        if rest is not None and value_of(rest) != 0:
            raise DescriptionError(f"{where}: {short(text)} {A_REST}; {NOT_SUMMED}")
        total: ast.expr | None = None
        for k, (factors, common_of) in enumerate(classes):
            names = self._states_of_target(set(common_of), factors, f"_{k + 1}" if k else "", made)
            for s, common in common_of.items():
                term = _product(common, ast.Name(names[s]))
                total = term if total is None else ast.BinOp(total, ast.Add(), term)
        return number(0) if total is None else total

    def _marked(self) -> dict[str, str]:
        """The name that a state has here -> its own."""
        return {f"own_{s}": s for s in self.states}

    def _states_of_target(self, wanted: set[str], factors: np.ndarray, ending: str, made: Sums) -> dict[str, str]:
        """Give the target the sums of these states and of all that their rates need: name here -> name there."""
        marked, rates = self._marked(), dict[str, ast.expr]()
        waiting = sorted(wanted)
        while waiting:
            s = waiting.pop()
            rates[s] = self._linear_rate(self.states[marked[s]], f"{self.synapses.name}, d{marked[s]}/dt")
            waiting += sorted((names_in(rates[s]) & set(marked)) - set(rates) - set(waiting))
        names = {}
        for s in sorted(rates):
            names[s] = self.target.new_name(f"{marked[s]}_{self.synapses.name}{ending}")
            now = np.asarray(getattr(self.synapses, f"{marked[s]}_")[:], dtype=np.float64)
            start = np.zeros(self.target.size)
            np.add.at(start, self.pairs[:, 1], factors * converted(now, self.synapses.variables[marked[s]].dim))
            self.target.sums[names[s]] = number(0), start
            made.setdefault(marked[s], []).append((names[s], factors))
        for s, rate in rates.items():
            self.target.sums[names[s]] = _renamed(rate, names), self.target.sums[names[s]][1]
        return names

    def _linear_rate(self, text: str, where: str) -> ast.expr:
        """A rate, which must be a sum of states with amounts that all synapses of a neuron share."""
        terms: list[ast.expr] = []
        tree = self._build(tree_of(text, where), text, where, {})
        rest: ast.expr | None = tree
        for s in sorted(names_in(tree) & set(self._marked())):
            parts = None if rest is None else linear(rest, s)
            if parts is None or parts[1] is None or names_in(parts[1]) & set(self._marked()):
                raise DescriptionError(f"{where}: {short(text)} is not linear in states of the synapses; {NOT_SUMMED}")
            rest = parts[0]
            terms.append(_product(self._of_target(parts[1], where, text), ast.Name(s)))
        if not terms or (rest is not None and value_of(rest) != 0):
            raise DescriptionError(f"{where}: {short(text)} {A_REST}; {NOT_SUMMED}")
        total = terms[0]
        for term in terms[1:]:
            total = ast.BinOp(total, ast.Add(), term)
        return total

    def _split(self, node: ast.expr, where: str, text: str) -> tuple[np.ndarray, ast.expr]:
        """A product as (factors of the synapses (S,), what all synapses of a neuron share)."""
        if names_in(node) and names_in(node) <= set(self.values):
            return np.broadcast_to(evaluated(node, self.values, where), (len(self.pairs),)).astype(float), number(1)
        if isinstance(node, ast.UnaryOp):
            factors, common = self._split(node.operand, where, text)
            return -factors, common
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
            left, right = self._split(node.left, where, text), self._split(node.right, where, text)
            divides = isinstance(node.op, ast.Div)
            factors = left[0] / right[0] if divides else left[0] * right[0]
            return factors, ast.BinOp(left[1], node.op, right[1]) if divides else _product(left[1], right[1])
        return np.ones(len(self.pairs)), self._of_target(node, where, text)

    def _of_target(self, node: ast.expr, where: str, text: str) -> ast.expr:
        """An expression that all synapses of a neuron share, in names of the target."""
        names = {}
        for n in sorted(names_in(node) & set(self.values)):
            values = np.broadcast_to(self.values[n], (len(self.pairs),))
            of_neurons = np.full(self.target.size, float(values[0]))
            of_neurons[self.pairs[:, 1]] = values
            if (of_neurons[self.pairs[:, 1]] != values).any():
                raise DescriptionError(
                    f"{where}: {n.removeprefix('of_')} differs between synapses of one neuron, in {short(text)}; "
                    f"{NOT_SUMMED}; use Synapses for each value"
                )
            name = f"{n.removeprefix('of_')}_{self.synapses.name}"
            names[n] = ast.unparse(self.target.parameter(name, of_neurons, self.dimensions[n]))
        return _renamed(node, names)

    def _lookup(self, name: str, text: str, where: str, own: Mapping[str, ast.expr]) -> ast.expr:
        if name in self.states:
            return ast.Name(f"own_{name}")
        place = None if name in TIMES else self._place(name)
        if place is not None and place[1] == "post":
            return self.target.lookup(place[0], where, text, {})
        if place is not None and self.source is not None and place[0] in {*self.source.states, *self.source.summed}:
            raise DescriptionError(
                f"{where}: {place[0]} of the source changes, in {short(text)}; a neuron sees spikes of others and "
                "its own states, so that a coupling at all times has no counterpart"
            )
        return super()._lookup(name, text, where, own)

    def _constant(self, name: str, text: str, where: str) -> ast.expr:
        return self.target.constant(name, self.synapses, where, text)


def _product(a: ast.expr, b: ast.expr) -> ast.expr:
    """a b, without a factor of 1, and b / c for a quotient 1 / c."""
    if value_of(b) == 1:
        return a
    if value_of(a) == 1:
        return b
    if isinstance(a, ast.BinOp) and isinstance(a.op, ast.Div) and value_of(a.left) in (1, -1):
        return ast.BinOp(
            _product(a.left, b) if value_of(a.left) == 1 else ast.UnaryOp(ast.USub(), b), ast.Div(), a.right
        )
    return ast.BinOp(a, ast.Mult(), b)


def _renamed(node: ast.expr, names: Mapping[str, str]) -> ast.expr:
    """A copy with other names."""
    node = copy.deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            part.id = names.get(part.id, part.id)
    return node
