"""Do the units of a model add up? Where units are declared: a parameter without one, and a number, may have any.

Every state and every number has an unknown unit; terms of a sum, a rate and its state per ms, a threshold and a reset
give linear equations between the exponents of second, volt and ampere and the power of ten. They are solved one after
the other, so that the first that cannot hold is the one to report.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from ..errors import ModelError, NetworkError, is_number, shown

Unit = dict[str, Fraction]  # base, or unknown, -> exponent; "10" is the power of ten
_PREFIX = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "m": -3, "c": -2, "k": 3, "M": 6, "G": 9}
_BASES: dict[str, dict[str, int]] = {
    "s": {"s": 1}, "V": {"V": 1}, "A": {"A": 1}, "S": {"A": 1, "V": -1}, "Ohm": {"V": 1, "A": -1},
    "F": {"A": 1, "s": 1, "V": -1}, "C": {"A": 1, "s": 1}, "Hz": {"s": -1}, "W": {"A": 1, "V": 1},
}  # fmt: skip
_NONE = ("", "1", "dimensionless", "none", "-")
_WORDS = dict.fromkeys(("msec", "msecs", "millisecond", "milliseconds"), ("ms", 1.0))
_WORDS |= dict.fromkeys(("sec", "secs", "second", "seconds"), ("ms", 1e3))
_WORDS |= {"volt": ("V", 1.0), "volts": ("V", 1.0), "millivolt": ("mV", 1.0), "millivolts": ("mV", 1.0)}
"""Units spelled out -> the unit to write, and how many of it one is."""


def parse_unit(text: str) -> Unit:
    """ "nS", "1/ms", "mV / ms", "pA*ms^2" as exponents; a word that is no SI unit is a base of its own.

    Raises:
        ValueError: if it is no product of powers.
    """
    tree = ast.parse(re.sub(r"\s+", " ", text.strip()).replace("^", "**"), mode="eval")
    return _unit_of(tree.body)


def _unit_of(node: ast.expr) -> Unit:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        return _plus(_unit_of(node.left), _unit_of(node.right), 1 if isinstance(node.op, ast.Mult) else -1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _times(_unit_of(node.left), Fraction(str(ast.literal_eval(node.right))))
    if isinstance(node, ast.Constant) and node.value == 1:
        return {}
    if not isinstance(node, ast.Name):
        raise ValueError("not a product of powers of units")
    for base, powers in _BASES.items():
        prefix = node.id.removesuffix(base)
        if node.id.endswith(base) and (not prefix or prefix in _PREFIX):
            unit = {b: Fraction(p) for b, p in powers.items()}
            return unit | ({"10": Fraction(_PREFIX[prefix])} if prefix else {})
    return {node.id: Fraction(1)}


def _plus(a: Unit, b: Unit, sign: int | Fraction = 1) -> Unit:
    out = {k: a.get(k, Fraction(0)) + sign * b.get(k, Fraction(0)) for k in {**a, **b}}
    return {k: v for k, v in out.items() if v != 0}


def _times(a: Unit, by: Fraction) -> Unit:
    return {k: v * by for k, v in a.items() if v * by != 0}


def check_same_unit(where: str, declared: str, given: str) -> None:
    """Raise `NetworkError` for a value in another unit than the parameter has: numbers are not converted."""
    if given in (declared, "") or declared in _NONE:
        return
    try:
        same = parse_unit(given) == parse_unit(declared)
    except (SyntaxError, ValueError):
        same = False
    if not same:
        raise NetworkError(f"{where} is in {declared}, and the value in {shown(given)}: write it in {declared}")


def describe(unit: Unit) -> str:
    """Such as "mV", "nS mV" or "1e-3 V s^-1", for messages; [V] is the unit of V."""
    for name in ("ms", "mV", "pA", "nA", "nS", "pF", "MOhm", "1/ms", "mV/ms", "pA/ms", "V", "A", "s"):
        if parse_unit(name) == unit:
            return name
    power = unit.get("10", Fraction(0))
    named = {b: f"[{b.split()[-1]}]" if " " in b else "[a number]" if b.startswith("?") else b for b in unit}
    words = [named[b] if e == 1 else f"{named[b]}^{e}" for b, e in sorted(unit.items()) if b != "10"]
    return " ".join([*([f"1e{power}"] if power else []), *words]) or "a pure number"


class _Equations:
    """Linear equations between units, solved one after the other: each that has an unknown ("?name") left is solved for
    it, and what follows is written in the others. An equation without unknowns holds, or is the one to report."""

    def __init__(self) -> None:
        self.solved: dict[str, Unit] = {}
        self.count = 0

    def unknown(self, name: str = "") -> Unit:
        """A unit that nothing is known of yet; without a name, a new one."""
        self.count += not name
        return {f"?{name or self.count}": Fraction(1)}

    def reduce(self, unit: Unit) -> Unit:
        """`unit` with every solved unknown replaced; a solution may hold unknowns that were solved after it."""
        while known := next((k for k in unit if k in self.solved), None):
            unit = _plus({k: v for k, v in unit.items() if k != known}, self.solved[known], unit[known])
        return unit

    def equal(self, a: Unit, b: Unit) -> bool:
        """Demand a = b; False if that cannot be."""
        gap = self.reduce(_plus(a, b, -1))
        free = next((k for k in gap if k.startswith("?")), None)
        if free is None:
            return not gap
        rest = {k: v for k, v in gap.items() if k != free}
        self.solved[free] = _times(rest, -1 / gap[free])
        return True


class Units:
    """Units of a model's expressions, and the equations that they must fulfil.

    Args:
        declared: parameter -> its unit, an unknown where it has none. states: whose units are unknown.

    Attributes:
        names: unit of each state, parameter and drive. numbers: of each number in what `unit` was asked for. Both may
            hold unknowns, see `solved`.
    """

    def __init__(self, declared: Mapping[str, Unit], states: Iterable[str]) -> None:
        self.equations, self.text = _Equations(), ""
        self.numbers: dict[ast.Constant, Unit] = {}
        self.names = dict(declared) | {s: self.equations.unknown(f"state {s}") for s in states}

    def solved(self, unit: Unit) -> Unit:
        """A unit as far as the equations tell; what they leave open has none, and neither have words of no SI unit."""
        return {k: v for k, v in self.equations.reduce(unit).items() if k in (*_BASES, "10")}

    def known(self, unit: Unit) -> str:
        return describe(self.equations.reduce(unit))

    def require_equal(self, where: str, text: str, a: Unit, what: str, b: Unit) -> None:
        if not self.equations.equal(a, b):
            raise ModelError(
                f"{where}: units do not add up in {text!r}: it is {self.known(a)}, but {what} is {self.known(b)}",
                self.text,
            )

    def unit(self, node: ast.expr, where: str) -> Unit:
        """The unit of a part of an expression, which is called `where` in messages."""
        if isinstance(node, ast.Name):
            return self.names[node.id]
        if isinstance(node, ast.Constant):
            self.numbers[node] = self.equations.unknown()  # 0.04 in a published formula may stand for 0.04 / (mV ms)
            return self.numbers[node]
        if isinstance(node, ast.UnaryOp):
            return self.unit(node.operand, where)
        if isinstance(node, ast.Call):
            inner = self.unit(node.args[0], where)
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in ("abs", "sqrt"):
                return inner if name == "abs" else _times(inner, Fraction(1, 2))
            self.require_equal(where, ast.unparse(node.args[0]), inner, f"the argument of {name}", {})
            return {}
        assert isinstance(node, ast.BinOp)
        left = self.unit(node.left, where)
        if isinstance(node.op, ast.Pow):
            return self._power(node, left, where)
        right = self.unit(node.right, where)
        if isinstance(node.op, (ast.Mult, ast.Div)):
            return _plus(left, right, 1 if isinstance(node.op, ast.Mult) else -1)
        self.require_equal(where, ast.unparse(node.right), right, repr(ast.unparse(node.left)), left)
        return left

    def _power(self, node: ast.BinOp, base: Unit, where: str) -> Unit:
        try:
            return _times(base, Fraction(str(ast.literal_eval(node.right))))
        except (ValueError, TypeError):  # an exponent with symbols
            self.require_equal(where, ast.unparse(node.left), base, "the base of such a power", {})
            self.require_equal(where, ast.unparse(node.right), self.unit(node.right, where), "an exponent", {})
            return {}

    def expression(self, where: str, text: Any) -> Unit:
        self.text = str(text)
        return self.unit(ast.parse(str(text).strip(), mode="eval").body, where)


def check_units(model: Any) -> Units:
    """The units of a model; raises `ModelError` where those of its parameters cannot all be right. They are in ms
    wherever rates are, so a time constant in seconds is refused too."""
    declared = {}
    for n, p in model.params.items():
        if p.unit.strip().lower() in _WORDS:
            unit, factor = _WORDS[p.unit.strip().lower()]
            raise ModelError(
                f"{model.name}: the unit {p.unit!r} of {n} is not understood; write {_in_unit(p.value, factor, unit)}",
                p.unit,
            )
        try:
            declared[n] = parse_unit(p.unit) if p.unit not in _NONE else {f"?parameter {n}": Fraction(1)}
        except (SyntaxError, ValueError):
            raise ModelError(
                f"{model.name}: the unit {p.unit!r} of {n} is not understood; use e.g. 'mV', '1/ms' or 'pA*ms'",
                p.unit,
            ) from None
    try:
        return _check_equations(model, declared)
    except ModelError as error:
        times = [n for n, unit in declared.items() if {*unit} <= {"s", "10"} and unit.get("s") == 1]
        other = next((n for n in times if declared[n].get("10", 0) != -3), None)
        if other is None:
            raise
        p = model.params[other]
        right = _in_unit(p.value, 10.0 ** float(declared[other].get("10", 0) + 3), "ms")
        raise ModelError(f"{error}; {other} is in {p.unit!r}, but times are in ms: write {right}", error.text) from None


def _in_unit(value: Any, factor: float, unit: str) -> str:
    """The `Param` of a value in another unit, as it is written."""
    if is_number(value):
        return f"Param({value * factor:g}, {unit!r})"
    return f"{unit!r}" if factor == 1 else f"{unit!r}, and the values times {factor:g}"


def _check_equations(model: Any, declared: Mapping[str, Unit]) -> Units:
    check = Units(declared, (*model.state, *model.drives))
    per_ms = parse_unit("1/ms")
    for s, start in model.state.items():
        where = f"{model.name}: initial value of {s}"
        check.require_equal(where, str(start), check.expression(where, start), s, check.names[s])
    rights = [(f"dynamics of {s}", s, f) for s, f in model.dynamics.items()]
    rights += [(f"mode {m.name!r}, dynamics of {s}", s, f) for m in model.modes for s, f in m.dynamics.items()]
    for drive, entry in model.drive_amounts.items():
        rights += [(f"drive {drive!r} of {s}", s, f"({amount}) * {drive}") for s, amount in entry.items()]
    for title, s, text in rights:
        where = f"{model.name}: {title}"
        rate, wanted = check.expression(where, text), _plus(check.names[s], per_ms)
        # a rate, or a value as in "-V", which has a silent factor of 1 / ms
        if not check.equations.equal(rate, wanted) and not check.equations.equal(rate, check.names[s]):
            check.require_equal(where, str(text), rate, f"{s} per ms", wanted)
    for event in model.events:
        check.expression(f"{model.name}: threshold of event {event.name!r}", event.threshold)
        for s, text in event.reset.items():
            where = f"{model.name}: reset of {s}"
            check.require_equal(where, str(text), check.expression(where, text), s, check.names[s])
    for mode in model.modes:
        if mode.lasts is not None:
            check.require_equal(
                f"{model.name}: mode {mode.name!r}", mode.lasts, declared[mode.lasts], "a time", parse_unit("ms")
            )
    return check
