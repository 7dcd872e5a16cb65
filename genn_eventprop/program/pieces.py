"""A trial in pieces: the loops of a few of its steps, forwards or backwards, and what crosses from piece to piece.

A piece is steps `first_step` ... `last_step` - 1 of the trial of a whole recording; all steps are counted from its
start, so that ends of modes, random numbers and kernels are those of one long trial. Forwards a piece begins with what
the one before has left, backwards with what the next one has: of every buffer that the trial writes and that is no row
of a step, `Crossing` says which way it goes. Of rows, those of the steps after a piece stay for as long as the longest
delay: arrivals of its spikes read them there.

A recording may consist of intervals, each with a readout and a loss of its own; an interval is one piece or several.
States, spikes in transit and adjoints know nothing of intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from ..modelling.expressions import symbol
from .compare import RUNNING
from .lower import FROM, NOW, TO, Body, Lowering
from .nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Access,
    Add,
    Append,
    Block,
    Buffer,
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
    both,
    children,
    choose,
    element,
    equal,
    name,
    targets,
)
from .operations import EachStep
from .outer.base import ROW
from .passes import buffers_of, indexed
from .trial import Trial

ROWS, SPIKE_ROWS = "piece_rows", "spike_rows"
"""Lengths of axes: the rows of a piece and of the steps after it, those of its spikes and of the steps before it."""
AXES = ("n_steps", "n_points")
"""Axes of a whole trial, one row a step."""
FIRST, LAST, INTERVAL, CLOSES, BACK, BEFORE = (
    Buffer(n, (), "long", "host") for n in ("first_step", "last_step", "interval", "closes", "back", "steps_before")
)
"""The steps of a piece; the first step of its interval, and whether it is the last piece of it; whether it runs
backwards, after it has run forwards; how many steps before it have rows of spikes."""


@dataclass(frozen=True)
class Crossing:
    """Names of buffers, by how they go from piece to piece.

    Attributes:
        forward: what a piece leaves to the next. back: what it leaves to the one before it, backwards. read: what an
            interval leaves, at its end, to the way back through it. rows: rows of steps, which stay for a while.
    """

    forward: tuple[str, ...]
    back: tuple[str, ...]
    read: tuple[str, ...]
    rows: tuple[str, ...]


class Pieces(Lowering):
    """The loops of a piece."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial)
        self.buffers |= {b.name: b for b in (FIRST, LAST, INTERVAL, CLOSES, BACK, BEFORE)}
        self.first, self.last = FIRST.at(), LAST.at()
        self.closes = above(CLOSES.at(), 0)
        self._forward, self._backward = [*self.forward(), *self._full()], self.backward()

    def body(self) -> Body:
        """A piece of sample number `SAMPLE`, one way, with rows where they are in a piece."""
        offsets, samples = (self.buffers[n] for n in ("offsets", "samples"))
        of = samples.at(SAMPLE)
        whole: Body = [
            Let(FROM, offsets.at(of), "long"), Let(TO, offsets.at(of + 1), "long"),
            When(above(BACK.at(), 0), (*self._backward, Leave(0))), *self._forward, Leave(0),
        ]  # fmt: skip
        places = {n: b.axes.index(a) for n, b in self.buffers.items() for a in AXES if a in b.axes and b.kind != "bits"}
        return indexed(whole, lambda n, index: _moved(index, places[n], self.first) if n in places else index)

    def memory(self) -> dict[str, Buffer]:
        """The buffers, as long as a piece needs them."""
        return {n: replace(b, axes=tuple(_axis(b, a) for a in b.axes)) for n, b in self.buffers.items()}

    def crossing(self) -> Crossing:
        """See the class."""
        rows = {n for n, b in self.buffers.items() if set(AXES) & set(b.axes) and b.role != "host" and b.kind != "bits"}
        lists = {n for n, b in self.buffers.items() if any(str(a).endswith("_room") for a in b.axes)}
        lists |= {f"{s.prefix}{name('w', 'happened')}" for s in self.trial.scopes}
        local = {n for n, b in self.buffers.items() if b.role in ("host", "number", "scratch", "gradient")}
        local |= {n for n, b in self.buffers.items() if b.kind == "bits" or not b.axes} | rows | lists | {"trouble"}
        forward, back = (written(body) - local for body in (self._forward, self._backward))
        read = (buffers_of(self._backward) & forward) - back
        return Crossing(*(tuple(sorted(names)) for names in (forward, back, read, rows)))

    # forwards

    def forward(self) -> Body:
        """Steps of the piece, with the loss of what ends with it; a list of events is one of the piece."""
        t = self.trial
        begin = [Let(STEP, 0, "long"), *self.operations(t.begin, "start of")]
        anew = [Let(STEP, self.first, "long"), *self.operations(t.begin_interval, "interval of")]
        starts = both(equal(self.first, INTERVAL.at()), above(self.first, 0))
        body: Body = [When(equal(self.first, 0), begin), When(starts, anew)]
        for i, p in enumerate(self.plan.populations):
            if f"p{i}_w_happened" in self.buffers:
                listed = self.buffers[f"p{i}_w_happened"].at(NEURON)
                body.append(Range(NEURON, 0, p.size, (Set(listed, 0),)))
        for i in self._inputs():
            following, steps = symbol(f"next{i}"), self.buffers["steps"]
            arrived = both(below(following, TO), below(steps.at(following) + self.delay(i), self.first))
            body += [Let(following, FROM, "long", changes=True), While(arrived, (Add(following, 1),))]
        body.append(Range(STEP, self.first, self.last, self.step(), kind="long"))
        every = [o for o in t.compare if isinstance(o, EachStep)]
        once = [o for o in t.compare if not isinstance(o, EachStep)]
        end = [*self.operations(t.end, "end of"), *self.operations(once, "outer loss,")]
        body += self.operations(every, "outer loss,")
        return [*body, When(self.closes, (Let(STEP, self.last, "long"), *end))]

    def each_step(self, o: EachStep) -> Body:
        """The loss of an interval goes on from piece to piece."""
        each = Block(self._replaced(o.kernel), self._names(o.kernel), double=True)
        so_far = choose(equal(self.first, INTERVAL.at()), 0, o.into.at(SAMPLE))
        return [
            Let(RUNNING, so_far, "double", changes=True), Range(ROW, self.first, self.last, (each,), kind="long"),
            Set(o.into.at(SAMPLE), RUNNING),
        ]  # fmt: skip

    # backwards

    def backward(self) -> Body:
        """As of a trial, but for what happens at its end and at its start."""
        t = self.trial
        begin = [Let(STEP, self.n_steps, "long"), *self.operations(t.begin_back, "start backwards of")]
        close = [Let(STEP, self.last, "long"), *self.operations(t.end_interval, "end of interval of")]
        of_neurons = [o for o in t.end_back if not hasattr(o, "connection")]
        end = [Let(STEP, 0, "long"), *self.operations(of_neurons, "gradients of")]
        return [
            When(equal(self.last, self.n_steps), begin), When(self.closes, close), self.steps_back(),
            Block(self.operations([o for o in t.end_back if o not in of_neurons])),
            When(equal(self.first, 0), end),
        ]  # fmt: skip

    def sent_here(self, body: Body) -> Body:
        """Spikes of steps before the piece are in its data too."""
        return [When(at_least(NOW, self.first), body)]


def _axis(b: Buffer, axis: int | str) -> int | str:
    if axis not in AXES:
        return axis
    return SPIKE_ROWS if b.kind == "bits" else ROWS


def _moved(index: tuple[sp.Expr, ...], place: int, by: sp.Expr) -> tuple[sp.Expr, ...]:
    return tuple(e - by if k == place else e for k, e in enumerate(index))


def written(body: Iterable[Statement], names: Mapping[sp.Symbol, Access] | None = None) -> set[str]:
    """Names of the buffers of which statements set an element."""
    names, buffers = dict(names or {}), set[str]()
    for s in body:
        for target in targets(s):
            if isinstance(target, element):
                buffers.add(target.args[0].name)
            elif target in names and not isinstance(s, Let):
                buffers.add(names[target].buffer.name)
        if isinstance(s, Append):
            buffers.add(s.spikes.name)
        buffers |= written(children(s), {**names, **s.names} if isinstance(s, Block) else names)
    return buffers
