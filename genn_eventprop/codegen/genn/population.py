"""A population as a GeNN neuron model, with custom updates that set and read its variables.

In the code `step` is the step of the plan. The forward phase makes step `step`; backwards a neuron undoes what happened
at `step`, goes back over step `step` - 1, and shows what arrivals at `step` - 1 need. It is `s_due` one step before its
newest spike, and then sends an event: in the next synapse update that event brings w D of its targets back as the
feedback of the jump. Between the phases what neurons show is zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...plan import PopulationRecord
from ...program.nodes import NEURON, Access, Buffer, Kernel, name
from ...program.operations import EachNeuron, Operation
from ...program.trial import Trial
from ..statements import indent
from . import gather
from .text import OWN, SHARED, NeuronText, UpdateText, words
from .writer import DIVERGED, Declared, GennWriter, Names, kinds, newest

FIXED = tuple(Declared(f"g_{n}", "parameter", "int", (), n) for n in ("lead", "start", "turn", "window"))
PIECES = ("begin", "early", "advance", "begin_back", "leave", "undo", "retreat", "end_back")


class Population:
    """One population of a trial.

    Args:
        arrays, inputs: see `Names`. rows: names of buffers that its synapses read at the step of an arrival. delay_rows: of
            these what gradients of delays need.
    """

    def __init__(
        self, trial: Trial, i: int, arrays: set[str], inputs: set[str], rows: set[str], delay_rows: set[str]
    ) -> None:
        self.plan, self.trial, self.s = trial.plan, trial, trial.scopes[i]
        self.p: PopulationRecord = self.s.p
        self.training = self.s.adjoint
        self.names = Names(self.s, arrays, inputs, rows)
        of_gradients = (
            *gather.of_target(self.plan, self.p.name),
            *gather.of_source(self.plan, self.p.name, self.p.size),
        )
        for d in (*FIXED, *(of_gradients if self.training else ())):
            self.names.add(d)
        self.names.length("n_steps")
        lists = (
            trial.begin, trial.early, trial.advance, trial.begin_back, trial.before_jumps, trial.jumps,
            trial.retreat, trial.end_back,
        )  # fmt: skip
        self.kernels = {piece: _kernel(i, operations) for piece, operations in zip(PIECES, lists)}
        read_rows = [b for b in trial.buffers.values() if b.name in rows & self.buffers]
        self.rows = [self.names.declared(b).name for b in read_rows]
        self.delay_rows = [self.names.called(b) for b in read_rows if b.name in delay_rows]
        self.listed = bool(self.p.derived.events) and self.training
        dropped = self.p.dropout > 0 and self.p.dropped_reset
        self.only_spikes = self.listed and kinds(self.s) == 1 and not dropped  # whether every entry is a spike
        self.updates: dict[str, UpdateText] = {}

    @property
    def buffers(self) -> set[str]:
        """Names of those of the trial that belong to the population."""
        return {b for b in self.trial.buffers if b.startswith(self.s.prefix)}

    def code(self, piece: str) -> str:
        kernel = self.kernels[piece]
        return GennWriter(self.names, kernel).text() if kernel else ""

    # spikes that were sent

    def spikes(self) -> tuple[str, str, str]:
        """(array with their steps, variable with the step of the newest that is not undone, how many those are)."""
        if self.only_spikes:
            return "e_step", "w_newest", "w_happened"
        room = f"{self.s.prefix}room"
        steps = self.names.add(Declared("s_step", "array", "int", ("batch", self.s.N, room)))
        if self.training:
            self.names.add(Declared("s_newest", "variable", "int"))
            self.names.add(Declared("s_left", "variable", "int"))
        return steps, "s_newest", "s_left"

    def place(self, number: str) -> str:
        """Of a spike in its array; number: which of the neuron's spikes, as code."""
        return self.names.flat(("batch", self.s.N, f"{self.s.prefix}room"), ("batch", "id", number))

    def count(self) -> str:
        """The variable with the number of spikes so far."""
        return self.names.element(self.s.table[name("w", "count")], lambda e: "id")

    def _sent(self) -> str:
        """Records the step of a spike, unless the list of events does."""
        if self.only_spikes:
            return ""
        steps, _, _ = self.spikes()
        keep = f"{steps}[{self.place(f'{self.count()} - 1')}] = step + 1;\n"
        room = self.names.length(f"{self.s.prefix}room")
        return f"if (sent && {self.count()} <= {room}) {{\n{indent(keep)}}}\n"

    def _passed(self) -> str:
        """Backwards: removes spikes at `step`."""
        if self.only_spikes or not self.p.spiking:
            return ""
        steps, newest_sent, left = self.spikes()
        again = f"{left} -= 1;\n{newest_sent} = {left} > 0 ? {steps}[{self.place(f'{left} - 1')}] : -2;\n"
        return f"if ({newest_sent} == step) {{\n{indent(again)}}}\n"

    # the neuron model

    def sim_code(self) -> str:
        forwards = self.code("early") + self.code("advance") + (self._sent() if self.p.spiking else "")
        head = "int step = (int)t - g_start;\n" + ("int sent = 0;\n" if self.p.spiking else "")
        code = f"{head}if (step >= 0 && step < {self.names.length('n_steps')}) {{\n{indent(forwards)}}}\n"
        if not self.training:
            return code
        idle = "".join(f"{row} = 0.0;\n" for row in self.rows)
        back = f"step = g_turn - (int)t;\nif (step <= {self.names.length('n_steps')}) {{\n{indent(self._back())}}}\n"
        back += f"else {{\n{indent(idle)}}}\n" if idle else ""
        return code + f"else {{\n{indent(back)}}}\n"

    def _back(self) -> str:
        code = self.code("undo") + self._passed()
        if self.p.spiking:
            left = self.spikes()[2]
            code += gather.mark(self.plan, self.p.name, self.place(f"{left} - 1"))
        inner = self.code("retreat") + "step -= 1;\n" + self.code("leave")
        for row in self.delay_rows:
            axes = ("batch", "window", self.s.N)
            array = self.names.add(Declared(gather.window_array(row), "array", "scalar", axes))
            inner += f"{array}[{self.names.flat(axes, ('batch', 'step % g_window', 'id'))}] = {row};\n"
        code += f"if (step > 0) {{\n{indent(inner)}}}\n"
        end = self.code("end_back")
        code += f"else {{\n{indent(end)}}}\n" if end else ""
        if self.p.spiking and self.plan.out_of(self.p.name):
            due = self.names.add(Declared("s_due", "variable", "int"))
            code += f"{due} = {self.spikes()[1]} == step ? 1 : 0;\n"
        return code

    def begin(self) -> str:
        """Before a trial."""
        guarded = name("w", "guarded")
        if self.listed and guarded in self.s.table:
            self.names.declared(self.s.table[guarded].buffer)
        return self.code("begin") + f"{DIVERGED.name} = 0;\n" * self.may_diverge

    @property
    def may_diverge(self) -> bool:
        """Whether the forward phase, once written, looks for states that have left the dynamics."""
        return DIVERGED.name in self.names.declarations

    def begin_back(self) -> str:
        """Between the phases."""
        code = self.code("begin_back")
        if self.listed:
            self.names.add(Declared("w_newest", "variable", "int"))
            code += newest(self.names)
        if self.p.spiking and not self.only_spikes:
            steps, sent, left = self.spikes()
            code += f"{left} = {self.count()};\n{sent} = {left} > 0 ? {steps}[{self.place(f'{left} - 1')}] : -2;\n"
        return code

    def neuron(self, sim: str) -> NeuronText:
        """The model, once all code that names something has been written."""
        declarations, used = self.names.declarations.values(), words(sim)
        access = {"variable": OWN, "shared": SHARED}
        variables = tuple((d.name, d.type, access[d.how]) for d in declarations if d.how in access)
        return NeuronText(
            params=tuple((d.name, d.type) for d in declarations if d.how == "parameter" and d.name in used),
            vars=variables, arrays=tuple((d.name, d.type, d.axes) for d in declarations if d.how == "array"),
            inputs=tuple(d.name for d in declarations if d.how == "input"), sim_code=sim,
            threshold_condition_code="sent" if self.p.spiking else "",
            host_buffers={d.name: d.key for d in declarations if d.key}, words=frozenset(d.name for d in declarations if d.words),
        )  # fmt: skip

    # custom updates

    def update(
        self, group: str, code: str, *, refs: tuple[tuple[str, str, str, str, str], ...] = (), **more: object
    ) -> UpdateText:
        """Code for each of the neurons; what it reads and writes is seen in it."""
        used, of, declarations = words(code), self.p.name, self.names.declarations.values()
        variables = [
            (d.name, d.type, "READ_WRITE" if _assigned(d.name, code) else "READ_ONLY", of, d.name)
            for d in declarations if d.how in ("variable", "shared") and d.name in used
        ]  # fmt: skip
        if not variables and not refs:  # says whose update it is
            state = self.names.declared(self.s.table[self.s.x[0]].buffer)
            variables = [(state.name, state.type, "READ_ONLY", of, state.name)]
        other = {r[0] for r in refs}
        params = [d for d in declarations if d.how == "parameter" and d.name in used - other]
        return UpdateText(
            group, of, code, (*variables, *refs),
            arrays=tuple((d.name, d.type, of, d.name) for d in declarations if d.how == "array" and d.name in used),
            params=tuple((d.name, d.type) for d in params), host_buffers={d.name: d.key for d in params if d.key},
            **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def kernel(self, kernel: Kernel, double: bool = False) -> str:
        return GennWriter(self.names, kernel, double).text()

    def element(self, b: Buffer) -> str:
        """The number of this neuron in a buffer."""
        return self.names.element(Access(b, (NEURON,)), lambda e: "id")


def _kernel(population: int, operations: Iterable[Operation]) -> Kernel | None:
    kernels = (o.kernel for o in operations if isinstance(o, EachNeuron) and o.population == population)
    return next(kernels, None)


def _assigned(variable: str, code: str) -> bool:
    return re.search(rf"\b{variable}\s*(?:[-+*/]?=(?!=)|\+\+|--)", code) is not None
