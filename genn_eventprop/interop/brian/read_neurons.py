"""A NeuronGroup as a model of its equations, with a value of every parameter for every neuron."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import DescriptionError
from ...modelling import Event, Mode, Neuron, NeuronModel, Param
from ...modelling.names import FORMULA
from .package import brian_package
from .read_expressions import (
    NO_NOISE,
    Translator,
    applied,
    evaluated,
    linear,
    names_in,
    number,
    random_in,
    short,
    statements,
    text_of,
    tree_of,
    value_of,
)  # fmt: skip
from .read_units import converted, unit_name

Receptors = Mapping[str, Mapping[str, float]]
OWN = ("lastspike", "not_refractory")
READOUTS = ("V", "v", "Vm", "vm")


@dataclass(frozen=True, eq=False)
class Drive:
    """A TimedArray that drives states of a group.

    Args:
        array: of Brian. columns: (N,) the column of every neuron; None: there is one for all.
    """

    array: Any
    columns: np.ndarray | None


@dataclass(eq=False)
class Reader:
    """One NeuronGroup, as its equations are read.

    Args:
        group: of Brian. namespace: of the run. targets: variables that synapses change.
        emitting: the event whose spikes synapses send. start: of t, in ms.

    Attributes:
        states: names in Brian, in the order of the equations. parameters: name here -> (values (N,), unit).
        drives: name here -> `Drive`. lost: what the model does not say.
        summed: variable that is a sum over synapses -> what it is, None before that is known.
        sums: states that are sums over synapses -> (rate, (N,) at the start), see `read_summed`.
    """

    group: Any
    namespace: Mapping[str, Any]
    targets: frozenset[str] = frozenset()
    emitting: str = "spike"
    start: float = 0.0
    parameters: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    drives: dict[str, Drive] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    summed: dict[str, ast.expr | None] = field(default_factory=dict)
    sums: dict[str, tuple[ast.expr, np.ndarray]] = field(default_factory=dict)
    uses_time: bool = False
    _extra: list[str] = field(default_factory=list)  # states that the equations do not have
    _open: list[str] = field(default_factory=list)  # subexpressions that are being replaced

    def __post_init__(self) -> None:
        self.name, self.equations = self.group.name, self.group.user_equations
        self.codes = {event: self._code(event) for event in self.group.events}
        changed = {s for code in self.codes.values() for s, _, _ in code} | self.targets
        self.states = [n for n in self.equations if self._is_state(n, changed)]
        self.flagged = [s for s in self.states if "unless refractory" in self.equations[s].flags]
        self.size = len(self.group)
        for n, equation in self.equations.items():
            if "linked" in equation.flags and self.group.variables[n].owner is not self.group:
                self._check_linked(n)

    # names

    def _is_state(self, name: str, changed: set[str]) -> bool:
        kind = self.equations[name].type
        if kind == "parameter" and name in changed:
            if self.equations[name].var_type != "float":
                raise self.fail(f"{name} is changed by spikes, but it is {self.equations[name].var_type}")
            return True
        return kind == "differential equation"

    def fail(self, what: str) -> DescriptionError:
        return DescriptionError(f"{self.name}: {what}")

    def _code(self, event: str) -> list[tuple[str, str, str]]:
        return statements(self.group.event_codes.get(event) or "", f"{self.name}, reset of {event}")

    def _check_linked(self, name: str) -> None:
        variable = self.group.variables[name]
        source = getattr(variable.owner, "user_equations", {})
        if getattr(variable, "name", "") in source and source[variable.name].type != "parameter":
            raise self.fail(
                f"{name} is linked to {variable.owner.name}.{variable.name}, which changes; here a neuron sees only "
                "its own states, so write its equation into this group"
            )

    def here(self, name: str) -> str:
        """The name of a state or parameter here: Brian's, with an underscore if ours do not allow it."""
        taken = name in FORMULA or keyword.iskeyword(name) or name.startswith("_")
        return f"{name.lstrip('_')}_" if taken else name

    def new_name(self, name: str) -> str:
        """A name that no variable of the group has."""
        while any(name in taken for taken in (self.equations, self.parameters, self.drives, self.sums)):
            name += "_"
        return name

    def changing(self) -> set[str]:
        """The names here of what changes between events."""
        return {self.here(s) for s in self.states} | set(self.sums)

    def values(self, name: str) -> np.ndarray:
        """(N,) the values that a variable of the group has now, in our units."""
        variable = self.group.variables[name]
        numbers = np.asarray(getattr(self.group, f"{name}_")[:], dtype=np.float64)
        return converted(np.broadcast_to(numbers, (self.size,)), variable.dim)

    def lookup(self, name: str, where: str, text: str, names: Mapping[str, ast.expr]) -> ast.expr:
        """The node of a name; `names` come first."""
        if name in names:
            return names[name]
        if name == "not_refractory":
            return ast.Constant(True)
        if name == "t":
            self.uses_time = True
            return ast.Name(self.new_name("time"))
        if name in ("dt", "t_in_timesteps", "lastspike"):
            raise DescriptionError(f"{where}: {name} has no counterpart in continuous time, in {short(text)}")
        if name in self.states:
            return ast.Name(self.here(name))
        if name in self.summed:
            if (total := self.summed[name]) is None:
                raise DescriptionError(f"{where}: {name} is itself a sum over synapses, in {short(text)}")
            return total
        if name in self.equations and self.equations[name].type == "subexpression":
            if name in self._open:
                raise DescriptionError(f"{where}: {name} is defined by itself")
            self._open.append(name)
            try:
                inner = str(self.equations[name].expr)
                return self.build(tree_of(inner, where), inner, f"{self.name}, {name}", names)
            finally:
                self._open.pop()
        if name in self.equations or name == "i":
            return self.parameter(name, self.values(name), self.group.variables[name].dim)
        return self.constant(name, self.group, where, text)

    def constant(self, name: str, group: Any, where: str, text: str) -> ast.expr:
        """A name of a namespace: a number for units and for what Brian defines, a parameter for all else."""
        found = resolved(name, group, self.namespace, where, text)
        value = converted(found.get_value(), found.dim)
        if not np.isfinite(value):
            raise DescriptionError(f"{where}: {name} is {value}, which no equation can have, in {short(text)}")
        if name == "N" or is_known(name, found):
            return number(float(value))
        return self.parameter(name, np.full(self.size, float(value)), found.dim)

    def parameter(self, name: str, values: np.ndarray, dimensions: Any, unit: str | None = None) -> ast.expr:
        here, unit = self.here(name), unit_name(dimensions) if unit is None else unit
        if not np.isfinite(values).all():
            raise self.fail(f"{name} has values that are not finite")
        # synapses may have a namespace of their own
        while here in self.parameters and not np.array_equal(self.parameters[here][0], values):
            here += "_"
        # the unit says that it is a time constant, which is positive
        self.parameters[here] = values, "" if unit == "ms" and (values <= 0).any() else unit
        return ast.Name(here)

    # expressions

    def build(self, tree: ast.expr, text: str, where: str, names: Mapping[str, ast.expr]) -> ast.expr:
        return Translator(
            lambda name: self.lookup(name, where, text, names),
            lambda name, arguments: self._call(name, arguments, text, where, names),
            text,
            where,
        ).build(tree)

    def _call(
        self, name: str, arguments: list[ast.expr], text: str, where: str, names: Mapping[str, ast.expr]
    ) -> ast.expr | None:
        """A TimedArray as the drive that it is; None of another function."""
        b2 = brian_package()
        array = resolved(name, self.group, self.namespace, where, text, functions=True)
        if not isinstance(array, b2.TimedArray):
            return None
        if ast.unparse(arguments[0]) != "t":
            raise DescriptionError(
                f"{where}: {name}({ast.unparse(arguments[0])}) has no counterpart, only {name}(t) has; shift its "
                f"values instead, in {short(text)}"
            )
        columns = None
        if len(arguments) > 1:
            index = self.build(arguments[1], text, where, names)
            columns = np.broadcast_to(evaluated(index, self.numbers(), where), (self.size,)).astype(int)
            if (columns < 0).any() or (columns >= array.values.shape[1]).any():
                raise DescriptionError(f"{where}: {name} has no column for every neuron, in {short(text)}")
        for here, drive in self.drives.items():
            same = drive.columns is columns or (
                drive.columns is not None and columns is not None and np.array_equal(drive.columns, columns)
            )
            if drive.array is array and same:
                return ast.Name(here)
        here = self.new_name(self.here(name))
        self.drives[here] = Drive(array, columns)
        return ast.Name(here)

    def numbers(self) -> dict[str, np.ndarray]:
        """Parameter -> its values."""
        return {n: values for n, (values, _) in self.parameters.items()}

    def expression(self, text: str, where: str, names: Mapping[str, ast.expr] | None = None) -> ast.expr:
        return self.build(tree_of(text, where), text, where, names or {})

    def fixed(self, node: ast.expr, where: str, text: str) -> ast.expr:
        """A node without a TimedArray in it."""
        if used := names_in(node) & set(self.drives):
            raise DescriptionError(
                f"{where}: {min(used)}(t) may only drive states, as in dv/dt = ... + {min(used)}(t), in {short(text)}"
            )
        return node

    # the model

    def neuron(self, receptors: Receptors) -> Neuron:
        """The model with the values of the group's parameters.

        Args:
            receptors: receptor -> {state in Brian: amount}.
        """
        period = self._refractory()
        hold = [s for s in self.flagged if period and any(s in r for r in receptors.values())]
        free = {s: self.rate(s, {}) for s in self.states}
        events, modes = self._events(period, hold)
        dynamics, drives = {}, dict[str, dict[str, str]]()
        for s, rate in free.items():
            dynamics[self.here(s)] = self._driven(s, rate, drives)
        state = {self.here(s): self._start(self.here(s), self.values(s)) for s in self.states}
        for s, (rate, start) in self.sums.items():
            state[s], dynamics[s] = self._start(s, start), text_of(self.fixed(rate, f"{self.name}, {s}", text_of(rate)))
        if self.uses_time:
            clock = self.new_name("time")
            state, dynamics = state | {clock: self.start}, dynamics | {clock: "1"}
        for s in self._extra:
            state, dynamics = state | {s: 0.0}, dynamics | {s: "0"}
        if not state:
            raise self.fail("no equation and nothing that spikes change: there is nothing to learn")
        check_units(self.group, self.namespace, self.group.equations, *self.group.event_codes.values())
        model = NeuronModel(
            name=self.name,
            state=state,
            params={n: Param(float(v.flat[0]), unit) for n, (v, unit) in self.parameters.items()},
            dynamics=dynamics,
            events=events,
            modes=modes,
            input={r: {self.here(s): a for s, a in to.items()} for r, to in receptors.items()} or None,
            drives=drives,
            readout=self._readout(state, events),
        )
        several = {n: v for n, (v, _) in self.parameters.items() if np.unique(v).size > 1}
        return model(**several)

    def rate(self, s: str, names: Mapping[str, ast.expr]) -> ast.expr:
        """The derivative of a state; `names` come first."""
        equation = self.equations[s]
        if equation.type == "parameter":
            return number(0)
        return self.expression(str(equation.expr), f"{self.name}, d{s}/dt", names)

    def _driven(self, s: str, rate: ast.expr, drives: dict[str, dict[str, str]]) -> str:
        """The rate without drives; what they add is noted in `drives`."""
        used = sorted(names_in(rate) & set(self.drives))
        if not used:
            return text_of(rate)
        rest: ast.expr | None = rate
        for u in used:
            parts = None if rest is None else linear(rest, u)
            if parts is None or (parts[1] is not None and names_in(parts[1]) & set(used)):
                raise DescriptionError(
                    f"{self.name}, d{s}/dt: {u}(t) must enter linearly, as a current does, in {short(text_of(rate))}"
                )
            rest, amount = parts
            if amount is not None:
                drives.setdefault(u, {})[self.here(s)] = text_of(amount)
        return "0" if rest is None else text_of(rest)

    def _start(self, s: str, values: np.ndarray) -> str | float:
        if not np.isfinite(values).all():
            raise self.fail(f"{s} starts with values that are not finite; set {s} of the group")
        if np.unique(values).size == 1:
            return float(values[0])
        name = self.new_name(f"{s}_start")
        self.parameters[name] = values, ""
        return name

    def _readout(self, state: Iterable[str], events: Iterable[Event]) -> str:
        usual = [s for s in READOUTS if s in state]
        crossing = [s for e in events if e.emits for s in state if s in names_in(tree_of(str(e.threshold), self.name))]
        return [*usual, *crossing, *state][0]

    # events

    def _refractory(self) -> str:
        """ "" if there is none, "lasts" and the parameter of its length, or "until" and an expression that is below
        zero in the period."""
        period, where = self.group._refractory, f"{self.name}, refractory"
        if "spike" not in self.group.events:
            return ""
        condition = self.group.events["spike"]
        again = period is False or (isinstance(period, str) and period.split() == condition.split())
        if again and not self.codes["spike"] and not self.flagged:
            # no reset: the next spike needs V below the threshold, by more than a rounding error
            return f"until -({text_of(self._above(condition, where))}) - 1e-06"
        if period is False:
            return ""
        if not isinstance(period, str):
            values = np.full(self.size, float(converted(float(period), brian_package().second.dim)))
            return self._lasting("refractory", values)
        tree = tree_of(period, where)
        if isinstance(tree, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            above = self._above(period, where)
            return f"until -({text_of(above)})"
        length = self.build(tree, period, where, {})
        if names_in(length) & self.changing() or self.uses_time:
            raise DescriptionError(f"{where}: {short(period)} depends on a state; its length must be a parameter")
        values = np.broadcast_to(evaluated(length, self.numbers(), where), (self.size,))
        if isinstance(length, ast.Name) and (values > 0).all():
            self.parameters[length.id] = values, "ms"
            return f"lasts {length.id}"
        return self._lasting("refractory", values)

    def _lasting(self, name: str, values: np.ndarray) -> str:
        if not values.any():
            return ""
        if (values <= 0).any():
            raise self.fail("the refractory period is not positive for every neuron")
        here = self.new_name(name)
        self.parameters[here] = values, "ms"
        return f"lasts {here}"

    def _above(self, text: str, where: str) -> ast.expr:
        """What crosses zero from below when a condition comes true."""
        parts = self._conditions(text, where)
        if len(parts) > 1:
            raise DescriptionError(
                f"{where}: {short(text)} is not one comparison; here an event has one threshold, such as v > v_thresh"
            )
        return parts[0]

    def _conditions(self, text: str, where: str) -> list[ast.expr]:
        """What crosses zero from below for each of the comparisons that "and" joins."""
        tree = tree_of(text, where)
        joined = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
        found = []
        for part in joined:
            if isinstance(part, ast.Name) and part.id == "not_refractory" and len(joined) > 1:
                continue
            if not isinstance(part, ast.Compare) or len(part.ops) != 1:
                raise DescriptionError(
                    f"{where}: {short(text)} is not a comparison; a threshold is one, such as v > v_thresh"
                )
            left, right = part.left, part.comparators[0]
            if isinstance(part.ops[0], (ast.Lt, ast.LtE)):
                left, right = right, left
            elif not isinstance(part.ops[0], (ast.Gt, ast.GtE)):
                raise DescriptionError(f"{where}: {short(text)} is true at isolated points; use >, >=, < or <=")
            node = self.build(ast.BinOp(left, ast.Sub(), right), text, where, {})
            found.append(self.fixed(node, where, text))
        return found

    def _waits(self, part: ast.expr) -> bool:
        """Whether a condition comes true by itself after a time, as timer > 50 * ms does with dtimer/dt = 1."""
        used = [s for s in self.states if self.here(s) in names_in(part)]
        if len(used) != 1 or used[0] in self.targets or self.uses_time:
            return False
        rate, amount = value_of(self.rate(used[0], {})), linear(part, self.here(used[0]))
        slope = None if amount is None or amount[1] is None else value_of(amount[1])
        return rate is not None and slope is not None and rate * slope > 0

    def _events(self, period: str, hold: list[str]) -> tuple[list[Event], list[Mode]]:
        """Events, and the modes: of the refractory period, and "open", when enough time has passed.

        Brian ignores what arrives at a variable that stands still while refractory. Here it moves the state, so that
        the end of such a period is an event that sets the state back; the equations of others see the value that it is
        set back to.
        """
        self._extra = []
        modes: list[Mode] = []
        events, kind, last = [], period.partition(" ")[0], period.partition(" ")[2]
        resets = {event: self._reset(event) for event in self.group.events}
        back: dict[str, ast.expr] = {}
        if hold:
            timer = self.new_name("timer")
            self._extra += [timer] if kind == "lasts" else []
            spike = resets["spike"]
            for s in hold:
                after = spike.get(s, ast.Name(self.here(s)))
                if names_in(after) & self.changing():
                    kept = self.new_name(f"{self.here(s)}_held")
                    self._extra.append(kept)
                    spike[kept], after = after, ast.Name(kept)
                back[s] = after
            if kind == "lasts":
                spike[timer] = number(0)
            self.lost.append(
                f"{self.name}: in a refractory period {', '.join(hold)} shows what arrives, which Brian ignores; it is "
                "gone when the period ends"
            )
        for event, condition in self.group.events.items():
            where = f"{self.name}, threshold of {event}"
            parts = self._conditions(str(condition), where)
            waits = [part for part in parts if self._waits(part)]
            if len(parts) == 2 and len(waits) == 1 and list(self.group.events) == ["spike"]:
                threshold = next(text_of(part) for part in parts if part is not waits[0])
                modes.append(Mode("open", {}))
                events.append(Event("opens", text_of(waits[0]), emits=False, modes=("free",), next_mode="open"))
            else:
                threshold = text_of(self._above(str(condition), where))
            if not resets[event] and self.group._refractory is False:
                self.lost.append(
                    f"{self.name}: {event} happens once at each crossing of {short(condition)}; without a reset, Brian "
                    "repeats it in every time step above"
                )
            follows = "refractory" if event == "spike" and period else "free" if modes else None
            events.append(
                Event(
                    event, threshold, {self.here(s): text_of(v) for s, v in resets[event].items()},
                    emits=event == self.emitting, next_mode=follows,
                    modes=("open",) if modes else ("free",) if follows else (),
                )
            )  # fmt: skip
        if not period:
            return events, modes
        names = {"not_refractory": number(0)} | back
        frozen: dict[str, Any] = {}
        for s in self.states:
            rate = number(0) if s in self.flagged else self.rate(s, names)
            if text_of(rate) != text_of(self.rate(s, {})):
                frozen[self.here(s)] = text_of(
                    self.fixed(rate, f"{self.name}, d{s}/dt while refractory", text_of(rate))
                )
        if not hold and kind == "lasts":
            return events, [*modes, Mode("refractory", frozen, lasts=last)]
        if hold and kind == "lasts":
            frozen[self._extra[0]] = "1"
            last = f"{self._extra[0]} - {last}"
        set_back = {self.here(s): text_of(v) for s, v in back.items()}
        events.append(Event("end", last, set_back, emits=False, modes=("refractory",), next_mode="free"))
        return events, [*modes, Mode("refractory", frozen)]

    def _reset(self, event: str) -> dict[str, ast.expr]:
        """State in Brian -> its value after the event, in those before; the lines of a reset follow one another."""
        now: dict[str, ast.expr] = {}
        for s, operator, right in self.codes[event]:
            where, line = f"{self.name}, reset of {event}", f"{s} {operator} {right}"
            value = self.build(tree_of(right, where), line, where, now)
            if operator != "=":
                value = applied(self.lookup(s, where, line, now), operator, value)
            if s in self.equations and s not in self.states:
                raise DescriptionError(f"{where}: {s} cannot be set, in {short(line)}")
            now[s] = self.fixed(value, where, line)
        return {s: v for s, v in now.items() if s in self.states}


def check_not_random(group: Any) -> None:
    """Raise `DescriptionError` for noise in equations: it is the first thing to say of them."""
    for name, equation in group.user_equations.items():
        if equation.type == "parameter":
            continue
        text = str(equation.expr)
        what = f"d{name}/dt" if equation.type == "differential equation" else name
        for word in random_in(tree_of(text, f"{group.name}, {what}")):
            raise DescriptionError(f"{group.name}, {what}: {word} is random ({NO_NOISE}), in {short(text)}")


def check_units(group: Any, namespace: Mapping[str, Any], *codes: Any) -> None:
    """Let Brian check the units of its equations and statements.

    Raises:
        DescriptionError: they do not match, or Brian does not get that far.
    """
    from brian2.codegen.translation import get_identifiers_recursively
    from brian2.equations.unitcheck import check_units_statements

    try:
        for code in codes:
            if not isinstance(code, str):
                code.check_units(group, namespace)
                continue
            lines = statements(code, group.name)
            used = get_identifiers_recursively([right for _, _, right in lines], group.variables)
            local = {s for s, _, _ in lines if s not in group.variables}
            names = group.resolve_all((used | {s for s, _, _ in lines}) - local, namespace)
            check_units_statements("\n".join(map(" ".join, lines)), names)
    except Exception as error:  # of any kind
        what = " ".join(f"{error}".split())
        raise DescriptionError(f"{group.name}: Brian says of its units: {what}") from None


def is_known(name: str, constant: Any) -> bool:
    """Whether a name is a unit or constant that Brian defines."""
    from brian2.core.namespace import DEFAULT_CONSTANTS, DEFAULT_UNITS

    for table in (DEFAULT_CONSTANTS, DEFAULT_UNITS):
        if name in table:
            known = table[name]
            return bool(np.all(np.asarray(getattr(known, "value", known)) == np.asarray(constant.get_value())))
    return False


def resolved(
    name: str, group: Any, namespace: Mapping[str, Any], where: str, text: str, functions: bool = False
) -> Any:
    """What Brian finds by a name: a `Variable`, or with `functions` one.

    Raises:
        DescriptionError: nothing, or something that is not a number (with `functions`: a function).
    """
    try:
        found = group._resolve(name, namespace, user_identifier=False)
    except KeyError:
        raise DescriptionError(
            f"{where}: {name!r} is defined nowhere, in {short(text)}; give from_brian the names of your script, "
            "namespace=..."
        ) from None
    if isinstance(found, brian_package().Function) != functions:
        what = "a function, which needs arguments" if not functions else "a number, not a function"
        raise DescriptionError(f"{where}: {name} is {what}, in {short(text)}")
    return found
