"""Which engines there are, which of them run here, and `create`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import EngineError, SettingError, suggest
from ..modelling import Network
from ..plan import Plan
from .contract.engine import Availability, Engine
from .contract.features import TRAJECTORY_AUXILIARY_LOSS, can_solve
from .contract.wrapper import SwappedLosses, with_trajectory_loss_first

ENGINES = {
    "cuda": "cuda.CudaEngine",
    "native": "native.NativeEngine",
    "genn": "genn.GennEngine",
    "c99": "c99.C99Engine",
    "reference_clock": "reference.grid.ReferenceClock",
    "reference_event": "reference.exact.ReferenceEvent",
}
"""Name -> where in this folder its class stands, fastest first. A new engine is a file, and a line here."""
NAMES = tuple(ENGINES)


def engine_class(name: str) -> type[Engine]:
    """The class of an engine; "auto": of the fastest that may be taken without being asked for.

    Raises:
        SettingError: for an unknown name.
    """
    if name == "auto":
        return next(c for c in map(engine_class, NAMES) if c.automatic)
    if name not in ENGINES:
        raise SettingError(f"unknown engine {name!r} ({suggest(name, (*NAMES, 'auto'))})")
    module, _, kind = ENGINES[name].rpartition(".")
    return getattr(importlib.import_module(f".{module}", __package__), kind)


def availability() -> tuple[Availability, ...]:
    """Every engine on this machine, fastest first."""
    return tuple(engine_class(name).availability() for name in NAMES)


def solvable(network: Network) -> bool:
    """Whether the engine that "auto" takes has exact spike times for these neurons, without noise and dropout."""
    return can_solve(network, engine_class("auto").features)


def create(
    plan: Plan,
    parameters: Mapping[str, np.ndarray],
    *,
    engine: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    slope_floor: float = 0.0,
    genn_backend: str | None = None,
    device: int | None = None,
) -> Engine:
    """An engine for a plan.

    Args:
        parameters: initial values, from `Network.initial_parameters`.
        engine: a name, or "auto": `cuda` where it is faster and starts, else `native`; others run only when named.
        dtype: "float32" or "float64" for engines with a choice; the references are always float64.
        threads: for `native`; None: all processors.
        slope_floor: see `Engine`.
        genn_backend: for `genn`: "cuda", "hip" or "single_threaded_cpu"; None or "auto": the best that pygenn has.
        device: for `cuda`: index of a GPU among those that CUDA_VISIBLE_DEVICES shows; None: the first, or of several
            processes that a launcher starts on a machine one for each.

    Raises:
        SettingError: an unknown name. EngineError: it cannot run here. ToolchainError: there is no compiler, and the
            code cache has nothing built elsewhere for such a processor.
    """
    settings: dict[str, Any] = {"dtype": dtype, "threads": threads, "slope_floor": slope_floor, "backend": genn_backend}
    settings |= {"device": device}
    if engine == "auto":
        made, reason = _fastest(plan, parameters, settings)
    else:
        made, reason = _make(engine_class(engine), plan, parameters, settings), "asked for"
    made.reason = "; ".join((reason, *made.remarks))
    return made


def _fastest(plan: Plan, parameters: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> tuple[Engine, str]:
    """The fastest engine that starts, and why it was chosen; its remarks say which one did not start."""
    failures: list[str] = []
    for kind in map(engine_class, NAMES):
        try:
            if not kind.is_fastest_for(plan):
                continue
            made = _make(kind, plan, parameters, settings)
        except EngineError as error:
            if kind.automatic:
                raise
            failures.append(f"{kind.name} is expected to be faster, but does not start: {_on_one_line(error)}")
        else:
            made.remarks += failures
            return made, _why(kind)
    raise EngineError("no engine runs this network")  # native is for every plan


def _make(kind: type[Engine], plan: Plan, parameters: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Engine:
    if settings["slope_floor"] and "slope_floor" not in kind.options:
        raise EngineError(f"{kind.name} computes exact slopes; slope_floor is for grid engines only")
    inside = inner_plan(kind, plan)
    made: Engine = kind(inside or plan, parameters, **{n: v for n, v in settings.items() if n in kind.options})
    return made if inside is None else SwappedLosses(made, plan)


def _on_one_line(error: Exception, most: int = 400) -> str:
    """A compiler's message may be a page."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[:most]} ..."


def inner_plan(kind: type[Engine], plan: Plan) -> Plan | None:
    """The plan that an engine runs in place of `plan`, with the trajectory loss as the main one (`SwappedLosses`).

    None if it runs `plan` itself.
    """
    features = kind.features.get(plan.spike_times)
    if features is None or TRAJECTORY_AUXILIARY_LOSS in features:
        return None
    return with_trajectory_loss_first(plan)


def _why(kind: type[Engine]) -> str:
    here = kind.availability()
    if not kind.automatic:
        return f"expected to be the fastest here for this network, on {here.detail}"
    return f"fastest here, {f'compiled by {here.detail}' if here.runs else 'compiled on another machine'}"
