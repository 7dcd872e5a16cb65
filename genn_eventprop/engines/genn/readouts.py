"""Readouts as GeNN text: what each adds to the output population's forward and adjoint model.

The counterpart of `codegen.cpp.readouts`. `step` is the step in forward pieces, `back` the time index of lambda in
backward pieces. Pieces that a readout does not need are empty. The outer loss is `outer.py`'s.
"""

from __future__ import annotations

from ...codegen import GENN
from ...codegen.printer import expression
from ...codegen.values import basis_size, readout_row
from ...plan import Plan
from .text import GIVEN, OWN


class Readout:
    """Base: a population that is not read."""

    forward_vars: tuple[tuple[str, str, str], ...] = ()
    forward_arrays: tuple[tuple[str, str], ...] = ()
    backward_vars: tuple[tuple[str, str, str], ...] = ()
    backward_arrays: tuple[tuple[str, str], ...] = ()
    kink = False  # whether arrivals of a step share a kink
    read_vars: tuple[str, ...] = ("readout",)  # what the host reads after the forward phase
    value = "readout"  # r in the code of the outer loss
    valid = ""  # whether a class has a readout, if not all have

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.v = plan.output.derived.model.readout

    def begin(self) -> str:
        return ""

    def before_arrivals(self) -> str:
        return ""

    def after_arrivals(self) -> str:
        return ""

    def in_step(self) -> str:
        """Before a step propagates."""
        return ""

    def at_spike(self) -> str:
        """At a spike, before it is counted."""
        return ""

    def at_end(self) -> str:
        """After the last step, in a custom update of its own."""
        return ""

    def sample(self) -> str:
        """Backward: the jump of lambda at `back`, before the own spike."""
        return ""

    def own_spike(self) -> str:
        """Backward: adds to dl_dt of an own spike at `back`."""
        return ""

    def source(self) -> str:
        """Backward: after lambda went back over step `back` - 1."""
        return ""

    def parameter_rate(self, param: str) -> str:
        """Backward: what step `back` - 1 adds to the gradient of a parameter."""
        return ""

    def arrival(self, receptor: str) -> str:
        """Backward: what an arrival at `back` - 1 adds to D, per unit weight."""
        return ""


class Integral(Readout):
    """r = 1/T int w V dt: each step adds sum_j time_weight_j (u_j . x + u_j1)."""

    forward_vars = (("readout", "scalar", OWN),)
    forward_arrays = (("time_weight", "scalar"),)
    backward_vars = (("dr", "scalar", OWN),)
    backward_arrays = (("time_weight", "scalar"), ("integrand_weight", "scalar"))

    @property
    def size(self) -> int:
        return basis_size(self.plan, self.plan.output)

    def _weight(self, j: int, step: str) -> str:
        return f"time_weight[{step}]" if self.size == 1 else f"time_weight[{step} * {self.size} + {j}]"

    def _sum(self, prefix: str, step: str) -> str:
        rows, terms = readout_row(self.plan.output), []
        for j in range(self.size):
            inner = " + ".join(f"{prefix}u{j}_1" if r == "1" else f"{prefix}u{j}_{r} * {r}" for r in rows)
            terms.append(f"{self._weight(j, step)} * ({inner})")
        return " + ".join(terms)

    def begin(self) -> str:
        return "readout = 0.0;\n"

    def in_step(self) -> str:
        return f"readout += {self._sum('', 'step')};\n"

    def own_spike(self) -> str:
        event = self.plan.output.derived.events[0]
        after = expression(event.h[self.plan.output.derived.states.index(self.v)], GENN)
        return f"dl_dt += integrand_weight[back] * dr * ({self.v} - ({after}));\n"

    def source(self) -> str:
        lines = []
        for s in readout_row(self.plan.output):
            if s != "1":
                total = " + ".join(f"{self._weight(j, '(back - 1)')} * u{j}_{s}" for j in range(self.size))
                lines.append(f"lambda_{s} += dr * ({total});\n")
        return "".join(lines)

    def parameter_rate(self, param: str) -> str:
        return f" + dr * ({self._sum(f'd{param}_', '(back - 1)')})"

    def arrival(self, receptor: str) -> str:
        d = self.plan.output.derived
        e = d.receptors[receptor][d.states.index(self.v)]
        if e == 0:
            return ""
        return f" - integrand_weight[back - 1] * dr * {'1.0' if e == 1 else f'e_{receptor}_{self.v}'}"


class Maximum(Readout):
    """r = max over steps of V before arrivals, and V(T)."""

    forward_vars = (
        ("readout", "scalar", OWN), ("max_step", "int", OWN), ("max_slope", "scalar", OWN),
        ("max_kink", "scalar", OWN),
    )  # fmt: skip
    backward_vars = (("dr", "scalar", OWN), ("kink", "scalar", GIVEN))
    kink = True
    read_vars = ("readout", "max_step", "max_kink")

    def _slope(self) -> str:
        d = self.plan.output.derived
        return expression(d.f[d.states.index(self.v)], GENN)

    def begin(self) -> str:
        return "readout = 0.0;\nmax_step = 0;\nmax_slope = 0.0;\nmax_kink = 0.0;\n"

    def before_arrivals(self) -> str:
        return f"""\
const bool larger = step == 0 || {self.v} > readout;
if (larger) {{
    readout = {self.v};
    max_step = step;
    max_slope = {self._slope()};
    max_kink = 0.0;
}}
"""

    def after_arrivals(self) -> str:
        return f"if (larger && max_slope > 0.0 && {self._slope()} <= 0.0) {{\n    max_kink = max_slope;\n}}\n"

    def at_end(self) -> str:
        last = "readout = {v};\n    max_step = n_steps;\n    max_kink = 0.0;"
        return f"if ({self.v} > readout) {{\n    {last.format(v=self.v)}\n}}\n"

    def sample(self) -> str:
        return f"if (max_step == back) {{\n    lambda_{self.v} += dr;\n}}\n"


class FirstSpike(Readout):
    """r = time of the first spike, T where there is none."""

    forward_vars = (("first_step", "int", OWN),)
    backward_vars = (("dr", "scalar", OWN),)
    read_vars = ("first_step",)
    value = "first_step >= 0 ? first_step * ms_per_step : T"
    valid = "first_step >= 0"

    def begin(self) -> str:
        return "first_step = -1;\n"

    def at_spike(self) -> str:
        return "if (n_spikes == 0) {\n    first_step = step + 1;\n}\n"

    def own_spike(self) -> str:
        return "if (next == 0) {\n    dl_dt += dr;\n}\n"


READOUTS: dict[str, type[Readout]] = {"integral": Integral, "max": Maximum, "first_spike": FirstSpike}
