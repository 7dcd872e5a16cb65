"""What the generators of one network share: the calling convention, loops over neurons, access to single neurons."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.numbers import value_names
from ...plan.series import MODES, varies
from ..printer import CPP
from ..snippets import Snippets, derive_snippets
from . import kinds
from .readouts import ReadoutCode, make_readout

PAD = 16  # neurons are padded to a multiple of 16, one cache line of float32
RANGE = (
    "const int64_t from = args.offsets[args.samples[sample]], to = args.offsets[args.samples[sample] + 1];",
    "(void)from; (void)to;",
)


def padded(size: int) -> int:
    """`size` rounded up to a multiple of `PAD`."""
    return -(-size // PAD) * PAD


def unique(names: Iterable[str]) -> list[str]:
    """Names without repetition, in order."""
    return list(dict.fromkeys(names))


def indent(text: str, levels: int = 1) -> str:
    """Indented text without empty lines, ending in a newline."""
    pad = "    " * levels
    return "".join(pad + line + "\n" for line in text.split("\n") if line.strip())


def regulariser_names(plan: Plan, population: str) -> list[str]:
    """First parts of the names of what the host hands over for every regulariser of a population's spikes."""
    return [f"r_{population}_{i}" for i in range(len(plan.spike_regularisers(population)))]


class Context:
    """A plan with everything that its generators look up.

    split: dL/d(readout) is given in a call of its own, and gradients of input times are taken; see `engines/split.py`.
    gradients: parameter -> (offset, rows, padded columns) in the flat gradient of `gradient_size` numbers.
    """

    def __init__(self, plan: Plan, dtype: str, split: bool = False) -> None:
        self.plan, self.split = plan, split
        self.exact = plan.spike_times == "exact"
        self.real = {"float32": "float", "float64": "double"}[dtype]
        self.snippets: dict[str, Snippets] = {
            p.name: derive_snippets(p.derived, CPP, p.trainable) for p in plan.populations
        }
        self.readout: ReadoutCode = make_readout(plan)
        self.values = {p.name: {v.name: v.per_neuron for v in value_names(plan, p)} for p in plan.populations}
        self.gradients, self.gradient_size = self.gradient_layout()

    def gradient_layout(self) -> tuple[dict[str, tuple[int, int, int]], int]:
        layout, offset = {}, 0
        for c in self.plan.connections:
            for name, shape in kinds.learned(c):
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
        if not self.exact:
            given += [("const scalar*", n) for n in ("time_weight", "integrand_weight")] + [*self.readout.given]
        given += [("const double*", "targets")] if self.compares_targets else []
        given += [("const double*", n) for n in ("given_loss", "given_dr", "given_last")] if self.split else []
        given += [("scalar*", "input_slope"), ("const int64_t*", "input_start")] if self.split else []
        given += [("const scalar*", f"c_{c.name}_weight") for c in self.plan.connections]
        given += [table for c in self.plan.connections for table in kinds.tables(c)]
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
        return given + [("int32_t*", f"p_{p.name}_counts") for p in self.spiking]

    def mode_steps(self) -> list[tuple[str, str]]:
        """Steps that timed modes last, (1,) or (N,); see `plan/clock.py`."""
        return [("const int32_t*", f"p_{p.name}_steps_{n}") for p in self.plan.populations for n in p.derived.durations]

    def exact_arrays(self) -> list[tuple[str, str]]:
        """Pointers that exact spike times need besides those of the grid; see `plan/series.py`."""
        arrays = [("const double*", n) for n in ("times", "weight_series", "gauss")]
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
        """Learned parameters that stand in the dynamics."""
        return [n for n in p.trainable if n in p.derived.dynamic_params]

    @property
    def numbers(self) -> list[str]:
        weight = ["activity_decay", "activity_jump"] if self.plan.loss.weight.input_tau is not None else []
        if self.exact:
            weight = ["window_start", "window_end", "activity_rate", "activity_jump"]
            weight += ["delta", "target_dt", *(f"d_{c.name}" for c in self.delayed)]
        strengths = [f"noise_{p.name}" for kind, p in self.stochastic if kind == "noise"]
        return ["dt", "duration", "slope_floor", *strengths, *weight, *self.plan.loss.constants]

    @property
    def integers(self) -> list[str]:
        exact = (
            ["exact_steps", "series_size", *(f"degree_{p.name}" for p in self.plan.populations)] if self.exact else []
        )
        loss = ["n_targets"] if self.plan.loss.readout == "spike_times" else []
        loss += ["target_rows"] if self.exact or self.series else []
        loss += [f"dropout_{p.name}" for kind, p in self.stochastic if kind == "dropout"]
        delays = [f"c_{c.name}_delay" for c in self.delayed]
        delays += ["ahead"] if not all(kinds.by_rows(c) for c in self.plan.connections) else []
        segment = ["segment"] if self.stored else []
        segment += ["input_gradients"] if self.split else []
        slices = ["n_slices", "first_slice", "whole_batch", "whole_slices"]
        return ["n_steps", "batch", "half", *slices, "training", "record", *segment, *loss, *exact, *delays]

    @property
    def stochastic(self) -> list[tuple[str, PopulationRecord]]:
        """("noise" or "dropout", population) of all that is random; see `engines/stochastic.py`."""
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
    def has_last(self) -> bool:
        """True if the outer loss may set lambda_V at T."""
        return bool(self.readout.last()) or self.plan.loss.silent == "end"

    @property
    def spiking(self) -> list[PopulationRecord]:
        return [p for p in self.plan.populations if p.spiking]

    @property
    def stored(self) -> list[PopulationRecord]:
        """Populations whose states the backward pass needs at every step of the grid."""
        return [] if self.exact else [p for p in self.plan.populations if p.stores_states]

    @property
    def delayed(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.delay > 0]

    @property
    def from_input(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.source == self.plan.input.name]

    def recorded_states(self, p: PopulationRecord) -> tuple[str, ...]:
        """States kept from right before every spike: what the jump, or an integral over the reset, needs."""
        states = self.snippets[p.name].jump_states
        read = p.name == self.plan.output.name and self.plan.loss.readout == "integral"
        return (*states, self.readout.v) if read and self.readout.v not in states else states

    def recorded(self, p: PopulationRecord) -> tuple[str, ...]:
        """All that is kept of every spike, besides 1 / gdot."""
        return self.recorded_states(p) + (self.readout.records if p.name == self.plan.output.name else ())

    def pushed(self, p: PopulationRecord) -> bool:
        """True if arrivals move a threshold of the population by themselves (delta synapses)."""
        d = p.derived
        into = [d.receptors[c.receptor] for c in self.plan.into(p.name)]
        return any((event.dg_dx.T * e)[0] != 0 for event in d.events for e in into)

    def eventful(self, p: PopulationRecord) -> bool:
        """True for populations that need more than one list of spikes; see `events.py`."""
        d = p.derived
        return bool(d.events) and (len(d.modes) > 1 or len(d.events) > 1 or p.dropout > 0 or self.pushed(p))

    def event_arrays(self, p: PopulationRecord) -> tuple[str, ...]:
        """Arrays of one number a neuron that events and noise need."""
        noise = ("noise",) if p.noise > 0 else ()
        if not self.eventful(p):
            return (*noise, "g", "g_before") if p.spiking else noise
        d, names = p.derived, ["mode"] if len(p.derived.modes) > 1 else []
        for i in range(len(d.events)):
            tail = str(i) if i else ""
            names += [f"g{tail}", f"g_before{tail}", *([f"g_early{tail}"] if self.pushed(p) else [])]
        return (*names, *noise, "dl", "pending")

    def fed(self, p: PopulationRecord) -> list[str]:
        """Receptors that spikes act on whose times have gradients: those of populations, in two halves of the input too;
        or whose delays have. These need D."""
        asks = (
            c
            for c in self.plan.into(p.name)
            if self.split or c.source != self.plan.input.name or kinds.learns_delays(c)
        )
        return unique(c.receptor for c in asks)

    def learned_receptors(self, p: PopulationRecord) -> list[str]:
        return unique(c.receptor for c in self.plan.into(p.name) if c.trainable)

    def delayed_receptors(self, p: PopulationRecord) -> list[str]:
        return unique(
            c.receptor for c in self.plan.into(p.name) if c.source != self.plan.input.name and c.delay > 0
        )  # fmt: skip

    def loop(self, p: PopulationRecord, code: str, extra: tuple[str, ...] = ()) -> str:
        """A loop over the neurons of `p` around snippet code: loads and stores what the code names."""
        used = set(re.findall(r"[A-Za-z_]\w*", code))
        extra = (*extra, "mode") if len(p.derived.modes) > 1 and "mode" not in extra else extra
        arrays = [v for v in (*p.derived.states, *(f"lambda_{s}" for s in p.derived.states), *extra) if v in used]
        written = {v for v in arrays if re.search(rf"\b{v} [+]?= ", code)}
        fixed = [v for v, per_neuron in self.values[p.name].items() if v in used and not per_neuron]
        varying = [v for v, per_neuron in self.values[p.name].items() if v in used and per_neuron]
        lines = ["{", *(f"const scalar {v} = args.p_{p.name}_{v}[0];" for v in fixed)]
        lines += [f"const scalar* __restrict all_{v} = args.p_{p.name}_{v};" for v in varying]
        lines.append(f"INDEPENDENT for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron) {{")
        lines += [f"const scalar {v} = all_{v}[neuron];" for v in varying]
        lines += [f"scalar {v} = p_{p.name}_{v}[neuron];" for v in arrays]
        lines += [code.rstrip(), *(f"p_{p.name}_{v}[neuron] = {v};" for v in arrays if v in written), "}", "}"]
        return "\n".join(lines) + "\n"

    def shared_values(self, p: PopulationRecord, code: str) -> str:
        """Loads of the numbers in the code that all neurons share, to stand before a loop over spikes: what the code
        makes of them alone is then computed once for all."""
        used = set(re.findall(r"[A-Za-z_]\w*", code))
        shared = (v for v, varies in self.values[p.name].items() if v in used and not varies)
        return "".join(f"const scalar {v} = args.p_{p.name}_{v}[0];\n" for v in shared)

    def at_neuron(self, p: PopulationRecord, code: str, given: tuple[str, ...] = (), shared: bool = True) -> str:
        """Snippet code for one neuron: scalar loads, the code, stores.

        Args:
            given: variables that exist already. shared: load what `shared_values` loads too.
        """
        used = set(re.findall(r"[A-Za-z_]\w*", code))
        variables = [
            v for v in (*p.derived.states, *(f"lambda_{s}" for s in p.derived.states)) if v in used - set(given)
        ]
        written = [v for v in variables if re.search(rf"\b{v} [+]?= ", code)]
        loads = [
            f"const scalar {v} = args.p_{p.name}_{v}[{'neuron' if varies else '0'}];"
            for v, varies in self.values[p.name].items() if v in used and (varies or shared)
        ]  # fmt: skip
        loads += [f"scalar {v} = p_{p.name}_{v}[neuron];" for v in variables]
        if "mode" in used - set(given) and len(p.derived.modes) > 1:
            loads.append(f"const scalar mode = p_{p.name}_mode[neuron];")
        return "{\n" + "\n".join([*loads, code, *(f"p_{p.name}_{v}[neuron] = {v};" for v in written)]) + "\n}\n"

    def pointers(self, backward: bool) -> str:
        lines = []
        for p in self.plan.populations:
            names = list(p.derived.states)
            if backward:
                names = [f"lambda_{s}" for s in p.derived.states] + [f"grad_{n}" for n in p.trainable]
                names += [f"Q_{r}" for r in self.fed(p)]
                names += [n for n in self.event_arrays(p) if n in ("mode", "dl", "pending")]
            else:
                names += self.event_arrays(p)
            lines += [f"scalar* __restrict p_{p.name}_{n} = work.p_{p.name}_{n}; (void)p_{p.name}_{n};" for n in names]
            if p.spiking:
                lines.append(f"auto& p_{p.name} = work.p_{p.name}_spikes;")
        lines += [
            f"scalar* __restrict {b} = work.{b}; (void){b};"
            for b in (*self.readout.buffers, *self.readout.arrays, *self.readout.slopes, "drive")
        ]
        lines += ["int32_t* __restrict maximum_step = work.maximum_step; (void)maximum_step;"]
        lines += ["int32_t* __restrict first_step = work.first_step; (void)first_step;"]
        return "\n".join([*lines, "const int64_t n_steps = args.n_steps;", *RANGE]) + "\n"
