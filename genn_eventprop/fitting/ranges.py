"""Which parameters of a model are fitted, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ..errors import SettingError, shown, suggest
from ..modelling import NeuronModel, Param
from ..modelling.expressions import numpy_function, parse
from .forced import GAIN, FittedModel
from .recording import Recording, is_number, is_pair


@dataclass(frozen=True)
class Ranges:
    """What is fitted: names, low and high (P,), and the values of the other parameters."""

    names: list[str]
    low: np.ndarray
    high: np.ndarray
    fixed: dict[str, float]
    remarks: list[str]


def choose(
    fitted: FittedModel,
    recording: Recording,
    bounds: Mapping[str, tuple[float, float]],
    fixed: Mapping[str, float],
    only: Iterable[str] | None,
    priors: Mapping[str, tuple[float, float]],
) -> Ranges:
    """Which parameters are fitted, and within which bounds.

    Raises:
        SettingError: unknown names, a name in both, bounds that are no range.
    """
    params, name = fitted.free.params, fitted.model.name
    only = None if only is None else names_of(only, "only")
    check_settings(bounds, fixed, priors)
    for where, names in (("bounds", bounds), ("fixed", fixed), ("only", only or []), ("priors", priors)):
        for n in names:
            if n not in params:
                extra = "; the injected current takes its place" if n in fitted.model.params else ""
                raise SettingError(f"{where}: {name} has no parameter {n!r} in a fit ({suggest(n, params)}){extra}")
    both = sorted(set(fixed) & {*bounds, *(only or []), *priors})
    if both:
        raise SettingError(f"{both[0]!r} is fixed, and also in bounds, only or priors; leave it out of one")
    values, remarks = dict(fixed), list[str]()
    asked = {*bounds, *priors, *(only or [])}
    for n, why in untold(fitted).items():
        if n in asked or n in fixed:
            continue
        values[n] = float(params[n].value)
        # where a sweep begins is known if it is V itself: the first voltage that was measured
        if fitted.free.state[fitted.free.readout] == n and recording.voltage is not None:
            values[n] = float(
                np.mean([v[np.isfinite(v)][0] for v in recording.voltage if np.isfinite(v).any()] or [values[n]])
            )
        remarks.append(f"{n} = {values[n]:.4g} is not fitted: {why}")
    # the gain is fitted only if it is named: it and a resistance would explain the same data
    chosen = [n for n in params if n not in values and (n in asked if only is not None else n != GAIN or n in asked)]
    if not chosen:
        raise SettingError(f"{name}: no parameter is left to fit; name some in only= or bounds=")
    free_to_shift = potentials(fitted.free)
    ranges = [_checked(n, params[n], bounds[n]) if n in bounds else _range(n, fitted, free_to_shift) for n in chosen]
    low, high = (np.array(side, float) for side in zip(*ranges))
    return Ranges(chosen, low, high, values, remarks)


def check_settings(bounds: object, fixed: object, priors: object) -> None:
    """Raise `SettingError` for what is not of the kind that `fit` says."""
    forms: dict[str, tuple[object, Callable[[Any], bool], str]] = {
        "bounds": (bounds, is_pair, "two numbers, (low, high)"),
        "fixed": (fixed, is_number, "a number"),
        "priors": (priors, lambda v: is_pair(v) and v[1] > 0, "two numbers, a mean and a positive standard deviation"),
    }
    for where, (values, is_right, form) in forms.items():
        if not isinstance(values, Mapping):
            raise SettingError(f"{where} must be a dictionary, of a parameter {form}, got {shown(values)}")
        for n, value in values.items():
            if not isinstance(n, str) or not is_right(value):
                raise SettingError(f"{where} of {n!r} must be {form}, finite, got {shown(value)}")


def names_of(names: Iterable[str], where: str) -> list[str]:
    """A list of names; of a text, the letters would be taken for them."""
    listed = [*names] if isinstance(names, Iterable) and not isinstance(names, (str, bytes, Mapping)) else [None]
    if not all(isinstance(n, str) for n in listed):
        raise SettingError(f"{where} must be a list of names of parameters, got {shown(names)}")
    return listed  # type: ignore[return-value]  # each is a text


def untold(fitted: FittedModel) -> dict[str, str]:
    """Parameter -> why a recording does not tell it, and a fit leaves it as it is unless asked."""
    model = fitted.free
    symbols = model.symbols()

    def in_(*texts: object) -> set[str]:
        return {str(s) for text in texts for s in parse(str(text), symbols, model.name).free_symbols} & set(
            model.params
        )

    rates = in_(*model.dynamics.values(), *(f for m in model.modes for f in m.dynamics.values()))
    resets = in_(*(v for e in model.events for v in e.reset.values()))
    threshold = in_(*(e.threshold for e in model.events))
    lasting = {m.lasts for m in model.modes if m.lasts}
    names = dict.fromkeys(
        in_(*model.state.values()) - rates - resets - threshold - lasting, "it is where a sweep begins"
    )
    if fitted.diverges:
        why = "V rises through it within microseconds, so that another value moves spikes by less than is measured"
        peak = in_(*(e.threshold for e in model.events if e.emits))  # a silent event may end a refractory period
        names |= dict.fromkeys(peak - rates - resets, why)
    return names


def potentials(model: NeuronModel) -> set[str]:
    """Parameters that are potentials: they have any sign, and a factor makes no range of them.

    Those that may be shifted together with V: with c of 0 and 1, sum of c_p df/dp + df/dV = 0 for all rates, thresholds
    and resets f of other states, and dV/dV = 1 for resets of V. Where no shift leaves a model as it is (the equation of
    `Izhikevich` has numbers for its potentials), those in mV that V begins with, is reset to or compared with.
    """
    symbols, v, names = model.symbols(), model.readout, [*model.params]
    exprs = [(f, 0) for f in (*model.dynamics.values(), *(f for m in model.modes for f in m.dynamics.values()))]
    exprs += [(e.threshold, 0) for e in model.events]
    exprs += [(f, int(s == v)) for e in model.events for s, f in e.reset.items()]
    parsed = [(parse(str(f), symbols, model.name), aim) for f, aim in exprs]
    slopes = numpy_function(list(symbols.values()), [[sp.diff(f, symbols[n]) for n in (*names, v)] for f, _ in parsed])
    rng, rows, aims = np.random.default_rng(0), list[np.ndarray](), list[float]()
    for i in range(6 * len(names)):  # as many equations as there are shares, and more
        at = {n: float(p.value) * rng.uniform(0.8, 1.2) for n, p in model.params.items()}
        known = {symbols[n]: x for n, x in at.items()}
        first = {s: float(parse(str(x), symbols, model.name).subs(known)) for s, x in model.state.items()}
        at |= {s: x + rng.uniform(-3, 3) for s, x in first.items()}
        if i % 2:  # terms such as log(1 + exp((V - p) / d)) say nothing of p far below it
            at[v] = at[names[i // 2 % len(names)]] + rng.uniform(-3, 3)
        with np.errstate(all="ignore"):  # far from where the neuron is, exponentials may overflow
            found = slopes(*(at[n] for n in symbols))
        for each, (_, aim) in zip(found, parsed):
            row = np.array(each, float)
            size = max(float(np.abs(row).max()), 1e-300)
            if not np.isfinite(size):
                continue
            rows.append(row[:-1] / size)
            aims.append((aim - row[-1]) / size)
    matrix, right = np.array(rows), np.array(aims)
    share = np.linalg.lstsq(matrix, right, rcond=None)[0]
    if np.allclose(matrix @ share, right, atol=1e-8) and np.isin(share.round(6), (0.0, 1.0)).all():
        return {n for n, c in zip(names, share) if c > 0.5}
    of_v = [e.threshold for e in model.events] + [e.reset.get(v, 0) for e in model.events] + [model.state[v]]
    near = {str(s) for f in of_v for s in parse(str(f), symbols, model.name).free_symbols}
    return {n for n in names if model.params[n].unit == "mV" and n in near}


def _range(n: str, fitted: FittedModel, free_to_shift: set[str]) -> tuple[float, float]:
    """That of a parameter for which none is given: of its `Param`, or what follows from its kind."""
    model = fitted.free
    param = model.params[n]
    if all(b is not None and np.ndim(b) == 0 for b in param.bounds):
        return _checked(n, param, param.bounds)  # type: ignore[arg-type]  # neither is None
    value, where = param.value, fitted.model.name
    wanted = f" (--bounds {n}=LOW:HIGH, bounds={{{n!r}: (low, high)}})"
    if not isinstance(value, (int, float)):
        raise SettingError(f"{where}: {n} is {value}, no number from which a range follows; give bounds for it{wanted}")
    if n in free_to_shift:
        width = 15.0 if param.unit == "mV" else 0.75 * _way_to_threshold(fitted)
        return value - width, value + width
    if value == 0 and any(str(e.reset.get(model.readout)) == n for e in model.events):
        return -_way_to_threshold(fitted), _way_to_threshold(fitted)
    if value == 0:
        raise SettingError(
            f"{where}: {n} is 0, from which no range follows; give bounds for it{wanted}, or fix it "
            f"(--fixed {n}=0, fixed={{{n!r}: 0}})"
        )
    low, high = sorted((value / 5, value * 5))  # of a negative value, the other way round
    return low, high


def _way_to_threshold(fitted: FittedModel) -> float:
    """|g| of the state in which a sweep begins, in the unit of V; 1 if it is 0."""
    model, symbols = fitted.free, fitted.free.symbols()
    known = {symbols[n]: float(p.value) for n, p in model.params.items()}
    first = {symbols[s]: parse(str(x), symbols, model.name).subs(known) for s, x in model.state.items()}
    return abs(float(parse(str(fitted.spike.threshold), symbols, model.name).subs(first).subs(known))) or 1.0


def _checked(n: str, param: Param, bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(b) for b in bounds)
    if not low < high:
        raise SettingError(f"bounds of {n!r} must be finite and ascend, got ({low:g}, {high:g})")
    if param.unit == "ms" and low <= 0:
        raise SettingError(f"bounds of {n!r}: a time constant must be positive, got {low:g} ms")
    return low, high
