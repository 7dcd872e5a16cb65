"""Connections with a table of synapses, with windows or with individual delays, as CUDA text.

Forwards, the threads of a block share the synapses of a spike; where a thread writes to neurons of other threads, there is
a barrier between spikes, so that every sum has a fixed order. Backwards, a gradient is summed by one thread or, where many
synapses share a weight or a delay, by the lanes of one warp; nothing is atomic.

In the loops ``source`` is the neuron that spiked, ``n`` the target and ``w`` the index of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...errors import EngineError
from ...modelling.connectivity import WindowRows
from ...plan import ConnectionRecord
from ...program.nodes import NEURON, Access, Buffer
from ...program.trial import Deliver, Gather, GatherDelays
from ..layout import Layout
from ..safe_text import in_comment
from ..statements import indent

WARP = 32
MOST_SYNAPSES = 2**31 - 2**10  # of a table: their numbers have 32 bits, and threads count beyond the last one


def shares_weights(c: ConnectionRecord) -> bool:
    """Whether several synapses have one weight."""
    return c.table is not None and c.table.weight_of is not None


def grouped_delays(c: ConnectionRecord) -> bool:
    """Whether several synapses have one delay."""
    return c.delays is not None and (c.delays.kind != "synaptic" or shares_weights(c))


def group_buffers(i: int, c: ConnectionRecord) -> list[Buffer]:
    """Which synapses share a weight or a delay: the ``start`` of every group in ``synapse``; and sources of synapses."""
    S, buffers = c.synapses, list[Buffer]()
    if c.windows is not None:
        return buffers
    if S > MOST_SYNAPSES and (c.form != "dense" or grouped_delays(c)):
        raise EngineError(
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
    return buffers


class Synapses(Layout):
    """The code for connections that are not dense with a single delay."""

    threads: int  # of a block
    launches: list[tuple[str, int]]  # kernels and blocks that come after the trial's
    parameter: str
    struct_pointer: str
    # of `ConnectionOps` and `target`
    _bits: Callable[..., str]
    _over: Callable[..., str]
    _element: Callable[..., str]
    _row: Callable[[Buffer, str], str]

    # forwards

    def _clear_rings(self) -> str:
        """Clears the ring buffers."""
        text = ""
        for i, (c, delays) in enumerate(zip(self.plan.connections, self.trial.delays)):
            for b in delays.arriving.values() if delays else ():
                size = f"t->c{i}_ring * {c.post}"
                text += f"for (int64_t k = threadIdx.x; k < {size}; k += {self.threads}) t->{b.name}[sample * {size} + k] = 0;\n"
        return text

    def _deliver_synapses(self, o: Deliver) -> str:
        """Arrivals through a table or with individual delays; with delays they go into a ring first, by step."""
        i, c, delays = o.connection, self.plan.connections[o.connection], self.trial.delays[o.connection]
        weight = f"part_{{part}}(t->c{i}_weight[w])"
        if delays is None:
            add = "".join(f"{b.name}[n] += {weight.format(part=part)};\n" for part, b in o.sums)
        else:
            add = f"const int64_t arrival = step + {self._delay_of(i)};\nif (arrival >= t->n_steps) continue;\n"
            for part in delays.arriving:
                add += f"{self._ring(i, part, 'arrival', 'n')} += {weight.format(part=part)};\n"
        barrier = "__syncthreads();\n" if c.form != "dense" else ""  # dense: a thread writes only to its neurons
        rows = self._each_synapse(i, add, "threadIdx.x", self.threads) + barrier
        if self._from_input(i):
            head = f"for (; next{i} < to && t->steps[next{i}] + t->c{i}_delay == step; ++next{i}) {{\n"
            spikes = head + indent(f"{self._source_of(i, f't->channels[next{i}]')}{rows}") + "}\n"
        else:
            spikes = self._each_set(self._source(i), self._bits(i), rows)
            spikes = f"if (step > t->c{i}_delay) {{\n{indent(spikes)}}}\n"
        return barrier + spikes + (self._take(o) if delays else "")

    def _take(self, o: Deliver) -> str:
        """Adds what arrives now, and clears its place in the ring: it is that of a later step from here on."""
        c, body = self.plan.connections[o.connection], ""
        for part, b in o.sums:
            place = self._ring(o.connection, part, "step", "neuron")
            body += f"{self._element(Access(b, (NEURON,)), str)} += {place};\n{place} = 0;\n"
        target = next(k for k, p in enumerate(self.plan.populations) if p.name == c.target)
        return self._over(target, body, f"{c.source} -> {c.target}")

    # backwards

    def _feedback_of_synapses(self, i: int, part: str, b: Buffer, now: str) -> str:
        """The lanes of a warp add what a spike at `now` caused to ``total``."""
        add = f"total += part_{part}(t->c{i}_weight[w]) * {self._row(b, f'({now} + {self._delay_of(i)})')};\n"
        late = f"{now} + {self._delay_of(i)} < t->n_steps"
        if self.plan.connections[i].delays is None:
            return f"if ({late}) {{\n{indent(self._each_synapse(i, add, 'lane', WARP))}}}\n"
        return self._each_synapse(i, f"if ({late}) {add}", "lane", WARP)

    def _gather_synapses(self, o: Gather | GatherDelays) -> str:
        """A kernel for the gradient of weights, or of delays."""
        i, c = o.connection, self.plan.connections[o.connection]
        at = f"t->{{}}[(sample * t->n_steps + arrival) * {c.post} + n]"
        if isinstance(o, Gather) and c.windows is not None:
            return self._gather_windows(o, c.windows, at.format(o.rows.name))
        if isinstance(o, Gather):
            value, into, groups, name = at.format(o.rows.name), f"c{i}_gradient", shares_weights(c), f"gather_c{i}"
            kind, size = "w", math.prod(c.weight_shape)
        else:
            assert c.delays is not None
            value = " + ".join(f"part_{part}(t->c{i}_weight[w]) * {at.format(b.name)}" for part, b in o.terms)
            into, groups, name = f"c{i}_delay_gradient", grouped_delays(c), f"gather_delays_c{i}"
            kind, size = "d", math.prod(c.delays.shape)
        each = self._each_sample(i, f"total += {value};\n")
        if groups:  # a warp for each weight; otherwise no two synapses share a weight, and a thread writes it alone
            per_block = self.threads // WARP
            self.launches.append((name, -(-size // per_block)))
            body = self._of_group(i, kind, size, into, each, self._note(o), self._adding(o))
        else:
            self.launches.append((name, c.pre))
            one = f"real total = {self._adding(o)} ? t->{into}[w] : (real)0;\n{each}t->{into}[w] = total;\n{self._note(o)}"
            body = "const int32_t source = blockIdx.x;\n" + self._each_synapse(i, one, "threadIdx.x", "blockDim.x")
        return self._kernel(name, body, f"// {in_comment(f'{c.source} -> {c.target}')}\n")

    def _gather_windows(self, o: Gather, rows: WindowRows, value: str) -> str:
        """The same for windows: a thread sums the gradient of a weight over all places, sample by sample."""
        i, c, name, windows = o.connection, self.plan.connections[o.connection], f"gather_c{o.connection}", rows.windows
        (height, width, c_in), (high, columns, c_out), size = rows.source, rows.target, math.prod(c.weight_shape)
        down, across = zip(windows.stride, windows.dilation, windows.padding)
        inside = f"y >= 0 && y < {height} && x >= 0 && x < {width}"
        spikes = f"""\
const int32_t n = place * {c_out} + o, source = (y * {width} + x) * {c_in} + o / {rows.width} * {rows.depth} + depth;
{self._each_spike_of_source(i, f"total += {value};{chr(10)}")}"""
        place = f"""\
const int32_t y = place / {columns} * {down[0]} + cell / {windows.kernel[1]} * {down[1]} - {down[2]};
const int32_t x = place % {columns} * {across[0]} + cell % {windows.kernel[1]} * {across[1]} - {across[2]};
if ({inside}) {{
{indent(spikes)}}}
"""
        places = f"for (int32_t place = 0; place < {high * columns}; ++place) {{\n{indent(place)}}}\n"
        body = f"""\
const int w = blockIdx.x * {self.threads} + threadIdx.x, o = w % {c_out};
const int cell = w / {c_out} / {rows.depth}, depth = w / {c_out} % {rows.depth};
if (w >= {size}) return;
const int64_t delay = {self._delay_of(i)};
real total = {self._adding(o)} ? t->c{i}_gradient[w] : (real)0;
for (int64_t sample = 0; sample < t->batch; ++sample) {{
{indent(places)}}}
t->c{i}_gradient[w] = total;
{self._note(o)}"""
        self.launches.append((name, -(-size // self.threads)))
        return self._kernel(name, body, f"// {in_comment(f'{c.source} -> {c.target}')}\n")

    def _each_of_windows(self, i: int, rows: WindowRows, body: str, first: str, stride: int | str) -> str:
        """Threads share the targets of all rows."""
        each = f"""\
const int32_t a = DOWN[y] + k / {rows.width} / columns, b = ACROSS[x] + k / {rows.width} % columns;
const int32_t o = block + k % {rows.width}, n = DOWN_target[a] + ACROSS_target[b] + o;
const int32_t w = DOWN_weight[a] + ACROSS_weight[b] + source % {rows.depth} * {rows.target[2]} + o;
{body}"""
        text = f"""\
{self._windows_over(i, rows)}const int32_t columns = ACROSS[x + 1] - ACROSS[x];
const int32_t end = (DOWN[y + 1] - DOWN[y]) * columns * {rows.width};
for (int32_t k = {first or 0}; k < end; k += {stride}) {{
{indent(each)}}}
"""
        return f"{{\n{indent(self._with_axes(i, text))}}}\n"

    def _adding(self, o: Gather | GatherDelays) -> str:
        """Whether a gradient is added to that of the previous group, or of a connection with the same weights."""
        return "1" if isinstance(o, Gather) and self.plan.connections[o.connection].shares else "t->adding"

    def _note(self, o: Gather | GatherDelays) -> str:
        """Notes where a gradient is not finite: weights first, then delays."""
        place = o.connection + (0 if isinstance(o, Gather) else len(self.plan.connections))
        return f"if (total - total != 0) atomicMax(t->unfinite + {place}, 1);\n"

    def _kernel(self, name: str, body: str, comment: str = "") -> str:
        """A kernel that runs after the trial, and does nothing if the trial must run again."""
        head = f'{comment}extern "C" __global__ void __launch_bounds__({self.threads}, 4) {name}({self.parameter}) {{\n'
        again = f"for (int p = 0; p < {len(self.plan.populations)}; ++p)\n    if (t->needed[p]) return;\n"
        return head + indent(f"{self.struct_pointer}{again}{body}") + "}\n"

    def _of_group(self, i: int, kind: str, size: int, into: str, each: str, note: str, adding: str) -> str:
        """Sums over the synapses of a group, one warp per group; `warp_sum` adds the lanes in a fixed order."""
        c = self.plan.connections[i]
        synapse = f"const int s = t->c{i}_{kind}_synapse[k];\n"
        if c.form == "dense":
            synapse += f"const int32_t source = s / {c.post}, n = s % {c.post}, w = s;\n"
        else:
            synapse += f"const int32_t source = t->c{i}_source[s], n = t->c{i}_target[s], w = t->c{i}_weight_of[s];\n"
        return (
            f"const int lane = threadIdx.x % {WARP}, group = blockIdx.x * {self.threads // WARP} + threadIdx.x / {WARP};\n"
            f"if (group >= {size}) return;\nreal total = 0;\n"
            f"for (int k = t->c{i}_{kind}_start[group] + lane; k < t->c{i}_{kind}_start[group + 1]; k += {WARP}) {{\n"
            f"{indent(f'{synapse}(void)w;{chr(10)}{each}')}}}\n"
            f"total = warp_sum(total);\nif (lane > 0) return;\nif ({adding}) total += t->{into}[group];\n"
            f"t->{into}[group] = total;\n{note}"
        )

    def _spikes_of_source(self, i: int) -> str:
        """Pointer to the range of the spikes of an input channel in a sample."""
        channels = self.plan.connections[i].channels
        return (
            f"t->channel_start + t->samples[sample] * t->n_channels + source{f' + {channels[0]}' if channels else ''}"
        )

    def _each_sample(self, i: int, add: str) -> str:
        """Code for every spike of ``source`` in every sample whose ``arrival`` is within the trial."""
        delay = f"const int64_t delay = {self._delay_of(i)};\n"
        spikes = self._each_spike_of_source(i, add)
        return delay + f"for (int64_t sample = 0; sample < t->batch; ++sample) {{\n{indent(spikes)}}}\n"

    def _each_spike_of_source(self, i: int, add: str) -> str:
        """The same in one sample; `delay` in steps is declared."""
        if self._from_input(i):
            return (
                f"const int64_t *first = {self._spikes_of_source(i)};\n"
                "for (int64_t e = first[0]; e < first[1]; ++e) {\n"
                "    const int64_t arrival = t->by_channel[e] + delay;\n"
                f"    if (arrival < t->n_steps) {add}}}\n"
            )
        p, words = self._source(i), self._words(self._source(i))
        bits = f"t->p{p}_spikes[(sample * t->n_points + arrival - delay) * {words} + source / 32]"
        return (
            "for (int64_t arrival = delay + 1; arrival < t->n_steps; ++arrival)\n"
            f"    if ({bits} >> source % 32 & 1) {add}"
        )
