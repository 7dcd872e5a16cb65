"""A trial with exact spike times as CUDA text: a thread a neuron walks through the arrivals of every step in order.

Within a step x(t_k + s) = P(s) y + c(s), and y changes at events alone (`plan/series.py`). The arrivals of a step are known
when it begins: those from the input, from populations before, and from spikes of earlier steps, since a connection back has
a delay of at least a step. A block sorts them by time; then every thread takes its neurons from arrival to arrival. It
looks for crossings between two by the bound on g'' that `native` uses, and solves them where they happen: nothing of
other neurons matters to it within the step. At the end of the step the block puts the spikes of its neurons in order of
time, which is the list that later populations and steps take their arrivals from. So a step has a few barriers for each
population, whatever happens in it.

Backwards mu = P(s)^T lambda is constant between events. Threads walk through the same arrivals from the last one to the first,
with their own spikes in between, add what an arrival adds to the gradient of its weight, and write D of it; then warps add D
over the targets of an arrival, which goes to the spike that caused it.

Numbers that all neurons share at an arrival are computed once a block, for `CHUNK` arrivals at a time. States, adjoints and
times are double precision in either engine; weights and gradients have the engine's own. Resets, jumps, readouts, outer
losses and regularisers are the statements of `program`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import resources

import sympy as sp

from ...modelling.expressions import symbol
from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.groups import walk_order
from ...plan.series import DEGREE
from ...program.compare import comparison
from ...program.events import DL_DT
from ...program.jump import jump, jump_term
from ...program.nodes import Access, Add, Buffer, Let, Set, Statement, name
from ...program.outer import on_host
from ...program.readouts import make_readout
from ...program.readouts.base import NOW, Readout
from ...program.readouts.spikes import COUNT
from ...program.regularise import JUMP, TOTAL, Regularise
from ...program.scope import Scope
from ..equations import equations
from ..layout import RANGE, Layout
from ..safe_text import in_comment
from ..shared import shared
from ..statements import TYPES, Spelling, Writer, indent
from .gathers import GATHERING, WARP

CHUNK = 32  # arrivals whose numbers a block computes together, a thread each
RUNAWAY = 200  # more spikes of a neuron in a step end the trial
DATA = (
    Buffer("times", ("spikes",), "double", "host"), Buffer("channels", ("spikes",), "int", "host"),
    Buffer("offsets", ("samples",), "long", "host"), Buffer("samples", ("batch",), "long", "host"),
    Buffer("trouble", (1,), "key", "error"), Buffer("needed", ("populations",), "int", "error"),
    Buffer("unfinite", (2, "connections"), "int", "error"),
)  # fmt: skip
INTEGERS = ("batch", "training", "adding", "exact_steps", "exact_points")
RATE = name("t", "rate")  # E / gdot


class Walk:
    """One population of the trial.

    A step goes through `forwards` of every population in order, and back through `backwards` in the reverse order.
    """

    def __init__(self, kernels: ExactKernels, p: PopulationRecord, i: int) -> None:
        self.k, self.p, self.i, self.plan, self.n = kernels, p, i, kernels.plan, len(p.derived.states)
        self.scope, self.name, self.N = kernels.scopes[i], f"p{i}", p.size
        self.readout: Readout | None = kernels.readouts.get(p.name)
        self.regularise = Regularise(self.scope) if p.spiking else None
        self.into = [(k, c) for k, c in enumerate(self.plan.connections) if c.target == p.name]
        # a time integral is read between events; all other readouts are statements at spikes and at both ends
        self.integrates = self.readout is not None and self.readout.between_events() is not None
        self.feeds = [(k, c) for k, c in self.into if c.source != self.plan.input.name or kernels.split]
        if p.spiking:
            self.scope.each(COUNT, "int", "result")

    # buffers

    def buffers(self) -> list[Buffer]:
        """What a trial keeps of a population besides the values of `program`."""
        x, n, room = f"x_{self.name}", self.n, f"{self.name}_room"
        sizes = {"rho": n + 1, "spike": n * (n + 1) + n * n}
        sizes |= {f"arrive_{r}": 2 * n + 1 for r in self.p.derived.receptors}
        sizes |= {f"back_{r}": 2 * n for r in self.p.derived.receptors}
        found = [Buffer(f"{x}_{t}", ((DEGREE + 1) * size,), "double", "number") for t, size in sizes.items()]
        found += [Buffer(f"{x}_{t}", (n + 1,), "double", "number") for t in ("dg", "curve")]
        found += [Buffer(f"{x}_A", (n * (n + 1),), "double", "number")]
        arrivals = {"s": "double", "connection": "int", "source": "int", "index": "int"}
        found += [
            Buffer(f"{self.name}_a_{f}", (f"{self.name}_arrivals",), kind, "stored") for f, kind in arrivals.items()
        ]
        found.append(Buffer(f"{self.name}_a_start", ("exact_points",), "int", "stored"))
        if self.p.spiking:
            fields = {"s": "double", "time": "double", "rate": "double", "step": "int", "handled": "int", "by": "real"}
            fields |= {f"x{k}": "double" for k in range(n)}
            found += [Buffer(f"{self.name}_e_{f}", (self.N, room), kind, "stored") for f, kind in fields.items()]
            ordered = {"unsorted": "int", "sent_index": "int", "sent_time": "double"}
            found += [Buffer(f"{self.name}_{f}", (self.N, room), kind, "stored") for f, kind in ordered.items()]
            found.append(Buffer(f"{self.name}_w_guarded", (self.N,), "int", "result"))
            found.append(Buffer(f"{self.name}_sent", (1,), "int", "result"))
        if self.feeds:
            found.append(Buffer(f"{self.name}_z", (CHUNK, self.N), "real", "stored"))
        if self.integrates:
            found.append(Buffer(f"{self.name}_u", ("exact_points", 2 * (DEGREE + 1) * (n + 2)), "double", "host"))
            found.append(Buffer(f"{self.name}_edges", ("exact_points", 2), "double", "host"))
        return found

    def shared(self) -> list[Buffer]:
        """In shared memory: P(delta) and c(delta), rho there, and how many spikes each neuron has sent in the step."""
        n = self.n
        found = [
            Buffer(f"{self.name}_end", (n * (n + 1) + n + 1,), "double"),
            Buffer(f"{self.name}_u0", (n + 2,), "double"),
        ]
        return found + ([Buffer(f"{self.name}_new", (self.N + 1,), "int")] if self.p.spiking else [])

    @property
    def width(self) -> int:
        """Numbers of an arrival that all neurons share."""
        return 2 * self.n + 2

    # text

    def over(self, body: str, comment: str = "") -> str:
        """Code for every neuron, number `i` of those of the thread."""
        slots, threads = self.slots, self.k.threads
        guard = f"if (neuron < {self.N}) " if self.N % threads else ""
        text = f"const int32_t neuron = threadIdx.x + i * {threads};\n{guard}{{\n{indent(body)}}}\n"
        said = f"  // {in_comment(comment)}" if comment else ""
        return f"#pragma unroll\nfor (int i = 0; i < {slots}; ++i) {{{said}\n{indent(text)}}}\n"

    @property
    def slots(self) -> int:
        return -(-self.N // self.k.threads)

    def _said(self, body: Iterable[Statement], places: dict[sp.Symbol, str]) -> str:
        return self.k.said(self.scope, body, places)

    def _event(self, field: str, index: str = "event") -> str:
        return f"t->{self.name}_e_{field}[{self.name}_events + {index}]"

    def _dot(self, row: Callable[[int], str], constant: str, of: str) -> str:
        """row . of + constant."""
        return " + ".join([constant, *(f"{row(j)} * {of}[{j}]" for j in range(self.n))])

    def declare(self) -> str:
        """Registers of the neurons of a thread."""
        p, slots = self.name, self.slots
        text = f"double {p}_y[{slots}][{self.n}];\n"
        if self.p.spiking:
            text += f"double {p}_now[{slots}], {p}_g[{slots}];\nint {p}_known[{slots}], {p}_unarmed[{slots}], {p}_count[{slots}];\n"
            text += f"const int64_t {p}_events = sample * {self.N} * t->{p}_room;\nint64_t {p}_total = 0;\n"
        text += f"double {p}_read[{slots}];\n" if self.integrates else ""
        return f"{text}const int64_t {p}_arrived = sample * t->{p}_arrivals;\nint64_t {p}_last = 0;\n"

    def begin(self) -> str:
        """The start of the trial."""
        n, p, s = self.n, self.name, self.scope
        y = {x: f"{p}_y[i][{k}]" for k, x in enumerate(s.x)}
        body = self._said([Set(x, s.expression(e)) for x, e in zip(s.x, self.p.derived.x0)], y)
        if self.readout is not None:
            body += self._said(self.readout.begin(), y)
        if self.p.spiking:
            body += f"{p}_count[i] = 0;\n{p}_unarmed[i] = {self._threshold(f'{p}_y[i]')} >= 0;\n{self._start_of_step()}"
            body += (
                f"t->{p}_w_guarded[sample * {self.N} + neuron] = 0;\nt->{p}_w_count[sample * {self.N} + neuron] = 0;\n"
            )
        body += f"{p}_read[i] = 0;\n" if self.integrates else ""
        end = f"double m[{n * (n + 1) + n * n}];\nhorner<{n * (n + 1) + n * n}>(t->x_{p}_spike, 0, (int)t->degree_{p}, t->delta, m);\n"
        end += f"for (int c = 0; c < {n * (n + 1)}; ++c) {p}_end[c] = m[c];\n"
        end += f"horner<{n + 1}>(t->x_{p}_rho, 0, (int)t->degree_{p}, t->delta, m);\n"
        end += f"for (int c = 0; c <= {n}; ++c) {p}_end[{n * (n + 1)} + c] = m[c];\n"
        return self.over(body, f"start of {self.p.name}") + f"if (threadIdx.x == 0) {{\n{indent(end)}}}\n"

    def _threshold(self, of: str) -> str:
        return self._dot(lambda j: f"t->x_{self.name}_dg[{j}]", f"t->x_{self.name}_dg[{self.n}]", of)

    def _start_of_step(self) -> str:
        p = self.name
        return f"{p}_now[i] = 0;\n{p}_known[i] = !{p}_unarmed[i];\n{p}_g[i] = {self._threshold(f'{p}_y[i]')};\n"

    # forwards

    def look(self) -> str:
        """A function that takes a neuron from `now` to `next`, and through all crossings before; row: of g at `next`."""
        if not self.p.spiking:
            return ""
        n, p, s = self.n, self.name, self.scope
        bend = " + ".join([f"t->x_{p}_curve[{n}]", *(f"t->x_{p}_curve[{j}] * fabs(y[{j}])" for j in range(n))])
        before = {x: f"before[{k}]" for k, x in enumerate(s.x)}
        after = [s.each(name("w", "after", x)) for x in s.d.states]
        reset = self._said(
            [Set(x, s.expression(e)) for x, e in zip(after, self.p.derived.events[0].h)],
            before | {x: f"after[{k}]" for k, x in enumerate(after)},
        )
        said = f"t->{p}_w_count[sample * {self.N} + neuron] = {p}_count[i] + 1;\n"
        if self.readout is not None and (spiked := self._said(self.readout.spiked(), before)):
            said += f"[[maybe_unused]] const double {NOW} = time;\n{spiked}"
        if self.integrates:
            said += f"double f[{n + 2}];\nintegrated<{n + 2}>(t->{p}_u, t->{p}_edges, step, s, f);\n"
            said += f"{p}_read[i] += {' + '.join(f'f[{j}] * (after[{j}] - before[{j}])' for j in range(n))};\n"
        back = n * (n + 1)
        text = f"""\
const auto look_{p} = [&](const int32_t neuron, const int i, const double next, const auto &row, const int at, const int handled, const bool last) {{
    double *const y = {p}_y[i];
    for (int spiked = 0;; ++spiked) {{
        // with |g''| <= bend, g between two times is at most `one`, and at most `both`
        const double g = {self._dot(lambda j: f"row[at + {j}]", f"row[at + {n}]", "y")};
        const double bend = {bend};
        const double h = next - {p}_now[i], half = 0.5 * h * h + slack_{p};
        const double one = g + bend * half, both = fmax(g, {p}_g[i]) + 0.25 * half * bend;
        const bool below = fmax({p}_known[i] && both < one ? both : one, {p}_known[i] ? {p}_g[i] : one) < 0;
        double s = -1;
        if (!below || {p}_unarmed[i]) {{
            double c[DEGREE + 1], from = {p}_now[i];
            for (int q = 0; q <= t->degree_{p}; ++q) c[q] = {self._dot(lambda j: f"t->x_{p}_rho[q * {n + 1} + {j}]", f"t->x_{p}_rho[q * {n + 1} + {n}]", "y")};
            if ({p}_unarmed[i]) {{
                from = armed_from(c, (int)t->degree_{p}, from, next + together, bend, 1e-15 * t->delta);
                {p}_unarmed[i] = from < 0;
            }}
            if (from >= 0) s = first_crossing(c, (int)t->degree_{p}, from, next + together, bend);
        }}
        if (s < 0) {{
            {p}_g[i] = g, {p}_known[i] = !{p}_unarmed[i];
            break;
        }}
        if (!last && s > next) s = next;
        if (spiked == {RUNAWAY}) {{
            atomicMin(t->trouble, (uint64_t)(sample * {len(self.plan.populations)} + {self.i}));
            ran_away = 1;
            break;
        }}
        double m[{back + n * n}], before[{n}], after[{n}], gdot = 0;
        horner<{back + n * n}>(t->x_{p}_spike, 0, (int)t->degree_{p}, s, m);
        for (int k = 0; k < {n}; ++k) before[k] = {self._dot(lambda j: f"m[k * {n + 1} + {j}]", f"m[k * {n + 1} + {n}]", "y")};
{indent(reset, 2)}\
        for (int k = 0; k < {n}; ++k) gdot += t->x_{p}_dg[k] * ({self._dot(lambda j: f"t->x_{p}_A[k * {n + 1} + {j}]", f"t->x_{p}_A[k * {n + 1} + {n}]", "before")});
        if (!(gdot > 0) || gdot < t->slope_floor) {{
            gdot = t->slope_floor;
            t->{p}_w_guarded[sample * {self.N} + neuron] += 1;
        }}
        const double at_ms = t_k + s, time = at_ms < t->duration ? at_ms : t->duration;
        if ({p}_count[i] < t->{p}_room) {{
            const int64_t event = (int64_t){p}_count[i] * {self.N} + neuron;
            {self._event("s")} = s;
            {self._event("time")} = time;
            {self._event("rate")} = gdot > 0 ? 1 / gdot : 0.0;
            {self._event("step")} = (int32_t)step;
            {self._event("handled")} = handled;
{indent("".join(f"{self._event(f'x{k}')} = before[{k}];" + chr(10) for k in range(n)), 3)}\
        }}
        {{
{indent(said, 3)}\
        }}
        for (int k = 0; k < {n}; ++k) y[k] += {" + ".join(f"m[{back} + k * {n} + {j}] * (after[{j}] - before[{j}])" for j in range(n))};
        {p}_unarmed[i] = {self._threshold("after")} >= 0;
        {p}_now[i] = s, {p}_known[i] = 0;
        ++{p}_count[i];
    }}
    {p}_now[i] = next;
}};
"""
        return f"const double slack_{p} = 20 * t->delta * together;\n{text}"

    def forwards(self) -> str:
        """A step: its arrivals in order, the neurons through them, and their spikes in order."""
        return f"{{  // {in_comment(self.p.name)}\n{indent(self._arrivals() + self._walk() + self._sent())}}}\n"

    def _times(self, c: ConnectionRecord) -> tuple[str, str]:
        """(when spike e was sent, how many there are so far)."""
        if c.source == self.plan.input.name:
            return "t->times", "to"
        source = self.k.number[c.source]
        return f"t->p{source}_sent_time", f"{self._events_of(c)} + p{source}_total"

    def _events_of(self, c: ConnectionRecord) -> str:
        return f"p{self.k.number[c.source]}_events"

    def _delay(self, k: int, c: ConnectionRecord) -> str:
        return f"t->d_c{k}" if c.delay > 0 else "0.0"

    def _arrivals(self) -> str:
        """Finds the arrivals of the step, a warp 32 spikes at a time, and stores them in order of time; those of one instant
        keep the order of their connections."""
        p, text = self.name, ""
        for k, c in self.into:
            times, limit = self._times(c)
            text += f"""\
int64_t end{k} = next{k};
for (uint32_t due = EVERY; due == EVERY; end{k} += __popc(due)) {{
    const int64_t e = end{k} + lane;
    due = __ballot_sync(EVERY, e < {limit} && {times}[e] + {self._delay(k, c)} < t_end);
}}
"""
        total = " + ".join(f"(end{k} - next{k})" for k, _ in self.into) or "0"
        text += f"const int64_t begin = {p}_last, count = {total};\n"
        for k, c in self.into:
            times, _ = self._times(c)
            rank = f"e - next{k}" + "".join(
                f" + earlier({self._times(d)[0]}, next{j}, end{j}, {self._delay(j, d)}, t_k, s, {str(j < k).lower()})"
                for j, d in self.into
                if j != k
            )
            if c.source == self.plan.input.name:
                source, index = "t->channels[e]", "e - from"
            else:
                stored = f"t->p{self.k.number[c.source]}_sent_index[e]"
                source, index = f"{stored} % {c.pre}", stored
            text += f"""\
for (int64_t e = next{k} + threadIdx.x; e < end{k}; e += {self.k.threads}) {{
    const double s = offset_of({times}[e], {self._delay(k, c)}, t_k);
    const int64_t place = {p}_arrived + begin + {rank};
    t->{p}_a_s[place] = s;
    t->{p}_a_connection[place] = {k};
    t->{p}_a_source[place] = {source};
    t->{p}_a_index[place] = (int32_t)({index});
}}
"""
        text += "".join(f"next{k} = end{k};\n" for k, _ in self.into)
        start = f"t->{p}_a_start[sample * t->exact_points + step]"
        text += f"{p}_last = begin + count;\n"
        body = f"{start} = (int32_t)begin;\nif (step + 1 == t->exact_steps) {start[:-1]} + 1] = (int32_t){p}_last;\n"
        if self.integrates:
            body += f"double f[{self.n + 2}];\nintegrated<{self.n + 2}>(t->{p}_u, t->{p}_edges, step, 0.0, f);\n"
            body += f"for (int c = 0; c < {self.n + 2}; ++c) {p}_u0[c] = f[c];\n"
        return f"{text}if (threadIdx.x == 0) {{\n{indent(body)}}}\n__syncthreads();\n"

    def _take(self, count: str, first: str, body: str) -> str:
        """Loads arrivals into shared memory, a thread each, with what they have for all neurons: ``f``."""
        return f"""\
if ((int)threadIdx.x < {count}) {{
    const int64_t place = {self.name}_arrived + {first} + threadIdx.x;
    const double s = t->{self.name}_a_s[place];
    [[maybe_unused]] const int32_t connection = t->{self.name}_a_connection[place];
    double f[{self.width}];
{indent(body)}    for (int c = 0; c < {self.width}; ++c) factors[threadIdx.x * {self.width} + c] = f[c];
    offset[threadIdx.x] = s;
    from_connection[threadIdx.x] = connection;
    source_of[threadIdx.x] = t->{self.name}_a_source[place];
    index_of[threadIdx.x] = t->{self.name}_a_index[place];
}}
__syncthreads();
"""

    def _by_receptor(self, text: Callable[[str], str]) -> str:
        """Text that depends on the receptor of ``connection``."""
        fed = {c.receptor: [k for k, d in self.into if d.receptor == c.receptor] for _, c in self.into}
        if len(fed) == 1:
            return text(next(iter(fed)))
        cases = (
            f"if ({' || '.join(f'connection == {k}' for k in ks)}) {{\n{indent(text(r))}}}\n" for r, ks in fed.items()
        )
        return "".join(cases)

    def _weight(self, e: str) -> str:
        """The weight of arrival `e` of a chunk at ``neuron``."""
        text = ""
        for k, _ in self.into:
            w = f"t->c{k}_weight[(int64_t)source_of[{e}] * {self.N} + neuron]"
            text = w if not text else f"from_connection[{e}] == {k} ? {w} : {text}"
        return text

    def _walk(self) -> str:
        """The neurons through the arrivals of the step, and to its end."""
        n, p = self.n, self.name
        end = n * (n + 1)
        take = self._by_receptor(
            lambda r: (
                f"horner<{2 * n + 1}>(t->x_{p}_arrive_{r}, 0, (int)t->degree_{p}, s, f);\n" + self._along(r, 2 * n + 1)
            )
        )
        take += "" if self.integrates else f"f[{2 * n + 1}] = 0;\n"
        each = (
            f"look_{p}(neuron, i, offset[e], factors, e * {self.width} + {n}, (int)first + e, false);\n"
            if self.p.spiking
            else ""
        )
        each += f"const double w = {self._weight('e')};\n"
        each += f"for (int k = 0; k < {n}; ++k) {p}_y[i][k] += factors[e * {self.width} + k] * w;\n"
        each += f"{p}_read[i] += factors[e * {self.width} + {2 * n + 1}] * w;\n" if self.integrates else ""
        chunk = f"const int m = count - first < {CHUNK} ? (int)(count - first) : {CHUNK};\n"
        chunk += self._take("m", "begin + first", take)
        chunk += self.over(f"for (int e = 0; e < m; ++e) {{\n{indent(each)}}}\n") + "__syncthreads();\n"
        loop = f"for (int64_t first = 0; first < count; first += {CHUNK}) {{\n{indent(chunk)}}}\n" if self.into else ""
        last = f"look_{p}(neuron, i, t->delta, {p}_end, {end}, (int)count, true);\n" if self.p.spiking else ""
        last += f"double y[{n}];\nfor (int k = 0; k < {n}; ++k) y[k] = {p}_y[i][k];\n"
        last += f"for (int k = 0; k < {n}; ++k) {p}_y[i][k] = {self._dot(lambda j: f'{p}_end[k * {n + 1} + {j}]', f'{p}_end[k * {n + 1} + {n}]', 'y')};\n"
        last += self._start_of_step() if self.p.spiking else ""
        start = ""
        if self.integrates:
            add = self._dot(lambda j: f"{p}_u0[{j}]", f"{p}_u0[{n}]", f"{p}_y[i]")
            start = self.over(f"{p}_read[i] += {add};\n")
        return start + loop + self.over(last)

    def _along(self, receptor: str, slot: int, back: bool = False) -> str:
        """Sets ``f[slot]`` to u . e and, on the way back, the next one to u . (-A e), less what an arrival that moves V
        itself takes from the loss."""
        if not self.integrates:
            return ""
        n, p = self.n, self.name
        arrive, moved = f"t->x_{p}_arrive_{receptor}", f"t->x_{p}_back_{receptor}"
        assert self.readout is not None
        text = f"double u[{n + 2}];\nintegrated<{n + 2}>(t->{p}_u, t->{p}_edges, step, s, u);\n"
        text += f"f[{slot}] = {' + '.join(f'{arrive}[{j}] * u[{j}]' for j in range(n))};\n"
        if back:
            against = " + ".join(f"{moved}[{n + j}] * u[{j}]" for j in range(n))
            text += f"f[{slot + 1}] = {against} - {arrive}[{self.readout.v}] * u[{n + 1}];\n"
        return text

    def _sent(self) -> str:
        """The spikes of the step in order of time, those of one instant by neuron: listed by neuron, then each counts those
        before it."""
        if not self.p.spiking:
            return ""
        p, N, threads = self.name, self.N, self.k.threads
        full = f"if ({p}_count[i] > t->{p}_room) {{\n    atomicMax(t->needed + {self.i}, {p}_count[i]);\n    full = 1;\n}}\n"
        begins = f"{p}_before[i]"
        text = f"""\
int full = ran_away;
{self.over(f"{full}{p}_new[neuron] = {p}_count[i] - {begins};" + chr(10))}\
if (__syncthreads_or(full)) return;
if (warp == 0) {{
    int sent = 0;
    for (int base = 0; base < {N}; base += {WARP}) {{
        const int mine = base + lane < {N} ? (int){p}_new[base + lane] : 0, last = warp_scan(mine);
        if (base + lane < {N}) {p}_new[base + lane] = sent + last - mine;
        sent += __shfl_sync(EVERY, last, 31);
    }}
    if (lane == 0) {p}_new[{N}] = sent;
}}
__syncthreads();
const int sent = {p}_new[{N}];
const int64_t list = {p}_events + {p}_total;
{self.over(f"for (int k = {begins}, place = {p}_new[neuron]; k < {p}_count[i]; ++k, ++place)" + chr(10) + f"    t->{p}_unsorted[list + place] = (int32_t)(k * {N} + neuron);" + chr(10) + f"{begins} = {p}_count[i];" + chr(10))}\
__syncthreads();
for (int a = threadIdx.x; a < sent; a += {threads}) {{
    const int32_t event = t->{p}_unsorted[list + a];
    const double s = {self._event("s")};
    int rank = 0;
    for (int b = 0; b < sent; ++b) {{
        const int32_t other = t->{p}_unsorted[list + b];
        const double at = {self._event("s", "other")};
        rank += at < s || (at == s && b < a);
    }}
    t->{p}_sent_index[list + rank] = event;
    t->{p}_sent_time[list + rank] = {self._event("time")};
}}
{p}_total += sent;
__syncthreads();
"""
        return text

    def end(self) -> str:
        """The end of the pass forwards."""
        p, text = self.name, ""
        if self.readout is not None:
            text = self._said(self.readout.end(), {x: f"{p}_y[i][{k}]" for k, x in enumerate(self.scope.x)})
            text += f"t->{p}_w_r[sample * {self.N} + neuron] = {p}_read[i];\n" if self.integrates else ""
        text = self.over(text, f"end of {self.p.name}") if text else ""
        return text + (f"if (threadIdx.x == 0) t->{p}_sent[sample] = (int32_t){p}_total;\n" if self.p.spiking else "")

    # backwards

    def _pushes(self) -> list[Statement]:
        """What is added to lambda at every own spike that was sent."""
        found = self.regularise.after() if self.regularise else []
        return found + (self.readout.after() if self.readout is not None else [])

    def declare_back(self) -> str:
        p, slots = self.name, self.slots
        text = f"double {p}_mu[{slots}][{self.n}];\nconst int64_t {p}_arrived = sample * t->{p}_arrivals;\n"
        if self.p.spiking:
            text += f"int {p}_undo[{slots}], {p}_undo_step[{slots}], {p}_undo_handled[{slots}];\n"
            text += f"const int64_t {p}_events = sample * {self.N} * t->{p}_room;\n"
        return text

    def begin_back(self) -> str:
        """lambda at T, jumps at own spikes by the counts of the trial; sums begin at 0."""
        p, s, n = self.name, self.scope, self.n
        lam = {l: f"{p}_mu[i][{k}]" for k, l in enumerate(s.lam)}
        statements: list[Statement] = list(self.regularise.begin_back()) if self.regularise else []
        values = [a.value for a in self._pushes() if isinstance(a, Add) and a.value != JUMP]
        if values:
            s.each(JUMP)
            statements += [] if self.regularise and self.regularise.terms else [Set(JUMP, sp.Integer(0))]
            statements += [Add(JUMP, value) for value in values]
        if self.readout is not None and not self.integrates:
            statements += self.readout.begin_back()
            last = self.readout.last()
            statements += [Add(self.readout.lam, last)] if last != 0 else []
        body = f"for (int k = 0; k < {n}; ++k) {p}_mu[i][k] = 0;\n{self._said(statements, lam)}"
        for k, c in self.into:
            if c.trainable:
                body += f"for (int64_t source = 0; source < {c.pre}; ++source) t->c{k}_slice[(sample * {c.pre} + source) * {self.N} + neuron] = 0;\n"
        text = ""
        if self.regularise and self.regularise.whole_layer:
            text = f"int32_t {p}_{TOTAL} = 0;\nfor (int k = 0; k < {self.N}; ++k) {p}_{TOTAL} += t->{p}_w_count[sample * {self.N} + k];\n"
        if self.p.spiking:
            body += f"{p}_undo[i] = t->{p}_w_count[sample * {self.N} + neuron];\nnewest_{p}(neuron, i);\n"
            body += (
                f"for (int k = 0; k < {p}_undo[i]; ++k) {self._event('by', f'(int64_t)k * {self.N} + neuron')} = 0;\n"
            )
        first = f"double m[{n * (n + 1) + n * n}];\nhorner<{n * (n + 1) + n * n}>(t->x_{p}_spike, 0, (int)t->degree_{p}, t->delta, m);\n"
        first += f"for (int c = 0; c < {n * (n + 1)}; ++c) {p}_end[c] = m[c];\n"
        return (
            text
            + self.over(body, f"start backwards of {self.p.name}")
            + f"if (threadIdx.x == 0) {{\n{indent(first)}}}\n"
        )

    def undo(self) -> str:
        """Functions: one that looks up the newest spike that is left, and one that undoes it."""
        if not self.p.spiking:
            return ""
        p, n, s, event = self.name, self.n, self.scope, self.p.derived.events[0]
        back = n * (n + 1)
        places = {x: f"before[{k}]" for k, x in enumerate(s.x)} | {l: f"lambda[{k}]" for k, l in enumerate(s.lam)}
        own = ""
        if self.readout is not None and not self.integrates:
            early = {x: name("b", x) for x in s.x}
            said = self._said([b for e in s.d.events for b in self.readout.time_gradient(e, early)], places)
            for k, b in enumerate(early.values()):
                own += f"const double {b} = before[{k}];\n" if str(b) in said else ""
            own += f"const double {NOW} = {self._event('time')};\n" if str(NOW) in said else ""
            own = f"{{\n{indent(own + said)}}}\n" if said else ""
        extra = ""
        if self.integrates:
            assert self.readout is not None
            v, h = self.readout.v, s.expression(event.h[self.readout.v])
            after = Writer(self.k.spelling(s, places), s.kernel([]), -1, double=True)
            after.kernel = s.kernel([Set(s.lam[0], h)])
            dr = f"t->{p}_w_dr[sample * {self.N} + neuron]"
            extra = f"integrated<{n + 2}>(t->{p}_u, t->{p}_edges, step, s, extra);\n"
            extra += f"for (int k = 0; k < {n + 2}; ++k) extra[k] *= {dr};\n"
            extra += f"{DL_DT} += extra[{n + 1}] * (before[{v}] - ({after.expression(h)}));\n"
        E = symbol("dl_dt") + jump_term(s, event, {}, name("w", "mode"))
        jumped = self._said([Let(RATE, E * symbol("inv_gdot"), "double"), *jump(s, event, RATE, {}, "jump")], places)
        pushed = {a.target for a in self._pushes() if isinstance(a, Add)}
        push = "".join(f"lambda[{s.lam.index(l)}] += t->{p}_{JUMP}[sample * {self.N} + neuron];\n" for l in pushed)
        return f"""\
const auto newest_{p} = [&](const int32_t neuron, const int i) {{
    const int64_t event = ({p}_undo[i] - 1) * (int64_t){self.N} + neuron;
    {p}_undo_step[i] = {p}_undo[i] > 0 ? (int){self._event("step")} : -1;
    {p}_undo_handled[i] = {p}_undo[i] > 0 ? (int){self._event("handled")} : 0;
}};
const auto undo_{p} = [&](const int32_t neuron, const int i) {{
    const int64_t event = ({p}_undo[i] - 1) * (int64_t){self.N} + neuron;
    double *const mu = {p}_mu[i];
    const double s = {self._event("s")};
    [[maybe_unused]] const double inv_gdot = {self._event("rate")};
    double m[{back + n * n}], before[{n}], lambda[{n}], extra[{n + 2}] = {{0}};
    horner<{back + n * n}>(t->x_{p}_spike, 0, (int)t->degree_{p}, s, m);
{indent("".join(f"before[{k}] = {self._event(f'x{k}')};" + chr(10) for k in range(n)))}\
    double {DL_DT} = {self._event("by")};
{indent(own + extra)}\
    for (int k = 0; k < {n}; ++k) lambda[k] = extra[k] + {" + ".join(f"m[{back} + {j} * {n} + k] * mu[{j}]" for j in range(n))};
    [[maybe_unused]] const double dl_dt = {DL_DT};
{indent(jumped + push)}\
    for (int k = 0; k < {n}; ++k) mu[k] = {" + ".join(f"m[{j} * {n + 1} + k] * (lambda[{j}] - extra[{j}])" for j in range(n))};
    --{p}_undo[i];
    newest_{p}(neuron, i);
}};
"""

    def backwards(self) -> str:
        """A step backwards."""
        n, p = self.n, self.name
        retreat = f"double a[{n}];\nfor (int k = 0; k < {n}; ++k) a[k] = {p}_mu[i][k];\n"
        retreat += f"for (int k = 0; k < {n}; ++k) {p}_mu[i][k] = {' + '.join(f'{p}_end[{j} * {n + 1} + k] * a[{j}]' for j in range(n))};\n"
        text = self.over(retreat, f"step back of {self.p.name}")
        undo = f"while ({p}_undo_step[i] == step{{more}}) undo_{p}(neuron, i);\n" if self.p.spiking else ""
        if self.into:
            start = f"t->{p}_a_start[sample * t->exact_points + step"
            text += f"const int64_t begin = {start}], end = {start} + 1];\n"
            text += f"for (int64_t high = end; high > begin;) {{\n{indent(self._chunk_back(undo))}}}\n"
        rest = undo.format(more="")
        if self.integrates:
            dr = f"t->{p}_w_dr[sample * {self.N} + neuron]"
            rest += f"double f[{n + 2}];\nintegrated<{n + 2}>(t->{p}_u, t->{p}_edges, step, 0.0, f);\n"
            rest += f"for (int k = 0; k < {n}; ++k) {p}_mu[i][k] += {dr} * f[k];\n"
        text += self.over(rest) if rest else ""
        return f"{{  // {in_comment(self.p.name)}\n{indent(text)}}}\n"

    def _chunk_back(self, undo: str) -> str:
        n, p, w = self.n, self.name, self.width
        take = self._by_receptor(
            lambda r: (
                f"horner<{2 * n}>(t->x_{p}_back_{r}, 0, (int)t->degree_{p}, s, f);\n" + self._along(r, 2 * n, back=True)
            )
        )
        take += "" if self.integrates else f"f[{2 * n}] = f[{2 * n + 1}] = 0;\n"
        dr = f"const double dr = t->{p}_w_dr[sample * {self.N} + neuron];\n" if self.integrates else ""

        def part(first: int) -> str:
            terms = [f"factors[e * {w} + {first + k}] * {p}_mu[i][{k}]" for k in range(n)]
            return " + ".join(terms + ([f"factors[e * {w} + {2 * n + first // n}] * dr"] if self.integrates else []))

        each = undo.format(more=f" && {p}_undo_handled[i] > (int)(low - begin) + e")
        learned = [(k, c) for k, c in self.into if c.trainable]
        if learned:
            each += f"const real q = (real)({part(0)});\n"
        for k, c in learned:
            only = f"if (from_connection[e] == {k}) " if len(self.into) > 1 else ""
            each += f"{only}t->c{k}_slice[(sample * {c.pre} + source_of[e]) * {self.N} + neuron] += q;\n"
        each += f"t->{p}_z[(sample * {CHUNK} + e) * {self.N} + neuron] = (real)({part(n)});\n" if self.feeds else ""
        text = f"const int m = high - begin < {CHUNK} ? (int)(high - begin) : {CHUNK};\nconst int64_t low = high - m;\n"
        text += self._take("m", "low", take)
        text += self.over(f"{dr}for (int e = m - 1; e >= 0; --e) {{\n{indent(each)}}}\n") + "__syncthreads();\n"
        # a connection after the other: a spike may have arrivals through several
        text += "".join(self._feed(k, c) for k, c in self.feeds)
        return text + "high = low;\n"

    def _feed(self, k: int, c: ConnectionRecord) -> str:
        """Warps share the arrivals of a chunk: D of an arrival goes to the spike that caused it."""
        if c.source == self.plan.input.name:
            into = "t->input_gradient[t->input_start[sample] + index_of[e]]"
        else:
            into = f"t->p{self.k.number[c.source]}_e_by[{self._events_of(c)} + index_of[e]]"
        return f"""\
for (int e = warp; e < m; e += {self.k.threads // WARP}) {{
    if (from_connection[e] != {k}) continue;
    const int64_t row = (int64_t)source_of[e] * {self.N};
    real total = 0;
    for (int n = lane; n < {self.N}; n += {WARP}) total += t->c{k}_weight[row + n] * t->{self.name}_z[(sample * {CHUNK} + e) * {self.N} + n];
    total = warp_sum(total);
    if (lane == 0) {into} += total;
}}
__syncthreads();
"""


class ExactKernels(Layout):
    """The kernels of one file: the trial, whole or in two halves, and the sums of gradients."""

    def __init__(self, plan: Plan, split: bool, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.split = split
        self._program: dict[str, Buffer] = {}
        self.scopes = [Scope(plan, p, i, self._program) for i, p in enumerate(plan.populations)]
        self.number = {p.name: i for i, p in enumerate(plan.populations)}
        out = self.number[plan.output.name]
        self.readouts = {plan.output.name: make_readout(self.scopes[out], split)}
        self.walks = [Walk(self, p, self.number[p.name]) for p in walk_order(plan)]
        self.host_slopes = split or on_host(plan)
        self._compare = comparison(self.scopes[out], self.readouts[plan.output.name], self.host_slopes)[0]
        width = max(w.width for w in self.walks)
        chunk = {"offset": "double", "from_connection": "int", "source_of": "int", "index_of": "int"}
        self._shared = [Buffer("factors", (CHUNK * width,), "double")]
        self._shared += [Buffer(n, (CHUNK,), kind) for n, kind in chunk.items()]
        self._shared += [b for w in self.walks for b in w.shared()]
        self._shared.sort(key=lambda b: b.kind != "double")  # aligned by size
        self.shared_bytes = sum((8 if b.kind == "double" else 4) * int(b.axes[0]) for b in self._shared)
        self._bodies = self._make_bodies()
        self._declare()
        self.by_value = True
        self.parameter = "const __grid_constant__ Trial t_"

    def _declare(self) -> None:
        """The struct: what the texts name."""
        buffers = [*DATA, *self._of_connections(), *(b for w in self.walks for b in w.buffers())]
        texts = "".join(self._bodies.values())
        for b in self._program.values():
            if re.search(rf"t->{b.name}\b", texts):  # values of neurons that the trial keeps are in global memory
                buffers.append(replace(b, role="stored") if b.role == "state" else b)
        doubles = ["duration", "delta", "slope_floor"]
        doubles += [f"d_c{k}" for k, c in enumerate(self.plan.connections) if c.delay > 0]
        buffers += [Buffer(n, (), "double", "host") for n in doubles]
        more = [f"degree_p{w.i}" for w in self.walks] + [f"p{w.i}_arrivals" for w in self.walks]
        more += [f"p{w.i}_room" for w in self.walks]
        axes = {a for b in buffers for a in b.axes if isinstance(a, str)}
        self.declare(buffers, INTEGERS, [*more, *(["n_targets"] if "n_targets" in axes else [])])

    def _of_connections(self) -> list[Buffer]:
        found = []
        for k, c in enumerate(self.plan.connections):
            found.append(Buffer(f"c{k}_weight", (c.pre, c.post), "real", "number"))
            if c.trainable:
                found.append(Buffer(f"c{k}_gradient", (c.pre, c.post), "real", "gradient"))
                found.append(Buffer(f"c{k}_slice", (c.pre, c.post), "real", "stored"))
        if self.split:
            found.append(Buffer("input_gradient", ("input_spikes",), "real", "of spikes"))
            found.append(Buffer("input_start", ("batch",), "long", "host"))
        return found

    def _of_sample(self, b: Buffer) -> bool:
        return "batch" not in b.axes and b.role in ("result", "stored")

    # statements of `program`

    def spelling(self, s: Scope, places: dict[sp.Symbol, str]) -> Spelling:
        """How elements are spelled: by `places`, or as what a trial keeps."""
        own = {s.table[x].buffer.name: place for x, place in places.items()}

        def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
            b = access.buffer
            if b.name in own:
                return own[b.name]
            if b.name.endswith(f"_{TOTAL}"):
                return b.name
            b = replace(b, role="stored") if b.role == "state" else b
            return self._in_struct(b, [write(i) for i in access.index])

        return Spelling(element, lambda *_: "", {"o_infinity": "INFINITE", "o_nan": "NOT_A_NUMBER"})

    def said(self, s: Scope, body: Iterable[Statement], places: dict[sp.Symbol, str]) -> str:
        kernel = s.kernel(body)
        return Writer(self.spelling(s, places), kernel, -1, double=True).text() if kernel.body else ""

    # kernels

    def _make_bodies(self) -> dict[str, str]:
        there, back = self._there(), self._back()
        out = self.scopes[self.number[self.plan.output.name]]
        compare = Writer(self.spelling(out, {}), self._compare, -1, double=True).text()
        compare = f"if (threadIdx.x == 0) {{  // outer loss\n{indent(compare)}}}\n__syncthreads();\n"
        if self.split:
            return {"forwards": there, "backwards": compare + back}
        return {"trial": f"{{\n{indent(there)}}}\n{compare}if (!t->training) return;\n{back}"}

    def _step(self) -> str:
        return (
            "const double t_k = t->duration * (double)step / (double)t->exact_steps;\n"
            "const double t_end = step + 1 < t->exact_steps ? t->duration * (double)(step + 1) / (double)t->exact_steps : t->duration;\n"
        )

    def _there(self) -> str:
        # the length of an instant: crossings within it of each other or of an arrival count as simultaneous
        text = "[[maybe_unused]] const double together = sizeof(real) == 4 ? t->delta / 131072 : t->duration / 70368744177664.0;\n"
        text += "[[maybe_unused]] int ran_away = 0;\n"
        text += "".join(w.declare() for w in self.walks)
        text += "".join(f"int {w.name}_before[{w.slots}] = {{0}};\n" for w in self.walks if w.p.spiking)
        for k, c in enumerate(self.plan.connections):
            first = "from" if c.source == self.plan.input.name else f"p{self.number[c.source]}_events"
            text += f"int64_t next{k} = {first};\n"
        text += "".join(w.begin() for w in self.walks) + "__syncthreads();\n"
        body = self._step() + "".join(w.look() for w in self.walks) + "".join(w.forwards() for w in self.walks)
        text += f"for (int64_t step = 0; step < t->exact_steps; ++step) {{\n{indent(body)}}}\n"
        return text + "".join(w.end() for w in self.walks) + "__syncthreads();\n"

    def _back(self) -> str:
        text = "int64_t step = t->exact_steps;\n" + "".join(w.declare_back() + w.undo() for w in self.walks)
        if self.split:
            text += f"for (int64_t e = from + threadIdx.x; e < to; e += {self.threads}) t->input_gradient[t->input_start[sample] + e - from] = 0;\n"
        text += "".join(w.begin_back() for w in self.walks) + "__syncthreads();\n"
        body = "".join(w.backwards() for w in reversed(self.walks))
        return f"{text}while (--step >= 0) {{\n{indent(body)}}}\n"

    def trials(self) -> dict[str, str]:
        """name -> text."""
        return {n: self._block(n, body) for n, body in self._bodies.items()}

    def _block(self, name: str, body: str) -> str:
        head = f'extern "C" __global__ void __launch_bounds__({self.threads}) {name}({self.parameter}) {{\n'
        start = "const Trial *const t = &t_;\nconst int64_t sample = blockIdx.x;\n"
        start += (
            f"[[maybe_unused]] const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n[[maybe_unused]] {RANGE}"
        )
        start += "extern __shared__ double shared_memory[];\nchar *const memory = (char *)shared_memory;\n"
        at = 0
        for b in self._shared:
            kind, size = TYPES[b.kind], int(b.axes[0])
            if b.name in body:
                start += f"SHARED({kind}) {b.name} = SHARE({kind}, memory + {at}, {size});\n"
            at += (8 if b.kind == "double" else 4) * size
        return f"{head}{indent(start + body)}}}\n"

    def gathers(self) -> tuple[str, list[tuple[str, int]]]:
        """The kernel that sums gradients over the samples, a thread a weight, in their order; and its launch."""
        learned: Sequence[tuple[int, ConnectionRecord]] = [
            (k, c) for k, c in enumerate(self.plan.connections) if c.trainable
        ]
        if not learned:
            return "", []
        again = f"for (int p = 0; p < {len(self.walks)}; ++p)\n    if (t->needed[p]) return;\n"
        text = f"const Trial *const t = &t_;\n{again}int64_t w = (int64_t)blockIdx.x * {GATHERING} + threadIdx.x;\n"
        for k, c in learned:
            size = c.pre * c.post
            add = f"real total = t->adding ? t->c{k}_gradient[w] : (real)0;\n"
            add += (
                f"for (int64_t sample = 0; sample < t->batch; ++sample) total += t->c{k}_slice[sample * {size} + w];\n"
            )
            add += f"t->c{k}_gradient[w] = total;\nif (total - total != 0) atomicMax(t->unfinite + {k}, 1);\nreturn;\n"
            text += f"if (w < {size}) {{\n{indent(add)}}}\nw -= {size};\n"
        blocks = -(-sum(c.pre * c.post for _, c in learned) // GATHERING)
        head = f'extern "C" __global__ void __launch_bounds__({GATHERING}) gather({self.parameter}) {{\n'
        return f"{head}{indent(text)}}}\n", [("gather", blocks)]


def head(plan: Plan, real: str) -> list[str]:
    """What stands before the struct."""
    runtime = [resources.files(__package__).joinpath(n).read_text() for n in ("runtime.cuh", "exact.cuh")]
    functions = [shared(name, "__device__ inline") for name in ("phi1.h", "functions.h")]
    # `exact.cuh` uses the search for crossings, which uses TIME_ROUNDING
    crossings = "#define TIME_ROUNDING 1e-17\n" + shared("crossings.h", "__device__ inline")
    return [equations(plan, "//"), f"typedef {real} real;\n", runtime[0], *functions, crossings, runtime[1]]
