"""What happens to one neuron, as statements: its own events and the ends of its timed modes, forwards and back.

Every neuron keeps a list of what happened to it, newest last; the backward pass undoes it from its end. A list has
room for a given number of entries; one that needs more is counted all the same, and the host runs the trial again.
Rules: `engines/reference/grid/events.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from ..adjoint import DerivedEvent
from ..modelling.expressions import symbol
from .handwritten import handwritten, jump_words
from .jump import along, gradients, jump
from .nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Add,
    Diverged,
    Keep,
    Let,
    Set,
    Statement,
    Undo,
    When,
    above,
    at_least,
    below,
    both,
    choose,
    diverged,
    either,
    equal,
    name,
    no,
    random_bits,
    together,
)
from .scope import Scope

SENT = name("sent")  # local: the neuron sends a spike at the end of the step
DL_DT = name("t", "dl_dt")  # local: dL/dt of the event that is undone, without lambda
FEEDBACK = name("w", "feedback")  # sum of D over what a spike of this step caused
PUSHED, UNSENT = 1, 2  # flags of an entry: arrivals alone made it happen; its spike was dropped


@dataclass(frozen=True)
class Hooks:
    """What a readout and regularisers add to the events of a population.

    spiked: at an own spike, forwards. own: (event, state -> value before it) -> adds to DL_DT of an own spike,
    backwards. after: once lambda has jumped there, of a spike that was sent. states: that `own` needs from before.
    before: (number of an event) -> what all neurons do before those that it makes spike are found.
    """

    spiked: Callable[[], list[Statement]]
    own: Callable[[DerivedEvent, dict[sp.Symbol, sp.Symbol]], list[Statement]]
    after: Callable[[], list[Statement]]
    states: tuple[str, ...] = ()
    before: Callable[[int], list[Statement]] = lambda _: []


class Events:
    """The events of one population; `hooks` of its readout and regularisers."""

    def __init__(self, scope: Scope, hooks: Hooks) -> None:
        self.s, self.d, self.p, self.hooks = scope, scope.d, scope.p, hooks
        d = self.d
        self.timed = [m for m, mode in enumerate(d.modes) if mode.lasts]
        into = [d.receptors[c.receptor] for c in scope.plan.into(self.p.name)]
        self.pushed = any((e.dg_dx.T * to)[0] != 0 for e in d.events for to in into)
        self.drops = self.p.dropout > 0 and scope.adjoint
        self.flags = self.pushed or (self.p.dropout > 0 and self.p.dropped_reset)
        self.states = self._states()
        self._declare()

    def _states(self) -> list[str]:
        """States that an entry keeps from right before what happened."""
        x, used = self.d.x, set(self.hooks.states)
        for e in self.d.events:
            used |= {str(s) for s in e.jump_states(x)} | jump_words(self.d.model)
        for m in self.timed:
            used |= {str(s) for s in self._end_term(m).free_symbols & set(x)}
        return [s for s in self.d.states if s in used]

    def _declare(self) -> None:
        s, room = self.s, f"{self.s.prefix}room"
        if self.d.events:
            s.given("room", "int", own=True)
            self._declare_list(room)
        if s.several_modes:
            s.names[sp.Symbol("mode", real=True)] = s.each(name("w", "mode"), "int")
        if self.timed:
            s.each(name("w", "until"), "int")
            s.each(name("w", "pending"))
            for m in self.timed:
                varies = self.d.modes[m].lasts in self.p.per_neuron
                s.element(name("n", "lasts", m), (s.N if varies else 1,), (NEURON if varies else 0,), "int", "number")
        if self.d.events:
            s.given("dt")
            s.given("floor")
        if self.p.spiking:
            s.each(name("w", "count"), "int", "result")
        if self.pushed:
            s.element(name("w", "push"), ("n_steps", s.N), (STEP, NEURON), role="kept")
            s.alias(name("w", "push", "before"), name("w", "push"), (STEP - 1, NEURON))
            for i in range(len(self.d.events)):
                s.each(name("w", "early", i))
        if self.p.dropout > 0:
            s.given("dropout", "key", ("batch",), (SAMPLE,), own=True)
            s.given("lost", "long", own=True)

    def _declare_list(self, room: str) -> None:
        """What happened to a neuron: ``e_`` the entry that comes next, ``b_`` the newest one."""
        s = self.s
        s.each(name("w", "happened"), "int", "kept")
        top = name("w", "happened")
        kinds = {"step": "int", "kind": "int", "inv": "real"}
        kinds |= {"mode": "int"} if s.several_modes else {}
        kinds |= {"flags": "int"} if self.flags else {}
        kinds |= {"raise": "real"} if self.pushed else {}
        kinds |= {f"x_{v}": "real" for v in self.states}
        for entry, kind in kinds.items():
            new = s.element(name("e", entry), (s.N, room), (NEURON, top), kind, "kept")
            s.alias(name("b", entry), new, (NEURON, top - 1))

    def _end_term(self, m: int) -> sp.Expr:
        """D of the end of a timed mode: lambda . (f in it - f after it)."""
        d = self.d
        lam = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in d.states])
        return lam.dot((d.modes[m].f - d.modes[d.modes[m].then].f).applyfunc(sp.simplify))

    # forwards

    def begin(self) -> list[Statement]:
        listed = self.d.events and self.s.adjoint
        out: list[Statement] = [Set(name("w", "happened"), sp.Integer(0))] if listed else []
        out += [Set(name("w", "mode"), sp.Integer(0))] if self.s.several_modes else []
        out += [Set(name("w", "until"), sp.Integer(-1))] if self.timed else []
        return out + ([Set(name("w", "count"), sp.Integer(0))] if self.p.spiking else [])

    def ends(self) -> list[Statement]:
        """Timed modes that end at `step`, before its arrivals."""
        if not self.timed:
            return []
        mode, ended, until = name("w", "mode"), name("t", "ended"), name("w", "until")
        enter = [When(equal(ended, m), tuple(self._enter(self.d.modes[m].then, STEP))) for m in self.timed]
        body = [
            Let(ended, mode, "int"),
            *self._keep(
                len(self.d.events), len(self.d.events) + mode, {"inv": sp.Integer(0), "flags": sp.Integer(0)}, STEP
            ),
            Set(until, sp.Integer(-1)),
        ]
        return [When(equal(until, STEP), (*body, *enter))]

    def early(self) -> list[Statement]:
        """Thresholds before the arrivals, where those can move them."""
        events = enumerate(self.d.events) if self.pushed and self.s.adjoint else ()
        return [Set(name("w", "early", i), self.s.own(e.g)) for i, e in events]

    def before_step(self) -> list[Statement]:
        """Thresholds where the step begins."""
        events = enumerate(self.d.events) if self.s.adjoint else ()
        return [Let(name("t", "start", i), self.s.own(e.g)) for i, e in events]

    def found(self) -> list[Statement]:
        """The events at the end of the step, in the model's order; at most one of them sends a spike."""
        out: list[Statement] = [Let(SENT, sp.Integer(0), "int", changes=True)] if self.p.spiking else []
        if sum(e.emits for e in self.d.events) > 1:
            out.append(Let(name("t", "tried"), sp.Integer(0), "int", changes=True))
        for i, event in enumerate(self.d.events):
            out += self._test(i, event)
        return out

    def _test(self, i: int, event: DerivedEvent) -> list[Statement]:
        g, mode = name("t", "g", i), name("w", "mode")
        conditions: list[sp.Expr] = [at_least(g, 0)]
        if len(event.modes) < len(self.d.modes):
            conditions.append(either(*(equal(mode, m) for m in event.modes)))
        several = event.emits and sum(e.emits for e in self.d.events) > 1
        if several:
            conditions.append(no(name("t", "tried")))
        body, lost = self._happens(i, event, several), name("t", "lost", i)
        if event.emits and self.drops:
            draw = below(random_bits(name("g", "dropout"), STEP + 1, NEURON), name("g", "lost"))
            if not self.p.dropped_reset:
                body = [When(no(lost), tuple(body))]
            body = [Let(lost, draw, "int"), *body]
        before = self.hooks.before(i) if event.emits and self.s.adjoint else []
        return [*before, Let(g, self.s.own(event.g)), When(both(*conditions), tuple(body))]

    def _happens(self, i: int, event: DerivedEvent, several: bool) -> list[Statement]:
        if not self.s.adjoint:
            return self._changes(i, event, several)
        s, rise = self.s, name("t", "rise", i)
        out: list[Statement] = [Let(rise, name("t", "g", i) - name("t", "start", i))]
        out.append(When(diverged(rise), (Diverged(self.d.states.index(self.p.noisy_state)),)))
        dt, floor, inv = name("g", "dt"), name("g", "floor"), name("t", "inv", i)
        pushed: sp.Expr = sp.Integer(0)
        if self.pushed:
            pushed = name("t", "pushed", i)
            caused = both(at_least(name("t", "start", i), 0), below(name("w", "early", i), 0))
            out.append(Let(pushed, caused, "int"))
        poor = either(no(above(rise, 0)), below(rise, floor))
        least = choose(above(floor, 0), dt / floor, 0)
        value = choose(poor, least, dt / rise)
        out.append(Let(inv, choose(pushed, 0, value) if self.pushed else value))
        guarded = both(poor, no(pushed)) if self.pushed else poor
        out.append(When(guarded, (Add(s.each(name("w", "guarded"), "int", "result"), sp.Integer(1)),)))
        flags = PUSHED * pushed
        if event.emits and self.drops and self.p.dropped_reset:
            flags = flags + UNSENT * name("t", "lost", i)
        kept = self._keep(i, sp.Integer(i), {"inv": inv, "flags": flags}, STEP + 1)
        return [*out, *kept, *self._changes(i, event, several)]

    def _changes(self, i: int, event: DerivedEvent, several: bool) -> list[Statement]:
        """What an event does to its neuron: a spike, the reset, the next mode."""
        s = self.s
        out: list[Statement] = []
        if event.emits:
            out = [Set(SENT, sp.Integer(1)), Add(name("w", "count"), sp.Integer(1)), *self.hooks.spiked()]
            if self.drops and self.p.dropped_reset:
                out = [When(no(name("t", "lost", i)), tuple(out))]
            if several:
                out.append(Set(name("t", "tried"), sp.Integer(1)))
        out += handwritten(s, "reset_code") or together({x: s.own(h) for x, h in zip(s.x, event.h)}, f"reset{i}")
        return out + (self._enter(event.next_mode, STEP + 1) if event.next_mode is not None else [])

    def _keep(self, number: int, kind: sp.Expr, fields: dict[str, sp.Expr], step: sp.Expr) -> list[Statement]:
        """A new entry of the neuron's list."""
        if not self.s.adjoint:
            return []
        top = name("w", "happened")
        fields = {"step": step, "kind": kind} | fields
        if not self.flags:
            del fields["flags"]
        fields |= {"mode": name("w", "mode")} if self.s.several_modes else {}
        fields |= {"raise": name("w", "raised")} if self.pushed else {}
        fields |= {f"x_{v}": name("x", v) for v in self.states}
        body = tuple(Set(name("e", field), value) for field, value in fields.items())
        listed = (When(below(top, name("g", "room")), body), Add(top, sp.Integer(1)))
        return [Keep(number, tuple(fields.items()), listed)]

    def _enter(self, mode: int, step: sp.Expr) -> list[Statement]:
        out: list[Statement] = [Set(name("w", "mode"), sp.Integer(mode))] if self.s.several_modes else []
        if self.timed:
            until = step + name("n", "lasts", mode) if mode in self.timed else sp.Integer(-1)
            out.append(Set(name("w", "until"), until))
        return out

    # backwards

    def begin_back(self) -> list[Statement]:
        return [Set(name("w", "pending"), sp.Integer(0))] if self.timed else []

    def _if_newest(self, number: int, kind: sp.Expr, changes: list[Statement]) -> Statement:
        """Undo the newest entry if it is of this step and `kind` holds."""
        here = both(above(name("w", "happened"), 0), equal(name("b", "step"), STEP), kind)
        listed = When(here, (*changes, Add(name("w", "happened"), sp.Integer(-1))))
        return Undo(number, tuple(changes), (listed,))

    def undo(self) -> list[Statement]:
        """What happened at `step`, last to first; lambda jumps."""
        out = [self._undo_end()] if self.timed else []
        return out + [self._undo(i, self.d.events[i]) for i in reversed(range(len(self.d.events)))]

    def _undo_end(self) -> Statement:
        n, mode, D = len(self.d.events), name("w", "mode"), name("t", "D_end")
        before = self._kept()
        body: list[Statement] = []
        for m in self.timed:
            lasts = self.d.modes[m].lasts
            one: list[Statement] = [Let(D, self.s.own(self._end_term(m), before)), Add(name("w", "pending"), D)]
            if lasts in self.p.trainable:
                one.append(Add(name("w", "grad", lasts), D))
            body.append(When(equal(name("b", "kind"), n + m), tuple(one)))
        body.append(Set(mode, name("b", "kind") - n))
        return self._if_newest(n, at_least(name("b", "kind"), n), body)

    def _kept(self) -> dict[sp.Symbol, sp.Symbol]:
        """State -> its value in the newest entry."""
        kept = {name("x", v): name("b", f"x_{v}") for v in self.states}
        return kept | ({name("w", "mode"): name("b", "mode")} if self.s.several_modes else {})

    def _undo(self, i: int, event: DerivedEvent) -> Statement:
        s, before = self.s, self._kept()
        dl, E, rate = DL_DT, name("t", "E"), name("t", "rate")
        sent: sp.Expr | None = None
        start: sp.Expr = sp.Integer(0)
        if event.emits:
            start = FEEDBACK if s.plan.out_of(self.p.name) else sp.Integer(0)
            if self.p.dropout > 0 and self.p.dropped_reset:
                sent = no(above(name("b", "flags"), UNSENT - 1))
                start = choose(sent, start, 0)
        body: list[Statement] = [Let(dl, start, changes=True)]
        if event.next_mode in self.timed:
            body += [Add(dl, name("w", "pending")), Set(name("w", "pending"), sp.Integer(0))]
        body += self.hooks.own(event, before) if event.emits else []
        body.append(Let(E, dl + along(s, event, before, name("b", "mode"))))
        if self.pushed:
            share = Add(name("w", "push", "before"), E / name("b", "raise"))
            body.append(When(both(_is_pushed(name("b", "flags")), above(name("b", "raise"), 0)), (share,)))
        body.append(Let(rate, E * name("b", "inv")))
        body += gradients(s, event, rate, before)
        given = before | {symbol("dl_dt"): dl, symbol("inv_gdot"): name("b", "inv")}
        body += handwritten(s, "adjoint_jump_code", given) or jump(s, event, rate, before, f"jump{i}")
        after = self.hooks.after() if event.emits else []
        body += [When(sent, tuple(after))] if sent is not None and after else after
        if s.several_modes:
            body.append(Set(name("w", "mode"), name("b", "mode")))
        return self._if_newest(i, equal(name("b", "kind"), i), body)


def _is_pushed(flags: sp.Symbol) -> sp.Expr:
    """The flag PUSHED is set; entries have at most the flags PUSHED and UNSENT."""
    return either(equal(flags, PUSHED), equal(flags, PUSHED + UNSENT))
