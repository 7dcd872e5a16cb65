"""A trained network as one self-contained C99 file: forward pass only, weights included, one step per call.

Input: a plan and its parameter values. Output: text with ``model_reset``, ``model_step`` and ``model_readout``, generated
from the same program as those of the grid engines. It allocates nothing and needs only the standard math library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from string import Template
from typing import Any

import numpy as np
import sympy as sp

from ...errors import EngineError
from ...losses import LossRecord
from ...plan import Plan
from ...plan.synapse_tables import Tables
from ...program.host_values import grid_values, parameter_values
from ...program.nodes import Access, Buffer, expressions, walk
from ...program.trial import EachNeuron, make_trial
from ..equations import equations
from ..printer import C_REAL, DOUBLE, expression
from ..safe_text import in_comment
from ..statements import TYPES, indent
from ..target import step_forwards, write
from .target import Text, runtime, skeleton

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
    values = grid_values(plan) | parameter_values(plan, parameters)
    return _Standalone(plan, values, dtype, bits, _Currents(plan, parameters, bits)).made()


def stream_source(plan: Plan, made: Standalone) -> str:
    """The file followed by a loop over steps, for `deploy/online.py`."""
    sizes = [p.size if p.spiking else 0 for p in plan.populations]
    words = {
        "NEURONS": str(sum(sizes)), "POPULATIONS": str(len(sizes)), "N_IN": str(plan.input.size),
        "N_CURRENTS": str(sum(c.size for c in plan.currents) if plan.currents_into else 0),
        "N_STEPS": str(plan.n_steps), "WORDS": ", ".join(str((n + 31) // 32) for n in sizes),
    }  # fmt: skip
    return made.text + skeleton("stream.h", words)


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


class _Currents:
    """The currents of a plan in a file: what the caller gives of a step, on its way to the drives of neurons.

    Raises:
        EngineError: a delay that is not a whole number of steps, which the means over steps say nothing about.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], bits: int | None) -> None:
        self.plan, self.bits, tables = plan, bits, Tables(plan)
        ends = np.cumsum([0, *(c.size for c in plan.currents)]).tolist()
        self.first, self.channels = {c.name: at for c, at in zip(plan.currents, ends)}, ends[-1]
        self.ring = 1 + max((c.delay_steps for c in plan.currents_into), default=0)
        self.weights = [parameters[c.weight] for c in plan.currents_into]
        self.tables = [None if c.form == "dense" else tables.of(c, parameters) for c in plan.currents_into]
        for c in plan.currents_into:
            if abs(c.delay - c.delay_steps * plan.dt) > 1e-9 * plan.dt:
                raise EngineError(
                    f"C files delay currents by whole steps of {plan.dt:g} ms, connection {c.name!r} by {c.delay:g} ms"
                )

    @property
    def fields(self) -> dict[str, int]:
        """Fields of the model -> how many numbers they have."""
        drives = {
            f"p{i}_{r}_drive": p.size for i, p in enumerate(self.plan.populations) for r in p.drives
        }  # fmt: skip
        return {"currents": self.channels, "flowing": self.ring * self.channels} | drives if drives else {}

    def step(self) -> str:
        """At the beginning of a step: the drives of all neurons."""
        if not self.fields:
            return ""
        names, text = [p.name for p in self.plan.populations], ""
        text += f"memcpy(m->flowing + step % {self.ring} * {self.channels}, m->currents, sizeof m->currents);\n"
        text += "".join(f"memset(m->{n}, 0, sizeof m->{n});\n" for n in self.fields if n not in ("currents", "flowing"))
        for k, (c, table) in enumerate(zip(self.plan.currents_into, self.tables)):
            add = f"m->p{names.index(c.target)}_{c.receptor}_drive"
            row = f"m->flowing + (step - {c.delay_steps}) % {self.ring} * {self.channels} + {self.first[c.source]}"
            if table is None:
                each = f"for (int n = 0; n < {c.post}; ++n) {add}[n] += from[j] * {self._weight(k, f'j * {c.post} + n')};\n"
            else:
                each = f"for (int s = k{k}_start[j]; s < k{k}_start[j + 1]; ++s)\n"
                each += f"    {add}[k{k}_target[s]] += from[j] * {self._weight(k, f'k{k}_weight_of[s]')};\n"
            body = f"const real *from = {row};\nfor (int j = 0; j < {c.pre}; ++j)\n{indent(each)}"
            text += (
                f"if (step >= {c.delay_steps}) {{\n{indent(body)}}}\n" if c.delay_steps else f"{{\n{indent(body)}}}\n"
            )
        return text

    def _weight(self, k: int, at: str) -> str:
        scale = f"(real){quantised(self.weights[k], self.bits)[1]!r} * " if self.bits else ""
        return f"({scale}k{k}_weight[{at}])"

    def constants(self) -> tuple[str, dict[str, np.ndarray]]:
        """Weights as text, and tables of synapses, which are whole numbers."""
        text, listed = "", dict[str, np.ndarray]()
        for k, (c, table, weight) in enumerate(zip(self.plan.currents_into, self.tables, self.weights)):
            value = quantised(weight, self.bits)[0] if self.bits else weight
            text += f"/* {in_comment(f'{c.source} -> {c.target}')} */\n"
            text += _table(BITS[self.bits][0] if self.bits else "real", f"k{k}_weight", value)
            if table is not None:
                listed |= {f"k{k}_start": table.start, f"k{k}_target": table.target, f"k{k}_weight_of": table.weights}
        return text, listed

    def functions(self) -> str:
        """What takes the currents of a step."""
        spans = ((c.name, self.first[c.name], self.first[c.name] + c.size - 1) for c in self.plan.currents)
        order = ", ".join(f"{first} to {last} {in_comment(name)}" for name, first, last in spans)
        return CURRENTS.substitute(ORDER=order, CHANNELS=self.channels)


class _Standalone(Text):
    def __init__(
        self, plan: Plan, values: Mapping[str, Any], dtype: str, bits: int | None, currents: _Currents
    ) -> None:
        super().__init__(make_trial(plan, adjoint=False))
        self.values, self.dtype, self.bits, self.currents = values, dtype, bits, currents
        self.real_bytes = np.dtype(dtype).itemsize
        self.used: dict[str, Buffer] = {}
        self.listed: dict[str, np.ndarray] = {}  # tables of synapses and delays
        delays = [int(values[f"c{i}_delay"]) for i in range(len(plan.connections))]
        self.ring = max([d for i, d in enumerate(delays) if not self._from_input(i)], default=0) + 2
        self.input_ring = max([d for i, d in enumerate(delays) if self._from_input(i)], default=0) + 1
        self.delays = delays
        self.driven = plan.loss.integrates and plan.loss.weight.input_tau is not None

    # elements

    def _element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        b = access.buffer
        if b.name == "activity":
            return "(real)m->activity"
        if not b.axes:
            return self._number(b)
        if b.name in self.currents.fields:
            return f"m->{b.name}[{write(access.index[2])}]"
        self.used[b.name] = b
        at = self._flat(b.axes, [write(i) for i in access.index])
        return f"{b.name}[{at}]" if b.role in ("number", "host") else f"m->{b.name}[{at}]"

    def _length(self, axis: int | str) -> str:
        return str(self._known(axis))

    def _known(self, axis: int | str) -> int:
        return axis if isinstance(axis, int) else int(self.values[axis])

    def _number(self, b: Buffer) -> str:
        value = self.values[b.name]
        return str(int(value)) if b.kind in ("int", "long") else f"({TYPES[b.kind]}){float(value)!r}"

    def _diverged(self, population: int, state: int) -> str:
        return "return -3;"

    def _from_host(self, name: str) -> str:
        if name == "n_steps" or name.endswith(("_ring", "_delay")):
            return str(int(self.values[name]))
        self.listed[name] = np.asarray(self.values[name])
        return name

    def _start_of(self, b: Buffer) -> str:
        self.used[b.name] = b
        return f"m->{b.name}"

    def _of_sample(self, b: Buffer) -> bool:
        return False

    def _spike_row(self, population: int, step: str) -> str:
        return f"m->p{population}_spikes[({step}) % {self.ring} * {self._words(population)}"

    # the file

    def made(self) -> Standalone:
        t, plan = self.trial, self.plan
        step = self._step()
        reset = write(self, t.begin)
        readout = write(self, t.end)
        fields, ram = self._fields()
        tables, constants = self._tables()
        words = {
            "RESET": reset, "STEP": step, "READOUT": readout, "VALUES": self._outputs(), "SPIKES": self._recent(),
            "POPULATIONS": in_comment(", ".join(f"{i} {p.name}" for i, p in enumerate(plan.populations))),
            "STEP_MS": f"{plan.dt:g}", "N_IN": str(plan.input.size), "N_STEPS": str(plan.n_steps),
            "K_OUT": str(plan.output.size),
        }  # fmt: skip
        head = [equations(plan, "/*", " */"), skeleton("interface.h", words)]
        functions = skeleton("model.h", words)
        real = f"typedef {C_REAL[self.dtype]} real;\n"
        body = [*head, real, runtime(), tables, fields, functions]
        body += [self.currents.functions()] if self.currents.fields else []
        each = (*t.early, *t.advance)
        operations = sum(plan.populations[o.population].size * _operations(o) for o in each)
        return Standalone(
            "\n".join(body), ram, constants, operations, {c.name: self._fan_out(i) for i, c in enumerate(plan.connections)}
        )  # fmt: skip

    def _fan_out(self, i: int) -> int:
        """How many weights a spike adds, on average over the sources."""
        c = self.plan.connections[i]
        return c.post if c.form == "dense" else round(c.synapses / c.pre)

    def _step(self) -> str:
        text = self.currents.step()
        if self.input_ring > 1:
            text += (
                f"uint16_t *now = m->input + step % {self.input_ring} * {self.plan.input.size};\n"
                f"memset(now, 0, {self.plan.input.size} * sizeof *now);\nfor (int i = 0; i < count; ++i) ++now[spikes[i]];\n"
            )
        for i in self.trial.spikes:
            words = self._words(i)
            text += f"memset(m->p{i}_spikes + (step + 1) % {self.ring} * {words}, 0, {words} * sizeof(uint32_t));\n"
        if self.driven:
            jump, decay = (float(self.values[k]) for k in ("activity_jump", "activity_decay"))
            text += f"m->activity += {jump!r} * count;\n"
            return text + step_forwards(self) + f"m->activity *= {decay!r};\n"
        return text + step_forwards(self)

    def _arrives(self, connection: int, rows: str) -> str:
        """Input spikes: those of this step, or earlier ones from the ring buffer."""
        if not self.delays[connection]:
            source = self._source_of(connection, "spikes[i]")
            return f"for (int i = 0; i < count; ++i) {{\n{indent(source + rows)}}}\n"
        c, n = self.plan.connections[connection], self.plan.input.size
        first = f" + {c.channels[0]}" if c.channels else ""
        row = f"m->input + (step - {self.delays[connection]}) % {self.input_ring} * {n}{first}"
        loop = f"for (int times = then[source]; times > 0; --times) {{\n{indent(rows)}}}\n"
        body = f"const uint16_t *then = {row};\nfor (int32_t source = 0; source < {c.pre}; ++source) {{\n{indent(loop)}}}\n"
        return f"if (step >= {self.delays[connection]}) {{\n{indent(body)}}}\n"

    def _delay(self, connection: int) -> str:
        return str(self.delays[connection])

    def _sum(self, b: Buffer) -> str:
        self.used[b.name] = b
        return f"m->{b.name}[n]"

    def _weights(self, connection: int) -> str:
        return f"c{connection}_weight"

    def _weight_type(self) -> str:
        return BITS[self.bits][0] if self.bits else "real"

    def _weight(self, connection: int) -> str:
        return f"(real){quantised(self._matrix(connection), self.bits)[1]!r} * row[n]" if self.bits else "row[n]"

    def _weight_of(self, connection: int) -> str:
        scale = f"(real){quantised(self._matrix(connection), self.bits)[1]!r} * " if self.bits else ""
        return f"({scale}c{connection}_weight[w])"

    def _matrix(self, connection: int) -> np.ndarray:
        return np.asarray(self.values[f"c{connection}_weight"])

    def _outputs(self) -> str:
        """Writes readouts and scores to the arrays of the caller."""
        out, loss = self.plan.populations.index(self.plan.output), self.plan.loss
        valid = f"m->p{out}_w_first[n] >= 0" if loss.readout in ("first_spike", "spike_times") else "1"
        r = f"m->p{out}_w_r[n]"
        self.used.setdefault(f"p{out}_w_r", self.trial.buffers[f"p{out}_w_r"])
        return f"readout[n] = {valid} ? (double){r} : HUGE_VAL;\nscore[n] = {valid} ? {_score(loss, r, self.plan.duration)} : -HUGE_VAL;\n"

    def _recent(self) -> str:
        """Where the spikes of the last step are."""
        return "".join(
            f"if (population == {i}) return m->p{i}_spikes + m->step % {self.ring} * {self._words(i)};\n"
            for i in self.trial.spikes
        )

    def _fields(self) -> tuple[str, int]:
        """The model's state, and its bytes."""
        width = {"real": self.real_bytes, "double": 8, "int": 4, "long": 8, "bits": 4}
        lines, total = ["int64_t step;"], 8
        for b in self.used.values():
            if b.role not in ("number", "host"):
                count = int(np.prod([self._known(a) for a in b.axes]))
                lines.append(f"{TYPES[b.kind]} {b.name}[{count}];")
                total += width[b.kind] * count
        for i in self.trial.spikes:
            lines.append(f"uint32_t p{i}_spikes[{self.ring * self._words(i)}];")
            total += 4 * self.ring * self._words(i)
        if self.input_ring > 1:
            lines.append(f"uint16_t input[{self.input_ring * self.plan.input.size}];")
            total += 2 * self.input_ring * self.plan.input.size
        for field, count in self.currents.fields.items():
            lines.append(f"real {field}[{count}];")
            total += self.real_bytes * count
        if self.driven:
            lines.append("double activity;")
            total += 8
        return "typedef struct {\n" + indent("\n".join(lines)) + "} Model;\n", total

    def _tables(self) -> tuple[str, int]:
        """Constants, and their bytes."""
        text, total = "", 0
        for b in self.used.values():
            if b.role in ("number", "host"):
                value = np.broadcast_to(np.asarray(self.values[b.name]), [self._known(a) for a in b.axes])
                text += _table(TYPES[b.kind], b.name, value)
                total += value.size * {"real": self.real_bytes, "int": 4}.get(b.kind, 8)
        weights, tables = self.currents.constants()
        for name, value in (self.listed | tables).items():
            kind = next(k for k in ("uint8", "uint16", "int32") if value.max(initial=0) <= np.iinfo(k).max)
            text += _table(f"{kind}_t", name, value)
            total += value.size * np.dtype(kind).itemsize
        for i in range(len(self.plan.connections)):
            value = quantised(self._matrix(i), self.bits)[0] if self.bits else self._matrix(i)
            ends = f"{self.plan.connections[i].source} -> {self.plan.connections[i].target}"
            text += f"/* {in_comment(ends)} */\n"
            text += _table(self._weight_type(), f"c{i}_weight", value)
            total += value.size * (self.bits // 8 if self.bits else self.real_bytes)
        total += sum(w.size for w in self.currents.weights) * (self.bits // 8 if self.bits else self.real_bytes)
        return text + weights, total


def _table(kind: str, name: str, value: np.ndarray) -> str:
    """An array of constants, ten per line."""
    whole = np.issubdtype(value.dtype, np.integer) or kind.endswith("_t")
    texts = [
        str(int(v)) if whole else f"(real){float(v)!r}" if kind == "real" else repr(float(v)) for v in value.ravel()
    ]
    rows = [", ".join(texts[i : i + 10]) for i in range(0, len(texts), 10)]
    return f"static const {kind} {name}[{value.size}] = {{\n" + ",\n".join(f"    {r}" for r in rows) + "\n};\n"


def _score(loss: LossRecord, r: str, duration: float) -> str:
    values = {"T": sp.Float(duration), **{k: sp.Float(v) for k, v in loss.constants.items()}}
    score = loss.expressions[0].xreplace({sp.Symbol(k, real=True): v for k, v in values.items()})
    return expression(score, DOUBLE, {"r": f"(double){r}"})


def _operations(o: EachNeuron) -> int:
    """Arithmetic operations in a kernel."""
    return sum(int(sp.count_ops(e)) for s in walk(o.kernel.body) for e in expressions(s))
