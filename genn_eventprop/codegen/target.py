"""A target: how one machine does each operation of a trial. And the order of operations in a step, written once.

`step_forwards`, `step_backwards`, `compared`, `gathered` and `finished` walk through a `Trial` and ask the target for the
text of each operation. The target puts that text into its own frame: functions or kernels, the loop over steps, and its
memory. In the text, ``step`` is the number of the step.

Targets are `cpp/grid` (engine `native` with spikes on the grid) and `cuda`. Three generators are not:

* `c99`: it prints the loops that `program.lower` makes of the operations, once for all targets to come.
* `genn`: the loop over steps is GeNN's, so there is no frame to put text into. It reads the same operations of the same
  trial and writes kernels with the same `statements.Writer`, but an operation becomes a record: neuron code
  (`EachNeuron`), a synapse (`Deliver`), an event sent back (`Feedback`), or a custom update (`Gather`, `GatherDelays`,
  `Total`, `Once`, `EachStep`). It has no `FeedInput`.
* `cpp/exact`: exact spike times have no steps. It uses the statements of readouts, losses and regularisers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from ..program.lower import heading
from ..program.operations import method_of
from ..program.trial import (
    Birth,
    Deliver,
    EachNeuron,
    EachStep,
    Feedback,
    FeedInput,
    Gather,
    GatherDelays,
    Once,
    Operation,
    Record,
    Total,
    Trial,
)
from .safe_text import comment_lines
from .statements import indent


class Target(ABC):
    """One machine's way of doing the operations of `trial`; `program/operations.py` says what each of them means.

    Every method returns text, indented from the left margin; "" if there is nothing to do.
    """

    trial: Trial
    first, last = "0", "t->n_steps"  # the steps that a call runs, and the one behind them, as the text spells them
    recorded = "t->recorded"  # the number of steps that are recorded

    def comment(self, text: str) -> str:
        """Lines that only a reader sees."""
        return "".join(f"// {line}\n" for line in self.lines(text))

    def head(self, o: Operation, stage: str = "") -> str:
        """The comment above the text of an operation."""
        return self.comment(heading(self.trial, o, stage=stage))

    @staticmethod
    def lines(text: str) -> list[str]:
        """The lines of a comment, which nothing in `text` can leave."""
        return comment_lines(text)

    # neurons

    @abstractmethod
    def each_neuron(self, o: EachNeuron) -> str:
        """Run the kernel for every neuron of the population.

        If `o.emits`, the neurons whose ``sent`` is set must be known at ``step`` + 1 to `deliver`, `feedback`
        and the gathers, so the target compacts them here, into a list or a row of bits.
        """

    def undo(self, o: EachNeuron) -> str:
        """Run the kernel that takes back what happened to the neurons at ``step``.

        A target with a list of events for every neuron runs it like any other kernel; one with a list for every kind of
        event visits the entries of the step.
        """
        return self.each_neuron(o)

    def record(self, o: Record) -> str:
        """Run the kernel for every neuron of the population if the host records this run."""
        return f"if ({self.recorded}) {{\n{indent(self.each_neuron(EachNeuron(o.population, o.kernel)))}}}\n"

    # between neurons

    @abstractmethod
    def deliver(self, operations: Sequence[Deliver]) -> str:
        """Add the rows of weights of all spikes that arrive at ``step`` to the sums of their targets."""

    @abstractmethod
    def feedback(self, operations: Sequence[Feedback]) -> str:
        """For the neurons that spiked at ``step``: dot products of their rows of weights with the adjoint's rows."""

    @abstractmethod
    def birth(self, o: Birth) -> str:
        """For the neurons whose spike could have been born at ``step``: what it would change L by, then the kernel."""

    @abstractmethod
    def gather(self, o: Gather) -> str:
        """Add up the gradient of a connection's weights, after the steps; see also `gather_early`."""

    @abstractmethod
    def gather_delays(self, o: GatherDelays) -> str:
        """Add up the gradient of a connection's delays, after the steps."""

    @abstractmethod
    def feed_input(self, o: FeedInput) -> str:
        """The dot products of `feedback` for every input spike of the trial."""

    # reductions

    @abstractmethod
    def total(self, o: Total) -> str:
        """Sum an integer over the neurons of a population; atomically, where threads share them."""

    @abstractmethod
    def once(self, o: Once) -> str:
        """Run the kernel once a trial, in one thread."""

    @abstractmethod
    def each_step(self, o: EachStep) -> str:
        """Run the kernel for every step and sum what the steps add, in an order that is always the same."""

    # where targets differ in what they keep

    def barrier(self) -> str:
        """Wait until all threads of a trial are here, and see what they have written."""
        return ""

    def gather_early(self) -> str:
        """At ``step`` of the way back: the gradients that are cheaper to sum here than in `gather` and `gather_delays`."""
        return ""

    def restore(self) -> str:
        """Before the way back enters ``step`` - 1: compute its states again, unless all states were stored."""
        return ""


def write(target: Target, operations: Iterable[Operation], stage: str = "") -> str:
    """The text of operations, in order; each that has any begins with a line that says what it does in `stage`."""
    texts = ((o, _one(target, o)) for o in operations)
    return "".join(target.head(o, stage) + text for o, text in texts if text)


def _one(target: Target, o: Operation) -> str:
    method = getattr(target, method_of(o))
    return method([o]) if isinstance(o, (Deliver, Feedback)) else method(o)


def step_forwards(target: Target) -> str:
    """Step ``step``: what ends at its beginning, the arrivals, the step itself with the events at its end."""
    t = target.trial
    arrivals = "".join(target.head(o) for o in t.arrivals)
    delivered = target.deliver(t.arrivals)
    early = "currents, and modes that end:" if t.plan.currents_into else "modes that end:"
    text = write(target, t.early, early) + (arrivals + delivered if delivered else "")
    return text + write(target, t.record) + write(target, t.advance, "step of") + target.barrier()


def compared(target: Target) -> str:
    """The outer losses, between the passes."""
    return "".join(write(target, [o], "outer loss,") + target.barrier() for o in target.trial.compare)


def step_backwards(target: Target) -> str:
    """Step ``step``, from n_steps to 0, where the text leaves the loop.

    All feedback of a step is computed from the adjoint before any jump of that step, but for what births of spikes add to
    its rows.
    """
    t = target.trial
    born = "".join(target.head(o) + target.birth(o) for o in t.births)
    born += target.barrier() if born else ""
    leave = write(target, t.before_jumps, "adjoint rows of") + born + target.gather_early()
    text = f"if (step < {target.last}) {{\n{indent(leave)}}}\n" if leave else ""
    if t.feedback:
        text += "".join(target.head(o) for o in t.feedback)
        text += target.feedback(t.feedback) + target.barrier()
    for o in t.jumps:
        undone = target.undo(o)
        text += target.head(o, "jumps of") + undone if undone else ""
    return f"{text}if (step == {target.first}) break;\n{target.restore()}{write(target, t.retreat, 'step back of')}"


def gathered(target: Target) -> list[str]:
    """The gradients of weights and delays, a text for each."""
    return [write(target, [o]) for o in target.trial.end_back if isinstance(o, (Gather, GatherDelays))]


def finished(target: Target, *, apart: bool = False) -> str:
    """After the steps of the way back: gradients of neuron parameters, weights, delays and, last, of input times.

    Args:
        apart: the texts of `gathered` go into separate kernels.
    """
    end = target.trial.end_back
    text = write(target, (o for o in end if isinstance(o, EachNeuron)), "gradients of parameters of")
    text += "" if apart else "".join(gathered(target))
    inputs = write(target, (o for o in end if isinstance(o, FeedInput)))
    return text + (target.barrier() + inputs if inputs else "")
