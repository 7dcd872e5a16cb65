"""Functions of compiled libraries: their types, and a step of an optimiser."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.eventprop_attach.argtypes = [c.c_void_p]
    library.eventprop_run.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]
    library.eventprop_trouble.argtypes = [c.c_void_p, c.c_void_p]
    library.eventprop_trouble.restype = None
    return library


def declare_host(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.host_create.restype = c.c_void_p
    library.host_create.argtypes = [c.c_int, c.c_int]
    library.host_destroy.argtypes = [c.c_void_p]
    library.host_destroy.restype = None
    library.host_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64]
    library.host_recorded.restype = c.c_int64
    library.host_copy_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64, c.c_void_p, c.c_void_p]
    library.host_copy_recorded.restype = None
    return library


def run_update(
    library: ctypes.CDLL, host: ctypes.CDLL, engine: int, item: Any, step: Any, x: np.ndarray, g: np.ndarray
) -> None:
    """One step of an optimiser for one parameter x with gradient g, on the threads of an engine."""
    rows, columns = (x.shape[0], x.shape[1]) if x.ndim == 2 else (1, x.size)
    state = [item.state[n] for n in step.state_names]
    lower, upper = (_bound(b, x) for b in (item.lower, item.upper))
    stride = lambda a: a.strides[0] // a.itemsize if a.ndim == 2 else a.size  # noqa: E731
    pointers = [x, g, *state, *(b for b in (lower, upper) if b is not None)]
    strides = [stride(a) for a in pointers]
    library.eventprop_update(
        (ctypes.c_void_p * len(pointers))(*[a.ctypes.data for a in pointers]),
        (ctypes.c_int64 * len(strides))(*strides), ctypes.c_int64(rows), ctypes.c_int64(columns),
        (ctypes.c_double * len(step.scalar_names))(*[item.scalars[n] for n in step.scalar_names]),
        ctypes.c_int(lower is not None), ctypes.c_int(upper is not None),
        ctypes.cast(host.host_parallel, ctypes.c_void_p), ctypes.c_void_p(engine),
    )  # fmt: skip


def _bound(bound: Any, x: np.ndarray) -> np.ndarray | None:
    return None if bound is None else np.ascontiguousarray(np.broadcast_to(np.asarray(bound, x.dtype), x.shape))
