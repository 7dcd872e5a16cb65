"""The neurons of one population in exact time, as CUDA text: the struct `P` that exact.cuh asks for, and its arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...plan import ConnectionRecord
from ...plan.series import DEGREE
from ...program.events import DL_DT, OBSERVED
from ...program.jump import x0_slope
from ...program.nodes import Add, Buffer, Set, Statement, name
from ...program.readouts import Readout, Several
from ...program.readouts.base import NOW
from ...program.readouts.spikes import COUNT
from ...program.regularise import JUMP, TOTAL, Regularise
from ...program.scope import Scope
from ..exact_statements import begin_back, comes_late, jump_back, pushed, reset
from ..safe_text import in_comment
from ..statements import constants, indent
from .exact_readings import Neurons, Said, make_readings
from .gathers import method

ARRIVAL = {"s": "double", "connection": "int", "source": "int", "index": "int"}
"""What is stored of an arrival: its offset, the route or the source that it comes from, and the number of the spike."""
CHUNK = 32  # arrivals whose numbers a block computes together, a thread each
NEURON = "int32_t neuron"


class Population(Neurons):
    """One population of the trial.

    Tables follow from parameters: one for all neurons, whose numbers at an arrival the block then shares, or one each (S).
    After a spike a neuron may be in its refractory period, with P and c of its own; all arrivals reach it there, too.

    Args:
        readout: what losses read of it. split: the two passes are two kernels. said: statements as text, with elements
            where they are.
    """

    def __init__(self, scope: Scope, readout: Readout | None, split: bool, said: Said) -> None:
        super().__init__(scope, split, said)
        p = scope.p
        self.late = any(c.delays for _, c in self.into)
        self.feeds = [(k, c) for k, c in self.into if c.source != self.plan.input.name or self.split or c.learns_delays]
        self.regularise = Regularise(scope) if p.spiking else None
        parts = list(readout.parts) if isinstance(readout, Several) else [readout] if readout else []
        self.readings = make_readings(self, parts)
        self._parts, self._said_of = parts, [part for part in parts if part.between_events() is None]
        if p.spiking:
            scope.each(COUNT, "int", "result")

    @property
    def width(self) -> int:
        """Numbers of an arrival that all neurons share; where neurons differ there are none, but an array needs a length."""
        return len(self.modes) * ((2 + len(self.dynamic)) * self.n + 2) if self.S == 1 else 1

    # arrays

    @property
    def _events(self) -> dict[str, str]:
        """What is kept of an own spike, and of the end of the period behind it, with its kind; x: n numbers."""
        fields = {"s": "double", "time": "double", "rate": "double", "step": "int", "handled": "int", "x": "double"}
        if len(self.modes) > 1:
            fields |= {"end_s": "double", "end_step": "int", "end_handled": "int", "end_x": "double"}
        return fields | {"by": "real"}

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
        for into in ("a", "u") if self.late else ("a",):
            buffers += [
                Buffer(f"{self.name}_{into}_{f}", (f"{self.name}_arrivals",), kind, "stored")
                for f, kind in ARRIVAL.items()
            ]
        buffers.append(Buffer(f"{self.name}_a_start", ("exact_points",), "int", "stored"))
        if self.p.spiking:
            buffers += [
                Buffer(f"{self.name}_e_{field}", (self.N * (n if field.endswith("x") else 1), room), kind, "stored")
                for field, kind in self._events.items()
            ]
            ordered = {"unsorted": "int", "sent_index": "int", "sent_time": "double"}
            buffers += [Buffer(f"{self.name}_{f}", (self.N, room), kind, "stored") for f, kind in ordered.items()]
            buffers.append(Buffer(f"{self.name}_w_guarded", (self.N,), "int", "result"))
            buffers.append(Buffer(f"{self.name}_sent", (1,), "int", "result"))
        if self.p.observed:
            buffers.append(Buffer(f"{self.name}_{OBSERVED}", ("batch", self.N, f"{self.name}_most"), "double", "host"))
        if S > 1:
            buffers.append(Buffer(f"{self.name}_w_end", (self._ends, self.N), "double", "stored"))
        if self.dynamic:
            buffers.append(Buffer(f"{self.name}_trace", ("exact_points", n, self.N), "double", "stored"))
        for q in self.p.trainable:
            buffers.append(Buffer(f"{self.name}_G_{q}", (self.N,), "real", "gradient"))
            buffers.append(Buffer(f"{self.name}_G_{q}_sum", (self.N,), "real", "sum"))
        if self.feeds:
            buffers.append(Buffer(f"{self.name}_z", (CHUNK, self.N), "real", "stored"))
        return buffers + [b for r in self.readings for b in r.buffers()]

    @property
    def _ends(self) -> int:
        """Numbers of the end of a step: P and c of every mode, and the row of g."""
        return len(self.modes) * self.n * (self.n + 1) + self.n + 1

    def _shared(self) -> dict[str, tuple[int, str]]:
        """In shared memory, by name in the struct: numbers of the end of a step, and how many spikes each neuron has sent."""
        arrays = {"ends": (self._ends, "double")} if self.S == 1 else {}
        return arrays | ({"fresh": (self.N + 1, "int")} if self.p.spiking else {})

    def shared(self) -> list[Buffer]:
        buffers = [Buffer(f"{self.name}_{n}", (size,), kind) for n, (size, kind) in self._shared().items()]
        return buffers + [Buffer(f"{r.name}_{n}", (k,), "double") for r in self.readings for n, k in r.shared().items()]

    # the struct

    def structs(self) -> str:
        """The population, its connections, and how it is read."""
        more = "".join(self._connection(k, c) for k, c in self.into) + "".join(r.structs() for r in self.readings)
        fields = "".join(f"{r.type} r{i};\n" for i, r in enumerate(self.readings))
        calls = " ".join(f"f(r{i});" for i in range(len(self.readings)))
        body = constants(
            "bool",
            {
                "SOME": bool(self.readings),
                "BY_NODES": " || ".join(f"{r.type}::by_nodes" for r in self.readings) or False,
            },
        )
        body += f"{fields}template <class F> __device__ void each([[maybe_unused]] F f) {{ {calls} }}\n"
        readings = f"struct Readings_{self.name} {{\n{indent(body)}}};\n"
        return f"// {in_comment(self.p.name)}\n{self._of_neurons()}{more}{readings}"

    def made(self) -> str:
        """Declares the population of a trial."""
        given = ["t", "together", "sample", *(f"{self.name}_{n}" for n in self._shared())]
        return f"const {self.struct} {self.name}{{{', '.join(given)}}};\n"

    def walk(self, kind: str, into: str) -> str:
        """Declares its way through the trial, forwards or backwards."""
        readings = ", ".join(f"{r.type}({r.made()})" for r in self.readings)
        readings = f"Readings_{self.name}{{{readings}}}"
        return f"{kind}<{self.struct}, Readings_{self.name}> {into}{{{self.name}, {readings}}};\n"

    def _of_neurons(self) -> str:
        p, plan = self.p, self.plan
        numbers: dict[str, object] = {"n": self.n, "S": self.S, "N": self.N}
        numbers |= {"modes": len(self.modes), "dynamic": len(self.dynamic)}
        numbers |= {"SLOTS": "(N + THREADS - 1) / THREADS", "WIDTH": self.width, "NUMBER": self.i}
        numbers |= {"POPULATIONS": len(plan.populations), "TRAINABLE": len(p.trainable)}
        others = any(c.channels or not (c.by_rows or c.delays) for _, c in self.into)
        flags = {"spiking": p.spiking, "observed": p.observed, "late": comes_late(p), "MORE": bool(self.into)}
        flags |= {"SKIPS": others, "FEEDS": bool(self.feeds), "WEIGHTS": any(c.trainable for _, c in self.into)}
        flags |= {"WHOLE_LAYER": bool(self.regularise and self.regularise.whole_layer)}
        body = constants("int", numbers) + constants("bool", flags)
        body += "const Trial *t;\ndouble together;\nint64_t sample;\n"
        kinds = {"double": "double", "int": "int32_t"}
        body += "".join(f"SHARED({kinds[kind]}) {n};\n" for n, (_, kind) in self._shared().items())
        body += f"int degree = (int)t->degree_{self.name};\nint64_t most_arrivals = t->{self.name}_arrivals;\n"
        body += "".join(f"decltype(Trial::{a}) {n} = t->{a};\n" for n, a in self._arrays().items())
        if p.observed:
            body += f"int64_t most = t->{self.name}_most;\n"
        if p.spiking:
            body += f"int64_t room = t->{self.name}_room, events = sample * {self.N} * room;\n"
        body += "".join(self._tables() + self._places() + self._arriving() + self._forwards() + self._backwards())
        return f"struct {self.struct} {{\n{indent(body)}}};\n"

    def _arrays(self) -> dict[str, str]:
        """Arrays of the trial by their names in the struct."""
        n = self.name
        arrays = {a: f"x_{n}_{a}" for a in ("dg", "curve", "rho")} | {"a_start": f"{n}_a_start"}
        if self.p.spiking:
            arrays |= {field: f"{n}_e_{field}" for field in self._events}
            arrays |= {field: f"{n}_{field}" for field in ("unsorted", "sent_index", "sent_time", "sent")}
            arrays |= {"guarded": f"{n}_w_guarded", "counts": f"{n}_w_count"}
        arrays |= {"observed_times": f"{n}_{OBSERVED}"} if self.p.observed else {}
        return arrays | ({"trace": f"{n}_trace"} if self.dynamic else {}) | ({"z": f"{n}_z"} if self.feeds else {})

    def _tables(self) -> list[str]:
        """Functions from a mode, and the number of a receptor or a learned parameter, to a table of `plan/series.py`."""

        def by_number(argument: str, choices: Sequence[object]) -> str:
            *first, last = choices
            return "".join(f"{argument} == {i} ? {choice} : " for i, choice in enumerate(first)) + str(last)

        def table(called: str, which: Sequence[str] = (), stored: str = "") -> str:
            of = [
                f"({by_number('mode', [f't->x_{self.name}{m}_{stored or called}{w}' for m in self.modes])})"
                for w in which or [""]
            ]
            more = ", [[maybe_unused]] int of" if which else ""
            return method("auto", called, f"[[maybe_unused]] int mode{more}", by_number("of", of))

        receptors, learned = [f"_{r}" for r in self.p.derived.receptors], [f"_{q}" for q in self.dynamic]
        tables = [table("spike"), table("rates", stored="A")]
        tables += [table(n, receptors) for n in ("arrive", "back") if receptors]
        if learned:
            places = by_number("r", [self.p.trainable.index(q) for q in self.dynamic])
            tables += [table(n, learned) for n in ("dspike", "dstep")]
            tables.append(
                f"__device__ static int place([[maybe_unused]] int r) {{ return {places}; }}  // among all learned ones\n"
            )
        return tables

    def _places(self) -> list[str]:
        N, end = self.N, "ends[c]"
        if self.S > 1:
            end = f"t->{self.name}_w_end[(sample * {self._ends} + c) * {N} + neuron]"
        places = [
            method("int64_t", "neuron", "int k", f"sample * {N} + k"),
            method("double", "end", f"int c, [[maybe_unused]] {NEURON}", end),
            method("void", "set_end", f"int c, [[maybe_unused]] {NEURON}, double value", "", f"{end} = value;\n"),
            method("auto", "arrivals", "", self._list("a")),
        ]
        if self.late:
            places.append(method("auto", "found", "", self._list("u")))
        if self.p.spiking:
            places.append(method("int64_t", "at", "int k, int of", f"events + (int64_t)k * {N} + of"))
        if self.dynamic:
            of_trace = f"((sample * t->exact_points + step) * {self.n} + k) * {N} + of"
            places.append(method("int64_t", "of_trace", "int64_t step, int k, int of", of_trace))
        return places

    def _list(self, which: str) -> str:
        return f"arrivals_in({', '.join(f't->{self.name}_{which}_{field}' for field in ARRIVAL)})"

    def _arriving(self) -> list[str]:
        """What arrivals through each connection have."""
        names = list(self.p.derived.receptors)
        receptors = {k: str(names.index(c.receptor)) for k, c in self.into}
        weights, adding = {}, {}
        for k, c in self.into:
            row = f"[(int64_t)source * {self.N} + neuron]"
            weights[k] = f"(real)t->c{k}_weight{row}"
            at = f"synapse_at(t->c{k}_first, t->c{k}_target, source, neuron)"
            if not c.by_rows:
                weights[k] = f"weight_at({at}, t->c{k}_place, t->c{k}_weight)"
            if c.trainable and c.by_rows:
                adding[k] = f"t->c{k}_slice[(sample * {c.pre} + source) * {self.N} + neuron] += by;\n"
            elif c.trainable:
                add = f"if (synapse >= 0) t->c{k}_slice[sample * {c.synapses} + synapse] += by;\n"
                adding[k] = f"const int32_t synapse = {at};\n{add}"
        only = len(self.into) > 1
        add = "".join(f"if (connection == {k}) {{\n{indent(t)}}}\n" if only else t for k, t in adding.items())
        of = "[[maybe_unused]] int32_t connection, [[maybe_unused]] int32_t source"
        numbers = {0: next(iter(receptors.values()), "0")} if len(set(receptors.values())) < 2 else receptors
        arriving = [self._choice("int", "receptor", "[[maybe_unused]] int32_t connection", numbers)]
        arriving.append(self._choice("real", "weight", f"{of}, [[maybe_unused]] {NEURON}", weights or {0: "(real)0"}))
        return arriving + ([method("void", "of_weight", f"{of}, {NEURON}, real by", "", add)] if adding else [])

    def _choice(self, kind: str, called: str, parameters: str, of: Mapping[int, str]) -> str:
        """A method whose value depends on the connection."""
        *others, last = of.items()
        before = "".join(f"if (connection == {k}) return {value};\n" for k, value in others)
        return method(kind, called, parameters, last[1], before)

    def _forwards(self) -> list[str]:
        s, modes = self.scope, self.p.derived.modes
        y, before = ({x: f"{of}[{k}]" for k, x in enumerate(s.x)} for of in ("y", "before"))
        begun: list[Statement] = [Set(x, s.expression(e)) for x, e in zip(s.x, self.p.derived.x0)]
        begun += [b for part in self._said_of for b in part.begin()]
        ended = [b for part in self._said_of for b in part.end()]
        of_state = f"[[maybe_unused]] {NEURON}, [[maybe_unused]] double *y"
        methods = [method("void", "begin", of_state, "", self.said(begun, y))]
        methods.append(method("void", "finish", of_state, "", self.said(ended, y)))
        if not self.p.spiking:
            return methods
        spiked = self.said([b for part in self._said_of for b in part.spiked()], before)
        made = reset(s) if self.p.derived.events else {}
        behind = self.said(made.values(), before | {x: f"after[{k}]" for k, x in enumerate(made)})
        of_spike = f"[[maybe_unused]] {NEURON}, [[maybe_unused]] const double *before"
        methods.append(method("void", "spiked", f"{of_spike}, [[maybe_unused]] double {NOW}", "", spiked))
        methods.append(method("void", "reset", f"{of_spike}, [[maybe_unused]] double *after", "", behind))
        if len(modes) > 1:
            lasts, text, value = name("w", "lasts"), "", "0.0"
            if modes[1].lasts is not None:
                s.each(lasts)
                text, value = self.said([Set(lasts, s.number(modes[1].lasts))], {lasts: "lasts"}), "lasts"
                text = f"double lasts;\n{text}"
            methods.append(method("double", "lasts", f"[[maybe_unused]] {NEURON}", value, text))
        return methods

    def _backwards(self) -> list[str]:
        s, p = self.scope, self.p
        mu, lam = ({l: f"{of}[{k}]" for k, l in enumerate(s.lam)} for of in ("mu", "lambda"))
        first, last = begin_back(s, self.regularise, self._parts, self._said_of)
        clear = ""
        for k, c in self.into:
            zero = [(f"c{k}_slice", c.pre * c.post if c.by_rows else c.synapses)] if c.trainable else []
            zero += [(f"c{k}_delay_slice", math.prod(c.delays.shape))] if c.delays and c.learns_delays else []
            for of, size in zero:
                clear += f"for (int w = threadIdx.x; w < {size}; w += THREADS) t->{of}[sample * {size} + w] = 0;\n"
        grads = {s.each(name("w", "grad", q)): f"sum[{r}]" for r, q in enumerate(p.trainable)}
        slopes: list[Statement] = [
            Add(grad, slope) for grad, q in zip(grads, p.trainable) if (slope := x0_slope(s, q)) != 0
        ]
        sums = self.said(slopes, mu | grads)
        sums += "".join(
            f"t->{self.name}_G_{q}[sample * {self.N} + neuron] = (real)sum[{r}];\n" for r, q in enumerate(p.trainable)
        )
        of_mu = f"[[maybe_unused]] {NEURON}, [[maybe_unused]] double *mu"
        summed = "[[maybe_unused]] double *sum"
        methods = [
            method(
                "void",
                "begin_back",
                f"{of_mu}, [[maybe_unused]] int32_t {self.name}_{TOTAL}",
                "",
                self.said([*first, *last], mu),
            ),
            method("void", "clear", "", "", clear),
            method("void", "learned", f"{of_mu}, {summed}", "", sums),
        ]
        if not p.spiking:
            return methods
        places = {x: f"before[{k}]" for k, x in enumerate(s.x)} | lam | grads
        early = {x: name("b", x) for x in s.x}
        timed = self.said(
            [b for part in self._said_of for e in s.d.events for b in part.time_gradient(e, early)], places
        )
        values = "".join(f"const double {b} = before[{k}];\n" for k, b in enumerate(early.values()) if str(b) in timed)
        values += f"const double {NOW} = time[event];\n" if str(NOW) in timed else ""
        jumped = "[[maybe_unused]] const double inv_gdot = rate[event];\n"
        jumped += self.said(jump_back(s, s.d.events[0], "double"), places)
        state = pushed(s, self.regularise, self._parts)
        jumped += f"lambda[{state}] += t->{self.name}_{JUMP}[sample * {self.N} + neuron];\n" if state >= 0 else ""
        lasting = "".join(f"sum[{r}] += D;\n" for r, q in enumerate(p.trainable) if q in p.derived.durations)
        of_event = f"[[maybe_unused]] {NEURON}, int64_t event, [[maybe_unused]] const double *before"
        of_jump = f"{of_event}, [[maybe_unused]] double dl_dt, double *lambda, [[maybe_unused]] int w_mode, {summed}"
        methods.append(method("double", "dl_dt", of_event, str(DL_DT), f"double {DL_DT} = by[event];\n{values}{timed}"))
        methods.append(method("void", "jump", of_jump, "", jumped))
        return methods + [method("void", "lasting", f"[[maybe_unused]] double D, {summed}", "", lasting)]

    # connections

    def source(self, c: ConnectionRecord) -> str:
        """The population that a connection comes from, nothing for the input."""
        return "" if c.source == self.plan.input.name else f"p{self.plan.numbers[c.source]}"

    def _connection(self, k: int, c: ConnectionRecord) -> str:
        """What exact.cuh asks of a connection, as a struct."""
        source, delays, start = self.source(c), c.delays, f"t->c{k}_start"
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
                to = "t->input_gradient[t->input_start[sample] + index] += D;\n" if self.split else ""
            D = "[[maybe_unused]] real D"
            methods.append(method("void", "feed", f"[[maybe_unused]] int32_t index, {D}", "", to))
            if delays:
                to = f"t->c{k}_delay_slice[sample * {math.prod(delays.shape)} + {of_route}] += D;\n" * c.learns_delays
                methods.append(method("void", "learn", f"[[maybe_unused]] int32_t route, {D}", "", to))
        fields = constants("int", {"NUMBER": k}) + constants("bool", {"LATE": bool(delays)})
        fields += "const Trial *t;\nint64_t sample, first, next = first, due = first, limit = first;  // first: spike of the sample\n"
        return f"struct Connection_c{k} {{\n{indent(fields + ''.join(methods))}}};\n"

    def into_trial(self, k: int, c: ConnectionRecord) -> str:
        """Declares a connection, with its first spike in the sample."""
        source = self.source(c)
        return f"Connection_c{k} into{k}{{t, sample, {f'{source}.events' if source else 'from'}}};\n"
