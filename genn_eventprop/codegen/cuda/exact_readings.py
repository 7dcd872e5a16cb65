"""What losses read between events in exact time: for each reading of readings.cuh, what it asks of `R`, as a struct.

Readouts that look at spikes or ends alone need nothing of this: their statements are in `program/readouts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sympy as sp

from ...plan import Plan, PopulationRecord
from ...plan.series import DEGREE, MODES, NODES, gauss_table, varies
from ...program.compare import at_one_time
from ...program.nodes import Access, Buffer, Statement, name
from ...program.outer.base import LOSS, PART, ROW
from ...program.readouts.base import Readout
from ...program.readouts.integral import Integral
from ...program.readouts.maximum import Maximum
from ...program.readouts.trace import Trace
from ...program.readouts.voltage import Voltage
from ...program.scope import Scope
from ..cpp import padded
from ..printer import DOUBLE, expression
from ..statements import constants, indent
from ..time_weights import weight_struct
from .gathers import method

GAUSS = Buffer("gauss", (NODES * (NODES + 1),), "double", "host")
"""Nodes and weights; see `plan.series.gauss_table`."""
assert len(gauss_table()) == GAUSS.axes[0]
SHARED = "shared"
"""Role of a buffer in shared memory that statements of `program` name."""
Said = Callable[[Scope, Iterable[Statement], Mapping[sp.Symbol, str]], str]


class Neurons:
    """What readings know of their population; the rest of it is in `exact_population.py`.

    Args:
        split: the two passes are two kernels. said: statements as text, with elements where they are.
    """

    def __init__(self, scope: Scope, split: bool, said: Said) -> None:
        p = scope.p
        self.scope, self.split, self._said = scope, split, said
        self.p, self.i, self.plan, self.n = p, scope.index, scope.plan, len(p.derived.states)
        self.name, self.N = scope.prefix.removesuffix("_"), p.size
        self.struct = f"Population_{self.name}"
        # padded as `native` has them: both engines take the same arrays from `plan/series.py`
        self.S = padded(p.size) if varies(p) else 1
        self.modes = MODES[: len(p.derived.modes)]
        self.dynamic = [n for n in p.trainable if n in p.derived.dynamic_params]
        self.into = [(k, c) for k, c in enumerate(self.plan.connections) if c.target == p.name]

    def said(self, body: Iterable[Statement], places: Mapping[sp.Symbol, str]) -> str:
        return self._said(self.scope, body, places)


class Reading:
    """One readout of a population that is read between events; in readings.cuh it has the same name."""

    def __init__(self, population: Neurons, part: Readout) -> None:
        self.population, self.part = population, part
        self.name = f"{population.name}{'_' * bool(part.which)}{part.which}"

    def buffers(self) -> list[Buffer]:
        return []

    def shared(self) -> dict[str, int]:
        """Arrays of doubles in shared memory: their names in the struct, and their lengths."""
        return {}

    def _arrays(self) -> dict[str, str]:
        """Arrays of the trial by their names in the struct."""
        return {}

    def _constants(self) -> str:
        return ""

    def _methods(self) -> list[str]:
        """By default of a number of every neuron."""
        return self._access("int32_t neuron", f"[sample * {self.population.N} + neuron]")

    def _access(self, index: str, at: str) -> list[str]:
        """`set` and `dr`."""
        table = self.population.scope.table
        r, dr = (f"t->{table[x].buffer.name}{at}" for x in (self.part.R, self.part.DR))
        return [method("void", "set", f"{index}, double r", "", f"{r} = r;\n"), method("double", "dr", index, dr)]

    def structs(self) -> str:
        fields = "const Trial *t;\nint64_t sample, from, to;  // input spikes\n"
        fields += f"const {self.population.struct} &p;\n" + "".join(f"SHARED(double) {n};\n" for n in self.shared())
        fields += "".join(f"decltype(Trial::{a}) {n} = t->{a};\n" for n, a in self._arrays().items())
        body = constants("int", {"v": self.part.v}) + self._constants() + fields + "".join(self._methods())
        return f"struct Read_{self.name} {{\n{indent(body)}}};\n"

    def made(self) -> str:
        """The reading of a trial."""
        given = ["t", "sample", "from", "to", self.population.name, *(f"{self.name}_{n}" for n in self.shared())]
        return f"Read_{self.name}{{{', '.join(given)}}}"

    @property
    def type(self) -> str:
        return f"{type(self).__name__}<{self.population.struct}, Read_{self.name}>"


def make_readings(population: Neurons, parts: Iterable[Readout]) -> list[Reading]:
    """Of the readouts of one population, in their order, those that are read between events."""
    return [_class_of(population, part)(population, part) for part in parts if part.between_events() is not None]


def _class_of(population: Neurons, part: Readout) -> type[Reading]:
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
    def buffers(self) -> list[Buffer]:
        p, n = self.population.name, self.population.n
        tables = Buffer(f"{p}_u", ("exact_points", 2 * (DEGREE + 1) * (n + 2)), "double", "host")
        return [tables, Buffer(f"{p}_edges", ("exact_points", 2), "double", "host")]

    def shared(self) -> dict[str, int]:
        return {"u0": self.population.n + 2}

    def _arrays(self) -> dict[str, str]:
        return {n: f"{self.population.name}_{n}" for n in ("u", "edges")}


class Weighted(Reading):
    """What a time weight is part of, by Gauss nodes."""

    @property
    def _driven(self) -> bool:
        assert isinstance(self.part, Integral)
        return self.part.driven

    @property
    def _knots(self) -> bool:
        """Whether what is read is compared with a series of targets."""
        return False

    def _moves(self) -> bool:
        """Whether arrivals move V itself."""
        w = self.population
        return any(w.p.derived.receptors[c.receptor][self.part.v] != 0 for _, c in w.into)

    def _constants(self) -> str:
        return f"using Weight = Weight_{self.name};\n" + constants("bool", {"MOVES": self._moves()})

    def buffers(self) -> list[Buffer]:
        prefix = self.population.scope.of_loss
        names = ["window_start", "window_end"] + ["activity_rate", "activity_jump"] * self._driven
        buffers = [Buffer(f"{prefix}{n}", (), "double", "host") for n in names]
        buffers += [GAUSS, Buffer(f"{prefix}series_size", (), "long", "host")]
        activity = Buffer(f"{self.population.name}_heard", ("input_spikes",), "double", "scratch")
        return buffers + ([activity, Buffer("input_start", ("batch",), "long", "host")] if self._driven else [])

    def structs(self) -> str:
        dt = "t->target_dt" if self._knots else ""
        weight = weight_struct(self.population.scope, f"Weight_{self.name}", "const Trial *t", "t->", dt, "__device__ ")
        return weight + super().structs()

    def _methods(self) -> list[str]:
        heard, base = "(double *)nullptr", "0"
        if self._driven:
            heard, base = f"t->{self.population.name}_heard", "t->input_start[sample] - from"
        made = f"time_weight(Weight::of(t), t->times, {heard}, from, to, {base})"
        return [*super()._methods(), method("auto", "weight", "", made)]


class NodeIntegral(Weighted):
    """It asks for no more than that."""


class VoltageLoss(Weighted):
    @property
    def _labels(self) -> bool:
        return self.population.plan.loss.compares == "labels"

    @property
    def _knots(self) -> bool:
        return not self._labels

    def _sizes(self) -> dict[str, tuple[int | str, ...]]:
        """Of what is kept for the pass backwards, by its name in the struct."""
        w = self.population
        p, row = w.name, w.N * w.n
        sizes: dict[str, tuple[int | str, ...]] = {"a_pull": (f"{p}_arrivals", row), "pull": ("exact_points", row)}
        sizes |= {"a_loss": (f"{p}_arrivals",)} if self._moves() else {}
        sizes |= {"learned": (w.N * len(w.dynamic),)} if w.dynamic else {}
        if w.p.spiking:
            sizes |= {"e_loss": (w.N, f"{p}_room"), "e_pull": (row, f"{p}_room")}
            sizes |= {"e_end_pull": (row, f"{p}_room")} if len(w.modes) > 1 else {}
        return sizes

    def _arrays(self) -> dict[str, str]:
        return {n: f"{self.population.name}_{n}" for n in self._sizes()}

    def buffers(self) -> list[Buffer]:
        stored = [Buffer(f"{self.population.name}_{n}", axes, "double", "stored") for n, axes in self._sizes().items()]
        buffers = [*super().buffers(), *stored, Buffer("loss", ("batch",), "double", "result")]
        if self._labels:
            return buffers
        return [*buffers, Buffer("target_dt", (), "double", "host"), Buffer("target_rows", (), "long", "host")]

    def shared(self) -> dict[str, int]:
        return {"time": self.population.N, "V": self.population.N, "change": 1}

    def _methods(self) -> list[str]:
        w, steep = self.population, "1.0"
        if self._labels:
            names = {"T": "t->duration"} | {c: f"t->loss_{c}" for c in w.plan.loss.constants}
            steep = f"fmax(1.0, fabs((double)({expression(w.plan.loss.derivatives[0], DOUBLE, names)})))"
        return [
            *super()._methods(),
            *self._losses(),
            method("double", "steep", "double r", steep),
            method("bool", "scored", "", "t->labels[sample] >= 0" if self._labels else "true"),
            method("bool", "learns", "", "true" if w.split else "t->training"),
        ]

    def _losses(self) -> list[str]:
        """l of all outputs at a time of the step: one leaves dl/dV / B in the place of V."""
        w, s = self.population, self.population.scope
        V = Buffer("V", (w.N,), "double", SHARED)

        def of_output(i: sp.Symbol) -> sp.Symbol:
            element = name("o", "V", i)
            s.table[element] = Access(V, (i,))
            return element

        slopes, value = (w.said(k.body, {}) for k in at_one_time(s, self.part, of_output))
        place = ""
        if not self._labels:
            place = f"""\
const double since = (start + s) / t->target_dt;
const int64_t {ROW} = (int64_t)fmin(since, (double)(t->target_rows - 2));
const double {PART} = since - (double){ROW};
"""
        arguments = "double start, double s"
        return [method("double", n, arguments, LOSS, place + t) for n, t in (("slopes", slopes), ("loss", value))]


class Samples(Reading):
    def buffers(self) -> list[Buffer]:
        return [Buffer("n_steps", (), "long", "host"), Buffer("n_points", (), "long", "host")]

    def _methods(self) -> list[str]:
        at = f"[(sample * t->n_points + at) * {self.population.N} + neuron]"
        return self._access("int64_t at, int32_t neuron", at)


class MaximumInTime(Reading):
    KEPT = dict.fromkeys(("offset", "turn", "y"), "double")
    KEPT |= dict.fromkeys(("step", "entry", "kink_step", "kink_entry"), "int")

    def _constants(self) -> str:
        assert isinstance(self.part, Maximum)
        return constants("bool", {"JUMPS": self.part.jumps})

    def _arrays(self) -> dict[str, str]:
        return {f: f"{self.name}_m_{f}" for f in self.KEPT}

    def buffers(self) -> list[Buffer]:
        w = self.population
        return [
            Buffer(f"{self.name}_m_{f}", (w.N * (w.n if f == "y" else 1),), kind, "stored")
            for f, kind in self.KEPT.items()
        ]
