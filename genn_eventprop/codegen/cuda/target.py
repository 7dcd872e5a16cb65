"""`program.trial` as CUDA text. Input: a `Plan`. Output: `Source`, the text and how its kernels are called.

Where a buffer lives follows from its use: values of a neuron that only the neuron itself uses are in registers, those that
others read in shared memory; rows, lists and results are in global memory, with a part for every sample. One kernel runs
a whole trial, a block a sample: a step of a small network takes less time than a launch. Every sum has a fixed order, so
that two runs have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources

import sympy as sp

from ...plan import Plan
from ...program.nodes import NEURON, SAMPLE, Access, Buffer, Kernel, Statement, Undo, When, name
from ...program.passes import buffers_of
from ...program.trial import (
    Deliver,
    EachNeuron,
    EachStep,
    Feedback,
    Gather,
    GatherDelays,
    Once,
    Operation,
    Total,
    Trial,
    make_trial,
)
from ..equations import equations
from ..layout import RANGE
from ..printer import C_REAL
from ..safe_text import in_comment
from ..shared import shared
from ..statements import TYPES, Spelling, Writer, indent
from ..target import Target, compared, finished, gathered, step_backwards, step_forwards, write
from .blocks import count, declare_shared, each_neuron, runtime, shared_bytes
from .connections import ConnectionOps
from .events import Events
from .exact import ExactKernels
from .exact import head as exact_head
from .gathers import ERRORS, FLIGHT, GATHERING, WARP, Gathers, group_buffers
from .synapses import CONSTANTS, Synapses

INLINE = "__device__ inline"
MOST_THREADS = 512
"""Of a block, a neuron each up to there. Beyond, 128 registers of each keep the states of 4,096 neurons."""
REGISTERS = 65536  # of a multiprocessor
FIXED = 40  # registers that a thread needs beside those of its neurons: rows on their way, addresses, counters
DATA = (
    Buffer("by_channel", ("spikes",), "int", "host"), Buffer("channel_start", ("samples", "n_channels"), "long", "host"),
    *ERRORS,
)  # fmt: skip
DATA_SET = ("steps", "times", "channels", "offsets", "by_channel", "channel_start")
"""Arrays of the data set, which are on the device before a batch."""
ROUND, ROUND_BLOCKS = "round_weights", 64
OF_DOUBLE = "real_"
"""Before the name of a number that kernels take in their own precision beside the double."""
HAPPENED = name("w", "happened")  # how many entries a neuron's list of events has
MOST_BYTES = 32764  # of a kernel's parameters, since CUDA 12.1
REAL_BYTES = {"float32": 4, "float64": 8}
SUMS = Buffer("sums", (MOST_THREADS // WARP,), "double", "state")  # of a block, one a warp


@dataclass(frozen=True)
class Source:
    """Generated code and how it is called.

    trial: None with exact spike times, where there are no steps to write it in. arrays, numbers, doubles, integers: fields of the struct that every kernel takes, in order, 8 bytes each. numbers:
    in the precision of the kernels; by_value: kernels take the struct itself, not its address. lengths: run-time axes
    of arrays. kernels: names of the trial's, one, or two for the halves of a split one; threads: of their blocks;
    shared: their bytes of shared memory. gathers: (kernel, blocks) that make the gradients, in order, with blocks of
    `GATHERING` threads.
    """

    text: str
    trial: Trial | None
    arrays: tuple[Buffer, ...]
    numbers: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]
    by_value: bool
    kernels: tuple[str, ...]
    threads: int
    shared: int
    gathers: tuple[tuple[str, int], ...]

    @cached_property
    def lengths(self) -> tuple[str, ...]:
        axes = {a for b in self.arrays if b.name not in DATA_SET for a in b.axes if isinstance(a, str)}
        return tuple(sorted(axes | {"batch"}))


def generate(plan: Plan, dtype: str, split: bool = False, halves: bool = False, events: bool = False) -> Source:
    """CUDA C++ for a plan; dtype "float32" or "float64"; split: the two passes are two kernels. halves: weights are float16,
    rounded from their masters by another kernel, `ROUND`. events: exact spike times by `events.py`."""
    if plan.spike_times == "exact":
        return _by_events(plan, dtype, split) if events else _exact(plan, dtype, split)
    trial = make_trial(plan, split=split, evaluates=True)
    if halves:
        trial = replace(trial, buffers=trial.buffers | _half_weights(trial))
    return source(Kernels(trial, REAL_BYTES[dtype]), dtype, halves)


def source(text: Kernels, dtype: str, halves: bool) -> Source:
    """The file of some kernels."""
    plan, real = text.plan, C_REAL[dtype]
    files = resources.files(__package__)
    grid, gathers = (files.joinpath(f"{name}.cuh").read_text() for name in ("grid", "gathers"))
    library = [
        runtime(text.threads),
        f"#define FLIGHT {FLIGHT}\n",
        grid,
        *(shared(name, INLINE) for name in ("phi1.h", "functions.h", "stochastic.h")),
    ]
    if halves:
        library += [shared("half.h", INLINE), files.joinpath("half.cuh").read_text()]
    trials = text.trials()
    text.gathers.sum_neurons()
    kernels = [
        *([text.round()] if halves else []),
        *trials.values(),
        gathers,
        *gathered(text),
        *text.gathers.kernels(text.parameter, text.struct_pointer),
    ]
    losses = text.loops.spikes(INLINE) + text.loops.arrivals(INLINE)
    head = [equations(plan, "//"), f"typedef {real} real;\n", *library, text.struct("double"), losses]
    return Source(
        "\n".join(head + kernels), text.trial, text.arrays, text.numbers, text.doubles, text.integers, text.by_value,
        tuple(trials), text.threads, text.shared_bytes, tuple(text.gathers.launches),
    )  # fmt: skip


def _exact(plan: Plan, dtype: str, split: bool) -> Source:
    """The same with exact spike times, see `exact.py`."""
    text = ExactKernels(plan, split, threads_of(plan))
    trials, (gathers, launches) = text.trials(), text.gathers()
    parts = [*exact_head(plan, C_REAL[dtype], text.threads), text.struct("double"), text.functions()]
    return Source(
        "\n".join([*parts, *trials.values(), gathers]), None, text.arrays, (), text.doubles, text.integers, True,
        tuple(trials), text.threads, text.shared_bytes, launches,
    )  # fmt: skip


def _by_events(plan: Plan, dtype: str, split: bool) -> Source:
    text = Events(plan, dtype, split)
    return Source(
        text.text(), None, text.arrays, (), text.doubles, text.integers, True, text.kernels, text.threads, text.shared,
        text.gathers[1],
    )  # fmt: skip


def _half_weights(trial: Trial) -> dict[str, Buffer]:
    """Buffers of weights as float16, of their masters, and of the size of the largest one of every connection."""
    buffers = {"largest": Buffer("largest", ("connections",), "int", "error")}
    for i, c in enumerate(trial.connections):
        buffers[c.weight.name] = replace(c.weight, kind="half")
        if not trial.plan.connections[i].shares:
            buffers[f"c{i}_master"] = replace(c.weight, name=f"c{i}_master")
    return buffers


def threads_of(plan: Plan) -> int:
    """Of a block."""
    widest = max(p.size for p in plan.populations)
    return min(-(-widest // WARP) * WARP, MOST_THREADS)


def side_by_side(threads: int, values: int) -> int:
    """How many blocks of a trial a multiprocessor has registers for; values: of the neurons of a thread."""
    return min(max(REGISTERS // ((FIXED + values) * threads), 1), 4)


class Kernels(ConnectionOps, Target):
    """The kernels of one file: of a trial, and those that gather gradients."""

    gathers_of = Gathers
    more_integers: tuple[str, ...] = ("n_channels", "adding")  # that the host hands over besides those of `Layout`

    def __init__(self, trial: Trial, real_bytes: int) -> None:
        sums = [replace(b, name=f"{b.name}_sum", role="sum") for b in trial.buffers.values() if of_neurons(b)]
        groups = [b for i, c in enumerate(trial.plan.connections) for b in group_buffers(i, c)]
        gathering = [o.connection for o in trial.end_back if isinstance(o, Gather | GatherDelays)]
        numbers = trial.plan.numbers
        # gathers read the spikes of these from lists, instead of looking for bits in all steps
        senders = {numbers[s] for i in gathering if (s := trial.plan.connections[i].source) in numbers}
        self.listed = {
            p: Buffer(f"p{p}_sent_at", (trial.plan.populations[p].size, f"p{p}_room"), "int", "stored")
            for p in sorted(senders)
        }
        super().__init__(trial, [*DATA, *sums, *groups, *self.listed.values()], self.more_integers)
        self.loops = Synapses(trial, lambda access, write: self._element(access, write, inside=False))
        self.gathers = self.gathers_of(self, self.loops)
        self.threads = threads_of(self.plan)
        self.newest = {b.name for o in trial.jumps for b in _newest(o)}
        self.bytes = {"real": real_bytes, "double": 8, "int": 4, "long": 8, "bits": 4, "key": 8, "short": 2, "half": 2}
        self._place(self.buffers)

    def _place(self, every: Iterable[Buffer]) -> None:
        """Decides between registers, shared and global memory, and what one half of a split trial hands to the other."""
        trial, seen = self.trial, self._seen_by_others()
        small = [b for b in every if b.role in ("state", "stored") and len(b.axes) <= 1]
        self.results = [b for b in every if b.role == "result" and len(b.axes) == 1 and b.axes[0] != "batch"]
        self.shared = [b for b in small if b.name in seen or not b.axes]
        self.registers = [b for b in small if b not in self.shared] + self.results
        placed = {b.name for b in small}
        carried = self._carried()
        self.carried = [b for b in (*self.registers, *self.shared) if b.name in carried]
        copies = [replace(b, name=f"kept_{b.name}", role="stored") for b in self.carried if b not in self.results]
        single = tuple(b for b in every if b.role == "number" and b.axes == (1,) and b.name.startswith("p"))
        self.arrays = (*(b for b in every if b.axes and b.name not in placed and b not in single), *copies)
        # one for all neurons: a field of the struct, which is in the constant bank and takes no load; and no conversion
        # from double in the step
        real = (replace(b, name=f"{OF_DOUBLE}{b.name}") for b in self.doubles if b.kind == "real")
        self.numbers = (*single, *real)
        # the struct itself is the parameter of every kernel, as long as parameters have room for it
        self.by_value = 8 * sum(map(len, (self.arrays, self.numbers, self.doubles, self.integers))) <= MOST_BYTES
        self.parameter = "const __grid_constant__ Trial t_" if self.by_value else "const Trial *__restrict__ t"
        self.struct_pointer = "const Trial *const t = &t_;\n" if self.by_value else ""
        now = [Buffer(f"p{i}_now", (2, self._words(i)), "bits", "state") for i in trial.spikes]
        now += [Buffer(f"p{o.population}_born", (self._words(o.population),), "bits", "state") for o in trial.births]
        sums = [SUMS] if any(isinstance(o, EachStep) for o in trial.compare) else []
        self.shared = sorted(
            [*self.shared, *now, *sums, *self.lists()], key=lambda b: -self.bytes[b.kind]
        )  # aligned by size
        self.shared_bytes = shared_bytes(self.shared, self.bytes)

    def _carried(self) -> set[str]:
        """Buffers that one kernel of a trial hands to the other."""
        if not self.trial.split:
            return set()
        return self._used(self.trial.forwards) & self._used(self.trial.backwards)

    def _used(self, operations: Iterable[Operation]) -> set[str]:
        """Buffers of operations."""
        return buffers_of(self.loops.operations(operations))

    def _seen_by_others(self) -> set[str]:
        """Buffers of neurons that are also used outside the kernels of these neurons."""

        # through rows of dense weights a thread adds to the sums of its own neurons, which may stay in registers
        def by_others(o: Operation) -> bool:
            table = isinstance(o, Deliver) and self.plan.connections[o.connection].form != "dense"
            return table or isinstance(o, Once | EachStep | Feedback)

        seen = self._used(o for o in (*self.trial.forwards, *self.trial.backwards) if by_others(o))
        return seen | {o.into.name for o in self.trial.births}

    # elements and structure

    def _element(self, access: Access, write: Callable[[sp.Expr], str], inside: bool = True) -> str:
        """An element where its buffer lives; inside a kernel of one neuron a register has the index of its slot."""
        b, of_this_neuron = access.buffer, access.index == (NEURON,)
        if b in self.shared:
            return f"{b.name}[{write(access.index[0])}]" if b.axes else f"*{b.name}"
        if inside and of_this_neuron and b in self.registers:
            return f"{b.name}[i]"
        if b in self.numbers:
            return f"t->{b.name}"
        if inside and not b.axes and b in self.doubles and b.kind == "real":
            return f"t->{OF_DOUBLE}{b.name}"
        if b.name in self.newest and access.index[1] == HAPPENED - 1:
            return f"{b.name}_newest[i]"
        index = [write(i) for i in access.index]
        if len(index) == 2 and str(b.axes[1]).endswith(
            "room"
        ):  # neurons side by side: threads of a warp then write one line
            b, index = replace(b, axes=b.axes[::-1]), index[::-1]
        text = self._in_struct(b, index)
        return f"float_of({text})" if b.kind == "half" else text

    def _of_sample(self, b: Buffer) -> bool:
        return of_sample(b)

    # the kernels of a trial

    def trials(self) -> dict[str, str]:
        """name -> text."""
        forwards, between, backwards = self._forwards(), compared(self), self._backwards()
        if not self.trial.split:
            return {"trial": self._block("trial", f"{forwards}{between}if (!t->training) return;\n{backwards}")}
        backwards = f"int64_t step = 0;\n{self._carry('load')}__syncthreads();\n{between}{backwards}"
        return {
            "forwards": self._block("forwards", forwards + self._carry("keep")),
            "backwards": self._block("backwards", backwards),
        }

    def round(self) -> str:
        """The kernel that rounds weights, `ROUND_BLOCKS` blocks of `GATHERING` threads."""
        text = f"const int64_t thread = (int64_t)blockIdx.x * {GATHERING} + threadIdx.x;\n"
        for i, c in enumerate(self.trial.connections):
            if not self.plan.connections[i].shares:
                rows, of = f"(Half *)(const Half *)t->c{i}_weight", in_comment(self.plan.connections[i].name)
                arguments = (
                    f"t->c{i}_master, {rows}, {count(c.weight)}, t->largest + {i}, thread, {ROUND_BLOCKS * GATHERING}"
                )
                text += f"round_rows({arguments});  // {of}\n"
        head = f'extern "C" __global__ void __launch_bounds__({GATHERING}) {ROUND}({self.parameter}) {{\n'
        return f"{head}{indent(self.struct_pointer + text)}}}\n"

    def _block(self, name: str, body: str) -> str:
        """A kernel with a block for every sample."""
        # blocks side by side that registers allow; without it ptxas spills on sm_80
        values = sum(self._slots(population_of(b)) * max(self.bytes[b.kind] // 4, 1) for b in self.registers)
        bounds = f"{self.threads}, {side_by_side(self.threads, values)}"
        head = f'extern "C" __global__ void __launch_bounds__({bounds}) {name}({self.parameter}) {{\n'
        start = f"{self.struct_pointer}const int64_t sample = blockIdx.x;\n"
        start += "[[maybe_unused]] const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n"
        return head + indent(f"{start}[[maybe_unused]] {RANGE}{self._memory(body)}{body}") + "}\n"

    def _memory(self, body: str) -> str:
        """Declares the registers and shared memory that a body uses."""
        # only those that the body uses: each declared one would cost a register
        registers = (b for b in self.registers if f"{b.name}[i]" in body)
        lines = (f"{TYPES[b.kind]} {b.name}[{self._slots(population_of(b))}];\n" for b in registers)
        return declare_shared(self.shared, self.bytes, body) + "".join(lines)

    def _forwards(self) -> str:
        """The pass forwards; results go to global memory."""
        text = self._before_steps() + write(self, self.trial.begin, "start of") + self._clear_spikes()
        text += self._clear_rings() + "__syncthreads();\n"
        return text + self._steps() + write(self, self.trial.end, "end of") + self._results()

    def _steps(self) -> str:
        return f"for (step = {self.first}; step < {self.last}; ++step) {{\n{indent(step_forwards(self))}}}\n"

    def _results(self) -> str:
        """Results in global memory, where all threads see them; the trial ends here if it must run again."""
        text = ""
        for b in self.results:
            text += self._over(
                population_of(b), f"t->{b.name}[sample * {b.axes[0]} + neuron] = {b.name}[i];\n", "results"
            )
        # `_full` has a barrier of its own, behind which what all threads have written is seen
        return text + (self._full() or "__syncthreads();\n")

    def _backwards(self) -> str:
        """The pass backwards."""
        return (
            write(self, self.trial.begin_back, "start backwards of") + self._steps_back() + finished(self, apart=True)
        )

    def _steps_back(self) -> str:
        """From the last step to the first; the loop ends inside its body."""
        text = self.before_steps_back() + "".join(self._newest_events(o) for o in self.trial.jumps)
        return f"{text}for (step = {self.last};; --step) {{\n{indent(step_backwards(self))}}}\n"

    def _newest_events(self, o: EachNeuron) -> str:
        """Declares and loads the entry at the end of the list of every neuron, see `_NewestWriter`."""
        names = [b.name for b in _newest(o)]
        declared = "".join(f"{TYPES[b.kind]} {b.name}_newest[{self._slots(o.population)}];\n" for b in _newest(o))
        if not names:
            return ""
        happened = self._element(o.kernel.table[HAPPENED], str)
        load = f"const int32_t w_happened = {happened};\n{self._load_newest(o)}"
        return declared + self._over(o.population, load, "newest events")

    def _load_newest(self, o: EachNeuron) -> str:
        """Asks for the entry at the end of the neuron's list; a step that no event has marks an empty one."""
        p, room = f"p{o.population}", f"t->p{o.population}_room"
        size = self.plan.populations[o.population].size
        place = f"(sample * {room} + w_happened - 1) * {size} + neuron"
        loads = "".join(f"{b.name}_newest[i] = t->{b.name}[{place}];\n" for b in _newest(o))
        return f"{p}_e_step_newest[i] = -1;\nif (w_happened > 0) {{\n{indent(loads)}}}\n"

    def _carry(self, way: str, names: Container[str] | None = None) -> str:
        """Copies what the halves of a trial share to global memory (keep), or back (load); names: of some of it."""
        text = ""
        for b in (b for b in self.carried if names is None or b.name in names):
            result = b in self.results
            here = f"{b.name}[{'neuron' if b in self.shared else 'i'}]"
            there = f"t->{'' if result else 'kept_'}{b.name}[sample * {b.axes[0]} + neuron]"
            if way == "load" or not result:
                text += self._over(
                    population_of(b), f"{here} = {there};\n" if way == "load" else f"{there} = {here};\n", way
                )
        return text

    def _slots(self, population: int) -> int:
        """The number of neurons of a population per thread."""
        return -(-self.plan.populations[population].size // self.threads)

    def _clear_spikes(self) -> str:
        """No neuron has spiked before the first step."""
        return "".join(
            f"for (int k = threadIdx.x; k < {2 * self._words(i)}; k += {self.threads}) p{i}_now[k] = 0;\n"
            for i in self.trial.spikes
        )  # fmt: skip

    def _clear_rings(self) -> str:
        """The rings of what is on its way (`Lowering.at_spike`), which have what the trial before has left."""
        text, rings = "", ((i, b) for i, d in enumerate(self.trial.delays) if d for b in d.arriving.values())
        for i, b in rings:
            size = f"t->c{i}_ring * {b.axes[1]}"
            each = f"t->{b.name}[sample * {size} + k] = 0;\n"
            text += f"for (int64_t k = threadIdx.x; k < {size}; k += {self.threads}) {each}"
        return text

    def _full(self) -> str:
        """Ends the trial if a list of events is full, after telling the host how much room it needs.

        All threads leave together: one that returned alone would leave the others waiting at the next barrier.
        """
        text = ""
        for i, p in enumerate(self.plan.populations):
            if p.derived.events:
                check = f"if (p{i}_w_happened[i] > t->p{i}_room) {{\n    atomicMax(t->needed + {i}, p{i}_w_happened[i]);\n    full = 1;\n}}\n"
                text += self._over(i, check, p.name)
        return f"int full = 0;\n{text}if (__syncthreads_or(full)) return;\n" if text else ""

    def _over(self, population: int, body: str, comment: str, after: str = "", declare: str = "") -> str:
        return each_neuron(self.plan.populations[population].size, self.threads, body, comment, after, declare)

    # operations

    def barrier(self) -> str:
        return "__syncthreads();\n"

    def once(self, o: Once) -> str:
        body = Writer(self._spelling(inside=False), o.kernel, double=True).text()
        return f"if (threadIdx.x == 0) {{\n{indent(body)}}}\n"

    def gather(self, o: Gather) -> str:
        return self.gathers.gather(o)

    def gather_delays(self, o: GatherDelays) -> str:
        return self.gathers.gather(o)

    def total(self, o: Total) -> str:
        add = self._over(population_of(o.of), f"atomicAdd({o.into.name}, {o.of.name}[i]);\n", "the sum of integers")
        return f"if (threadIdx.x == 0) *{o.into.name} = 0;\n__syncthreads();\n{add}__syncthreads();\n"

    def _spelling(self, inside: bool = True) -> Spelling:
        """inside: in the loop over the neurons of a thread, whose registers have an index ``i``."""
        return Spelling(
            lambda access, write: self._element(access, write, inside),
            self._diverged,
            CONSTANTS,
            buffers=self.loops.buffers,
        )

    def _diverged(self, population: int, state: int) -> str:
        """Notes where the dynamics first diverged, the smallest sample, then step; see `place_of`.

        Blocks run in any order: the minimum of one number makes the error the same in every run.
        """
        unit = f"{units(self.plan, population) + state * self.plan.populations[population].size} + neuron"
        return f"atomicMin(t->trouble, (uint64_t)((sample * t->n_points + step) * {units(self.plan)} + {unit}));"

    def each_step(self, o: EachStep) -> str:
        """Threads share the steps; their sums are added in the order of the warps."""
        body = Writer(self._spelling(inside=False), o.kernel, double=True).text()
        into = self._element(Access(o.into, (SAMPLE,)), str)
        each = f"[&](const int64_t o_row, double &t_running) {{\n{indent(body)}}}"
        text = f"const double total = sum_steps({self.first}, {self.last}, {self._so_far(into)}, sums, {each});\n"
        text += f"if (threadIdx.x == 0) {into} = total;\n"
        return f"{{\n{indent(text)}}}\n"

    def _so_far(self, loss: str) -> str:
        """What a loss of every step is before those that a call runs."""
        return "0"

    def undo(self, o: EachNeuron) -> str:
        """With the newest entry of the list in registers."""
        text = _NewestWriter(self._spelling(), self.loops.whole(o.kernel), o.population, self._load_newest(o)).text()
        return self._over(o.population, text, self.plan.populations[o.population].name)

    def each_neuron(self, o: EachNeuron) -> str:
        p = self.plan.populations[o.population]
        body, i = Writer(self._spelling(), self.loops.whole(o.kernel), o.population).text(), o.population
        if not o.emits:
            return self._over(i, body, p.name)
        # the vote of a warp is the word of its 32 neurons, so no two threads write to one word. All lanes must take part:
        # it stands behind the test for the last neuron, with 0 for threads beyond it
        words = self._words(i)
        after = (
            f"const uint32_t word = __ballot_sync(EVERY, emitted);\n"
            f"if (lane == 0 && neuron / 32 < {words}) {{\n"
            f"    p{i}_now[(step + 1) % 2 * {words} + neuron / 32] = word;\n"
            f"    {self._row_of_bits(i, 'step + 1', 'neuron / 32')} = word;\n}}\n"
        )
        body += "emitted = sent;\n"
        if i in self.listed:
            count, fits = self._count_sent(i)
            place = f"t->p{i}_sent_at[(sample * {p.size} + neuron) * t->p{i}_room + {count} - 1]"
            body += f"if (sent && {fits} t->p{i}_room) {place} = (int32_t)(step + 1);\n"
        return self._over(i, body, p.name, after, declare="int emitted = 0;\n")

    def _count_sent(self, population: int) -> tuple[str, str]:
        """How many spikes a neuron has sent, the new one included, and the beginning of a comparison of that with the room."""
        return "w_count", "w_count <="


class _NewestWriter(Writer):
    """Undoes events whose newest is in registers, and asks for the one before it as soon as one is undone: a neuron that
    loads it at the step of the event makes its block wait, in nearly every step.

    Args:
        following: asks for the next one.
    """

    def __init__(
        self, spelling: Spelling, kernel: Kernel, population: int = -1, following: str = "", double: bool = False
    ) -> None:  # fmt: skip
        super().__init__(spelling, kernel, population, double)
        self._following = following

    def statement(self, s: Statement) -> str:
        if not isinstance(s, Undo):
            return super().statement(s)
        (listed,) = s.body
        assert isinstance(listed, When)
        return f"if {self.expression(listed.condition)} {{\n{indent(self.block(listed.body) + self._following)}}}\n"


def _newest(o: EachNeuron) -> list[Buffer]:
    """Fields of the newest entry of a neuron's list that a kernel reads."""
    accesses = [o.kernel.table[s] for s in o.kernel.named]
    newest = [a.buffer for a in accesses if len(a.index) == 2 and a.index[1] == HAPPENED - 1]
    return list({b.name: b for b in newest}.values())


def of_neurons(b: Buffer) -> bool:
    """True for gradients of neuron parameters, which have a part for every sample and are summed afterwards."""
    return b.role == "gradient" and b.name.startswith("p")


def of_sample(b: Buffer) -> bool:
    """Whether a buffer in global memory has a part for every sample of the batch."""
    return "batch" not in b.axes and (b.role in ("result", "stored") or of_neurons(b))


def units(plan: Plan, before: int | None = None) -> int:
    """The number of states of all neurons, or of those of the first populations."""
    return sum(len(p.derived.states) * p.size for p in plan.populations[:before])


def place_of(trouble: int, plan: Plan) -> tuple[int, int, int, int, int]:
    """(sample, step, population, state, neuron) from the number that `_diverged` notes."""
    row, unit = divmod(trouble, units(plan))
    i = max(i for i in range(len(plan.populations)) if units(plan, i) <= unit)
    return (*divmod(row, plan.n_steps + 1), i, *divmod(unit - units(plan, i), plan.populations[i].size))


def population_of(b: Buffer) -> int:
    """The population of a buffer, from its name: p<number>_..."""
    return int(b.name[1 : b.name.index("_")])
