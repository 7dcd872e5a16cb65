"""`program.trial` as C++: one trial forwards and backwards, neurons over SIMD lanes, what is rare over lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sympy as sp

from ....plan import PopulationRecord
from ....plan.coefficients import basis_size
from ....program.births import BIRTH, KINK
from ....program.lower import Lowering
from ....program.nodes import Buffer, Kernel, Set, name
from ....program.scope import Scope
from ....program.trial import (
    Birth,
    Deliver,
    EachNeuron,
    EachStep,
    Feedback,
    FeedInput,
    Gather,
    GatherDelays,
    Once,
    Record,
    Total,
)
from ...statements import indent
from ...target import Target, finished, step_backwards, step_forwards, write
from ..context import POLL, Context, ends, read, streams
from .between import ConnectionOps
from .carried import Carried
from .compare import auxiliary_losses, begin, compared, loss_functions, printed
from .connections import Connections, tables
from .feedback import FeedbackLoops
from .lists import Lists
from .loops import Loops
from .memory import ACTIVITY, FIRST, GATHERED, KNOWN, LAST, Memory
from .segments import Segments
from .work import Member, work

NOW = "[[maybe_unused]] const int32_t now = int32_t(step);\n"
NUMBERS = """\
[[maybe_unused]] const scalar dt = scalar(args.dt), least_rise = scalar(args.floor);
"""
SEGMENT = "int64_t base = (n_steps - 1) / args.segment * args.segment;  // of the segment there is\n"


class Grid(Target):
    """The text of the trial of a plan; names: of arguments and sizes."""

    recorded, first, last = "args.recorded", FIRST, LAST
    loops_of = Loops
    locate = read("grid/locate.hpp")
    covers = "0, args.n_steps, 0"  # of a loss at every step, and what it begins with

    def __init__(self, names: Context) -> None:
        self.names, self.plan = names, names.plan
        assert names.trial is not None
        self.trial, self.lowering = names.trial, Lowering(names.trial)
        self.carried = Carried(names, self.trial.scopes)
        self.memory = self.carried.memory = Memory(names, self._host_buffers(), self._integers(), self.trial.for_inputs)
        undone = {o.population: o.kernel.body for o in self.trial.jumps}
        self.lists = [Lists(s, undone.get(s.index, ())) for s in self.trial.scopes]
        self.direct: dict[str, Buffer] = {}  # sums of arrivals -> the state that they are added to as they come
        self.loops = {
            s.index: self.loops_of(self.memory, s, self.lists[s.index], self._direct(s)) for s in self.trial.scopes
        }
        by_name = dict(zip((p.name for p in self.plan.populations), self.lists))
        self.others = Connections(self.memory, names, self.trial, self.direct)
        # maxima of all steps are in lists
        births = {s.table[b].buffer.name for s in self.trial.scopes for b in (BIRTH, KINK) if b in s.table}
        self.memory.one_row = self.others.one_row() | births
        self.loops_of_spikes = FeedbackLoops(self.memory, self.trial, self.others)
        self.between = ConnectionOps(self.memory, names, self.trial, by_name, self.others, self.carried)
        self.segments = Segments(self.trial, names, self.memory, self.loops)

    def _host_buffers(self) -> list[Buffer]:
        """What the host hands over, or takes back."""
        plan, buffers = self.plan, self.names.arrays()
        for s in streams(plan):
            kinds = {"steps": ("spikes", "int"), "channels": ("spikes", "int"), "offsets": ("samples", "long")}
            buffers += [Buffer(f"{s}{n}", (axis,), kind, "host") for n, (axis, kind) in kinds.items()]
        made = {b.name for c in self.trial.connections for b in vars(c).values() if b is not None}
        made |= {c.steps.name for c in self.trial.delays if c is not None}
        beside = made | {*ACTIVITY, *(f"p{i}_room" for i in range(len(plan.populations)))}
        buffers += [b for b in self.trial.buffers.values() if b.role in ("host", "number") and b.name not in beside]
        for i, c in enumerate(plan.connections):
            if c.windows is not None:
                arrays = (b for b in vars(self.trial.connections[i]).values() if b is not None)
                buffers += [b for b in arrays if b.role != "gradient"]
            else:
                weight = self.trial.connections[i].weight
                buffers += [replace(weight, kind="half") if self.names.halves and c.by_rows else weight]
                buffers += tables(c, f"c{i}")
        if plan.loss.weight.input_tau is not None:
            buffers += [Buffer(n, (), "double", "host") for n in ("activity_decay", "activity_jump")]
        if plan.loss.readout == "voltage":
            buffers += [Buffer(n, ("nodes",), "real", "host") for n in ("node_scale", "node_part")]
        numbers = (
            Buffer(n, (), kind, "host") for n, kind in (("dt", "real"), ("floor", "real"), ("duration", "double"))
        )
        return [*buffers, *self.carried.buffers(), *numbers]

    def _integers(self) -> list[str]:
        names = self.names
        integers = [*names.integers(), *(f"{names.c(c)}_delay" for c in names.delayed)]
        integers += [f"{names.c(c)}_own" for c in self.plan.connections if c.listed and c.form == "synapses"]
        return [*integers, "ahead", *(["fresh", "before_rows"] if names.carry else [])]

    def outer_buffers(self) -> list[Buffer]:
        """What the loss of the main readouts is about: these, their slopes, and what silent outputs need."""
        silent = self.plan.loss.silent == "end" and self.names.split
        wanted = ["r", "dr", *(["first"] if self.trial.readout.spikes else []), *(["missing"] if silent else [])]
        return [self.trial.buffers[f"{self.names.out}{n}"] for n in wanted]

    def _direct(self, s: Scope) -> dict[sp.Symbol, sp.Symbol]:
        """Sums of arrivals that are added, as they are, to one state."""
        direct = {}
        for r in s.fed():
            moved = [(x, e) for x, e in zip(s.x, s.d.receptors[r]) if e != 0]
            if len(moved) == 1 and moved[0][1] == 1:
                arrived = name("w", "arrived", r)
                direct[arrived] = moved[0][0]
                self.direct[s.table[arrived].buffer.name] = s.table[moved[0][0]].buffer
        return direct

    def text(self) -> list[str]:
        """The memory of a thread and the functions of a trial, but for `compare`."""
        functions = [self._forward(), *([self._replay()] if self.segments.stored and not self.names.pieces else [])]
        self.compare(), self.auxiliary()  # these write into memory of the pass forwards, as does `outer_loss`
        self.memory.used |= {b.name: b for b in self.outer_buffers()}
        forwards = set(self.memory.used)
        functions.append(self._backward())
        changes = loss_functions(self.memory, self.trial)
        return [self.work(forwards, self.others.members()), changes, *functions]

    def work(self, forwards: set[str], more: Sequence[Member]) -> str:
        """The memory of a thread; see `work.work`."""
        return work(self.memory, self.lists, forwards, self.segments.starts(), more)

    # operations

    def record(self, o: Record) -> str:
        # sums of arrivals that go straight into a state are in it already
        nothing = {arrived: sp.Integer(0) for arrived in self.loops[o.population].direct}
        copies = [Set(s.target, s.value.xreplace(nothing)) for s in o.kernel.body if isinstance(s, Set)]
        return super().record(Record(o.population, Kernel(copies, o.kernel.table)))

    def each_neuron(self, o: EachNeuron) -> str:
        return self.loops[o.population].forward(o.kernel)

    def undo(self, o: EachNeuron) -> str:
        return self.loops[o.population].undo(o.kernel)

    def deliver(self, operations: Sequence[Deliver]) -> str:
        return "".join(map(self._deliver, operations)) + self.others.arrive(range(len(self.lists)))

    def _deliver(self, o: Deliver) -> str:
        sums = tuple((part, self.direct.get(b.name, b)) for part, b in o.sums)
        return self.between.deliver(Deliver(o.connection, sums))

    def feedback(self, operations: Sequence[Feedback]) -> str:
        return "".join(map(self.loops_of_spikes.of_spikes, operations))

    def birth(self, o: Birth) -> str:
        return self.loops_of_spikes.births(o)

    def gather(self, o: Gather) -> str:
        return self.between.gather(o)

    def gather_delays(self, o: GatherDelays) -> str:
        return self.between.gather(o) + self.loops_of_spikes.of_delays(o)

    def gather_early(self) -> str:
        return (
            self.others.keep_blocks()
            + self.others.keep_late()
            + self.others.gather_kept()
            + self.between.gather_listed()
        )

    def restore(self) -> str:
        again = "if (step - 1 < base) replay(args, work, sample, base -= args.segment);\n"
        return again if self.segments.stored else ""

    def feed_input(self, o: FeedInput) -> str:
        return self.loops_of_spikes.times(o)

    def total(self, o: Total) -> str:
        return f"int32_t {o.into.name};\n" + printed(self.memory, self.lowering.buffers, self.lowering.total(o))

    def once(self, o: Once) -> str:
        return compared(self.memory, o.kernel)

    def each_step(self, o: EachStep) -> str:
        """Of the loss of V at every step, whose loop is `voltage.hpp`."""
        driven = "true" if self.plan.loss.weight.input_tau is not None else "false"
        J = basis_size(self.plan, self.plan.output)
        return f"args.loss[sample] = voltage_loss<{J}, {driven}>(args, work, sample, {self.covers});\n"

    # functions

    def _function(self, head: str, body: str) -> str:
        begin = self.memory.pointers() + self.numbers + "\n".join(ends(self.plan)) + "\n"
        return f"__attribute__((noinline)) {head} {{\n{indent(begin + body)}}}\n"

    def _forward(self) -> str:
        t, names = self.trial, [n for lists in self.lists for n in lists.sizes()]
        body = NUMBERS + "".join(map(self.empty, names))
        body += self.between.first_arrivals(range(len(self.lists)), FIRST) + self.begun()
        steps = indent(POLL + "\n" + NOW + self.segments.keep() + step_forwards(self))
        body += f"for (int64_t step = {FIRST}; step < {LAST}; ++step) {{\n{steps}}}\n"
        body += "".join(self._diverged(i, p) for i, p in enumerate(self.plan.populations))
        ends = [lists.name(lists.n_events) for lists in self.lists if lists.timed]
        body += "".join(f"{n}.start[{LAST} + 1] = {n}.start[{LAST}];\n" for n in ends)
        body += self.at(LAST, write(self, t.end))
        body += "".join(self._counts(i, p) for i, p in enumerate(self.plan.populations) if p.spiking)
        body += self.ended() + "return 0;\n"
        return self._function("int forward(const Args& args, Work& work, int64_t sample)", body)

    def more(self) -> dict[str, Any]:
        """What surrounds the functions of a piece."""
        return {}

    # where a trial, or a piece of it, begins and ends

    numbers = f"""\
const int64_t n_steps = args.n_steps;
[[maybe_unused]] const int64_t {FIRST} = 0, {LAST} = n_steps, {KNOWN} = 0, {GATHERED} = n_steps;
"""

    def at(self, step: str, text: str) -> str:
        """Text at the end of the steps."""
        return f"{{\n{indent(f'[[maybe_unused]] const int64_t step = {step};' + chr(10) + text)}}}\n" if text else ""

    def empty(self, name: str) -> str:
        """Empties a list."""
        return f"{name}.count = 0, {name}.start[{FIRST}] = {name}.start[{FIRST} + 1] = 0;\n"

    def begun(self) -> str:
        """Before the first step."""
        find = (
            "find_activity(args, work, from, to, 0, n_steps, 0);\n"
            if self.plan.loss.weight.input_tau is not None
            else ""
        )
        carried = self.carried.begin() + self.others.begin(range(len(self.lists)))
        return find + write(self, self.trial.begin) + carried + self.between.sum_known()

    def ended(self) -> str:
        """Behind the last step."""
        return self.carried.end()

    def begun_back(self) -> str:
        """Before the first step backwards."""
        return write(self, self.trial.begin_back) + (SEGMENT if self.segments.stored else "")

    def over(self) -> str:
        """Behind the last step backwards."""
        return finished(self)

    def _diverged(self, i: int, p: PopulationRecord) -> str:
        """A state that is infinite or NaN at the end of the trial: it stays so once it is."""
        states = [self.memory.pointer(self.trial.scopes[i].table[x].buffer) for x in self.trial.scopes[i].x]
        return "".join(
            f"if (const int n = first_diverged<N_p{i}>({x}); n >= 0) return diverged(work, {i}, {k}, n);\n"
            for k, x in enumerate(states)
        )

    def _counts(self, i: int, p: PopulationRecord) -> str:
        count = self.memory.pointer(self.trial.scopes[i].table[name("w", "count")].buffer)
        size = f"N_p{i}"
        return f"std::memcpy(args.{count} + sample * {size}, {count}, {size} * sizeof(int32_t));\n"

    def _replay(self) -> str:
        body = self.segments.again(self._deliver, self.between, self.others)
        return self._function("void replay(const Args& args, Work& work, int64_t sample, int64_t base)", body)

    def _backward(self) -> str:
        self.memory.row = "(step - base)"
        body = self.begun_back() + self.others.begin_back()
        steps = indent(POLL + "\n" + NOW + self.others.take_kept() + step_backwards(self))
        body += f"for (int64_t step = {LAST}; step >= {FIRST}; --step) {{\n{steps}}}\n"
        body += self._clear() + self.over()
        head = "void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first)"
        return self._function(head, body)

    def _clear(self) -> str:
        """Gradients of neurons' parameters, before the first sample of a slice."""
        rows = [(f"AT_p{i}_G_{n}", f"NP_p{i}") for i, p in enumerate(self.plan.populations) for n in p.trainable]
        lines = [f"std::memset(slice + {at}, 0, {N} * sizeof(scalar));\n" for at, N in rows]
        return f"if (first) {{\n{indent(''.join(lines))}}}\n" if lines else ""

    # between the passes

    def compare(self) -> str:
        """The outer loss, the main one."""
        if self.names.split or not self.trial.compare:  # the host has found it
            return ""
        # of a loss at every step, whose `Once` does what `outer_loss` does
        main = self.trial.compare[1:2] if self.plan.loss.readout == "voltage" else self.trial.compare[:1]
        return write(self, main)

    def auxiliary(self) -> str:
        """Auxiliary losses, and their readouts for the host; of halves, with what the host has found."""
        if not self.plan.auxiliary:
            return ""
        _, *others = [k for k, o in enumerate(self.trial.compare) if isinstance(o, Once)]  # one of every loss
        if not others:
            return auxiliary_losses(self.memory, [])
        text = printed(self.memory, self.lowering.buffers, self.lowering.operations(self.trial.compare[others[0] :]))
        return auxiliary_losses(self.memory, [begin(self.memory, text)])
