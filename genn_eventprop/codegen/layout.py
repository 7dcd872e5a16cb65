"""The layout of the buffers of a program, which targets in C++ and CUDA share.

In the text ``t`` points to the struct `Trial`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..program.lower import DATA as OF_DATA_SET
from ..program.nodes import Buffer
from ..program.trial import Trial
from .statements import TYPES, indent

DATA = (*OF_DATA_SET, Buffer("quantiles", (4096,), "real", "host"))
RANGE = "const int64_t from = t->offsets[t->samples[sample]], to = t->offsets[t->samples[sample] + 1];\n"
INTEGERS = ("batch", "n_points", "training", "n_nodes")


class Layout:
    """A trial as text; a target adds its operations.

    Args:
        buffers, integers: those of the target, besides those of the trial.
    """

    arrays: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]
    numbers: tuple[Buffer, ...] = ()  # in the struct, 8 bytes each whatever their kind
    state: tuple[Buffer, ...] = ()  # numbers in the struct that the host does not give

    def __init__(self, trial: Trial, buffers: Sequence[Buffer] = (), integers: Sequence[str] = ()) -> None:
        self.trial, self.plan = trial, trial.plan
        delays = [f"c{i}_delay" for i in range(len(self.plan.connections))]
        rings = [f"c{i}_ring" for i, c in enumerate(self.plan.connections) if c.delays]
        self.declare((*DATA, *buffers, *trial.buffers.values()), (*INTEGERS, *integers), (*delays, *rings))

    def declare(self, buffers: Iterable[Buffer], integers: Iterable[str], more: Iterable[str] = ()) -> None:
        """What the host hands over, each declared once: arrays, and numbers by their kinds."""
        self.buffers = tuple({b.name: b for b in buffers}.values())
        self.arrays = tuple(b for b in self.buffers if b.axes)
        numbers = [b for b in self.buffers if not b.axes and b.role == "host"]
        self.doubles = tuple(b for b in numbers if b.kind in ("real", "double"))
        whole = (b.name for b in numbers if b.kind in ("int", "long"))
        self.integers = tuple(dict.fromkeys((*integers, *whole, *more)))

    def struct(self, number: str = "") -> str:
        """The struct; number: the type of all numbers that are not integers; if empty, that of each buffer."""
        const = {"number": "const ", "host": "const "}
        fields = [f"{const.get(b.role, '')}{TYPES[b.kind]} *{b.name};" for b in self.arrays]
        fields += [f"alignas(8) {TYPES[b.kind]} {b.name};" for b in self.numbers]
        fields += [f"{number or TYPES[b.kind]} {b.name};" for b in (*self.doubles, *self.state)]
        fields += [f"int64_t {n};" for n in self.integers]
        return "typedef struct {\n" + indent("\n".join(fields)) + "} Trial;\n"

    # elements

    def _of_sample(self, b: Buffer) -> bool:
        """Whether a buffer has a part for every sample of the batch."""
        raise NotImplementedError

    def _length(self, axis: int | str) -> str:
        return str(axis) if isinstance(axis, int) else f"t->{axis}"

    def _flat(self, axes: Sequence[int | str], index: Sequence[str]) -> str:
        """The position of an element in memory."""
        at = index[0]
        for length, i in zip(axes[1:], index[1:]):
            at = f"({at}) * {self._length(length)} + {i}" if " " in at else f"{at} * {self._length(length)} + {i}"
        return at

    def _in_struct(self, b: Buffer, index: Sequence[str]) -> str:
        """An element of a buffer of the struct."""
        if not b.axes:
            return f"t->{b.name}"
        every = self._of_sample(b)
        axes, index = (["batch", *b.axes], ["sample", *index]) if every else (list(b.axes), index)
        return f"t->{b.name}[{self._flat(axes, index)}]"

    # spikes

    def _words(self, population: int) -> int:
        """The number of words of a row of bits, one bit per neuron."""
        return -(-self.plan.populations[population].size // 32)

    # connections

    def _plain(self, connection: int) -> bool:
        """Whether a connection is dense with one delay."""
        return self.plan.connections[connection].by_rows

    def _from_input(self, connection: int) -> bool:
        return self.plan.connections[connection].source == self.plan.input.name

    def _source(self, connection: int) -> int:
        """Number of the population that sends the spikes of a connection."""
        return self.plan.numbers[self.plan.connections[connection].source]
