"""A trial with exact spike times as CUDA text: a thread a neuron walks through the arrivals of every step in order.

Within a step x(t_k + s) = P(s) y + c(s), and y changes at events alone (`plan/series.py`). The arrivals of a step are known
when it begins: those from the input, from populations before, and from spikes of earlier steps, since a connection back has
a delay of at least a step. A block sorts them by time; then every thread takes its neurons from arrival to arrival. It
looks for crossings between two by the bound on g'' that `native` uses, and solves them where they happen, as it ends their
refractory periods: nothing of other neurons matters to it within the step. At the end of the step the block puts the spikes
of its neurons in order of time, which is the list that later populations and steps take their arrivals from. So a step has
a few barriers for each population, whatever happens in it.

Backwards mu = P(s)^T lambda is constant between events. Threads walk through the same arrivals from the last one to the first,
with their own events in between, add what an arrival adds to the gradient of its weight and to learned parameters, and write
its D; then warps add D over the targets of an arrival, which goes to the spike that caused it.

Numbers that all neurons share at an arrival are computed once a block, for `CHUNK` arrivals at a time; where neurons differ
each computes its own. States, adjoints and times are double precision in either engine; weights and gradients have the
engine's own.

All of this is walk.cuh, over exact.cuh and, where losses look at V between events, readings.cuh. A network has its structs:
its populations (`exact_population.py`), with resets, jumps and readouts as `program` says them, their connections, and how
they are read (`exact_readings.py`). The kernels declare these, and go through the steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import resources

import sympy as sp

from ...plan import ConnectionRecord, Plan
from ...plan.groups import walk_order
from ...plan.series import DEGREE, NODES
from ...program.compare import comparison, further_slopes
from ...program.lower import DATA as OF_DATA_SET
from ...program.nodes import Access, Buffer, Kernel, Statement
from ...program.outer import on_host
from ...program.readouts import make_readout
from ...program.regularise import TOTAL
from ...program.scope import Scope
from ..equations import equations
from ..layout import RANGE, Layout
from ..shared import shared
from ..statements import Spelling, Writer, indent
from .blocks import declare_shared, runtime, shared_bytes
from .exact_population import CHUNK, Population
from .exact_readings import SHARED, VoltageLoss
from .gathers import ERRORS, sum_kernel

BYTES = {"double": 8, "int": 4}
RUNAWAY = 200
SETTINGS = f"""\
#define DEGREE {DEGREE}
#define NODES {NODES}
#define TIME_ROUNDING 1e-17
#define RUNAWAY {RUNAWAY}  // more spikes of a neuron in a step end the trial
#define CHUNK {CHUNK}
// ten columns of four powers on their way took 80 registers, which neurons with learned parameters had spilled
#define UNROLL_POWERS _Pragma("unroll(C > 5 ? 1 : 4)")
"""
DATA = (Buffer("times", ("spikes",), "double", "host"), *OF_DATA_SET[1:], *ERRORS)
INTEGERS = ("batch", "training", "adding", "exact_steps", "exact_points")


class ExactKernels(Layout):
    """The kernels of one file: the trial, whole or in two halves, and the sums of gradients."""

    def __init__(self, plan: Plan, split: bool, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.split = split
        self._program: dict[str, Buffer] = {}
        self.scopes = [Scope(plan, p, i, self._program) for i, p in enumerate(plan.populations)]
        self.readouts = {l.output: make_readout(self.scopes[plan.numbers[l.output]], split) for l in plan.losses}
        self.populations = [
            Population(self.scopes[plan.numbers[p.name]], self.readouts.get(p.name), split, self.said)
            for p in walk_order(plan)
        ]
        self.host_slopes = split or on_host(plan)
        width = max(w.width for w in self.populations)
        chunk = {"offset": "double", "total_of": "double"} | dict.fromkeys(("connection", "source", "index"), "int")
        self._shared = [Buffer("chunk_factors", (CHUNK * width,), "double")]
        self._shared += [Buffer(f"chunk_{n}", (CHUNK,), kind) for n, kind in chunk.items()]
        self._shared += [Buffer("due_of", (threads,), "int")] if any(c.delays for c in plan.connections) else []
        self._shared += [b for w in self.populations for b in w.shared()]
        self._shared.sort(key=lambda b: b.kind != "double")  # aligned by size
        self.shared_bytes = shared_bytes(self._shared, BYTES)
        self._structs = "".join(w.structs() for w in self.populations)
        self._bodies = self._make_bodies()
        self._declare()
        self.by_value = True
        self.parameter = "const __grid_constant__ Trial t_"

    def _declare(self) -> None:
        """The struct: what the texts name."""
        buffers = [*DATA, *self._of_connections(), *(b for w in self.populations for b in w.buffers())]
        texts = "".join([self._structs, *self._bodies.values()])
        for b in self._program.values():
            # values of neurons that the trial keeps are in global memory
            if re.search(rf"(t->|Trial::){b.name}\b", texts):
                buffers.append(replace(b, role="stored") if b.role == "state" else b)
        doubles = ["duration", "delta", "slope_floor"]
        doubles += [f"d_c{k}" for k, c in enumerate(self.plan.connections) if c.delay > 0]
        doubles += [f"limit_c{k}" for k, c in enumerate(self.plan.connections) if c.delays]
        buffers += [Buffer(n, (), "double", "host") for n in doubles]
        more = [f"degree_p{w.i}" for w in self.populations] + [f"p{w.i}_arrivals" for w in self.populations]
        more += [f"p{w.i}_room" for w in self.populations] + [f"p{w.i}_most" for w in self.populations if w.p.observed]
        axes = {a for b in buffers for a in b.axes if isinstance(a, str)}
        self.declare(buffers, INTEGERS, [*more, *(["n_targets"] if "n_targets" in axes else [])])

    def _of_connections(self) -> list[Buffer]:
        buffers = []
        for k, c in enumerate(self.plan.connections):
            buffers.append(Buffer(f"c{k}_weight", c.weight_shape, "real", "number"))
            S, W, size = c.synapses, math.prod(c.weight_shape), (c.pre, c.post) if c.by_rows else (c.synapses,)
            if c.trainable:
                buffers += [] if c.shares else [Buffer(f"c{k}_gradient", c.weight_shape, "real", "gradient")]
                buffers.append(Buffer(f"c{k}_slice", size, "real", "stored"))
            if not c.by_rows:
                arrays: dict[str, int | str] = {"start": c.pre + 1, "first": f"c{k}_ends", "target": S, "place": S}
                arrays |= {"group": S, "group_start": W + 1} if c.trainable else {}
                arrays |= {"delay_of": f"c{k}_routes"} if c.delays else {}
                buffers += [Buffer(f"c{k}_{n}", (length,), "int", "host") for n, length in arrays.items()]
            if c.delays:
                buffers.append(Buffer(f"c{k}_delays", c.delays.shape, "real", "host"))
            if c.delays and c.learns_delays:
                buffers.append(Buffer(f"c{k}_delay_gradient", c.delays.shape, "real", "gradient"))
                buffers.append(Buffer(f"c{k}_delay_slice", (math.prod(c.delays.shape),), "real", "stored"))
        if self.split:
            buffers.append(Buffer("input_gradient", ("input_spikes",), "real", "of spikes"))
            buffers.append(Buffer("input_start", ("batch",), "long", "host"))
        return buffers

    def _of_sample(self, b: Buffer) -> bool:
        return "batch" not in b.axes and b.role in ("result", "stored")

    # statements of `program`

    def spelling(self, s: Scope, places: Mapping[sp.Symbol, str]) -> Spelling:
        """How elements are spelled: by `places`, or as what a trial keeps."""
        placed = {s.table[x].buffer.name: place for x, place in places.items()}

        def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
            b = access.buffer
            if b.name in placed:
                return placed[b.name]
            if b.name.endswith(f"_{TOTAL}"):
                return b.name
            if b.role == SHARED:
                return f"{b.name}[{write(access.index[0])}]"
            b = replace(b, role="stored") if b.role == "state" else b
            return self._in_struct(b, [write(i) for i in access.index])

        return Spelling(
            element, lambda *_: "", {"o_infinity": "INFINITE", "o_nan": "NOT_A_NUMBER", "g_n_steps": "t->n_steps"}
        )

    def said(self, s: Scope, body: Iterable[Statement], places: Mapping[sp.Symbol, str]) -> str:
        kernel = s.kernel(body)
        return Writer(self.spelling(s, places), kernel, -1, double=True).text() if kernel.body else ""

    # kernels

    def _make_bodies(self) -> dict[str, str]:
        there, back = self._there(), self._back()
        compare = "".join(map(self._compared, self.readouts))
        compare = f"if (threadIdx.x == 0) {{  // outer loss\n{indent(compare)}}}\n__syncthreads();\n"
        if self.split:
            return {"forwards": there, "backwards": compare + back}
        return {"trial": f"{{\n{indent(there)}}}\n{compare}if (!t->training) return;\n{back}"}

    def _compared(self, output: str) -> str:
        """The outer loss of what is read of a population; of halves, what the host has made of it."""
        s, readout = self.scopes[self.plan.numbers[output]], self.readouts[output]
        if any(isinstance(r, VoltageLoss) for w in self.populations for r in w.readings if w.p.name == output):
            return ""  # it is made along the trial
        text = self._once(s, comparison(s, readout, self.host_slopes)[0])
        further = further_slopes(readout) if self.split else None
        if further:
            text += f"for (int neuron = 0; neuron < {s.N}; ++neuron) {{\n{indent(self._once(s, further))}}}\n"
        return f"{{\n{indent(text)}}}\n"

    def _once(self, s: Scope, kernel: Kernel) -> str:
        return Writer(self.spelling(s, {}), kernel, -1, double=True).text()

    def _there(self) -> str:
        text, steps = "", ""
        for w in self.populations:
            text += w.walk("Forwards", f"{w.name}_there") + "".join(w.into_trial(k, c) for k, c in w.into)
        for w in self.populations:
            by, into = "put_in_order(list, place", "".join(f", into{k}" for k, _ in w.into)
            if w.late:
                by = f"put_in_order_late(list, place, {w.name}.found(), {w.name}_there.arrived, due_of"
            for k, c in w.into:
                source = w.source(c)
                steps += f"into{k}.limit = {f'{source}.events + {source}_there.total' if source else 'to'};\n"
            order = f"[&](const auto &list, int64_t place) {{ return {by}, step.start, step.end{into}); }}"
            steps += f"if (!{w.name}_there.go(step, chunk, {order})) return;\n"
        text += "".join(f"{w.name}_there.begin();\n" for w in self.populations) + "__syncthreads();\n"
        head = "const Step step = step_of(t, number);\n"
        text += f"for (int64_t number = 0; number < t->exact_steps; ++number) {{\n{indent(head + steps)}}}\n"
        return text + "".join(f"{w.name}_there.end();\n" for w in self.populations) + "__syncthreads();\n"

    def _back(self) -> str:
        text, steps = "", "const Step step = step_of(t, number);\n"
        for w in self.populations:
            text += w.walk("Backwards", f"{w.name}_back") + "".join(w.into_trial(k, c) for k, c in w.feeds)
        if self.split:
            text += "for (int64_t e = from + threadIdx.x; e < to; e += THREADS) t->input_gradient[t->input_start[sample] + e - from] = 0;\n"
            text += "".join(f"set_ends({w.name});\n" for w in self.populations if w.S == 1)
        text += "".join(f"{w.name}_back.begin();\n" for w in self.populations) + "__syncthreads();\n"
        for w in reversed(self.populations):
            steps += f"{w.name}_back.go(step, chunk{''.join(f', into{k}' for k, _ in w.feeds)});\n"
        text += f"for (int64_t number = t->exact_steps - 1; number >= 0; --number) {{\n{indent(steps)}}}\n"
        return text + "".join(f"{w.name}_back.end();\n" for w in self.populations)

    def functions(self) -> str:
        """What kernels call."""
        library = [shared(name, "__device__ inline") for name in ("neuron.h", "maximum.h", "weights.h")]
        files = ("exact.cuh", "readings.cuh", "walk.cuh")
        library += [resources.files(__package__).joinpath(name).read_text() for name in files]
        return "".join([*library, self._structs])

    def trials(self) -> dict[str, str]:
        """name -> text."""
        return {n: self._block(n, body) for n, body in self._bodies.items()}

    def _block(self, name: str, body: str) -> str:
        head = f'extern "C" __global__ void __launch_bounds__({self.threads}) {name}({self.parameter}) {{\n'
        chunk = ", ".join(f"chunk_{n}" for n in ("factors", "offset", "total_of", "connection", "source", "index"))
        body = f"const Chunk chunk{{{chunk}}};\n{''.join(w.made() for w in self.populations)}{body}"
        start = f"const Trial *const t = &t_;\nconst int64_t sample = blockIdx.x;\n[[maybe_unused]] {RANGE}"
        start += declare_shared(self._shared, BYTES, body)
        # the length of an instant: crossings within it of each other or of an arrival count as simultaneous
        start += "[[maybe_unused]] const double together = sizeof(real) == 4 ? t->delta / 131072 : t->duration / 70368744177664.0;\n"
        return f"{head}{indent(start + body)}}}\n"

    def _summed(self, k: int, c: ConnectionRecord) -> str:
        """What a sample adds to the gradient of weight ``w`` through a connection."""
        if c.by_rows:
            return f"total += t->c{k}_slice[sample * {math.prod(c.weight_shape)} + w];"
        start, synapse = f"t->c{k}_group_start", f"t->c{k}_group[k]"
        each = f"for (int32_t k = {start}[w]; k < {start}[w + 1]; ++k)"
        return f"{each} total += t->c{k}_slice[sample * {c.synapses} + {synapse}];"

    def gathers(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """The kernel that sums gradients over the samples, and its launch."""
        connections = list(enumerate(self.plan.connections))
        sums: list[tuple[str, int, list[str], int]] = []
        for k, c in connections:
            if c.trainable and not c.shares:
                terms = [self._summed(j, d) for j, d in connections if j == k or d.shares == c.name]
                sums.append((f"c{k}_gradient", math.prod(c.weight_shape), terms, k))
        for k, c in connections:
            if c.delays and c.learns_delays:
                size = math.prod(c.delays.shape)
                term = f"total += t->c{k}_delay_slice[sample * {size} + w];"
                sums.append((f"c{k}_delay_gradient", size, [term], len(connections) + k))
        for b in (b for w in self.populations for b in w.buffers() if b.role == "gradient"):
            term = f"total += t->{b.name}[sample * {b.axes[0]} + w];"
            sums.append((f"{b.name}_sum", int(b.axes[0]), [term], -1))
        again = f"for (int p = 0; p < {len(self.populations)}; ++p)\n    if (t->needed[p]) return;\n"
        return sum_kernel(self.parameter, f"const Trial *const t = &t_;\n{again}", sums)


def head(plan: Plan, real: str, threads: int) -> list[str]:
    """What stands before the struct."""
    files = (shared(name, "__device__ inline") for name in ("phi1.h", "functions.h", "crossings.h"))
    return [equations(plan, "//"), f"typedef {real} real;\n", runtime(threads), SETTINGS, *files]
