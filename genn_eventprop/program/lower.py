"""Operations as loops: what a `trial.Trial` does, written once for every target that prints loops (`nodes.py`).

Spikes arrive in the order of their sources, the synapses of each in the order of their table, so that every sum has a
fixed order. In loops over synapses ``source`` is the neuron that spiked, ``n`` the target, ``w`` the number of the
weight, ``now`` the step of the spike and ``arrival`` that of its arrival; ``total`` is what a spike caused.

What targets do otherwise are passes (`passes.py`): how spikes are listed, which buffers have a part for every sample.
"""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from ..modelling.connectivity import WindowRows
from ..modelling.expressions import symbol
from . import loss_changes
from .compare import RUNNING
from .connectivity import Table, Windows
from .events import SENT
from .loss_changes import BY, CHANGED, N, moved_index
from .nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Access,
    Add,
    Append,
    Block,
    Buffer,
    Code,
    Diverged,
    Entries,
    Kernel,
    Leave,
    Let,
    Range,
    Set,
    Statement,
    When,
    While,
    above,
    at_least,
    below,
    birth_change,
    both,
    choose,
    equal,
    expressions,
    mapped,
    name,
    no,
    part,
    quotient,
    remainder,
)
from .nodes import loss_change as loss_change_node
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
    method_of,
)
from .outer.base import ROW
from .population import WEIGHT, D
from .readouts.voltage import Voltage
from .trial import Trial

SOURCE, W, NOW, ARRIVAL, TOTAL = map(symbol, ("source", "w", "now", "arrival", "total"))
FROM, TO, INPUT = map(symbol, ("from", "to", "input"))
EFFECT = name("z", "effect")
"""What a change of V does to a loss; see `loss_changes`."""
N_STEPS = Buffer("n_steps", (), "long", "host")
DATA = (
    Buffer("steps", ("spikes",), "int", "host"), Buffer("channels", ("spikes",), "int", "host"),
    Buffer("offsets", ("samples",), "long", "host"), Buffer("samples", ("batch",), "long", "host"),
)  # fmt: skip
"""Input spikes of the data set, in the order of samples and steps; the samples of the batch."""
TROUBLE = Buffer("trouble", (4,), "long", "stored")
"""Sample, step, state and neuron where dynamics were left; last, how long a list of events must be."""
SEVERAL = Buffer("several", (), "long", "host")
"""Of pieces: whether their recording consists of several intervals."""
IN_A_LOCAL = ((NEURON,), (sp.Integer(0),), ())
"""Indices of what a kernel loads at its start and stores at its end: a value of the neuron, or of all neurons."""
Body = list[Statement]


class Lowering:
    """The loops of a trial; `buffers` are its own and those that loops need besides, by name."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.plan = trial, trial.plan
        numbers = [Buffer(f"c{i}_delay", (), "long", "host") for i in range(len(self.plan.connections))]
        numbers += [Buffer(f"c{i}_ring", (), "long", "host") for i, c in enumerate(self.plan.connections) if c.delays]
        of_loops = (*DATA, Buffer("training", (), "long", "host"), N_STEPS, TROUBLE, *numbers)
        self.buffers: dict[str, Buffer] = {b.name: b for b in (*of_loops, *trial.buffers.values())}
        self.n_steps: sp.Expr = N_STEPS.at()
        self.first: sp.Expr = sp.Integer(0)
        self.last = self.n_steps
        """The steps that are run: those of a trial, or of a piece of one."""
        if trial.pieces:
            self.buffers[SEVERAL.name] = SEVERAL

    def scratch(self, what: str, length: int) -> Buffer:
        """A row that a target need not store from spike to spike."""
        return self.buffers.setdefault(what, Buffer(what, (length,), "real", "scratch"))

    # the frame

    def sample(self) -> Body:
        """A trial of sample number `SAMPLE`, or the half of a split one that `training` says."""
        forward, backward = [*self.forward(), *self._full()], [*self.operations(self.trial.compare, "outer loss,")]
        training = above(self.buffers["training"].at(), 0)
        if self.trial.split:
            body = [When(training, (*backward, *self.backward(), Leave(0))), *forward]
        else:
            body = [*forward, *backward, When(training, self.backward())]
        offsets, samples = (self.buffers[n] for n in ("offsets", "samples"))
        of = samples.at(SAMPLE)
        return [Let(FROM, offsets.at(of), "long"), Let(TO, offsets.at(of + 1), "long"), *body, Leave(0)]

    def forward(self) -> Body:
        """The pass forwards; spikes of the input are met in the order of their steps."""
        t = self.trial
        begin = [Let(STEP, 0, "long"), *self.operations(t.begin, "start of")]
        following: Body = [Let(_next(i), FROM, "long", changes=True) for i in self._inputs()]
        steps = Range(STEP, self.first, self.last, self.step(), kind="long")
        end = [Let(STEP, self.n_steps, "long"), *self.operations(t.end, "end of")]
        return [Block(begin), *following, steps, Block(end)]

    def step(self) -> Body:
        """What ends at the beginning of a step, the arrivals, the step itself with the events at its end."""
        t = self.trial
        early = "currents, and modes that end:" if self.plan.currents_into else "modes that end:"
        parts = ((t.early, early), (t.arrivals, ""), (t.record, ""), (t.advance, "step of"))
        return [s for operations, stage in parts for s in self.operations(operations, stage)]

    def backward(self) -> Body:
        """The pass backwards, from step n_steps to 0.

        All feedback of a step comes from the adjoint before any jump of it, but for what births of spikes add to its
        rows.
        """
        t = self.trial
        begin = [Let(STEP, self.n_steps, "long"), *self.operations(t.begin_back, "start backwards of")]
        end = [Let(STEP, 0, "long"), *self.operations(t.end_back, "gradients of parameters of")]
        return [Block(begin), self.steps_back(), Block(end)]

    def steps_back(self) -> Range:
        """From step `last` to `first`; adjoint rows of step `last` are those of the steps after it."""
        t, late, back = self.trial, below(STEP, self.last), symbol("back")
        leave = [*self.operations(t.before_jumps, "adjoint rows of"), *self.operations(t.births)]
        steps: Body = [Let(STEP, self.last - back, "long")]
        steps += [When(late, leave)] if leave else []
        steps += self.operations(t.feedback)
        steps += self.operations(t.jumps, "jumps of")
        steps.append(When(above(STEP, self.first), self.operations(t.retreat, "step back of")))
        return Range(back, 0, self.last - self.first + 1, steps, kind="long")

    def _full(self) -> Body:
        """The length of a list of events is known when it is full: the host then runs the trial again with more."""
        full, room, needed = symbol("full"), TROUBLE.at(3), name("t", "needed")
        body: Body = [Let(full, 0, "int", changes=True)]
        for i, p in enumerate(self.plan.populations):
            if p.derived.events and self.trial.scopes[i].adjoint:
                more: Body = [Set(room, choose(above(needed, room), needed, room)), Set(full, -1 - i)]
                happened, length = self.buffers[f"p{i}_w_happened"].at(NEURON), self.buffers[f"p{i}_room"].at()
                each = (Let(needed, happened, "int"), When(above(needed, length), more))
                body.append(Range(NEURON, 0, p.size, each))
        return [*body, When(below(full, 0), (Leave(full),))] if len(body) > 1 else []

    def stop(self, population: int, state: int) -> Body:
        """`state` of a neuron has left its dynamics."""
        where = (SAMPLE, STEP + 1, sp.Integer(state), NEURON)
        return [*(Set(TROUBLE.at(k), v) for k, v in enumerate(where)), Leave(1 + population)]

    # operations

    def operations(self, operations: Iterable[Operation], stage: str = "") -> Body:
        """Operations in order, each in a scope with a line that says what it does in `stage`."""
        each = ((o, getattr(self, method_of(o))(o)) for o in operations)
        return [Block(body, note=heading(self.trial, o, stage=stage)) for o, body in each]

    def _neurons(self, population: int, body: Body) -> Range:
        size = sp.Integer(self.plan.populations[population].size)
        return Range(NEURON, 0, size, body, over="lanes")

    def each_neuron(self, o: EachNeuron) -> Body:
        after: Body = []
        if o.emits:
            after = [When(SENT, (Append(self.trial.spikes[o.population], STEP + 1, NEURON),))]
        return [self._neurons(o.population, self.kernel(o.kernel, o.population, after))]

    def record(self, o: Record) -> Body:
        copies = self.each_neuron(EachNeuron(o.population, o.kernel))
        return [When(above(self.buffers["recorded"].at(), 0), copies)]

    def once(self, o: Once) -> Body:
        return [Block(self._replaced(o.kernel), self._names(o.kernel), double=True)]

    def each_step(self, o: EachStep) -> Body:
        each = Block(self._replaced(o.kernel), self._names(o.kernel), double=True)
        return [
            Let(RUNNING, 0, "double", changes=True),
            Range(ROW, self.first, self.last, (each,), kind="long"), Set(o.into.at(SAMPLE), RUNNING),
        ]  # fmt: skip

    def total(self, o: Total) -> Body:
        size = sp.Integer(o.of.axes[0])
        return [Set(o.into.at(), 0),
                Range(NEURON, 0, size, (Add(o.into.at(), o.of.at(NEURON)),), over="lanes")]  # fmt: skip

    # kernels

    def access(self, a: Access) -> Access:
        """Where an element of a kernel is."""
        return a

    def _names(self, kernel: Kernel) -> dict[sp.Symbol, Access]:
        return {s: self.access(kernel.table[s]) for s in kernel.named}

    def kernel(self, kernel: Kernel, population: int, after: Iterable[Statement] = ()) -> Body:
        """A kernel of one neuron, which loads its values, uses them and stores them again; `after` still sees them.

        Gradients are sums over samples, which it only adds to.
        """
        names, written = self._names(kernel), set(kernel.written)
        loaded = {s: a for s, a in names.items() if a.index in IN_A_LOCAL and a.buffer.role != "gradient"}
        loads = [Let(s, a.buffer.at(*a.index), kernel.table[s].buffer.kind, s in written) for s, a in loaded.items()]
        stores = [Set(a.buffer.at(*a.index), s) for s, a in loaded.items() if s in written]
        rest = {s: a for s, a in names.items() if s not in loaded}
        return [Block((*loads, *self._replaced(kernel, population), *stores, *after), rest)]

    def _replaced(self, kernel: Kernel, population: int = -1) -> Body:
        """The body of a kernel without what is no loop: dynamics that were left, and losses within expressions."""
        effects = 0

        def replaced(s: Statement) -> Body | None:
            nonlocal effects
            if isinstance(s, Diverged):
                return self.stop(population, s.state)
            if isinstance(s, Code):  # whose words are its own: they need declarations
                read = {r: self.access(kernel.table[r]) for r in s.reads if r in kernel.table}
                elsewhere = {r: a for r, a in read.items() if a.index not in IN_A_LOCAL}
                lets = [Let(r, a.buffer.at(*a.index), a.buffer.kind) for r, a in elsewhere.items()]
                return [Block((*lets, s))]
            calls = [c for e in expressions(s) for c in sp.sympify(e).atoms(loss_change_node, birth_change)]
            if not calls:
                return None
            before: Body = []
            for call in sorted(calls, key=str):
                effect = name("z", "effect", effects)
                effects += 1
                before += self._effect(call, kernel, effect)
                s = mapped([s], lambda e, call=call, effect=effect: e.xreplace({call: effect}))[0]  # type: ignore[misc]
            return [*before, s]

        return mapped(kernel.body, statement=replaced)

    def _effect(self, call: sp.Expr, kernel: Kernel, into: sp.Symbol) -> Body:
        """Declares `into`, what a change of V or of a readout does to a loss."""
        if isinstance(call, birth_change):
            population, _, by = call.args
            change = [Let(BY, by), *loss_changes.of_readout(self.trial.readouts[int(population)], into)]
        else:
            step, _, before, V, *of_loss = call.args
            readout, at = self.trial.readouts[int(of_loss[0])] if of_loss else self.trial.readout, kernel.table[before]
            assert isinstance(readout, Voltage)
            row = Access(at.buffer, (*at.index[:-1], N))
            change = [Let(CHANGED, V), *loss_changes.of_spike(readout, row, step, into)]
        return [Let(into, 0, changes=True), Block(change)]

    # connections

    def _of_arrival(self, i: int, rows: Buffer, weight: Access, only: sp.Symbol | None = None) -> Body:
        """Declares `EFFECT`, what arrivals at step `ARRIVAL` add to dL/dt; rows: V before them."""
        c = self.plan.connections[i]
        readout, before = self.trial.readouts[self.plan.numbers[c.target]], Access(rows, _row_of(rows, ARRIVAL, N))
        assert isinstance(readout, Voltage)
        change = loss_changes.of_arrival(readout, c.receptor, before, weight, ARRIVAL, EFFECT, only)
        return [Let(EFFECT, 0, changes=True), *change]

    def of_spike(self, i: int, before: Buffer, into: sp.Basic) -> Body:
        """Adds to `into` what the spike of `SOURCE` at `NOW` does to a loss of V, the synapses of one time together."""
        c, some, of_spike = self.plan.connections[i], symbol("some"), symbol("of_spike")
        if c.by_rows or c.axonal:
            change = self._of_arrival(i, before, Access(self._weight_buffer(i), self._place(i)))
            arrival = Let(ARRIVAL, NOW + self.delay_of(i), "long")
            return [Block((arrival, When(below(ARRIVAL, self.n_steps), (*change, Add(into, EFFECT)))))]
        of_time, row = self.scratch(f"c{i}_row", c.post), Access(self.scratch(f"c{i}_row", c.post), (N,))
        here = equal(NOW + self.delay_of(i), ARRIVAL) if c.delays else sp.Integer(1)
        add: Body = [Add(of_time.at(N), self.weight(i)), Set(some, 1)]
        one_time: Body = [
            Range(N, 0, c.post, (Set(of_time.at(N), 0),), over="lanes"),
            Let(some, 0, "int", changes=True),
            *self._each_synapse(i, [When(here, add)] if c.delays else add),
            When(above(some, 0), (*self._of_arrival(i, before, row), Add(of_spike, EFFECT))),
        ]
        first, last = (NOW, NOW + self._ring(i)) if c.delays else (NOW + self.delay(i), NOW + self.delay(i) + 1)
        stop = choose(below(last, self.n_steps), last, self.n_steps)
        loop = Range(ARRIVAL, first, stop, one_time, kind="long")
        return [Block((Let(of_spike, 0, changes=True), loop, Add(into, of_spike)))]

    def width(self, i: int) -> int:
        """Of a row of dense delays."""
        return self.plan.connections[i].post

    def _weight_buffer(self, i: int) -> Buffer:
        return self.trial.connections[i].weight

    def weight(self, i: int) -> sp.Expr:
        """The weight of the synapse that a loop is at."""
        return self._weight_buffer(i).at(*self._place(i))

    def _place(self, i: int) -> tuple[sp.Symbol, ...]:
        """Of that weight, and of its gradient."""
        return (SOURCE, N) if self.plan.connections[i].form == "dense" else (W,)

    def delay(self, i: int) -> sp.Expr:
        """Steps from a spike to its arrivals, where all synapses of a connection have one delay."""
        return self.buffers[f"c{i}_delay"].at()

    def _ring(self, i: int) -> sp.Expr:
        return self.buffers[f"c{i}_ring"].at()

    def delay_place(self, i: int) -> sp.Expr:
        """Which of the delays of a connection is that of the synapse."""
        c = self.plan.connections[i]
        assert c.delays is not None
        synapse = SOURCE * self.width(i) + N if c.form == "dense" else W
        return {"synaptic": synapse, "axonal": SOURCE, "dendritic": N}[c.delays.kind]

    def delay_of(self, i: int) -> sp.Expr:
        """Steps from a spike to its arrival through the synapse."""
        delays = self.trial.delays[i]
        return self.delay(i) if delays is None else delays.steps.at(self.delay_place(i))

    def _inputs(self) -> list[int]:
        """Connections of the input."""
        return [i for i, c in enumerate(self.plan.connections) if c.source == self.plan.input.name]

    def _from_input(self, i: int) -> bool:
        return self.plan.connections[i].source == self.plan.input.name

    def _of_channel(self, i: int, channel: sp.Expr, body: Body) -> Body:
        """Code for the `SOURCE` of an input channel, if it is one of this connection."""
        c = self.plan.connections[i]
        if c.channels is None:
            return [Let(SOURCE, channel, "long"), *body]
        inside = both(at_least(SOURCE, 0), below(SOURCE, c.pre))
        return [Let(SOURCE, channel - c.channels[0], "long"), When(inside, body)]

    def of_any_channel(self, i: int, body: Body) -> Body:
        """Code for `SOURCE` where that is a channel of any input."""
        if not (self._from_input(i) and self.plan.connections[i].channels):
            return body
        channel = symbol("channel")
        return [Let(channel, SOURCE, "long"), Block(self._of_channel(i, channel, body))]

    def _each_synapse(self, i: int, body: Body) -> Body:
        """Code for every synapse of `SOURCE`."""
        c, at = self.plan.connections[i], self.trial.connections[i]
        if c.form == "dense":
            return [Range(N, 0, c.post, body, over="lanes")]
        if isinstance(at, Windows):
            assert c.windows is not None
            return [Block(self._each_of_windows(at, c.windows, body))]
        assert isinstance(at, Table)
        s = symbol("s")
        each = (Let(N, at.target.at(s), "int"), Let(W, at.weight_of.at(s), "int"), *body)
        return [Range(s, at.start.at(SOURCE), at.start.at(SOURCE + 1), each, over="lanes")]

    def _each_of_windows(self, at: Windows, rows: WindowRows, body: Body) -> Body:
        """The same for windows: row by row, the targets of a row side by side."""
        _, width, channels = rows.source
        y, x, block, a, b, k = map(symbol, ("y", "x", "block", "a", "b", "k"))
        target = at.down_target.at(a) + at.across_target.at(b) + block
        weight = at.down_weight.at(a) + at.across_weight.at(b) + remainder(SOURCE, rows.depth) * rows.target[2] + block
        lane = (Let(N, target + k, "int"), Let(W, weight + k, "int"), *body)
        row = Range(k, 0, rows.width, lane, over="lanes")
        across = Range(b, at.across.at(x), at.across.at(x + 1), (row,))
        pixel = quotient(SOURCE, channels)
        return [
            Let(y, quotient(pixel, width), "int"), Let(x, remainder(pixel, width), "int"),
            Let(block, quotient(remainder(SOURCE, channels), rows.depth) * rows.width, "int"),
            Range(a, at.down.at(y), at.down.at(y + 1), (across,)),
        ]  # fmt: skip

    def in_time(self, i: int, body: Body) -> Body:
        """Code for every synapse of a spike at `NOW` whose `ARRIVAL` is within the trial."""
        arrival, late = Let(ARRIVAL, NOW + self.delay_of(i), "long"), below(ARRIVAL, self.n_steps)
        if self.trial.delays[i] is not None:
            return self._each_synapse(i, [arrival, When(late, body)])
        return [Block((arrival, When(late, self._each_synapse(i, body))))]

    def input_arrivals(self, i: int, body: Body) -> Body:
        """Code for every spike of the input that arrives at `STEP`, or, with delays of their own, is sent then."""
        following = _next(i)
        waits = both(below(following, TO), equal(self.buffers["steps"].at(following) + self.delay(i), STEP))
        spike = self._of_channel(i, self.buffers["channels"].at(following), body)
        return [While(waits, (*spike, Add(following, 1)))]

    def _arrivals(self, i: int, body: Body) -> Body:
        """The same for spikes of any source."""
        if self._from_input(i):
            return self.input_arrivals(i, body)
        spikes = self.trial.spikes[self.plan.numbers[self.plan.connections[i].source]]
        if self.trial.delays[i] is not None:
            return [Entries(SOURCE, spikes, STEP, body)]
        delay = self.delay(i)
        return [When(at_least(STEP, delay), (Entries(SOURCE, spikes, STEP - delay, body),))]

    def deliver(self, o: Deliver) -> Body:
        return [*self._arrivals(o.connection, self.at_spike(o)), *self.from_ring(o)]

    def at_spike(self, o: Deliver) -> Body:
        """What the spike of `SOURCE` adds: to the sums of its targets, or, where delays differ, to a ring of sums for
        the steps to come, at that of the arrival."""
        i, delays, weight = o.connection, self.trial.delays[o.connection], self.weight(o.connection)
        if delays is None:
            return self._each_synapse(i, [Add(b.at(N), of_part(which, weight)) for which, b in o.sums])
        place = (remainder(ARRIVAL, self._ring(i)), N)
        put: Body = [Add(delays.arriving[which].at(*place), of_part(which, weight)) for which, _ in o.sums]
        return [Let(NOW, STEP, "long"), *self.in_time(i, put)]

    def from_ring(self, o: Deliver) -> Body:
        """What arrives now from such a ring; its place is that of a later step from here on, and so is cleared."""
        i, delays, take = o.connection, self.trial.delays[o.connection], list[Statement]()
        for which, b in o.sums if delays else ():
            now = delays.arriving[which].at(remainder(STEP, self._ring(i)), NEURON)  # type: ignore[union-attr]
            take += [Add(b.at(NEURON), now), Set(now, 0)]
        return [self._neurons(self.plan.numbers[self.plan.connections[i].target], take)] if take else []

    def caused(self, i: int, which: str, rows: Buffer, into: sp.Basic) -> Body:
        """Adds to `into` what the arrival at a single synapse caused."""
        if which == "loss":
            weight = self._weight_buffer(i)
            change = self._of_arrival(i, rows, Access(weight, self._place(i)), only=N)
            return [Block((*change, Add(into, EFFECT)))]
        if which == "change":
            kernel = self.trial.changes[i]
            names = {s: moved_index(a, {STEP: ARRIVAL, NEURON: N}) for s, a in self._names(kernel).items()}
            return [Block((Let(WEIGHT, self.weight(i)), Block((*kernel.body, Add(into, D)), names)))]
        return [Add(into, of_part(which, self.weight(i)) * rows.at(*_row_of(rows, ARRIVAL, N)))]

    def _dots(self, terms: Iterable[tuple[int, str, Buffer]]) -> Body:
        """Declares `TOTAL`, what a spike of `SOURCE` at `NOW` caused."""
        return [Let(TOTAL, 0, changes=True), *self._add_dots(terms)]

    def _add_dots(self, terms: Iterable[tuple[int, str, Buffer]]) -> Body:
        """Adds that to `TOTAL`."""
        return [Block(self.of_any_channel(i, self.dot(i, which, rows, TOTAL))) for i, which, rows in terms]

    def dot(self, i: int, which: str, rows: Buffer, into: sp.Basic) -> Body:
        """Adds to `into` what a spike of `SOURCE` at `NOW` caused through a connection."""
        if which == "loss":
            return self.of_spike(i, rows, into)
        return self.in_time(i, self.caused(i, which, rows, into))

    def feedback(self, o: Feedback) -> Body:
        body = (Let(NOW, STEP, "long"), *self._dots(o.terms), Set(o.into.at(SOURCE), TOTAL))
        return [When(above(STEP, self.first), (Entries(SOURCE, self.trial.spikes[o.population], STEP, body),))]

    def feed_input(self, o: FeedInput) -> Body:
        start, (steps, channels) = self.buffers["input_start"], (self.buffers[n] for n in ("steps", "channels"))
        place = o.into.at(start.at(SAMPLE) + INPUT - FROM)
        body = (Let(SOURCE, channels.at(INPUT), "long"), Let(NOW, steps.at(INPUT), "long"), *self._dots(o.terms))
        return [Range(INPUT, FROM, TO, (*body, Set(place, TOTAL)), kind="long")]

    def birth(self, o: Birth) -> Body:
        into, names = self.access(Access(o.into, (NEURON,))), self._names(Kernel((Set(TOTAL, o.here),), o.kernel.table))
        change: Body = [Let(SOURCE, NEURON, "long"), Let(NOW, STEP, "long"), *self._dots(o.terms), *self.moved(o)]
        change.append(Set(into.buffer.at(*into.index), TOTAL))
        # the kernel changes rows that dots of others read
        each = (change, self.kernel(o.kernel, o.population))
        return [self._neurons(o.population, [Block((When(o.here, (Block(body),)),), names)]) for body in each]

    def moved(self, o: Birth) -> Body:
        """Adds to `TOTAL` the changes of outer losses by readouts that move; of several losses these are known to first
        order alone, since lambda is that of all of them."""
        body: Body = []
        for target in dict.fromkeys(self.plan.connections[k].target for k, _ in o.moving):
            i, size = self.plan.numbers[target], self.plan.population(target).size
            moved, slope = self.scratch(f"p{i}_moved", size), self.trial.buffers[f"p{i}_w_dr"].at(N)
            one: Body = [Range(N, 0, size, (Set(moved.at(N), 0),), over="lanes")]
            for k, rows in ((k, rows) for k, rows in o.moving if self.plan.connections[k].target == target):
                along = self.weight(k) * rows.at(*_row_of(rows, ARRIVAL, N))
                one += self.in_time(k, [When(no(equal(slope, 0)), (Add(moved.at(N), along / slope),))])
            change = loss_changes.of_readouts(self.trial.readouts[i], Access(moved, (N,)), EFFECT)
            body.append(Block((*one, Let(EFFECT, 0, changes=True), *change, Add(TOTAL, EFFECT))))
        if not (body and self.trial.pieces):
            return body
        first_order = self._add_dots((k, "all", rows) for k, rows in o.moving)
        return [When(above(SEVERAL.at(), 0), first_order), When(no(above(SEVERAL.at(), 0)), body)]

    # gradients

    def each_sent(self, i: int, body: Body) -> Body:
        """Code for every spike of the steps that are run, sent by `SOURCE` at `NOW`.

        The last step comes first, so that a trial in pieces, of which the last comes first, has the same sums.
        """
        c, back = self.plan.connections[i], symbol("back")
        if self._from_input(i):
            sent = (Let(INPUT, TO - 1 - back, "long"), Let(NOW, self.buffers["steps"].at(INPUT), "long"))
            each = self._of_channel(i, self.buffers["channels"].at(INPUT), body)
            return [Range(back, 0, TO - FROM, (*sent, *self.sent_here(each)), kind="long")]
        spikes = Entries(SOURCE, self.trial.spikes[self.plan.numbers[c.source]], NOW, body)
        now = Let(NOW, self.last - 1 - back, "long")
        return [Range(back, 0, self.last - self.first, (now, spikes), kind="long")]

    def sent_here(self, body: Body) -> Body:
        """Code for input spikes at `NOW`, of those there are."""
        return body

    def gather(self, o: Gather) -> Body:
        gradient = self.trial.connections[o.connection].gradient
        assert gradient is not None
        add = Add(gradient.at(*self._place(o.connection)), o.rows.at(*_row_of(o.rows, ARRIVAL, N)))
        return self.each_sent(o.connection, self.in_time(o.connection, [add]))

    def gather_delays(self, o: GatherDelays) -> Body:
        i, delays, caused = o.connection, self.trial.delays[o.connection], symbol("caused")
        assert delays is not None and delays.gradient is not None
        # V of all targets moves at once where they share the delay
        together = self.plan.connections[i].delays.kind == "axonal"  # type: ignore[union-attr]
        apart = [(which, rows) for which, rows in o.terms if not (which == "loss" and together)]
        into = delays.gradient.at(self.delay_place(i))
        each = [s for which, rows in apart for s in self.caused(i, which, rows, caused)]
        body = self.in_time(i, [Let(caused, 0, changes=True), *each, Add(into, caused)])
        for rows in (rows for which, rows in o.terms if which == "loss" and together):
            once = (Let(caused, 0, changes=True), *self.of_spike(i, rows, caused), Add(into, caused))
            body.append(Block(once))
        return self.each_sent(i, body)


def of_part(which: str, weight: sp.Expr) -> sp.Expr:
    """A part of a weight, see `operations`."""
    return weight if which == "all" else part(symbol(which), weight)


def _next(connection: int) -> sp.Symbol:
    """The next spike of the input to arrive through a connection."""
    return symbol(f"next{connection}")


def _row_of(b: Buffer, step: sp.Expr, n: sp.Expr) -> tuple[sp.Expr, ...]:
    """Index in the row of a step; some buffers have only one row, for the current step."""
    return (n,) if len(b.axes) == 1 else (step, n)


def heading(trial: Trial, o: Operation, *, stage: str = "") -> str:
    """One line about an operation: what it does in `stage`, for which populations, what it reads and writes.

    Of a kernel these are its symbols (docs/architecture.md has their prefixes), of the others names of buffers.
    """
    plan = trial.plan
    if isinstance(o, Record):
        copies = {o.kernel.table[s].buffer.name for s in o.kernel.written}
        return f"record of {plan.populations[o.population].name}; writes {', '.join(sorted(copies))}"
    if isinstance(o, (EachNeuron, Once, EachStep)):
        where = plan.populations[o.population].name if isinstance(o, EachNeuron) else "once a trial"
        written = o.kernel.written
        read = [s for s in o.kernel.named if s not in written]
        words = f"{stage} {where}".strip() if not isinstance(o, EachStep) else f"{stage} every step".strip()
        return "; ".join([words, *_symbols("reads", read), *_symbols("writes", written)])
    if isinstance(o, Total):
        return f"sum over neurons; reads {o.of.name}; writes {o.into.name}"
    if isinstance(o, FeedInput):
        return f"gradients of input times; reads {_names(row for _, _, row in o.terms)}; writes {o.into.name}"
    if isinstance(o, Feedback):
        population = plan.populations[o.population].name
        return f"what spikes of {population} caused; reads {_names(r for _, _, r in o.terms)}; writes {o.into.name}"
    if isinstance(o, Birth):
        rows = [*(r for _, _, r in o.terms), *(r for _, r in o.moving)]
        return f"births of spikes of {plan.populations[o.population].name}; reads {_names(rows)}; writes {o.into.name}"
    c = plan.connections[o.connection]
    way = f"{c.source} -> {c.target}"
    if isinstance(o, Deliver):
        return f"arrivals {way}; adds to {_names(into for _, into in o.sums)}"
    if isinstance(o, Gather):
        return f"dL/dw of {way}; reads {o.rows.name}"
    return f"dL/d(delay) of {way}; reads {_names(row for _, row in o.terms)}"


def _symbols(verb: str, symbols: Iterable[object]) -> list[str]:
    names = ", ".join(map(str, symbols))
    return [f"{verb} {names}"] if names else []


def _names(buffers: Iterable[Buffer]) -> str:
    return ", ".join(dict.fromkeys(b.name for b in buffers))
