"""Where the buffers of a trial are: in the memory of a thread, among the arguments, or in lists of spikes.

Populations are padded; a number that all neurons share is an array of length one. Events are not kept neuron by neuron
but in a list for each kind of event, in order of time (`lists.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sympy as sp

from ....plan import Plan, PopulationRecord
from ....program.events import OBSERVED
from ....program.host_values import prefixed_losses
from ....program.nodes import Access, Buffer
from ....program.pieces import ROWS
from ....program.population import RECORD, RECORDED
from ...layout import Layout
from ...statements import TYPES
from ..context import Context

LENGTHS = {"n_points": "(args.n_steps + 1)"}
ACTIVITY = ("activity", "activity_before")  # of the input, where it drives the time weight of the main loss
SPELLED = {"n_steps": "n_steps", "dt": "dt", "floor": "least_rise", "fresh": "scalar(args.fresh)"}  # beside `_number`


def is_drive(b: Buffer) -> bool:
    """Whether a buffer holds the drives of a population, or its observed spikes, which the host pads."""
    return b.name.endswith(("_drive", f"_{OBSERVED}")) and b.role == "host"


def targets_of(plan: Plan) -> list[str]:
    """What says how many targets an output has, of every loss of spike times."""
    return [f"{prefix}n_targets" for prefix, loss in prefixed_losses(plan) if loss.readout == "spike_times"]


FIRST, LAST = "from_step", "to_step"
"""The steps that a call runs, and the one behind them: of a trial, or of a piece of it."""
KNOWN, GATHERED = "first_known", "gathered_steps"
"""The step that rows of arrivals that are all known beforehand begin with; of how many steps, from `FIRST` on, rows are
gathered: in a piece arrivals behind it count, whose rows are those of the pieces after it."""


class Memory(Layout):
    """The memory of a trial of a plan.

    Args:
        given: arrays and numbers that the host hands over or takes back. integers: more of them. for_inputs: see
            `program.trial`.

    Attributes:
        used: every buffer that has had a pointer so far. row: index of the current row of a trajectory.
        one_row: buffers with rows for steps of which only the row of the current step is needed. steps: how many have
            rows.
    """

    def __init__(
        self, names: Context, given: Iterable[Buffer], integers: Iterable[str],
        for_inputs: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.plan, self.names, self.for_inputs = names.plan, names, for_inputs
        self.declare(given, integers)
        self.arguments = {b.name for b in self.arrays if b.role in ("host", "number") or "batch" in b.axes}
        self.used: dict[str, Buffer] = {}
        self.row, self.one_row = "row", set[str]()
        self.steps = f"args.{ROWS}" if names.pieces else "n_steps"
        self.places = self._places()
        self._named: set[str] = set()  # in the function that is written

    def _places(self) -> dict[str, str]:
        """Arrays that are neither arguments nor fields of the memory of a thread."""
        gradients = [f"p{i}_G_{n}" for i, p in enumerate(self.plan.populations) for n in p.trainable]
        gradients += [f"c{i}_delay_gradient" for i, c in enumerate(self.plan.connections) if c.learns_delays]
        records = ((i, f"p{i}_{RECORD}", 2 * len(p.derived.states)) for i, p in enumerate(self.plan.populations))
        drives = ((i, f"p{i}_w_{r}_by_drive") for i, p in enumerate(self.plan.populations) for r in p.drives)
        places = {name: f"args.{name} + sample * args.n_steps * NP_p{i}" for i, name in drives}
        return (
            {name: f"slice + AT_{name}" for name in gradients}
            | places
            | {name: f"args.{name} + sample * args.{RECORDED} * {rows} * NP_p{i}" for i, name, rows in records}
        )

    # elements

    def element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        b = access.buffer
        if not b.axes:
            return self._number(b)
        index = [write(i) for i in access.index]
        if b.axes == ("entries",):  # of a list
            return f"{b.name}[{index[0]}]"
        if self.is_trajectory(b):
            index[0] = self.row if index[0] == "step" else f"({index[0].strip('()')} - base)"
        if b.name in ACTIVITY:
            return f"work.{b.name}[{index[1]}]"
        index[0] = self.row_of(b, index[0])
        return f"{self.pointer(b)}[{self._flat(self.axes(b), index)}]"

    def _number(self, b: Buffer) -> str:
        """The spelling of a single number."""
        if b.role != "host":
            return "work.guarded" if b.name.endswith("w_guarded") else b.name
        return SPELLED.get(b.name) or (f"scalar(args.{b.name})" if b.kind == "real" else f"args.{b.name}")

    def row_of(self, b: Buffer, step: str) -> str:
        """The row for a step: a single one for all steps if nothing needs more."""
        if b.name in self.one_row:
            return "0"
        return f"(args.input_gradients ? {step} : 0)" if b.name in self.for_inputs else step

    def _is_argument(self, b: Buffer) -> bool:
        return b.name in self.arguments and (b.role in ("host", "number") or "batch" in b.axes)

    def pointer(self, b: Buffer) -> str:
        """The name of a buffer in the current function."""
        if self._is_argument(b) and b.axes != (self.population(b).size,):
            return f"args.{b.name}"
        self._named.add(b.name)
        self.used[b.name] = b
        return b.name

    def pointers(self) -> str:
        """Declares the pointers that the current function uses, and begins the next function."""
        text = ""
        for name in sorted(self._named):
            b, argument = self.used[name], self._is_argument(self.used[name])
            const, place = ("const ", f"args.{name}") if argument else ("", self.places.get(name, f"work.{name}"))
            text += f"{const}{TYPES[b.kind]}* __restrict {name} = {place};\n"
        self._named = set()
        return text

    def is_member(self, b: Buffer) -> bool:
        """Whether a buffer is a field of the memory of a thread."""
        return not self._is_argument(b) and b.name not in self.places

    def members(self) -> dict[str, tuple[str, str]]:
        """Name of every such field so far -> its kind and length."""
        used = sorted(self.used.values(), key=lambda b: b.name)
        return {b.name: (b.kind, self.count(b)) for b in used if self.is_member(b)}

    def population(self, b: Buffer) -> PopulationRecord:
        """The population that a buffer belongs to; for those of the loss the output."""
        number = b.name[1:].split("_")[0]
        return self.plan.populations[int(number)] if b.name[0] == "p" and number.isdigit() else self.plan.output

    # lengths

    def padded(self, b: Buffer) -> str:
        """The padded size of the population of a buffer."""
        return f"NP_{self.names.p(self.population(b).name)}"

    def count(self, b: Buffer) -> str:
        """The number of elements of a buffer."""
        # late arrivals find nothing; 8: a chunk of `shift_by_delay`
        rows = "(n_steps + args.ahead + 8)" if self.names.ahead else "n_steps"
        lengths = {"n_steps": "args.segment" if self.is_trajectory(b) else rows, "n_points": "(n_steps + 1)"}
        lengths |= {n: f"args.{n}" for n in targets_of(self.plan)}
        if b.name in self.one_row:
            return self.padded(b)
        return " * ".join(str(a) if isinstance(a, int) else lengths.get(a, a) for a in self.axes(b))

    def is_trajectory(self, b: Buffer) -> bool:
        """Of the states of a population, which are kept for all steps or a segment of them."""
        return b.name[0] == "p" and b.name.partition("_")[2].startswith("w_trace_")

    def axes(self, b: Buffer) -> tuple[int | str, ...]:
        """Axes with padding, for buffers in the memory of a thread."""
        here = b.role in ("state", "stored") or (b.role == "result" and "batch" not in b.axes) or is_drive(b)
        return (*b.axes[:-1], self.padded(b)) if here and b.axes[-1] == self.population(b).size else b.axes

    def _length(self, axis: int | str) -> str:
        if isinstance(axis, int) or axis.startswith("NP_"):
            return str(axis)
        return LENGTHS.get(axis, f"args.{axis}")
