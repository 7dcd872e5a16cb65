"""`program.trial` as C++: one trial forwards and backwards, neurons over SIMD lanes, what is rare over lists."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from ....plan import PopulationRecord
from ....plan.numbers import basis_size
from ....program.nodes import Buffer, name
from ....program.scope import Scope
from ....program.trial import (
    Deliver,
    EachNeuron,
    Feedback,
    FeedInput,
    Gather,
    GatherDelays,
    Once,
    Operation,
    Total,
    make_trial,
)
from ...statements import indent
from ..context import Context
from ..kinds import ends, stream
from .between import Between
from .carried import Carried
from .compare import auxiliary_losses, compared
from .connections import Connections
from .lists import Lists
from .loops import Loops
from .memory import Memory
from .segments import Segments, around_arrivals
from .work import work

NOW = "[[maybe_unused]] const int32_t now = int32_t(step);\n"
NUMBERS = """\
[[maybe_unused]] const scalar dt = scalar(args.dt), least_rise = scalar(args.slope_floor * args.dt);
"""


class Grid:
    """The text of the trial of a plan; names: of arguments and sizes."""

    def __init__(self, names: Context) -> None:
        self.names, self.plan = names, names.plan
        self.trial = make_trial(names.plan, split=names.split, carry=names.carry)
        self.memory = Memory(names, self.trial.for_inputs)
        undone = {o.population: o.kernel.body for o in self.trial.jumps if isinstance(o, EachNeuron)}
        self.lists = [Lists(s, undone.get(s.index, ())) for s in self.trial.scopes]
        self.direct: dict[str, Buffer] = {}  # sums of arrivals -> the state that they are added to as they come
        self.loops = {s.index: Loops(self.memory, s, self.lists[s.index], self._direct(s)) for s in self.trial.scopes}
        by_name = dict(zip((p.name for p in self.plan.populations), self.lists))
        self.others = Connections(self.memory, names, self.trial, self.direct)
        self.memory.one_row = self.others.one_row()
        self.carried = Carried(self.memory, names, self.trial.scopes)
        self.between = Between(self.memory, names, self.trial, by_name, self.others, self.carried)
        self.segments = Segments(self.trial, names, self.memory, self.loops)

    def _direct(self, s: Scope) -> dict[sp.Symbol, sp.Symbol]:
        """Sums of arrivals that are added, as they are, to one state."""
        found = {}
        for r in s.fed():
            moved = [(x, e) for x, e in zip(s.x, s.d.receptors[r]) if e != 0]
            if len(moved) == 1 and moved[0][1] == 1:
                arrived = name("w", "arrived", r)
                found[arrived] = moved[0][0]
                self.direct[s.table[arrived].buffer.name] = s.table[moved[0][0]].buffer
        return found

    @property
    def signed(self) -> bool:
        """Whether rows are added of which only the weights of one sign count."""
        return any(len(o.sums) > 1 for o in self.trial.step if isinstance(o, Deliver))

    def text(self) -> list[str]:
        """The memory of a thread and the functions of a trial, but for `compare`."""
        functions = [self._forward(), *([self._replay()] if self.segments.stored else [])]
        self.compare(), self.auxiliary()  # these write into memory of the pass forwards
        forwards = set(self.memory.used)
        functions.append(self._backward())
        return [work(self.memory, self.lists, forwards, self.segments.kept(), self.others.members()), *functions]

    # operations

    def _all(self, operations: Iterable[Operation]) -> str:
        return "".join(self._operation(o) for o in operations)

    def _operation(self, o: Operation) -> str:
        if isinstance(o, EachNeuron):
            return self.loops[o.population].forward(o.kernel)
        if isinstance(o, Deliver):
            sums = tuple((part, self.direct.get(b.name, b)) for part, b in o.sums)
            return self.between.deliver(Deliver(o.connection, sums))
        if isinstance(o, Feedback):
            return self.between.feedback(o)
        if isinstance(o, (Gather, GatherDelays)):
            return self.between.gather(o)
        if isinstance(o, FeedInput):
            return self.between.feed_input(o)
        assert isinstance(o, Total)
        total, of = self.memory.numbers[o.into.name], self.memory.pointer(o.of)
        N = f"N_p_{self.memory.population(o.of).name}"
        return f"int32_t {total} = 0;\nfor (int neuron = 0; neuron < {N}; ++neuron) {total} += {of}[neuron];\n"

    # functions

    def _function(self, head: str, body: str) -> str:
        begin = self.memory.pointers() + "const int64_t n_steps = args.n_steps;\n" + "\n".join(ends(self.plan)) + "\n"
        return f"__attribute__((noinline)) {head} {{\n{indent(begin + body)}}}\n"

    def _forward(self) -> str:
        t, names = self.trial, [n for lists in self.lists for n in lists.sizes()]
        body = NUMBERS + "".join(f"{n}.count = 0, {n}.start[0] = {n}.start[1] = 0;\n" for n in names)
        body += "find_activity(args, work, from, to);\n" if self.plan.loss.weight.input_tau is not None else ""
        every = range(len(self.lists))
        body += self._all(t.begin) + self.carried.begin() + self.others.begin(every) + self.between.sum_known()
        late = (c for c in self.names.from_input if not self.others.known(c))
        body += "".join(f"int64_t next_{c.name} = {stream(c)}from;\n" for c in late)
        steps = self.others.arrive(every).join(map(self._all, around_arrivals(t)))
        steps = indent(NOW + self.segments.keep() + steps)
        body += f"for (int64_t step = 0; step < n_steps; ++step) {{\n{steps}}}\n"
        body += "".join(self._diverged(i, p) for i, p in enumerate(self.plan.populations))
        ends = [lists.name(lists.n_events) for lists in self.lists if lists.timed]
        body += "".join(f"{n}.start[n_steps + 1] = {n}.start[n_steps];\n" for n in ends)
        end = self._all(t.end)
        body += f"{{\n{indent('[[maybe_unused]] const int64_t step = n_steps;' + chr(10) + end)}}}\n" if end else ""
        body += "".join(self._counts(i, p) for i, p in enumerate(self.plan.populations) if p.spiking)
        body += self.carried.end() + "return 0;\n"
        return self._function("int forward(const Args& args, Work& work, int64_t sample)", body)

    def _diverged(self, i: int, p: PopulationRecord) -> str:
        """A state that is infinite or NaN at the end of the trial: it stays so once it is."""
        states = [self.memory.pointer(self.trial.scopes[i].table[x].buffer) for x in self.trial.scopes[i].x]
        return "".join(
            f"if (const int n = first_diverged<N_p_{p.name}>({x}); n >= 0) return diverged(work, {i}, {k}, n);\n"
            for k, x in enumerate(states)
        )

    def _counts(self, i: int, p: PopulationRecord) -> str:
        count = self.memory.pointer(self.trial.scopes[i].table[name("w", "count")].buffer)
        size = f"N_p_{p.name}"
        return f"std::memcpy(args.p_{p.name}_counts + sample * {size}, {count}, {size} * sizeof(int32_t));\n"

    def _replay(self) -> str:
        body = self.segments.again(self._operation, self.between, self.others)
        return self._function("void replay(const Args& args, Work& work, int64_t sample, int64_t base)", body)

    def _backward(self) -> str:
        t, stored = self.trial, self.segments.stored
        self.memory.row = "(step - base)"
        body = self._all(t.begin_back)
        body += (
            "int64_t base = (n_steps - 1) / args.segment * args.segment;  // of the segment there is\n"
            if stored
            else ""
        )
        body += self.others.begin_listed()
        leave = self._all(t.before_jumps) + self.between.gather_listed()
        steps = f"if (step < n_steps) {{\n{indent(leave)}}}\n" if leave else ""
        steps += self._all(t.feedback)
        steps += "".join(self.loops[o.population].undo(o.kernel) for o in t.jumps if isinstance(o, EachNeuron))
        steps += "if (step == 0) break;\n"
        steps += "if (step - 1 < base) replay(args, work, sample, base -= args.segment);\n" if stored else ""
        steps += self._all(t.retreat)
        body += f"for (int64_t step = n_steps; step >= 0; --step) {{\n{indent(NOW + steps)}}}\n"
        body += self._clear() + self.others.fill_series() + self._all(t.end_back)
        head = "void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first)"
        return self._function(head, body)

    def _clear(self) -> str:
        """Gradients of neurons' parameters, before the first sample of a slice."""
        rows = [(f"{p.name}.{n}", f"NP_p_{p.name}") for p in self.plan.populations for n in p.trainable]
        lines = [f"std::memset(slice + {self.names.gradients[n][0]}, 0, {N} * sizeof(scalar));\n" for n, N in rows]
        return f"if (first) {{\n{indent(''.join(lines))}}}\n" if lines else ""

    # between the passes

    def compare(self) -> str:
        """The outer loss, the main one."""
        if self.names.split or not self.trial.compare:  # the host has found it
            return ""
        if self.plan.loss.readout == "voltage":
            driven = "true" if self.plan.loss.weight.input_tau is not None else "false"
            J = basis_size(self.plan, self.plan.output)
            return f"args.loss[sample] = voltage_loss<{J}, {driven}>(args, work, sample);\n"
        once = self.trial.compare[0]
        assert isinstance(once, Once)
        return compared(self.memory, once.kernel)

    def auxiliary(self) -> str:
        """Auxiliary losses, and their readouts for the host; of halves, with what the host has found."""
        if not self.plan.auxiliary:
            return ""
        others = [o for o in self.trial.compare[-len(self.plan.auxiliary) :] if isinstance(o, Once)]
        return auxiliary_losses(self.memory, [o.kernel for o in others])
