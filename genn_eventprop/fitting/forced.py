"""The model of a fit: a current is injected into it, and its spikes happen when those of the recording do.

A free run from wrong parameters soon spikes at other times than the cell, and its error says little about the
parameters any more. So the model that is fitted is reset at the *measured* spikes (teacher forcing: Abarbanel,
Creveling, Farsian, Kostuk 2009, doi 10.1137/090749761, do the same with a coupling to the measured V), and stays at its
own threshold from its own crossing to the next measured spike:

    dx/dt = f(x, I), but dV/dt = 0 while waiting where f is nonlinear in V, which would diverge;  d(lead)/dt = waits
    own crossing g(x) = 0: waits = 1
    measured spike: x = h(x), waits = lead = 0, and the mode changes as it does at the model's own spike

At the measured spike, `lead` is by how much the own crossing came too early, and g(x) < 0 how far the model was from
one that had not come. Where both vanish, and V agrees between spikes, the free run has the measured spikes. That the
model waits is a state of its own, not a mode: the model's modes go on, end and stay as they do without it.

Where V was measured, dV/dt also has the term coupling * (measured V - V) outside the windows around spikes. With a
strong coupling V cannot leave the measured one, and what remains of the error is that of dV/dt, which is linear in most
parameters; a fit begins there and ends with a coupling of 0. With a coupling, a V that stays waits for 2 ms only: the
model goes on where the measured V has pulled it, at most at its threshold.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from ..errors import SettingError, shown, suggest
from ..modelling import Event, NeuronModel, Param
from ..modelling.expressions import parse
from ..modelling.neuron import FREE, Expression, renamed

STIMULUS, TEACHER, TARGET, SLOPE, COUPLED = "stimulus", "teacher", "target", "slope", "coupled"
"""Receptors of the forced model: what changes the current, makes the measured spikes, sets the measured V and its slope
(it is linear between samples), and says where it counts."""
COUPLING, PATIENCE = "coupling", "patience"
"""Its parameters: strength of the coupling, and how long a V that stays waits."""
FOREVER = 1e9
"""ms."""
BELOW = 1e-3
"""Units of V by which a V that has waited begins below the threshold, so that it can cross it again."""
GAIN = "gain"
"""A parameter that every model has in a fit: what the injected current is multiplied by, 1 unless it is fitted."""


@dataclass(frozen=True)
class FittedModel:
    """The two versions of a model that a fit runs.

    Attributes:
        free: spikes by itself. forced: see the module. spike: the event that is the spike.
        current, lead: the states of the injected current and of the lead. coupling, patience: see `COUPLING`.
        diverges: whether dV/dt is nonlinear in V, so that V stays at the threshold while waiting.
    """

    model: NeuronModel
    free: NeuronModel
    forced: NeuronModel
    spike: Event
    current: str
    lead: str
    coupling: str
    patience: str
    diverges: bool


def fitted_model(model: NeuronModel, current: str | None = None) -> FittedModel:
    """Replace `current` by an injected one and make both versions.

    Args:
        current: a drive of the model, a state that only its own decay and arrivals change (a synaptic current), or a
            parameter; None: its only drive, or what is called I.

    Raises:
        SettingError: it is neither, or the model has no spike, or several.
    """
    emitting = [e for e in model.events if e.emits]
    if len(emitting) != 1:
        raise SettingError(
            f"{model.name} has {len(emitting)} events that send spikes; a fit compares one kind of spike with the "
            "recording's: fit a model with one"
        )
    if model.snippets:
        raise SettingError(
            f"{model.name} has hand-written snippets, which replace its equations; fit the model of equations"
        )
    if current is None:
        current = next(iter(model.drives)) if len(model.drives) == 1 else "I"
    injected = _with_current(model, current)
    spike = next(e for e in injected.events if e.emits)
    names = (TEACHER, "lead", "waits", TARGET, SLOPE, COUPLED, COUPLING, PATIENCE)
    teacher, lead, waits, target, slope, coupled, coupling, patience = (_free_name(injected, name) for name in names)
    v = injected.readout
    rates_of_v = [injected.dynamics[v], *(m.dynamics[v] for m in injected.modes if v in m.dynamics)]
    symbols = injected.symbols()
    diverges = any(
        symbols[v] in sp.diff(parse(rate, symbols, model.name), symbols[v]).free_symbols for rate in rates_of_v
    )

    def followed(rates: Mapping[str, Expression]) -> dict[str, Expression]:
        if v not in rates:
            return dict(rates)
        rate = f"(1 - {waits}) * ({rates[v]})" if diverges else rates[v]
        return {**rates, v: f"{rate} + {coupling} * {coupled} * ({target} - {v})"}

    # a measured spike resets in every mode, and what it does to the mode is what the model's own does
    measured = replace(
        spike, threshold=f"{teacher} - 0.5", reset={**spike.reset, teacher: 0, lead: 0, waits: 0}, modes=()
    )
    # one that waits has crossed, and cannot again
    crossed = f"(1 - {waits}) * ({spike.threshold}) - 1.0 * {waits}"  # a number may have any unit
    crossing = replace(
        spike, name=_free_title(injected, "own crossing"), threshold=crossed, reset={waits: 1}, emits=False,
        next_mode=None,
    )  # fmt: skip
    events = [measured, crossing, *(e for e in injected.events if not e.emits)]
    if diverges:
        beyond = f"({spike.threshold}) / ({sp.diff(parse(spike.threshold, symbols, model.name), symbols[v])})"
        start = f"{v} - ({beyond} + abs({beyond})) / 2 - {BELOW}"
        events.append(
            Event(_free_title(injected, "end of waiting"), f"{lead} - {patience}", {waits: 0, lead: 0, v: start}, False)
        )
    added = (teacher, lead, waits, target, slope, coupled)
    forced = replace(
        injected,
        state={**injected.state, **dict.fromkeys(added, 0.0)},
        params={**injected.params, coupling: Param(0.0, "1/ms"), patience: Param(FOREVER, "ms")},
        dynamics={**followed(injected.dynamics), **dict.fromkeys(added, "0"), lead: waits, target: slope},
        threshold=None,
        reset=None,
        events=events,
        modes=[replace(m, dynamics=followed(m.dynamics)) for m in injected.modes],
        input={STIMULUS: current, TEACHER: teacher, TARGET: target, SLOPE: slope, COUPLED: coupled},
    )
    return FittedModel(model, injected, forced, spike, current, lead, coupling, patience, diverges)


def _with_current(model: NeuronModel, current: str) -> NeuronModel:
    """The model with `current` as a state that arrivals set and nothing else changes, times the gain.

    Synapses that nothing reaches any more are left out: they would stay at 0.
    """
    known = [*model.drives, *model.state, *model.params]
    if not isinstance(current, str):
        raise SettingError(
            f"the place of the injected current must be a name, one of {', '.join(known)}, got {shown(current)}"
        )
    if current not in known:
        raise SettingError(
            f"{model.name} has no drive, state or parameter {current!r} for the current; name its place with inject= "
            f"({suggest(current, known)})"
        )
    if current == model.readout:
        raise SettingError(f"{model.name}: {current!r} is what is measured; name the place of the injected current")
    if GAIN in (*model.state, *model.params):
        raise SettingError(
            f"{model.name}: {GAIN!r} is what a fit multiplies the current by; give it another name there"
        )
    if current in model.state and (why := _changed_by(model, current)):
        raise SettingError(
            f"{model.name}: {current!r} also depends on {why}, so an injected current cannot take its place; name the "
            "state that arrivals alone change, or a drive or parameter of the equations"
        )
    idle = _at_0(model, {current, model.readout})
    scaled = {current: f"{GAIN} * {current}"} | dict.fromkeys(idle, "0")
    gone = {current, *idle}
    driven = model.drive_amounts.get(current, {})

    def of(rates: Mapping[str, Expression]) -> dict[str, Expression]:
        return {s: _without_zeros(renamed(f, scaled, model.name)) for s, f in rates.items() if s not in gone}

    # a drive belongs to the free equations: a mode that replaces the equation of a state replaces it too
    dynamics = {
        s: f"{f} + ({driven[s]}) * {GAIN} * {current}" if s in driven else f for s, f in of(model.dynamics).items()
    }
    state = {s: v for s, v in model.state.items() if s not in gone}
    modes = tuple(replace(m, dynamics=of(m.dynamics)) for m in model.modes)
    events = tuple(
        replace(
            e, threshold=_without_zeros(renamed(e.threshold, scaled, model.name)),
            reset={s: _without_zeros(renamed(v, scaled, model.name)) for s, v in e.reset.items() if s not in gone},
        )
        for e in model.events
    )  # fmt: skip
    used: set[str] = {m.lasts for m in modes if m.lasts}
    texts: list[Any] = [*dynamics.values(), *state.values(), *(f for m in modes for f in m.dynamics.values())]
    texts += [t for e in events for t in (e.threshold, *e.reset.values())]
    for text in texts:
        used |= {n.id for n in ast.walk(ast.parse(str(text))) if isinstance(n, ast.Name)}
    params = {n: p for n, p in model.params.items() if n in used and n != current} | {GAIN: Param(1.0)}
    return replace(
        model, state={**state, current: 0.0}, params=params, dynamics={**dynamics, current: "0"},
        threshold=None, reset=None, events=events, modes=modes, input={STIMULUS: current}, drives={}, scheme="auto",
    )  # fmt: skip


def _without_zeros(text: str) -> str:
    """An expression without the products and sums that are nothing since a state is 0."""

    class Fold(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            left, right = (isinstance(x, ast.Constant) and x.value == 0 for x in (node.left, node.right))
            if left and isinstance(node.op, (ast.Mult, ast.Div)):
                return node.left
            if right and isinstance(node.op, (ast.Mult, ast.Add, ast.Sub)):
                return node.right if isinstance(node.op, ast.Mult) else node.left
            return node.right if left and isinstance(node.op, ast.Add) else node

    return ast.unparse(Fold().visit(ast.parse(text, mode="eval")))


def _changed_by(model: NeuronModel, state: str, at_0: Iterable[str] = ()) -> str:
    """What changes a state besides its own decay and arrivals; empty if nothing does. at_0: states that are 0."""
    symbols, rates = model.symbols(), _rates(model, state)
    zero = {symbols[s]: 0 for s in at_0}
    mixed = {str(s) for rate in rates for s in parse(rate, symbols, model.name).subs(zero).free_symbols}
    changed = [e.name for e in model.events if state in e.reset]
    return ", ".join(sorted(mixed & set(model.state) - {state})) or (f"the event {changed[0]!r}" if changed else "")


def _rates(model: NeuronModel, state: str) -> list[Expression]:
    """dx/dt of a state, and in the modes that have their own."""
    return [model.dynamics[state], *(m.dynamics[state] for m in model.modes if state in m.dynamics)]


def _at_0(model: NeuronModel, but: Collection[str]) -> list[str]:
    """The states that are 0 as long as nothing arrives, those that they alone change included."""
    symbols, found = model.symbols(), list[str]()
    while True:
        zero = {symbols[s]: 0 for s in found}
        more = [
            s for s in model.state
            if s not in (*but, *found)
            and parse(model.state[s], symbols, model.name) == 0
            and not any(parse(f, symbols, model.name).subs({**zero, symbols[s]: 0}) for f in _rates(model, s))
            and not _changed_by(model, s, found)
        ]  # fmt: skip
        if not more:
            return found
        found += more


def _free_name(model: NeuronModel, name: str) -> str:
    while name in (*model.state, *model.params):
        name += "_of_fit"
    return name


def _free_title(model: NeuronModel, name: str) -> str:
    while name in {FREE, *(m.name for m in model.modes), *(e.name for e in model.events)}:
        name += " of fit"
    return name
