"""Which engines there are, which of them run here, and `create`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from ..choice import parse_spec
from ..errors import EngineError, SettingError, suggest
from ..modelling import Network
from ..plan import Plan
from .contract.engine import Availability, Engine
from .contract.features import TRAJECTORY_AUXILIARY_LOSS, can_solve, list_engines
from .contract.parameters import real_numbers
from .contract.wrapper import SwappedLosses, with_trajectory_loss_first

GROUP = "genn_eventprop.engines"
"""Of entry points, by which other distributions have engines here (docs/extend.md)."""
OWN = {
    "cuda": "cuda:CudaEngine",
    "native": "native:NativeEngine",
    "genn": "genn:GennEngine",
    "c99": "c99:C99Engine",
    "reference_clock": "reference.grid:ReferenceClock",
    "reference_event": "reference.exact:ReferenceEvent",
}
"""Name -> where in this folder its class stands, fastest first; here, since a checkout that is not installed has no
entry points, and those have no order."""
ENGINES = {name: EntryPoint(name, f"{__package__}.{place}", GROUP) for name, place in OWN.items()}
ENGINES |= {e.name: e for e in sorted(entry_points(group=GROUP)) if e.name not in OWN}
NAMES = tuple(ENGINES)
SHARED = ("dtype", "threads", "slope_floor")
"""Settings that `create` has for all engines."""


def engine_class(engine: str) -> type[Engine]:
    """The class of an engine, options behind its name or not; "auto": of the fastest that may be taken by itself.

    Args:
        engine: e.g. "native" or "cuda(device=1)".

    Example:
        >>> from genn_eventprop.engines import engine_class
        >>> engine_class("reference_event").name
        'reference_event'

    Raises:
        SettingError: for an unknown name. EngineError: an engine of another distribution that cannot be imported.
    """
    name, _ = engine_and_options(engine)
    if name == "auto":
        return next(c for c in all_engines() if c.automatic)
    if name in OWN:
        return ENGINES[name].load()
    try:
        kind = ENGINES[name].load()
        if not issubclass(kind, Engine) or kind.name != name:
            raise TypeError(f"{ENGINES[name].value} is not an Engine of that name")
    except Exception as error:
        raise EngineError(
            f"engine {name!r} of another package cannot be used ({type(error).__name__}: {error}); remove or repair it"
        ) from error
    return kind


def all_engines() -> Iterator[type[Engine]]:
    """The classes of all engines that can be imported, fastest first; `availability` says why others cannot."""
    for name in NAMES:
        try:
            kind = engine_class(name)
        except EngineError:
            continue
        yield kind


list_engines(all_engines)


def engine_and_options(engine: str) -> tuple[str, dict[str, Any]]:
    """ "cuda(device=1)" -> its name, and its options by name.

    Raises:
        SettingError: an unknown name or option, an option of another engine, or a value of the wrong kind.
    """
    if engine in ENGINES or engine == "auto":
        return engine, {}
    spec = parse_spec(str(engine), "engine", words=True)
    if spec.name not in (*NAMES, "auto"):
        raise SettingError(f"unknown engine {spec.name!r} ({suggest(spec.name, (*NAMES, 'auto'))})")
    if spec.values:
        raise SettingError(f"engine {engine!r}: write each option as NAME=VALUE, e.g. cuda(device=1)")
    check_options(spec.name, spec.options)
    for name, value in spec.options.items():
        option = next(c.special_options[name] for c in _kinds(spec.name) if name in c.special_options)
        if not option.accepts(value):
            raise SettingError(f"engine {engine!r}: {name} must be of type {option.kind.__name__} ({option.meaning})")
    return spec.name, dict(spec.options)


def check_options(engine: str, options: Iterable[str]) -> None:
    """Raise `SettingError` for options that an engine does not have, saying which one has them; "auto" has those of all
    engines, and those of the engine that it chooses count."""
    if not (options := tuple(options)):
        return
    owners = option_owners()
    here = {option for c in _kinds(engine) for option in c.special_options}
    for option in options:
        if option in here:
            continue
        if option in owners:
            which = f"is an option of {owners[option]}, not of {engine}; write engine='{owners[option]}({option}=...)'"
            raise SettingError(f"{option} {which}, or leave it out")
        if option in SHARED:
            raise SettingError(
                f"engine {engine!r}: {option} is no option of an engine, it is set by itself: {option}=..."
            )
        raise SettingError(f"unknown argument or engine option {option!r} ({suggest(option, owners)})")


def option_owners() -> dict[str, str]:
    """Option -> the engine that has it."""
    return {option: c.name for c in _kinds("auto") for option in c.special_options}


def _kinds(name: str) -> list[type[Engine]]:
    return list(all_engines()) if name == "auto" else [engine_class(name)]


def availability() -> tuple[Availability, ...]:
    """Every engine on this machine, fastest first.

    Example:
        >>> from genn_eventprop.engines import availability
        >>> {engine.name: engine.runs for engine in availability()}["reference_clock"]
        True
    """
    return tuple(map(availability_of, NAMES))


def availability_of(name: str) -> Availability:
    """One engine on this machine."""
    try:
        return engine_class(name).availability()
    except EngineError as error:
        return Availability(name, False, str(error))


def solvable(network: Network) -> bool:
    """Whether the engine that "auto" takes has exact spike times for these neurons, without noise and dropout.

    Args:
        network: the one to be run.

    Example:
        >>> from genn_eventprop.engines import solvable
        >>> solvable(net)
        True
    """
    return can_solve(network, engine_class("auto").features)


def create(
    plan: Plan,
    parameters: Mapping[str, np.ndarray],
    *,
    engine: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    slope_floor: float = 0.0,
    **options: Any,
) -> Engine:
    """An engine for a plan.

    Args:
        plan: network, losses and time grid, e.g. ``trainer.plan``.
        parameters: initial values, from `Network.initial_parameters`.
        engine: a name, or "auto": `cuda` where it is faster and starts, else `native`; others run only when named.
            Options that an engine alone has may stand behind its name: "cuda(device=1)"; see `Engine.special_options`.
        dtype: "float32" or "float64" for engines with a choice; the references are always float64.
        threads: for `native`; None: all processors.
        slope_floor: see `Engine`.
        options: the same as those behind the name.

    Raises:
        SettingError: an unknown name or option. EngineError: it cannot run here. ToolchainError: there is no compiler,
            and the code cache has nothing built elsewhere for such a processor.

    Example:
        >>> from genn_eventprop.engines import create
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0)
        >>> reference = create(trainer.plan, net.initial_parameters(1), engine="reference_event")
        >>> reference.name
        'reference_event'
    """
    name, behind = engine_and_options(engine)
    options = behind | {option: value for option, value in options.items() if value is not None}
    check_options(name, options)
    real_numbers(dtype)  # also for a reference, which is always in float64
    settings: dict[str, Any] = {"dtype": dtype, "threads": threads, "slope_floor": slope_floor, **options}
    if name == "auto":
        started, reason = _fastest(plan, parameters, settings)
    else:
        started, reason = _make(engine_class(name), plan, parameters, settings), "asked for"
    started.reason = "; ".join((reason, *started.remarks))
    return started


def _fastest(plan: Plan, parameters: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> tuple[Engine, str]:
    """The fastest engine that starts, and why it was chosen; its remarks say which one did not start."""
    failures: list[str] = []
    for kind in all_engines():
        try:
            if not kind.is_fastest_for(plan):
                continue
            engine = _make(kind, plan, parameters, settings)
        except EngineError as error:
            if kind.automatic:
                raise
            failures.append(f"{kind.name} is expected to be faster, but does not start: {_on_one_line(error)}")
        else:
            engine.remarks += failures
            return engine, _why(kind)
    raise EngineError("no engine runs this network")  # native is for every plan


def _make(kind: type[Engine], plan: Plan, parameters: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Engine:
    if settings["slope_floor"] and "slope_floor" not in kind.options:
        raise EngineError(f"{kind.name} computes exact slopes; slope_floor is for grid engines only")
    inside = inner_plan(kind, plan)
    engine: Engine = kind(inside or plan, parameters, **_settings_of(kind, settings))
    return engine if inside is None else SwappedLosses(engine, plan)


def _settings_of(kind: type[Engine], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in settings.items() if n in kind.options or n in kind.special_options}


def _on_one_line(error: Exception, most: int = 400) -> str:
    """A compiler's message may be a page."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[:most]} ..."


def inner_plan(kind: type[Engine], plan: Plan) -> Plan | None:
    """The plan that an engine runs in place of `plan`, with the trajectory loss as the main one (`SwappedLosses`).

    None if it runs `plan` itself.
    """
    times = plan.spike_times
    features = kind.features.get(times)
    if features is None or (TRAJECTORY_AUXILIARY_LOSS in features and times not in kind.trajectory_loss_first):
        return None
    return with_trajectory_loss_first(plan)


def _why(kind: type[Engine]) -> str:
    here = kind.availability()
    if not kind.automatic:
        return f"estimated, not measured, to be the fastest here for this network, on {here.detail}"
    return f"fastest here, {f'compiled by {here.detail}' if here.runs else 'compiled on another machine'}"
