"""Choices written in one line: ``"shift=40,blend=0.5"``, ``"ALIF(tau_B=100)"``, ``"first_spike_exp(alpha=3e-3)"``.

A choice is a name, by itself, with one value, or with options in brackets; several are separated by commas. In a TOML
file the same may be written as a table, ``augment = {shift = 40, blend = 0.5}`` or ``neuron = {ALIF = {tau_B = 100}}``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import EventPropError, SettingError, suggest


@dataclass(frozen=True)
class Spec:
    """One choice: its name, its single value if it was given one, its options."""

    name: str
    values: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_specs(text: str, where: str) -> list[Spec]:
    """The choices in `text`, in order; none for an empty text.

    Args:
        where: the option, for messages.

    Raises:
        SettingError: naming the part that cannot be read.
    """
    return [_parse(part, where) for part in _split(text) if part]


def parse_spec(text: str, where: str) -> Spec:
    """Exactly one choice."""
    specs = parse_specs(text, where)
    if len(specs) != 1:
        raise SettingError(f"{where}: expected one name, got {text!r}")
    return specs[0]


def whole_number(text: str) -> int | None:
    """A number of at most 18 digits 0 to 9; None for any other text (`str.isdigit` is true of more than that)."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def spec_text(value: Any) -> Any:
    """A TOML table as text; anything else unchanged."""
    return ",".join(_item_text(name, v) for name, v in value.items()) if isinstance(value, dict) else value


def make(table: Mapping[str, Callable[..., Any]], spec: Spec, where: str, *leading: Any, **defaults: Any) -> Any:
    """Call ``table[spec.name](*given, values, options)``; `defaults` are options used where the callable takes them.

    Raises:
        SettingError: an unknown name or option, with what is known.
    """
    if spec.name not in table:
        raise SettingError(f"{where}: unknown name {spec.name!r}; {suggest(spec.name, table)}")
    factory = table[spec.name]
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [name for name, p in list(parameters.items())[len(leading) :] if p.kind in named]
    for option in spec.options:
        if option not in known and not takes_all:
            raise SettingError(f"{where}: {spec.name} has no option {option!r}; {suggest(option, known)}")
    usable = {k: v for k, v in defaults.items() if (k in known or takes_all) and k not in known[: len(spec.values)]}
    try:
        inspect.signature(factory).bind(*leading, *spec.values, **{**usable, **spec.options})
    except TypeError as error:
        options = ", ".join(known) or "none"
        raise SettingError(f"{where}: {spec.name} cannot be used like this: {error}; its options: {options}") from None
    for name, value in [*zip(known, spec.values), *spec.options.items()]:
        if name in parameters and not _fits(value, parameters[name]):
            wanted = parameters[name].annotation
            raise SettingError(f"{where}: {spec.name}: {name} = {value!r} cannot be used; it must be of type {wanted}")
    try:
        return factory(*leading, *spec.values, **{**usable, **spec.options})
    except EventPropError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:  # values of a kind that only the factory can tell
        raise SettingError(f"{where}: {spec.name} cannot be made of these values: {error}") from None


KINDS: dict[str, tuple[type, ...]] = {
    "float": (int, float),
    "int": (int, float),
    "str": (str,),
    "bool": (bool,),
    "tuple": (tuple, list),
    "None": (type(None),),
}
"""Words of an annotation -> what a value may be. Whether a number is a whole one, the factory says."""


def _fits(value: Any, parameter: inspect.Parameter) -> bool:
    """Whether a value is of the kind that a parameter is annotated with; True if that is not one of `KINDS`."""
    words = set(re.findall(r"\w+", str(getattr(parameter.annotation, "__name__", parameter.annotation))))
    if not words <= KINDS.keys():
        return True
    truth = isinstance(value, bool) and "bool" not in words
    return not truth and isinstance(value, tuple(kind for word in words for kind in KINDS[word]))


def _split(text: str) -> list[str]:
    """Parts between the commas that stand outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _parse(part: str, where: str) -> Spec:
    problem = f"{where}: cannot read {part!r}; write NAME, NAME=VALUE or NAME(OPTION=VALUE, ...)"
    try:
        call = ast.parse(f"f({part})", mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "f":  # a bracket too many
            raise SyntaxError
        if len(call.keywords) == 1 and not call.args and call.keywords[0].arg is not None:
            return Spec(call.keywords[0].arg, (ast.literal_eval(call.keywords[0].value),))
        if len(call.args) == 1 and not call.keywords:
            inner = call.args[0]
            if isinstance(inner, ast.Name):
                return Spec(inner.id)
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name):
                options = {str(k.arg): ast.literal_eval(k.value) for k in inner.keywords}
                return Spec(inner.func.id, tuple(ast.literal_eval(a) for a in inner.args), options)
    except (SyntaxError, MemoryError, RecursionError):  # the last two: brackets or signs nested without end
        raise SettingError(problem) from None
    except (ValueError, TypeError):
        raise SettingError(f"{problem}; a value is a number, a text in quotation marks, or (a, b)") from None
    raise SettingError(problem)


def _item_text(name: str, value: Any) -> str:
    if value is True:
        return name
    if isinstance(value, dict):
        return f"{name}({', '.join(f'{k}={_value_text(v)}' for k, v in value.items())})"
    return f"{name}={_value_text(value)}"


def _value_text(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)
