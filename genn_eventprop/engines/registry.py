"""Which engines there are, which of them run here, and `create`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EngineError, SettingError, ToolchainError, suggest
from ..plan import Plan
from ..toolchain import find_compiler
from .base import Engine

NAMES = ("native", "genn", "cuda", "c99", "reference_clock", "reference_event")


@dataclass(frozen=True)
class Availability:
    """Whether an engine runs on this machine, and why (not)."""

    name: str
    runs: bool
    detail: str


def availability() -> tuple[Availability, ...]:
    """Every engine on this machine, fastest first."""
    try:
        compiler = find_compiler()
        native = Availability("native", True, f"{compiler.version} ({' '.join(compiler.command)})")
    except ToolchainError as error:
        native = Availability("native", False, str(error))
    return (
        native,
        _genn_availability(),
        _cuda_availability(),
        Availability(
            "c99", native.runs, "plain C, one sample at a time; for checking" if native.runs else native.detail
        ),
        Availability("reference_clock", True, "NumPy float64, spikes on the grid; slow, for checking"),
        Availability("reference_event", True, "NumPy float64, exact spike times; slow, the truth for gradients"),
    )


def _genn_availability() -> Availability:
    from .genn.install import VERSION, available_backends, choose_backend, devices

    try:
        choose_backend(None)
        backends = (b if devices(b) else f"{b} (no device)" for b in available_backends())
        return Availability("genn", True, f"pygenn {VERSION} with {', '.join(backends)}")
    except EngineError as error:
        return Availability("genn", False, str(error))


def _cuda_availability() -> Availability:
    from .cuda.device import visible_devices

    found, missing = visible_devices()
    return Availability("cuda", bool(found), ", ".join(found) or missing)


def create(
    plan: Plan,
    parameters: Mapping[str, np.ndarray],
    *,
    engine: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    slope_floor: float = 0.0,
    genn_backend: str | None = None,
) -> Engine:
    """An engine for a plan.

    Args:
        parameters: first values, from `Network.initial_parameters`.
        engine: a name, or "auto" for the fastest, which is `native`; the references run only when asked for by name.
        dtype: "float32" or "float64" for engines with a choice; the references are always float64.
        threads: for `native`; None: all processors.
        slope_floor: see `Engine`.
        genn_backend: for `genn`: "cuda", "hip" or "single_threaded_cpu"; None or "auto": the best that pygenn has.

    Raises:
        SettingError: for an unknown name. EngineError: if it cannot run here. ToolchainError: there is no compiler, and
            the code cache has nothing that was built for such a processor elsewhere.
    """
    if engine == "auto":
        name, reason = _choose()
    elif engine in NAMES:
        name, reason = engine, "asked for"
    else:
        raise SettingError(f"unknown engine {engine!r} ({suggest(engine, (*NAMES, 'auto'))})")
    made = _make(name, plan, parameters, dtype, threads, slope_floor, genn_backend)
    made.reason = "; ".join((reason, *made.remarks))
    return made


def _choose() -> tuple[str, str]:
    """The native engine, always: a reference engine is so slow that it runs only where it is asked for by name."""
    native = availability()[0]
    how = f"compiled by {native.detail}" if native.runs else "compiled on another machine"
    return "native", f"fastest here, {how}"


def _make(
    name: str, plan: Plan, parameters: Mapping[str, Any], dtype: str, threads: int | None, floor: float,
    genn_backend: str | None,
) -> Engine:  # fmt: skip
    if name == "native":
        from .native import NativeEngine

        return NativeEngine(plan, parameters, slope_floor=floor, dtype=dtype, threads=threads)
    if name == "genn":
        from .genn import GennEngine

        return GennEngine(plan, parameters, slope_floor=floor, dtype=dtype, backend=genn_backend)
    if name == "cuda":
        from .cuda import CudaEngine

        return CudaEngine(plan, parameters, slope_floor=floor, dtype=dtype)
    if name == "c99":
        from .c99 import C99Engine

        return C99Engine(plan, parameters, slope_floor=floor, dtype=dtype)
    if name == "reference_clock":
        from .reference_clock import ReferenceClock

        return ReferenceClock(plan, parameters, slope_floor=floor)
    from .reference_event import ReferenceEvent

    if floor:
        raise EngineError("reference_event takes exact slopes; slope_floor is for grid engines")
    return ReferenceEvent(plan, parameters)
