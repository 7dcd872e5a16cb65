"""What a readout may say: r forwards, and what dL/dr adds to lambda, E and D backwards (docs/equations.md, section 3).

Each readout answers for itself, as statements in the kernels of the output population; a method is a place in the step,
in the order of `trial`. Symbols: ``w_r`` the readout, ``w_dr`` dL/dr times the sample's weight in the batch mean.

With exact spike times the statements at spikes of the output and at both ends of the trial are the same, and times are
in ms. There are no steps: a readout that looks at V in every step says in `between_events` how V is read in continuous
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ...adjoint import DerivedEvent
from ...plan import Plan
from ..nodes import STEP, Set, Statement, name
from ..scope import Scope

SAMPLE_WEIGHT = name("g", "sample_weight")
NOW = name("g", "now")  # ms of a spike of the output, with exact spike times


@dataclass(frozen=True)
class BetweenEvents:
    """The C++ reader that integrates V between events or finds its maxima; needed where the statements do not suffice.

    Args:
        file: of `codegen/cpp/exact`. reader: the class in it, whose template arguments are the output's type, the
            number of the state that is read, the number of outputs, and `more`. extrema: whether it needs bounds on V.
    """

    file: str
    reader: str
    more: str = ""
    extrema: bool = False


class Readout:
    """Base: nothing is read. All methods return statements, or what an expression gets.

    Args:
        which: name of a readout besides that of the loss; its symbols end in it.
    """

    spikes = False  # whether a silent output has no readout
    negative = False  # whether it needs the sum of the negative weights that arrive in a step
    states: tuple[str, ...] = ()  # whose values right before a spike `time_gradient` needs

    def __init__(self, plan: Plan, scope: Scope, *which: str) -> None:
        self.R, self.DR, self.which = name("w", "r", *which), name("w", "dr", *which), "".join(which)
        self.plan, self.s, self.loss, self.K = plan, scope, plan.loss, scope.N
        state = scope.d.model.readout
        self.v = scope.d.states.index(state) if state in scope.d.states else 0
        self.V, self.lam = scope.x[self.v], scope.lam[self.v]
        self.declare_readout()
        scope.host_value("duration", "double")
        self.declare()

    def declare_readout(self) -> None:
        """The readout and dL/dr: one number of every output."""
        self.s.each(self.R, "double" if self.exact else "real", "result")
        self.s.each(self.DR)

    def declare(self) -> None:
        """Further buffers."""

    # times

    @property
    def exact(self) -> bool:
        return self.plan.spike_times == "exact"

    @property
    def time_kind(self) -> str:
        """Of buffers of times: steps on the grid, ms with exact spike times."""
        return "double" if self.exact else "int"

    def time(self, back: bool = False) -> sp.Expr:
        """Of the spike that is detected (forwards) or undone (back).

        A crossing inside step k is detected at its end and belongs to step k + 1, where the backward pass undoes it.
        """
        return NOW if self.exact else (STEP if back else STEP + 1) - self.s.read_from

    def ms(self, time: sp.Expr) -> sp.Expr:
        return time if self.exact else time * name("g", "step_ms")

    def between_events(self) -> BetweenEvents | None:
        """With exact spike times; None if the statements suffice."""
        return None

    # forwards

    def begin(self) -> list[Statement]:
        """Of a trial, or of an interval of a recording."""
        return [Set(self.R, 0)]

    def before_arrivals(self) -> list[Statement]:
        return []

    def after_arrivals(self) -> list[Statement]:
        """From here the step starts."""
        return []

    def after_step(self) -> list[Statement]:
        """At the end of `step`, before the events there."""
        return []

    def spiked(self) -> list[Statement]:
        """At a spike of the output, detected at `step` + 1, before its reset."""
        return []

    def before_spikes(self, event: int) -> list[Statement]:
        """Before event number `event` is detected at `step` + 1; for the backward pass alone."""
        return []

    def end(self) -> list[Statement]:
        """After the last step; `step` is the number of steps."""
        return []

    def valid(self, i: sp.Symbol) -> sp.Expr:
        """Whether output i has a readout."""
        return sp.Integer(1)

    def born(self) -> tuple[sp.Expr, sp.Expr]:
        """(by, where) of a spike of the output that would be born at `step`: what it changes r by, and whether."""
        return sp.Integer(0), sp.Integer(0)

    # backwards

    def begin_back(self) -> list[Statement]:
        """Of a trial, or where an interval of a recording ends."""
        return []

    def last(self) -> sp.Expr:
        """lambda_V at T."""
        return sp.Integer(0)

    def arrival(self, receptor: str) -> sp.Expr:
        """What an arrival of unit weight adds to D at `step`."""
        return sp.Integer(0)

    def loss_of_arrival(self, receptor: str) -> sp.Expr:
        """What a unit weight that arrives adds to V where the outer loss compares V at every time; else 0."""
        return sp.Integer(0)

    def negative_arrival(self) -> sp.Expr:
        """What a negative weight's arrival at `step` adds to D, for each unit of it."""
        return sp.Integer(0)

    def sample(self) -> list[Statement]:
        """Jumps of lambda at `step`, before the events of that step are undone."""
        return []

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        """Adds dl_p/dt + l(x-) - l(x+) to `events.DL_DT` of a spike; before: state -> its value right before it."""
        return []

    def silent_event(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        """Adds l(x-) - l(x+) to `events.DL_DT` of an event that sends no spike."""
        return []

    def after(self) -> list[Statement]:
        """Once lambda has jumped at a spike."""
        return []

    def source_at_end(self) -> list[Statement]:
        """What step `step` - 1 adds to lambda at its end, behind the jumps there."""
        return []

    def source(self) -> list[Statement]:
        """What step `step` - 1 adds to lambda at its start."""
        return []

    def rate(self, param: str) -> sp.Expr:
        """What step `step` - 1 adds to a learned parameter through the readout itself; states are of its start."""
        return sp.Integer(0)


OF_STEPS = (
    "before_arrivals", "after_arrivals", "after_step", "before_spikes", "arrival", "loss_of_arrival",
    "negative_arrival", "sample", "silent_event", "source_at_end", "source", "rate",
)  # fmt: skip
"""Methods that only a trial in steps asks for."""
