"""What losses read in exact time: a reader of V between events for each readout that needs one, and its time weight."""

from __future__ import annotations

from dataclasses import dataclass

from ....plan import PopulationRecord
from ....plan.series import NODES, SERIES
from ....program.nodes import Buffer
from ....program.readouts import Readout, Several
from ....program.readouts.base import BetweenEvents
from ....program.scope import Scope
from ...statements import constants
from ...time_weights import weight_struct
from ..grid.memory import Memory


@dataclass(frozen=True, eq=False)
class Reading:
    """One readout of a population.

    form: how V is read between events; None if the statements of the readout say it all. tail: suffix of names in the
    text, "" for the readout of the main loss. result, dr: where the readout and dL/dr are.
    """

    scope: Scope
    readout: Readout
    form: BetweenEvents | None
    tail: str
    result: str
    dr: str

    @property
    def population(self) -> str:
        return self.scope.p.name

    @property
    def buffers(self) -> tuple[Buffer, Buffer]:
        """The buffers of the readout and of dL/dr."""
        return self.scope.table[self.readout.R].buffer, self.scope.table[self.readout.DR].buffer

    @property
    def name(self) -> str:
        return f"work.reader{self.tail}"

    def member(self) -> str:
        """Its declaration in the memory of a thread."""
        assert self.form is not None
        p, more = f"p{self.scope.index}", f", {self.form.more}" if self.form.more else ""
        return f"{self.form.reader}<type_{p}, {self.readout.v}, N_{p}, Weight_{p}{more}> reader{self.tail};"


def readings_of(s: Scope, readout: Readout, memory: Memory) -> list[Reading]:
    """The readings of a population that a loss reads."""
    found = []
    for part in readout.parts if isinstance(readout, Several) else [readout]:
        tail = f"_p{s.index}" * bool(s.of_loss) + f"_{part.which}" * bool(part.which)
        places = (f"work.{s.table[x].buffer.name}" for x in (part.R, part.DR))
        found.append(Reading(s, part, part.between_events(), tail, *places))
    return found


def time_weights(scopes: list[Scope]) -> str:
    """The time weights of the losses."""
    sizes = f"[[maybe_unused]] constexpr int SERIES = {SERIES}, NODES = {NODES};\n"
    return sizes + "".join(_time_weight(s) for s in scopes)


def _time_weight(s: Scope) -> str:
    voltage = s.plan.loss.readout == "voltage"
    more = f"typedef Loss_p{s.index} Loss;\n" if voltage else ""
    more += constants("bool", {"BIRTHS": s.plan.spike_birth > 0})
    more += f"static const double* series(const Args& args) {{ return args.{s.of_loss}weight_series; }}\n"
    knots = voltage and s.plan.loss.compares == "targets"
    dt = "args.duration / double(Loss::rows(args) - 1)" if knots else ""
    return weight_struct(s, f"Weight_p{s.index}", "const Args& args", "args.", dt, more=more)


def reads(readings: list[Reading], p: PopulationRecord) -> list[Reading]:
    """The readings of one population."""
    return [r for r in readings if r.population == p.name]
