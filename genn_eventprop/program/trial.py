"""One trial on the grid, forwards and backwards: the order of operations, written once.

A trial is a list of operations (`operations.py`) before, in and after the loop over steps, for each direction.
`EachNeuron` runs a kernel for all neurons of a population; the others are what happens between neurons. Operations that
stand side by side in one list may depend on each other in order; kernels of one `EachNeuron` are independent over
neurons. The definition of the order is docs/equations.md, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sympy as sp

from ..plan import ConnectionRecord, Plan
from .births import CHANGE
from .compare import RUNNING, comparison, further_slopes
from .connectivity import Delays, Dense, Table, Windows, delays, dense, table, windows
from .events import FEEDBACK
from .nodes import Buffer, Kernel, name
from .operations import (
    Birth,
    Deliver,
    EachNeuron,
    EachStep,
    Feedback,
    FeedInput,
    Gather,
    GatherDelays,
    Once,
    Operation,
    Record,
    Total,
)
from .outer import on_host
from .population import POWERS, Population
from .readouts import Readout, make_readout
from .readouts.maximum import NEGATIVE
from .regularise import TOTAL
from .scope import Scope

__all__ = [
    "RUNNING", "Birth", "Deliver", "EachNeuron", "EachStep", "FeedInput", "Feedback", "Gather", "GatherDelays", "Once",
    "Operation", "Record", "Total", "Trial", "make_trial",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Trial:
    """A plan's trial.

    Forwards: `begin`, then for steps 0 ... n_steps - 1 `early`, `arrivals` and `advance`, then `end`; `compare`
    between the passes. Backwards: `begin_back`, then for steps n_steps ... 0 `before_jumps` and `births` (not at step
    n_steps), `feedback`, `jumps` and `retreat` (not at step 0), then `end_back`. spikes:
    population -> the rows of bits of its spikes; delays: of connections with individual delays. readouts: population
    -> what a loss reads of it, the main one first. split: the two passes are two calls, `compare` takes dL/dr from the
    host, and `end_back` gives the gradients of input times as well; host_slopes: dL/dr comes from the host, so that no
    outer loss is known here, of births only to first order; for_inputs: buffers of which they alone need more
    than the row of a step. changes: connection -> the code of parts "change", which sets the local `population.D` for a
    synapse of weight `population.WEIGHT` whose target is ``neuron``, at the arrival's ``step``.

    Of a trial in `pieces` (`pieces.py`), `begin_interval` and, backwards, `end_interval` are where an interval of a
    recording with several decisions begins and ends.

    Where the trial can be recorded, `record` stands between `arrivals` and `advance`, and `before_jumps` ends with the
    records of the adjoint: both are those at the time of the step, behind its arrivals.
    """

    plan: Plan
    scopes: tuple[Scope, ...]
    buffers: dict[str, Buffer]
    connections: tuple[Dense | Table | Windows, ...]
    delays: tuple[Delays | None, ...]
    begin: tuple[Operation, ...]
    early: tuple[EachNeuron, ...]
    arrivals: tuple[Deliver, ...]
    advance: tuple[EachNeuron, ...]
    end: tuple[Operation, ...]
    compare: tuple[Operation, ...]
    begin_back: tuple[Operation, ...]
    before_jumps: tuple[Operation, ...]
    feedback: tuple[Feedback, ...]
    births: tuple[Birth, ...]
    jumps: tuple[EachNeuron, ...]
    retreat: tuple[Operation, ...]
    end_back: tuple[Operation, ...]
    readouts: dict[int, Readout]
    spikes: dict[int, Buffer] = field(default_factory=dict)
    split: bool = False
    host_slopes: bool = False
    for_inputs: frozenset[str] = frozenset()
    record: tuple[Record, ...] = ()
    changes: Mapping[int, Kernel] = field(default_factory=dict)
    begin_interval: tuple[Operation, ...] = ()
    end_interval: tuple[Operation, ...] = ()
    pieces: bool = False

    @property
    def readout(self) -> Readout:
        """Of the main loss."""
        return next(iter(self.readouts.values()))

    @property
    def step(self) -> tuple[Operation, ...]:
        """A step forwards."""
        return (*self.early, *self.arrivals, *self.record, *self.advance)

    @property
    def forwards(self) -> tuple[Operation, ...]:
        return (*self.begin, *self.step, *self.end)

    @property
    def backwards(self) -> tuple[Operation, ...]:
        """With `compare`."""
        before = (*self.compare, *self.begin_back, *self.before_jumps, *self.births, *self.feedback)
        return (*before, *self.jumps, *self.retreat, *self.end_back)


def make_trial(
    plan: Plan,
    *,
    adjoint: bool = True,
    split: bool = False,
    carry: bool = False,
    record: bool = False,
    evaluates: bool = False,
    drawn: Mapping[str, sp.Expr] = {},
    pieces: bool = False,
) -> Trial:
    """The trial of a plan with spikes on the grid; without `adjoint` the forward pass alone, for inference.

    carry: the number ``fresh`` says whether it begins from rest, and not from the end of another: 1 or 0.
    record: states and adjoints of ``recorded`` steps go to the host: all of them or, in most runs, none.
    evaluates: the target runs parts "change"; without them, arrivals along which f is no polynomial have no D.
    drawn: population -> see `births.Births`. pieces: it runs piece by piece, see `pieces.py`.
    """
    return _Maker(plan, adjoint, split, carry, record, evaluates, drawn, pieces).trial()


class _Maker:
    """A trial under construction: scopes first, since buffers are declared in the order in which they are asked for."""

    def __init__(
        self, plan: Plan, adjoint: bool, split: bool, carry: bool, record: bool, evaluates: bool,
        drawn: Mapping[str, sp.Expr], pieces: bool,
    ) -> None:  # fmt: skip
        self.plan, self.adjoint, self.split, self.buffers = plan, adjoint, split, dict[str, Buffer]()
        self.record, self.pieces = record, pieces
        self.host_slopes = split or on_host(plan)
        self.scopes = [Scope(plan, p, i, self.buffers, adjoint, pieces) for i, p in enumerate(plan.populations)]
        for s in self.scopes:
            s.host_value("n_steps", "int")
        read = (plan.numbers[loss.output] for loss in plan.losses)
        self.readouts = {i: make_readout(self.scopes[i], split) for i in read}
        self.populations = [
            Population(
                plan, s, self.readouts.get(s.index), split, carry, evaluates, self.host_slopes,
                drawn.get(s.p.name, sp.S.Zero),
            )
            for s in self.scopes
        ]  # fmt: skip
        kinds: dict[str, Callable[[ConnectionRecord, int, dict[str, Buffer]], Dense | Table | Windows]] = {
            "dense": dense, "windows": windows, "synapses": table,
        }  # fmt: skip
        self.connections = [kinds[c.form](c, i, self.buffers) for i, c in enumerate(plan.connections)]
        self.spikes = {}
        for i, p in enumerate(plan.populations):
            if p.spiking:
                words = (p.size + 31) // 32
                self.spikes[i] = self.buffers.setdefault(
                    f"p{i}_spikes", Buffer(f"p{i}_spikes", ("batch", "n_points", words), "bits", "result")
                )

    def each(self, what: str, emits: bool = False) -> list[EachNeuron]:
        """Method `what` of every population, where it has anything to do."""
        operations: list[EachNeuron] = []
        for i, p in enumerate(self.populations):
            kernel = p.s.kernel(getattr(p, what)())
            if kernel:
                operations.append(EachNeuron(i, kernel, emits and p.p.spiking))
        return operations

    def records(self, what: str) -> tuple[Record, ...]:
        """Method `what` of every population, for the host."""
        if not self.record:
            return ()
        return tuple(Record(i, p.s.kernel(getattr(p, what)())) for i, p in enumerate(self.populations))

    def trial(self) -> Trial:
        plan = self.plan
        delivered = [self._deliver(i, c) for i, c in enumerate(plan.connections)]
        totals: list[Operation] = [
            Total(p.s.table[name("w", "count")].buffer, p.s.table[TOTAL].buffer)
            for p in self.populations
            if p.regularise.whole_layer
        ]
        ends = {i: self.scopes[i].kernel(readout.end()) for i, readout in self.readouts.items()}
        gathered: list[Operation] = [
            Gather(i, self._row(c, f"along_{c.receptor}")) for i, c in enumerate(plan.connections) if c.trainable
        ]
        gathered += [GatherDelays(i, self._caused(c)) for i, c in enumerate(plan.connections) if c.learns_delays]
        parts = [tuple(part for part, _ in d.sums) for d in delivered]
        rows = (p.s.table[name("w", row)].buffer.name for p in self.populations if p.for_inputs for row in p.rows)
        return Trial(
            plan=plan, scopes=tuple(self.scopes), buffers=self.buffers, connections=tuple(self.connections),
            delays=tuple(delays(c, i, parts[i], self.buffers) for i, c in enumerate(plan.connections)),
            begin=tuple(self.each("begin")), early=tuple(self.each("early")), arrivals=tuple(delivered),
            advance=tuple(self.each("advance", emits=True)),
            end=tuple(EachNeuron(i, end) for i, end in ends.items() if end), compare=tuple(self._compared()),
            begin_back=(*totals, *self.each("begin_back")),
            before_jumps=(*self.each("arrival_rows"), *self.records("record_adjoints")),
            feedback=tuple(
                self._feedback(i) for i, p in enumerate(self.populations) if p.p.spiking and plan.out_of(p.p.name)
            ),
            births=tuple(self._birth(i, p) for i, p in enumerate(self.populations) if p.births),
            jumps=tuple(self.each("undo")), retreat=tuple(self.each("retreat")),
            end_back=(*self.each("end_back"), *gathered, *self._feed_input()), spikes=self.spikes, split=self.split,
            host_slopes=self.host_slopes, readouts=self.readouts, for_inputs=frozenset(rows),
            record=self.records("record_states"),
            changes=self._changes(), begin_interval=tuple(self.each("begin_interval")) if self.pieces else (),
            end_interval=tuple(self.each("end_interval")) if self.pieces else (), pieces=self.pieces,
        )  # fmt: skip

    def _changes(self) -> dict[int, Kernel]:
        """Of the connections whose receptor has a part "change"."""
        targets = {p.p.name: p for p in self.populations}
        receptors = ((i, c.receptor, targets[c.target]) for i, c in enumerate(self.plan.connections))
        return {i: p.s.kernel(p.change(r)) for i, r, p in receptors if r in p.evaluated}

    def _row(self, c: ConnectionRecord, what: str) -> Buffer:
        """An adjoint row, or a sum over arrivals, of the target of a connection."""
        scope = next(s for s in self.scopes if s.p.name == c.target)
        return scope.table[name("w", what)].buffer

    def _deliver(self, i: int, c: ConnectionRecord) -> Deliver:
        """Arrivals through a connection: the sum of weights, and parts of them that the backward pass shares D by."""
        target = next(p for p in self.populations if p.p.name == c.target)
        sums = [("all", self._row(c, f"arrived_{c.receptor}"))]
        # E of a spike that arrivals alone made goes to those that raised the threshold function
        if c.receptor in target.raising and target.s.adjoint:
            sums.append(("positive", self._row(c, f"arrived_up_{c.receptor}")))
        # the term of a kink of the maximum goes to arrivals with negative weights
        if target.readout and target.readout.negative:
            sums.append(("negative", target.s.table[NEGATIVE].buffer))
        if self.adjoint and c.learns_delays and c.delays and c.delays.kind == "dendritic":
            # their gradient may be formed from what arrives
            sums += [(POWERS[k], self._row(c, f"arrived_{POWERS[k]}_{c.receptor}")) for k in target.powers(c.receptor)]
        return Deliver(i, tuple(sums))

    def _feedback(self, population: int) -> Feedback:
        """Backwards, the sum of D over the arrivals of every spike: what E of that spike begins with."""
        source = self.populations[population]
        return Feedback(population, source.s.table[FEEDBACK].buffer, self._terms(source.p.name))

    def _birth(self, i: int, p: Population) -> Birth:
        """The weights of a spike that is not there, times lambda . e where it would have arrived."""
        assert p.births is not None
        out = [(k, c) for k, c in enumerate(self.plan.connections) if c.source == p.p.name]
        moving = [(k, c) for k, c in out if not self.host_slopes and self.plan.adds_up(c.target)]
        terms = [(k, "all", self._row(c, f"along_{c.receptor}")) for k, c in out if (k, c) not in moving]
        return Birth(
            i, p.births.here(), p.s.table[CHANGE].buffer, tuple(terms),
            tuple((k, self._row(c, f"along_{c.receptor}")) for k, c in moving), p.s.kernel(p.born()),
        )  # fmt: skip

    def _feed_input(self) -> list[Operation]:
        """dL/d(time) of input spikes, for whoever calls the two passes: nothing learns from them in one call."""
        if not self.split:
            return []
        into = Buffer("input_gradient", ("input_spikes",), "real", "of spikes")
        start = Buffer("input_start", ("batch",), "long", "host")
        self.buffers |= {b.name: b for b in (into, start)}
        return [FeedInput(into, self._terms(self.plan.input.name))]

    def _terms(self, source: str) -> tuple[tuple[int, str, Buffer], ...]:
        out = [(i, c) for i, c in enumerate(self.plan.connections) if c.source == source]
        return tuple((i, part, row) for i, c in out for part, row in self._caused(c))

    def _caused(self, c: ConnectionRecord) -> tuple[tuple[str, Buffer], ...]:
        """(part, row): what makes up D of an arrival through a connection."""
        target = next(p for p in self.populations if p.p.name == c.target)
        terms = [("all", self._row(c, f"D_{c.receptor}"))]
        terms += [(POWERS[k], self._row(c, f"{POWERS[k]}_{c.receptor}")) for k in target.powers(c.receptor)]
        if c.receptor in target.evaluated:
            terms.append(("change", self._row(c, target.evaluated_rows[0])))
        if c.receptor in target.raising:
            terms.append(("positive", self._row(c, f"up_{c.receptor}")))
        if target.readout and target.readout.negative:
            terms.append(("negative", self._row(c, "down")))
        if target.readout and target.readout.loss_of_arrival(c.receptor) != 0:
            terms.append(("loss", self._row(c, "before")))
        return tuple(terms)

    def _compared(self) -> list[Operation]:
        """The outer losses; one in Python has none in the trial, but for what it gives back."""
        if not self.adjoint or (on_host(self.plan) and not self.split):
            return []
        operations: list[Operation] = []
        for i, readout in self.readouts.items():
            once, each_step = comparison(self.scopes[i], readout, host_slopes=self.split)
            others = further_slopes(readout)
            operations += [Once(once), *([EachNeuron(i, others)] if others else [])]
            operations += [EachStep(each_step, self.buffers[f"{self.scopes[i].of_loss}loss"])] if each_step else []
        return operations
