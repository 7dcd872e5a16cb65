"""A plan as one C++ file: a whole trial forwards and backwards, fused, samples over threads, neurons over SIMD lanes.

Input: a `Plan` (structure only). Output: `Source`, the text and the order in which Python hands over pointers and
numbers. The text is a pure function of the plan; dt, the duration, parameter values and the batch are run-time
arguments, sizes are compiled in (they let a population's state stay in registers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from ..modelling.expressions import symbol
from ..plan import ConnectionRecord, Plan, PopulationRecord
from .printer import CPP, Dialect, expression
from .readouts import READOUTS, ReadoutCode
from .snippets import Snippets, derive_snippets
from .values import value_names

DOUBLE = Dialect("double", literal="{}", declare="const double")
PAD = 16  # neurons are padded to a multiple of 16, one cache line of float32


@dataclass(frozen=True)
class Source:
    """Generated code and its calling convention.

    arrays: (C type, name) of every pointer; numbers: names of the doubles; integers: names of the int64s; in order.
    gradients: parameter -> (offset, rows, padded columns) in the flat gradient; gradient_size: its length.
    """

    text: str
    arrays: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    integers: tuple[str, ...]
    gradients: dict[str, tuple[int, int, int]]
    gradient_size: int


def padded(size: int) -> int:
    """`size` rounded up to a multiple of `PAD`."""
    return -(-size // PAD) * PAD


def expression_at(p: PopulationRecord, state: str) -> str:
    """f of one state with the states and parameters read from the population's arrays at `neuron`."""
    d = p.derived
    text = expression(d.f[d.states.index(state)], CPP)
    arrays = {s: f"p_{p.name}_{s}[neuron]" for s in d.states}
    arrays |= {n: f"args.p_{p.name}_{n}[{'neuron' if n in p.per_neuron else '0'}]" for n in d.params}
    return re.sub(r"[A-Za-z_]\w*", lambda m: arrays.get(m.group(), m.group()), text)


def generate(plan: Plan, dtype: str) -> Source:
    """C++ for a plan; dtype "float32" or "float64"."""
    return _Generator(plan, dtype).source()


class _Generator:
    def __init__(self, plan: Plan, dtype: str) -> None:
        self.plan = plan
        self.real = {"float32": "float", "float64": "double"}[dtype]
        self.snippets: dict[str, Snippets] = {
            p.name: derive_snippets(p.derived, CPP, p.trainable) for p in plan.populations
        }
        self.readout: ReadoutCode = READOUTS[plan.loss.readout](plan)
        self.values = {p.name: {v.name: v.per_neuron for v in value_names(plan, p)} for p in plan.populations}
        self.gradients, self.gradient_size = self._gradient_layout()

    # calling convention

    def _gradient_layout(self) -> tuple[dict[str, tuple[int, int, int]], int]:
        layout, offset = {}, 0
        for c in self.plan.connections:
            if c.trainable:
                layout[c.weight] = (offset, c.pre, padded(c.post))
                offset += c.pre * padded(c.post)
        for p in self.plan.populations:
            for n in p.trainable:
                layout[f"{p.name}.{n}"] = (offset, 1, padded(p.size))
                offset += padded(p.size)
        return layout, offset

    def _arrays(self) -> list[tuple[str, str]]:
        given = [
            ("const int32_t*", "steps"), ("const int32_t*", "channels"), ("const int64_t*", "offsets"),
            ("const int64_t*", "samples"), ("const int64_t*", "labels"), ("const scalar*", "time_weight"),
            ("const scalar*", "integrand_weight"),
        ]  # fmt: skip
        given += [("const scalar*", f"c_{c.name}_weight") for c in self.plan.connections]
        given += [("const scalar*", f"p_{p}_{v}") for p, values in self.values.items() for v in values]
        given += [
            ("double*", "loss"), ("double*", "readout"), ("int64_t*", "prediction"), ("int64_t*", "guarded"),
            ("scalar*", "slices"), ("scalar*", "gradient"),
        ]  # fmt: skip
        return given + [("int32_t*", f"p_{p.name}_counts") for p in self._spiking]

    @property
    def _numbers(self) -> list[str]:
        return ["dt", "duration", "slope_floor", "push", *self.plan.loss.constants]

    @property
    def _integers(self) -> list[str]:
        return ["n_steps", "batch", "n_slices", "training", "record", *(f"c_{c.name}_delay" for c in self._delayed)]

    @property
    def _spiking(self) -> list[PopulationRecord]:
        return [p for p in self.plan.populations if p.spiking]

    @property
    def _delayed(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.delay > 0]

    def source(self) -> Source:
        arrays, numbers, integers = self._arrays(), self._numbers, self._integers
        runtime = resources.files(__package__).joinpath("runtime.hpp").read_text()
        trial = resources.files(__package__).joinpath("batch.hpp").read_text()
        parts = [
            self._title(), f"typedef {self.real} scalar;\n", runtime, "namespace {\n", self._sizes(), self._args(),
            self._outer(), self._work(), self._negative_arrivals(), self._forward(), self._backward(), "}  // namespace\n",
            trial, self._record(), "}  // namespace\n",
        ]  # fmt: skip
        return Source(
            "\n".join(parts), tuple(arrays), tuple(numbers), tuple(integers), self.gradients, self.gradient_size
        )

    # small pieces

    def _title(self) -> str:
        lines = ["// Generated by genn_eventprop: forward and adjoint of one network. Equations, times in ms:"]
        for p in self.plan.populations:
            d, m = p.derived, p.derived.model
            lines.append(f"//   {p.name}: {p.size} x {m.name}")
            lines += [f"//     d{s}/dt = {f}" for s, f in zip(d.states, d.f)]
            for e in d.events:
                reset = ", ".join(f"{s} <- {h}" for s, h, x in zip(d.states, e.h, d.x) if h != x)
                lines.append(f"//     {e.name} when {e.g} >= 0: {reset}")
        lines += [f"//   {c.source} -> {c.target} ({c.receptor}): {c.name}" for c in self.plan.connections]
        return "\n".join([*lines, f"//   loss: {self.plan.loss.readout} of {self.plan.loss.population.name}"]) + "\n"

    def _sizes(self) -> str:
        pops = [
            f"constexpr int N_p_{p.name} = {p.size}, NP_p_{p.name} = {padded(p.size)};" for p in self.plan.populations
        ]
        return "\n".join([*pops, f"constexpr int N_INPUT = {self.plan.input.size};", *self._aliases()]) + "\n"

    def _aliases(self) -> list[str]:
        out = self.plan.output.name
        return [
            f"constexpr int N_OUT = N_p_{out}, NP_OUT = NP_p_{out};",
            f"constexpr int64_t GRADIENT_SIZE = {self.gradient_size};",
        ]

    def _args(self) -> str:
        arrays, numbers, integers = self._arrays(), self._numbers, self._integers
        fields = [f"    {t} {n};" for t, n in arrays]
        fields += [f"    double {n};" for n in numbers] + [f"    int64_t {n};" for n in integers]
        read = [f"    args.{n} = static_cast<{t}>(arrays[{i}]);" for i, (t, n) in enumerate(arrays)]
        read += [f"    args.{n} = numbers[{i}];" for i, n in enumerate(numbers)]
        read += [f"    args.{n} = integers[{i}];" for i, n in enumerate(integers)]
        return (
            "struct Args {\n" + "\n".join(fields) + "\n};\n\n"
            "inline Args unpack(void* const* arrays, const double* numbers, const int64_t* integers) {\n    Args args;\n"
            + "\n".join(read) + "\n    return args;\n}\n"
        )  # fmt: skip

    def _outer(self) -> str:
        """score, term and their derivatives by r as functions of r."""
        loss = self.plan.loss
        names = {"T": "args.duration"} | {c: f"args.{c}" for c in loss.constants}
        out = []
        titles = ("score", "term", "score_slope", "term_slope")
        for title, expr in zip(titles, (*loss.expressions, *loss.derivatives)):
            text = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m.group(), m.group()), expression(expr, DOUBLE))
            out.append(
                f"inline double {title}(double r, const Args& args) {{ (void)r; (void)args; return {text}; }}"
            )  # fmt: skip
        out.append(f"constexpr bool READS_SPIKES = {'true' if loss.readout == 'first_spike' else 'false'};")
        out.append(f"constexpr bool SILENT_EXCLUDED = {'true' if loss.silent == 'exclude' else 'false'};")
        return "\n".join([*out, ""])

    def _work(self) -> str:
        """Per-thread memory of one trial."""
        fields, sizes = [], []
        for p in self.plan.populations:
            names = [
                *p.derived.states,
                *(f"lambda_{s}" for s in p.derived.states),
                *(["g", "g_before"] if p.spiking else []),
            ]
            names += [f"grad_{n}" for n in p.trainable] + [f"Q_{r}" for r in self._fed(p)]
            for n in names:
                fields.append(f"p_{p.name}_{n}")
                sizes.append((f"p_{p.name}_{n}", f"NP_p_{p.name}"))
            histories = [f"history_{r}" for r in self._learned_receptors(p)] + [
                f"Q_history_{r}" for r in self._delayed_receptors(p)
            ]
            histories += [f"trace_{s}" for s in p.derived.states] if p.stores_states else []
            for n in histories:
                fields.append(f"p_{p.name}_{n}")
                sizes.append((f"p_{p.name}_{n}", f"n_steps * NP_p_{p.name}"))
        widest = max(padded(p.size) for p in self.plan.populations)
        buffers = [*fields, *self.readout.buffers, "dr", "drive"]
        sizes += [(b, "NP_OUT") for b in (*self.readout.buffers, "dr")] + [("drive", str(widest))]
        spikes = [f"    Spikes<{1 + len(self._recorded(p))}> p_{p.name}_spikes;" for p in self._spiking]
        reserve = [f"        {n}.zero({s});" for n, s in sizes]
        reserve += [f"        p_{p.name}_spikes.start.reserve(n_steps + 2);" for p in self._spiking]
        feedback = [f"    Buffer<scalar> p_{p.name}_feedback;" for p in self._spiking]
        return (
            "struct Work {\n    Buffer<scalar> " + ", ".join(buffers) + ";\n" + "\n".join(feedback + spikes) + "\n"
            "    Buffer<int32_t> maximum_step, first_step;\n    BySource by_source;\n    int64_t guarded = 0;\n"
            "    int64_t ready = -1;\n"
            "    void prepare(int64_t n_steps) {\n        if (ready == n_steps) return;\n" + "\n".join(reserve) + "\n"
            "        maximum_step.zero(NP_OUT);\n        first_step.zero(NP_OUT);\n        ready = n_steps;\n    }\n};\n"
        )  # fmt: skip

    def _recorded(self, p: PopulationRecord) -> tuple[str, ...]:
        """States kept from right before every spike: what the jump, or an integral over the reset, needs."""
        states = self.snippets[p.name].jump_states
        read = p.name == self.plan.output.name and self.plan.loss.readout == "integral"
        return (*states, self.readout.v) if read and self.readout.v not in states else states

    def _fed(self, p: PopulationRecord) -> list[str]:
        """Receptors that spikes of populations (not the input) act on: these need D."""
        return _unique(c.receptor for c in self.plan.into(p.name) if c.source != self.plan.input.name)

    def _learned_receptors(self, p: PopulationRecord) -> list[str]:
        return _unique(c.receptor for c in self.plan.into(p.name) if c.trainable)

    def _delayed_receptors(self, p: PopulationRecord) -> list[str]:
        return _unique(
            c.receptor for c in self.plan.into(p.name) if c.source != self.plan.input.name and c.delay > 0
        )  # fmt: skip

    def _loop(self, p: PopulationRecord, code: str, extra: tuple[str, ...] = ()) -> str:
        """A loop over the neurons of `p` around snippet code: loads and stores what the code names."""
        used = set(re.findall(r"[A-Za-z_]\w*", code))
        arrays = [v for v in (*p.derived.states, *(f"lambda_{s}" for s in p.derived.states), *extra) if v in used]
        written = {v for v in arrays if re.search(rf"\b{v} [+]?= ", code)}
        fixed = [v for v, per_neuron in self.values[p.name].items() if v in used and not per_neuron]
        varying = [v for v, per_neuron in self.values[p.name].items() if v in used and per_neuron]
        lines = ["{", *(f"const scalar {v} = args.p_{p.name}_{v}[0];" for v in fixed)]
        lines += [f"const scalar* __restrict all_{v} = args.p_{p.name}_{v};" for v in varying]
        lines.append(f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron) {{")
        lines += [f"const scalar {v} = all_{v}[neuron];" for v in varying]
        lines += [f"scalar {v} = p_{p.name}_{v}[neuron];" for v in arrays]
        lines += [code.rstrip(), *(f"p_{p.name}_{v}[neuron] = {v};" for v in arrays if v in written), "}", "}"]
        return "\n".join(lines) + "\n"

    def _pointers(self, backward: bool) -> str:
        lines = []
        for p in self.plan.populations:
            names = list(p.derived.states)
            if backward:
                names = [f"lambda_{s}" for s in p.derived.states] + [f"grad_{n}" for n in p.trainable]
                names += [f"Q_{r}" for r in self._fed(p)]
            elif p.spiking:
                names += ["g", "g_before"]
            lines += [f"scalar* __restrict p_{p.name}_{n} = work.p_{p.name}_{n}; (void)p_{p.name}_{n};" for n in names]
            if p.spiking:
                lines.append(f"auto& p_{p.name} = work.p_{p.name}_spikes;")
        lines += [f"scalar* __restrict {b} = work.{b}; (void){b};" for b in (*self.readout.buffers, "dr", "drive")]
        lines += ["int32_t* __restrict maximum_step = work.maximum_step; (void)maximum_step;"]
        lines += ["int32_t* __restrict first_step = work.first_step; (void)first_step;"]
        return "\n".join([*lines, "const int64_t n_steps = args.n_steps;", *_RANGE]) + "\n"

    # forwards

    def _forward(self) -> str:
        body = [self._pointers(backward=False)]
        body += [self._initial(p) for p in self.plan.populations]
        body += [f"p_{p.name}.count = 0; p_{p.name}.start[0] = p_{p.name}.start[1] = 0;" for p in self._spiking]
        body.append(self.readout.begin())
        body += [f"int64_t next_{c.name} = from;" for c in self._from_input]
        body.append("const scalar dt = scalar(args.dt), least_rise = scalar(args.slope_floor * args.dt);")
        body.append("(void)dt; (void)least_rise;")
        body.append("for (int64_t step = 0; step < n_steps; ++step) {")
        body.append(self.readout.before_arrivals())
        body += [self._arrivals(c) for c in self.plan.connections]
        body.append(self.readout.after_arrivals())
        body += [self._advance(p) for p in self.plan.populations]
        body += ["}", self.readout.at_end(), *(self._count(p) for p in self._spiking)]
        return "__attribute__((noinline)) void forward(const Args& args, Work& work, int64_t sample) {\n" + _indent("\n".join(body)) + "}\n"

    @property
    def _from_input(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.source == self.plan.input.name]

    def _initial(self, p: PopulationRecord) -> str:
        d = p.derived
        code = "\n".join(f"{s} = {expression(e, CPP)};" for s, e in zip(d.states, d.x0))
        return self._loop(p, code)

    def _arrivals(self, c: ConnectionRecord) -> str:
        delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
        if c.source == self.plan.input.name:
            lines = [
                f"const int64_t first = next_{c.name};",
                f"while (next_{c.name} < to && args.steps[next_{c.name}]{delay} == step) ++next_{c.name};",
                f"const int32_t* index = args.channels + first; const int64_t count = next_{c.name} - first;",
            ]
        else:
            at = f"step - args.c_{c.name}_delay" if c.delay > 0 else "step"
            lines = [
                f"const int64_t at = {at};",
                f"const int64_t first = at > 0 ? p_{c.source}.start[at] : 0;",
                f"const int64_t count = at > 0 ? p_{c.source}.start[at + 1] - first : 0;",
                f"const int32_t* index = p_{c.source}.neuron + first;",
            ]
        return "{\n" + "\n".join(lines) + "\n" + self._add_rows(c) + "}\n"

    def _add_rows(self, c: ConnectionRecord) -> str:
        p = self.plan.population(c.target)
        e = p.derived.receptors[c.receptor]
        touched = [(s, v) for s, v in zip(p.derived.states, e) if v != 0]
        if len(touched) == 1 and touched[0][1] == 1:
            return f"add_rows<NP_p_{p.name}>(p_{p.name}_{touched[0][0]}, args.c_{c.name}_weight, index, count);\n"
        code = "\n".join(
            f"{s} += {'arrived' if v == 1 else f'e_{c.receptor}_{s} * arrived'};" for s, v in touched
        )  # fmt: skip
        loop = self._loop(p, "const scalar arrived = drive[neuron];\n" + code)
        return (
            f"if (count) {{\nadd_rows<NP_p_{p.name}, true>(drive, args.c_{c.name}_weight, index, count);\n{loop}}}\n"
        )  # fmt: skip

    def _advance(self, p: PopulationRecord) -> str:
        snippet = self.snippets[p.name]
        is_output = p.name == self.plan.output.name
        before = self.readout.in_step() if is_output else ""
        constants = self.readout.step_constants() if before and hasattr(self.readout, "step_constants") else ""
        trace = ""
        if p.stores_states:
            trace = "".join(
                f"std::memcpy(work.p_{p.name}_trace_{s} + step * NP_p_{p.name}, p_{p.name}_{s}, NP_p_{p.name} * sizeof(scalar));\n"
                for s in p.derived.states
            )
        code = before + snippet.sim_code + "\n"
        if not p.spiking:
            return trace + "{\n" + constants + self._loop(p, code) + "}\n"
        code = f"g_before = {snippet.threshold};\n{code}g = {snippet.threshold};\n"
        loop = self._loop(p, code, extra=("g", "g_before"))
        return trace + "{\n" + constants + loop + "}\n{\n" + self._spikes(p) + "}\n"

    def _spikes(self, p: PopulationRecord) -> str:
        snippet = self.snippets[p.name]
        name, np_ = f"p_{p.name}", f"NP_p_{p.name}"
        records = [f"{name}.record[{i + 1}][i] = {name}_{s}[neuron];" for i, s in enumerate(self._recorded(p))]
        reset = self._at_neuron(p, snippet.reset_code)
        return f"""\
{name}.start[step + 1] = int32_t({name}.count);
{name}.reserve({np_});
const int64_t end = {name}.count + find_crossed<N_{name}>({name}.neuron + {name}.count, {name}_g);
for (int64_t i = {name}.count; i < end; ++i) {{
    const int neuron = {name}.neuron[i];
    const scalar rise = {name}_g[neuron] - {name}_g_before[neuron];
    {name}.record[0][i] = dt / rise;
    if (!(rise > 0) || rise < least_rise) {{
        ++work.guarded;
        {name}.record[0][i] = least_rise > 0 ? dt / least_rise : scalar(0);
    }}
{_indent(chr(10).join(records))}
{_indent(reset)}
}}
{name}.count = end;
{name}.start[step + 2] = int32_t({name}.count);
"""

    def _at_neuron(self, p: PopulationRecord, code: str, lam: bool = False, given: tuple[str, ...] = ()) -> str:
        """Snippet code for one neuron: scalar loads, the code, stores."""
        used = set(re.findall(r"[A-Za-z_]\w*", code))
        variables = [
            v for v in (*p.derived.states, *(f"lambda_{s}" for s in p.derived.states)) if v in used - set(given)
        ]
        written = [v for v in variables if re.search(rf"\b{v} [+]?= ", code)]
        loads = [
            f"const scalar {v} = args.p_{p.name}_{v}[{'neuron' if varies else '0'}];"
            for v, varies in self.values[p.name].items() if v in used
        ]  # fmt: skip
        loads += [f"scalar {v} = p_{p.name}_{v}[neuron];" for v in variables]
        return "{\n" + "\n".join([*loads, code, *(f"p_{p.name}_{v}[neuron] = {v};" for v in written)]) + "\n}\n"

    def _count(self, p: PopulationRecord) -> str:
        return (
            f"{{\nint32_t* counts = args.p_{p.name}_counts + sample * N_p_{p.name};\n"
            f"std::memset(counts, 0, N_p_{p.name} * sizeof(int32_t));\n"
            f"for (int64_t i = 0; i < p_{p.name}.count; ++i) ++counts[p_{p.name}.neuron[i]];\n}}\n"
        )

    def _negative_arrivals(self) -> str:
        """Sum of the negative weights that arrive at one output neuron at one step, for the kink rule."""
        if self.plan.loss.readout != "max":
            return ""
        lines = [*_RANGE]
        for c in self.plan.into(self.plan.output.name):
            at = f"arrival - args.c_{c.name}_delay" if c.delay > 0 else "arrival"
            weight = f"args.c_{c.name}_weight[int64_t(source) * NP_OUT + neuron]"
            if c.source == self.plan.input.name:
                each = "for (int64_t i = from; i < to; ++i) if (args.steps[i] == at) { const int32_t source = args.channels[i];"
            else:
                s = f"work.p_{c.source}_spikes"
                each = f"if (at > 0) for (int64_t i = {s}.start[at]; i < {s}.start[at + 1]; ++i) {{ const int32_t source = {s}.neuron[i];"
            lines.append(f"{{ const int64_t at = {at}; {each} total += {weight} < 0 ? {weight} : scalar(0); }} }}")
        return (
            "scalar negative_arrivals(const Args& args, Work& work, int64_t arrival, int neuron, int64_t sample) {\n"
            "    (void)work;\n    scalar total = 0;\n" + _indent("\n".join(lines)) + "    return total;\n}\n"
        )  # fmt: skip

    # backwards

    def _backward(self) -> str:
        body = [self._pointers(backward=True)]
        for p in self.plan.populations:
            names = [f"lambda_{s}" for s in p.derived.states] + [f"grad_{n}" for n in p.trainable]
            body += [f"std::memset(p_{p.name}_{n}, 0, NP_p_{p.name} * sizeof(scalar));" for n in names]
        body.append(self._push())
        body.append("for (int64_t step = n_steps; step >= 0; --step) {")
        body.append("if (step < n_steps) {")
        body += [self._keep(p) for p in self.plan.populations]
        body.append("}")
        body += [self._feedback(p) for p in self._spiking]
        body.append(self.readout.sample())
        body += [self._jump(p) for p in self._spiking]
        body.append("if (step == 0) break;")
        body += [self._retreat(p) for p in self.plan.populations]
        body.append("}")
        body += [self._initial_gradient(p) for p in self.plan.populations]
        body += [self._gather(c) for c in self.plan.connections if c.trainable]
        body += [self._hand_over(p, n) for p in self.plan.populations for n in p.trainable]
        head = "__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first) {\n"
        return head + _indent("\n".join(body)) + "}\n"

    def _push(self) -> str:
        if self.plan.loss.readout != "first_spike" or self.plan.loss.silent != "end":
            return ""
        p = self.plan.output
        index = "label" if "tau_mem" in p.per_neuron else "0"
        return (
            "{ const int64_t label = args.labels[sample];\n"
            f"if (first_step[label] < 0) p_{p.name}_lambda_{self.readout.v}[label] -= "
            f"args.p_{p.name}_tau_mem[{index}] * scalar(args.push / double(args.batch)); }}\n"
        )

    def _keep(self, p: PopulationRecord) -> str:
        """What step `step` of the adjoint leaves for others: weight-gradient rows and feedback vectors."""
        snippet, out = self.snippets[p.name], []
        for r in self._learned_receptors(p):
            code = f"row[neuron] = {snippet.direction[r]};"
            out.append(
                f"{{ scalar* __restrict row = work.p_{p.name}_history_{r} + step * NP_p_{p.name};\n{self._loop(p, code)}}}"
            )
        for r in self._fed(p):
            out.append(self._loop(p, f"p_{p.name}_Q_{r}[neuron] = {snippet.feedback[r]};"))
        for r in self._delayed_receptors(p):
            out.append(
                f"std::memcpy(work.p_{p.name}_Q_history_{r} + step * NP_p_{p.name}, p_{p.name}_Q_{r}, NP_p_{p.name} * sizeof(scalar));"
            )
        return "\n".join(out)

    def _feedback(self, p: PopulationRecord) -> str:
        name = f"p_{p.name}"
        out = [
            "{", f"const int64_t start = step > 0 ? {name}.start[step] : 0;",
            f"const int64_t count = step > 0 ? {name}.start[step + 1] - start : 0;",
            "if (count) {", f"const int32_t* index = {name}.neuron + start; (void)index;",
            f"work.p_{p.name}_feedback.zero(count);",
            f"scalar* __restrict feedback = work.p_{p.name}_feedback;",
        ]  # fmt: skip
        for c in self.plan.out_of(p.name):
            target = f"NP_p_{c.target}"
            delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
            q = (
                f"work.p_{c.target}_Q_history_{c.receptor} + arrival * {target}"
                if c.delay > 0
                else f"p_{c.target}_Q_{c.receptor}"
            )
            out.append(f"{{ const int64_t arrival = step{delay};\nif (arrival < n_steps) {{")
            out.append(f"dot_rows<{target}>(feedback, args.c_{c.name}_weight, index, count, {q});")
            if c.target == self.plan.output.name:
                out.append(self.readout.feedback(c.name, p.name, target))
            out.append("} }")
        return "\n".join([*out, "}", "}"]) + "\n"

    def _jump(self, p: PopulationRecord) -> str:
        snippet, name = self.snippets[p.name], f"p_{p.name}"
        own, given = "", self._recorded(p)
        if p.name == self.plan.output.name and self.readout.own_spike():
            own = self._own_spike(p)
        records = [f"const scalar {s} = {name}.record[{i + 1}][i]; (void){s};" for i, s in enumerate(given)]
        gradients = "".join(f"{name}_grad_{n}[neuron] += {code};\n" for n, code in snippet.jump_gradients.items())
        code = self._at_neuron(p, gradients + snippet.adjoint_jump_code, given=given)
        return f"""\
if (step > 0) for (int64_t i = {name}.start[step]; i < {name}.start[step + 1]; ++i) {{
    const int neuron = {name}.neuron[i];
    scalar dl_dt = work.{name}_feedback[i - {name}.start[step]];
    const scalar inv_gdot = {name}.record[0][i];
{_indent(chr(10).join(records))}
{_indent(own)}
{_indent(code)}
}}
"""

    def _own_spike(self, p: PopulationRecord) -> str:
        """The readout's own term at an output spike; an integral needs its state before and after the reset."""
        code, v = self.readout.own_spike(), self.readout.v
        if f"{v}_before" not in code:
            return code
        event = p.derived.events[0]
        after = expression(event.h[p.derived.states.index(v)], CPP)
        names = {n: f"args.p_{p.name}_{n}[{'neuron' if n in p.per_neuron else '0'}]" for n in p.derived.params}
        after = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m.group(), m.group()), after)
        return f"const scalar {v}_before = {v}, {v}_after = {after};\n{code}"

    def _retreat(self, p: PopulationRecord) -> str:
        """lambda from the end of step `step - 1` to its start, with parameter integrals and the readout's source."""
        snippet, is_output = self.snippets[p.name], p.name == self.plan.output.name
        rates = ""
        for n in p.trainable:
            if n in snippet.parameter_rates:
                extra = self.readout.parameter_rate(n) if is_output else ""
                rates += f"p_{p.name}_grad_{n}[neuron] += {snippet.parameter_rates[n]}{extra};\n"
        source = self.readout.source() if is_output else ""
        constants, reads = "", ""
        if is_output and hasattr(self.readout, "step_constants"):
            constants = self.readout.step_constants()
        if rates:
            reads = "".join(
                f"const scalar* __restrict trace_{s} = work.p_{p.name}_trace_{s} + (step - 1) * NP_p_{p.name};\n"
                for s in p.derived.states
            )
            rates = re.sub(
                r"[A-Za-z_]\w*",
                lambda m: f"trace_{m.group()}[neuron]" if m.group() in p.derived.states else m.group(),
                rates,
            )
        constants = constants.replace("[step *", "[(step - 1) *")
        return "{\n" + constants + reads + self._loop(p, rates + snippet.adjoint_sim_code + "\n" + source) + "}\n"

    def _initial_gradient(self, p: PopulationRecord) -> str:
        d, lines = p.derived, []
        lam = [symbol(f"lambda_{s}") for s in d.states]
        for n in p.trainable:
            change = sum(v * d.dx0_dp[i, d.params.index(n)] for i, v in enumerate(lam))
            if change != 0:
                lines.append(f"p_{p.name}_grad_{n}[neuron] += {expression(change, CPP)};\n")
        return self._loop(p, "".join(lines)) if lines else ""

    def _gather(self, c: ConnectionRecord) -> str:
        """Weight gradients: history rows summed once per presynaptic neuron instead of a row update per spike."""
        delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
        offset = self.gradients[c.weight][0]
        tail = (
            f"gather_gradient<NP_p_{c.target}>(slice + {offset}, work.p_{c.target}_history_{c.receptor}, by, {c.pre}, first);\n}}\n"
        )  # fmt: skip
        head = f"{{\nBySource& by = work.by_source;\nby.reset({c.pre});\n"
        if c.source == self.plan.input.name:
            end = f"int64_t end = to;\nwhile (end > from && args.steps[end - 1]{delay} >= n_steps) --end;\n"
            fill = f"for (int64_t i = from; i < end; ++i) by.put(args.channels[i], args.steps[i]{delay});\n"
            return f"{head}{end}by.count(args.channels + from, end - from);\nby.prepare({c.pre}, end - from);\n{fill}{tail}"
        s = f"p_{c.source}"
        last = f"n_steps{delay.replace('+', '-')}"
        end = f"const int64_t last = {last};\nconst int64_t end = last > 0 ? {s}.start[last] : 0;\n"
        fill = (
            f"for (int64_t at = 1; at < last; ++at) for (int64_t i = {s}.start[at]; i < {s}.start[at + 1]; ++i)\n"
            f"    by.put({s}.neuron[i], int32_t(at{delay}));\n"
        )
        return f"{head}{end}by.count({s}.neuron, end);\nby.prepare({c.pre}, end);\n{fill}{tail}"

    def _hand_over(self, p: PopulationRecord, param: str) -> str:
        offset = self.gradients[f"{p.name}.{param}"][0]
        return (
            f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron)\n"
            f"    slice[{offset} + neuron] = (first ? scalar(0) : slice[{offset} + neuron]) + p_{p.name}_grad_{param}[neuron];\n"
        )

    def _record(self) -> str:
        """Copies the spikes of a trial out of a thread's memory when they are asked for."""
        keep = "".join(
            f"    engine.recorded[{i}].keep(sample, work.p_{p.name}_spikes.neuron, work.p_{p.name}_spikes.start, args.n_steps);\n"
            for i, p in enumerate(self._spiking)
        )
        return f"void keep_spikes(Engine& engine, const Args& args, Work& work, int64_t sample) {{\n    (void)engine; (void)args; (void)work; (void)sample;\n{keep}}}\n"


_RANGE = (
    "const int64_t from = args.offsets[args.samples[sample]], to = args.offsets[args.samples[sample] + 1];",
    "(void)from; (void)to;",
)


def _unique(names: object) -> list[str]:
    return list(dict.fromkeys(names))  # type: ignore[call-overload]


def _indent(text: str, levels: int = 1) -> str:
    pad = "    " * levels
    return "".join(pad + line + "\n" for line in text.split("\n") if line.strip())
