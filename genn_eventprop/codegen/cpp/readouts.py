"""C++ of the readouts. Each answers for itself: buffers, forward pieces, backward pieces; `cpp.py` puts them in place.

In all pieces `step` is the step, `neuron` a neuron of the output population, `dr` the array dL/dr of the sample. A piece that a
readout does not need is empty.
"""

from __future__ import annotations

import re

from ...plan import Plan, PopulationRecord
from ..printer import CPP, expression
from ..values import basis_size, readout_row


def expression_at(p: PopulationRecord, state: str) -> str:
    """f of one state with the states and parameters read from the population's arrays at `neuron`."""
    d = p.derived
    text = expression(d.f[d.states.index(state)], CPP)
    arrays = {s: f"p_{p.name}_{s}[neuron]" for s in d.states}
    arrays |= {n: f"args.p_{p.name}_{n}[{'neuron' if n in p.per_neuron else '0'}]" for n in d.params}
    return re.sub(r"[A-Za-z_]\w*", lambda m: arrays.get(m.group(), m.group()), text)


class ReadoutCode:
    """Base: the pieces, all empty. `p` is the output population's name, `v` the state that is read."""

    constants: tuple[str, ...] = ()

    def __init__(self, plan: Plan) -> None:
        self.plan, self.p = plan, f"p_{plan.loss.population.name}"
        self.v = plan.output.derived.model.readout
        self.np = f"NP_{self.p}"

    buffers: tuple[str, ...] = ("readout",)

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

    def at_end(self) -> str:
        return ""

    def step_constants(self) -> str:
        """Before a loop over neurons of a step, forward and backward: numbers of the step that the loop needs."""
        return ""

    def own_spike(self) -> str:
        """Backward: adds to dl_dt of an output spike."""
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

    def _sum(self, prefix: str) -> str:
        rows = readout_row(self.plan.output)
        terms = []
        for j in range(basis_size(self.plan, self.plan.output)):
            inner = " + ".join(f"{prefix}u{j}_1" if r == "1" else f"{prefix}u{j}_{r} * {r}" for r in rows)
            terms.append(f"time_weight_{j} * ({inner})")
        return " + ".join(terms)

    def step_constants(self) -> str:
        size = basis_size(self.plan, self.plan.output)
        return "".join(f"const scalar time_weight_{j} = args.time_weight[step * {size} + {j}];\n" for j in range(size))

    def begin(self) -> str:
        return f"std::memset(work.readout, 0, {self.np} * sizeof(scalar));\n"

    def in_step(self) -> str:
        return f"readout[neuron] += {self._sum('')};\n"

    def source(self) -> str:
        size = basis_size(self.plan, self.plan.output)
        lines = []
        for s in readout_row(self.plan.output):
            if s != "1":
                total = " + ".join(f"time_weight_{j} * u{j}_{s}" for j in range(size))
                lines.append(f"lambda_{s} += dr[neuron] * ({total});\n")
        return "".join(lines)

    def parameter_rate(self, param: str) -> str:
        return f" + dr[neuron] * ({self._sum(f'd{param}_')})"

    def own_spike(self) -> str:
        return "dl_dt += args.integrand_weight[step] * dr[neuron] * (V_before - V_after);\n".replace("V_", f"{self.v}_")

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        c = next(c for c in self.plan.connections if c.name == connection)
        d = self.plan.output.derived
        e = d.receptors[c.receptor][d.states.index(self.v)]
        if e == 0:
            return ""
        index = "neuron" if any(e.has(s) for n, s in zip(d.params, d.p) if n in self.plan.output.per_neuron) else "0"
        amount = "scalar(1)" if e == 1 else f"args.{self.p}_e_{c.receptor}_{self.v}[{index}]"
        return (
            f"for (int neuron = 0; neuron < {target_np}; ++neuron) drive[neuron] = -args.integrand_weight[arrival] * dr[neuron] * {amount};\n"
            f"dot_rows<{target_np}>(feedback, args.c_{connection}_weight, index, count, drive);\n"
        )


class Maximum(ReadoutCode):
    """r = max over steps of V before arrivals; lambda_V jumps at the sample, and the kink rule acts on arrivals."""

    buffers = ("readout", "maximum_slope", "maximum_kink")

    def _slope(self) -> str:
        return expression_at(self.plan.output, self.v)

    def begin(self) -> str:
        return (
            f"for (int neuron = 0; neuron < {self.np}; ++neuron) {{ readout[neuron] = (neuron < N_{self.p} ? -1 : 1) * "
            "std::numeric_limits<scalar>::infinity(); "
            "maximum_step[neuron] = 0; maximum_kink[neuron] = 0; }\n"
        )

    def before_arrivals(self) -> str:
        return f"""\
bool larger = false;
for (int neuron = 0; neuron < {self.np}; ++neuron) larger |= {self.p}_{self.v}[neuron] > readout[neuron];
if (larger) for (int neuron = 0; neuron < N_{self.p}; ++neuron) if ({self.p}_{self.v}[neuron] > readout[neuron]) {{
    readout[neuron] = {self.p}_{self.v}[neuron];
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
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if ({self.p}_{self.v}[neuron] > readout[neuron]) {{
    readout[neuron] = {self.p}_{self.v}[neuron];
    maximum_step[neuron] = int32_t(n_steps);
    maximum_kink[neuron] = 0;
}}
"""

    def sample(self) -> str:
        return f"for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (maximum_step[neuron] == step) {self.p}_lambda_{self.v}[neuron] += dr[neuron];\n"

    def feedback(self, connection: str, pre: str, target_np: str) -> str:
        return f"""\
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (maximum_step[neuron] == arrival && maximum_kink[neuron] > 0) {{
    const scalar share = maximum_kink[neuron] * dr[neuron] / negative_arrivals(args, work, arrival, neuron, sample);
    for (int64_t i = 0; i < count; ++i) {{
        const scalar weight = args.c_{connection}_weight[int64_t(index[i]) * {target_np} + neuron];
        if (weight < 0) feedback[i] += share * weight;
    }}
}}
"""


class FirstSpike(ReadoutCode):
    """r = time of the first spike, T and marked silent where there is none."""

    def at_end(self) -> str:
        return f"""\
for (int neuron = 0; neuron < {self.np}; ++neuron) {{ readout[neuron] = scalar(args.duration); first_step[neuron] = -1; }}
for (int64_t i = {self.p}.count - 1; i >= 0; --i) first_step[{self.p}.neuron[i]] = int32_t(i);
for (int neuron = 0; neuron < N_{self.p}; ++neuron) if (first_step[neuron] >= 0) {{
    int64_t lo = 0, hi = n_steps;
    while (lo < hi) {{ const int64_t mid = (lo + hi + 1) / 2; if ({self.p}.start[mid] <= first_step[neuron]) lo = mid; else hi = mid - 1; }}
    first_step[neuron] = int32_t(lo);
    readout[neuron] = scalar(double(lo) * args.dt);
}}
"""

    def own_spike(self) -> str:
        return "if (first_step[neuron] == step) dl_dt += dr[neuron];\n"


READOUTS: dict[str, type[ReadoutCode]] = {"integral": Integral, "max": Maximum, "first_spike": FirstSpike}
