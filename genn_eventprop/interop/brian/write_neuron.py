"""A neuron model as the texts of a `NeuronGroup`: equations with units, threshold, reset, refractory period, events."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sympy as sp

from ...errors import DescriptionError
from ...modelling import Event, NeuronModel
from ...modelling.expressions import parse
from ...modelling.neuron import FREE, Expression
from ...modelling.units import Unit, check_units, parse_unit
from .package import brian_package

PER_MS = parse_unit("1/ms")
_SINGLE = {
    n: parse_unit(n) for n in ("nS", "uS", "S", "pF", "nF", "uF", "F", "nA", "uA", "A", "V", "s", "Hz", "kOhm", "MOhm")
}
_IN_BRIAN = {"S": "siemens", "F": "farad", "A": "amp", "V": "volt", "s": "second", "kOhm": "kohm", "MOhm": "Mohm"}
_PARTS = {"V": ("mV", 3), "s": ("ms", 3), "A": ("pA", 12)}
"""Base -> the unit that a product is written in, and how many powers of ten the base is of it."""
_DIMENSIONS = {
    "volt": {"V": 1}, "amp": {"A": 1}, "second": {"s": 1}, "siemens": {"A": 1, "V": -1}, "ohm": {"V": 1, "A": -1},
    "farad": {"A": 1, "s": 1, "V": -1}, "hertz": {"s": -1}, "coulomb": {"A": 1, "s": 1}, "1": {},
}  # fmt: skip


@dataclass(frozen=True)
class WrittenNeuron:
    """What a `NeuronGroup` is made with.

    Attributes:
        equations: lines. threshold, refractory: None where there is none. reset: statements.
        events: event of Brian -> (condition, statements). emitting: the events of Brian that are spikes.
        start: variable -> the text of its initial value. names: state or parameter -> variable.
        units: parameter -> its unit. amounts: receptor -> {variable: amount per unit weight, "" for 1}.
        weights: receptor -> unit of the weights of spikes.
    """

    equations: list[str]
    threshold: str | None
    reset: list[str]
    refractory: str | None
    events: dict[str, tuple[str, list[str]]]
    emitting: list[str]
    start: dict[str, str]
    names: dict[str, str]
    units: dict[str, Unit]
    amounts: dict[str, dict[str, str]]
    weights: dict[str, Unit]


def times(value: str, unit: Unit) -> str:
    """A number with its unit, as Brian has it: 20.0*ms, 0.04/mV/ms."""
    for name, single in _SINGLE.items():
        if unit == single:
            return f"{value}*{_IN_BRIAN.get(name, name)}"
    power = unit.get("10", Fraction(0)) + sum(e * _PARTS[b][1] for b, e in unit.items() if b != "10")
    text = value if not power else f"{value}*1e{power}" if power.denominator == 1 else f"{value}*10**{float(power)}"
    return text + _product({_PARTS[b][0]: e for b, e in unit.items() if b != "10"})


def _product(powers: Mapping[str, Fraction]) -> str:
    """Such as *mV/ms**2."""
    text = ""
    for base, power in sorted(powers.items(), key=lambda item: -item[1]):
        size = abs(power)
        raised = "" if size == 1 else f"**{size if size.denominator == 1 else float(size)}"
        text += f"{'*' if power > 0 else '/'}{base}{raised}"
    return text


def dimension(unit: Unit) -> str:
    """The unit in which an equation declares a variable."""
    bare = {b: e for b, e in unit.items() if b != "10"}
    for name, powers in _DIMENSIONS.items():
        if bare == powers:
            return name
    return f"1{_product({_IN_BRIAN[b]: e for b, e in bare.items()})}".removeprefix("1*")


@dataclass
class _Writer:
    """Expressions of one model with names and numbers as Brian needs them."""

    model: NeuronModel
    names: dict[str, str]
    aliases: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.units = check_units(self.model)
        self.without_unit(self.units.numbers)

    def without_unit(self, numbers: Iterable[ast.Constant]) -> None:
        """Numbers whose unit nothing tells have none; 0 has any."""
        for node in numbers:
            unit = self.units.numbers[node]
            if node.value != 0 and any(k.startswith("?") for k in self.units.equations.reduce(unit)):
                self.units.equations.equal(unit, {})

    def of(self, name: str) -> Unit:
        """Unit of a state, parameter or drive."""
        return self.units.solved(self.units.names[name])

    def text(self, expression: Expression, wanted: Unit | None = None, suffix: str = "") -> str:
        """An expression for Brian; `wanted`: its unit. suffix: of every name."""
        tree = self.tree(expression, wanted)
        return ast.unparse(self.named(tree, suffix))

    def tree(self, expression: Expression, wanted: Unit | None) -> ast.expr:
        tree = ast.parse(str(expression).strip(), mode="eval").body
        unit = self.units.unit(tree, self.model.name)
        if wanted is not None:
            self.units.equations.equal(unit, wanted)
        return tree

    def named(self, tree: ast.expr, suffix: str = "") -> ast.expr:
        writer = self

        class Renamed(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.AST:
                return ast.Name(writer.names[node.id] + suffix) if node.id in writer.names else node

            def visit_Constant(self, node: ast.Constant) -> ast.AST:
                unit = writer.units.solved(writer.units.numbers.get(node, {}))
                return ast.parse(times(repr(node.value), unit), mode="eval").body if unit else node

        named: ast.expr = Renamed().visit(tree)
        return named

    def rate(self, state: str, expression: Expression) -> str:
        """dx/dt; an expression that is x, not x per ms, has a silent factor of 1 / ms."""
        units, of_state = self.units, self.units.names[state]
        tree = ast.parse(str(expression).strip(), mode="eval").body
        unit, per_ms = units.unit(tree, self.model.name), _plus(of_state, PER_MS)
        if units.equations.equal(unit, per_ms):
            return ast.unparse(self.named(tree))
        units.equations.equal(unit, of_state)
        return f"({ast.unparse(self.named(tree))})/ms"

    def above(self, threshold: Expression) -> str:
        """g > 0, for g = a - b as a > b."""
        tree = ast.parse(str(threshold).strip(), mode="eval").body
        unit = self.units.unit(tree, self.model.name)
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Sub):
            left, right = (ast.unparse(self.named(side)) for side in (tree.left, tree.right))
            if isinstance(tree.right, ast.BinOp) and isinstance(tree.right.op, (ast.Add, ast.Sub)):
                right = f"({right})"
            return f"{left} > {right}"
        return f"({ast.unparse(self.named(tree))}) > {times('0', self.units.solved(unit))}"


def _plus(a: Unit, b: Unit, sign: int = 1) -> Unit:
    total = {k: a.get(k, Fraction(0)) + sign * b.get(k, Fraction(0)) for k in {**a, **b}}
    return {k: v for k, v in total.items() if v}


def brian_names(names: Collection[str], also: Collection[str] = ()) -> dict[str, str]:
    """Name -> one that Brian accepts; it reserves those of units, functions and constants, and some endings."""
    check = brian_package().equations.equations.Equations.check_identifier
    taken = {*also, "j", "lastspike", "not_refractory", "refractory"}
    written: dict[str, str] = {}
    for name in names:
        new = name if not re.search(r"(_|_pre|_post)$", name) else f"{name.rstrip('_')}_model"
        while new in taken or (new != name and new in names) or not _accepted(check, new):
            new += "_model"
        written[name] = new
        taken.add(new)
    return written


def _accepted(check: Callable[[str], Any], name: str) -> bool:
    try:
        check(name)
    except (SyntaxError, ValueError):
        return False
    return True


def write_neuron(model: NeuronModel, shared: Collection[str], given: Mapping[str, str]) -> WrittenNeuron:
    """The texts of a model.

    Args:
        model: with a state for each current that drives it (`modelling.drive`).
        shared: parameters that are one number for all neurons. given: such a state -> the text that is its value.

    Raises:
        DescriptionError: weights of one receptor would need two units.
    """
    names = brian_names(
        [*model.state, *model.params], {"mode", "mode_end", *(f"armed_{_plain(e)}" for e in model.events)}
    )
    w = _Writer(model, names)
    states = [s for s in model.state if s not in given]
    short = _refractory(model)
    moded = bool(model.modes) and short is None
    lines = []
    for s in states:
        frozen = short is not None and s in model.modes[0].dynamics
        lines.append(
            f"d{names[s]}/dt = {_rate(w, model, s, moded)} : {dimension(w.of(s))}{' (unless refractory)' * frozen}"
        )
    lines += [f"{names[s]} = {text} : {dimension(w.of(s))} (constant over dt)" for s, text in given.items()]
    for n in model.params:
        lines.append(f"{names[n]} : {dimension(w.of(n))} ({'shared, ' * (n in shared)}constant)")
    start = {names[s]: _start(w, s) for s in states}
    modes = {FREE: 0} | {m.name: i for i, m in enumerate(model.modes, 1)}
    if moded:
        lines += ["mode : integer", "mode_end : second"]
    events: dict[str, tuple[str, list[str]]] = {}
    emitting, threshold, reset, refractory = [], None, list[str](), None
    plain = len(model.events) == 1 and not moded
    for event in model.events:
        above, code = w.above(event.threshold), _reset(w, event)
        if short is None and event.next_mode is not None:
            code += _enter(w, model, event.next_mode, modes)
        if moded and event.modes:
            above = f"({' or '.join(f'mode == {modes[m]}' for m in event.modes)}) and {above}"
        if _stays(model, event) and short is None:
            # the neuron may be above its threshold after the event, which is a crossing from below
            if plain:
                refractory = above
            else:
                armed = f"armed_{_plain(event)}"
                lines.append(f"{armed} : boolean")
                start[armed] = "True"
                events[f"rearm_{_plain(event)}"] = (f"not {armed} and not ({above})", [f"{armed} = True"])
                above, code = f"{armed} and {above}", [*code, f"{armed} = False"]
        if event.emits and threshold is None:
            threshold, reset = above, code
            emitting.append("spike")
        else:
            events[_plain(event)] = (above, code)
            emitting += [_plain(event)] * event.emits
    for mode in model.modes if moded else ():
        if mode.lasts is not None:
            # the state is that of the end of a step, t + dt
            over = f"mode == {modes[mode.name]} and timestep(t + dt, dt) >= timestep(mode_end, dt)"
            events[f"end_{modes[mode.name]}"] = (over, _enter(w, model, mode.then or FREE, modes, "mode_end"))
    if short is not None:
        refractory = names[short]
    amounts, weights = _arrivals(w, model)
    units = {n: w.of(n) for n in model.params}
    return WrittenNeuron(
        lines, threshold, reset, refractory, events, emitting, start, names, units, amounts, weights
    )  # fmt: skip


def _arrivals(w: _Writer, model: NeuronModel) -> tuple[dict[str, dict[str, str]], dict[str, Unit]]:
    """Receptor -> (state -> the amount that a weight of 1 adds to it, "" for 1), and the unit of its weights.

    Raises:
        DescriptionError: see `write_neuron`.
    """
    amounts, weights = {}, {}
    for receptor, entry in model.receptors.items():
        weight = w.units.equations.unknown()
        texts = {}
        for s, amount in entry.items():
            known = len(w.units.numbers)
            tree = ast.parse(str(amount).strip(), mode="eval").body
            unit = w.units.unit(tree, model.name)
            w.without_unit(list(w.units.numbers)[known:])
            if not w.units.equations.equal(_plus(unit, weight), w.units.names[s]):
                raise DescriptionError(
                    f"{model.name}: the weights of input {receptor!r} would have two units, as its states "
                    f"{', '.join(entry)} have; give the amounts parameters with units"
                )
            texts[s] = tree
        weights[receptor] = w.units.solved(weight)
        amounts[receptor] = {
            w.names[s]: "" if parse(entry[s], model.symbols(), model.name) == 1 else ast.unparse(w.named(tree, "_post"))
            for s, tree in texts.items()
        }
    return amounts, weights


def unit_of(model: NeuronModel, name: str) -> Unit:
    """The unit of a state, parameter or drive of a model."""
    return _Writer(model, {}).of(name)


def _start(w: _Writer, state: str) -> str:
    """What the script assigns: a number with its unit, or a text that Brian evaluates for each neuron."""
    text = w.text(w.model.state[state], w.units.names[state])
    return text if isinstance(parse(w.model.state[state], w.model.symbols(), ""), sp.Number) else repr(text)


def _rate(w: _Writer, model: NeuronModel, state: str, moded: bool) -> str:
    rates = [model.dynamics[state], *(m.dynamics.get(state, model.dynamics[state]) for m in model.modes)]
    texts = [w.rate(state, rate) for rate in rates]
    if not moded or len({*texts}) == 1:
        return texts[0]
    zero = [parse(rate, model.symbols(), model.name) == 0 for rate in rates]
    parts = [f"int(mode == {i})*({text})" for i, text in enumerate(texts) if not zero[i]]
    return " + ".join(parts)


def _refractory(model: NeuronModel) -> str | None:
    """The parameter that is a refractory period as Brian has it: states stand still for a time after each spike, and
    nothing can make them cross the threshold meanwhile."""
    if len(model.modes) != 1 or len(model.events) != 1:
        return None
    (mode,), (event,) = model.modes, model.events
    still = all(parse(f, model.symbols(), model.name) == 0 for f in mode.dynamics.values())
    if mode.lasts is None or mode.then not in (None, FREE) or event.next_mode != mode.name or not still:
        return None
    crossing = {str(s) for s in parse(event.threshold, model.symbols(), model.name).free_symbols} & {*model.state}
    moved = {s for entry in model.receptors.values() for s in entry}
    frozen = crossing <= {*mode.dynamics} and not crossing & moved and crossing & {*event.reset}
    return mode.lasts if frozen or event.modes == (FREE,) else None


def _stays(model: NeuronModel, event: Event) -> bool:
    """Whether an event leaves the threshold passed, in a mode that allows it."""
    crossing = {str(s) for s in parse(event.threshold, model.symbols(), model.name).free_symbols}
    allowed = not event.modes or event.next_mode is None or event.next_mode in event.modes
    return allowed and not crossing & {*event.reset}


def _reset(w: _Writer, event: Event) -> list[str]:
    """Statements that Brian runs one after the other; all values are those before the event."""
    texts = {w.names[s]: w.text(value, w.units.names[s]) for s, value in event.reset.items()}
    lines, late = [], []
    for i, (name, text) in enumerate(texts.items()):
        read_later = any(name in _read(other) for other in list(texts.values())[i + 1 :])
        lines.append(f"new_{name} = {text}" if read_later else f"{name} = {text}")
        late += [f"{name} = new_{name}"] * read_later
    return lines + late


def _read(text: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}


def _enter(w: _Writer, model: NeuronModel, name: str, modes: Mapping[str, int], begin: str = "t + dt") -> list[str]:
    lines = [f"mode = {modes[name]}"]
    lasts = next((m.lasts for m in model.modes if m.name == name), None)
    return lines + ([f"mode_end = {begin} + {w.names[lasts]}"] if lasts else [])


def _plain(event: Event) -> str:
    return re.sub(r"\W", "_", event.name, flags=re.ASCII).strip("_") or "event"
