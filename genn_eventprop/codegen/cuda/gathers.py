"""Gradients of weights, delays and neuron parameters as CUDA text: kernels that run after the trials, over what these stored.

A warp alone makes a number or 32 of them, so that nothing is atomic and no sample has a gradient in memory. It goes from
spike to spike of a source: over the lists of all samples, 32 spikes at a time.

In the loops ``source`` is the neuron that spiked, ``n`` the target and ``w`` the index of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    """The functions of the warps, as operations of the trial ask for them, and the kernels that run these.

    launches: kernels, with their blocks of `GATHERING` threads, in order.
    """

    def __init__(self, layout: Layout, loops: Synapses) -> None:
        self._layout, self._loops, self.plan, self.trial = layout, loops, layout.plan, layout.trial
        self.launches: list[tuple[str, int]] = []
        self._phases: dict[tuple[int, int], list[tuple[str, int]]] = {}  # functions that run together, and their items

    def gather(self, o: Gather | GatherDelays) -> str:
        """The gradient of a connection's weights, or of its delays."""
        c = self.plan.connections[o.connection]
        if isinstance(o, Gather):
            if c.windows is not None:
                return self._of_windows(o, c.windows)
            return self._of_groups(o, "w", math.prod(c.weight_shape)) if shares_weights(c) else self._of_weights(o)
        assert c.delays is not None
        return self._of_groups(o, "d", math.prod(c.delays.shape)) if grouped_delays(c) else self._of_weights(o)

    def sums(self) -> list[str]:
        """Of each learned parameter of neurons."""
        of_neurons = [b for b in self.trial.buffers.values() if b.role == "gradient" and b.name.startswith("p")]
        return [self._sum(b) for b in of_neurons]

    def _sum(self, b: Buffer) -> str:
        """Sums over samples; `adding` to the result of the previous group."""
        body = (
            f"const int n = {WARP} * (int)item + lane;\nif (n >= {b.axes[0]}) return;\n"
            f"real total = t->adding ? t->{b.name}_sum[n] : (real)0;\n#pragma unroll {FLIGHT}\n"
            f"for (int64_t sample = 0; sample < t->batch; ++sample) total += t->{b.name}[sample * {b.axes[0]} + n];\n"
            f"t->{b.name}_sum[n] = total;\n"
        )
        return self._gathering(b, -(-int(b.axes[0]) // WARP), body)

    def _value(self, o: Gather | GatherDelays, row: str) -> str:
        """What one spike adds through the synapse with ``n`` and ``w``; row: of its arrival, in the rows of all samples."""
        post = self.plan.connections[o.connection].post
        if isinstance(o, Gather):
            return f"t->{o.rows.name}[{self._row_at(row)} * {post} + n]"
        weight, i = self._loops.stored_weight(o.connection, "w"), o.connection
        at, terms = f"t, {row} / t->n_steps, {row} % t->n_steps", dict[str, None]()
        for part, b in o.terms:
            if part not in EVALUATED:
                terms[f"part_{part}({weight}) * t->{b.name}[{self._row_at(row)} * {post} + n]"] = None
            elif self._loops.at_once(i, part):  # with the first synapse of the spike, for all
                terms[f"(leads ? spike_c{i}({at} - delay, source) : (real)0)"] = None
            else:
                terms[f"arrival_c{i}({at}, source, n, w)"] = None
        return " + ".join(terms)

    def _row_at(self, row: str) -> str:
        """Where row number `row` of the steps of all samples is in memory."""
        return row

    def _sent(self, population: int) -> str:
        """The array of the lengths of the lists of spikes."""
        return f"p{population}_w_count"

    def _delay(self, i: int) -> str:
        """Steps from a spike to its arrival through the synapse."""
        c = self.plan.connections[i]
        if c.delays is None:
            return f"t->c{i}_delay"
        place = {"synaptic": "w", "axonal": "source", "dendritic": "n"}[c.delays.kind]
        return f"t->c{i}_delays[{place}]"

    def _into(self, o: Gather | GatherDelays) -> str:
        return f"c{o.connection}_{'gradient' if isinstance(o, Gather) else 'delay_gradient'}"

    def _of_weights(self, o: Gather | GatherDelays) -> str:
        """No two synapses share a number: a lane has a synapse of the warp's source, and all look at each spike."""
        i, c, into = o.connection, self.plan.connections[o.connection], self._into(o)
        parts = max(-(-c.synapses // c.pre // WARP), 1)  # warps of a source
        if c.form == "dense":
            begin, end = "0", str(c.post)
            synapse = f"const int32_t n = mine ? s : 0;\nconst int64_t w = (int64_t)source * {c.post} + n;\n"
        else:
            begin, end = f"t->c{i}_start[source]", f"t->c{i}_start[source + 1]"
            synapse = (
                f"const int32_t n = t->c{i}_target[mine ? s : first_s], w = t->c{i}_weight_of[mine ? s : first_s];\n"
            )
        body = f"const int32_t s = first_s + lane;\nconst bool mine = s < {end};\n{synapse}const int64_t delay = {self._delay(i)};\n"
        body += f"real total = mine && {self._adding(o)} ? t->{into}[w] : (real)0;\n{self._add_together(o)}"
        body += f"if (mine) t->{into}[w] = total;\n{self._note(o)}"
        head = f"const int32_t source = (int32_t)(item / {parts});\n"
        # a row longer than its warps have lanes is gone through in tiles of them
        tiles = f"for (int32_t first_s = {begin} + (int)(item % {parts}) * {WARP}; first_s < {end}; first_s += {parts * WARP}) {{\n{indent(body)}}}\n"
        return self._gathering(o, c.pre * parts, head + tiles)

    def _of_groups(self, o: Gather | GatherDelays, kind: str, size: int) -> str:
        """Synapses that share a number: a warp takes one after the other, its lanes the spikes of that synapse's source.

        A number with many synapses, such as a weight of a convolution, is cut into slices, a warp each, whose sums
        another kernel adds in order: few numbers would leave most of the card idle.
        """
        i, c = o.connection, self.plan.connections[o.connection]
        slices = group_slices(c, size)
        synapse = f"const int s = t->c{i}_{kind}_synapse[k];\n"
        if c.form == "dense":
            synapse += (
                f"const int32_t source = s / {c.post}, n = s % {c.post};\n[[maybe_unused]] const int32_t w = s;\n"
            )
        else:
            synapse += f"const int32_t source = t->c{i}_source[s], n = t->c{i}_target[s];\n"
            synapse += f"[[maybe_unused]] const int32_t w = t->c{i}_weight_of[s];\n"
        each = self._add_apart(o)
        synapse += (
            f"[[maybe_unused]] const bool leads = k == t->c{i}_{kind}_start[group];\n"  # the loop over spikes has a `k`
        )
        each = f"{synapse}const int64_t delay = {self._delay(i)};\n{each}"
        start = f"t->c{i}_{kind}_start[group"
        body = f"""\
const int group = (int)(item / {slices}), slice = (int)(item % {slices});
real total = 0;
for (int k = {start}] + slice; k < {start} + 1]; k += {slices}) {{
{indent(each)}}}
total = warp_sum(total);
if (lane > 0) return;
"""
        return self._in_slices(o, kind, size, slices, size, body, "group")

    def _of_windows(self, o: Gather, rows: WindowRows) -> str:
        """The same for windows, where every place of a window has a synapse with the weight: the lanes of a warp have the
        weights of a row, side by side in the adjoint too; of rows shorter than eight one each, and the lanes the spikes."""
        # weights are numbered (cell of the window, channel of the source within its group, channel of the target): a row is
        # the channels of one group of the target, which one spike of the source moves together
        i, windows = o.connection, rows.windows
        size = math.prod(self.plan.connections[i].weight_shape)
        (height, width, c_in), (high, columns, c_out) = rows.source, rows.target
        down, across = zip(windows.stride, windows.dilation, windows.padding)
        slices, tiles = window_slices(rows), -(-rows.width // (WARP if rows.width >= FLIGHT else 1))  # of a row
        wide = rows.width >= FLIGHT
        spikes = self._add_together(o) if wide else self._add_apart(o)
        place = f"""\
const int32_t y = place / {columns} * {down[0]} + cell / {windows.kernel[1]} * {down[1]} - {down[2]};
const int32_t x = place % {columns} * {across[0]} + cell % {windows.kernel[1]} * {across[1]} - {across[2]};
if (y < 0 || y >= {height} || x < 0 || x >= {width}) continue;
const int32_t n = place * {c_out} + o, source = (y * {width} + x) * {c_in} + row_of_group * {rows.depth} + depth;
{spikes}"""
        body = f"""\
const int slice = (int)(item % {slices}), row_of_weights = (int)(item / {slices} / {tiles});
const int row_of_group = row_of_weights % {c_out // rows.width}, depth = row_of_weights / {c_out // rows.width} % {rows.depth};
const int cell = row_of_weights / {c_out // rows.width} / {rows.depth}, tile = (int)(item / {slices} % {tiles});
const bool mine = {f"{WARP} * tile + lane < {rows.width}" if wide else "true"};
const int o = row_of_group * {rows.width} + {f"(mine ? {WARP} * tile + lane : 0)" if wide else "tile"};
const int64_t w = ((int64_t)cell * {rows.depth} + depth) * {c_out} + o, delay = t->c{i}_delay;
real total = 0;
for (int32_t place = slice; place < {high * columns}; place += {slices}) {{
{indent(place)}}}
{"if (!mine) return;" if wide else "total = warp_sum(total);" + chr(10) + "if (lane > 0) return;"}
"""
        return self._in_slices(o, "w", size, slices, size // rows.width * tiles, body, "w")

    def _add_together(self, o: Gather | GatherDelays) -> str:
        """All lanes look at each spike, several at a time, and add what it does through their own synapse, if `mine`."""
        delays = self.plan.connections[o.connection].delays
        one = str(delays is None or delays.kind == "axonal").lower()
        value = f"[&](const int64_t r) -> real {{ return {self._value(o, 'r')}; }}"
        call = f"add_together(t, {one}, mine, delay, at, row, left, total, {value});\n"
        return self._each_spike(o.connection, call)

    def _add_apart(self, o: Gather | GatherDelays) -> str:
        """Each lane adds what its spike does through the warp's synapse."""
        there = "row >= 0 && at + delay < t->n_steps"
        return self._each_spike(o.connection, f"if ({there}) total += {self._value(o, '(row + delay)')};\n")

    def _in_slices(
        self, o: Gather | GatherDelays, kind: str, size: int, slices: int, warps: int, body: str, number: str
    ) -> str:
        """The end of functions that have the ``total`` of a slice of the synapses of a number, in one lane or several;
        the sums of several slices another function adds in order. warps: of each slice; number: its index, as text."""
        i, into = o.connection, self._into(o)
        if slices == 1:
            body += (
                f"if ({self._adding(o)}) total += t->{into}[{number}];\nt->{into}[{number}] = total;\n{self._note(o)}"
            )
            return self._gathering(o, warps, body)
        parts = f"t->c{i}_{kind}_parts[(int64_t){number} * {slices}"
        text = self._gathering(o, warps * slices, f"{body}{parts} + slice] = total;\n")
        add = f"const int64_t {number} = item * {WARP} + lane;\nif ({number} >= {size}) return;\n"
        add += f"real total = {self._adding(o)} ? t->{into}[{number}] : (real)0;\n"
        add += f"for (int slice = 0; slice < {slices}; ++slice) total += {parts} + slice];\n"
        return text + self._gathering(
            o, -(-size // WARP), f"{add}t->{into}[{number}] = total;\n{self._note(o)}", "add"
        )  # fmt: skip

    def _adding(self, o: Gather | GatherDelays) -> str:
        """Whether a gradient is added to that of the previous group, or of a connection with the same weights."""
        return "1" if isinstance(o, Gather) and self.plan.connections[o.connection].shares else "t->adding"

    def _note(self, o: Gather | GatherDelays) -> str:
        """Notes where a gradient is not finite: weights first, then delays."""
        place = o.connection + (0 if isinstance(o, Gather) else len(self.plan.connections))
        return f"note_unfinite(t, {place}, total);\n"

    def _each_spike(self, i: int, body: str) -> str:
        """Code for every spike of ``source`` in every sample, see `each_spike`."""
        c = self.plan.connections[i]
        if self._layout._from_input(i):
            channel = f"t->samples[sample] * t->n_channels + source{f' + {c.channels[0]}' if c.channels else ''}"
            place = f"start = t->channel_start[{channel}];\ncount = (int)(t->channel_start[{channel} + 1] - start);\n"
            steps = "t->by_channel"
        else:
            p, neuron = self._layout._source(i), f"sample * {c.pre} + source"
            place = f"start = ({neuron}) * t->p{p}_room;\ncount = t->{self._sent(p)}[{neuron}];\n"
            steps = f"t->p{p}_sent_at"
        parameters = "const int32_t at, const int64_t row, [[maybe_unused]] const int left"
        return f"""\
each_spike(t, {steps}, [&](const int64_t sample, int64_t &start, int &count) {{
{indent(place)}}}, [&]({parameters}) {{
{indent(body)}}});
"""

    def _gathering(self, o: Gather | GatherDelays | Buffer, items: int, body: str, verb: str = "gather") -> str:
        """A function of one warp, for so many items; all that do not depend on each other are one launch."""
        if isinstance(o, Buffer):
            name, phase = f"sum_{o.name}", (0, 0)
        else:
            name = f"{verb}_{'' if isinstance(o, Gather) else 'delays_'}c{o.connection}"
            # a connection that shares weights adds to the gradient of their owner, which must be there
            shares = isinstance(o, Gather) and self.plan.connections[o.connection].shares
            phase = (o.connection + 1 if shares else 0, int(verb == "add"))
        self._phases.setdefault(phase, []).append((name, items))
        text = indent(f"if (item >= {items}) return;\n{body}")
        return f"__device__ inline void {name}(const Trial *t, const int64_t item, const int lane) {{\n{text}}}\n"

    def kernels(self, parameter: str, struct_pointer: str) -> list[str]:
        """The kernels; they do nothing if the trial must run again. Their parameter, and how they find the struct in it."""
        again = f"for (int p = 0; p < {len(self.plan.populations)}; ++p)\n    if (t->needed[p]) return;\n"
        kernels = []
        for number, phase in enumerate(sorted(self._phases)):
            name = "gather" + (f"_{number}" if number else "")
            body, first, warps = "const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;\n", 0, GATHERING // WARP
            for function, items in self._phases[phase]:
                blocks = -(-items // warps)
                call = f"{function}(t, (int64_t)(blockIdx.x - {first}) * {warps} + warp, lane)"
                body += f"if (blockIdx.x < {first + blocks}) return {call};\n"
                first += blocks
            self.launches.append((name, first))
            head = f'extern "C" __global__ void __launch_bounds__({GATHERING}) {name}({parameter}) {{\n'
            kernels.append(head + indent(f"{struct_pointer}{again}{body}") + "}\n")
        return kernels
