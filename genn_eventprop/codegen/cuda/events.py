"""Exact spike times on a device by the program of `native`: a block takes a trial through its events, one after the other.

The text is that of `codegen/cpp`, by closed forms or Taylor series, compiled for the device with `library.cuh` in the place of
the standard library. So what `native` runs with exact spike times runs here, by the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from importlib import resources

from ...plan import Plan
from ...plan.closed_form import closed_form
from ...program.lower import DATA as OF_DATA_SET
from ...program.nodes import Buffer
from ..cpp import exact_trial, functions_of
from ..cpp.context import Context, read
from ..cpp.declarations import args, sizes
from ..cpp.outer import outer, outer_loss
from ..equations import equations
from ..layout import Layout
from ..printer import C_REAL
from ..statements import indent
from .blocks import runtime
from .gathers import ERRORS, WARP, sum_kernel

OF_CALL = ("half", "n_slices", "first_slice", "whole_batch", "whole_slices", "record", "input_gradients")
"""Integers of a call of `native` that kernels set themselves, or do not read."""
ELSEWHERE = ("steps", "slices", "gradient", "guarded")
"""Arrays of a call of `native` that are others here."""
LENGTH = "length_of_"
"""Before the name of an array that the host gives: how long it is, of each sample if it has a part for every one."""
LEFT = "left"
"""What `abandon` in library.cuh has left of every sample: not enough memory, population (from 1), time, state, neuron."""
NO_ROOM, POPULATION, FACTS = 0, 1, 5  # as there
MOST_WARPS = 8
"""Of a block that neurons are spread over."""
OF_HOST = re.compile(r"^#include <.*>\n|^ *#pragma GCC .*\n", re.M)
"""Lines of C++ files that are for the compiler of the host."""
ATTRIBUTE = re.compile(r"\[\[[^\]]*gnu::noinline[^\]]*\]\]")
ON_DEVICE = "// functions without a word for where they run are those of the device\n"
"""The first line of a text that is compiled so."""
KERNEL = """\
extern "C" __global__ void __launch_bounds__({threads}) {name}(const __grid_constant__ Call t_) {{
    if (threadIdx.x != WORKERS) return work();
    const Call *const t = &t_;
    const int64_t sample = blockIdx.x;
    arenas = (char *)RAW(t->arena), arena_bytes = t->arena_room * (int64_t)sizeof(double);
    Arena &memory = arena();
    memory.left = RAW(t->left) + FACTS * sample;
    for (int fact = 0; fact < FACTS; ++fact) memory.left[fact] = 0;
{body}\
    dismiss();
}}
"""
BEGIN = """\
memory.size = arena_bytes - (int64_t)sizeof(Arena), memory.used = 0;
Args &args = *new (Place{{library::allocate(sizeof(Args))}}) Args(unpack(t));
Work &work = *new (Place{{library::allocate(sizeof(Work))}}) Work();
memory.args = &args, memory.work = &work;
{half}\
work.prepare(args);
if (const int population = forward(args, work, sample))
    abandon({{population, sample, int64_t(work.lost.at / args.duration * 0x1p50), work.lost.state, work.lost.neuron}});
t->trial_w_guarded[sample] = int32_t(work.guarded);
keep_spikes(t, work, sample);
outer_loss(args, work, sample);
"""
GO_ON = """\
Args &args = *(Args *)memory.args;
Work &work = *(Work *)memory.work;
args = unpack(t);
{half}{bind}\
const int64_t first = args.offsets[args.samples[sample]], last = args.offsets[args.samples[sample] + 1];
for (int64_t e = first; e < last; ++e) args.input_gradient[args.input_start[sample] + e - first] = 0;
outer_loss(args, work, sample);
"""
BACK = "backward(args, work, sample, args.slices + sample * GRADIENT_SIZE, true);\n"


class Events(Layout):
    """The kernels of one file; see the module. threads: of a block. shared: its bytes of shared memory."""

    shared = 2048  # more than `Task` needs

    def __init__(self, plan: Plan, dtype: str, split: bool) -> None:
        self.plan, self._real, self.split = plan, C_REAL[dtype], split
        widest = max(p.size for p in plan.populations)
        self.threads = min(-(-widest // WARP), MOST_WARPS) * WARP + WARP  # the last one for the leader
        self._ctx = ctx = Context(plan, dtype, split, device=True)
        self._trial = exact_trial(ctx)
        given = self._trial.arguments
        self._spiking = [i for i, p in enumerate(plan.populations) if p.spiking]
        reads = self._body + GO_ON * split
        asked = (b for b in given.arrays if b.name not in ELSEWHERE and re.search(rf"args\.{b.name}\b", reads))
        buffers = [*ERRORS, *map(_here, asked), *self._results()]
        buffers += [Buffer("slices", (max(ctx.gradient_size, 1),), "real", "stored")]
        buffers += [Buffer("arena", ("arena_room",), "double", "stored"), *given.doubles]
        integers = [n for n in given.integers if n not in OF_CALL]
        self.declare(buffers, [*integers, "adding"], ["arena_room", *(f"p{i}_room" for i in self._spiking)])

    def _results(self) -> Iterable[Buffer]:
        plan = self.plan
        yield Buffer(LEFT, ("batch", FACTS), "long", "result")
        yield Buffer("trial_w_guarded", ("batch",), "int", "result")
        for i in self._spiking:
            for n, kind in (("sent_time", "double"), ("sent_index", "int")):
                yield Buffer(f"p{i}_{n}", (plan.populations[i].size, f"p{i}_room"), kind, "stored")
            yield Buffer(f"p{i}_sent", (1,), "int", "result")
        for k, c in enumerate(plan.connections):
            if c.trainable and not c.shares:
                yield Buffer(f"c{k}_gradient", c.weight_shape, "real", "gradient")
            if c.delays and c.learns_delays:
                yield Buffer(f"c{k}_delay_gradient", c.delays.shape, "real", "gradient")
        for i, p in enumerate(plan.populations):
            for q in p.trainable:
                yield Buffer(f"p{i}_G_{q}_sum", (p.size,), "real", "sum")

    # text

    def text(self) -> str:
        library = resources.files(__package__).joinpath("library.cuh").read_text()
        head = [
            ON_DEVICE, equations(self.plan, "//"), f"typedef {self._real} real;\n", runtime(self.threads),
            "typedef real scalar;\n", library, read("memory.hpp"), *self._trial.includes,
        ]  # fmt: skip
        # `Trial` is what takes a trial through its events
        struct = self.struct("double").replace("} Trial;", "} Call;")
        declared = [sizes(self._ctx), args(self._trial.arguments), self._unpack()]
        parts = [struct, "namespace {\n", *declared, self._body, self._keep_spikes(), "}  // namespace\n"]
        text = "\n".join(part for part in [*head, functions_of(parts), *parts] if part)
        text = ATTRIBUTE.sub("__noinline__", OF_HOST.sub("", text)).replace("std::", "library::")
        return "\n".join([text, *map(self._kernel, self.kernels), self.gathers[0]])

    @cached_property
    def _body(self) -> str:
        """The passes of a trial, and the losses between them, as in `codegen.cpp`."""
        trial = self._trial
        after = outer_loss(self._ctx, trial.compare, trial.others, trial.silent, trial.running)
        return "\n".join([outer(self._ctx), *trial.body, after])

    @property
    def kernels(self) -> tuple[str, ...]:
        return ("forwards", "backwards") if self.split else ("trial",)

    def _kernel(self, name: str) -> str:
        half = f"args.half = {name.upper() if self.split else 'WHOLE'};\n"
        if self.split:
            half += "args.training = 1;\n"  # the way there keeps what the way back needs
        body = BEGIN.format(half=half) + (f"if (args.training) {BACK}" if name == "trial" else "")
        if name == "backwards":
            body = GO_ON.format(half=half, bind="bind(args, work);\n" * closed_form(self.plan)) + BACK
        return KERNEL.format(threads=self.threads, name=name, body=indent(body))

    def _unpack(self) -> str:
        """From the struct of a kernel to that which the trial reads."""
        given, here = self._trial.arguments, {b.name for b in self.arrays}
        lines = [f"args.{b.name} = RAW(t->{b.name});" for b in given.arrays if b.name in here]
        lines += [
            f"args.{n} = t->{n};" for n in (*(b.name for b in given.doubles), *given.integers) if n not in OF_CALL
        ]
        body = indent("\n".join(["Args args;", *lines, "return args;"]))
        return f"inline Args unpack(const Call *t) {{\n{body}}}\n"

    def _keep_spikes(self) -> str:
        """Copies the spikes of a trial to where the host reads them; where a list is too short it runs the trial again."""
        text = ""
        for i in self._spiking:
            p, size = f"p{i}", self.plan.populations[i].size
            text += f"""\
{{
    const int64_t room = {size} * t->{p}_room, count = work.{p}.spikes.count, first = sample * room;
    t->{p}_sent[sample] = int32_t(count);
    if (count > room) atomicMax(t->needed + {i}, int32_t((count + {size - 1}) / {size}));
    for (int64_t k = 0; k < count && k < room; ++k)
        t->{p}_sent_time[first + k] = work.{p}.spike_time[k], t->{p}_sent_index[first + k] = work.{p}.spikes.neuron[k];
}}
"""
        return f"void keep_spikes(const Call *t, Work &work, int64_t sample) {{\n{indent(text)}}}\n"

    # gradients

    @cached_property
    def gathers(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """The kernel that sums gradients over the samples, and its launch."""
        left = f"""\
const Call *const t = &t_;
for (int p = 0; p < {len(self.plan.populations)}; ++p)
    if (t->needed[p]) return;
for (int64_t sample = 0; sample < t->batch; ++sample)
    if (t->left[FACTS * sample + NO_ROOM] || t->left[FACTS * sample + POPULATION]) return;
"""
        sums: list[tuple[str, int, list[str], int]] = []
        for array, of, result in self._gradients():
            offset, rows, columns = self._ctx.gradients[of]
            term = f"total += t->slices[sample * {self._ctx.gradient_size} + {offset} + w];"
            sums.append((array, rows * columns, [term], result))
        return sum_kernel("const __grid_constant__ Call t_", left, sums)

    def _gradients(self) -> Iterable[tuple[str, str, int]]:
        """(array of a gradient, its parameter, what is noted if it is not finite: a number, or -1)."""
        for k, c in enumerate(self.plan.connections):
            if c.trainable and not c.shares:
                yield f"c{k}_gradient", c.weight, k
            if c.delays and c.learns_delays:
                yield f"c{k}_delay_gradient", c.delays_name, len(self.plan.connections) + k
        for i, p in enumerate(self.plan.populations):
            yield from ((f"p{i}_G_{q}_sum", f"{p.name}.{q}", -1) for q in p.trainable)


def _here(b: Buffer) -> Buffer:
    """A buffer of a call of `native` on a device: axes of what the host gives are what it gives."""
    if b.name == "input_gradient":
        return replace(b, role="of spikes")
    of_connection = b.name[0] == "c"
    weights = of_connection and b.name.endswith("_weight")
    if weights or b in OF_DATA_SET or b.name == "times" or b.role not in ("host", "number"):
        return b
    if b.axes[0] == "batch":
        return replace(b, axes=b.axes[:1] if len(b.axes) == 1 else ("batch", f"{LENGTH}{b.name}"))
    return replace(b, axes=(f"{LENGTH}{b.name}",), role="host" if of_connection else b.role)
