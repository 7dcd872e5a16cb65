"""A plan with names that C++ can use: names of states and populations never clash with generated ones.

Identifiers are parts joined by "_"; a population's field is ``p_<population>_<what>``. A name is changed only if it is,
or could become when joined to others, the name of something else; the text of all other plans is unaffected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ...adjoint import Derived, derive
from ...errors import EngineError
from ...losses.record import LossRecord
from ...losses.sums import SUMS
from ...modelling.neuron import NeuronModel, renamed
from ...plan import Plan, PopulationRecord
from ..reserved_words import KEYWORDS, MACROS

# fields of a population and variables that stand beside a model's own
FIELDS = re.compile(
    r"spikes|counts|until|mode|any_push|push|pending|dl|noise|feedback|jump|ends|event\d+|g(_before|_early)?\d*"
    r"|(history|Q_history|trace|steps|kept|ring|series|worth|grad|all|lambda|fn|[eQ]|d?P[H\d]*|d?c[H\d]*|u\d+"
    r"|M|FE|FP|INT)_.*"
)
TAKEN = KEYWORDS | MACROS | frozenset(
    "after along args arrival arrived at base before block by count counts dense dr draw drive end end_term ended ends "
    "feedback first first_step from guarded horner i id index kept label last least_rise list load maximum_kink "
    "maximum_slope maximum_step mid n_steps neuron node_voltage over pushed raise_by readout ready rise row sample "
    "sample_weight scalar slice source start std step store to total vec weight work".split()
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Coded:
    """A plan for the generator; populations: public name -> name there; parameters: the same of "population.parameter"
    and of what connections have."""

    plan: Plan
    populations: Mapping[str, str]
    parameters: Mapping[str, str]


def coded(plan: Plan) -> Coded:
    """`plan` with names that generated code can use."""
    names = dict(zip((p.name for p in plan.populations), apart([p.name for p in plan.populations])))
    changes = {p.name: _changes(p.derived) for p in plan.populations}
    parameters = {n: n for c in plan.connections for n in c.values}
    for p in plan.populations:
        parameters |= {f"{p.name}.{n}": f"{names[p.name]}.{changes[p.name].get(n, n)}" for n in p.derived.params}
    if any(changes.values()) or any(public != inside for public, inside in names.items()):
        plan = _with_names(plan, names, changes)
    if plan.loss.constants and plan.loss.outer not in SUMS:  # whose constants are named in the package
        plan = replace(plan, loss=_with_constants(plan.loss))
    return Coded(plan, names, parameters)


def apart(names: list[str]) -> list[str]:
    """Names that stay distinct when suffixes are appended: one that begins with another one and "_", or with "key_", gets
    its number as a prefix."""
    starts = ("key_", *(f"{n}_" for n in names))
    return [f"{i}{n}" if n.startswith(starts) else n for i, n in enumerate(names)]


def _changes(d: Derived) -> dict[str, str]:
    """States, parameters and receptors of a model that need another name."""
    every = (*d.states, *d.params, *d.receptors)
    starts = tuple(f"{s}_" for s in (*d.states, *d.receptors))
    needed = [n for n in dict.fromkeys(every) if _meets(n) or n.startswith(starts)]
    found: dict[str, str] = {}
    for i, n in enumerate(needed):
        found[n] = next(new for k in range(i, i + len(every) + 1) if (new := f"user{k}_{n}") not in every)
    if d.model.snippets and (bad := [n for n in found if _meets(n)]):
        raise EngineError(
            f"{d.model.name}: hand-written snippets use the names of the equations, but native itself uses "
            f"{', '.join(bad)}; choose another name, e.g. {bad[0]}_0"
        )
    return {} if d.model.snippets else found


def _meets(name: str) -> bool:
    """Whether generated code uses that name."""
    return name in TAKEN or FIELDS.fullmatch(name) is not None


def _with_constants(loss: LossRecord) -> LossRecord:
    """The loss with constants called ``k_<name>``."""
    names = {n: f"k_{n}" for n in loss.constants}
    return replace(
        loss, constants={names[n]: v for n, v in loss.constants.items()},
        score=renamed(loss.score, names, "loss score"), term=renamed(loss.term, names, "loss term"),
    )  # fmt: skip


def _with_names(plan: Plan, names: Mapping[str, str], changes: Mapping[str, Mapping[str, str]]) -> Plan:
    place = {**names, plan.input.name: plan.input.name}
    connections = tuple(
        replace(
            c, source=place[c.source], target=place[c.target], receptor=changes[c.target].get(c.receptor, c.receptor)
        )
        for c in plan.connections
    )
    return replace(
        plan,
        populations=tuple(_record(p, names[p.name], changes[p.name]) for p in plan.populations),
        connections=connections,
        loss=replace(plan.loss, population=names[plan.loss.output]),
        auxiliary=tuple(replace(loss, population=names[loss.output]) for loss in plan.auxiliary),
        pushes=tuple(replace(r, population=names[r.of]) for r in plan.pushes),
    )


def _record(p: PopulationRecord, name: str, changes: Mapping[str, str]) -> PopulationRecord:
    if not changes:
        return replace(p, name=name)
    new = lambda n: changes.get(n, n)  # noqa: E731
    return replace(
        p, name=name, derived=derive(_model(p.derived.model, tuple(changes.items()))), params={new(n): q for n, q in p.params.items()},
        per_neuron=frozenset(map(new, p.per_neuron)), trainable=tuple(map(new, p.trainable)),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _model(model: NeuronModel, names: tuple[tuple[str, str], ...]) -> NeuronModel:
    """The model with other names of states, parameters and receptors; one object, so that it is derived once."""
    changes = dict(names)

    def new(n: str) -> str:
        return changes.get(n, n)

    text = lambda t: renamed(t, changes, model.name)  # noqa: E731
    table = lambda d: {new(n): text(t) for n, t in d.items()}  # noqa: E731
    return replace(
        model, state=table(model.state), params={new(n): p for n, p in model.params.items()},
        dynamics=table(model.dynamics), threshold=None, reset=None,
        input={new(r): table(to) for r, to in model.receptors.items()}, readout=new(model.readout),
        events=tuple(replace(e, threshold=text(e.threshold), reset=table(e.reset)) for e in model.events),
        modes=tuple(
            replace(m, dynamics=table(m.dynamics), lasts=None if m.lasts is None else new(m.lasts)) for m in model.modes
        ),
    )  # fmt: skip
