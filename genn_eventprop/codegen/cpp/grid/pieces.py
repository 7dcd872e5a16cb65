"""A piece of a recording as C++: the text of a trial, with its buffers at the host and what crosses in their rows.

See `program.pieces`. The host has the memory of the trial, so that it can keep states and hand over adjoints: the
buffer ``p0_V`` of a thread is its array ``own_p0_V``. Rows of steps begin with the first step of the piece, and their
pointers where row 0 would be. Spikes of the steps before the piece come as rows of bits and go into the lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ....plan import PopulationRecord
from ....program.lower import SEVERAL
from ....program.nodes import Buffer
from ....program.pieces import AXES, BEFORE, FIRST, INTERVAL, LAST, ROWS, SPIKE_ROWS, Crossing, Pieces
from ....program.trial import EachNeuron, EachStep, Once
from ...statements import TYPES, indent
from ...target import write
from ..context import Context, padded
from . import memory
from .compare import auxiliary_losses, begin, printed
from .loops import Loops
from .memory import ACTIVITY, GATHERED, KNOWN, is_drive
from .trial import Grid
from .work import AtHost, Member, work

OWN = "own_"
"""What the names of arrays at the host begin with that stand for the memory of a thread."""
HOST = (FIRST, LAST, INTERVAL, Buffer("closes", (), "long", "host"), SEVERAL, BEFORE)
GUARDED, HEARD = Buffer(f"{OWN}guarded", (1,), "long", "state"), Buffer(f"{OWN}heard", (1,), "double", "state")


LOCATE = """\
// A trial that diverges is found out at the end of a piece.
void locate(const Args& args, Work& work, Trouble& trouble) {
    trouble.step = args.last_step, trouble.state = work.diverged_state, trouble.neuron = work.diverged_neuron;
}
"""


def mixed(p: PopulationRecord) -> bool:
    """Whether the spikes of a step are listed event by event, and not in the order of the neurons."""
    return sum(event.emits for event in p.derived.events) > 1


class PieceLoops(Loops):
    def undone(self, entries: str) -> str:
        """Spikes of the first step belong to the piece before."""
        return f"if (step > {memory.FIRST}) {{\n{indent(entries)}}}\n"


class Piece(Grid):
    """The text of a piece, which runs one way in a call."""

    loops_of = PieceLoops
    locate = LOCATE
    covers = "args.first_step, args.last_step, args.first_step == args.interval ? 0.0 : args.loss[sample]"
    numbers = f"""\
const int64_t n_steps = args.n_steps, {memory.FIRST} = args.first_step, {memory.LAST} = args.last_step;
[[maybe_unused]] const int64_t {KNOWN} = {memory.FIRST} - args.ahead, {GATHERED} = {memory.LAST} - {KNOWN};
"""

    def __init__(self, names: Context) -> None:
        super().__init__(names)
        self.pieces = Pieces(self.trial)
        self.lowering = self.pieces

    def _host_buffers(self) -> list[Buffer]:
        spikes = [replace(b, axes=(b.axes[0], SPIKE_ROWS, *b.axes[2:])) for b in self.trial.spikes.values()]
        mixes = [(i, p) for i, p in enumerate(self.plan.populations) if mixed(p)]
        spikes += [Buffer(f"p{i}_order", ("batch", SPIKE_ROWS, p.size + 1), "int", "state") for i, p in mixes]
        every = super()._host_buffers()
        found = [replace(b, axes=(*b.axes[:-1], padded(int(b.axes[-1])))) if is_drive(b) else b for b in every]
        return [replace(b, axes=tuple(ROWS if a in AXES else a for a in b.axes)) for b in (*found, *HOST)] + spikes

    def _integers(self) -> list[str]:
        return [*super()._integers(), ROWS]

    # what is at the host

    def at_host(self) -> dict[str, Buffer]:
        """Buffers of a thread -> the arrays that they are."""
        found = {}
        for b in sorted(self.memory.used.values(), key=lambda b: b.name):
            if self.memory.is_member(b):
                p = self.memory.population(b)
                size = {f"NP_{self.names.p(p.name)}": padded(p.size)}
                axes: Iterable[int | str] = (size.get(a, a) if isinstance(a, str) else a for a in self.memory.axes(b))
                axes = tuple(ROWS if a in AXES else a for a in axes)
                axes = axes[1:] if b.name in self.memory.one_row and axes[0] == ROWS else axes
                found[b.name] = Buffer(f"{OWN}{b.name}", ("batch", *axes), b.kind, "state")
        for n in ACTIVITY if self.driven else ():
            found[n] = Buffer(f"{OWN}{n}", ("batch", ROWS), "real", "state")
        return found

    @property
    def driven(self) -> bool:
        """Whether the input drives the main loss."""
        return self.plan.loss.weight.input_tau is not None

    def work(self, forwards: set[str], more: Sequence[Member]) -> str:
        found = self.at_host()
        self.memory.declare((*self.memory.buffers, *found.values(), *self._numbers()), self.memory.integers)
        at_host = AtHost(
            fields=[f"{TYPES[b.kind]}* {n} = nullptr;" for n, b in found.items()],
            take=[f"{n} = args.{b.name};" for n, b in found.items()],
            steps=f"args.{ROWS} + args.steps_before", sizes=[ROWS],
        )  # fmt: skip
        return work(self.memory, self.lists, forwards, {}, more, at_host)

    def _numbers(self) -> list[Buffer]:
        """What is counted, or heard, so far."""
        return [GUARDED, *([HEARD] if self.driven else [])]

    def rebased(self) -> list[str]:
        """Lines that move the pointers to rows of steps of `args`, so that a row is found by its step."""
        lines = []
        for b in self.memory.arrays:
            if ROWS in b.axes and not self.memory.is_trajectory(replace(b, name=b.name.removeprefix(OWN))):
                behind = b.axes[b.axes.index(ROWS) + 1 :]
                size = " * ".join(["args.first_step", *(str(a) if isinstance(a, int) else f"args.{a}" for a in behind)])
                lines.append(f"args.{b.name} = rows_before(args.{b.name}, {size});")
        return lines

    def crossing(self) -> Crossing:
        """Of the host's arrays."""
        names, at_host = self.pieces.crossing(), {b.name for b in self.memory.arrays}

        def found(of: Iterable[str]) -> tuple[str, ...]:
            places = ((f"{OWN}{n}", n) for n in of)
            return tuple(next(p for p in both if p in at_host) for both in places if at_host & set(both))

        forward = (*found(names.forward), *(b.name for b in self._numbers()))
        own_rows = {b.name for b in self.memory.arrays if ROWS in b.axes and b.name.startswith(OWN)}
        return Crossing(forward, found(names.back), found(names.read), tuple(sorted(own_rows)))

    def text(self) -> list[str]:
        self.running()  # its buffers are in the memory too
        return super().text()

    def more(self) -> dict[str, Any]:
        return {"moved": self.rebased(), "running": self.running()}

    # where a piece begins and ends

    def _when(self, condition: str, text: str) -> str:
        return f"if ({condition}) {{\n{indent(text)}}}\n" if text else ""

    def at(self, step: str, text: str) -> str:
        return self._when("args.closes", f"[[maybe_unused]] const int64_t step = {step};\n{text}") if text else ""

    def empty(self, name: str) -> str:
        return f"{name}.start.first = {memory.FIRST} - args.steps_before;\n{super().empty(name)}"

    def begun(self) -> str:
        first, t = memory.FIRST, self.trial
        starts = "[[maybe_unused]] const int64_t step = 0;\n" + write(self, t.begin)
        anew = write(self, t.begin_interval)
        anew = f"[[maybe_unused]] const int64_t step = {first};\n{anew}" if anew else ""
        spikes = self._spikes("load", first)
        heard = f"{first} == args.interval ? 0.0 : args.{HEARD.name}[0]"
        if self.driven:
            given = f"args, work, from, to, {first}, {memory.LAST}, {heard}"
            spikes += f"args.{HEARD.name}[0] = find_activity({given});\n"
        spikes += (
            self.others.begin(range(len(self.lists)))
            + self.between.on_the_way(range(len(self.lists)), first)
            + self.between.sum_known()
        )
        text = f"work.guarded = args.{GUARDED.name}[0];\n{spikes}" + self._when(f"{first} == 0", starts)
        return text + self._when(f"{first} == args.interval && {first} > 0", anew)

    def ended(self) -> str:
        return f"{self._spikes('store', f'{memory.FIRST}, {memory.LAST}')}args.{GUARDED.name}[0] = work.guarded;\n"

    def _spikes(self, what: str, steps: str) -> str:
        """Lists from rows of bits, or to them; from rows of neurons where a step has them in another order."""
        text = ""
        for i, p in ((i, p) for i, p in enumerate(self.plan.populations) if p.spiking):
            rows = {f"args.p{i}_spikes": (p.size + 31) // 32} | ({f"args.p{i}_order": p.size + 1} if mixed(p) else {})
            for row, size in list(rows.items())[-1:] if what == "load" else rows.items():
                text += f"{what}_spikes({self.lists[i].spikes}, {row}, {size}, {steps}, args.steps_before);\n"
        return text

    def begun_back(self) -> str:
        base = f"[[maybe_unused]] const int64_t base = {memory.FIRST};\n"
        text = base + self._when(f"{memory.LAST} == n_steps", write(self, self.trial.begin_back))
        return text + self.at(memory.LAST, write(self, self.trial.end_interval))

    def over(self) -> str:
        neurons = [o for o in self.trial.end_back if isinstance(o, EachNeuron)]
        gathered = [o for o in self.trial.end_back if o not in neurons]
        return self._when(f"{memory.FIRST} == 0", write(self, neurons)) + write(self, gathered)

    def restore(self) -> str:
        return ""

    # losses

    def running(self) -> str:
        """Losses of every step, which go on from piece to piece: the main one in vectors."""
        each, main = [o for o in self.trial.compare if isinstance(o, EachStep)], self.plan.loss.readout == "voltage"
        others = self.lowering.operations(each[1:] if main else each)
        text = write(self, each[:1]) if main else ""
        return begin(self.memory, text + printed(self.memory, self.lowering.buffers, others))

    def compare(self) -> str:
        """The main loss, where an interval closes."""
        return "" if self.plan.loss.readout == "voltage" else write(self, self.trial.compare[:1])

    def auxiliary(self) -> str:
        if not self.plan.auxiliary:
            return ""
        ops = self.trial.compare
        _, *others = [k for k, o in enumerate(ops) if isinstance(o, Once)]
        rest = [o for o in ops[others[0] :] if not isinstance(o, EachStep)] if others else []
        text = printed(self.memory, self.lowering.buffers, self.lowering.operations(rest))
        return auxiliary_losses(self.memory, [begin(self.memory, text)] if rest else [])
