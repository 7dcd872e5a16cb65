"""What the targets of `program.trial` in C and in CUDA have in common: where elements stand, who is connected to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..program.trial import Operation, Trial


class Layout:
    """A trial as text; a target adds its operations and how it writes the length of an axis."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.plan = trial, trial.plan

    def _length(self, axis: int | str) -> str:
        raise NotImplementedError

    def _operation(self, o: Operation) -> str:
        raise NotImplementedError

    def _all(self, operations: Iterable[Operation]) -> str:
        return "".join(self._operation(o) for o in operations)

    def _flat(self, axes: Sequence[int | str], index: Sequence[str]) -> str:
        """The position of an element in memory."""
        at = index[0]
        for length, i in zip(axes[1:], index[1:]):
            at = f"({at}) * {self._length(length)} + {i}" if " " in at else f"{at} * {self._length(length)} + {i}"
        return at

    def _words(self, population: int) -> int:
        """Of a row of bits, a bit a neuron."""
        return -(-self.plan.populations[population].size // 32)

    def _plain(self, connection: int) -> bool:
        """Whether a connection is dense with one delay."""
        c = self.plan.connections[connection]
        return c.form == "dense" and c.delays is None

    def _from_input(self, connection: int) -> bool:
        return self.plan.connections[connection].source == self.plan.input.name

    def _source(self, connection: int) -> int:
        """Number of the population that sends the spikes of a connection."""
        names = [p.name for p in self.plan.populations]
        return names.index(self.plan.connections[connection].source)
