"""What `program` says of a trial with exact spike times, as the targets write it: around a neuron's spikes, and where the
pass backwards begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy as sp

from ..adjoint import DerivedEvent
from ..modelling.expressions import symbol
from ..plan import PopulationRecord
from ..plan.closed_form import moves_threshold
from ..program.jump import gradients, jump, jump_term
from ..program.nodes import Add, Let, Set, Statement, name
from ..program.readouts import Readout
from ..program.regularise import JUMP, Regularise
from ..program.scope import Scope

RATE = name("t", "rate")  # E / gdot


def reset(s: Scope) -> dict[sp.Symbol, Set]:
    """The states behind a spike of the neuron, with the statements that make them of those before it."""
    after = [s.each(name("w", "after", x)) for x in s.d.states]
    return {x: Set(x, s.expression(e)) for x, e in zip(after, s.d.events[0].h)}


def comes_late(p: PopulationRecord) -> bool:
    """Whether an observed spike comes behind all else of its instant, which may have caused it: an arrival that moves its
    threshold, another event, the end of a mode that it is none of. Others come first, as a crossing does."""
    d = p.derived
    moved = any(moves_threshold(d, r) for r in d.receptors)
    return moved or len(d.events) > 1 or any(e.modes for e in d.model.events if e.emits)


def jump_back(s: Scope, event: DerivedEvent, kind: str = "real", into: sp.Symbol | None = None) -> list[Statement]:
    """The jump of lambda at an event of the neuron, and gradients of learned parameters, by ``dl_dt`` and ``inv_gdot``.

    Args:
        kind: of the rate E / gdot. into: what E is stored in.
    """
    E = symbol("dl_dt") + jump_term(s, event, {}, name("w", "mode"))
    stored = [Set(into, E)] if into is not None else []
    rate = Let(RATE, (E if into is None else into) * symbol("inv_gdot"), kind)
    return [*stored, rate, *gradients(s, event, RATE, {}), *jump(s, event, RATE, {}, "jump")]


def pushes(regularise: Regularise | None, parts: Iterable[Readout]) -> list[Statement]:
    """What is added to lambda at every spike of the neuron that was sent."""
    return [*(regularise.after() if regularise else []), *(s for part in parts for s in part.after())]


def pushed(s: Scope, regularise: Regularise | None, parts: Iterable[Readout]) -> int:
    """Index of the state whose lambda jumps at spikes of the neuron, -1 if there is none."""
    states = {a.target for a in pushes(regularise, parts) if isinstance(a, Add)}
    assert len(states) <= 1, f"spikes of {s.p.name} push several states"
    return s.lam.index(states.pop()) if states else -1


def begin_back(
    s: Scope, regularise: Regularise | None, parts: Sequence[Readout], said: Iterable[Readout]
) -> tuple[list[Statement], list[Statement]]:
    """What begins the pass backwards: jumps at spikes, by the spike counts of the trial; and lambda at T.

    Args:
        said: of the readouts `parts` those whose statements say all.
    """
    body = list(regularise.begin_back()) if regularise else []
    values = [a.value for a in pushes(regularise, parts) if isinstance(a, Add) and a.value != JUMP]
    if values and not (regularise and regularise.terms):
        body.append(Set(s.each(JUMP), 0))
    body += [Add(JUMP, value) for value in values]
    body += [b for part in said for b in part.begin_back()]
    return body, [Add(part.lam, end) for part in parts if (end := part.last()) != 0]
