"""What `program` says of a trial in exact time, as C++: readouts at spikes and at both ends, outer losses, regularisers.

The statements are those of the grid, with times in ms. What happens between events is not generated: it is in
`costates.hpp` and, for a readout, in the file that its `between_events` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sympy as sp

from ....adjoint import DerivedEvent
from ....adjoint.birth import rest_distance
from ....modelling.expressions import symbol
from ....plan import PopulationRecord
from ....plan.series import varies
from ....program.births import CHANGE, birth_is_read
from ....program.compare import comparison
from ....program.events import DL_DT
from ....program.jump import x0_slope
from ....program.nodes import Access, Add, Buffer, Kernel, Set, Statement, name
from ....program.readouts import make_readout
from ....program.readouts.base import NOW
from ....program.readouts.spikes import COUNT
from ....program.regularise import JUMP, TOTAL, Regularise
from ....program.scope import Scope
from ...birth_losses import changed, loss_functions, reads_change
from ...exact_statements import begin_back, jump_back, pushed
from ...statements import Spelling, indent
from ..context import Context
from ..grid.compare import CONSTANTS, auxiliary_losses, compared
from ..grid.lanes import ScalarWriter
from ..grid.memory import Memory
from ..outer import running
from .arguments import given, integers
from .readings import readings_of, reads, time_weights


class ExactMemory(Memory):
    """States, costates, gradients and counts are where a trial in exact time keeps them."""

    def _places(self) -> dict[str, str]:
        found = super()._places()
        for i, p in enumerate(self.plan.populations):
            flow = f"work.p{i}"
            for k, state in enumerate(p.derived.states):
                found |= {f"p{i}_x_{state}": f"{flow}.x[{k}].data", f"p{i}_l_{state}": f"{flow}.mu[{k}].data"}
            for k, n in enumerate(p.trainable):
                found[f"p{i}_w_grad_{n}"] = f"{flow}.grad[{k}].data"
            found[f"p{i}_{JUMP}"] = f"{flow}.jump.data"
            found[f"p{i}_{COUNT}"] = f"args.p{i}_{COUNT} + sample * N_p{i}"
        return found


class ExactProgram:
    """The statements of a plan's trial.

    readings: every readout that a loss asks for, the main loss's own first. readers: those that read V between events.
    """

    def __init__(self, names: Context) -> None:
        self.names, self.plan = names, names.plan
        buffers: dict[str, Buffer] = {}
        pieces = names.pieces
        self.scopes = {
            p.name: Scope(self.plan, p, i, buffers, pieces=pieces) for i, p in enumerate(self.plan.populations)
        }
        numbers = [b for b in buffers.values() if b.role == "number"]
        self.memory = ExactMemory(
            names, [*names.arrays(), *numbers, *self._host_buffers(names)], [*names.integers(), *self._integers(names)]
        )
        for p in names.spiking:
            self.scopes[p.name].each(COUNT, "int", "result")
        self.out = self.scopes[self.plan.output.name]
        self.readouts = {l.output: make_readout(self.scopes[l.output], names.split) for l in self.plan.losses}
        self.readout = self.readouts[self.plan.output.name]
        read = ((self.scopes[name], readout) for name, readout in self.readouts.items())
        self.readings = [r for s, readout in read for r in readings_of(s, readout, self.memory)]
        self.readers = [r for r in self.readings if r.form is not None]
        self.said_all = [r for r in self.readings if r.form is None]
        for r in self.readings:
            self.memory.used |= {b.name: b for b in r.buffers}
        self.regularise = {p.name: Regularise(self.scopes[p.name]) for p in names.spiking}

    def _host_buffers(self, names: Context) -> list[Buffer]:
        """What the host hands over besides what every call has."""
        return given(names)

    def _integers(self, names: Context) -> list[str]:
        return integers(names)

    def functions(self) -> str:
        """`read_trial`, after the pass forwards, and `begin_back`, before the pass backwards; see `piece.hpp` for others."""
        arguments = "([[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, [[maybe_unused]] int64_t sample)"
        if self.names.pieces:
            begin = self._block("".join(self._loop(r.scope, r.readout.begin()) for r in self.said_all))
            functions = {
                "begin_interval": begin, "read_trial": self._block(self._at_spikes()), "end_interval": self._ends(),
                "regularise": self._regularise(), "begin_back_of_interval": self._begin_back(),
            }  # fmt: skip
        else:
            functions = {"read_trial": self._read(), "begin_back": self._begin_back()}
        return "\n".join(f"void {n}{arguments} {{\n{indent(body)}}}\n" for n, body in functions.items())

    # forwards

    def _read(self) -> str:
        """Spike counts and readouts of a completed trial."""
        said = self.said_all
        text = "".join(self._loop(r.scope, r.readout.begin()) for r in said) + self._at_spikes()
        text += "".join(self._loop(r.scope, r.readout.end()) for r in said)
        return (self._block(text) if said else text) + self._finished()

    def _at_spikes(self) -> str:
        """At every spike of the trial, or the new ones of a piece."""
        text, pieces = "", self.names.pieces
        for p in self.names.spiking:
            x, each = self.names.p(p.name), "++counts[neuron];\n"
            for r in reads(self.said_all, p):
                each += self._at_spike(p, "i", self._text(r.scope, r.readout.spiked()))
            each = f"const int neuron = work.{x}.spikes.neuron[i];\n{each}"
            body = f"int32_t* counts = args.{x}_{COUNT} + sample * N_{x};\n"
            body += "" if pieces else f"std::memset(counts, 0, N_{x} * sizeof(int32_t));\n"
            first = f"work.carried[{self.plan.populations.index(p)}]" if pieces else "0"
            body += f"for (int64_t i = {first}; i < work.{x}.spikes.count; ++i) {{\n{indent(each)}}}\n"
            text += f"{{\n{indent(body)}}}\n"
        return text

    def _finished(self) -> str:
        ends = (f"{r.name}.finish(work.p{r.scope.index}, args, {r.result});\n" for r in self.readers)
        return "".join(ends)

    def _ends(self) -> str:
        """Readouts where an interval ends."""
        return self._block("".join(self._loop(r.scope, r.readout.end()) for r in self.said_all)) + self._finished()

    # backwards

    def pushed(self, p: PopulationRecord) -> int:
        """Index of the state whose costate jumps at own spikes, -1 if there is none."""
        return pushed(self.scopes[p.name], self.regularise.get(p.name), [r.readout for r in reads(self.readings, p)])

    def _begin_back(self) -> str:
        """Sets jumps at own spikes, by the spike counts of the trial, and lambda at T; in pieces where an interval ends, but
        for regularisers, which count over the whole recording."""
        text, pieces = "", self.names.pieces
        for p in self.plan.populations:
            s, regulariser, read = self.scopes[p.name], self.regularise.get(p.name), reads(self.readings, p)
            said = [r.readout for r in read if r.form is None]
            body, last = begin_back(s, None if pieces else regulariser, [r.readout for r in read], said)
            if pieces and p in self.regularised:  # they have set them before
                body = [b for b in body if b != Set(JUMP, sp.Integer(0))]
            text += self._total(s) if regulariser and regulariser.whole_layer and not pieces else ""
            text += self._loop(s, [*body, *last])
        return self._block(text)

    def _regularise(self) -> str:
        """Sets jumps at own spikes by the spike counts of the whole recording."""
        text = ""
        for p in self.regularised:
            s, regulariser = self.scopes[p.name], self.regularise[p.name]
            text += (self._total(s) if regulariser.whole_layer else "") + self._loop(s, regulariser.begin_back())
        return self._block(text)

    @property
    def regularised(self) -> list[PopulationRecord]:
        """Populations with regularisers of their spikes."""
        return [p for p in self.names.spiking if self.regularise[p.name].terms]

    def crossing(self) -> str:
        """What losses have read of an interval, which crosses from one piece of a recording to another, see `piece.hpp`."""
        members = self.memory.members().items()
        body = "".join(f"a.some(work.{n}.data, {size});\n" for n, (_, size) in members)
        given = "[[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, [[maybe_unused]] Archive& a"
        return f"template <class Archive>\nvoid cross_read({given}) {{\n{indent(body)}}}\n"

    def _total(self, s: Scope) -> str:
        total, counts = f"{s.prefix}{TOTAL}", self.memory.pointer(s.table[COUNT].buffer)
        return f"int32_t {total} = 0;\nfor (int neuron = 0; neuron < N_p{s.index}; ++neuron) {total} += {counts}[neuron];\n"

    def initial(self, p: PopulationRecord) -> str:
        """The states that a trial starts from, with those of the padding where parameters have it."""
        s, size = self.scopes[p.name], "N" if self.names.device else "NP"
        body = [Set(x, s.expression(e)) for x, e in zip(s.x, p.derived.x0)]
        return self._block(self._loop(s, body, f"{size}_{self.names.p(p.name)}"))

    # the flow between events

    bind = "    bind(args, work);\n"

    def flow(self, p: PopulationRecord) -> str:
        """The type of a population."""
        return f"Costates<Model_{self.names.p(p.name)}, {p.size}, {'true' if varies(p) else 'false'}>"

    def recorders(self) -> list[str]:
        """Members that copy states and costates for the host, see `record.hpp`."""
        return [f"Recorder<type_p{i}> record_p{i};" for i in range(len(self.plan.populations))]

    # models

    def functions_of(self, p: PopulationRecord) -> str:
        """Functions of a population's model, in double precision."""
        parts = [self._lasts(p)]
        parts += [self._resets(p), self._jumps(p)] if p.derived.events else []
        parts += [self._birth_width(p), self._birth_gradients(p)] if self.plan.births(p.name) else []
        return "".join(parts)

    def _lasts(self, p: PopulationRecord) -> str:
        """ms of a mode, -1 if it has no end."""
        timed = "".join(
            f"if (mode == {i}) return {self._in_model(p, {}, real='double')(self._number(p, m.lasts), str)};\n"
            for i, m in enumerate(p.derived.modes) if m.lasts is not None
        )  # fmt: skip
        return function("double lasts(const Args& args, int neuron, int mode)", f"{timed}return -1.0;\n")

    def _resets(self, p: PopulationRecord) -> str:
        """From the state ``x`` before an own event to that ``after`` it."""
        texts = [self._formulas(p, {f"after[{i}]": h for i, h in enumerate(e.h)}) for e in p.derived.events]
        head = "void reset(const Args& args, int neuron, int e, const double* x, double* after)"
        return function(head, chosen("e", texts))

    def _jumps(self, p: PopulationRecord) -> str:
        """Of lambda and of gradients, at an own event, by the state before it; returns E."""
        s, total, texts = self.scopes[p.name], self.scopes[p.name].each(name("w", "result", "E")), []
        for event in p.derived.events:
            places = self._learned(p) | _numbered("x", s.x) | _numbered("lambda", s.lam)
            texts.append(self._scalar(p, jump_back(s, event, "double", total), places | {total: "E"}))
        head = (
            "double jumps(const Args& args, int neuron, int e, int w_mode, const double* x, double dl_dt, double inv_gdot, "
            "double* lambda, Buffer<scalar>* grad)"
        )
        return function(head, f"double E = 0;\n{chosen('e', texts)}return E;\n")

    def _birth_width(self, p: PopulationRecord) -> str:
        """The width of the noise of the threshold function, see `adjoint/birth.py`."""
        body = self._formulas(p, {"*width": rest_distance(p.derived)}) + "*width *= args.spike_birth;\n"
        return function("void birth_width(const Args& args, int neuron, double* width)", body)

    def _birth_gradients(self, p: PopulationRecord) -> str:
        """Gradients of a spike that is about to be born, where lambda jumps by `by` dg/dx."""
        s, slopes = self.scopes[p.name], p.derived.events[0].dg_dp
        by = {n: s.expression(e) for n, e in zip(p.derived.params, slopes) if n in p.trainable and e != 0}
        body = [Add(name("w", "grad", n), e * symbol("by")) for n, e in by.items()]
        head = "void born(const Args& args, int neuron, scalar by, Buffer<scalar>* grad)"
        return function(head, self._scalar(p, body, self._learned(p), ""))

    def _learned(self, p: PopulationRecord) -> dict[sp.Symbol, str]:
        """The places of gradients."""
        s = self.scopes[p.name]
        return {s.each(name("w", "grad", n)): f"grad[{k}].data[neuron]" for k, n in enumerate(p.trainable)}

    def _formulas(self, p: PopulationRecord, results: Mapping[str, sp.Expr]) -> str:
        """Sets results, place -> expression of the model's symbols, by the states ``x``."""
        s = self.scopes[p.name]
        targets = {s.each(name("w", "result", i)): place for i, place in enumerate(results)}
        body = [Set(t, s.expression(e)) for t, e in zip(targets, results.values())]
        return self._scalar(p, body, targets | _numbered("x", s.x))

    def _scalar(
        self, p: PopulationRecord, body: Iterable[Statement], places: Mapping[sp.Symbol, str], real: str = "double"
    ) -> str:
        spelling = Spelling(self._in_model(p, places, real), lambda *_: "", CONSTANTS)
        return ScalarWriter(spelling, self.scopes[p.name].kernel(body)).text()

    def born(self, p: PopulationRecord) -> str:
        """Adds to `change` of a spike `b` that is about to be born what a loss that reads it would change by."""
        readout = self.readouts.get(p.name)
        text = self._text(self.scopes[p.name], birth_is_read(readout, self.names.split)) if readout else ""
        if not text:
            return ""
        now = f"const double {NOW} = Schedule::time_at(args, b.step) + b.s{self._begins};\n"
        head = f"const int neuron = b.neuron;\ndouble& {CHANGE} = change;\n{now if str(NOW) in text else ''}"
        return self._block(head + text)

    def birth_losses(self) -> str:
        """Outer losses of readouts that a spike would change, see `codegen/birth_losses.py`."""
        if not self.plan.spike_birth:
            return ""
        numbers = {p.name: i for i, p in enumerate(self.plan.populations)}

        def losses(population: int, read: bool) -> str:
            def write(spelling: Spelling, kernel: Kernel, double: bool) -> ScalarWriter:
                return ScalarWriter(spelling, kernel)

            readout = self.readouts[self.plan.populations[population].name]
            text = changed(readout, self.memory.element, CONSTANTS, read=read, writer=write)
            return self.memory.pointers() + text

        through = (c for c in self.plan.connections if self.plan.births_through(c) and not self.names.split)
        moved = {numbers[c.target] for c in through if self.plan.adds_up(c.target)}
        births = {n: birth_is_read(r, self.names.split) for n, r in self.readouts.items() if self.plan.births(n)}
        read = [numbers[n] for n, body in births.items() if reads_change(body)]
        given = "[[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, int64_t sample"
        return loss_functions(sorted(moved), read, "__attribute__((noinline)) scalar", given, losses)

    def _number(self, p: PopulationRecord, of: str) -> Access:
        s = self.scopes[p.name]
        return s.table[s.number(of)]

    def _in_model(
        self, p: PopulationRecord, places: Mapping[sp.Symbol, str], real: str = ""
    ) -> Callable[[Access, Callable[[sp.Expr], str]], str]:
        """How a function of a model spells elements: by `places`, or as parameters, which are converted to `real`."""
        s = self.scopes[p.name]
        spelled = {s.table[x].buffer.name: place for x, place in places.items()}

        def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
            if access.buffer.name in spelled:
                return spelled[access.buffer.name]
            number = f"args.{access.buffer.name}[{write(access.index[0])}]"
            return f"{real}({number})" if real else number

        return element

    def initial_gradient(self, p: PopulationRecord) -> str:
        """Gradients of parameters through the initial states."""
        s = self.scopes[p.name]
        learned = {s.each(name("w", "grad", n)): x0_slope(s, n) for n in p.trainable}
        return self._block(self._loop(s, [Add(g, first) for g, first in learned.items() if first != 0]))

    def said(self, p: PopulationRecord) -> str:
        """A function that adds to ``DL_DT`` of the own event that sent spike `index` what readouts do whose statements say all."""
        text = chosen("event", [self._said_at(p, event) if event.emits else "" for event in p.derived.events])
        head = f"void said(const Args& args, Work& work, int64_t sample, int event, int neuron, int64_t index, scalar& {DL_DT})"
        return function(head, self._block(text))

    def _said_at(self, p: PopulationRecord, event: DerivedEvent) -> str:
        s = self.scopes[p.name]
        before = {x: name("b", x) for x in s.x}
        said = [r.readout.time_gradient(event, before) for r in reads(self.readings, p) if r.form is None]
        text = self._text(s, [b for body in said for b in body])
        if not text:
            return ""
        records = "".join(
            f"const scalar {b} = work.p{s.index}.spikes.record[{i + 1}][index];\n"
            for i, b in enumerate(before.values()) if str(b) in text
        )  # fmt: skip
        return records + self._at_spike(p, "index", text)

    @property
    def _begins(self) -> str:
        """What is taken from a time of a recording, so that it is one of the interval."""
        return " - Span::begins(args)" if self.names.pieces else ""

    def _at_spike(self, p: PopulationRecord, index: str, text: str) -> str:
        """At one of the spikes of a population that is read."""
        now = f"const double {NOW} = work.{self.names.p(p.name)}.spike_time[{index}]{self._begins};\n"
        return (now if str(NOW) in text else "") + text

    # between the passes

    def compare(self) -> str:
        """The outer loss of readouts, the main one."""
        once, _ = comparison(self.out, self.readout)
        return compared(self.memory, once)

    def auxiliary(self) -> str:
        """Auxiliary losses, and their readouts for the host."""
        return auxiliary_losses(self.memory, [self._compared(loss.output) for loss in self.plan.auxiliary])

    def _compared(self, output: str) -> str:
        s, readout = self.scopes[output], self.readouts[output]
        if s.plan.loss.readout == "voltage":
            return running(s.of_loss, readings_of(s, readout, self.memory)[0].tail, f"p{s.index}")
        return compared(self.memory, comparison(s, readout, host_slopes=self.names.split)[0])

    def time_weights(self) -> str:
        """Time weights, for the readers."""
        return time_weights([self.scopes[name] for name in self.readouts])

    # text

    def _block(self, text: str) -> str:
        """A block that begins with pointers to the buffers that it names."""
        return f"{{\n{indent(self.memory.pointers() + text)}}}\n" if text else ""

    def _loop(self, s: Scope, body: Iterable[Statement], size: str = "") -> str:
        text, size = self._text(s, body), size or f"N_p{s.index}"
        return f"for (int neuron = 0; neuron < {size}; ++neuron) {{\n{indent(text)}}}\n" if text else ""

    def _text(self, s: Scope, body: Iterable[Statement]) -> str:
        kernel = s.kernel(body)
        return ScalarWriter(Spelling(self.memory.element, lambda *_: "", CONSTANTS), kernel).text() if kernel else ""


def function(head: str, body: str) -> str:
    """A function of a model."""
    return f"static {head} {{\n{indent(body)}}}\n"


def chosen(by: str, texts: list[str]) -> str:
    """One of several texts, by a number."""
    if len(texts) == 1:
        return texts[0]
    return "".join(f"if ({by} == {i}) {{\n{indent(text)}}}\n" for i, text in enumerate(texts) if text)


def _numbered(array: str, symbols: Iterable[sp.Symbol]) -> dict[sp.Symbol, str]:
    return {x: f"{array}[{k}]" for k, x in enumerate(symbols)}
