"""A piece of a recording as CUDA text: a kernel for each way through its steps, and those that gather its gradients.

See `program.pieces`. One recording runs at a time, so that row 0 of every buffer of steps is that of the first step of
the piece. The host keeps what crosses from piece to piece; values that a trial has in registers or in shared memory begin
as a kernel finds them in global memory, and are left there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...plan import Plan
from ...program.lower import SEVERAL
from ...program.nodes import NEURON, Access, Buffer
from ...program.pieces import AXES, BEFORE, CLOSES, FIRST, INTERVAL, LAST, ROWS, SPIKE_ROWS, Crossing, Pieces
from ...program.trial import EachStep, Gather, GatherDelays, Operation, Trial, make_trial
from ..statements import indent
from ..target import finished, write
from .gathers import Gathers
from .target import REAL_BYTES, Kernels, Source, population_of, source

FROM_FIRST = f"t->{FIRST.name}"


def generate_pieces(plan: Plan, dtype: str) -> tuple[Source, Crossing]:
    """CUDA C++ for a piece of a recording, and what crosses from piece to piece, by the names of the source's arrays."""
    kernels = PieceKernels(make_trial(plan, evaluates=True, pieces=True), REAL_BYTES[dtype])
    return source(kernels, dtype, False), kernels.crossing()


class PieceGathers(Gathers):
    """Gradients of the spikes that a piece sends are added to those of the pieces after it. Those of neurons are 0 but at
    the start of the recording, and are added to those of other recordings."""

    def _row_at(self, row: str) -> str:
        return f"({row} - {FROM_FIRST})"

    def _sent(self, population: int) -> str:
        return f"kept_{_listed(population).name}"

    def _adding(self, o: Gather | GatherDelays) -> str:
        whole = super()._adding(o)
        return whole if whole == "1" else f"({whole} || t->{LAST.name} < t->n_steps)"


class PieceKernels(Kernels):
    """The kernels of a piece."""

    first, last = FROM_FIRST, f"t->{LAST.name}"
    gathers_of = PieceGathers
    more_integers = (
        *Kernels.more_integers,
        FIRST.name,
        LAST.name,
        INTERVAL.name,
        CLOSES.name,
        BEFORE.name,
        SEVERAL.name,
    )

    def __init__(self, trial: Trial, real_bytes: int) -> None:
        self._names, populations = Pieces(trial).crossing(), trial.plan.populations
        lists = {b.name: b for b in (_listed(i, p.size) for i, p in enumerate(populations) if p.spiking)}
        self._of_lists = {*lists, *(f"p{i}_w_happened" for i in range(len(populations)))}  # their lengths
        super().__init__(replace(trial, buffers=trial.buffers | lists), real_bytes)
        self.arrays = tuple(_in_piece(b) for b in self.arrays)

    def _carried(self) -> set[str]:
        return {*self._names.forward, *self._names.back, *self._names.read, *self._of_lists}

    def crossing(self) -> Crossing:
        """What crosses from piece to piece, by the names of arrays: values that a kernel has in registers or in shared memory
        are in copies ``kept_<name>`` (see `_place`), which `_carry` fills and reads."""
        in_registers = {b.name for b in self.carried if b not in self.results}

        def in_memory(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(f"kept_{n}" if n in in_registers else n for n in names)

        n = self._names
        return Crossing(in_memory(n.forward), in_memory(n.back), in_memory(n.read), n.rows)

    # where elements are

    def _in_struct(self, b: Buffer, index: Iterable[str]) -> str:
        """Rows of steps are those of the piece, in memory for one piece."""
        moved = [f"({i} - {FROM_FIRST})" if a in AXES else i for a, i in zip(b.axes, index)]
        return super()._in_struct(b, moved)

    def _row_at(self, step: str) -> str:
        return f"{step} - {FROM_FIRST}"

    def _bits_at(self, step: str) -> str:
        return f"{step} - {FROM_FIRST} + t->{BEFORE.name}"

    def _count_sent(self, population: int) -> tuple[str, str]:
        """In a count of the piece: `w_count` goes on over the recording."""
        count = f"{_listed(population).name}[i]"
        return count, f"{count}++ <"

    # the kernels

    def trials(self) -> dict[str, str]:
        return {
            "forwards": self._block("forwards", self._forwards()),
            "backwards": self._block("backwards", self._backwards()),
        }

    def _forwards(self) -> str:
        """Forwards, with the losses of what ends with the piece."""
        t, forward = self.trial, {*self._names.forward}
        text = self._before_steps() + self._carry("load", forward) + "__syncthreads();\n"
        text += _when(f"{self.first} == 0", write(self, t.begin, "start of"))
        text += _when(f"{self.first} == t->interval && {self.first} > 0", write(self, t.begin_interval, "interval of"))
        text += self._clear_lists() + self._clear_spikes() + "__syncthreads();\n" + self._steps()
        text += _when("t->closes", write(self, t.end, "end of")) + self._results()
        every = [o for o in t.compare if isinstance(o, EachStep)]
        text += self._compared(every) + _when("t->closes", self._compared(o for o in t.compare if o not in every))
        return text + self._carry("keep", forward | self._of_lists)

    def _backwards(self) -> str:
        """Backwards. The lists of events are those that the same piece has made on its way forwards right before."""
        t, names = self.trial, self._names
        loaded = {*names.back, *names.read, *(n for n in self._of_lists if n.endswith("happened"))}
        text = f"int64_t step = {self.last};\n{self._carry('load', loaded)}__syncthreads();\n"
        text += _when(f"{self.last} == t->n_steps", write(self, t.begin_back, "start backwards of"))
        text += _when("t->closes", write(self, t.end_interval, "end of interval of"))
        text += self._steps_back() + _when(f"{self.first} == 0", finished(self, apart=True))
        return f"{text}__syncthreads();\n{self._carry('keep', {*names.back})}"

    def _compared(self, operations: Iterable[Operation]) -> str:
        return "".join(write(self, [o], "outer loss,") + self.barrier() for o in operations)

    def _before_steps(self) -> str:
        """The host also sends spikes of before the piece, as long as the longest delay: windows that all connections with
        their delays have behind them are left out."""
        inputs = (i for i in range(len(self.plan.connections)) if self._from_input(i))
        skipped = (f"input{i}.skip(t, to, {self.first} - t->c{i}_delay);\n" for i in inputs)
        return super()._before_steps() + "".join(skipped)

    def _clear_lists(self) -> str:
        """A piece begins with empty lists of events and of spikes: those of the pieces before ran backwards, or will run
        forwards again."""
        text = ""
        for b in (b for b in self.buffers if b.name in self._of_lists):
            text += self._over(population_of(b), f"{self._element(Access(b, (NEURON,)), str)} = 0;\n", b.name)
        return text

    def _clear_spikes(self) -> str:
        """The bits of the first step in shared memory: its spikes were sent by the last step of the piece before."""
        text = ""
        for i in self.trial.spikes:
            words = self._words(i)
            word = f"p{i}_now[{self.first} % 2 * {words} + v] = {self._row_of_bits(i, self.first)};\n"
            text += f"for (int v = threadIdx.x; v < {words}; v += {self.threads}) {word}"
        return text

    def _so_far(self, loss: str) -> str:
        """A loss of every step goes on over the pieces of an interval, and begins anew with an interval."""
        return f"{self.first} == t->interval ? 0 : {loss}"


def _listed(population: int, size: int = 0) -> Buffer:
    """How many spikes of each neuron a piece has listed."""
    return Buffer(f"p{population}_listed", (size,), "int", "stored")


def _in_piece(b: Buffer) -> Buffer:
    """As long as a piece needs it."""
    rows = SPIKE_ROWS if b.kind == "bits" else ROWS
    return replace(b, axes=tuple(rows if a in AXES else a for a in b.axes))


def _when(condition: str, text: str) -> str:
    return f"if ({condition}) {{\n{indent(text)}}}\n" if text else ""
