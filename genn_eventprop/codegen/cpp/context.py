"""What the generators of a network share: its names, sizes and calling convention."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources
from typing import TypeVar

from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.numbers import value_names
from ...plan.series import MODES, varies
from ...program.host_values import auxiliary

T = TypeVar("T")

WEIGHTS = ("time_weight", "integrand_weight")
ACTIVITY = ("activity", "activity_before")  # of the input, where it drives a time weight
PAD = 16  # neurons are padded to a multiple of 16, one cache line of float32
RANGE = (
    "const int64_t from = args.offsets[args.samples[sample]], to = args.offsets[args.samples[sample] + 1];",
    "(void)from; (void)to;",
)


def read(name: str) -> str:
    """The text of a C++ file in this folder."""
    return resources.files(__package__).joinpath(name).read_text()


def padded(size: int) -> int:
    """`size` rounded up to a multiple of `PAD`."""
    return -(-size // PAD) * PAD


def unique(names: Iterable[T]) -> list[T]:
    """Without duplicates, in order."""
    return list(dict.fromkeys(names))


def indent(text: str, levels: int = 1) -> str:
    """Indented text without empty lines, ending in a newline."""
    pad = "    " * levels
    return "".join(pad + line + "\n" for line in text.split("\n") if line.strip())


def regulariser_names(plan: Plan, population: str) -> list[str]:
    """Prefixes of the arguments of every regulariser of the spikes of a population."""
    return [f"r_{population}_{i}" for i in range(len(plan.spike_regularisers(population)))]


def tables(c: ConnectionRecord) -> list[tuple[str, str]]:
    """(C type, name) of the arrays that `engines/native/tables.py` makes of the values of a connection."""
    if c.by_rows:
        return []
    if c.by_synapses and c.form == "dense":
        return [("const uint16_t*", f"c_{c.name}_delay")]
    given, found = [], ["delay"]
    if c.dendritic:
        given, found = [("const scalar*", f"c_{c.name}_sorted")], ["delay", "order", "back", "late", "forth"]
    elif c.by_synapses:
        found = ["start", "offset", *(["weight_of"] if c.learns else []), *(["delay_of"] if c.learns_delays else [])]
    return given + [("const int32_t*", f"c_{c.name}_{tail}") for tail in found]


def routes(c: ConnectionRecord) -> list[str]:
    """With exact spike times, tables of whole numbers that `engines/native/routes.py` makes; see `exact/routes.py`."""
    found = ["start", "first", "target", "place"] if c.spread else []
    return [*found, "delay_of"] if found and c.delays else found


def stream(c: ConnectionRecord) -> str:
    """Prefix of the arrays of input spikes of a connection; "" if the network has a single input."""
    return f"in_{c.channels[0]}_{c.channels[1]}_" if c.channels else ""


def streams(plan: Plan) -> dict[str, tuple[int, int]]:
    """If there are several inputs: prefix -> channels, for all of them."""
    return {stream(c): c.channels for c in plan.connections if c.channels}


def ends(plan: Plan) -> list[str]:
    """Declares the range of the input spikes of a trial, `from` and `to`, for each of several inputs too."""
    lines = []
    for s in ("", *streams(plan)):
        at = f"args.{s}offsets[args.samples[sample]"
        lines += [f"const int64_t {s}from = {at}], {s}to = {at} + 1];", f"(void){s}from; (void){s}to;"]
    return lines


class Context:
    """A plan, and what its generators look up in it.

    split: dL/d(readout) is given in a call of its own, and gradients of input times are taken; see `engines/contract/split.py`.
    carry: trials may go on from the end of others; see `engines/contract/state.py`.
    gradients: parameter -> (offset, rows, padded columns) in the flat gradient of `gradient_size` numbers.
    """

    def __init__(self, plan: Plan, dtype: str, split: bool = False, carry: bool = False) -> None:
        self.plan, self.split, self.carry = plan, split, carry
        self.exact = plan.spike_times == "exact"
        self.real = {"float32": "float", "float64": "double"}[dtype]
        self.values = {p.name: {v.name: v.per_neuron for v in value_names(plan, p)} for p in plan.populations}
        self.gradients, self.gradient_size = self.gradient_layout()

    def gradient_layout(self) -> tuple[dict[str, tuple[int, int, int]], int]:
        layout, offset = {}, 0
        for c in self.plan.connections:
            for name, shape in ((n, s) for n, s in c.learns.items() if n not in layout):
                rows, columns = (shape[0], padded(shape[1])) if len(shape) == 2 else (1, padded(math.prod(shape)))
                layout[name] = (offset, rows, columns)
                offset += rows * columns
        for p in self.plan.populations:
            for n in p.trainable:
                layout[f"{p.name}.{n}"] = (offset, 1, padded(p.size))
                offset += padded(p.size)
        return layout, offset

    def arrays(self) -> list[tuple[str, str]]:
        given = [
            ("const int32_t*", "steps"), ("const int32_t*", "channels"), ("const int64_t*", "offsets"),
            ("const int64_t*", "samples"), ("const int64_t*", "labels"), ("const double*", "sample_weight"),
        ]  # fmt: skip
        for s in streams(self.plan) if not self.exact else ():
            given += [("const int32_t*", f"{s}steps"), ("const int32_t*", f"{s}channels")]
            given += [("const int64_t*", f"{s}offsets")]
        if not self.exact:
            given += [("const scalar*", n) for n in WEIGHTS]
            given += [("const scalar*", n) for n in ("node_scale", "node_part") if self.plan.loss.readout == "voltage"]
        for name in self.plan.loss.also:
            given += [("double*", f"also_{name}"), ("const double*", f"given_{name}")]
        given += self.auxiliary_arrays()
        given += [("const double*", "targets")] if self.compares_targets else []
        given += [("const double*", n) for n in ("given_loss", "given_dr", "given_last")] if self.split else []
        given += [("scalar*", "input_slope"), ("const int64_t*", "input_start")] if self.split else []
        given += [("const scalar*", f"c_{c.name}_weight") for c in self.plan.connections]
        given += [] if self.exact else [table for c in self.plan.connections for table in tables(c)]
        given += [("const scalar*", f"p_{p}_{v}") for p, values in self.values.items() for v in values]
        given += [
            ("double*", "loss"), ("double*", "readout"), ("int64_t*", "prediction"), ("int64_t*", "guarded"),
            ("scalar*", "slices"), ("scalar*", "gradient"),
        ]  # fmt: skip
        given += self.exact_arrays() if self.exact else self.mode_steps()
        given += [("const scalar*", "quantiles")] if any(kind == "noise" for kind, _ in self.stochastic) else []
        given += [("const uint64_t*", f"{kind}_key_{p.name}") for kind, p in self.stochastic]
        for p in self.spiking:
            for r, name in zip(self.plan.spike_regularisers(p.name), regulariser_names(self.plan, p.name)):
                third = "excess" if r.mean == "batch" else "target"
                given += [("const scalar*", f"{name}_{tail}") for tail in ("upper", "lower", third)]
        given += self.carried_arrays() if self.carry else []
        return given + [("int32_t*", f"p_{p.name}_counts") for p in self.spiking]

    def auxiliary_arrays(self) -> list[tuple[str, str]]:
        """Pointers for auxiliary losses: their inputs and results."""
        given = []
        for prefix, loss in auxiliary(self.plan):
            given += [(f"const {t}*", prefix + n) for t, n in (("double", "sample_weight"), ("int64_t", "labels"))]
            given += [("const double*", f"{prefix}targets")] if loss.compares == "targets" else []
            if self.exact:
                given += [("const double*", f"{prefix}weight_series")]
            else:
                given += [("const scalar*", prefix + n) for n in WEIGHTS if loss.integrates]
                given += [("const scalar*", prefix + n) for n in ACTIVITY if loss.weight.input_tau is not None]
            given += [("const double*", prefix + n) for n in ("given_dr", "given_last") if self.split]
            given += [("double*", prefix + n) for n in ("loss", "readout")]
        return given

    def carried_arrays(self) -> list[tuple[str, str]]:
        """Pointers to states that are carried from trial to trial, and to spikes of the previous one; see `grid/carried.py`."""
        arrays = []
        for i, p in enumerate(self.plan.populations):
            arrays += [("const scalar*", f"from_states_p{i}"), ("scalar*", f"to_states_p{i}")]
            if len(p.derived.modes) > 1:
                arrays += [("const int32_t*", f"from_modes_p{i}"), ("int32_t*", f"to_modes_p{i}")]
        for s in ("in", *(f"p{i}" for i, p in enumerate(self.plan.populations) if p.spiking)):
            arrays += [("const int32_t*", f"before_{s}"), ("const int32_t*", f"before_{s}_start")]
        return arrays

    def mode_steps(self) -> list[tuple[str, str]]:
        """Steps that timed modes last, (1,) or (N,); see `plan/clock.py`."""
        return [("const int32_t*", f"p_{p.name}_steps_{n}") for p in self.plan.populations for n in p.derived.durations]

    def exact_arrays(self) -> list[tuple[str, str]]:
        """Pointers that exact spike times need besides those of the grid; see `plan/series.py`."""
        arrays = [("const double*", n) for n in ("times", "weight_series", "gauss")]
        for c in self.plan.connections:
            arrays += [("const int32_t*", f"c_{c.name}_{n}") for n in routes(c)]
            arrays += [("const scalar*", f"c_{c.name}_delays")] if c.delays else []
        for p in self.plan.populations:
            series, x = "const scalar*" if self.varies(p) else "const double*", f"x_{p.name}"
            arrays += [("const scalar*", f"{x}_{n}") for n in ("dg", "slope", "curve")] + [(series, f"{x}_rho")]
            arrays += [("const scalar*", f"{x}_kappa_{r}") for r in p.derived.receptors]
            for mode in MODES[: len(p.derived.modes)]:
                t = x + mode
                arrays += [("const scalar*", f"{t}_step"), ("const scalar*", f"{t}_step_rest")]
                arrays += [(series, f"{t}_spike"), ("const double*", f"{t}_A")]
                for r in p.derived.receptors:
                    arrays += [(series, f"{t}_arrive_{r}"), (series, f"{t}_back_{r}")]
                for n in self.learned_dynamics(p):
                    arrays += [("const scalar*", f"{t}_dstep_{n}"), (series, f"{t}_dspike_{n}")]
        return arrays

    def varies(self, p: PopulationRecord) -> bool:
        """True if the exact engine needs numbers of every neuron."""
        return varies(p)

    def learned_dynamics(self, p: PopulationRecord) -> list[str]:
        """Learned parameters of the dynamics."""
        return [n for n in p.trainable if n in p.derived.dynamic_params]

    @property
    def numbers(self) -> list[str]:
        weight = ["activity_decay", "activity_jump"] if self.plan.loss.weight.input_tau is not None else []
        if self.exact:
            own = ("window_start", "window_end", "activity_rate", "activity_jump")
            weight = [f"{prefix}{n}" for prefix in self.prefixes for n in own]
            weight += ["delta", "target_dt", *(f"d_{c.name}" for c in self.delayed)]
        strengths = [f"noise_{p.name}" for kind, p in self.stochastic if kind == "noise"]
        others = [f"{prefix}loss_{c}" for prefix, loss in auxiliary(self.plan) for c in loss.constants]
        return ["dt", "duration", "slope_floor", *strengths, *weight, *self.plan.loss.constants, *others]

    @property
    def prefixes(self) -> list[str]:
        """Prefixes of the names of losses, the main one first."""
        return ["", *(prefix for prefix, _ in auxiliary(self.plan))]

    @property
    def integers(self) -> list[str]:
        exact = (
            (
                ["exact_steps", *(f"{prefix}series_size" for prefix in self.prefixes)]
                + [f"degree_{p.name}" for p in self.plan.populations]
            )
            if self.exact
            else []
        )
        loss = ["n_targets"] if self.plan.loss.readout == "spike_times" else []
        loss += ["target_rows"] if self.exact or self.series else []
        loss += [f"dropout_{p.name}" for kind, p in self.stochastic if kind == "dropout"]
        delays = [f"c_{c.name}_delay" for c in self.delayed]
        if not self.exact:
            delays += [f"c_{c.name}_own" for c in self.plan.connections if c.listed]
            delays += ["ahead"] if not all(c.by_rows for c in self.plan.connections) else []
        stored = not self.exact and any(p.stores_states for p in self.plan.populations)
        segment = ["segment"] if stored else []
        segment += ["input_gradients"] if self.split else []
        segment += ["fresh", "before_rows"] if self.carry else []
        slices = ["n_slices", "first_slice", "whole_batch", "whole_slices"]
        return ["n_steps", "batch", "half", *slices, "training", "record", *segment, *loss, *exact, *delays]

    @property
    def stochastic(self) -> list[tuple[str, PopulationRecord]]:
        """("noise" or "dropout", population) of all that is random; see `engines/contract/noise.py`."""
        return [(kind, p) for p in self.plan.populations for kind in ("noise", "dropout") if getattr(p, kind) > 0]

    @property
    def compares_targets(self) -> bool:
        """True if generated code reads the data set's targets."""
        return self.plan.loss.compares == "targets" and not self.split

    @property
    def series(self) -> bool:
        """True if the targets are series of V(t)."""
        return self.compares_targets and self.plan.loss.readout == "voltage"

    @property
    def spiking(self) -> list[PopulationRecord]:
        return [p for p in self.plan.populations if p.spiking]

    @property
    def delayed(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.delay > 0]

    @property
    def from_input(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.source == self.plan.input.name]
