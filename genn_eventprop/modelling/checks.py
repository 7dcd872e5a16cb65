"""What is refused when a `NeuronModel` is created: names, types, unknown symbols, units, thresholds out of reach."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Mapping

import sympy as sp

from ..errors import ModelError, NetworkError, check_known, shown, suggest
from .expressions import parse
from .handwritten import check_snippets
from .names import TITLE_RULE, is_title, usable
from .parameters import Param
from .reach import Model, check_below, check_reach
from .units import check_units

SCHEMES = ("auto", "exact", "exponential_euler", "rk4")


def check_model(model: Model) -> None:
    """Raise `ModelError` for a model that cannot be derived, before anything of it is: naming the part and a remedy."""
    # each check may rely on those before it: names become symbols, without which no equation can be read
    _check_types(model)
    _check_names(model)
    symbols, name = model.symbols(), model.name
    _check_equations(model, symbols)
    check_known(model.scheme, SCHEMES, ModelError, f"{name}: unknown scheme {model.scheme!r} (")
    _check_events(model, symbols)
    check_snippets(name, model.snippets, model.state, model.params, model.spiking)
    check_units(model)
    for n, param in model.params.items():
        try:
            param.check_positive(f"{name}: {n}")
        except NetworkError as error:  # here it is the model's line that is wrong
            raise ModelError(str(error), n) from None
    check_reach(model)
    check_below(model, {n: p.value for n, p in model.params.items()}, name)


def _check_names(model: Model) -> None:
    name = model.name
    for receptor in model.receptors:
        if not (isinstance(receptor, str) and usable(receptor, (), (), ())):
            raise ModelError(
                f"{name}: {receptor!r} cannot name an input; use ASCII letters, digits and underscores, and no name "
                "that Python or the formulas of a step use",
                receptor if isinstance(receptor, str) else None,
            )
    for n in (*model.state, *model.params, *model.drives):
        if not usable(n, model.state, model.params, model.receptors):
            raise ModelError(
                f"{name}: {n!r} cannot name a state, parameter or drive; use ASCII letters, digits, underscores, and "
                f"no name that Python or the formulas of a step use (e.g. {spelled_out(n)})",
                n if isinstance(n, str) else None,
            )
        if n in model.state and n in model.params:
            raise ModelError(f"{name}: {n!r} is both a state and a parameter")
        if n in model.drives and (n in model.state or n in model.params):
            raise ModelError(f"{name}: {n!r} is both a drive and a state or parameter; rename one", n)
    if set(model.dynamics) != set(model.state):
        odd = sorted(map(str, set(model.dynamics) ^ set(model.state)))
        derivative = next((n for n in odd if "/" in n or "'" in n), None)
        hint = "" if derivative is None else f"; write the name of the state alone instead of {derivative!r}"
        raise ModelError(
            f"{name}: dynamics and state must name the same variables; they differ in {', '.join(odd)}{hint}"
        )


def _check_equations(model: Model, symbols: Mapping[str, sp.Symbol]) -> None:
    name, params = model.name, {n: symbols[n] for n in model.params}
    for s in model.state:
        parse(model.state[s], params, f"{name}: initial value of {s}")
        parse(model.dynamics[s], symbols, f"{name}: dynamics of {s}")
    if model.readout not in model.state and (model.readout != "V"):
        raise ModelError(f"{name}: readout {model.readout!r} is not a state ({suggest(model.readout, model.state)})")
    for receptor, entry in model.receptors.items():
        for s, amount in entry.items():
            check_known(s, model.state, ModelError, f"{name}: input {receptor!r} acts on {s!r}, not a state (", s)
            parse(amount, params, f"{name}: input {receptor!r}, amount for {s}")
    for drive, entry in model.drive_amounts.items():
        if drive in model.receptors:
            raise ModelError(f"{name}: {drive!r} is an input and a drive; rename one", drive)
        for s, amount in entry.items():
            check_known(s, model.state, ModelError, f"{name}: drive {drive!r} acts on {s!r}, not a state (", s)
            parse(amount, symbols, f"{name}: drive {drive!r}, amount for {s}")


def _check_types(model: Model) -> None:
    name = model.name
    if not isinstance(name, str) or not name:
        raise ModelError(f"a neuron model needs a name, got {name!r}")
    check_title(name, "a neuron model")
    for part in ("state", "params", "dynamics", "snippets"):
        if not isinstance(getattr(model, part), Mapping):
            example = f", e.g. {EXAMPLES[part]}, got {shown(getattr(model, part))}"
            raise ModelError(f"{name}: {part} must be a dictionary{example}")
    if not model.state:
        raise ModelError(f"{name}: a model needs at least one state")
    for n, param in model.params.items():
        if not isinstance(param, Param):
            raise ModelError(
                f"{name}: parameter {n!r} must be a Param, got {shown(param)}; write Param({shown(param)}), for a time "
                f"in ms Param({shown(param)}, 'ms')",
                n if isinstance(n, str) else None,
            )
    for e in model.events:
        if not hasattr(e, "threshold"):
            raise ModelError(f"{name}: events are Event(...), got {type(e).__name__}")
    for m in model.modes:
        if not hasattr(m, "lasts"):
            raise ModelError(f"{name}: modes are Mode(...), got {type(m).__name__}")
    for part in (*model.events, *model.modes):
        check_title(part.name, f"{name}: {'an event' if hasattr(part, 'threshold') else 'a mode'}")
    if model.input is not None and not isinstance(model.input, (str, Mapping)):
        raise ModelError(f"{name}: input names a state, or is a dictionary of receptors, got {shown(model.input)}")
    if not isinstance(model.drives, Mapping):
        raise ModelError(
            f"{name}: drives must be a dictionary, e.g. {{'I_ext': {{'V': '1 / c_mem'}}}}, got {shown(model.drives)}"
        )


EXAMPLES = {
    "state": "{'V': 0.0}",
    "params": "{'tau_mem': Param(20.0, 'ms')}",
    "dynamics": "{'V': '(I - V) / tau_mem'}",
    "snippets": "{'sim_code': '...'}",
}


def spelled_out(name: object) -> str:
    """A name in ASCII for one that is refused: Greek letters as words, other characters as underscores."""
    if not isinstance(name, str):
        return "tau_mem"
    greek = (unicodedata.name(c, "") if not c.isascii() else "" for c in name)
    words = (g.split()[-1].lower() if g.startswith("GREEK") else c for c, g in zip(name, greek))
    text = re.sub(r"\W", "_", "".join(words), flags=re.ASCII)
    return text if text != name and text.isidentifier() and not keyword.iskeyword(text) else f"{text}_0"


def check_title(name: object, what: str) -> None:
    """Raise `ModelError` unless `name` can name a model, an event or a mode."""
    if not is_title(name):
        text = name if isinstance(name, str) else None
        raise ModelError(f"{what} cannot be called {name!r}; use {TITLE_RULE}", text)


def _check_events(model: Model, symbols: Mapping[str, sp.Symbol]) -> None:
    name = model.name
    modes = {"free", *(m.name for m in model.modes)}
    if len(modes) != len(model.modes) + 1:
        raise ModelError(f"{name}: two modes have the same name; 'free' is the model's own dynamics")
    if len({e.name for e in model.events}) != len(model.events):
        raise ModelError(f"{name}: two events have the same name")
    for event in model.events:
        g = parse(event.threshold, symbols, f"{name}: threshold of event {event.name!r}")
        if not any(symbols[s] in g.free_symbols for s in model.state):
            raise ModelError(
                f"{name}: threshold {event.threshold!r} of event {event.name!r} uses no state, so nothing can cross "
                f"it; write it in terms of {', '.join(model.state)}"
            )
        for s, value in event.reset.items():
            check_known(s, model.state, ModelError, f"{name}: reset of {s!r}, which is not a state (", s)
            parse(value, symbols, f"{name}: reset of {s}")
        for m in (*event.modes, *([] if event.next_mode is None else [event.next_mode])):
            check_known(m, modes, ModelError, f"{name}: event {event.name!r} names mode {m!r} (", str(m))
    for mode in model.modes:
        for s, rhs in mode.dynamics.items():
            check_known(s, model.state, ModelError, f"{name}: mode {mode.name!r} has dynamics of {s!r} (", s)
            parse(rhs, symbols, f"{name}: mode {mode.name!r}, dynamics of {s}")
        if mode.lasts is not None and mode.lasts not in model.params:
            raise ModelError(
                f"{name}: mode {mode.name!r} lasts for {mode.lasts!r}, which is not a parameter "
                f"({suggest(mode.lasts, model.params)})"
            )
        if mode.then is not None and mode.then not in modes:
            raise ModelError(
                f"{name}: mode {mode.name!r} is followed by mode {mode.then!r} ({suggest(mode.then, modes)})"
            )
