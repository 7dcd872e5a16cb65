"""Exceptions of the package. Every message says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, TypeGuard


class EventPropError(Exception):
    """Base of every error that the package raises on purpose; the command line prints it without a traceback."""


class ModelError(EventPropError, ValueError):
    """A neuron or synapse model is wrong: unknown symbols, a threshold without a state, algebra that cannot be done.

    text: the expression or name that is wrong, as written. located: whether the message says the file and line.
    """

    def __init__(self, message: str, text: str | None = None, located: bool = False) -> None:
        super().__init__(message)
        self.text, self.located = text, located


class NetworkError(EventPropError, ValueError):
    """A network does not fit together: sizes, names, populations of another network, parameter values."""


class LossError(EventPropError, ValueError):
    """A loss does not fit its population or its settings are wrong."""


class PlanError(EventPropError, ValueError):
    """The time grid, or a combination of settings, cannot be planned."""


class DataError(EventPropError, ValueError):
    """Input spikes, labels or data files are wrong."""


class SettingError(EventPropError, ValueError):
    """An unknown or unusable setting of an experiment, a trainer or the command line."""


class UsageError(SettingError):
    """A command line that is wrong as it stands: an option, a value, a name, or something that is missing."""


class ToolchainError(EventPropError, RuntimeError):
    """No compiler, a failed compilation, or a code cache that cannot be used."""


class EngineError(EventPropError, RuntimeError):
    """An engine cannot run here, or ran into a limit (a runaway population, memory)."""


class Refusal(EngineError):
    """A network asks for a feature, or a size, that an engine does not have; another machine does not help."""


class TrainingError(EventPropError, RuntimeError):
    """Training had to stop, for example because a gradient was not finite."""


class DeviceError(TrainingError):
    """A device in the loop gave no answer that can be used."""


class CheckpointError(EventPropError, RuntimeError):
    """A checkpoint is damaged, incomplete, or belongs to another network."""


class WriteError(EventPropError, RuntimeError):
    """A file cannot be written: the disk is full, or it may not be."""


class OutputError(EventPropError, OSError):
    """stdout cannot be written."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody, a batch system say, wants this process to end."""

    word, status = "terminated", 143


class HungUp(Terminated):
    """SIGHUP: the terminal, or the connection to it, is gone."""

    word, status = "hung up", 129


class Stopped(KeyboardInterrupt):
    """`Engine.stop` was called while a batch ran, by a signal handler say."""


class DescriptionError(EventPropError, ValueError):
    """The description of a model cannot be written, read, or used without trusting who wrote it."""


def suggest(name: str, known: Iterable[str]) -> str:
    """``"did you mean 'x'? known: a, b, x"`` for an unknown `name`; the tail of every unknown-name message."""
    names = sorted(known)
    close = difflib.get_close_matches(_plain(str(name)), map(_plain, names), n=1)
    hint = f"did you mean {next(n for n in names if _plain(n) == close[0])!r}? " if close else ""
    return f"{hint}known: {', '.join(names) if names else 'none'}"


def check_known(name: Any, known: Iterable[Any], error: type[EventPropError], words: str, *more: Any) -> None:
    """Raise `error` unless `name` is one of those that are known.

    Args:
        words: the message, to which `suggest` is added; a bracket that is open at its end is closed. more: what the
            error takes besides.
    """
    names = tuple(known)
    if name not in names:
        raise error(f"{words}{suggest(name, map(str, names))}{')' if words.endswith('(') else ''}", *more)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a real number of Python's or NumPy's; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any, least: float = -math.inf) -> TypeGuard[int]:
    """Whether a value is an integer of Python's or NumPy's, not less than `least`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def whole(value: Any, what: str, error: type[EventPropError], least: int = 1) -> int:
    """The value as an integer; raise `error` if it is none that is at least `least`."""
    if not is_whole(value, least):
        raise error(f"{what} must be an integer >= {least}, got {shown(value)}")
    return int(value)


def check_finite(value: float, what: str, error: type[EventPropError], above: bool = False) -> None:
    """Raise `error` unless a number is finite and at least 0, or `above` it."""
    if not (math.isfinite(value) and value >= 0) or (above and value == 0):
        raise error(f"{what} must be a finite number {'>' if above else '>='} 0, got {value}")


def _plain(name: str) -> str:
    """A name as it is compared: capitals, hyphens and underscores are typical slips."""
    return name.casefold().replace("-", "_").replace("_", "")


def shown(value: Any) -> str:
    """A wrong value for a message, on one short line: arrays and tensors by their shape."""
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:  # not a single number of NumPy's
        return f"{kind} of shape {tuple(shape)}"
    if isinstance(value, (list, tuple, dict)) and len(repr(value)) > LONGEST:
        return f"{kind} of {len(value)} items"
    if isinstance(value, type) or callable(value):
        return getattr(value, "__name__", kind)
    text = repr(value)
    return text if len(text) <= LONGEST and "\n" not in text and " object at 0x" not in text else kind


LONGEST = 60
"""Letters of a value that a message shows."""
