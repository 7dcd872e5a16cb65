"""What the neurons of one population do in a trial on the grid: the statements of its kernels, in both directions.

`trial.py` puts them in order. Readouts, events and regularisers answer for their own part.
"""

from __future__ import annotations

import sympy as sp

from ..adjoint import DerivedEvent
from ..adjoint.arrivals import change_along, powers_along
from ..plan import Plan
from ..plan.coefficients import feedback_symbols, has_exact_step
from .events import FEEDBACK, Events, Hooks
from .handwritten import handwritten
from .jump import x0_slope
from .nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Add,
    Diverged,
    Let,
    Range,
    Set,
    Statement,
    When,
    above,
    choose,
    diverged,
    name,
    normal_number,
    together,
)
from .readouts import Readout
from .readouts.maximum import NEGATIVE
from .regularise import Regularise
from .scope import Scope
from .step import make_step, pick

POWERS = {2: "square", 3: "cube", 4: "fourth"}  # parts of a weight, see `operations`; also in names of rows


class Population:
    """The statements of one population; a method for each list of a `Trial` that it has a kernel in."""

    def __init__(self, plan: Plan, scope: Scope, readout: Readout | None, split: bool, carry: bool) -> None:
        self.plan, self.s, self.p, self.d, self.readout = plan, scope, scope.p, scope.d, readout
        self.fresh = scope.given("fresh", "int") if carry else sp.Integer(1)
        # receptors whose D is asked for, and whether rows of it are kept for all steps
        self.felt = scope.fed() if split else scope.fed_by_spikes()
        self.regularise = Regularise(scope)
        hooks = Hooks(
            spiked=readout.spiked if readout else list,
            own=readout.own if readout else _nothing,
            after=lambda: (readout.after() if readout else []) + self.regularise.after(),
            states=readout.states if readout else (),
            before=readout.before_spikes if readout else _before_nothing,
        )
        self.events = Events(scope, hooks)
        self.step = make_step(self.d, self.p.trainable)
        late = [c for c in plan.into(self.p.name) if c.delay > 0 or c.delays]
        needed = any(c.source != plan.input.name or c.learns_delays for c in late)
        self.kept_rows, self.for_inputs = split or needed, split and not needed
        self._declare()

    def _declare(self) -> None:
        s = self.s
        for r in s.fed():
            s.each(name("w", "arrived", r))
        if self.events.pushed:
            for r in s.fed():
                s.each(name("w", "arrived_up", r))
            s.each(name("w", "raised"))
        late = [c for c in self.plan.into(self.p.name) if c.learns_delays and c.delays and c.delays.kind == "dendritic"]
        self.arrived_powers = [
            s.each(name("w", f"arrived_{POWERS[k]}_{r}"))
            for r in dict.fromkeys(c.receptor for c in late) for k in self.powers(r) if s.adjoint
        ]  # fmt: skip
        if self.readout and self.readout.negative:
            s.each(NEGATIVE)
        for n_ in self.p.trainable:
            s.each(name("w", "grad", n_))
            s.element(name("G", n_), (s.N,), (NEURON,), "real", "gradient")
        for r in s.learned_receptors():
            s.element(name("w", "along", r), ("n_steps", s.N), (STEP, NEURON), "real", "kept")
        self.rows = [f"D_{r}" for r in self.felt]
        self.rows += [f"{POWERS[k]}_{r}" for r in self.felt for k in self.powers(r)]
        self.rows += [f"up_{r}" for r in self.felt if self.events.pushed]
        self.rows += ["down"] if self.readout and self.readout.negative and self.felt else []
        for row in self.rows:
            if self.kept_rows:
                s.element(name("w", row), ("n_steps", s.N), (STEP, NEURON), "real", "kept")
            else:
                s.each(name("w", row))
        if self.p.stores_states:
            for v in self.d.states:
                trace = s.element(name("w", "trace", v), ("n_steps", s.N), (STEP, NEURON), "real", "kept")
                s.alias(name("w", "trace_back", v), trace, (STEP - 1, NEURON))
        if self.p.spiking and self.plan.out_of(self.p.name):
            s.each(FEEDBACK)
        if self.p.noise > 0:
            s.given("noise", own=True)
            s.given("noise_key", "key", ("batch",), (SAMPLE,), own=True)

    def powers(self, receptor: str) -> list[int]:
        """Powers of a weight above the first that D of an arrival has."""
        return [k for k in powers_along(self.d, receptor) or () if k > 1]

    # forwards

    def begin(self) -> list[Statement]:
        s = self.s
        out: list[Statement] = [Set(x, s.own(e)) for x, e in zip(s.x, self.d.x0)]
        out += self.events.begin()
        if self.d.events and s.adjoint:
            out.append(Set(s.each(name("w", "guarded"), "int", "result"), sp.Integer(0)))
        out += [Set(a, sp.Integer(0)) for a in self._arrived()]
        return out + (self.readout.begin() if self.readout else [])

    def _arrived(self) -> list[sp.Symbol]:
        s = self.s
        names = [name("w", "arrived", r) for r in s.fed()]
        names += [name("w", "arrived_up", r) for r in s.fed()] if self.events.pushed and s.adjoint else []
        names += self.arrived_powers
        return names + ([NEGATIVE] if self.readout and self.readout.negative else [])

    def early(self) -> list[Statement]:
        """Before the arrivals of a step."""
        return self.events.ends() + self.events.early() + (self.readout.before_arrivals() if self.readout else [])

    def advance(self) -> list[Statement]:
        """The arrivals of a step, the step, and the events at its end."""
        s, d, step = self.s, self.d, self.step
        out: list[Statement] = []
        if self.events.pushed and s.adjoint:
            out.append(
                Set(name("w", "raised"), sum((self.up(r) * name("w", "arrived_up", r) for r in s.fed()), sp.Integer(0)))
            )
        for r in s.fed():
            out += [Add(x, s.own(e) * name("w", "arrived", r)) for x, e in zip(s.x, self._direction(r)) if e != 0]
        out += self.readout.after_arrivals() if self.readout else []
        out += [Set(a, sp.Integer(0)) for a in self._arrived()]
        if self.p.stores_states and s.adjoint:
            out += [Set(name("w", "trace", v), name("x", v)) for v in d.states]
        out += self.events.before_step()
        out += [Let(line.target, s.own(line.value)) for line in step.forward]
        written = handwritten(s, "sim_code")
        out += written or together({x: s.own(e) for x, e in zip(s.x, step.ends)}, "step")
        if self.p.noise > 0 and s.adjoint:
            drawn = name("g", "noise") * normal_number(name("g", "noise_key"), STEP + 1, NEURON)
            out.append(Add(name("x", self.p.noisy_state), drawn))
        out += [When(diverged(x), (Diverged(i),)) for i, x in enumerate(s.x)]
        return out + self.events.found()

    def _direction(self, receptor: str) -> list[sp.Expr]:
        return list(self.d.receptors[receptor])

    def up(self, receptor: str) -> sp.Expr:
        """How much a unit weight adds to the first threshold that it moves, if it raises it."""
        e = self.d.receptors[receptor]
        moves = [self.s.own((event.dg_dx.T * e)[0]) for event in self.d.events]
        moved = next((m for m in moves if m != 0), sp.Integer(0))
        if moved.is_number:
            return sp.Max(moved, 0)
        return choose(above(moved, 0), moved, 0)

    # backwards

    def begin_back(self) -> list[Statement]:
        s = self.s
        last = self.readout.last() if self.readout else sp.Integer(0)
        out = self.regularise.begin_back() + self.events.begin_back()
        out += [Set(v, last if self.readout and i == self.readout.v else sp.Integer(0)) for i, v in enumerate(s.lam)]
        out += [Set(name("w", "grad", p), sp.Integer(0)) for p in self.p.trainable]
        out += self.readout.begin_back() if self.readout else []
        if self.events.pushed:
            row = name("t", "row")
            push = s.alias(name("w", "push", "all"), name("w", "push"), (row, NEURON))
            out.append(Range(row, sp.Integer(0), name("g", "n_steps"), (Set(push, sp.Integer(0)),)))
        return out

    def leave(self) -> list[Statement]:
        """What step `step` of the adjoint leaves for weights and for the spikes that arrived then."""
        s, d = self.s, self.d
        own = [sp.Symbol(f"lambda_{v}", real=True) for v in d.states]
        out: list[Statement] = []
        for r in s.learned_receptors():
            out.append(Set(name("w", "along", r), s.own(d.receptors[r].dot(sp.Matrix(own)))))
        for r in self.felt:
            along = feedback_symbols(d, r).dot(sp.Matrix(own)) if has_exact_step(d) else self._along(r, sp.Matrix(own))
            D = s.own(along, self._trace())
            out.append(Set(name("w", f"D_{r}"), D + (self.readout.arrival(r) if self.readout else 0)))
            for k in self.powers(r):
                change = pick([v.dot(sp.Matrix(own)) for v in change_along(d, r, k)])
                out.append(Set(name("w", f"{POWERS[k]}_{r}"), s.own(change, self._trace())))
            if self.events.pushed:
                out.append(Set(name("w", f"up_{r}"), self.up(r).xreplace(self._trace()) * name("w", "push")))
        if self.readout and self.readout.negative and self.felt:
            out.append(Set(name("w", "down"), self.readout.negative_arrival()))
        return out

    def _along(self, receptor: str, lam: sp.Matrix) -> sp.Expr:
        """-(df/dx e) . lambda in the neuron's mode, at the arrival, after it."""
        return pick([-(m.df_dx * self.d.receptors[receptor]).dot(lam) for m in self.d.modes])

    def _trace(self, back: bool = False) -> dict[sp.Symbol, sp.Expr]:
        """State -> its value at the start of `step`, or of the step before."""
        role = "trace_back" if back else "trace"
        return {name("x", v): name("w", role, v) for v in self.d.states} if self.p.stores_states else {}

    def undo(self) -> list[Statement]:
        return (self.readout.sample() if self.readout else []) + self.events.undo()

    def retreat(self) -> list[Statement]:
        """lambda from the end of step `step` - 1 to its start, with parameter integrals and the readout's source."""
        s, step, trace = self.s, self.step, self._trace(back=True)
        out: list[Statement] = [Let(line.target, s.own(line.value, trace)) for line in step.stages]
        for p, rate in step.rates.items():
            extra = self.readout.rate(p) if self.readout else sp.Integer(0)
            out.append(Add(name("w", "grad", p), s.own(rate, trace) + extra.xreplace(trace)))
        written = handwritten(s, "adjoint_sim_code", trace)
        out += written or together({v: s.own(e, trace) for v, e in zip(s.lam, step.back)}, "back")
        return out + (self.readout.source() if self.readout else [])

    def end_back(self) -> list[Statement]:
        s, out = self.s, list[Statement]()
        for p in (p for p in self.d.params if p in self.p.trainable):
            out.append(Add(name("G", p), name("w", "grad", p) + self.fresh * x0_slope(s, p)))
        return out


def _nothing(event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
    return []


def _before_nothing(event: int) -> list[Statement]:
    return []
