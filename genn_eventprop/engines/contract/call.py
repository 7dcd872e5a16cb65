"""How a compiled trial is called: its arrays and numbers, in the order that its text declares."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Protocol

import numpy as np

from ...program.nodes import Buffer

Arrays = Mapping[str, Any]
PYTHON = (ctypes.c_void_p * 3)(
    *(
        ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
        for name in ("PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_CheckSignals")
    )
)
"""With these a long batch lets signal handlers run."""
_NOTHING: Any = object()  # no call yet, which an argument that is missing (None) is not


class Source(Protocol):
    """A generated text and what its function takes."""

    @property
    def arrays(self) -> Sequence[Buffer]: ...
    @property
    def doubles(self) -> Sequence[Buffer]: ...
    @property
    def integers(self) -> Sequence[str]: ...


def trial_function(library: ctypes.CDLL) -> Any:
    """`eventprop_run` of a library, which takes a pointer before arrays and numbers.

    It releases Python's lock itself; what a signal handler raises in between is raised when it returns.
    """
    return ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(("eventprop_run", library))


class TrialCall:
    """What stays the same array from call to call is looked at once: its address, and whether C can read it.

    An engine's lock makes calls one at a time; each call of C gets the addresses of its own arrays.

    Args:
        source: of the trial. real: type of its "real" numbers. shape: (buffer, arguments) -> shape of new memory.
    """

    def __init__(self, source: Source, real: np.dtype, shape: Callable[[Buffer, Arrays], tuple[int, ...]]) -> None:
        self._shape, self._buffers = shape, list(source.arrays)
        self._kinds = [np.dtype(b.type_in_numpy(real)) for b in self._buffers]
        self._absent = [np.zeros(1, k) if b.role == "host" else None for b, k in zip(self._buffers, self._kinds)]
        self._names = [b.name for b in self._buffers]
        self._passed: list[Any] = [_NOTHING] * len(self._buffers)  # arrays of the call before
        self._addresses = (ctypes.c_void_p * len(self._buffers))()
        axes = (a for b in self._buffers if b.role != "host" for a in b.axes if isinstance(a, str))
        self._axes = list(dict.fromkeys(axes))  # run-time lengths of what a call writes
        self._lengths: tuple[Any, ...] = ()  # of the call before
        self._doubles, self._integers = [b.name for b in source.doubles], list(source.integers)
        self._numbers: list[Any] = []  # the integers of the call before
        self._values = (ctypes.c_double * len(self._doubles))(), (ctypes.c_int64 * len(self._integers))()

    def arrays(self, arguments: Arrays, stored: Arrays, again: bool = False) -> dict[str, np.ndarray]:
        """Every array of a call: an argument, else one that an earlier call has stored, else new memory, all 0.

        Args:
            again: memory of the last call is used again where lengths are the same; nobody may still look at it.
        """
        arrays: list[Any] = list(map(arguments.get, self._names))
        again = again and self._lengths_of(arguments) == self._lengths
        for k in self._others(arrays):
            array = arrays[k] if arrays[k] is not None else stored.get(self._names[k])
            if array is not None:
                arrays[k] = np.ascontiguousarray(array, self._kinds[k])
            elif self._absent[k] is not None:  # this call does without it
                arrays[k] = self._absent[k]
            elif again:
                arrays[k] = self._passed[k]
                arrays[k].fill(0)
            else:
                arrays[k] = np.zeros(self._shape(self._buffers[k], arguments), self._kinds[k])
        return dict(zip(self._names, arrays))

    def _lengths_of(self, arguments: Arrays) -> tuple[Any, ...]:
        return tuple(map(arguments.get, self._axes))

    def _others(self, arrays: Iterable[Any]) -> list[int]:
        """Which arrays are not those of the call before."""
        return [k for k, (array, last) in enumerate(zip(arrays, self._passed)) if array is not last]

    def __call__(self, function: Any, arrays: Arrays, arguments: Arrays, *first: Any) -> int:
        """What a C function returns; first: its arguments before these.

        Args:
            arrays: as `arrays` made them, in that order. arguments: numbers, 0 where one is missing.
        """
        every, self._lengths = list(arrays.values()), self._lengths_of(arguments)
        for k in self._others(every):
            self._passed[k], self._addresses[k] = every[k], every[k].ctypes.data
        doubles, integers = self._values
        doubles[:] = list(map(arguments.get, self._doubles, repeat(0.0)))
        numbers = list(map(arguments.get, self._integers, repeat(0)))
        if numbers != self._numbers:
            integers[:] = list(map(int, numbers))
            self._numbers = numbers
        return int(function(*first, self._addresses, doubles, integers))
