"""`program.trial` as CUDA text. Input: a `Plan`. Output: `Source`, the text and how its kernels are called.

Where a buffer lives follows from who uses it: a number of each neuron that only the neuron itself uses is a register;
one that others read is in shared memory; rows, lists and results are in global memory, a part for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources

import sympy as sp

from ...plan import Plan
from ...program.nodes import NEURON, Access, Buffer
from ...program.trial import (
    Deliver,
    EachNeuron,
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
from ..statements import TYPES, Target, Writer, indent
from .synapses import WARP, Synapses, group_buffers

MOST_THREADS = 256
DATA = (
    Buffer("steps", ("spikes",), "int", "given"), Buffer("channels", ("spikes",), "int", "given"),
    Buffer("offsets", ("samples",), "long", "given"), Buffer("samples", ("batch",), "long", "given"),
    Buffer("by_channel", ("spikes",), "int", "given"), Buffer("channel_start", ("samples", "n_channels"), "long", "given"),
    Buffer("quantiles", (4096,), "real", "given"),
    Buffer("trouble", (1,), "key", "error"), Buffer("needed", ("populations",), "int", "error"),
)  # fmt: skip
INTEGERS = ("batch", "n_points", "training", "n_nodes", "n_channels")


@dataclass(frozen=True)
class Source:
    """Generated code and how it is called.

    arrays, doubles, integers: fields of the struct that every kernel is given, in order. threads: of a block of
    ``trial``; shared: its bytes of shared memory. gathers: (kernel, blocks) that make the gradients, in order;
    gather_threads: of their blocks.
    """

    text: str
    trial: Trial
    arrays: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]
    threads: int
    shared: int
    gathers: tuple[tuple[str, int], ...]
    gather_threads: int


def generate(plan: Plan, dtype: str) -> Source:
    """CUDA C++ for a plan; dtype "float32" or "float64"."""
    text = _Text(make_trial(plan), {"float32": 4, "float64": 8}[dtype])
    real = {"float32": "float", "float64": "double"}[dtype]
    runtime = resources.files(__package__).joinpath("runtime.cuh").read_text()
    kernels = [text.run(), *text.gathers()]
    head = [equations(plan, "//"), f"typedef {real} real;\n", runtime, text.struct()]
    return Source(
        "\n".join(head + kernels), text.trial, text.arrays, text.doubles, text.integers, text.threads,
        text.shared_bytes, tuple(text.launches), text.threads,
    )  # fmt: skip


class _Text(Synapses):
    def __init__(self, trial: Trial, real_bytes: int) -> None:
        super().__init__(trial)
        widest = max(p.size for p in self.plan.populations)
        self.threads = min(-(-widest // WARP) * WARP, MOST_THREADS)
        groups = [b for i, c in enumerate(self.plan.connections) for b in group_buffers(i, c)]
        every = (*DATA, *trial.buffers.values(), *groups)
        scalars = [b for b in every if not b.axes]
        self.doubles = tuple(b for b in scalars if b.kind in ("real", "double") and b.role == "given")
        own = [b.name for b in scalars if b.kind in ("int", "long") and b.role == "given"]
        delays = [f"c{i}_delay" for i in range(len(self.plan.connections))]
        rings = [f"c{i}_ring" for i, c in enumerate(self.plan.connections) if c.delays]
        self.integers = (*INTEGERS, *(n for n in own if n not in INTEGERS), *delays, *rings)
        self.bytes = {"real": real_bytes, "double": 8, "int": 4, "long": 8, "bits": 4, "key": 8}
        self._place(every)
        self.launches: list[tuple[str, int]] = []

    def _place(self, every: Iterable[Buffer]) -> None:
        """Registers, shared memory, global memory."""
        seen = self._seen_by_others()
        small = [b for b in every if b.role in ("state", "kept") and (len(b.axes) == 1 or not b.axes) and b not in DATA]
        self.shared = [b for b in small if b.name in seen or not b.axes]
        results = [b for b in every if b.role == "result" and b.axes and b.axes[0] != "batch"]
        self.registers = [b for b in small if b not in self.shared] + results
        placed = {b.name for b in (*self.registers, *self.shared)} - {b.name for b in results}
        self.results = results
        self.arrays = tuple(b for b in every if b.axes and b.name not in placed)
        now = [Buffer(f"p{i}_now", (2, self._words(i)), "bits", "state") for i in self.trial.spikes]
        self.shared = sorted([*self.shared, *now], key=lambda b: -self.bytes[b.kind])  # aligned by descending size
        self.shared_bytes = sum(self.bytes[b.kind] * _count(b) for b in self.shared)

    def _seen_by_others(self) -> set[str]:
        """Numbers of a neuron that code other than the neuron's own uses."""
        seen: set[str] = set()
        for o in self._operations():
            if isinstance(o, Once):
                seen |= {o.kernel.table[s].buffer.name for s in o.kernel.named}
            elif isinstance(o, Feedback):
                seen |= {o.into.name, *(b.name for _, _, b in o.terms)}
            elif isinstance(o, Deliver) and self.plan.connections[o.connection].form != "dense":
                seen |= {b.name for _, b in o.sums}
        return seen

    def _operations(self) -> Iterable[Operation]:
        t = self.trial
        for part in (
            t.begin,
            t.step,
            t.end,
            t.compare,
            t.begin_back,
            t.before_jumps,
            t.feedback,
            t.jumps,
            t.retreat,
            t.end_back,
        ):
            yield from part

    # elements and structure

    def _element(self, access: Access, write: Callable[[sp.Expr], str], inside: bool = True) -> str:
        b, own = access.buffer, access.index == (NEURON,)
        if b in self.shared:
            return f"{b.name}[{write(access.index[0])}]" if b.axes else f"*{b.name}"
        if inside and own and b in self.registers:
            return f"{b.name}[i]"
        if not b.axes:
            return f"t.{b.name}"
        axes, index = list(b.axes), [write(i) for i in access.index]
        if b.role in ("result", "kept") and axes[0] != "batch":
            if len(axes) == 2 and str(axes[1]).endswith("room"):  # neurons side by side
                axes, index = axes[::-1], index[::-1]
            axes, index = ["batch", *axes], ["sample", *index]
        if b.role == "gradient":  # of every sample
            axes, index = ["batch", *axes], ["sample", *index]
        return f"t.{b.name}[{self._flat(axes, index)}]"

    def _length(self, axis: int | str) -> str:
        return str(axis) if isinstance(axis, int) else f"t.{axis}"

    def struct(self) -> str:
        const = {"number": "const ", "given": "const "}
        fields = [f"{const.get(b.role, '')}{TYPES[b.kind]} *{b.name};" for b in self.arrays]
        fields += [f"double {b.name};" for b in self.doubles] + [f"int64_t {n};" for n in self.integers]
        return "struct Trial {\n" + indent("\n".join(fields)) + "};\n"

    def run(self) -> str:
        t = self.trial
        body = "const int64_t sample = blockIdx.x;\nconst int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n"
        body += "(void)lane;\n(void)warp;\n" + self._memory()
        body += "const int64_t from = t.offsets[t.samples[sample]], to = t.offsets[t.samples[sample] + 1];\n(void)to;\n"
        body += "".join(f"int64_t next{i} = from;\n" for i in range(len(self.plan.connections)) if self._from_input(i))
        body += (
            "int64_t step = 0;\n"
            + self._all(t.begin)
            + self._clear_spikes()
            + self._clear_rings()
            + "__syncthreads();\n"
        )
        steps = self._all(t.step) + "__syncthreads();\n"
        body += f"for (step = 0; step < t.n_steps; ++step) {{\n{indent(steps)}}}\n" + self._all(t.end)
        body += self._flush() + (self._full() or "__syncthreads();\n")
        body += f"if (threadIdx.x == 0) {{\n{indent(self._all(t.compare))}}}\n__syncthreads();\n"
        body += "if (!t.training) return;\n" + self._all(t.begin_back)
        inner = self._all(t.before_jumps)
        back = f"if (step < t.n_steps) {{\n{indent(inner)}}}\n" if inner else ""
        if t.feedback:
            back += f"__syncthreads();\n{self._all(t.feedback)}__syncthreads();\n"
        back += self._all(t.jumps) + f"if (step == 0) break;\n{self._all(t.retreat)}"
        body += f"for (step = t.n_steps;; --step) {{\n{indent(back)}}}\n"
        body += self._all(o for o in t.end_back if not isinstance(o, (Gather, GatherDelays)))
        head = f'extern "C" __global__ void __launch_bounds__({self.threads}) trial(const Trial *trial_) {{\n'
        return head + indent("const Trial &t = *trial_;\n" + body) + "}\n"

    def _memory(self) -> str:
        lines, offset = (
            [
                "extern __shared__ double shared_memory[];",
                "char *const memory = (char *)shared_memory;",
                "(void)memory;",
            ],
            0,
        )
        for b in self.shared:
            lines.append(f"SHARED({TYPES[b.kind]}) {b.name} = SHARE({TYPES[b.kind]}, memory + {offset}, {_count(b)});")
            offset += self.bytes[b.kind] * _count(b)
        lines += [f"{TYPES[b.kind]} {b.name}[{self._slots(_population(b))}];" for b in self.registers]
        return "\n".join(lines) + "\n"

    def _slots(self, population: int) -> int:
        """Neurons of a population that a thread has."""
        return -(-self.plan.populations[population].size // self.threads)

    def _clear_spikes(self) -> str:
        return "".join(
            f"for (int k = threadIdx.x; k < {2 * self._words(i)}; k += {self.threads}) p{i}_now[k] = 0;\n"
            for i in self.trial.spikes
        )  # fmt: skip

    def _flush(self) -> str:
        """Results to global memory."""
        text = ""
        for b in self.results:
            p = _population(b)
            text += self._over(
                p, f"t.{b.name}[sample * {b.axes[0]} + neuron] = {b.name}[i];\n", self.plan.populations[p].name
            )
        return text

    def _full(self) -> str:
        """Leave where a list of events has no room, once the host has been told how much it needs."""
        text = ""
        for i, p in enumerate(self.plan.populations):
            if p.derived.events:
                check = f"if (p{i}_w_happened[i] > t.p{i}_room) {{\n    atomicMax(t.needed + {i}, p{i}_w_happened[i]);\n    full = 1;\n}}\n"
                text += self._over(i, check, p.name)
        return f"int full = 0;\n{text}if (__syncthreads_or(full)) return;\n" if text else ""

    def _over(self, population: int, body: str, comment: str, after: str = "") -> str:
        """Code for every neuron of a population, its number `i` among those of the thread."""
        p, slots = self.plan.populations[population], self._slots(population)
        neuron = f"const int32_t neuron = threadIdx.x + i * {self.threads};\n"
        text = f"{neuron}if (neuron < {p.size}) {{\n{indent(body)}}}\n{after}"
        return f"#pragma unroll\nfor (int i = 0; i < {slots}; ++i) {{  // {comment}\n{indent(text)}}}\n"

    # operations

    def _operation(self, o: Operation) -> str:
        if isinstance(o, EachNeuron):
            return self._each(o)
        if isinstance(o, Once):
            return Writer(self._target(inside=False), o.kernel, double=True).text()
        if isinstance(o, Deliver):
            return self._deliver(o) if self._plain(o.connection) else self._deliver_synapses(o)
        if isinstance(o, Feedback):
            return self._feedback(o)
        assert isinstance(o, Total)
        add = self._over(_population(o.of), f"atomicAdd({o.into.name}, {o.of.name}[i]);\n", "the sum of integers")
        return f"if (threadIdx.x == 0) *{o.into.name} = 0;\n__syncthreads();\n{add}__syncthreads();\n"

    def _target(self, inside: bool = True) -> Target:
        return Target(
            lambda access, write: self._element(access, write, inside),
            lambda population, state: f"note_diverged(t.trouble, sample, step, {population}, {state}, neuron);",
            {"o_infinity": "INFINITE", "o_nan": "NOT_A_NUMBER", "quantiles": "t.quantiles"},
        )

    def _each(self, o: EachNeuron) -> str:
        p = self.plan.populations[o.population]
        body, i = Writer(self._target(), o.kernel, o.population).text(), o.population
        if not o.emits:
            return self._over(i, body, p.name)
        words = self._words(i)
        after = (
            f"const uint32_t word = __ballot_sync(EVERY, emitted);\n"
            f"if (lane == 0 && neuron / 32 < {words}) {{\n"
            f"    p{i}_now[(step + 1) % 2 * {words} + neuron / 32] = word;\n"
            f"    t.p{i}_spikes[(sample * t.n_points + step + 1) * {words} + neuron / 32] = word;\n}}\n"
        )
        return self._over(i, body + "emitted = sent;\n", p.name, after).replace(
            "const int32_t neuron", "int emitted = 0;\n    const int32_t neuron", 1
        )

    def _each_spike(self, population: int, bits: str, body: str) -> str:
        """Code for every neuron ``source`` of a row of bits, the same for all threads."""
        return (
            f"for (int word = 0; word < {self._words(population)}; ++word)\n"
            f"    for (uint32_t rest = {bits}; rest; rest &= rest - 1) {{\n"
            f"        const int source = 32 * word + __ffs(rest) - 1;\n{indent(body, 2)}    }}\n"
        )

    def _bits(self, connection: int) -> str:
        """The row of bits of the spikes that arrive now, or were sent at a step before."""
        i, words = self._source(connection), self._words(self._source(connection))
        if self.plan.connections[connection].delay > 0:
            return f"t.p{i}_spikes[(sample * t.n_points + step - t.c{connection}_delay) * {words} + word]"
        return f"p{i}_now[step % 2 * {words} + word]"

    def _deliver(self, o: Deliver) -> str:
        """Every thread adds what arrives at its own neurons."""
        c, i = self.plan.connections[o.connection], o.connection
        target = next(n for n, p in enumerate(self.plan.populations) if p.name == c.target)
        add = f"const real w = t.c{i}_weight[(int64_t)source * {c.post} + neuron];\n"
        add += "".join(f"{self._element(Access(b, (NEURON,)), str)} += part_{part}(w);\n" for part, b in o.sums)
        rows = self._over(target, add, f"{c.source} -> {c.target}")
        if self._from_input(i):
            head = f"for (; next{i} < to && t.steps[next{i}] + t.c{i}_delay == step; ++next{i}) {{\n"
            return head + indent(f"const int source = t.channels[next{i}];\n{rows}") + "}\n"
        return f"if (step > t.c{i}_delay) {{\n{indent(self._each_spike(self._source(i), self._bits(i), rows))}}}\n"

    def _row(self, b: Buffer, step: str) -> str:
        """Element n of the row of a step."""
        return f"t.{b.name}[(sample * t.n_steps + {step}) * {b.axes[1]} + n]" if len(b.axes) == 2 else f"{b.name}[n]"

    def _feedback(self, o: Feedback) -> str:
        """Warps share the spikes of the step; lanes share the targets of one spike."""
        words, dots = self._words(o.population), ""
        for connection, part, b in o.terms:
            c = self.plan.connections[connection]
            if not self._plain(connection):
                dots += self._feedback_of_synapses(connection, part, b)
                continue
            arrival = f"step + t.c{connection}_delay"
            weight = f"t.c{connection}_weight[(int64_t)source * {c.post} + n]"
            loop = f"for (int n = lane; n < {c.post}; n += 32) total += part_{part}({weight}) * {self._row(b, f'({arrival})')};\n"
            dots += f"if ({arrival} < t.n_steps) {loop}"
        body = (
            f"if (turn++ % {self.threads // WARP} != warp) continue;\nreal total = 0;\n{dots}total = warp_sum(total);\n"
        )
        body += f"if (lane == 0) {o.into.name}[source] = total;\n"
        bits = f"t.p{o.population}_spikes[(sample * t.n_points + step) * {words} + word]"
        return f"if (step > 0) {{\n    int turn = 0;\n{indent(self._each_spike(o.population, bits, body))}}}\n"

    # gradients

    def gathers(self) -> list[str]:
        """A kernel for each connection, a block for each of its sources; and one for parameters of neurons."""
        kernels = []
        for o in self.trial.end_back:
            if isinstance(o, Gather) and self._plain(o.connection):
                kernels.append(self._gather(o))
            elif isinstance(o, (Gather, GatherDelays)):
                kernels.append(self._gather_synapses(o))
        gradients = [b for b in self.arrays if b.role == "gradient" and b.name.startswith("p")]
        for b in gradients:
            self.launches.append((f"sum_{b.name}", 1))
            kernels.append(
                f'extern "C" __global__ void sum_{b.name}(const Trial *trial_) {{\n    const Trial &t = *trial_;\n'
                f"    for (int n = threadIdx.x; n < {b.axes[0]}; n += blockDim.x) {{\n        real total = 0;\n"
                f"        for (int64_t sample = 0; sample < t.batch; ++sample) total += t.{b.name}[sample * {b.axes[0]} + n];\n"
                f"        t.{b.name}[n] = total;\n    }}\n}}\n"
            )
        return kernels

    def _gather(self, o: Gather) -> str:
        c, i = self.plan.connections[o.connection], o.connection
        self.launches.append((f"gather_c{i}", c.pre))
        row = f"t.{o.rows.name}[(sample * t.n_steps + arrival) * {c.post} + n]"
        if self._from_input(i):
            each = (
                "const int64_t *start = t.channel_start + t.samples[sample] * t.n_channels + source;\n"
                f"for (int64_t i = start[0]; i < start[1]; ++i) {{\n    const int64_t arrival = t.by_channel[i] + t.c{i}_delay;\n"
                f"    if (arrival < t.n_steps) total += {row};\n}}\n"
            )
        else:
            p, words = self._source(i), self._words(self._source(i))
            bits = f"t.p{p}_spikes[(sample * t.n_points + arrival - t.c{i}_delay) * {words} + source / 32]"
            each = (
                f"for (int64_t arrival = t.c{i}_delay + 1; arrival < t.n_steps; ++arrival)\n"
                f"    if ({bits} >> source % 32 & 1) total += {row};\n"
            )
        body = f"real total = 0;\nfor (int64_t sample = 0; sample < t.batch; ++sample) {{\n{indent(each)}}}\n"
        body += f"t.c{i}_gradient[(int64_t)source * {c.post} + n] = total;\n"
        loop = f"const int source = blockIdx.x;\nfor (int n = threadIdx.x; n < {c.post}; n += blockDim.x) {{\n{indent(body)}}}\n"
        return f'// {c.source} -> {c.target}\nextern "C" __global__ void gather_c{i}(const Trial *trial_) {{\n    const Trial &t = *trial_;\n{indent(loop)}}}\n'


def _count(b: Buffer) -> int:
    total = 1
    for a in b.axes:
        assert isinstance(a, int)
        total *= a
    return total


def _population(b: Buffer) -> int:
    """Of a buffer of one population: p<number>_..."""
    return int(b.name[1 : b.name.index("_")])
