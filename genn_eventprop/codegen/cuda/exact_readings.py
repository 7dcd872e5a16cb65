"""What losses read between events in exact time, as CUDA text: a part of a population for each way of reading V.

Forwards a neuron tells its readings of every stretch of time in which y is constant, before it changes; backwards, in the
reverse order, readings add to mu what dL/dr makes of the same stretch. Readouts that look at spikes or ends alone need
nothing of this: `Reading` itself, whose statements are in `program/readouts`.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ...plan import Plan, PopulationRecord
from ...plan.series import DEGREE, NODES, gauss_table, varies
from ...program.compare import at_one_time
from ...program.events import DL_DT
from ...program.nodes import Access, Buffer, name
from ...program.outer.base import LOSS, PART, ROW
from ...program.readouts.base import Readout
from ...program.readouts.integral import Integral
from ...program.readouts.maximum import Maximum
from ...program.readouts.trace import Trace
from ...program.readouts.voltage import Voltage
from ..printer import DOUBLE, expression
from ..statements import indent
from ..time_weights import weight_struct
from .exact_neurons import SHARED, Neurons

GAUSS = Buffer("gauss", (NODES * (NODES + 1),), "double", "host")
"""Nodes and weights; see `plan.series.gauss_table`."""
assert len(gauss_table()) == GAUSS.axes[0]


class Reading:
    """One readout of a population; its hooks return text, or nothing.

    In all of them ``neuron`` is number ``i`` of those of the thread, and in those of arrivals the arrival has number
    ``e`` in its chunk, offset ``offset[e]`` and, at the neuron, the weight ``w``.

        structs, functions       what stands before the kernels; what both passes use in them
        declare, begin, end      registers of the pass forwards; its two ends
        enter                    a step forwards, once a block
        before, replay           the start of a step, before its arrivals; the step once more, all neurons in step, when
                                 its spikes are known
        read                     y is constant from the present time of the neuron to ``until``
        arriving, arrived        right before an arrival changes y, and behind it
        jumped                   at an own spike at ``s``, from the state ``before`` to ``after``
        declare_back, begin_back registers of the pass backwards, and its start
        retreat                  the end of a step, backwards, once mu is that of the step
        read_back                the stretch of time from ``since`` to the present time of the neuron
        of_weight, of_time       what dL/dr adds to lambda . e, and to D, of an arrival of unit weight
        kink                     what it adds to D of an arrival whatever its weight
        time_gradient            adds to ``DL_DT`` of an own spike and to ``extra``, which lambda has beside P^T mu there
    """

    by_nodes = False  # whether it reads stretches of time

    def __init__(self, population: Neurons, part: Readout) -> None:
        self.population, self.part = population, part
        self.name = f"{population.name}{'_' * bool(part.which)}{part.which}"
        table, at = population.scope.table, f"[sample * {population.N} + neuron]"
        self.r, self.dr = (f"t->{table[x].buffer.name}{at}" for x in (part.R, part.DR))

    def buffers(self) -> list[Buffer]:
        return []

    def shared(self) -> list[Buffer]:
        return []

    def arrays(self) -> dict[str, str]:
        """What functions of exact.cuh read of them, by the names there."""
        return {}

    def undone(self, event: str) -> str:
        """Behind an event undone: "arrival", "spike" or "end"."""
        return ""

    def structs(self) -> str:
        return ""

    functions = declare = begin = end = enter = before = replay = read = arriving = arrived = jumped = structs
    declare_back = begin_back = retreat = read_back = of_weight = of_time = kink = time_gradient = structs


def make_readings(population: Neurons, parts: list[Readout]) -> list[Reading]:
    """Of the readouts of one population, in their order."""
    return [_class_of(population, part)(population, part) for part in parts]


def _class_of(population: Neurons, part: Readout) -> type[Reading]:
    if part.between_events() is None:
        return Reading
    if isinstance(part, Voltage):
        return VoltageLoss
    if isinstance(part, Integral):
        return SeriesIntegral if integral_by_series(population.plan, population.p, part) else NodeIntegral
    return {Maximum: MaximumInTime, Trace: Samples}[type(part)]


def integral_by_series(plan: Plan, p: PopulationRecord, part: Integral) -> bool:
    """Whether an integral follows from one series a step for all neurons; see `SeriesIntegral`."""
    learned = any(n in p.derived.dynamic_params for n in p.trainable)
    return len(p.derived.modes) == 1 and not part.driven and not learned and not varies(p)


class SeriesIntegral(Reading):
    """r = 1/T int w V dt where V is linear between events, in one mode, and neurons have the same fixed parameters.

    u(s) = int_s^delta w P_V / T dt is a series a step, `engines/cuda/exact.py` makes it: r is u(0) . x at its start, and
    u . jump of every event, so that neurons do nothing between events.
    """

    def buffers(self) -> list[Buffer]:
        p, n = self.population.name, self.population.n
        tables = Buffer(f"{p}_u", ("exact_points", 2 * (DEGREE + 1) * (n + 2)), "double", "host")
        return [tables, Buffer(f"{p}_edges", ("exact_points", 2), "double", "host")]

    def _integrated(self, s: str, out: str) -> str:
        p, size = self.population.name, self.population.n + 2
        return f"integrated<{size}>(t->{p}_u, t->{p}_edges, step, {s}, {out});\n"

    def declare(self) -> str:
        return f"double {self.name}_read[{self.population.slots}];\n"

    def begin(self) -> str:
        return f"{self.name}_read[i] = 0;\n"

    def enter(self) -> str:
        p, size = self.population.name, self.population.n + 2
        return f"double f[{size}];\n{self._integrated('0.0', 'f')}for (int c = 0; c < {size}; ++c) {p}_u0[c] = f[c];\n"

    def start(self) -> str:
        """The step without its events."""
        p, n = self.population.name, self.population.n
        total = " + ".join([f"{p}_u0[{n}]", *(f"{p}_u0[{j}] * {p}[i].y[{j}]" for j in range(n))])
        return f"{self.name}_read[i] += {total};\n"

    def along(self, slot: int, back: bool = False) -> str:
        """Sets ``f[slot]`` to u . e and, on the way back, the next one to u . (-A e), less what an arrival that moves V
        itself takes from the loss."""
        n, receptor = self.population.n, self.population.receptor("connection")
        text = f"double u[{n + 2}];\n{self._integrated('s', 'u')}const auto e = cell.p.arrive(0, {receptor});\n"
        text += f"for (int j = 0; j < {n}; ++j) f[{slot}] += e[j] * u[j];\n"
        if back:
            text += f"const auto drive = cell.p.back(0, {receptor});\nf[{slot + 1}] = -e[{self.part.v}] * u[{n + 1}];\n"
            text += f"for (int j = 0; j < {n}; ++j) f[{slot + 1}] += drive[{n} + j] * u[j];\n"
        return text

    def arrived(self) -> str:
        return f"{self.name}_read[i] += factors[e * {self.population.width} + {2 * self.population.n + 1}] * w;\n"

    def jumped(self) -> str:
        n = self.population.n
        text = f"double f[{n + 2}];\n{self._integrated('s', 'f')}"
        return (
            text + f"{self.name}_read[i] += {' + '.join(f'f[{j}] * (after[{j}] - before[{j}])' for j in range(n))};\n"
        )

    def end(self) -> str:
        return f"{self.r} = {self.name}_read[i];\n"

    def of_weight(self) -> str:
        return f"factors[e * {self.population.width} + {2 * self.population.n}] * {self.dr}"

    def of_time(self) -> str:
        return f"factors[e * {self.population.width} + {2 * self.population.n + 1}] * {self.dr}"

    def time_gradient(self) -> str:
        n, v = self.population.n, self.part.v
        text = f"{self._integrated('s', 'extra')}for (int k = 0; k < {n + 2}; ++k) extra[k] *= {self.dr};\n"
        return text + f"{DL_DT} += extra[{n + 1}] * (before[{v}] - after[{v}]);\n"

    def leave(self) -> str:
        """The start of a step, backwards."""
        n = self.population.n
        text = f"double f[{n + 2}];\n{self._integrated('0.0', 'f')}"
        return text + f"for (int k = 0; k < {n}; ++k) {self.population.name}[i].mu[k] += {self.dr} * f[k];\n"


class _Stretches(Reading):
    """What needs V, or its row in P, at times in between."""

    by_nodes = True

    @property
    def _knots(self) -> bool:
        """Whether what is read is compared with a series of targets."""
        return False

    def row(self, s: str, mode: str = "") -> str:
        """Sets ``row`` to that of V in P(s) and c(s)."""
        return f"double row[{self.population.n + 1}];\ncell.row({self.part.v}, {mode or self.population.mode}, {s}, row);\n"

    def V(self, y: str) -> str:
        return f"linear<{self.population.n}>(row, {y})"

    def pull(self, s: str, by: str, y: str = "") -> str:
        """Backwards: V at s, times `by`, is part of the loss. y: of a neuron there, if not the present one."""
        w = self.population
        y = y or f"{w.name}[i].y"
        return f"cell.pull({self.part.v}, {w.mode}, {s}, {by}, {y}, {w.name}[i].mu, {w.learn});\n"


class Weighted(_Stretches):
    """What a time weight is part of, by Gauss nodes."""

    @property
    def _prefix(self) -> str:
        return self.population.scope.of_loss

    @property
    def _driven(self) -> bool:
        assert isinstance(self.part, Integral)
        return self.part.driven

    def buffers(self) -> list[Buffer]:
        names = ["window_start", "window_end"] + ["activity_rate", "activity_jump"] * self._driven
        buffers = [Buffer(f"{self._prefix}{n}", (), "double", "host") for n in names]
        buffers += [GAUSS, Buffer(f"{self._prefix}series_size", (), "long", "host")]
        activity = Buffer(f"{self.population.name}_heard", ("input_spikes",), "double", "scratch")
        return buffers + ([activity, Buffer("input_start", ("batch",), "long", "host")] if self._driven else [])

    def declare(self) -> str:
        heard = f"int64_t {self.name}_hears = from;\n" if self._driven else ""
        return f"double {self.name}_read[{self.population.slots}];\n{heard}"

    def begin(self) -> str:
        return f"{self.name}_read[i] = 0;\n"

    @property
    def _weight(self) -> str:
        return f"weight_{self.name}"

    def structs(self) -> str:
        dt = "t->target_dt" if self._knots else ""
        return weight_struct(self.population.scope, f"Weight_{self.name}", "const Trial *t", "t->", dt, "__device__ ")

    def functions(self) -> str:
        heard, base = "(double *)nullptr", "0"
        if self._driven:
            heard, base = f"t->{self.population.name}_heard", "t->input_start[sample] - from"
        return f"const auto {self._weight} = time_weight(Weight_{self.name}::of(t), t->times, {heard}, from, to, {base});\n"

    def enter(self) -> str:
        if not self._driven:
            return ""
        # of the time of a node, too, which may be rounded
        return f"{self.name}_hears = {self._weight}.hear({self.name}_hears, fmax(t_end, t_k + t->delta));\n"

    def end(self) -> str:
        return f"{self.r} = {self.name}_read[i];\n"


class NodeIntegral(Weighted):
    """r = 1/T int w V dt of any output with exact spike times, by Gauss nodes in every stretch of time between events.

    The number of nodes makes it exact to rounding, since V is a polynomial piece and w smooth between input spikes.
    """

    def _nodes(self, body: str) -> str:
        """Code for all nodes ``s`` of a stretch of time, with their weights ``part``."""
        return f"each_node(t, {self._weight}, t_k, since, until, 1 / t->delta, [&](const double s, const double part) {{\n{indent(body)}}});\n"

    def read(self) -> str:
        return self._nodes(f"{self.row('s')}{self.name}_read[i] += part * {self.V('y')};\n")

    def read_back(self) -> str:
        return self._nodes(self.pull("s", f"part * {self.dr}"))

    def of_time(self) -> str:
        w, v = self.population, self.part.v
        if not any(w.p.derived.receptors[c.receptor][v] != 0 for _, c in w.into):
            return ""
        moves = f"cell.p.arrive(0, {w.receptor('from_connection[e]')})[{v} * {w.S} + cell.column()]"
        return f"-{self._weight}.at(t_k + offset[e], t_k + offset[e]) * {self.dr} * {moves}"

    def time_gradient(self) -> str:
        v = self.part.v
        return f"{DL_DT} += {self.dr} * {self._weight}.at(t_k + s, t_k + s) * (before[{v}] - after[{v}]);\n"


class VoltageLoss(Weighted):
    """L = 1/T int w l(V) dt, l the outer loss of all outputs at one time: `replay` in exact.cuh."""

    by_nodes = False

    @property
    def _labels(self) -> bool:
        return self.population.plan.loss.compares == "labels"

    @property
    def _moving(self) -> list[int]:
        """Connections whose arrivals move V itself."""
        w = self.population
        return [k for k, c in w.into if w.p.derived.receptors[c.receptor][self.part.v] != 0]

    def buffers(self) -> list[Buffer]:
        w, buffers = self.population, super().buffers()
        p, row = w.name, w.N * w.n
        stored: list[tuple[str, tuple[int | str, ...]]] = [
            (f"{p}_a_pull", (f"{p}_arrivals", row)), (f"{p}_pull", ("exact_points", row))
        ]  # fmt: skip
        stored += [(f"{p}_a_loss", (f"{p}_arrivals",))] if self._moving else []
        stored += [(f"{p}_learned", (w.N * len(w.dynamic),))] if w.dynamic else []
        if w.p.spiking:
            stored += [(f"{p}_e_loss", (w.N, f"{p}_room")), (f"{p}_e_pull", (row, f"{p}_room"))]
            stored += [(f"{p}_e_end_pull", (row, f"{p}_room"))] if len(w.modes) > 1 else []
        buffers += [Buffer(n, axes, "double", "stored") for n, axes in stored]
        buffers.append(Buffer("loss", ("batch",), "double", "result"))
        if self._labels:
            return buffers
        return [*buffers, Buffer("target_dt", (), "double", "host"), Buffer("target_rows", (), "long", "host")]

    def arrays(self) -> dict[str, str]:
        p, w = self.population.name, self.population
        names = ["a_s", "a_connection", "a_source", "a_pull", "pull", *(["a_loss"] if self._moving else [])]
        names += ["e_loss", "e_pull", *(["e_end_pull"] if len(w.modes) > 1 else [])] if w.p.spiking else []
        return {n: f"{p}_{n}" for n in names}

    @property
    def _knots(self) -> bool:
        return not self._labels

    def shared(self) -> list[Buffer]:
        p, N = self.population.name, self.population.N
        return [Buffer(f"{p}_{n}", (size,), "double") for n, size in {"time": N, "V": N, "change": 1}.items()]

    def declare(self) -> str:
        p = self.population.name
        return f"{super().declare()}Replay<Tables_{p}> {p}_then[{self.population.slots}];\ndouble {p}_running = 0;\n"

    def begin(self) -> str:
        return f"{super().begin()}{self._then}.begin();\n"

    def before(self) -> str:
        p = self.population.name
        return f"for (int k = 0; k < {self.population.n}; ++k) {self._then}.y[k] = {p}[i].y[k];\n"

    @property
    def _then(self) -> str:
        """A neuron at the time that the block goes through once more."""
        return f"{self.population.name}_then[i]"

    def _loss(self) -> str:
        """Two functions of thread 0, l of all outputs at a time of the step: one leaves dl/dV / B in the place of V."""
        w, p, s = self.population, self.population.name, self.population.scope
        V = Buffer(f"{p}_V", (w.N,), "double", SHARED)

        def of_output(i: sp.Symbol) -> sp.Symbol:
            element = name("o", "V", i)
            s.table[element] = Access(V, (i,))
            return element

        slopes, value = (w.said(k.body, {}) for k in at_one_time(s, self.part, of_output))
        place = ""
        if not self._labels:
            place = f"""\
const double since = (t_k + s) / t->target_dt;
const int64_t {ROW} = (int64_t)fmin(since, (double)(t->target_rows - 2));
const double {PART} = since - (double){ROW};
"""
        text = ""
        for what, body in (("slopes", slopes), ("loss", value)):
            body = indent(f"{place}{body}return {LOSS};\n")
            text += f"[[maybe_unused]] const auto {what}_of_{p} = [&]([[maybe_unused]] const double s) {{\n{body}}};\n"
        return text

    @property
    def _scored(self) -> str:
        return "t->labels[sample] >= 0" if self._labels else "true"

    def replay(self) -> str:
        w, p, steep = self.population, self.population.name, "1.0"
        if self._labels:
            names = {"T": "t->duration"} | {c: f"t->loss_{c}" for c in w.plan.loss.constants}
            steep = f"fmax(1.0, fabs((double)({expression(w.plan.loss.derivatives[0], DOUBLE, names)})))"
        of, neuron = "[[maybe_unused]] const int32_t", "[[maybe_unused]] const int32_t neuron"
        numbers = (
            f"t_k, (int)step, (int)count, {p}_arrived + begin, {self._scored}, {'true' if w.split else 't->training'}"
        )
        text = f"""\
{self._loss()}\
{w.reset(f"{neuron}, ")}\
const auto steep = [&]([[maybe_unused]] const double r) {{ return {steep}; }};
const auto weigh = [&]({of} by, {of} source, {neuron}) {{ return {w.weight_of("by", "source")}; }};
const auto receptor = [&]({of} by) {{ return {w.receptor("by")}; }};
replay<{w.N}, {self.part.v}, {str(bool(self._moving)).lower()}>(
    {p}_tables, {p}, {p}_then, {self.name}_read, {p}_running, {self._weight}, {p}_time, {p}_V, {p}_change, slopes_of_{p}, loss_of_{p},
    reset, steep, weigh, receptor, {numbers}
);
"""
        return f"{{  // V of all outputs between the events of the step\n{indent(text)}}}\n"

    def end(self) -> str:
        w, p = self.population, self.population.name
        text, learned = super().end(), f"t->{p}_learned[(sample * {w.N} + neuron) * {len(w.dynamic)}"
        text += "".join(f"{learned} + {r}] = {self._then}.learned[{r}];\n" for r in range(len(w.dynamic)))
        return text + f"if (neuron == 0) t->loss[sample] = {self._scored} ? {p}_running : NOT_A_NUMBER;\n"

    def begin_back(self) -> str:
        w = self.population
        learned = f"t->{w.name}_learned[(sample * {w.N} + neuron) * {len(w.dynamic)}"
        return "".join(f"{w.sum_of(q)} = {learned} + {r}];\n" for r, q in enumerate(w.dynamic))

    def _pulled(self, pulls: str, place: str) -> str:
        p, n = self.population.name, self.population.n
        return f"for (int k = 0; k < {n}; ++k) {p}[i].mu[k] += t->{p}_{pulls}[({place}) * {n} + k];\n"

    def retreat(self) -> str:
        return self._pulled("pull", f"(sample * t->exact_points + step) * {self.population.N} + neuron")

    def undone(self, event: str) -> str:
        p = self.population.name
        if event == "arrival":
            return self._pulled("a_pull", f"({p}_arrived + low + e) * {self.population.N} + neuron")
        return self._pulled(f"e_{'end_' * (event == 'end')}pull", f"{p}_events + event")

    def kink(self) -> str:
        if not self._moving:
            return ""
        return (
            f"(neuron == 0 ? (double)t->{self.population.name}_a_loss[{self.population.name}_arrived + low + e] : 0.0)"
        )

    def time_gradient(self) -> str:
        return f"{DL_DT} += {self.population.event('loss')};\n"


class Samples(_Stretches):
    """V at the start of every step of the plan's grid, before the events of that time."""

    @property
    def _trace(self) -> Callable[[sp.Symbol], str]:
        table, N = self.population.scope.table, self.population.N
        return lambda x: f"t->{table[x].buffer.name}[(sample * t->n_points + at) * {N} + neuron]"

    def buffers(self) -> list[Buffer]:
        return [Buffer("n_steps", (), "long", "host"), Buffer("n_points", (), "long", "host")]

    def declare(self) -> str:
        return f"int64_t {self.name}_next[{self.population.slots}];\n"

    def begin(self) -> str:
        return f"{self.name}_next[i] = 0;\n"

    _time = "const double s = t->duration * (double)(at * t->exact_steps - step * t->n_steps) / ((double)t->n_steps * (double)t->exact_steps);\n"

    def read(self) -> str:
        each = f"{self.row('s')}{self._trace(self.part.R)} = {self.V('y')};\n"
        return f"""\
{{
    const int64_t all = t->exact_steps, last = step + 1 < all ? ((step + 1) * t->n_steps + all - 1) / all : t->n_steps + 1;
    for (int64_t &at = {self.name}_next[i]; at < last; ++at) {{
        {self._time}        if (s > until + together) break;  // what is simultaneous comes behind
{indent(each, 2)}    }}
}}
"""

    def declare_back(self) -> str:
        return f"int64_t {self.name}_left[{self.population.slots}];\n"

    def begin_back(self) -> str:
        return f"{self.name}_left[i] = t->n_steps;\n"

    def read_back(self) -> str:
        each = self.pull("s", self._trace(self.part.DR))
        return f"""\
{{
    const int64_t first = (step * t->n_steps + t->exact_steps - 1) / t->exact_steps;
    for (int64_t &at = {self.name}_left[i]; at >= first; --at) {{
        {self._time}        if (entry >= 0 && s <= since + together) break;
{indent(each, 2)}    }}
}}
"""


class MaximumInTime(_Stretches):
    """r = max V: `Maximum` of codegen/maximum.h; arrivals are counted within their steps."""

    def __init__(self, population: Neurons, part: Readout) -> None:
        super().__init__(population, part)
        assert isinstance(part, Maximum)
        self._kind = f"Maximum<Tables_{population.name}, {str(part.jumps).lower()}, int>"
        self._most = f"{self.name}_most[i]"
        # what the pass backwards needs
        self._fields = dict.fromkeys(("offset", "turn"), "double")
        self._fields |= dict.fromkeys(("step", "entry", "kink_step", "kink_entry"), "int")

    def _kept(self, field: str) -> str:
        return f"t->{self.name}_m_{field}[sample * {self.population.N} + neuron]"

    def buffers(self) -> list[Buffer]:
        kinds = self._fields | {f"y{k}": "double" for k in range(self.population.n)}
        return [Buffer(f"{self.name}_m_{f}", (self.population.N,), kind, "stored") for f, kind in kinds.items()]

    def declare(self) -> str:
        return f"{self._kind} {self.name}_most[{self.population.slots}];\n"

    def begin(self) -> str:
        return f"{self._most}.begin({self.population.name}[i].y, {self.population.name}[i].y[{self.part.v}]);\n"

    def read(self) -> str:
        last = "step + 1 == t->exact_steps && until >= t->delta"
        return f"{self._most}.read(cell, y, since, until, (int)step, entry, {last});\n"

    def arriving(self) -> str:
        return f"{self._most}.arriving(cell, {self.population.name}[i].y, offset[e]);\n"

    def arrived(self) -> str:
        arrival = f"{self.population.name}[i].y, offset[e], (int)step, (int)first + e"
        return f"if (w != 0) {self._most}.reached(cell, {arrival});\n"

    def end(self) -> str:
        text = "".join(f"{self._kept(f)} = {self._most}.{f};\n" for f in self._fields)
        text += "".join(f"{self._kept(f'y{k}')} = {self._most}.y[{k}];\n" for k in range(self.population.n))
        return f"{self.r} = {self._most}.best;\n{text}"

    def declare_back(self) -> str:
        return f"int {self.name}_pushed[{self.population.slots}];\n"

    def begin_back(self) -> str:
        return f"{self.name}_pushed[i] = 0;\n"

    def read_back(self) -> str:
        y = ", ".join(self._kept(f"y{k}") for k in range(self.population.n)) if self.population.dynamic else "0"
        push = f"const double best_y[{self.population.n}] = {{{y}}};\n" + self.pull(
            self._kept("offset"), self.dr, "best_y"
        )
        return f"""\
if (!{self.name}_pushed[i] && {self._kept("step")} == step && {self._kept("entry")} > entry) {{
    {self.name}_pushed[i] = 1;
{indent(push)}}}
"""

    def kink(self) -> str:
        at = f"{self._kept('kink_step')} == step && {self._kept('kink_entry')} == (int)(low - begin) + e"
        return f"({at} ? {self.dr} * {self._kept('turn')} : 0.0)"
