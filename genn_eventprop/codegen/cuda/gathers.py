"""Gradients of weights, delays and neuron parameters as CUDA text: kernels that run after the trials, over what these stored.

A warp alone makes a number or 32 of them, so that nothing is atomic and no sample has a gradient in memory. The loops
are those of `gathers.cuh`, which ask a struct of every connection for its spikes and synapses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ...errors import Refusal
from ...modelling.connectivity import WindowRows
from ...plan import ConnectionRecord
from ...program.nodes import Buffer
from ...program.operations import EVALUATED
from ...program.trial import Gather, GatherDelays
from ..layout import Layout
from ..statements import indent
from .synapses import Synapses

WARP = 32
GATHERING = 256  # threads of a block that gathers
FLIGHT = 8  # numbers of rows that a thread asks for together
SLICE, SLICES = 8, 64  # synapses of a slice of those that share a number, at least, and the most slices
ERRORS = (
    Buffer("trouble", (1,), "key", "error"), Buffer("needed", ("populations",), "int", "error"),
    Buffer("unfinite", (2, "connections"), "int", "error"),
)  # fmt: skip
"""Where a trial left its dynamics, which lists were too short, which gradients are not finite."""
MOST_SYNAPSES = 2**31 - 2**10  # of a table: their numbers have 32 bits, and threads count beyond the last one


def shares_weights(c: ConnectionRecord) -> bool:
    """Whether several synapses have one weight."""
    return c.table is not None and c.table.weight_of is not None


def grouped_delays(c: ConnectionRecord) -> bool:
    """Whether several synapses have one delay."""
    return c.delays is not None and (c.delays.kind != "synaptic" or shares_weights(c))


def group_slices(c: ConnectionRecord, size: int) -> int:
    """Into how many slices the synapses of each of `size` shared numbers are cut."""
    return min(max(c.synapses // size // SLICE, 1), SLICES)


def window_slices(rows: WindowRows) -> int:
    """Into how many slices the places of a window are cut: a warp each, since a kernel of few weights has few warps."""
    return min(max(rows.target[0] * rows.target[1] // SLICE, 1), SLICES)


def _parts(i: int, kind: str, shape: Sequence[int], slices: int) -> Buffer:
    """The sums of slices."""
    return Buffer(f"c{i}_{kind}_parts", (math.prod(shape), slices), "real", "scratch")


def group_buffers(i: int, c: ConnectionRecord) -> list[Buffer]:
    """Which synapses share a weight or a delay: the ``start`` of every group in ``synapse``; and sources of synapses."""
    S, buffers = c.synapses, list[Buffer]()
    if c.windows is not None:
        slices = window_slices(c.windows)
        return [_parts(i, "w", c.weight_shape, slices)] if slices > 1 else []
    if S > MOST_SYNAPSES and (c.form != "dense" or grouped_delays(c)):
        raise Refusal(
            f"cuda: connection {c.name!r} has {S} synapses in a table, which holds {MOST_SYNAPSES}; use a smaller "
            "connection, or a dense one with one delay or one a synapse"
        )
    if c.form != "dense":
        buffers.append(Buffer(f"c{i}_source", (S,), "int", "host"))
    if shares_weights(c):
        W = math.prod(c.weight_shape)
        buffers += [Buffer(f"c{i}_w_start", (W + 1,), "int", "host"), Buffer(f"c{i}_w_synapse", (S,), "int", "host")]
    if c.delays is not None and grouped_delays(c):
        D = math.prod(c.delays.shape)
        buffers += [Buffer(f"c{i}_d_start", (D + 1,), "int", "host"), Buffer(f"c{i}_d_synapse", (S,), "int", "host")]
    shared = [("w", c.weight_shape)] if shares_weights(c) else []
    shared += [("d", c.delays.shape)] if c.delays is not None and grouped_delays(c) else []
    for kind, shape in shared:
        slices = group_slices(c, math.prod(shape))
        buffers += [_parts(i, kind, shape, slices)] if slices > 1 else []
    return buffers


class Gathers:
    """What `gathers.cuh` asks of every connection, and the kernels that run its functions.

    launches: kernels, with their blocks of `GATHERING` threads, in order.
    """

    def __init__(self, layout: Layout, loops: Synapses) -> None:
        self._layout, self._loops, self.plan, self.trial = layout, loops, layout.plan, layout.trial
        self.launches: list[tuple[str, int]] = []
        self._phases: dict[tuple[int, int], list[tuple[str, int]]] = {}  # calls that run together, and their items

    def gather(self, o: Gather | GatherDelays) -> str:
        """The gradient of a connection's weights, or of its delays."""
        c = self.plan.connections[o.connection]
        if isinstance(o, Gather):
            if c.windows is not None:
                return self._of_windows(o, c.windows)
            return self._of_groups(o, "w", math.prod(c.weight_shape)) if shares_weights(c) else self._of_synapses(o)
        assert c.delays is not None
        return self._of_groups(o, "d", math.prod(c.delays.shape)) if grouped_delays(c) else self._of_synapses(o)

    def sum_neurons(self) -> None:
        """Sums of each learned parameter of neurons, which has no struct."""
        of_neurons = [b for b in self.trial.buffers.values() if b.role == "gradient" and b.name.startswith("p")]
        for b in of_neurons:
            call = f"sum_neurons(t, t->{b.name}, t->{b.name}_sum, {b.axes[0]}"
            self._phases.setdefault((0, 0), []).append((call, -(-int(b.axes[0]) // WARP)))

    def _of_synapses(self, o: Gather | GatherDelays) -> str:
        """No two synapses share a number."""
        i, c = o.connection, self.plan.connections[o.connection]
        parts = max(-(-c.synapses // c.pre // WARP), 1)  # warps of a source
        begin, end = f"t->c{i}_start[source]", f"t->c{i}_start[source + 1]"
        n, w = f"t->c{i}_target[s]", f"t->c{i}_weight_of[s]"
        if c.form == "dense":
            begin, end, n, w = "0", str(c.post), "s", f"(int64_t)source * {c.post} + s"
        at, synapse = f"const int64_t w = {w};\n", f"Synapse{{source, {n}, w}}"
        methods = [
            method("int32_t", "begin", "int32_t source", begin), method("int32_t", "end", "int32_t source", end),
            method("Synapse", "synapse", "int32_t source, int32_t s", synapse, at),
        ]  # fmt: skip
        return self._struct(o, "gather_synapses", c.pre * parts, {"PARTS": parts}, methods)

    def _of_groups(self, o: Gather | GatherDelays, kind: str, size: int) -> str:
        """Synapses that share a number."""
        i, c = o.connection, self.plan.connections[o.connection]
        slices, at = group_slices(c, size), f"const int32_t s = t->c{i}_{kind}_synapse[k];\n"
        synapse = f"Synapse{{t->c{i}_source[s], t->c{i}_target[s], t->c{i}_weight_of[s]}}"
        if c.form == "dense":
            synapse = f"Synapse{{s / {c.post}, s % {c.post}, s}}"
        methods = [
            method("int32_t", "start", "int64_t k", f"t->c{i}_{kind}_start[k]"),
            method("Synapse", "synapse", "int k", synapse, at),
        ]
        return self._struct(o, "gather_groups", size * slices, {"SLICES": slices, "NUMBERS": size}, methods, kind)

    def _of_windows(self, o: Gather, rows: WindowRows) -> str:
        """Windows, every place of which has a synapse with the weight."""
        windows, size = rows.windows, math.prod(self.plan.connections[o.connection].weight_shape)
        slices, wide = window_slices(rows), rows.width >= FLIGHT
        tiles = -(-rows.width // (WARP if wide else 1))  # of a row
        numbers = {"SLICES": slices, "NUMBERS": size, "WIDE": int(wide), "TILES": tiles}
        numbers |= {"ROW": rows.width, "DEPTH": rows.depth, "KERNEL": windows.kernel[1]}
        numbers |= dict(zip(("HEIGHT", "WIDTH", "C_IN"), rows.source))
        numbers |= dict(zip(("COLUMNS", "C_OUT"), rows.target[1:])) | {"PLACES": rows.target[0] * rows.target[1]}
        for name in ("stride", "dilation", "padding"):
            numbers |= {f"{name.upper()}_{axis}": k for axis, k in zip("YX", getattr(windows, name))}
        return self._struct(o, "gather_windows", size // rows.width * tiles * slices, numbers, [], "w")

    def _struct(
        self, o: Gather | GatherDelays, gather: str, items: int, numbers: dict[str, int], methods: Sequence[str],
        kind: str = "",
    ) -> str:  # fmt: skip
        """The struct of a connection and the calls with it, of so many warps; kind: of numbers that may have slices."""
        i, weights, slices = o.connection, isinstance(o, Gather), numbers.get("SLICES", 1)
        name, delays = f"Gather{'' if weights else 'Delays'}_c{i}", self.plan.connections[i].delays
        # weights first, then delays
        numbers["RESULT"] = i + (0 if weights else len(self.plan.connections))
        numbers["ONE_DELAY"] = int(delays is None or delays.kind == "axonal")
        lines = ["const Trial *t;\n", *(f"static constexpr int {n} = {k};\n" for n, k in numbers.items())]
        gradient = f"t->c{i}_{'gradient' if weights else 'delay_gradient'}[k]"
        lines += [
            *self._spikes(i), *methods, method("int64_t", "delay", "Synapse s", self._delay(i)),
            method("real", "value", "int64_t row, int64_t delay, Synapse s, bool leads", self._value(o)),
            method("bool", "adding", "", self._adding(o)), method("decltype(auto)", "gradient", "int64_t k", gradient),
        ]  # fmt: skip
        if slices > 1:
            lines.append(method("auto", "parts", "", f"t->c{i}_{kind}_parts"))
        # a connection that shares weights adds to the gradient of their owner, which must be there
        after = i + 1 if weights and self.plan.connections[i].shares else 0
        self._phases.setdefault((after, 0), []).append((f"{gather}({name}{{t}}", items))
        if slices > 1:
            self._phases.setdefault((after, 1), []).append((f"add_slices({name}{{t}}", -(-numbers["NUMBERS"] // WARP)))
        return f"struct {name} {{\n{indent(''.join(lines))}}};\n"

    def _spikes(self, i: int) -> list[str]:
        """Where the spikes of a connection's sources are."""
        c = self.plan.connections[i]
        if self._layout._from_input(i):
            channel = f"t->samples[sample] * t->n_channels + source{f' + {c.channels[0]}' if c.channels else ''}"
            place = f"start = t->channel_start[{channel}];\ncount = (int)(t->channel_start[{channel} + 1] - start);\n"
            sent = "t->by_channel"
        else:
            p, neuron = self._layout._source(i), f"sample * {c.pre} + source"
            place = f"start = ({neuron}) * t->p{p}_room;\ncount = t->{self._sent(p)}[{neuron}];\n"
            sent = f"t->p{p}_sent_at"
        parameters = "int64_t sample, int32_t source, int64_t &start, int &count"
        return [method("auto", "sent", "", sent), method("void", "spikes", parameters, "", place)]

    def _value(self, o: Gather | GatherDelays) -> str:
        """What one spike adds through synapse ``s``; ``row``: of its arrival, in the rows of all samples."""
        i, post, at = o.connection, self.plan.connections[o.connection].post, self._row_at("row")
        if isinstance(o, Gather):
            return f"t->{o.rows.name}[{at} * {post} + s.n]"
        weight, place = self._loops.stored_weight(i, "s.w"), "t, row / t->n_steps, row % t->n_steps"
        terms = dict[str, None]()
        for part, b in o.terms:
            if part not in EVALUATED:
                terms[f"part_{part}({weight}) * t->{b.name}[{at} * {post} + s.n]"] = None
            elif self._loops.at_once(i, part):  # with the first synapse of the spike, for all
                terms[f"(leads ? spike_c{i}({place} - delay, s.source) : (real)0)"] = None
            else:
                terms[f"arrival_c{i}({place}, s.source, s.n, s.w)"] = None
        return " + ".join(terms)

    def _row_at(self, row: str) -> str:
        """Where row number `row` of the steps of all samples is in memory."""
        return row

    def _sent(self, population: int) -> str:
        """The array of the lengths of the lists of spikes."""
        return f"p{population}_w_count"

    def _delay(self, i: int) -> str:
        """Steps from a spike to its arrival through synapse ``s``."""
        c = self.plan.connections[i]
        if c.delays is None:
            return f"t->c{i}_delay"
        place = {"synaptic": "w", "axonal": "source", "dendritic": "n"}[c.delays.kind]
        return f"t->c{i}_delays[s.{place}]"

    def _adding(self, o: Gather | GatherDelays) -> str:
        """Whether a gradient is added to that of the previous group, or of a connection with the same weights."""
        return "1" if isinstance(o, Gather) and self.plan.connections[o.connection].shares else "t->adding"

    def kernels(self, parameter: str, struct_pointer: str) -> list[str]:
        """The kernels; they do nothing if the trial must run again. Their parameter, and how they find the struct in it."""
        again = f"for (int p = 0; p < {len(self.plan.populations)}; ++p)\n    if (t->needed[p]) return;\n"
        kernels = []
        for number, phase in enumerate(sorted(self._phases)):
            name = "gather" + (f"_{number}" if number else "")
            body, first, warps = "const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;\n", 0, GATHERING // WARP
            for call, items in self._phases[phase]:
                blocks = -(-items // warps)
                one = f"const int64_t item = (int64_t)(blockIdx.x - {first}) * {warps} + warp;\n"
                one += f"if (item < {items}) {call}, item, lane);\nreturn;\n"
                body += f"if (blockIdx.x < {first + blocks}) {{\n{indent(one)}}}\n"
                first += blocks
            self.launches.append((name, first))
            head = f'extern "C" __global__ void __launch_bounds__({GATHERING}) {name}({parameter}) {{\n'
            kernels.append(head + indent(f"{struct_pointer}{again}{body}") + "}\n")
        return kernels


def sum_kernel(
    parameter: str, left: str, sums: Iterable[tuple[str, int, Sequence[str], int]]
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The kernel that sums gradients over the samples, a thread a number, where every sample has its own; and its launch.

    Args:
        left: statements that leave it if the trial must run again. sums: of each gradient its array, its size, what a sample adds to number `w` of it
            in ``total``, and its number among the results that must be finite, or -1.
    """
    text, total = f"{left}int64_t w = (int64_t)blockIdx.x * {GATHERING} + threadIdx.x;\n", 0
    for array, size, terms, result in sums:
        adds = "".join(f", [&](int64_t sample, real &total) {{ {term} }}" for term in terms)
        call = f"sum_samples(t, t->{array}, w{adds})"
        call = f"note_unfinite(t, {result}, {call})" if result >= 0 else f"(void){call}"
        text += f"if (w < {size}) return {call};\nw -= {size};\n"
        total += size
    if not total:
        return "", ()
    head = f'extern "C" __global__ void __launch_bounds__({GATHERING}) gather({parameter}) {{\n'
    return f"{head}{indent(text)}}}\n", (("gather", -(-total // GATHERING)),)


def method(kind: str, name: str, parameters: str, value: str, before: str = "") -> str:
    """A method of the struct of a connection; before: statements before its value, if it has one."""
    body = before + (f"return {value};\n" if value else "")
    return f"__device__ {kind} {name}({parameters}) const {{\n{indent(body)}}}\n"
