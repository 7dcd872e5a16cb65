"""C++ of the readouts. Each answers for itself: buffers, forward pieces, backward pieces; `cpp.py` puts them in place.

In all pieces `step` is the step, `neuron` a neuron of the output population. A piece that a readout does not need is
empty.
"""

from __future__ import annotations

import re

from ...plan import Plan, PopulationRecord
from ...plan.numbers import basis_size, readout_row
from ..printer import CPP, expression


def expression_at(p: PopulationRecord, state: str) -> str:
    """f of one state with the states and parameters read from the population's arrays at `neuron`."""
    d = p.derived
    text = expression(d.f[d.states.index(state)], CPP)
    arrays = {s: f"p_{p.name}_{s}[neuron]" for s in d.states}
    arrays |= {n: f"args.p_{p.name}_{n}[{'neuron' if n in p.per_neuron else '0'}]" for n in d.params}
    return re.sub(r"[A-Za-z_]\w*", lambda m: arrays.get(m.group(), m.group()), text)


class ReadoutCode:
    """Base: the pieces, all empty.

    `p` is the output population's name, `v` the state that is read, `r` and `dr` the arrays of the readout and of dL/dr;
    behind the names of these stands `tail`, "" for the loss's own readout.
    """

    constants: tuple[str, ...] = ()

    def __init__(self, plan: Plan, tail: str = "") -> None:
        self.plan, self.p, self.tail = plan, f"p_{plan.loss.output}", tail
        self.r, self.dr = f"readout{tail}", f"dr{tail}"
        self.buffers: tuple[str, ...] = (self.r, *self.more)
        self.slopes: tuple[str, ...] = (self.dr,)
        self.v = plan.output.derived.model.readout
        self.np = f"NP_{self.p}"

    more: tuple[str, ...] = ()  # buffers of one number a neuron, besides r and dr
    arrays: dict[str, str] = {}  # further buffers: name -> size
    records: tuple[str, ...] = ()  # kept of every output spike: "own_loss", what it adds to dl_dt
    given: tuple[tuple[str, str], ...] = ()  # further pointers handed over: (type, name)
    silent = False  # whether an output may have no readout
    sets = "="  # how `last` puts its numbers into work.last

    def begin(self) -> str:
        """Before the first step."""
        return ""

    def before_arrivals(self) -> str:
        return ""

    def after_arrivals(self) -> str:
        return ""

    def in_step(self) -> str:
        """Inside the loop over neurons of a step, before it propagates; may use the states."""
        return ""

    def after_step(self) -> str:
        """Behind that loop, among the same constants."""
        return ""

    def before_own_spikes(self) -> str:
        """Before the spikes that end a step reset anything; `end` > p.count tells that there are some."""
        return ""

    def at_own_spike(self) -> str:
        """Forward: after the reset of output spike `i`."""
        return ""

    def at_end(self) -> str:
        return ""

    def hand_out(self) -> str:
        """What is read beside the loss's own readout, to the host, after a trial forwards."""
        value = f"double(work.{self.r}[n])"
        if self.silent:
            value = f"work.first_step[n] >= 0 ? {value} : std::numeric_limits<double>::infinity()"
        return f"for (int n = 0; n < N_OUT; ++n) args.also{self.tail}[sample * N_OUT + n] = {value};\n"

    def take(self) -> str:
        """dL/dr of the same from the host, before a trial backwards."""
        slope = f"args.given{self.tail}[sample * N_OUT + n]"
        return f"for (int n = 0; n < N_OUT; ++n) work.{self.dr}[n] = scalar({slope});\n"

    def step_constants(self, step: str) -> str:
        """Before a loop over neurons of step `step`, forward and backward: numbers of the step that the loop needs."""
        return ""

    def last(self) -> str:
        """After the outer loss: sets work.last, lambda_V at T, where it is not a push."""
        return ""

    def own_spike(self) -> str:
        """Backward: adds to dl_dt of an output spike."""
        return ""

    def after_own_spike(self) -> str:
        """Backward: after lambda jumped at an output spike."""
        return ""

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        """Backward: adds to feedback of spikes that arrive at the output; `arrival` is the arrival step."""
        return ""

    def sample(self) -> str:
        """Backward: jumps of lambda at step k, after the arrivals' gradients and before own spikes."""
        return ""

    def source(self) -> str:
        """Backward: inside the loop over neurons, after lambda has gone back over step k."""
        return ""

    def parameter_rate(self, param: str) -> str:
        """Backward: what step k adds to a learned parameter through the readout itself."""
        return ""


class Integral(ReadoutCode):
    """r = 1/T int w V dt: each step adds sum_j weight[k, j] (u_j . x + u_j1)."""

    def __init__(self, plan: Plan, tail: str = "") -> None:
        super().__init__(plan, tail)
        self.size, self.driven = basis_size(plan, plan.output), plan.loss.weight.input_tau is not None
        if self.driven:
            self.arrays = {"activity": "n_steps + 1", "activity_before": "n_steps + 1"}

    def _piece(self, j: int, prefix: str = "") -> str:
        """u_j . x + u_j1."""
        rows = readout_row(self.plan.output)
        return " + ".join(f"{prefix}u{j}_1" if r == "1" else f"{prefix}u{j}_{r} * {r}" for r in rows)

    def _sum(self, prefix: str = "") -> str:
        return " + ".join(f"time_weight_{j} * ({self._piece(j, prefix)})" for j in range(self.size))

    def _at(self, step: str) -> str:
        """w / T at a step, before its arrivals."""
        weight = f"args.integrand_weight[{step}]"
        return f"{weight} * work.activity_before[{step}]" if self.driven else weight

    def step_constants(self, step: str) -> str:
        driven = f" * work.activity[{step}]" if self.driven else ""
        return "".join(
            f"const scalar time_weight_{j} = args.time_weight[{step} * {self.size} + {j}]{driven};\n"
            for j in range(self.size)
        )

    def begin(self) -> str:
        return f"std::memset(work.{self.r}, 0, {self.np} * sizeof(scalar));\n" + (ACTIVITY if self.driven else "")

    def in_step(self) -> str:
        return f"{self.r}[neuron] += {self._sum()};\n"

    def source(self) -> str:
        lines = []
        for s in readout_row(self.plan.output):
            if s != "1":
                total = " + ".join(f"time_weight_{j} * u{j}_{s}" for j in range(self.size))
                lines.append(f"lambda_{s} += {self.dr}[neuron] * ({total});\n")
        return "".join(lines)

    def parameter_rate(self, param: str) -> str:
        return f" + {self.dr}[neuron] * ({self._sum(f'd{param}_')})"

    def own_spike(self) -> str:
        return f"dl_dt += {self._at('step')} * {self.dr}[neuron] * ({self.v}_before - {self.v}_after);\n"

    def _amount(self, connection: str) -> str:
        """What an arrival of unit weight adds to V of `neuron`; empty for nothing."""
        c = next(c for c in self.plan.connections if c.name == connection)
        d = self.plan.output.derived
        e = d.receptors[c.receptor][d.states.index(self.v)]
        index = "neuron" if any(e.has(s) for n, s in zip(d.params, d.p) if n in self.plan.output.per_neuron) else "0"
        return "" if e == 0 else "scalar(1)" if e == 1 else f"args.{self.p}_e_{c.receptor}_{self.v}[{index}]"

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        amount = self._amount(connection)
        if not amount:
            return ""
        return (
            f"for (int neuron = 0; neuron < {target_np}; ++neuron) drive[neuron] = -{self._at('arrival')} * {self.dr}[neuron] * {amount};\n"
            f"dot_rows<{target_np}>(feedback, args.c_{connection}_weight, index, count, drive);\n"
        )


class Voltage(Integral):
    """L = 1/T int w l(V) dt: V at the nodes of every step, l there, and dl/dV kept for the way back as `density`."""

    def __init__(self, plan: Plan, tail: str = "") -> None:
        super().__init__(plan, tail)
        J = self.size
        sizes = {"node_voltage": f"{J} * NP_OUT", "density": f"n_steps * {J} * NP_OUT", "l_slope": "NP_OUT"}
        self.arrays = self.arrays | sizes | {"before_voltage": "NP_OUT"}
        self.moved = [c.name for c in plan.into(plan.output.name) if c.source != plan.input.name]
        self.moved = [name for name in self.moved if self._amount(name)]
        if self.moved:
            self.arrays |= {"all_before": "n_steps * NP_OUT"}
        self.given = (("const scalar*", "node_scale"), ("const scalar*", "node_part"))
        if plan.output.spiking:
            self.records = ("own_loss",)

    def _goal(self, step: str, part: str) -> str:
        return f"goal_of(args, sample, {step}, {part})"

    def begin(self) -> str:
        return super().begin() + (
            "double running = 0;\nconst bool scored = has_goal(args, sample);\n"
            "const scalar inv_batch = scalar(args.sample_weight[sample]); (void)inv_batch;\n"
        )

    def before_arrivals(self) -> str:
        if not self.moved:
            return ""
        return f"std::memcpy(all_before + step * NP_OUT, {self.p}_{self.v}, NP_OUT * sizeof(scalar));\n"

    def in_step(self) -> str:
        nodes = "".join(
            f"node_voltage[{j} * NP_OUT + neuron] = args.node_scale[{j}] * ({self._piece(j)});\n"
            for j in range(self.size)
        )
        return super().in_step() + nodes

    def after_step(self) -> str:
        lines = ["if (scored) {"]
        for j in range(self.size):
            lines += [
                f"running += double(time_weight_{j} / args.node_scale[{j}] * pointwise(args, "
                f"node_voltage + {j} * NP_OUT, {self._goal('step', f'args.node_part[{j}]')}, l_slope));",
                "if (args.training) for (int neuron = 0; neuron < NP_OUT; ++neuron)",
                f"    density[(step * {self.size} + {j}) * NP_OUT + neuron] = time_weight_{j} * inv_batch * l_slope[neuron];",
            ]
        return "\n".join([*lines, "}"]) + "\n"

    def before_own_spikes(self) -> str:
        if not self.records:
            return ""
        return f"if (end > {self.p}.count) std::memcpy(before_voltage, {self.p}_{self.v}, NP_OUT * sizeof(scalar));\n"

    def at_own_spike(self) -> str:
        if not self.records:
            return ""
        goal = self._goal("step + 1", "0")
        return f"""\
{self.p}.record[OWN_LOSS][i] = 0;
if (scored) {{
    const scalar kept = before_voltage[neuron], l_before = pointwise(args, before_voltage, {goal}, l_slope);
    before_voltage[neuron] = {self.p}_{self.v}[neuron];
    const scalar change = l_before - pointwise(args, before_voltage, {goal}, l_slope);
    before_voltage[neuron] = kept;
    {self.p}.record[OWN_LOSS][i] = {self._at("step + 1")} * inv_batch * change;
}}
"""

    def at_end(self) -> str:
        return "work.running = running;\n"

    def own_spike(self) -> str:
        return "dl_dt += own_loss;\n" if self.records else ""

    def step_constants(self, step: str) -> str:
        if step == "step":
            return super().step_constants(step)
        return f"const scalar* __restrict dense = work.density + {step} * {self.size} * NP_OUT;\n"

    def source(self) -> str:
        lines = []
        for s in readout_row(self.plan.output):
            if s != "1":
                total = " + ".join(f"dense[{j} * NP_OUT + neuron] * u{j}_{s}" for j in range(self.size))
                lines.append(f"lambda_{s} += {total};\n")
        return "".join(lines)

    def parameter_rate(self, param: str) -> str:
        return "".join(f" + dense[{j} * NP_OUT + neuron] * ({self._piece(j, f'd{param}_')})" for j in range(self.size))

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        amount = self._amount(connection)
        if not amount:
            return ""
        goal = self._goal("arrival", "0")
        return f"""\
const scalar* __restrict before = all_before + arrival * NP_OUT;
const scalar l_before = pointwise(args, before, {goal}, l_slope), share = {self._at("arrival")} * scalar(args.sample_weight[sample]);
for (int64_t i = 0; i < count; ++i) {{
    const scalar* row = args.c_{connection}_weight + int64_t(index[i]) * NP_OUT;
    for (int neuron = 0; neuron < NP_OUT; ++neuron) before_voltage[neuron] = before[neuron] + {amount} * row[neuron];
    feedback[i] += share * (l_before - pointwise(args, before_voltage, {goal}, l_slope));
}}
"""


class End(ReadoutCode):
    """r = V(T)."""

    def at_end(self) -> str:
        return f"std::memcpy(work.{self.r}, {self.p}_{self.v}, NP_OUT * sizeof(scalar));\n"

    def last(self) -> str:
        return f"for (int n = 0; n < NP_OUT; ++n) work.last[n] {self.sets} work.{self.dr}[n];\n"


class Maximum(ReadoutCode):
    """r = max over steps of V before arrivals; lambda_V jumps at the sample, and the kink rule acts on arrivals."""

    more = ("maximum_slope", "maximum_kink")

    def _slope(self) -> str:
        return expression_at(self.plan.output, self.v)

    def begin(self) -> str:
        return (
            f"for (int neuron = 0; neuron < {self.np}; ++neuron) {{ {self.r}[neuron] = (neuron < N_{self.p} ? -1 : 1) * "
            "std::numeric_limits<scalar>::infinity(); "
            "maximum_step[neuron] = 0; maximum_kink[neuron] = 0; }\n"
        )

    def before_arrivals(self) -> str:
        return f"""\
bool larger = false;
for (int neuron = 0; neuron < {self.np}; ++neuron) larger |= {self.p}_{self.v}[neuron] > {self.r}[neuron];
if (larger) for (int neuron = 0; neuron < N_{self.p}; ++neuron) if ({self.p}_{self.v}[neuron] > {self.r}[neuron]) {{
    {self.r}[neuron] = {self.p}_{self.v}[neuron];
    maximum_step[neuron] = int32_t(step);
    maximum_slope[neuron] = {self._slope()};
    maximum_kink[neuron] = 0;
}}
"""

    def after_arrivals(self) -> str:
        return f"""\
if (larger) for (int neuron = 0; neuron < N_{self.p}; ++neuron)
    if (maximum_step[neuron] == step && maximum_slope[neuron] > 0 && ({self._slope()}) <= 0) maximum_kink[neuron] = maximum_slope[neuron];
"""

    def at_end(self) -> str:
        return f"""\
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if ({self.p}_{self.v}[neuron] > {self.r}[neuron]) {{
    {self.r}[neuron] = {self.p}_{self.v}[neuron];
    maximum_step[neuron] = int32_t(n_steps);
    maximum_kink[neuron] = 0;
}}
"""

    def sample(self) -> str:
        return f"for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (maximum_step[neuron] == step) {self.p}_lambda_{self.v}[neuron] += {self.dr}[neuron];\n"

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        return f"""\
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (maximum_step[neuron] == arrival && maximum_kink[neuron] > 0) {{
    const scalar share = maximum_kink[neuron] * {self.dr}[neuron] / negative_arrivals(args, work, arrival, neuron, sample);
    for (int64_t i = 0; i < count; ++i) {{
        const scalar weight = args.c_{connection}_weight[int64_t(index[i]) * {target_np} + neuron];
        if (weight < 0) feedback[i] += share * weight;
    }}
}}
"""


class FirstSpike(ReadoutCode):
    """r = time of the first spike, T and marked silent where there is none."""

    silent = True

    def at_end(self) -> str:
        return f"""\
for (int neuron = 0; neuron < {self.np}; ++neuron) {{ {self.r}[neuron] = scalar(args.duration); first_step[neuron] = -1; }}
for (int64_t i = {self.p}.count - 1; i >= 0; --i) first_step[{self.p}.neuron[i]] = int32_t(i);
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (first_step[neuron] >= 0) {{
    int64_t lo = 0, hi = n_steps;
    while (lo < hi) {{ const int64_t mid = (lo + hi + 1) / 2; if ({self.p}.start[mid] <= first_step[neuron]) lo = mid; else hi = mid - 1; }}
    first_step[neuron] = int32_t(lo);
    {self.r}[neuron] = scalar(double(lo) * args.dt);
}}
"""

    def own_spike(self) -> str:
        return f"if (first_step[neuron] == step) dl_dt += {self.dr}[neuron];\n"


class SpikeTimes(FirstSpike):
    """Every spike has a target of its own; the outer loss keeps its dL/dt in the spike store."""

    records = ("own_loss",)

    def own_spike(self) -> str:
        return "dl_dt += own_loss;\n"


class Count(ReadoutCode):
    """r = number of spikes, with the surrogate gradient of `losses.Loss`."""

    def at_end(self) -> str:
        return f"""\
std::memset(work.{self.r}, 0, NP_OUT * sizeof(scalar));
for (int64_t i = 0; i < {self.p}.count; ++i) {self.r}[{self.p}.neuron[i]] += 1;
"""

    def last(self) -> str:
        counted = "r" if not self.tail else f"work.{self.r}"
        silent = f"if ({counted}[n] == 0) work.last[n] {self.sets} work.{self.dr}[n];"
        return f"for (int n = 0; n < N_OUT; ++n) {silent}\n"

    def after_own_spike(self) -> str:
        return f"{self.p}_lambda_{self.v}[neuron] += {self.dr}[neuron];\n"


# a(t) of the sample's input, before and after the arrivals of every step
ACTIVITY = """\
{
    double activity = 0;
    for (int64_t k = 0, i = from; k <= n_steps; ++k) {
        work.activity_before[k] = scalar(activity);
        for (; i < to && args.steps[i] == k; ++i) activity += args.activity_jump;
        work.activity[k] = scalar(activity);
        activity *= args.activity_decay;
    }
}
"""


class TraceOfV(ReadoutCode):
    """V(k dt) before the arrivals of every step, straight to the host; lambda_V jumps by what the host gives for it."""

    def __init__(self, plan: Plan, tail: str = "") -> None:
        super().__init__(plan, tail)
        self.buffers = self.slopes = ()

    def _row(self, array: str, step: str) -> str:
        return f"args.{array}{self.tail}[(sample * (n_steps + 1) + {step}) * N_OUT + neuron]"

    def _keep(self, step: str) -> str:
        value = f"double({self.p}_{self.v}[neuron])"
        return f"for (int neuron = 0; neuron < N_OUT; ++neuron) {self._row('also', step)} = {value};\n"

    def before_arrivals(self) -> str:
        return self._keep("step")

    def at_end(self) -> str:
        return self._keep("n_steps")

    def sample(self) -> str:
        jump = f"{self.p}_lambda_{self.v}[neuron] += scalar({self._row('given', 'step')})"
        return f"for (int neuron = 0; neuron < N_OUT; ++neuron) {jump};\n"

    def hand_out(self) -> str:
        return ""

    def take(self) -> str:
        return ""


class Several(ReadoutCode):
    """The loss's own readout and others in one pass: the pieces of each, one after the other."""

    def __init__(self, plan: Plan, tail: str = "") -> None:
        super().__init__(plan, tail)
        self.others = [READOUTS[name](plan, f"_{name}") for name in plan.loss.also]
        self.parts = [READOUTS[plan.loss.readout](plan), *self.others]
        for part in self.parts:
            part.sets = "+="
        self.buffers = tuple(b for part in self.parts for b in part.buffers)
        self.slopes = tuple(b for part in self.parts for b in part.slopes)
        self.arrays = {name: size for part in self.parts for name, size in part.arrays.items()}
        self.given = tuple((kind, f"{array}_{name}") for kind, array in ALSO for name in plan.loss.also)

    def _all(self, piece: str, *arguments: str) -> str:
        return "".join(getattr(part, piece)(*arguments) for part in self.parts)

    def begin(self) -> str:
        return self._all("begin")

    def before_arrivals(self) -> str:
        return self._all("before_arrivals")

    def after_arrivals(self) -> str:
        return self._all("after_arrivals")

    def in_step(self) -> str:
        return self._all("in_step")

    def at_end(self) -> str:
        return self._all("at_end")

    def hand_out(self) -> str:
        return "".join(part.hand_out() for part in self.others)

    def take(self) -> str:
        return "".join(part.take() for part in self.others)

    def step_constants(self, step: str) -> str:
        return self._all("step_constants", step)

    def last(self) -> str:
        return self._all("last")

    def own_spike(self) -> str:
        return self._all("own_spike")

    def after_own_spike(self) -> str:
        return self._all("after_own_spike")

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        return self._all("feedback", connection, pre, target_np)

    def sample(self) -> str:
        return self._all("sample")

    def source(self) -> str:
        return self._all("source")

    def parameter_rate(self, param: str) -> str:
        return self._all("parameter_rate", param)


ALSO = (("double*", "also"), ("const double*", "given"))
"""Arrays for each readout besides the loss's own: what was read, and dL/dr."""

READOUTS: dict[str, type[ReadoutCode]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(plan: Plan) -> ReadoutCode:
    """The readouts that a plan's loss uses."""
    return Several(plan) if plan.loss.also else READOUTS[plan.loss.readout](plan)
