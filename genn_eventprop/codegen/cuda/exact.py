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
engine's own. Resets, jumps, readouts, outer losses and regularisers are the statements of `program`; what reads V between
events is in `exact_readings.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import resources

import sympy as sp

from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.groups import walk_order
from ...plan.series import DEGREE, NODES
from ...program.compare import comparison, further_slopes
from ...program.events import DL_DT, OBSERVED
from ...program.jump import x0_slope
from ...program.lower import DATA as OF_DATA_SET
from ...program.nodes import Access, Add, Buffer, Kernel, Set, Statement, name
from ...program.outer import on_host
from ...program.readouts import Readout, Several, make_readout
from ...program.readouts.base import NOW
from ...program.readouts.spikes import COUNT
from ...program.regularise import JUMP, TOTAL, Regularise
from ...program.scope import Scope
from ..equations import equations
from ..exact_statements import begin_back, jump_back, pushed
from ..layout import RANGE, Layout
from ..safe_text import in_comment
from ..shared import shared
from ..statements import Spelling, Writer, indent
from .blocks import declare_shared, shared_bytes
from .exact_neurons import SHARED, Neurons
from .exact_readings import Reading, SeriesIntegral, VoltageLoss, make_readings
from .gathers import ERRORS, method, sum_kernel

BYTES = {"double": 8, "int": 4}
CHUNK = 32  # arrivals whose numbers a block computes together, a thread each
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
ARRIVAL = {"s": "double", "connection": "int", "source": "int", "index": "int"}
"""What is stored of an arrival: its offset, the route or the source that it comes from, and the number of the spike."""


class Population(Neurons):
    """One population of the trial.

    A step goes through `forwards` of every population in order, and back through `backwards` in the reverse order.
    """

    def __init__(self, kernels: ExactKernels, p: PopulationRecord, i: int) -> None:
        super().__init__(kernels.scopes[i], kernels.threads, kernels.split, kernels.said)
        self.k, self.regularise = kernels, Regularise(self.scope) if p.spiking else None
        readout = kernels.readouts.get(p.name)
        parts = list(readout.parts) if isinstance(readout, Several) else [readout] if readout else []
        self.readings = make_readings(self, parts)
        self.series = next((r for r in self.readings if isinstance(r, SeriesIntegral)), None)
        # readings whose statements say all of it
        self.said_of = [r.part for r in self.readings if type(r) is Reading]
        self.feeds = [
            (k, c) for k, c in self.into if c.source != self.plan.input.name or kernels.split or c.learns_delays
        ]
        if p.spiking:
            self.scope.each(COUNT, "int", "result")

    # buffers

    def buffers(self) -> list[Buffer]:
        """What a trial keeps of a population besides the values of `program`."""
        x, n, room, S = f"x_{self.name}", self.n, f"{self.name}_room", self.S
        sizes = {"_rho": n + 1}
        for mode in self.modes:
            sizes |= {f"{mode}_spike": n * (2 * n + 1)}
            sizes |= {f"{mode}_arrive_{r}": 2 * n + 1 for r in self.p.derived.receptors}
            sizes |= {f"{mode}_back_{r}": (2 + len(self.dynamic)) * n for r in self.p.derived.receptors}
            sizes |= {f"{mode}_dspike_{q}": n * (n + 1) for q in self.dynamic}
        buffers = [Buffer(f"{x}{t}", ((DEGREE + 1) * size * S,), "double", "number") for t, size in sizes.items()]
        buffers += [Buffer(f"{x}_{t}", ((n + 1) * S,), "double", "number") for t in ("dg", "curve")]
        for mode in self.modes:
            buffers += [Buffer(f"{x}{mode}_A", (n * (n + 1) * (self.N if S > 1 else 1),), "double", "number")]
            buffers += [Buffer(f"{x}{mode}_dstep_{q}", (n * (n + 1) * S,), "double", "number") for q in self.dynamic]
        for into in ("a", "u") if any(c.delays for _, c in self.into) else ("a",):
            buffers += [
                Buffer(f"{self.name}_{into}_{f}", (f"{self.name}_arrivals",), kind, "stored")
                for f, kind in ARRIVAL.items()
            ]
        buffers.append(Buffer(f"{self.name}_a_start", ("exact_points",), "int", "stored"))
        if self.p.spiking:
            buffers += [
                Buffer(f"{self.name}_e_{field}", (self.N * (n if field.endswith("x") else 1), room), kind, "stored")
                for field, kind in self.event_fields.items()
            ]
            ordered = {"unsorted": "int", "sent_index": "int", "sent_time": "double"}
            buffers += [Buffer(f"{self.name}_{f}", (self.N, room), kind, "stored") for f, kind in ordered.items()]
            buffers.append(Buffer(f"{self.name}_w_guarded", (self.N,), "int", "result"))
            buffers.append(Buffer(f"{self.name}_sent", (1,), "int", "result"))
        if self.p.observed:
            buffers.append(Buffer(f"{self.name}_{OBSERVED}", ("batch", self.N, f"{self.name}_most"), "double", "host"))
        if S > 1:
            buffers.append(Buffer(f"{self.name}_w_end", (self.end_size, self.N), "double", "stored"))
        if self.dynamic:
            buffers.append(Buffer(f"{self.name}_trace", ("exact_points", n, self.N), "double", "stored"))
        for q in self.p.trainable:
            buffers.append(Buffer(f"{self.name}_G_{q}", (self.N,), "real", "gradient"))
            buffers.append(Buffer(f"{self.name}_G_{q}_sum", (self.N,), "real", "sum"))
        if self.feeds:
            buffers.append(Buffer(f"{self.name}_z", (CHUNK, self.N), "real", "stored"))
        return buffers + [b for r in self.readings for b in r.buffers()]

    def shared(self) -> list[Buffer]:
        """In shared memory: P(delta) and c(delta), rho there, and how many spikes each neuron has sent in the step."""
        buffers = [Buffer(f"{self.name}_end", (self.end_size,), "double")] if self.S == 1 else []
        buffers += [Buffer(f"{self.name}_u0", (self.n + 2,), "double")] if self.series else []
        buffers += [b for r in self.readings for b in r.shared()]
        return buffers + ([Buffer(f"{self.name}_new", (self.N + 1,), "int")] if self.p.spiking else [])

    @property
    def end_size(self) -> int:
        """Numbers of the end of a step: P and c of every mode, and the row of the threshold."""
        return self.end_row + self.n + 1

    @property
    def end_row(self) -> int:
        """Where the row of the threshold begins among them."""
        return len(self.modes) * self.n * (self.n + 1)

    @property
    def ends(self) -> str:
        """A function to number c of the end of a step."""
        return f"[&](const int c) {{ return (double){self._end_number}; }}"

    @property
    def _end_number(self) -> str:
        p = self.name
        return f"{p}_end[c]" if self.S == 1 else f"t->{p}_w_end[(sample * {self.end_size} + c) * {self.N} + neuron]"

    def declare(self) -> str:
        """Registers of the neurons of a thread."""
        p, slots = self.name, self.slots
        text = f"Way<Tables_{p}> {p}[{slots}];\n"
        if self.p.spiking:
            text += f"const int64_t {p}_events = sample * {self.N} * t->{p}_room;\nint64_t {p}_total = 0;\n"
        text += "".join(r.declare() for r in self.readings)
        return f"{text}const int64_t {p}_arrived = sample * t->{p}_arrivals;\nint64_t {p}_last = 0;\n"

    @property
    def looks(self) -> bool:
        """Whether anything is looked at between the events of a step."""
        return self.p.spiking or any(r.by_nodes for r in self.readings)

    def begin(self) -> str:
        """The start of the trial."""
        p, s = self.name, self.scope
        y = {x: f"{p}[i].y[{k}]" for k, x in enumerate(s.x)}
        body = self.said([Set(x, s.expression(e)) for x, e in zip(s.x, self.p.derived.x0)], y)
        for part in self.said_of:
            body += self.said(part.begin(), y)
        body += f"{p}[i].now = 0, {p}[i].mode = 0;\n"
        if self.p.spiking:
            body += f"{p}[i].count = 0, {p}[i].unarmed = cell.threshold({p}[i].y) >= 0, {p}[i].enter(cell);\n"
            body += (
                f"t->{p}_w_guarded[sample * {self.N} + neuron] = 0;\nt->{p}_w_count[sample * {self.N} + neuron] = 0;\n"
            )
        body += "".join(r.begin() for r in self.readings)
        first = self.over(body, f"start of {self.p.name}")
        return first + (
            self.over(self._ends()) if self.S > 1 else f"if (threadIdx.x == 0) {{\n{indent(self._ends())}}}\n"
        )

    def _ends(self) -> str:
        """Sets the numbers of the end of a step."""
        cell = self.cell("0") if self.S == 1 else ""
        return f"{cell}set_ends(cell, [&](const int c, const double value) {{ {self._end_number} = value; }});\n"

    def look(self) -> str:
        """A function that takes a neuron from `now` to `next`, and through all crossings before; row: of g at `next`."""
        read = "".join(r.read() for r in self.readings)
        text = "".join(r.functions() for r in self.readings) + (self._read_until(read) if read else "")
        if not self.p.spiking:
            return text
        p, s = self.name, self.scope
        places = {x: f"before[{k}]" for k, x in enumerate(s.x)}
        said = f"t->{p}_w_count[sample * {self.N} + neuron] = {p}[i].count + 1;\n"
        spiked = "".join(self.said(part.spiked(), places) for part in self.said_of)
        said += f"[[maybe_unused]] const double {NOW} = time;\n{spiked}" if spiked else ""
        said += "".join(r.jumped() for r in self.readings)
        until = f"read_{p}(neuron, i, until, handled);" if read else ""
        both = "[[maybe_unused]] const double *before, [[maybe_unused]]"
        return f"""\
{text}const auto follow_{p} = [&](const int32_t neuron, const int i, const double next, const auto row, const int handled, const bool last) {{
    {self.cell()}\
    const auto read = [&]([[maybe_unused]] const double until) {{ {until} }};
{indent(self.reset())}\
    const auto lasts = [&] {{
{indent(self._lasts(), 2)}\
    }};
    const auto spiked = [&]([[maybe_unused]] const double s, [[maybe_unused]] const double time, {both} const double *after) {{
{indent(said, 2)}\
    }};
    if (follow(cell, {p}[i], t_k, (int)step, next, row, handled, last, read, reset, lasts, spiked)) {{
        atomicMin(t->trouble, (uint64_t)(sample * {len(self.plan.populations)} + {self.i}));
        ran_away = 1;
    }}
}};
"""

    def _read_until(self, body: str) -> str:
        """A function that reads from the present time on; entry: arrivals of the step that have come before."""
        p = self.name
        return f"""\
const auto read_{p} = [&](const int32_t neuron, const int i, const double until, [[maybe_unused]] const int entry) {{
    const double *const y = {p}[i].y;
    {self.cell()}\
    const double since = {p}[i].now;
{indent(body)}\
}};
"""

    def _lasts(self) -> str:
        """ms of the refractory period after a spike."""
        lasts, s, modes = name("w", "lasts"), self.scope, self.p.derived.modes
        if len(modes) == 1 or modes[1].lasts is None:
            return "return 0.0;\n"
        s.each(lasts)
        return f"double lasts;\n{self.said([Set(lasts, s.number(modes[1].lasts))], {lasts: 'lasts'})}return lasts;\n"

    def forwards(self) -> str:
        """A step: its arrivals in order, the neurons through them, and their spikes in order."""
        replay = "".join(r.replay() for r in self.readings)
        return (
            f"{{  // {in_comment(self.p.name)}\n{indent(self._arrivals() + self._walk() + self._sent() + replay)}}}\n"
        )

    def connections(self) -> str:
        """What the functions of exact.cuh ask of every connection into the population, as a struct each."""
        return "".join(self._connection(k, c) for k, c in self.into)

    def _source(self, c: ConnectionRecord) -> str:
        """The population that a connection comes from, nothing for the input."""
        return "" if c.source == self.plan.input.name else f"p{self.plan.numbers[c.source]}"

    def _connection(self, k: int, c: ConnectionRecord) -> str:
        source, delays, start = self._source(c), c.delays, f"t->c{k}_start"
        if source:
            sent, index, sender = f"t->{source}_sent_time[e]", f"t->{source}_sent_index[e]", f"index(e) % {c.pre}"
        else:
            sent, index, sender = "t->times[e]", "(int32_t)(e - first)", "t->channels[e]"
        if c.channels:
            begin, end = c.channels
            sender = f"{sender} >= {begin} && {sender} < {end} ? (int32_t){sender} - {begin} : -1"
        spike = "int64_t e"
        methods = [
            method("double", "sent", spike, sent),
            method("int32_t", "index", spike, index),
            method("int32_t", "sender", spike, sender),
        ]
        if delays:
            of_route = f"t->c{k}_delay_of[route]"
            methods += [
                method("double", "delay", "int32_t route", f"t->c{k}_delays[{of_route}]"),
                method("int32_t", "routes", "int32_t sender", f"{start}[sender]"),
                method("double", "longest", "", f"t->limit_c{k}"),
            ]
        else:
            before, route = "", "sender(e)"
            if not c.by_rows:  # a source has a route, or none
                before = "const int32_t of = sender(e);\n"
                route = f"of >= 0 && {start}[of] < {start}[of + 1] ? (int32_t){start}[of] : -1"
            methods.append(method("double", "delay", "", f"t->d_c{k}" if c.delay > 0 else "0.0"))
            methods.append(method("int32_t", "route", spike, route, before))
        if k in dict(self.feeds):
            to = f"t->{source}_e_by[first + index] += D;\n"
            if not source:
                to = "t->input_gradient[t->input_start[sample] + index] += D;\n" if self.k.split else ""
            D = "[[maybe_unused]] real D"
            methods.append(method("void", "feed", f"[[maybe_unused]] int32_t index, {D}", "", to))
            if delays:
                to = f"t->c{k}_delay_slice[sample * {math.prod(delays.shape)} + {of_route}] += D;\n" * c.learns_delays
                methods.append(method("void", "learn", f"[[maybe_unused]] int32_t route, {D}", "", to))
        fields = f"static constexpr int NUMBER = {k};\nstatic constexpr bool LATE = {str(bool(delays)).lower()};\n"
        fields += "const Trial *t;\nint64_t sample, first, next = first, due = first, limit = first;  // first: spike of the sample\n"
        return f"struct Connection_c{k} {{\n{indent(fields + ''.join(methods))}}};\n"

    def into_trial(self, k: int, c: ConnectionRecord) -> str:
        """Declares a connection, with its first spike in the sample."""
        source = self._source(c)
        return f"Connection_c{k} into{k}{{t, sample, {f'{source}_events' if source else 'from'}}};\n"

    def _list(self, which: str) -> str:
        """A list of arrivals."""
        return f"arrivals_in({', '.join(f't->{self.name}_{which}_{field}' for field in ARRIVAL)})"

    def _arrivals(self) -> str:
        """The arrivals of the step in order of time; those of one instant keep the order of their connections."""
        p, text, late = self.name, "", any(c.delays for _, c in self.into)
        for k, c in self.into:
            source = self._source(c)
            text += f"into{k}.limit = {f'{source}_events + {source}_total' if source else 'to'};\n"
        into = "".join(f", into{k}" for k, _ in self.into)
        by_way_of = f"{self._list('u')}, {p}_arrived, due_of, " if late else ""
        text += f"""\
const int64_t begin = {p}_last;
const int64_t count = put_in_order{"_late" * late}({self._list("a")}, {p}_arrived + begin, {by_way_of}t_k, t_end{into});
{p}_last = begin + count;
"""
        start = f"t->{p}_a_start[sample * t->exact_points + step]"
        body = f"{start} = (int32_t)begin;\nif (step + 1 == t->exact_steps) {start[:-1]} + 1] = (int32_t){p}_last;\n"
        entered = "".join(r.enter() for r in self.readings)
        if entered:
            text += "__syncthreads();  // else a step without arrivals has none before the next one\n"
        return f"{text}if (threadIdx.x == 0) {{\n{indent(body + entered)}}}\n__syncthreads();\n"

    def _take(self, count: str, first: str, body: str) -> str:
        """Loads arrivals into shared memory, a thread each, with what they have for all neurons: ``f``."""
        W = self.width
        if self.S > 1:
            body = ""
        keep = f"for (int c = 0; c < {W}; ++c) factors[threadIdx.x * {W} + c] = f[c];\n" if body else ""
        return f"""\
if ((int)threadIdx.x < {count}) {{
    const int64_t place = {self.name}_arrived + {first} + threadIdx.x;
    [[maybe_unused]] const double s = t->{self.name}_a_s[place];
    [[maybe_unused]] const int32_t connection = t->{self.name}_a_connection[place];
    [[maybe_unused]] double f[{W}] = {{0}};
{indent(body + keep)}\
    offset[threadIdx.x] = s;
    from_connection[threadIdx.x] = connection;
    source_of[threadIdx.x] = t->{self.name}_a_source[place];
    index_of[threadIdx.x] = t->{self.name}_a_index[place];
}}
__syncthreads();
"""

    @property
    def _skip(self) -> str:
        """Of arrivals that are those of other inputs."""
        some = any(c.channels or not (c.by_rows or c.delays) for _, c in self.into)
        return "if (from_connection[e] < 0) continue;\n" if some else ""

    def _walk(self) -> str:
        """The neurons through the arrivals of the step, and to its end."""
        n, p, W = self.n, self.name, self.width
        series = self.series.along(2 * n + 1) if self.series else ""
        refractory = (
            f"cell.arrive(1, {self.receptor('connection')}, s, f + {self.front});\n" if len(self.modes) > 1 else ""
        )
        take = f"{self.cell('0')}cell.front({self.receptor('connection')}, s, f);\n{series}{refractory}"
        each, row, at, receptor = self._skip, "factors", f"e * {W} + {n}", self.receptor("from_connection[e]")
        if self.S > 1:
            each += f"double f[{2 * n + 1}];\ncell.front({receptor}, offset[e], f);\n"
            row, at = "f", f"{n}"
        # asked for before the neuron's way to the arrival, which takes a part of the time of the load
        each += f"const double w = {self.weight_of('from_connection[e]', 'source_of[e]')};\n"
        each += self._until("offset[e]", row, at, "(int)first + e", "false")
        if self.S > 1 and len(self.modes) > 1:
            each += f"if ({self.mode}) cell.arrive(1, {receptor}, offset[e], f);\n"
        each += "".join(r.arriving() for r in self.readings)
        by = "f[k]" if self.S > 1 else f"factors[e * {W} + {self.mode} * {self.front} + k]"
        each += f"for (int k = 0; k < {n}; ++k) {p}[i].y[k] += {by} * w;\n"
        each += "".join(r.arrived() for r in self.readings)
        chunk = f"const int m = count - first < {CHUNK} ? (int)(count - first) : {CHUNK};\n"
        chunk += self._take("m", "begin + first", take)
        chunk += self.over(f"for (int e = 0; e < m; ++e) {{\n{indent(each)}}}\n") + "__syncthreads();\n"
        loop = f"for (int64_t first = 0; first < count; first += {CHUNK}) {{\n{indent(chunk)}}}\n" if self.into else ""
        last = f"const auto end = {self.ends};\n"
        if self.p.spiking:
            last += f"double row[{n + 1}];\nfor (int c = 0; c <= {n}; ++c) row[c] = end({self.end_row} + c);\n"
        last += self._until("t->delta", "row", "0", "(int)count", "true") + f"{p}[i].advance(end);\n"
        last += "".join(f"{self.of_trace('step', k)} = {p}[i].y[{k}];\n" for k in range(n) if self.dynamic)
        last += f"{p}[i].enter(cell);\n" if self.p.spiking else f"{p}[i].now = 0;\n"
        first = (self.series.start() if self.series else "") + "".join(r.before() for r in self.readings)
        return (self.over(first) if first else "") + loop + self.over(last)

    def _until(self, to: str, row: str, at: str, handled: str, last: str) -> str:
        """Takes a neuron to the next arrival, or to the end of the step."""
        p = self.name
        if self.p.spiking:
            return f"follow_{p}(neuron, i, {to}, [&](const int c) {{ return (double){row}[{at} + c]; }}, {handled}, {last});\n"
        return f"read_{p}(neuron, i, {to}, {handled});\n{p}[i].now = {to};\n" if self.looks else ""

    def of_trace(self, step: str, k: int | str) -> str:
        """State k at the end of a step."""
        return f"t->{self.name}_trace[((sample * t->exact_points + {step}) * {self.n} + {k}) * {self.N} + neuron]"

    def _sent(self) -> str:
        """The spikes of the step in order of time."""
        if not self.p.spiking:
            return ""
        p = self.name
        lists = f"{p}_tables, {p}, {p}_before, {p}_new, t->needed + {self.i}, ran_away, {p}_total"
        return f"const int sent = list_spikes<{self.N}>({lists});\nif (sent < 0) return;\n{p}_total += sent;\n"

    def end(self) -> str:
        """The end of the pass forwards."""
        p, text = self.name, ""
        y = {x: f"{p}[i].y[{k}]" for k, x in enumerate(self.scope.x)}
        text = "".join(self.said(part.end(), y) for part in self.said_of)
        text += "".join(r.end() for r in self.readings)
        text = self.over(text, f"end of {self.p.name}") if text else ""
        return text + (f"if (threadIdx.x == 0) t->{p}_sent[sample] = (int32_t){p}_total;\n" if self.p.spiking else "")

    # backwards

    @property
    def _parts(self) -> list[Readout]:
        return [r.part for r in self.readings]

    @property
    def _looks_back(self) -> bool:
        """Whether readings go through stretches of time backwards."""
        return any(r.read_back() for r in self.readings)

    @property
    def _knows_y(self) -> bool:
        """Whether they need y there."""
        return bool(self.dynamic) and any(r.by_nodes for r in self.readings)

    def declare_back(self) -> str:
        p, slots = self.name, self.slots
        text = f"WayBack<Tables_{p}> {p}[{slots}];\nconst int64_t {p}_arrived = sample * t->{p}_arrivals;\n"
        text += f"double {p}_sum[{slots}][{len(self.p.trainable)}];\n" if self.p.trainable else ""
        text += "".join(r.declare_back() for r in self.readings)
        if self.p.spiking:
            text += f"const int64_t {p}_events = sample * {self.N} * t->{p}_room;\n"
        return text

    def begin_back(self) -> str:
        """lambda at T, jumps at own spikes by the counts of the trial; sums begin at 0."""
        p, s, n = self.name, self.scope, self.n
        lam = {l: f"{p}[i].mu[{k}]" for k, l in enumerate(s.lam)}
        first, last = begin_back(s, self.regularise, self._parts, self.said_of)
        body = f"for (int k = 0; k < {n}; ++k) {p}[i].mu[k] = 0;\n{self.said([*first, *last], lam)}"
        L = len(self.p.trainable)
        body += f"for (int k = 0; k < {L}; ++k) {p}_sum[i][k] = 0;\n" if L else ""
        body += "".join(r.begin_back() for r in self.readings)
        text = ""
        if self.regularise and self.regularise.whole_layer:
            text = f"int32_t {p}_{TOTAL} = 0;\nfor (int k = 0; k < {self.N}; ++k) {p}_{TOTAL} += t->{p}_w_count[sample * {self.N} + k];\n"
        if self.p.spiking:
            body += f"{p}[i].left = t->{p}_w_count[sample * {self.N} + neuron];\n"
            newest = self.event("end_step", f"({p}[i].left - 1) * (int64_t){self.N} + neuron")
            body += f"{p}[i].mode = {f'{p}[i].left > 0 && {newest} < 0' if len(self.modes) > 1 else 0};\n"
            body += f"{p}[i].newest(cell);\n"
            body += (
                f"for (int k = 0; k < {p}[i].left; ++k) {self.event('by', f'(int64_t)k * {self.N} + neuron')} = 0;\n"
            )
        for k, c in self.into:
            zero = [(f"c{k}_slice", c.pre * c.post if c.by_rows else c.synapses)] if c.trainable else []
            zero += [(f"c{k}_delay_slice", math.prod(c.delays.shape))] if c.delays and c.learns_delays else []
            for of, size in zero:
                text += (
                    f"for (int w = threadIdx.x; w < {size}; w += {self.k.threads}) t->{of}[sample * {size} + w] = 0;\n"
                )
        text += self.over(body, f"start backwards of {self.p.name}")
        return text + (f"if (threadIdx.x == 0) {{\n{indent(self._ends())}}}\n" if self.S == 1 and self.k.split else "")

    def undo(self) -> str:
        """Functions: one that looks up the newest event that is left, and one that undoes it."""
        back = "".join(r.read_back() for r in self.readings)
        text = "".join(r.functions() for r in self.readings) + (self._read_back_to(back) if back else "")
        if not self.p.spiking:
            return text
        p, s = self.name, self.scope
        places = {x: f"before[{k}]" for k, x in enumerate(s.x)} | {l: f"lambda[{k}]" for k, l in enumerate(s.lam)}
        for q in self.p.trainable:
            places[s.each(name("w", "grad", q))] = self.sum_of(q)
        early = {x: name("b", x) for x in s.x}
        said = self.said([b for part in self.said_of for e in s.d.events for b in part.time_gradient(e, early)], places)
        early_values = "".join(
            f"const double {b} = before[{k}];\n" for k, b in enumerate(early.values()) if str(b) in said
        )
        early_values += f"const double {NOW} = {self.event('time')};\n" if str(NOW) in said else ""
        jumped = f"[[maybe_unused]] const double inv_gdot = {self.event('rate')};\n{self.said(jump_back(s, s.d.events[0], 'double'), places)}"
        state = pushed(s, self.regularise, self._parts)
        jumped += f"lambda[{state}] += t->{p}_{JUMP}[sample * {self.N} + neuron];\n" if state >= 0 else ""
        duration = [q for q in self.p.trainable if q in self.p.derived.durations]
        undone = "".join(r.undone("spike") for r in self.readings)
        if len(self.modes) > 1:
            ended = "".join(r.undone("end") for r in self.readings)
            undone = f"if (spike) {{\n{indent(undone)}}} else {{\n{indent(ended)}}}\n"
        before = "[[maybe_unused]] const double *before"
        number = "[[maybe_unused]] const int64_t event"
        read = "[[maybe_unused]] const double since, [[maybe_unused]] const int entry"
        return f"""\
{text}const auto undo_{p} = [&](const int32_t neuron, const int i) {{
    {self.cell()}\
    const auto read = [&]({read}) {{ {self._back_to("since", "entry").strip()} }};
{indent(self.reset())}\
    const auto spiked = [&](const int64_t event, [[maybe_unused]] const double s, {before}, [[maybe_unused]] const double *after, [[maybe_unused]] double *extra) {{
        double {DL_DT} = {self.event("by")};
{indent(early_values + said, 2)}\
{indent("".join(r.time_gradient() for r in self.readings), 2)}\
        return {DL_DT};
    }};
    const auto jumps = [&](const int64_t event, {before}, [[maybe_unused]] const double dl_dt, [[maybe_unused]] double *lambda, [[maybe_unused]] const int w_mode) {{
{indent(jumped, 2)}\
    }};
    const auto lasting = [&]([[maybe_unused]] const double D) {{ {" ".join(f"{self.sum_of(q)} += D;" for q in duration)} }};
    const auto undone = [&]({number}, [[maybe_unused]] const bool spike) {{
{indent("double *const mu = " + p + "[i].mu;" + chr(10) + undone, 2) if undone else ""}\
    }};
    undo(cell, {p}[i], read, reset, spiked, jumps, {self.learn}, lasting, undone);
}};
"""

    def _read_back_to(self, body: str) -> str:
        p = self.name
        return f"""\
const auto read_back_{p} = [&](const int32_t neuron, const int i, const double since, [[maybe_unused]] const int entry) {{
    {self.cell()}\
    const double until = {p}[i].at;
{indent(body)}\
    {p}[i].at = fmin(since, until);
}};
"""

    def _back_to(self, s: str, entry: str) -> str:
        return f"read_back_{self.name}(neuron, i, {s}, {entry});\n" if self._looks_back else ""

    def backwards(self) -> str:
        """A step backwards."""
        p = self.name
        trace = f"return {self.of_trace('step', 'k')};" if self.dynamic else "return 0.0;"
        last = f"[&]([[maybe_unused]] const int k) {{ {trace} }}"
        retreat = f"retreat(cell, {p}[i], {self.ends}, {self.learn}, {last});\n"
        retreat += "".join(r.retreat() for r in self.readings)
        text = self.over(retreat, f"step back of {self.p.name}")
        undo = f"while ({p}[i].step == step{{more}}) undo_{p}(neuron, i);\n" if self.p.spiking else ""
        if self.into:
            start = f"t->{p}_a_start[sample * t->exact_points + step"
            text += f"const int64_t begin = {start}], end = {start} + 1];\n"
            text += f"for (int64_t high = end; high > begin;) {{\n{indent(self._chunk_back(undo))}}}\n"
        rest = undo.format(more="") + self._back_to("0.0", "-1")
        rest += self.series.leave() if self.series else ""
        text += self.over(rest) if rest else ""
        return f"{{  // {in_comment(self.p.name)}\n{indent(text)}}}\n"

    def _chunk_back(self, undo: str) -> str:
        n, p, W, L = self.n, self.name, self.width, len(self.dynamic)
        size = (2 + L) * n
        take, receptor = self.cell("0"), self.receptor("connection")
        for mode in range(len(self.modes)):
            take += f"cell.back({mode}, {receptor}, s, f + {mode * self.back});\n"
        take += self.series.along(size, back=True) if self.series else ""
        number = "(int)(low - begin) + e"
        each = undo.format(more=f" && {p}[i].handled > {number}") + self._back_to("offset[e]", number)
        if self.S > 1:
            each += f"double f[{size}];\ncell.back({self.mode}, {self.receptor('from_connection[e]')}, offset[e], f);\n"
        at = (lambda c: f"f[{c}]") if self.S > 1 else (lambda c: f"factors[e * {W} + {self.mode} * {self.back} + {c}]")

        def part(first: int, more: list[str]) -> str:
            return " + ".join([*(f"{at(first + k)} * {p}[i].mu[{k}]" for k in range(n)), *filter(None, more)])

        learned = [(k, c) for k, c in self.into if c.trainable]
        if self.feeds or self.dynamic or any(r.by_nodes for r in self.readings):
            each += f"[[maybe_unused]] const double w = {self.weight_of('from_connection[e]', 'source_of[e]')};\n"
        if learned:
            each += f"const real q = (real)({part(0, [r.of_weight() for r in self.readings])});\n"
        for k, c in learned:
            only = f"if (from_connection[e] == {k}) " if len(self.into) > 1 else ""
            if c.by_rows:
                each += f"{only}t->c{k}_slice[(sample * {c.pre} + source_of[e]) * {self.N} + neuron] += q;\n"
            else:
                add = f"const int32_t at = {self.synapse(k, 'source_of[e]')};\n"
                add += f"if (at >= 0) t->c{k}_slice[sample * {c.synapses} + at] += q;\n"
                each += f"{only}{{\n{indent(add)}}}\n"
        for r, q in enumerate(self.dynamic):
            each += f"{self.sum_of(q)} += w * ({part((2 + r) * n, [])});\n"
        if self.feeds:
            D = f"w * ({part(n, [r.of_time() for r in self.readings])})"
            D = " + ".join([D, *filter(None, (r.kink() for r in self.readings))])
            each += f"t->{p}_z[(sample * {CHUNK} + e) * {self.N} + neuron] = (real)({D});\n"
        each += f"for (int k = 0; k < {n}; ++k) {p}[i].y[k] -= {at('k')} * w;\n" if self._knows_y else ""
        each += "".join(r.undone("arrival") for r in self.readings)
        text = f"const int m = high - begin < {CHUNK} ? (int)(high - begin) : {CHUNK};\nconst int64_t low = high - m;\n"
        text += self._take("m", "low", take)
        text += (
            self.over(f"for (int e = m - 1; e >= 0; --e) {{\n{indent(self._skip + each)}}}\n") + "__syncthreads();\n"
        )
        # a connection after the other: a spike may have arrivals through several
        chunk = "from_connection, source_of, index_of, total_of"
        text += "".join(f"feed<{self.N}>(into{k}, t->{p}_z, sample, m, {chunk});\n" for k, _ in self.feeds)
        return text + "high = low;\n"

    def learned(self) -> str:
        """The end of the pass backwards: gradients of parameters of neurons."""
        if not self.p.trainable:
            return ""
        p, s = self.name, self.scope
        places = {l: f"{p}[i].mu[{k}]" for k, l in enumerate(s.lam)}
        first: list[Statement] = []
        for q in self.p.trainable:
            grad = s.each(name("w", "grad", q))
            places[grad] = self.sum_of(q)
            slope = x0_slope(s, q)
            first += [Add(grad, slope)] if slope != 0 else []
        text = self.said(first, places)
        text += "".join(
            f"t->{p}_G_{q}[sample * {self.N} + neuron] = (real){self.sum_of(q)};\n" for q in self.p.trainable
        )
        return self.over(text, f"gradients of parameters of {self.p.name}")


class ExactKernels(Layout):
    """The kernels of one file: the trial, whole or in two halves, and the sums of gradients."""

    def __init__(self, plan: Plan, split: bool, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.split = split
        self._program: dict[str, Buffer] = {}
        self.scopes = [Scope(plan, p, i, self._program) for i, p in enumerate(plan.populations)]
        self.readouts = {l.output: make_readout(self.scopes[plan.numbers[l.output]], split) for l in plan.losses}
        self.populations = [Population(self, p, plan.numbers[p.name]) for p in walk_order(plan)]
        self.host_slopes = split or on_host(plan)
        width = max(w.width for w in self.populations)
        chunk = {
            "offset": "double",
            "total_of": "double",
            "from_connection": "int",
            "source_of": "int",
            "index_of": "int",
        }
        self._shared = [Buffer("factors", (CHUNK * width,), "double")]
        self._shared += [Buffer(n, (CHUNK,), kind) for n, kind in chunk.items()]
        self._shared += [Buffer("due_of", (threads,), "int")] if any(c.delays for c in plan.connections) else []
        self._shared += [b for w in self.populations for b in w.shared()]
        self._shared.sort(key=lambda b: b.kind != "double")  # aligned by size
        self.shared_bytes = shared_bytes(self._shared, BYTES)
        self._bodies = self._make_bodies()
        self._declare()
        self.by_value = True
        self.parameter = "const __grid_constant__ Trial t_"

    def _declare(self) -> None:
        """The struct: what the texts name."""
        buffers = [*DATA, *self._of_connections(), *(b for w in self.populations for b in w.buffers())]
        texts = "".join(self._bodies.values())
        for b in self._program.values():
            if re.search(rf"t->{b.name}\b", texts):  # values of neurons that the trial keeps are in global memory
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

    def spelling(self, s: Scope, places: dict[sp.Symbol, str]) -> Spelling:
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

    def said(self, s: Scope, body: Iterable[Statement], places: dict[sp.Symbol, str]) -> str:
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

    def _step(self) -> str:
        return (
            "[[maybe_unused]] const double t_k = t->duration * (double)step / (double)t->exact_steps;\n"
            "[[maybe_unused]] const double t_end = step + 1 < t->exact_steps ? t->duration * (double)(step + 1) / (double)t->exact_steps : t->duration;\n"
        )

    def _there(self) -> str:
        text = "[[maybe_unused]] int ran_away = 0;\n"
        text += "".join(w.declare() for w in self.populations)
        text += "".join(f"int {w.name}_before[{w.slots}] = {{0}};\n" for w in self.populations if w.p.spiking)
        text += "".join(w.into_trial(k, c) for w in self.populations for k, c in w.into)
        text += "".join(w.begin() for w in self.populations) + "__syncthreads();\n"
        body = (
            self._step() + "".join(w.look() for w in self.populations) + "".join(w.forwards() for w in self.populations)
        )
        text += f"for (int64_t step = 0; step < t->exact_steps; ++step) {{\n{indent(body)}}}\n"
        return text + "".join(w.end() for w in self.populations) + "__syncthreads();\n"

    def _back(self) -> str:
        head = "int64_t step = t->exact_steps;\n"
        text = "".join(w.declare_back() + w.undo() for w in self.populations)
        text += "".join(w.into_trial(k, c) for w in self.populations for k, c in w.feeds)
        if self.split:
            text += f"for (int64_t e = from + threadIdx.x; e < to; e += {self.threads}) t->input_gradient[t->input_start[sample] + e - from] = 0;\n"
        text += "".join(w.begin_back() for w in self.populations) + "__syncthreads();\n"
        body = "".join(w.backwards() for w in reversed(self.populations))
        text = f"{head}double t_k = t->duration;\n{text}"
        text += f"while (--step >= 0) {{\n    t_k = t->duration * (double)step / (double)t->exact_steps;\n{indent(body)}}}\n"
        return text + "".join(w.learned() for w in self.populations)

    def functions(self) -> str:
        """What kernels call."""
        library = [
            f"#define THREADS {self.threads}\n",
            *(shared(name, "__device__ inline") for name in ("neuron.h", "maximum.h", "weights.h")),
        ]
        library.append(resources.files(__package__).joinpath("exact.cuh").read_text())
        tables = (w.tables({n: a for r in w.readings for n, a in r.arrays().items()}) for w in self.populations)
        connections = (w.connections() for w in self.populations)
        return "".join([*library, *tables, *connections, *(r.structs() for w in self.populations for r in w.readings)])

    def trials(self) -> dict[str, str]:
        """name -> text."""
        return {n: self._block(n, body) for n, body in self._bodies.items()}

    def _block(self, name: str, body: str) -> str:
        head = f'extern "C" __global__ void __launch_bounds__({self.threads}) {name}({self.parameter}) {{\n'
        start = "const Trial *const t = &t_;\nconst int64_t sample = blockIdx.x;\n"
        start += (
            f"[[maybe_unused]] const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n[[maybe_unused]] {RANGE}"
        )
        start += declare_shared(self._shared, BYTES, body)
        # the length of an instant: crossings within it of each other or of an arrival count as simultaneous
        start += "[[maybe_unused]] const double together = sizeof(real) == 4 ? t->delta / 131072 : t->duration / 70368744177664.0;\n"
        start += "".join(f"const Tables_{w.name} {w.name}_tables{{t, together, sample}};\n" for w in self.populations)
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


def head(plan: Plan, real: str) -> list[str]:
    """What stands before the struct."""
    runtime = resources.files(__package__).joinpath("runtime.cuh").read_text()
    files = (shared(name, "__device__ inline") for name in ("phi1.h", "functions.h", "crossings.h"))
    return [equations(plan, "//"), f"typedef {real} real;\n", runtime, SETTINGS, *files]
