"""A trained network as one self-contained C99 file: forward pass only, weights included, one step per call.

Input: a plan and its parameter values. Output: text with ``model_reset``, ``model_step`` and ``model_readout``: the loops
of `program.stream`, printed. It allocates nothing and needs only the standard math library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from string import Template
from typing import Any

import numpy as np
import sympy as sp

from ...errors import EngineError
from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import Tables
from ...program.check import Checker
from ...program.host_values import grid_values, parameter_values
from ...program.nodes import STEP, Access, Buffer, expressions, walk
from ...program.passes import buffers_of
from ...program.stream import COUNT, Stream
from ...program.trial import EachNeuron, make_trial
from ..equations import equations
from ..printer import C_REAL
from ..safe_text import in_comment
from ..statements import TYPES, Spelling, indent
from .target import NAMES, comment, flat, runtime, skeleton, text

BITS = {8: ("int8_t", 127), 16: ("int16_t", 32767)}


@dataclass(frozen=True)
class Standalone:
    """text: the file. ram: bytes of the model's state. constants: bytes of weights and tables. operations: arithmetic
    operations of a step without spikes; weights: connection -> weights that each of its spikes adds."""

    text: str
    ram: int
    constants: int
    operations: int
    weights: dict[str, int]


def quantised(weights: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """Weights as integers of `bits` bits and their scale; symmetric, so that the largest weight just fits."""
    largest = BITS[bits][1]
    scale = float(np.abs(weights).max(initial=0.0)) / largest or 1.0
    return np.rint(weights / scale).astype(BITS[bits][0][:-2]), scale


def standalone(
    plan: Plan, parameters: Mapping[str, np.ndarray], *, dtype: str = "float32", bits: int | None = None
) -> Standalone:
    """The file of a plan.

    Args:
        parameters: values by name. dtype: of all numbers of the file, "float32" or "float64".
        bits: 8 or 16: weights are stored as integers with a scale for each connection; None: as numbers of `dtype`.

    Raises:
        EngineError: exact spike times, or a model that `program` does not run.
    """
    if plan.spike_times != "grid":
        raise EngineError("C files support only spikes on the grid; make the plan with spike_times='grid'")
    plan = replace(plan, auxiliary=())  # the outputs that decide alone
    pairs = {c.pairs for c in plan.weighted if c.drawn}
    parameters = {k: np.asarray(v, np.int32 if k in pairs else np.dtype(dtype)) for k, v in parameters.items()}
    return _File(plan, parameters, dtype, bits).standalone()


def stream_source(plan: Plan, model: Standalone) -> str:
    """The file followed by a loop over steps, for `deploy/online.py`."""
    sizes = [p.size if p.spiking else 0 for p in plan.populations]
    words = {
        "NEURONS": str(sum(sizes)), "POPULATIONS": str(len(sizes)), "N_IN": str(plan.input.size),
        "N_CURRENTS": str(sum(c.size for c in plan.currents) if plan.currents_into else 0),
        "N_STEPS": str(plan.n_steps), "WORDS": ", ".join(str((n + 31) // 32) for n in sizes),
    }  # fmt: skip
    return model.text + skeleton("stream.h", words)


CURRENTS = Template("""
/*
 * Currents: call model_currents before model_step with the means of all channels over that step, as numbers:
 * $ORDER. They stay until the next call, and are 0 after model_reset.
 */
void model_currents_at(void *memory, const double *values) {
    Model *m = memory;
    for (int i = 0; i < $CHANNELS; ++i) m->currents[i] = (real)values[i];
}

void model_currents(const double *values);
void model_currents(const double *values) { model_currents_at(&model, values); }
""")


class _File:
    """The file of a plan; values: of all constants, by the names of their buffers."""

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], dtype: str, bits: int | None) -> None:
        self.plan, self.dtype, self.bits = plan, dtype, bits
        self.values: dict[str, Any] = grid_values(plan, dtype) | parameter_values(plan, parameters)
        # array of weights, of connections (c) and of currents into populations (k) -> what it belongs to
        self.sources = {f"c{i}_weight": c for i, c in enumerate(plan.connections)}
        self._add_currents(parameters)
        scales, weights = dict[str, float](), dict[str, Buffer]()
        trial = make_trial(plan, adjoint=False)  # a deployed network does not learn
        for at, c in self.sources.items():
            known = trial.buffers.get(at) or Buffer(at, (self.values[at].size,), "real", "host")
            weights[at] = replace(known, kind=f"int{bits}" if bits else "real")
            if bits:
                self.values[at], scale = quantised(np.asarray(self.values[at]), bits)
                scales[c.name if at[0] == "c" else at.removesuffix("_weight")] = scale
        # the other arrays of connections, such as targets of synapses, in as few bytes as hold them
        tables = [n for n, v in self.values.items() if n[0] in "ck" and n not in weights and np.ndim(v)]
        weights |= {n: Buffer(n, (self.values[n].size,), _narrow(self.values[n]), "host") for n in tables}
        delays = [int(self.values[f"c{i}_delay"]) for i in range(len(plan.connections))]
        driven = plan.loss.integrates and plan.loss.weight.input_tau is not None
        activity = (float(self.values["activity_jump"]), float(self.values["activity_decay"])) if driven else None
        self.loops = Stream(trial, delays, weights, scales, activity)

    def _add_currents(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Weights of currents, and tables of their synapses.

        Raises:
            EngineError: a delay that is not a whole number of steps, which the means over steps say nothing about.
        """
        plan, tables = self.plan, Tables(self.plan)
        for k, c in enumerate(plan.currents_into):
            if abs(c.delay - c.delay_steps * plan.dt) > 1e-9 * plan.dt:
                raise EngineError(
                    f"C files delay currents by whole steps of {plan.dt:g} ms, connection {c.name!r} by {c.delay:g} ms"
                )
            self.values[f"k{k}_weight"], self.sources[f"k{k}_weight"] = parameters[c.weight], c
            if c.form != "dense":
                table = tables.of(c, parameters)
                listed = {"start": table.start, "target": table.target, "weight_of": table.weights}
                self.values |= {f"k{k}_{n}": v for n, v in listed.items()}

    def standalone(self) -> Standalone:
        plan, loops, trial = self.plan, self.loops, self.loops.trial
        parts = {"RESET": loops.reset(), "STEP": loops.step(), "READOUT": loops.readout()}
        used = {n for body in parts.values() for n in buffers_of(body)}
        self.fields = [
            b for n, b in loops.buffers.items() if n in used and b.role not in ("host", "number", "argument")
        ]
        constants = [b for n, b in loops.buffers.items() if n in used and b.is_input and b.axes]
        for body in parts.values():
            Checker(loops.buffers, {STEP: "long", COUNT: "int"}).check(body)
        spelling = Spelling(self._element, lambda *_: "", NAMES, comment, loops.buffers)
        words = {what: text(spelling, body) for what, body in parts.items()} | {
            "POPULATIONS": in_comment(", ".join(f"{i} {p.name}" for i, p in enumerate(plan.populations))),
            "STEP_MS": f"{plan.dt:g}", "N_IN": str(plan.input.size), "N_STEPS": str(plan.n_steps),
            "K_OUT": str(plan.output.size)
        }  # fmt: skip
        real = f"typedef {C_REAL[self.dtype]} real;\n"
        head = [equations(plan, "/*", " */"), skeleton("interface.h", words), real, runtime()]
        lengths = ((b, f"[{self._count(b)}]" if b.axes else "") for b in self.fields)
        fields = "int64_t step;\n" + "".join(f"{TYPES[b.kind]} {b.name}{length};\n" for b, length in lengths)
        functions = [f"typedef struct {{\n{indent(fields)}}} Model;\n", self._recent(), skeleton("model.h", words)]
        functions += [self._of_currents()] if loops.drives else []
        operations = sum(plan.populations[o.population].size * _operations(o) for o in (*trial.early, *trial.advance))
        return Standalone(
            "\n".join([*head, "".join(map(self._table, constants)), *functions]),
            ram=8 + sum(self._bytes(b) for b in self.fields), constants=sum(self._bytes(b) for b in constants),
            operations=operations, weights={c.name: _fan_out(c) for c in plan.connections},
        )  # fmt: skip

    # elements

    def _element(self, a: Access, write: Callable[[sp.Expr], str]) -> str:
        """A number that the host would set is written as a constant, an array of those is a table of the file (`_table`);
        everything else is a field of the model `m`."""
        b = a.buffer
        if not b.axes and b.role == "host":
            value = self.values[b.name]
            return str(int(value)) if b.kind in ("int", "long") else f"({TYPES[b.kind]}){float(value)!r}"
        at = flat(a, write, lambda axis: str(int(self.values[axis]))) if b.axes else ""
        return f"{'' if b.role in ('host', 'number', 'argument') else 'm->'}{b.name}{at}"

    def _count(self, b: Buffer) -> int:
        return math.prod(b.shape(self.values))

    def _bytes(self, b: Buffer) -> int:
        return self._count(b) * np.dtype(b.type_in_numpy(self.dtype)).itemsize

    def _table(self, b: Buffer) -> str:
        """An array of constants, ten per line."""
        value = np.asarray(self.values[b.name]).ravel()
        value = np.broadcast_to(value, self._count(b)) if value.size == 1 else value
        write = {"real": lambda v: f"(real){float(v)!r}", "double": lambda v: repr(float(v))}.get(
            b.kind, lambda v: str(int(v))
        )
        texts = list(map(write, value))
        rows = ",\n".join(f"    {', '.join(texts[i : i + 10])}" for i in range(0, len(texts), 10))
        c = self.sources.get(b.name)
        ends = f"/* {in_comment(f'{c.source} -> {c.target}')} */\n" if c else ""
        return f"{ends}static const {TYPES[b.kind]} {b.name}[{value.size}] = {{\n{rows}\n}};\n"

    def _recent(self) -> str:
        """The function that says where the spikes of the last step are."""
        lines = "const Model *m = memory;\n(void)m, (void)population;\n"
        for i, b in self.loops.trial.spikes.items():
            rows, words = self.loops.spikes[b.name].axes
            lines += f"if (population == {i}) return m->{b.name} + m->step % {rows} * {words};\n"
        head = "const uint32_t *model_spikes_at(const void *memory, int population)"
        return f"{head} {{\n{indent(lines + 'return 0;')}}}\n"

    def _of_currents(self) -> str:
        """The function that takes the currents of a step."""
        spans = ((c.name, self.loops.first[c.name], self.loops.first[c.name] + c.size - 1) for c in self.plan.currents)
        order = ", ".join(f"{first} to {last} {in_comment(name)}" for name, first, last in spans)
        return CURRENTS.substitute(ORDER=order, CHANNELS=self.loops.now.axes[0])


def _narrow(value: np.ndarray) -> str:
    """The smallest kind of a table of integers."""
    return next(
        k for k in ("uint8", "uint16", "int") if value.max(initial=0) <= np.iinfo(k if k != "int" else "int32").max
    )


def _fan_out(c: ConnectionRecord) -> int:
    """How many weights a spike adds, on average over the sources."""
    return c.post if c.form == "dense" else round(c.synapses / c.pre)


def _operations(o: EachNeuron) -> int:
    """Arithmetic operations in a kernel."""
    return sum(int(sp.count_ops(e)) for s in walk(o.kernel.body) for e in expressions(s))
