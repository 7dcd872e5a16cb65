"""Losses of V at one time as functions of C and CUDA, where V jumps at spikes.

E of a spike and D of an arrival contain l(x-) - l(x+) (docs/equations.md, section 2). Such a loss is no sum over outputs
(a softmax), so both need l of all outputs, once with the V of one of them changed: too long to stand in every kernel.
Those of an auxiliary loss end in the number of their population.

``loss_change(t, sample, o_row, neuron, before, V)``: l at the beginning of step ``o_row`` minus l with V of one output
changed. ``arrival_c<i>(t, sample, o_row, before, row)``: what one spike through connection i, whose weights are ``row``,
adds to dL/dt there. before: V of all outputs. ``synapse_c<i>(t, sample, o_row, neuron, before, weight)``: the same of a
single synapse, for its delay. ``spike_c<i>(t, sample, sent, source)``: what a spike adds through a table, windows or individual
delays, where its arrivals at one time are no row of weights: the loops of `program.lower.Lowering.of_spike`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sympy as sp

from ..program import loss_changes
from ..program.loss_changes import CHANGED, N
from ..program.lower import EFFECT, NOW, SOURCE, Lowering
from ..program.nodes import NEURON, Access, Buffer, Kernel, Leave, Let, Statement, expressions, walk
from ..program.nodes import loss_change as node
from ..program.outer.base import ROW
from ..program.passes import buffers_of, without_unused
from ..program.population import WEIGHT
from ..program.readouts.voltage import Voltage
from ..program.trial import GatherDelays, Trial
from .birth_losses import setting
from .statements import TYPES, Spelling, Writer, indent

Element = Callable[[Access, Callable[[sp.Expr], str]], str]
HEAD = "{} real {}(const Trial *t, int64_t sample, int64_t o_row, {}) {{\n"


def voltage_losses(
    trial: Trial,
    mark: str,
    element: Element,
    constants: Mapping[str, str],
    weights: str = "real",
    head: str = HEAD,
    main: bool = True,
    synapses: bool = True,
    begin: Callable[[], str] = str,
    writer: Callable[..., Writer] = Writer,
) -> str:
    """The functions that a trial needs.

    Args:
        mark: what stands before them. weights: the kind of a row of a dense connection. head: the head of a function.
        main: whether the main loss has such functions, too. synapses: whether the target calls ``synapse_c<i>``. begin:
            what a function begins with, once its body is written. writer: of their text.
    """
    connections, text = trial.plan.connections, ""
    terms = [(i, part) for o in trial.feedback for i, part, _ in o.terms]
    late = [(o.connection, part) for o in trial.end_back if isinstance(o, GatherDelays) for part, _ in o.terms]
    learned = {i for i, part in late if part == "loss"}
    through = learned | {i for i, part in terms if part == "loss"}
    for number, readout in trial.readouts.items():
        if not isinstance(readout, Voltage) or (readout is trial.readout and not main):
            continue
        made = _Functions(readout, mark, element, constants, head, begin, writer)
        kernels = [o.kernel for o in trial.jumps if o.population == number]
        if any(e.atoms(node) for k in kernels for s in walk(k.body) for e in map(sp.sympify, expressions(s))):
            text += made.of_spike()
        own = [(i, c) for i, c in enumerate(connections) if i in through and c.target == readout.s.p.name]
        text += "".join(made.of_arrival(i, c.receptor, weights if c.by_rows else "real") for i, c in own)
        each = [(i, c) for i, c in own if i in learned and c.delays is not None and c.delays.kind != "axonal"]
        text += "".join(made.of_synapse(i, c.receptor) for i, c in each if synapses)
    return text


def losses_of_spikes(trial: Trial, mark: str, element: Element, constants: Mapping[str, str]) -> str:
    """The functions ``spike_c<i>`` of a trial; element: of what all threads see."""
    loops, connections = Lowering(trial), trial.plan.connections
    terms = [(i, part, b) for o in trial.feedback for i, part, b in o.terms]
    terms += [(o.connection, *t) for o in trial.end_back if isinstance(o, GatherDelays) for t in o.terms]
    before = {i: b for i, part, b in terms if part == "loss" and not connections[i].by_rows}

    def inside(access: Access, write: Callable[[sp.Expr], str]) -> str:
        b = access.buffer
        at = f"{b.name}[{write(access.index[0])}]" if b.role == "scratch" else element(access, write)
        return f"float_of({at})" if b.kind == "half" else at

    text = ""
    for i, rows in sorted(before.items()):
        change = without_unused(
            [Let(EFFECT, sp.Integer(0), changes=True), *loops.of_spike(i, rows, EFFECT), Leave(EFFECT)]
        )
        scratch = "".join(
            f"real {b.name}[{b.axes[0]}];\n"
            for b in (loops.buffers[n] for n in buffers_of(change))
            if b.role == "scratch"
        )
        writer = Writer(Spelling(inside, lambda *_: "", constants, buffers=loops.buffers), Kernel((), {}))
        head = f"{mark} real spike_c{i}(const Trial *t, int64_t sample, int64_t {NOW}, int64_t {SOURCE})"
        text += f"{head} {{\n{indent(scratch + writer.block(change))}}}\n"
    return text


class _Functions:
    """The functions of one file."""

    def __init__(
        self, readout: Voltage, mark: str, element: Element, constants: Mapping[str, str], head: str,
        begin: Callable[[], str], writer: Callable[..., Writer],
    ) -> None:  # fmt: skip
        self.head, self.begin, self.writer = head, begin, writer
        self.tail = readout.s.of_loss and f"_p{readout.s.index}"
        self.readout, self.mark, self._outside = readout, mark, element
        self.spelling = Spelling(self._element, lambda *_: "", constants)
        self.before = self._argument("before")

    def _element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        if access.buffer.role == "argument":
            argument = f"{access.buffer.name}[{write(access.index[0])}]" if access.index else access.buffer.name
            return f"float_of({argument})" if access.buffer.kind == "half" else argument
        return self._outside(access, write)

    def _argument(self, array: str, kind: str = "real") -> Access:
        """An array that is an argument of the function."""
        return Access(Buffer(array, (self.readout.s.N,), kind, "argument"), (N,))

    def of_spike(self) -> str:
        arguments = f"int32_t neuron, const real *before, real {CHANGED}"
        change = loss_changes.of_spike(self.readout, self.before, ROW, EFFECT)
        return self._function(f"loss_change{self.tail}", arguments, change)

    def of_arrival(self, connection: int, receptor: str, weights: str) -> str:
        arguments, row = f"const real *before, const {TYPES[weights]} *row", self._argument("row", weights)
        change = loss_changes.of_arrival(self.readout, receptor, self.before, row, ROW, EFFECT)
        return self._function(f"arrival_c{connection}", arguments, change)

    def of_synapse(self, connection: int, receptor: str) -> str:
        arguments, weight = (
            f"int32_t neuron, const real *before, real {WEIGHT}",
            Buffer(str(WEIGHT), (), role="argument"),
        )
        change = loss_changes.of_arrival(self.readout, receptor, self.before, Access(weight, ()), ROW, EFFECT, NEURON)
        return self._function(f"synapse_c{connection}", arguments, change)

    def _function(self, what: str, arguments: str, change: Sequence[Statement]) -> str:
        body = setting(self.writer(self.spelling, Kernel((), {}), double=True), change)
        return self.head.format(self.mark, what, arguments) + indent(self.begin() + body) + "}\n"
