"""Where the buffers of a trial are: in the memory of a thread, among the arguments, or in lists of spikes.

Populations are padded; a number that all neurons share is an array of length one. Events are not kept neuron by neuron
but in a list for each kind of event, in order of time (`lists.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ....plan import PopulationRecord
from ....plan.numbers import value_names
from ....program.host_values import auxiliary
from ....program.nodes import Access, Buffer
from ...layout import Layout
from ...statements import TYPES
from ..context import ACTIVITY, Context, padded, regulariser_names

LENGTHS = {"n_points": "(args.n_steps + 1)"}


class Memory(Layout):
    """The memory of a trial of a plan; names: of the arguments; for_inputs: see `program.trial`.

    Attributes:
        used: every buffer that has had a pointer so far. row: index of the current row of a trajectory.
        one_row: buffers with rows for steps of which only the row of the current step is needed.
    """

    def __init__(self, names: Context, for_inputs: frozenset[str] = frozenset()) -> None:
        self.plan, self.names, self.for_inputs = names.plan, names, for_inputs
        self.used: dict[str, Buffer] = {}
        self.row, self.one_row = "row", set[str]()
        self.numbers, self.places, self.fields = self._numbers(), self._places(), self._fields()
        self._named: set[str] = set()  # in the function that is written

    def _numbers(self) -> dict[str, str]:
        """How single numbers are spelled."""
        found = {
            "n_steps": "n_steps", "dt": "dt", "floor": "least_rise", "duration": "args.duration", "step_ms": "args.dt",
            "n_targets": "args.n_targets", "fresh": "scalar(args.fresh)", **{f"loss_{c}": f"args.{c}" for c in self.plan.loss.constants},
        }  # fmt: skip
        for prefix, loss in auxiliary(self.plan):
            found |= {f"{prefix}loss_{c}": f"args.{prefix}loss_{c}" for c in loss.constants}
        for i, p in enumerate(self.plan.populations):
            found |= {f"p{i}_noise": f"scalar(args.noise_{p.name})", f"p{i}_lost": f"args.dropout_{p.name}"}
            found |= {f"p{i}_w_guarded": "work.guarded", f"p{i}_w_total": f"p{i}_total"}
            for k, own in enumerate(regulariser_names(self.plan, p.name)):
                found[f"p{i}_target{k}"] = f"args.{own}_target[0]"
        return found

    def _places(self) -> dict[str, str]:
        """Arrays that are not fields of the memory of a thread, or are shared with other code."""
        found = {"loss": "args.loss", **{n: f"work.{n}" for n in ACTIVITY}}
        found |= {f"{prefix}loss": f"args.{prefix}loss" for prefix, _ in auxiliary(self.plan)}
        for i, p in enumerate(self.plan.populations):
            for v in value_names(self.plan, p):
                found[f"p{i}_{'q' if v.name in p.derived.params else 'n'}_{v.name}"] = f"args.p_{p.name}_{v.name}"
            for m, mode in enumerate(p.derived.modes):
                found[f"p{i}_n_lasts_{m}"] = f"args.p_{p.name}_steps_{mode.lasts}"
            found |= {f"p{i}_noise_key": f"args.noise_key_{p.name}", f"p{i}_dropout": f"args.dropout_key_{p.name}"}
            found |= {f"p{i}_G_{n}": f"slice + {self.names.gradients[f'{p.name}.{n}'][0]}" for n in p.trainable}
            for k, own in enumerate(regulariser_names(self.plan, p.name)):
                found |= {f"p{i}_{side}{k}": f"args.{own}_{side}" for side in ("upper", "lower", "excess")}
        return found

    def _fields(self) -> dict[str, str]:
        """Fields that code outside the trial knows by another name."""
        p = f"p{self.plan.populations.index(self.plan.output)}_w_"
        return {f"{p}r": "readout", f"{p}dr": "dr", f"{p}missing": "last", f"{p}first": "first_step"}

    # elements

    def element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        b = access.buffer
        if not b.axes:
            return self.numbers[b.name]
        index = [write(i) for i in access.index]
        if b.axes == ("entries",):  # of a list
            return f"{b.name}[{index[0]}]"
        if self._is_trajectory(b):
            index[0] = self.row if index[0] == "step" else f"({index[0].strip('()')} - base)"
        if b.name in ACTIVITY:
            return f"work.{b.name}[{index[1]}]"
        index[0] = self.row_of(b, index[0])
        return f"{self.pointer(b)}[{self._flat(self._axes(b), index)}]"

    def row_of(self, b: Buffer, step: str) -> str:
        """The row for a step: a single one for all steps if nothing needs more."""
        if b.name in self.one_row:
            return "0"
        return f"(args.input_gradients ? {step} : 0)" if b.name in self.for_inputs else step

    def pointer(self, b: Buffer) -> str:
        """The name of a buffer in the current function."""
        place = self.places.get(b.name, "")
        if place.startswith("args.") and b.axes != (self.population(b).size,):
            return place
        if b.role == "given" and not place:
            return f"args.{b.name}"
        self._named.add(b.name)
        self.used[b.name] = b
        return b.name

    def pointers(self) -> str:
        """Declares the pointers that the current function uses, and begins the next function."""
        text = ""
        for name in sorted(self._named):
            b, place = self.used[name], self.places.get(name)
            const = "const " if place and place.startswith("args.") and b.role != "result" else ""
            text += f"{const}{TYPES[b.kind]}* __restrict {name} = {place or 'work.' + self.field(b)};\n"
        self._named = set()
        return text

    def field(self, b: Buffer) -> str:
        """The name of a buffer in the memory of a thread."""
        return self.fields.get(b.name, b.name)

    def population(self, b: Buffer) -> PopulationRecord:
        """The population that a buffer belongs to; for those of the loss the output."""
        number = b.name[1:].split("_")[0]
        return self.plan.populations[int(number)] if b.name[0] == "p" and number.isdigit() else self.plan.output

    # lengths

    def padded(self, b: Buffer) -> int:
        """The padded size of the population of a buffer."""
        return padded(self.population(b).size)

    def count(self, b: Buffer) -> str:
        """The number of elements of a buffer."""
        # late arrivals find nothing; 8: a chunk of `shift_by_delay`
        rows = "(n_steps + args.ahead + 8)" if "ahead" in self.names.integers else "n_steps"
        lengths = {"n_steps": "args.segment" if self._is_trajectory(b) else rows, "n_points": "(n_steps + 1)"}
        lengths["n_targets"] = "args.n_targets"
        if b.name in self.one_row:
            return str(self.padded(b))
        return " * ".join(str(a) if isinstance(a, int) else lengths[a] for a in self._axes(b))

    def _is_trajectory(self, b: Buffer) -> bool:
        return "_w_trace_" in b.name

    def _axes(self, b: Buffer) -> tuple[int | str, ...]:
        """Axes with padding, for buffers in the memory of a thread."""
        here = b.role in ("state", "kept") or (b.role == "result" and "batch" not in b.axes)
        return (*b.axes[:-1], self.padded(b)) if here and b.axes[-1] == self.population(b).size else b.axes

    def _length(self, axis: int | str) -> str:
        return str(axis) if isinstance(axis, int) else LENGTHS.get(axis, f"args.{axis}")
