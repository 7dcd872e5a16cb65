"""Arguments of a wrong kind: whatever goes wrong with one deep inside, the message names it and says what it must be.

Public functions and classes check what a right call can get wrong, and say it best. What else a call may be given has
no end: `explain` looks, only after NumPy or Python has raised an error, for the argument that does not fit its
annotation. A call that works costs nothing, and annotations are the one place that says what fits.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import EventPropError, shown

BARE = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    SyntaxError,
)
"""What Python and NumPy raise on arguments of a wrong kind."""
WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a string", Path: "a path", Any: "an array",
    np.ndarray: "an array of numbers", type(None): "None", Callable: "a function", Mapping: "a dictionary",
    dict: "a dictionary", Sequence: "a list", Iterable: "a list", list: "a list", tuple: "a tuple",
}  # fmt: skip


def explain(public: dict[str, Any], names: Iterable[str], error: type[EventPropError], methods: bool = True) -> None:
    """Let the functions and classes of a module explain arguments of a wrong kind.

    Args:
        public: the names of the module, ``globals()``. names: those that users call. error: what is raised.
        methods: those of classes, too, and not only how they are made.
    """
    for name in names:
        value = public[name]
        if inspect.isclass(value):
            _explain_class(value, error, methods)
        elif inspect.isfunction(value):
            public[name] = explained(value, error)


def _explain_class(kind: type, error: type[EventPropError], methods: bool) -> None:
    for name, value in list(vars(kind).items()):
        if name != "__init__" and (not methods or (name.startswith("_") and name not in ("__call__", "__getitem__"))):
            continue
        inner = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(inner) and not hasattr(inner, "explains"):
            wrapped = explained(inner, error)
            setattr(kind, name, wrapped if inner is value else type(value)(wrapped))


def explained(function: Callable[..., Any], error: type[EventPropError]) -> Callable[..., Any]:
    """The function, with an `error` that names the argument in the place of a bare one."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BARE as problem:
            if isinstance(problem, EventPropError) and not hasattr(problem, "of_argument"):
                raise  # in words already; those of a function inside name its argument, not what the user wrote
            words = _misfit(function, args, kwargs)
            if words is None:
                raise
            said = error(words)
            said.of_argument = True  # type: ignore[attr-defined]
            raise said from problem

    call.explains = True  # type: ignore[attr-defined]
    return call


def _misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The first argument that does not fit its annotation, in words."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:  # arguments that are missing or unknown
        return None
    name = function.__qualname__.removesuffix(".__init__")
    for argument, value in given.items():
        hint = _annotation(function, argument)
        if not fits(value, hint):
            return f"{name}: {argument} must be {in_words(hint)}, got {shown(value)}"
    return None


def _annotation(function: Callable[..., Any], argument: str) -> Any:
    """The type of an argument; Any if it is not known."""
    package = importlib.import_module(__package__ or "")
    # some types are imported for type checkers alone
    names = {name: getattr(package, name) for name in package.__all__} | function.__globals__
    noted = types.SimpleNamespace(__annotations__={argument: function.__annotations__.get(argument, Any)})
    try:
        return typing.get_type_hints(noted, names)[argument]
    except NameError:
        return Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; True of types that say nothing here."""
    origin, kinds = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, kind) for kind in kinds)
    if origin is typing.Literal:
        return isinstance(value, str) and value in kinds
    if hint is None or hint is type(None):
        return value is None
    if hint is Any:
        return not isinstance(value, (list, tuple)) or _kind(value) is not None
    if origin is np.ndarray:
        return _kind(value) in tuple("biuf") and np.ndim(value) > 0
    if hint is float or hint is int:
        number = isinstance(value, numbers.Real if hint is float else numbers.Integral)
        return number and not isinstance(value, bool) and not (isinstance(value, int) and abs(value) >= 2**63)
    if hint is Path:
        return isinstance(value, (str, os.PathLike))
    if not isinstance(origin, type):
        return True
    if origin is bool:
        return isinstance(value, (bool, np.bool))
    if getattr(origin, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(origin))
    if not isinstance(value, origin) or (origin is not str and isinstance(value, (str, bytes))):
        return False
    if isinstance(value, Mapping) and len(kinds) == 2:
        return all(fits(k, kinds[0]) and fits(v, kinds[1]) for k, v in value.items())
    parts: Any = value
    if origin is tuple and kinds and kinds[1:] != (...,):
        return len(parts) == len(kinds) and all(map(fits, parts, kinds))
    each = kinds[0] if kinds and isinstance(parts, (Collection, np.ndarray)) else Any
    return each is Any or all(fits(part, each) for part in parts)


def _kind(value: Any) -> str | None:
    """NumPy's letter for the numbers of an array, or of what can become one; None of lists of different lengths."""
    try:
        return np.asarray(value).dtype.kind
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None


def _members(protocol: type) -> set[str]:
    """What things of a protocol have."""
    parts = (kind for kind in protocol.__mro__ if getattr(kind, "_is_protocol", False))
    return {n for kind in parts for n in {*vars(kind), *getattr(kind, "__annotations__", ())} if not n.startswith("_")}


def in_words(hint: Any) -> str:
    """A type as a message says it."""
    origin, kinds = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(kind) for kind in kinds))
    if origin is typing.Literal:
        return " or ".join(map(repr, kinds))
    if origin is tuple and kinds:
        return f"a list of {' and '.join(in_words(kind) for kind in kinds if kind is not ...)}"
    name = str(getattr(origin, "__name__", origin))
    words = WORDS.get(origin) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
    if len(kinds) == 1 and words == "a list":
        return f"{words} of {in_words(kinds[0])}"
    return words
