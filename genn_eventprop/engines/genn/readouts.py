"""Readouts as GeNN text: what each adds to the output population's forward and adjoint model.

The counterpart of `program/readouts`. `step` is the step in forward pieces, `back` the time index of lambda in
backward pieces. Pieces that a readout does not need are empty. The outer loss is `outer.py`'s.
"""

from __future__ import annotations

from ...codegen import GENN
from ...codegen.printer import expression
from ...plan import Plan
from ...plan.numbers import basis_size, readout_row
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

    def last(self) -> str:
        """Lambda at the end of the trial, from dr."""
        return ""

    def sample(self) -> str:
        """Backward: the jump of lambda at `back`, before the own spike."""
        return ""

    def own_spike(self) -> str:
        """Backward: adds to dl_dt of an own spike at `back`."""
        return ""

    def at_own_spike(self) -> str:
        """Backward: after the jump of an own spike."""
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

    forward_vars: tuple[tuple[str, str, str], ...] = (("readout", "scalar", OWN),)
    forward_arrays: tuple[tuple[str, str], ...] = (("time_weight", "scalar"), ("activity", "scalar"))
    backward_vars: tuple[tuple[str, str, str], ...] = (("dr", "scalar", OWN),)
    backward_arrays: tuple[tuple[str, str], ...] = (("integrand_weight", "scalar"), ("activity_before", "scalar"))

    @property
    def size(self) -> int:
        return basis_size(self.plan, self.plan.output)

    @property
    def driven(self) -> bool:
        """Whether the time weight follows the sample's input."""
        return self.plan.loss.weight.input_tau is not None

    def weight_at(self, j: int | str, step: str) -> str:
        weight = f"time_weight[{step}]" if self.size == 1 else f"time_weight[{step} * {self.size} + {j}]"
        return f"{weight} * activity[batch * (n_steps + 1) + {step}]" if self.driven else weight

    def _at(self, index: str) -> str:
        """w(t) / T at the time index of lambda."""
        weight = f"integrand_weight[{index}]"
        return f"{weight} * activity_before[batch * (n_steps + 1) + {index}]" if self.driven else weight

    def piece(self, j: int, prefix: str = "") -> str:
        rows = readout_row(self.plan.output)
        return " + ".join(f"{prefix}u{j}_1" if r == "1" else f"{prefix}u{j}_{r} * {r}" for r in rows)

    def _sum(self, prefix: str, step: str) -> str:
        return " + ".join(f"{self.weight_at(j, step)} * ({self.piece(j, prefix)})" for j in range(self.size))

    def _density(self, j: int) -> str:
        """The factor of u_j . x + u_j1 in dL, backwards."""
        return f"dr * {self.weight_at(j, '(back - 1)')}"

    def begin(self) -> str:
        return "readout = 0.0;\n"

    def in_step(self) -> str:
        return f"readout += {self._sum('', 'step')};\n"

    def own_spike(self) -> str:
        event = self.plan.output.derived.events[0]
        after = expression(event.h[self.plan.output.derived.states.index(self.v)], GENN)
        return f"dl_dt += {self._at('back')} * dr * ({self.v} - ({after}));\n"

    def source(self) -> str:
        lines = []
        for s in readout_row(self.plan.output):
            if s != "1":
                lines.append(
                    f"lambda_{s} += {' + '.join(f'{self._density(j)} * u{j}_{s}' for j in range(self.size))};\n"
                )
        return "".join(lines)

    def parameter_rate(self, param: str) -> str:
        return "".join(f" + {self._density(j)} * ({self.piece(j, f'd{param}_')})" for j in range(self.size))

    def arrival(self, receptor: str) -> str:
        d = self.plan.output.derived
        e = d.receptors[receptor][d.states.index(self.v)]
        if e == 0:
            return ""
        return f" - {self._at('(back - 1)')} * dr * {'1.0' if e == 1 else f'e_{receptor}_{self.v}'}"


class Voltage(Integral):
    """L = 1/T int w l(V) dt: V at the nodes of every step, which the custom update `outer` turns into densities.

    What jumps of V itself would add, from own spikes and from arrivals that act on V at once, is not here; such outputs
    are refused (`refuse.MOVED_VOLTAGE`).
    """

    forward_vars = (*Integral.forward_vars, ("loss_part", "scalar", OWN))
    forward_arrays = (*Integral.forward_arrays, ("node_scale", "scalar"), ("node_value", "scalar"))
    backward_vars = ()
    backward_arrays = (("node_part", "scalar"), ("target", "scalar"))

    def _node(self, j: int, step: str) -> str:
        return f"node_value[((batch * n_steps + {step}) * {self.size} + {j}) * num_neurons + id]"

    def in_step(self) -> str:
        nodes = [f"{self._node(j, 'step')} = node_scale[{j}] * ({self.piece(j)});\n" for j in range(self.size)]
        return super().in_step() + "".join(nodes)

    def _density(self, j: int) -> str:
        return self._node(j, "back - 1")

    def own_spike(self) -> str:
        return ""

    def arrival(self, receptor: str) -> str:
        return ""


class End(Readout):
    """r = V(T), after a spike at T."""

    backward_vars = (("dr", "scalar", OWN),)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.read_vars, self.value = (self.v,), self.v

    def last(self) -> str:
        return f"lambda_{self.v} = dr;\n"


class Count(Readout):
    """r = number of spikes, with the surrogate gradient of `Loss`."""

    backward_vars = (("dr", "scalar", OWN),)
    read_vars: tuple[str, ...] = ()
    value = "n_spikes"

    def last(self) -> str:
        return f"lambda_{self.v} = n_spikes == 0 ? dr : 0.0;\n"

    def at_own_spike(self) -> str:
        return f"lambda_{self.v} += dr;\n"


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
    backward_vars: tuple[tuple[str, str, str], ...] = (("dr", "scalar", OWN),)
    read_vars = ("first_step",)
    value = "first_step >= 0 ? first_step * ms_per_step : T"
    valid = "first_step >= 0"

    def begin(self) -> str:
        return "first_step = -1;\n"

    def at_spike(self) -> str:
        return "if (n_spikes == 0) {\n    first_step = step + 1;\n}\n"

    def own_spike(self) -> str:
        return "if (next == 0) {\n    dl_dt += dr;\n}\n"


class SpikeTimes(FirstSpike):
    """Spike m against target m, with what the host gives for each; r, for the prediction, is the first spike."""

    backward_vars = ()
    backward_arrays = (("spike_error", "scalar"),)

    def own_spike(self) -> str:
        where = "spike_error[(batch * num_neurons + id) * n_targets + next]"
        return f"if (next < n_targets) {{\n    dl_dt += {where};\n}}\n"


READOUTS: dict[str, type[Readout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count,
}  # fmt: skip
