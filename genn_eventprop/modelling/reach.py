"""Thresholds that no input can reach; starts and resets at or above the threshold that has to be crossed from below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import sympy as sp

from ..errors import ModelError
from .expressions import numpy_function, parse, symbol

PROBES = 4000
"""Random states at which a threshold that is not linear is evaluated."""


class Event(Protocol):
    """What the checks read of `neuron.Event`, which is made after them."""

    @property
    def name(self) -> str: ...
    @property
    def threshold(self) -> str | float | int: ...
    @property
    def reset(self) -> Mapping[str, Any]: ...
    @property
    def emits(self) -> bool: ...
    @property
    def modes(self) -> tuple[str, ...]: ...
    @property
    def next_mode(self) -> str | None: ...


class Model(Protocol):
    """What the checks read of `neuron.NeuronModel`, which calls them when it is made."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> Mapping[str, Any]: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def dynamics(self) -> Mapping[str, Any]: ...
    @property
    def input(self) -> Any: ...
    @property
    def receptors(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def drives(self) -> Mapping[str, Any]: ...
    @property
    def drive_amounts(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def modes(self) -> Sequence[Any]: ...
    @property
    def readout(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def snippets(self) -> Mapping[str, str]: ...
    @property
    def spiking(self) -> bool: ...
    def symbols(self) -> dict[str, sp.Symbol]: ...


def check_reach(model: Model) -> None:
    """Raise `ModelError` if nothing that arrives can move the threshold of an event that sends spikes, or if that
    threshold stays below zero for all states."""
    reached = _reached(model)
    for event in model.events:
        g = _threshold(model, event)
        states = [s for s in model.state if symbol(s) in g.free_symbols]
        if event.emits and model.receptors and not reached & set(states):
            raise ModelError(
                f"{model.name}: no input can reach the threshold {event.threshold!r} of event {event.name!r}: it "
                f"depends on {', '.join(states)}, and arriving spikes move only {', '.join(sorted(reached))}",
                str(event.threshold),
            )
        if not any(_slope(g, s, model) for s in states) and _always_below(model, g):
            raise ModelError(
                f"{model.name}: the threshold {event.threshold!r} of event {event.name!r} is below zero for all states "
                "with the default parameters, so nothing can cross it",
                str(event.threshold),
            )


def _threshold(model: Model, event: Event) -> sp.Expr:
    return parse(event.threshold, model.symbols(), f"{model.name}: threshold of event {event.name!r}")


def _slope(g: sp.Expr, state: str, model: Model) -> sp.Expr:
    """dg/dstate where it is the same for all states, else 0."""
    slope = sp.diff(g, symbol(state))
    return sp.Integer(0) if any(symbol(s) in slope.free_symbols for s in model.state) else slope


def _reached(model: Model) -> set[str]:
    """States that arrivals and currents change, through the dynamics of any mode, resets, and when events happen."""
    table, name = model.symbols(), model.name
    rights = [dict(model.dynamics), *(dict(m.dynamics) for m in model.modes)]
    uses = lambda text: {s for s in model.state if symbol(s) in parse(text, table, name).free_symbols}  # noqa: E731
    reached = {s for to in (*model.receptors.values(), *model.drive_amounts.values()) for s in to}
    while True:
        new = {s for right in rights for s, f in right.items() if uses(f) & reached}
        for event in model.events:
            happens = bool(uses(event.threshold) & reached)
            new |= {s for s, value in event.reset.items() if happens or uses(value) & reached}
            new |= {s for m in model.modes for s in m.dynamics if happens and event.next_mode is not None}
        if new <= reached:
            return reached
        reached |= new


def _defaults(model: Model) -> dict[sp.Symbol, float] | None:
    """One number a parameter, None if some are drawn at random."""
    values = {n: p.value for n, p in model.params.items()}
    if any(hasattr(v, "sample") for v in values.values()):
        return None
    return {symbol(n): float(np.ravel(v)[0]) for n, v in values.items()}


def _always_below(model: Model, g: sp.Expr) -> bool:
    values = _defaults(model)
    if values is None:
        return False
    # of all magnitudes and both signs: states may be mV, or 1e-3 of something
    rng = np.random.default_rng(0)
    x = 10.0 ** rng.uniform(-3, 6, (len(model.state), PROBES)) * rng.choice([-1, 1], (len(model.state), PROBES))
    function = numpy_function([symbol(s) for s in model.state], g.subs(values))
    with np.errstate(all="ignore"):
        g_values = np.broadcast_to(function(*x), PROBES)
    return bool(np.isfinite(g_values).any() and np.nanmax(g_values) < 0)


def landings(model: Model) -> Iterator[tuple[Event, sp.Expr]]:
    """Events that can happen again at once, with g(h(x)) for x on the threshold, where only parameters decide it."""
    table = model.symbols()
    for event in model.events:
        g = _threshold(model, event)
        state = next((s for s in model.state if _slope(g, s, model) != 0), None)
        # on the threshold the state follows from the others only if g is linear in it
        if state is None or (event.next_mode is not None and event.modes and event.next_mode not in event.modes):
            continue
        x = table[state]
        reset = {table[s]: parse(v, table, f"{model.name}: reset of {s}") for s, v in event.reset.items()}
        on_threshold = sp.expand(x - g / sp.diff(g, x))
        landing = sp.expand(g.subs(reset, simultaneous=True).subs(x, on_threshold))
        if not any(table[s] in landing.free_symbols for s in model.state):
            yield event, landing


def starts(model: Model) -> Iterator[tuple[Event, sp.Expr]]:
    """Events that can happen in the mode "free", with g(x0)."""
    table = model.symbols()
    x0 = {table[s]: parse(v, table, f"{model.name}: initial value of {s}") for s, v in model.state.items()}
    for event in model.events:
        if not event.modes or "free" in event.modes:
            yield event, _threshold(model, event).subs(x0, simultaneous=True)


def check_below(model: Model, values: Mapping[str, Any], where: str) -> None:
    """Raise `ModelError` if a reset lands, or a neuron starts, at or above its threshold for parameter -> number or
    array in `values`: it would be crossed again at once, or never from below."""
    for event, text, used, function in _functions(model):
        if any(hasattr(values[n], "sample") for n in used):
            continue
        heights = np.asarray(function(*(np.asarray(values[n], dtype=np.float64) for n in used)), dtype=np.float64)
        if np.any(heights >= 0):
            g = f"threshold {event.threshold!r}"
            neuron = f"neuron {int(np.argmax(heights))}" if heights.size > 1 else "a neuron"
            text = text.format(event=event.name, g=g, neuron=neuron, by=f"{float(np.max(heights)):g}")
            raise ModelError(f"{where}: {text}", str(event.threshold))


LANDS = (
    "the reset of event {event!r} lands at or above its {g} (by {by}), so it would happen again immediately; let it "
    "reset below the threshold, or go to a mode (next_mode=) without this event that brings it there (if it stays "
    "above, the event happens once with exact spike times, and again and again on the grid)"
)
STARTS = (
    "{neuron} starts at or above the {g} of event {event!r} (by {by}), which must be crossed from below; let it "
    "start below, and give learned parameters bounds that keep it there"
)


def _functions(model: Model) -> list[tuple[Event, str, list[str], Callable[..., Any]]]:
    """`landings` and `starts` as NumPy functions of the parameters they use, made once a model."""
    # deriving them takes sympy far longer than NumPy to evaluate them
    if not hasattr(model, "_below"):
        functions = []
        conditions = [(e, LANDS, g) for e, g in landings(model)] + [(e, STARTS, g) for e, g in starts(model)]
        for event, text, g in conditions:
            used = [n for n in model.params if symbol(n) in g.free_symbols]
            functions.append((event, text, used, numpy_function([symbol(n) for n in used], g)))
        object.__setattr__(model, "_below", functions)
    return model._below  # type: ignore[attr-defined]
