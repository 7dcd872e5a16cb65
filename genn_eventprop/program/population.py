"""What the neurons of one population do in a trial on the grid: the statements of its kernels, in both directions.

`trial.py` puts them in order; docs/equations.md, section 6, has the step and its adjoint. What a readout, an event or a
regulariser does stands in its own file and is called here at its place in the step. The order within a kernel matters:
it is that of docs/equations.md, section 6.
"""

from __future__ import annotations

from functools import cached_property

import sympy as sp

from ..adjoint import DerivedEvent
from ..adjoint.arrivals import change_along, evaluated_change, powers_along
from ..plan import Plan
from ..plan.coefficients import feedback_symbols, has_exact_step
from .births import JUMP, KINK, Births, birth_is_read
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
    below,
    choose,
    diverged,
    either,
    name,
    normal_number,
    together,
)
from .readouts import Readout
from .readouts.maximum import NEGATIVE
from .regularise import Regularise
from .scope import Scope
from .step import MODE, make_step, pick

RECORD, RECORDED = "w_record", "recorded"  # copies for the host, and the number of their rows
IN_MODE = name("w", "mode")
WEIGHT, D = name("t", "weight"), name("t", "D")  # locals of `Population.change`: the weight that arrives, its D
POWERS = {2: "square", 3: "cube", 4: "fourth"}  # powers of a weight, see `operations`; also in names of rows


class Population:
    """The statements of one population; a method for each list of a `Trial` that it has a kernel in."""

    def __init__(
        self, plan: Plan, scope: Scope, readout: Readout | None, split: bool, carry: bool, evaluates: bool,
        host_slopes: bool, drawn: sp.Expr = sp.S.Zero,
    ) -> None:  # fmt: skip
        self.plan, self.s, self.p, self.d, self.readout = plan, scope, scope.p, scope.d, readout
        self.host_slopes = host_slopes
        self.fresh = scope.host_value("fresh", "int") if carry else sp.Integer(1)
        # receptors whose arrivals need D; with split passes also those of the input, whose times get a gradient
        self.feedback_receptors = scope.fed() if split else scope.fed_by_spikes()
        # of them those whose D is evaluated at every synapse, from rows of what f depends on
        nonlinear = [r for r in self.feedback_receptors if powers_along(self.d, r) is None]
        self.evaluated = nonlinear if evaluates and scope.adjoint else []
        self.regularise = Regularise(scope)
        moves = bool(self.feedback_receptors)
        self.births = Births(scope, moves, drawn) if plan.births(self.p.name) and scope.adjoint else None
        hooks = Hooks(
            spiked=readout.spiked if readout else list,
            time_gradient=readout.time_gradient if readout else _nothing,
            silent=readout.silent_event if readout else _nothing,
            after=lambda: (readout.after() if readout else []) + self.regularise.after(),
            states=readout.states if readout else (),
            before=readout.before_spikes if readout else _before_nothing,
            births=self.births,
        )
        self.events = Events(scope, hooks)
        self.step = make_step(self.d, self.p.trainable)
        self.gains = self._gains() if scope.adjoint else {}
        late = [c for c in plan.into(self.p.name) if c.delay > 0 or c.delays]
        # a spike without delay reads the row of its own step at once; a delayed one reads that of a later step, which
        # the backward pass has left behind: then rows of all steps are stored
        delayed = any(c.source != plan.input.name or c.learns_delays for c in late)
        self.stores_rows, self.for_inputs = split or delayed, split and not delayed
        self._declare()

    def _gains(self) -> dict[str, dict[str, sp.Matrix]]:
        """Receptor -> learned parameter -> de/dp, of receptors along which an arrival adds a learned amount."""
        symbols = dict(zip(self.d.params, self.d.p))
        return {
            r: by
            for r in self.s.fed()
            if (by := {n: e for n in self.p.trainable if any(e := self.d.receptors[r].diff(symbols[n]))})
        }

    @property
    def along(self) -> list[str]:
        """Receptors that need lambda . e of every step: for learned weights, or births of spikes."""
        born = [c.receptor for c in self.plan.into(self.p.name) if self.s.adjoint and self._born(c.source)]
        return list(dict.fromkeys([*self.s.learned_receptors(), *born]))

    def _born(self, source: str) -> bool:
        return source != self.plan.input.name and self.plan.births(source)

    def _declare(self) -> None:
        """Buffers in a fixed order, which is the order of fields in generated code."""
        s = self.s
        for r in s.fed():
            s.each(name("w", "arrived", r))
        if self.events.pushed:
            for r in self.raising:
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
        for r in self.along:
            # lambda . e at every step, which gradients of weights are gathered from at the arrivals
            s.element(name("w", "along", r), ("n_steps", s.N), (STEP, NEURON), "real", "stored")
        for r in self.gains:  # the sum of weights that arrived at every step, for dL/dp = lambda . de/dp of each
            s.element(name("w", "amount", r), ("n_steps", s.N), (STEP, NEURON), "real", "stored")
        self.rows = [f"D_{r}" for r in self.feedback_receptors]
        self.rows += [f"{POWERS[k]}_{r}" for r in self.feedback_receptors for k in self.powers(r)]
        self.rows += [f"up_{r}" for r in self.feedback_receptors if r in self.raising]
        self.rows += ["down"] if self.readout and self.readout.negative and self.feedback_receptors else []
        self.rows += self.evaluated_rows
        for row in self.rows:
            kind = "int" if row == f"at_{IN_MODE}" else "real"
            if self.stores_rows:
                s.element(name("w", row), ("n_steps", s.N), (STEP, NEURON), kind, "stored")
            else:
                s.each(name("w", row), kind)
        if self.p.stores_states:  # f is not linear: its derivatives backwards need the states of the forward pass
            for v in self.d.states:
                trace = s.element(name("w", "trace", v), ("n_steps", s.N), (STEP, NEURON), "real", "stored")
                s.alias(name("w", "trace_back", v), trace, (STEP - 1, NEURON))
        if self.p.spiking and self.plan.out_of(self.p.name):
            s.each(FEEDBACK)
        if self.p.noise > 0:
            s.host_value("noise", of_population=True)
            s.host_value("noise_key", "key", ("batch",), (SAMPLE,), of_population=True)

    def powers(self, receptor: str) -> list[int]:
        """Powers of a weight above the first in D of an arrival, where f is a polynomial of a higher degree along e."""
        return [k for k in powers_along(self.d, receptor) or () if k > 1]

    # arrivals along which f is no polynomial of a low degree

    def _evaluated(self, receptor: str) -> list[sp.Expr]:
        """lambda . (f(x - w e) - f(x)) of an arrival of `WEIGHT` in every mode."""
        lam = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in self.d.states])
        weight = sp.Dummy("weight", real=True)  # no parameter is called like it
        changes = evaluated_change(self.d, receptor, weight)
        return [self.s.expression(v.dot(lam)).xreplace({weight: WEIGHT}) for v in changes]

    @cached_property
    def _copied(self) -> list[sp.Symbol]:
        """What `_evaluated` depends on at the time of an arrival: adjoints, states, the mode."""
        used = {s for r in self.evaluated for e in self._evaluated(r) for s in e.free_symbols}
        mode = [IN_MODE] if self.evaluated and self.s.several_modes else []
        return [*(v for v in (*self.s.lam, *self.s.x) if v in used), *mode]

    @property
    def evaluated_rows(self) -> list[str]:
        """The rows of their values at every step, of an adjoint first."""
        return [f"at_{v}" for v in self._copied]

    def change(self, receptor: str) -> list[Statement]:
        """Sets `D` to what an arrival of `WEIGHT` changes, from the rows of its step."""
        rows = {v: name("w", row) for v, row in zip(self._copied, self.evaluated_rows)}
        # in canonical order: the text is the same in every process
        shared, values = sp.cse([e.xreplace(rows) for e in self._evaluated(receptor)],
                                sp.numbered_symbols("t_s", real=True), order="canonical")  # fmt: skip
        picked = pick(values).xreplace({MODE: rows.get(IN_MODE, MODE)})
        return [*(Let(s, e) for s, e in shared), Let(D, picked)]

    # forwards

    def begin(self) -> list[Statement]:
        """Rest: x0, no events, no arrivals."""
        s = self.s
        out: list[Statement] = [Set(x, s.expression(e)) for x, e in zip(s.x, self.d.x0)]
        out += self.events.begin()
        if self.d.events and s.adjoint:
            out.append(Set(s.each(name("w", "guarded"), "int", "result"), 0))
        out += [Set(a, 0) for a in self._arrived()]
        return out + (self.readout.begin() if self.readout else [])

    def _arrived(self) -> list[sp.Symbol]:
        """Sums over the arrivals of a step, which are cleared once they are used."""
        s = self.s
        names = [name("w", "arrived", r) for r in s.fed()]
        names += [name("w", "arrived_up", r) for r in self.raising] if s.adjoint else []
        names += self.arrived_powers
        return names + ([NEGATIVE] if self.readout and self.readout.negative else [])

    def early(self) -> list[Statement]:
        """Before the arrivals of a step; the currents change once the states at the end of the last step are read."""
        read = self.readout.before_arrivals() if self.readout else []
        births = self.births.before_arrivals() if self.births else []
        return self.events.ends() + self.events.early() + read + self._currents() + births

    def _currents(self) -> list[Statement]:
        """The states that stand for currents become their means over the step."""
        out: list[Statement] = []
        for receptor, (state, _) in self.p.drives.items():
            axes, at = ("batch", "n_steps", self.s.N), (SAMPLE, STEP, NEURON)
            drive = self.s.host_value(f"{receptor}_drive", axes=axes, index=at, of_population=True)
            out.append(Set(name("x", state), drive))
        return out

    def _drives(self) -> list[Statement]:
        """dL/du of the step that begins: u is set there, so that lambda_u of later steps has nothing to do with it."""
        out: list[Statement] = []
        for receptor, (state, _) in self.p.drives.items() if self.s.adjoint else ():
            axes = ("n_steps", self.s.N)
            gradient = self.s.element(name("w", receptor, "by_drive"), axes, (STEP, NEURON), "real", "result")
            out.append(Set(gradient, name("l", state)))
        return out

    def record_states(self) -> list[Statement]:
        """Copies of the states at `step`, behind its arrivals."""
        s = self.s
        arrived = {x: sp.Integer(0) for x in s.x}
        for r in s.fed():
            for x, e in zip(s.x, self._direction(r)):
                arrived[x] += s.expression(e) * name("w", "arrived", r)
        return [Set(self._recorded(k), x + arrived[x]) for k, x in enumerate(s.x)]

    def record_adjoints(self) -> list[Statement]:
        """Copies of the adjoints at `step`, behind its arrivals: those before any jump of the step."""
        n = len(self.d.states)
        return [Set(self._recorded(n + k), lam) for k, lam in enumerate(self.s.lam)]

    def _recorded(self, k: int) -> sp.Symbol:
        """Number k of the states and, after them, of their adjoints, of the step."""
        s, of = self.s, [*self.d.states, *(f"lambda_{v}" for v in self.d.states)]
        s.host_value("recorded", "int")
        axes = (RECORDED, len(of), s.N)
        return s.element(name("w", "record", of[k]), axes, (STEP, k, NEURON), "real", "result", f"{s.prefix}{RECORD}")

    def advance(self) -> list[Statement]:
        """The arrivals of a step, the step, and the events at its end."""
        s, d, step = self.s, self.d, self.step
        out: list[Statement] = []
        if self.events.pushed and s.adjoint:
            # by how much arrivals raised the threshold function: their shares of E if they alone made the neuron cross
            raised = sum((self.up(r) * name("w", "arrived_up", r) for r in self.raising), sp.Integer(0))
            out.append(Set(name("w", "raised"), raised))
        out += [Set(name("w", "amount", r), name("w", "arrived", r)) for r in self.gains]
        for r in s.fed():
            out += [
                Add(x, s.expression(e) * name("w", "arrived", r)) for x, e in zip(s.x, self._direction(r)) if e != 0
            ]
        out += self.readout.after_arrivals() if self.readout else []
        out += [Set(a, 0) for a in self._arrived()]
        # from here the step starts: the adjoint evaluates f, D and gradients at the states behind the arrivals
        if self.p.stores_states and s.adjoint:
            out += [Set(name("w", "trace", v), name("x", v)) for v in d.states]
        out += self.events.before_step()
        out += [Let(line.target, s.expression(line.value)) for line in step.forward]
        written = handwritten(s, "sim_code")
        out += written or together({x: s.expression(e) for x, e in zip(s.x, step.ends)}, "step")
        if self.p.noise > 0 and s.adjoint:
            # by (key, step, neuron), not by a stream: threads, engines and a repeated segment draw the same numbers
            drawn = name("g", "noise") * normal_number(name("g", "noise_key"), STEP + 1, NEURON)
            out.append(Add(name("x", self.p.noisy_state), drawn))
        # before the events: a reset would hide a state that is no number
        out += [When(diverged(x), (Diverged(i),)) for i, x in enumerate(s.x)]
        out += self.readout.after_step() if self.readout else []
        return out + self.events.detect()

    def _direction(self, receptor: str) -> list[sp.Expr]:
        return list(self.d.receptors[receptor])

    @property
    def raising(self) -> list[str]:
        """Receptors whose arrivals may put a neuron above its threshold at once."""
        return [r for r in self.s.fed() if self.events.pushed and self.up(r) != 0]

    def up(self, receptor: str) -> sp.Expr:
        """How much a unit weight adds to the first threshold that it moves, if it raises it."""
        e = self.d.receptors[receptor]
        moves = [self.s.expression((event.dg_dx.T * e)[0]) for event in self.d.events]
        moved = next((m for m in moves if m != 0), sp.Integer(0))
        if moved.is_number:
            return sp.Max(moved, 0)
        return choose(above(moved, 0), moved, 0)

    # backwards

    def begin_back(self) -> list[Statement]:
        """lambda(T), and sums of the backward pass."""
        s = self.s
        last = self.readout.last() if self.readout and not s.pieces else sp.Integer(0)
        out = self.regularise.begin_back() + self.events.begin_back()
        out += [Set(v, last if self.readout and i == self.readout.v else sp.Integer(0)) for i, v in enumerate(s.lam)]
        out += [Set(name("w", "grad", p), 0) for p in self.p.trainable]
        out += self.readout.begin_back() if self.readout and not s.pieces else []
        if self.events.pushed and not s.pieces:  # the host clears the rows of a piece
            row = name("t", "row")
            push = s.alias(name("w", "push", "all"), name("w", "push"), (row, NEURON))
            out.append(Range(row, 0, name("g", "n_steps"), (Set(push, 0),)))
        return out

    def begin_interval(self) -> list[Statement]:
        """Where what a loss reads of a recording begins anew."""
        return self.readout.begin() if self.readout else []

    def end_interval(self) -> list[Statement]:
        """Where it ends, backwards: `begin_back` of the readout."""
        if not self.readout:
            return []
        last = self.readout.last()
        return [*([Add(self.readout.lam, last)] if last != 0 else []), *self.readout.begin_back()]

    def arrival_rows(self) -> list[Statement]:
        """The adjoint rows of `step`: what weights and spikes need of this population for the arrivals of that step.

        dL/dw of an arrival is lambda . e, dL/dp of a parameter in e is w lambda . de/dp, and D is
        lambda . (f(x-) - f(x+)), all with lambda behind the arrivals of the step and before any jump of it
        (docs/equations.md, section 6).
        """
        s, d = self.s, self.d
        lam = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in d.states])
        out: list[Statement] = []
        for r in self.along:
            out.append(Set(name("w", "along", r), s.expression(d.receptors[r].dot(lam))))
        for r, by in self.gains.items():
            for n, slope in by.items():
                out.append(Add(name("w", "grad", n), name("w", "amount", r) * s.expression(slope.dot(lam))))
        for row, D in self._rows_of_D(lam).items():
            read = self.readout.arrival(row[2:]) if self.readout and row.startswith("D_") else sp.Integer(0)
            out.append(Set(name("w", row), D + read))
        for r in (r for r in self.feedback_receptors if r in self.raising):
            # E of the spikes that arrivals alone made, see `Events`
            out.append(Set(name("w", f"up_{r}"), self.up(r).xreplace(self._trace()) * name("w", "push")))
        if self.readout and self.readout.negative and self.feedback_receptors:
            out.append(Set(name("w", "down"), self.readout.negative_arrival()))
        out += [Set(name("w", row), v.xreplace(self._trace())) for v, row in zip(self._copied, self.evaluated_rows)]
        return out + self._drives()

    def _rows_of_D(self, lam: sp.Matrix) -> dict[str, sp.Expr]:
        """Row -> D / w: the term that is linear in w, then those of higher powers; all are linear in lambda."""
        s, d, out = self.s, self.d, dict[str, sp.Expr]()
        for r in self.feedback_receptors:
            unit = feedback_symbols(d, r).dot(lam) if has_exact_step(d) else self._unit_D(r, lam)
            out[f"D_{r}"] = s.expression(unit, self._trace()) if r not in self.evaluated else sp.Integer(0)
            for k in self.powers(r):
                change = pick([v.dot(lam) for v in change_along(d, r, k)])
                out[f"{POWERS[k]}_{r}"] = s.expression(change, self._trace())
        return out

    def _unit_D(self, receptor: str, lam: sp.Matrix) -> sp.Expr:
        """-(df/dx e) . lambda in the neuron's mode, at the state behind the arrival."""
        return pick([-(m.df_dx * self.d.receptors[receptor]).dot(lam) for m in self.d.modes])

    def _trace(self, back: bool = False) -> dict[sp.Symbol, sp.Expr]:
        """State -> its stored value at the start of `step`, or of the step before; empty where none is stored."""
        role = "trace_back" if back else "trace"
        return {name("x", v): name("w", role, v) for v in self.d.states} if self.p.stores_states else {}

    def born(self) -> list[Statement]:
        """Of a neuron whose spike could have been born at `step`: its own readout, then the jump of lambda.

        D of the arrivals of the step sees a part of the jump, where they make a kink.
        """
        assert self.births is not None
        out = (birth_is_read(self.readout, self.host_slopes) if self.readout else []) + self.births.jump()
        if self.births.moves:
            part = self.births.event.dg_dx * KINK * JUMP
            rows = self._rows_of_D(part) | {f"at_{v}": self.s.expression(e) for v, e in zip(self.s.lam, part)}
            out += [Add(name("w", row), change) for row, change in rows.items() if row in self.rows and change != 0]
        return out

    def undo(self) -> list[Statement]:
        """The jumps of lambda at `step`."""
        # V of a step is read behind its events; backwards dL/dV is therefore in lambda before the events are undone
        fresh: list[Statement] = [Set(name("l", state), 0) for state, _ in self.p.drives.values()]
        read = self.readout.sample() if self.readout else []
        if self.s.pieces and read:  # V of the last step of a piece is read by the next one, if that reads on
            last, closes = (self.s.host_value(n, "long") for n in ("last_step", "closes"))
            read = [When(either(below(STEP, last), closes), read)]
        return fresh + read + self.events.undo()

    def retreat(self) -> list[Statement]:
        """lambda from the end of step `step` - 1 to its start, with parameter integrals and the readout's source.

        It is the transpose of the forward step itself: an adjoint equation that is discretised separately would have
        gradients that differ from those of the step by the order of the scheme.
        """
        s, step, trace = self.s, self.step, self._trace(back=True)
        out = self.readout.source_at_end() if self.readout else []
        out += [Let(line.target, s.expression(line.value, trace)) for line in step.stages]
        for p, rate in step.rates.items():  # int lambda . df/dp dt, before lambda itself is moved to the start
            extra = self.readout.rate(p) if self.readout else sp.Integer(0)
            out.append(Add(name("w", "grad", p), s.expression(rate, trace) + extra.xreplace(trace)))
        written = handwritten(s, "adjoint_sim_code", trace)
        out += written or together({v: s.expression(e, trace) for v, e in zip(s.lam, step.back)}, "back")
        return out + (self.readout.source() if self.readout else [])

    def end_back(self) -> list[Statement]:
        """Gradients of the trial; lambda(0) . dx0/dp only if it began from rest, not from the end of another trial."""
        s, out = self.s, list[Statement]()
        for p in (p for p in self.d.params if p in self.p.trainable):
            out.append(Add(name("G", p), name("w", "grad", p) + self.fresh * x0_slope(s, p)))
        return out


def _nothing(event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
    return []


def _before_nothing(event: int) -> list[Statement]:
    return []
