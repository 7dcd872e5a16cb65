"""Events of one neuron and the ends of its timed modes, as statements, forwards and back.

Every neuron has a list of its events, newest last, with the states right before each, which the reset destroys; the
backward pass undoes the list from its end. So no trace of the states is needed where f is linear. How many events a
trial has is not known before: a list has room for as many as the host allotted, one that needs more goes on counting
without writing, and the host runs the trial again with more room. Equations: docs/equations.md, section 2.

At the end of a step the events of the model are tested in their order, each on the state that the earlier ones left; a
neuron sends at most one spike a step. A timed mode lasts whole steps (`plan/clock.py`) and ends before the arrivals of
its last one; its end is a delayed event whose term D (frozen field, then free) goes to the event that began it. An
event whose threshold the arrivals of the step passed by themselves (delta synapses) has no slope: its E goes to those
arrivals, in proportion to what each added to g. An observed spike (`plan.observe`) is tested by no threshold;
all else is that of any other, with the secant of g over the step that it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from ..adjoint import DerivedEvent
from ..modelling.expressions import symbol
from .births import Births
from .handwritten import handwritten, jump_words
from .jump import gradients, jump, jump_term
from .nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Add,
    Diverged,
    Let,
    Set,
    Statement,
    StoreEvent,
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
DL_DT = name("t", "dl_dt")  # local: dL/dt of the event that is undone, without its lambda+ . a
OBSERVED = "observed"  # array of the spikes of a population that the host gives
FEEDBACK = name("w", "feedback")  # sum of D over the arrivals of a spike of this step
PUSHED, UNSENT = 1, 2  # flags of an entry: arrivals alone made it happen; its spike was dropped


@dataclass(frozen=True)
class Hooks:
    """What a readout and regularisers add to the events of a population.

    spiked: at a spike, forwards. time_gradient: (event, state -> value before it) -> adds to DL_DT of a spike,
    backwards; silent: the same of an event that sends none. after: once lambda has jumped there, of a spike that was
    sent. states: those whose values before the event both need. before: (number of an event) -> what all neurons do
    before its threshold is tested.
    births: what looks for spikes that are about to be born.
    """

    spiked: Callable[[], list[Statement]]
    time_gradient: Callable[[DerivedEvent, dict[sp.Symbol, sp.Symbol]], list[Statement]]
    silent: Callable[[DerivedEvent, dict[sp.Symbol, sp.Symbol]], list[Statement]]
    after: Callable[[], list[Statement]]
    states: tuple[str, ...] = ()
    before: Callable[[int], list[Statement]] = lambda _: []
    births: Births | None = None


class Events:
    """The events of one population; `hooks` of its readout and regularisers."""

    def __init__(self, scope: Scope, hooks: Hooks) -> None:
        self.s, self.d, self.p, self.hooks = scope, scope.d, scope.p, hooks
        d = self.d
        self.timed = [m for m, mode in enumerate(d.modes) if mode.lasts]
        into = [d.receptors[c.receptor] for c in scope.plan.into(self.p.name)]
        # dg/dx . e != 0: an arrival moves the threshold function itself and can make its target cross alone
        self.pushed = any((e.dg_dx.T * to)[0] != 0 for e in d.events for to in into)
        self.drops = self.p.dropout > 0 and scope.adjoint
        self.flags = self.pushed or (self.p.dropout > 0 and self.p.dropped_reset)
        self.states = self._states()
        self._declare()

    def _states(self) -> list[str]:
        """The states that an entry of the list holds, right before the event: those that its jump or D depends on."""
        x, used = self.d.x, set(self.hooks.states)
        for e in self.d.events:
            used |= {str(s) for s in e.jump_states(x)} | jump_words(self.d.model)
        for m in self.timed:
            used |= {str(s) for s in self._end_term(m).free_symbols & set(x)}
        return [s for s in self.d.states if s in used]

    def _declare(self) -> None:
        s, room = self.s, f"{self.s.prefix}room"
        if self.d.events:
            s.host_value("room", "int", of_population=True)
            self._declare_list(room)
        if s.several_modes:
            s.names[sp.Symbol("mode", real=True)] = s.each(name("w", "mode"), "int")
        if self.timed:
            s.each(name("w", "until"), "int")
            s.each(name("w", "pending"))
            for m in self.timed:
                varies = self.d.modes[m].lasts in self.p.per_neuron  # in whole steps: `clock.mode_steps`
                s.element(name("n", "lasts", m), (s.N if varies else 1,), (NEURON if varies else 0,), "int", "number")
        if self.d.events:
            s.host_value("dt")
            s.host_value("floor")
        if self.p.spiking:
            s.each(name("w", "count"), "int", "result")
        if self.pushed:
            # E of the spikes that arrivals alone made, per unit of what they raised the threshold function by
            s.element(name("w", "push"), ("n_steps", s.N), (STEP, NEURON), role="stored")
            s.alias(name("w", "push", "before"), name("w", "push"), (STEP - 1, NEURON))
            for i in range(len(self.d.events)):
                s.each(name("w", "early", i))
        if self.p.dropout > 0:
            s.host_value("dropout", "key", ("batch",), (SAMPLE,), of_population=True)
            s.host_value("lost", "long", of_population=True)

    def _declare_list(self, room: str) -> None:
        """The list of events of a neuron: ``e_<field>`` of the entry that comes next, ``b_<field>`` of the newest."""
        s = self.s
        s.each(name("w", "happened"), "int", "stored")
        top = name("w", "happened")
        kinds = {"step": "int", "kind": "int", "inv": "real"}
        kinds |= {"mode": "int"} if s.several_modes else {}
        kinds |= {"flags": "int"} if self.flags else {}
        kinds |= {"raise": "real"} if self.pushed else {}
        kinds |= {f"x_{v}": "real" for v in self.states}
        for entry, kind in kinds.items():
            new = s.element(name("e", entry), (s.N, room), (NEURON, top), kind, "stored")
            s.alias(name("b", entry), new, (NEURON, top - 1))

    def _end_term(self, m: int) -> sp.Expr:
        """D of the end of a timed mode: lambda . (f in it - f after it). The state is continuous there."""
        d = self.d
        lam = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in d.states])
        return lam.dot((d.modes[m].f - d.modes[d.modes[m].then].f).applyfunc(sp.simplify))

    # forwards

    def begin(self) -> list[Statement]:
        """Mode "free", an empty list."""
        listed = self.d.events and self.s.adjoint
        out: list[Statement] = [Set(name("w", "happened"), 0)] if listed else []
        out += [Set(name("w", "mode"), 0)] if self.s.several_modes else []
        out += [Set(name("w", "until"), -1)] if self.timed else []
        out += self.hooks.births.begin() if self.hooks.births else []
        return out + ([Set(name("w", "count"), 0)] if self.p.spiking else [])

    def ends(self) -> list[Statement]:
        """Timed modes that end at `step`, before its arrivals."""
        if not self.timed:
            return []
        mode, ended, until = name("w", "mode"), name("t", "ended"), name("w", "until")
        enter = [When(equal(ended, m), self._enter(self.d.modes[m].then, STEP)) for m in self.timed]
        body = [
            Let(ended, mode, "int"),
            # an end of a mode divides by no slope and is caused by no arrival
            *self._entry(
                len(self.d.events), len(self.d.events) + mode, {"inv": sp.Integer(0), "flags": sp.Integer(0)}, STEP
            ),
            Set(until, -1),
        ]
        return [When(equal(until, STEP), (*body, *enter))]

    def early(self) -> list[Statement]:
        """Thresholds before the arrivals, where those can move them, to tell which crossings are theirs alone."""
        events = enumerate(self.d.events) if self.pushed and self.s.adjoint else ()
        return [Set(name("w", "early", i), self.s.expression(e.g)) for i, e in events]

    def before_step(self) -> list[Statement]:
        """Thresholds behind the arrivals, where the step begins: gdot is the secant from there."""
        events = enumerate(self.d.events) if self.s.adjoint else ()
        starts: list[Statement] = [Let(name("t", "start", i), self.s.expression(e.g)) for i, e in events]
        return starts + (self.hooks.births.after_arrivals() if self.hooks.births else [])

    def detect(self) -> list[Statement]:
        """The events at the end of the step, in the order of the model; at most one of them sends a spike.

        A second spike in the same step would need a second row of bits, and the same row of D would go to both.
        """
        out: list[Statement] = [Let(SENT, 0, "int", changes=True)] if self.p.spiking else []
        if sum(e.emits for e in self.d.events) > 1:
            out.append(Let(name("t", "tried"), 0, "int", changes=True))
        for i, event in enumerate(self.d.events):
            out += self._test(i, event)
        return out

    def _test(self, i: int, event: DerivedEvent) -> list[Statement]:
        """The test of one event, with the state that earlier events of the step have left."""
        g, mode = name("t", "g", i), name("w", "mode")
        conditions: list[sp.Expr] = [above(self._observed(), 0) if event.emits and self.p.observed else at_least(g, 0)]
        if len(event.modes) < len(self.d.modes):
            conditions.append(either(*(equal(mode, m) for m in event.modes)))
        several = event.emits and sum(e.emits for e in self.d.events) > 1
        if several:
            conditions.append(no(name("t", "tried")))
        body, lost = self._record(i, event, several), name("t", "lost", i)
        if event.emits and self.drops:
            draw = below(random_bits(name("g", "dropout"), STEP + 1, NEURON), name("g", "lost"))
            if not self.p.dropped_reset:  # a dropped spike leaves no trace; otherwise it resets but is not sent
                body = [When(no(lost), body)]
            body = [Let(lost, draw, "int"), *body]
        before = self.hooks.before(i) if self.s.adjoint else []
        births = self.hooks.births.look(name("t", "start", i), g) if self.hooks.births else []
        return [*before, Let(g, self.s.expression(event.g)), *births, When(both(*conditions), body)]

    def _observed(self) -> sp.Symbol:
        """1 where the neuron is said to spike at the end of the step, else 0."""
        axes, at = ("batch", "n_steps", self.s.N), (SAMPLE, STEP, NEURON)
        return self.s.host_value(OBSERVED, axes=axes, index=at, of_population=True)

    def _record(self, i: int, event: DerivedEvent, several: bool) -> list[Statement]:
        """An event: its entry in the list with 1 / gdot, then what it changes.

        gdot is the secant (g_{k+1} - g_k) / dt, positive by construction: the slope at the end of the step has worse
        gradients (docs/equations.md, section 6). Where it is not above the engine's slope floor, the floor takes its
        place, since 1 / gdot of a grazing crossing would dominate the gradient, and the event counts as guarded.
        """
        if not self.s.adjoint:
            return self._changes(i, event, several)
        s, rise = self.s, name("t", "rise", i)
        out: list[Statement] = [Let(rise, name("t", "g", i) - name("t", "start", i))]
        out.append(When(diverged(rise), (Diverged(self.d.states.index(self.p.noisy_state)),)))
        dt, floor, inv = name("g", "dt"), name("g", "floor"), name("t", "inv", i)
        pushed: sp.Expr = sp.Integer(0)
        if self.pushed:
            pushed = name("t", "pushed", i)
            # past the threshold behind the arrivals, below it before them: the arrivals alone made it cross. Then the
            # time of the event is theirs whatever the state is: no term in 1 / gdot, and E goes to them
            caused = both(at_least(name("t", "start", i), 0), below(name("w", "early", i), 0))
            out.append(Let(pushed, caused, "int"))
        poor = either(no(above(rise, 0)), below(rise, floor))
        least = choose(above(floor, 0), dt / floor, 0)
        value = choose(poor, least, dt / rise)
        out.append(Let(inv, choose(pushed, 0, value) if self.pushed else value))
        guarded = both(poor, no(pushed)) if self.pushed else poor
        out.append(When(guarded, (Add(s.each(name("w", "guarded"), "int", "result"), 1),)))
        flags = PUSHED * pushed
        if event.emits and self.drops and self.p.dropped_reset:
            flags = flags + UNSENT * name("t", "lost", i)
        entry = self._entry(i, sp.Integer(i), {"inv": inv, "flags": flags}, STEP + 1)
        births = self.hooks.births.spiked() if self.hooks.births else []
        return [*out, *entry, *births, *self._changes(i, event, several)]

    def _changes(self, i: int, event: DerivedEvent, several: bool) -> list[Statement]:
        """What an event does to its neuron: a spike, the reset, the next mode."""
        s = self.s
        out: list[Statement] = []
        if event.emits:
            out = [Set(SENT, 1), Add(name("w", "count"), 1), *self.hooks.spiked()]
            if self.drops and self.p.dropped_reset:
                out = [When(no(name("t", "lost", i)), out)]
            if several:
                out.append(Set(name("t", "tried"), 1))
        out += handwritten(s, "reset_code") or together({x: s.expression(h) for x, h in zip(s.x, event.h)}, f"reset{i}")
        return out + (self._enter(event.next_mode, STEP + 1) if event.next_mode is not None else [])

    def _entry(self, number: int, kind: sp.Expr, fields: dict[str, sp.Expr], step: sp.Expr) -> list[Statement]:
        """A new entry of the neuron's list; beyond its room it is only counted."""
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
        listed = (When(below(top, name("g", "room")), body), Add(top, 1))
        return [StoreEvent(number, tuple(fields.items()), listed)]

    def _enter(self, mode: int, step: sp.Expr) -> list[Statement]:
        """A mode that begins at `step`; its end is a step, so that no rounding of times moves it."""
        out: list[Statement] = [Set(name("w", "mode"), mode)] if self.s.several_modes else []
        if self.timed:
            until = step + name("n", "lasts", mode) if mode in self.timed else sp.Integer(-1)
            out.append(Set(name("w", "until"), until))
        return out

    # backwards

    def begin_back(self) -> list[Statement]:
        """``w_pending``: D of ends of modes, on its way to E of the event that began the mode."""
        out: list[Statement] = [Set(name("w", "pending"), 0)] if self.timed else []
        return out + (self.hooks.births.begin_back() if self.hooks.births else [])

    def _if_newest(self, number: int, kind: sp.Expr, changes: list[Statement]) -> Statement:
        """Undo the newest entry if it is of this step and `kind` holds."""
        here = both(above(name("w", "happened"), 0), equal(name("b", "step"), STEP), kind)
        listed = When(here, (*changes, Add(name("w", "happened"), -1)))
        return Undo(number, changes, (listed,))

    def undo(self) -> list[Statement]:
        """The events of `step`, last to first; lambda jumps. Each sees lambda as the later ones have left it."""
        out = [self._undo_end()] if self.timed else []
        return out + [self._undo(i, self.d.events[i]) for i in reversed(range(len(self.d.events)))]

    def _undo_end(self) -> Statement:
        """The end of a timed mode: lambda does not jump; D is the gradient of its time.

        It goes to the duration, and to E of the event that began the mode, which comes later in the backward pass. In a
        chain of modes `pending` adds up, as all ends move with the first event. Without it gradients of a refractory
        neuron are wrong by tens of percent (docs/equations.md, section 2).
        """
        n, mode, D = len(self.d.events), name("w", "mode"), name("t", "D_end")
        before = self._states_before()
        body: list[Statement] = []
        for m in self.timed:
            lasts = self.d.modes[m].lasts
            one: list[Statement] = [Let(D, self.s.expression(self._end_term(m), before)), Add(name("w", "pending"), D)]
            if lasts in self.p.trainable:
                row = self.d.modes[self.d.modes[m].then].lasts  # then all later ends of the row move with this one
                one.append(Add(name("w", "grad", lasts), name("w", "pending") if row else D))
            body.append(When(equal(name("b", "kind"), n + m), one))
        body.append(Set(mode, name("b", "kind") - n))
        return self._if_newest(n, at_least(name("b", "kind"), n), body)

    def _states_before(self) -> dict[sp.Symbol, sp.Symbol]:
        """State -> its value in the newest entry, and the mode's."""
        states = {name("x", v): name("b", f"x_{v}") for v in self.states}
        return states | ({name("w", "mode"): name("b", "mode")} if self.s.several_modes else {})

    def _undo(self, i: int, event: DerivedEvent) -> Statement:
        """Event number i: E, the gradients of parameters, and the jump of lambda, in the order of the equations.

        E = dl_p/dt + l(x-) - l(x+) + sum of D + lambda+ . a. All of it uses lambda+, so lambda jumps last; only the
        surrogate terms of `after` add to lambda-.
        """
        s, before = self.s, self._states_before()
        dl, E, rate = DL_DT, name("t", "E"), name("t", "rate")
        sent: sp.Expr | None = None
        start: sp.Expr = sp.Integer(0)
        if event.emits:
            start = FEEDBACK if s.plan.out_of(self.p.name) else sp.Integer(0)
            if self.p.dropout > 0 and self.p.dropped_reset:
                # a dropped spike had no arrivals: FEEDBACK of this step was not computed for it
                sent = no(above(name("b", "flags"), UNSENT - 1))
                start = choose(sent, start, 0)
        body: list[Statement] = [Let(dl, start, changes=True)]
        if event.next_mode in self.timed:
            body += [Add(dl, name("w", "pending")), Set(name("w", "pending"), 0)]
        body += (self.hooks.time_gradient if event.emits else self.hooks.silent)(event, before)
        body.append(Let(E, dl + jump_term(s, event, before, name("b", "mode"))))
        if self.pushed:
            # several arrivals of one step: each gets E in proportion to how much it raised the threshold function
            share = Add(name("w", "push", "before"), E / name("b", "raise"))
            body.append(When(both(_is_pushed(name("b", "flags")), above(name("b", "raise"), 0)), (share,)))
        body.append(Let(rate, E * name("b", "inv")))
        body += gradients(s, event, rate, before)
        words = before | {symbol("dl_dt"): dl, symbol("inv_gdot"): name("b", "inv")}
        body += handwritten(s, "adjoint_jump_code", words) or jump(s, event, rate, before, f"jump{i}")
        after = self.hooks.after() if event.emits else []
        body += [When(sent, after)] if sent is not None and after else after
        body += self.hooks.births.undone() if self.hooks.births else []
        if s.several_modes:
            body.append(Set(name("w", "mode"), name("b", "mode")))
        return self._if_newest(i, equal(name("b", "kind"), i), body)


def _is_pushed(flags: sp.Symbol) -> sp.Expr:
    """Whether the flag PUSHED is set; the only other flag is UNSENT, so two comparisons do without bit operations."""
    return either(equal(flags, PUSHED), equal(flags, PUSHED + UNSENT))
