"""What the targets of `program.trial` in C++ and CUDA share: the layout of buffers, loops over steps and synapses.

In the text ``t`` points to the struct `Trial`. In loops over synapses ``source`` is the neuron that spiked, ``n`` the
target and ``w`` the index of the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..modelling.connectivity import WindowRows
from ..program.nodes import Buffer
from ..program.trial import Trial
from .statements import TYPES, indent

DATA = (
    Buffer("steps", ("spikes",), "int", "host"), Buffer("channels", ("spikes",), "int", "host"),
    Buffer("offsets", ("samples",), "long", "host"), Buffer("samples", ("batch",), "long", "host"),
    Buffer("quantiles", (4096,), "real", "host"),
)  # fmt: skip
RANGE = "const int64_t from = t->offsets[t->samples[sample]], to = t->offsets[t->samples[sample] + 1];\n"
INTEGERS = ("batch", "n_points", "training", "n_nodes")


class Axis(NamedTuple):
    """Windows along one axis of an image, as names of lists: where those of a pixel start, their targets and weights."""

    start: str
    target: str
    weight: str


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

    # the frame of a trial

    def _before_steps(self) -> str:
        """``step``, and for each connection of the input the next spike to arrive, ``next<i>``."""
        following = (f"int64_t next{i} = from;\n" for i in range(len(self.plan.connections)) if self._from_input(i))
        return "".join(following) + "int64_t step = 0;\n"

    def _steps(self, body: str) -> str:
        return f"for (step = 0; step < t->n_steps; ++step) {{\n{indent(body)}}}\n"

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

    def _of_input(self, connection: int, body: str) -> str:
        """Code for a ``source`` among all input channels; does nothing for channels of other inputs."""
        c = self.plan.connections[connection]
        if c.channels is None:
            return body
        inner = indent(f"const int32_t source = channel - {c.channels[0]};\n{body}", 2)
        test = f"channel >= {c.channels[0]} && channel < {c.channels[1]}"
        return f"{{\n    const int32_t channel = source;\n    if ({test}) {{\n{inner}    }}\n}}\n"

    def _source(self, connection: int) -> int:
        """Number of the population that sends the spikes of a connection."""
        names = [p.name for p in self.plan.populations]
        return names.index(self.plan.connections[connection].source)

    def _each_synapse(self, i: int, body: str, first: str = "", stride: int | str = 1) -> str:
        """Code for every synapse of ``source``, `stride` threads side by side."""
        c = self.plan.connections[i]
        if c.form == "dense":
            head = f"for (int32_t n = {first or 0}; n < {c.post}; n += {stride}) {{\n"
            return head + indent(f"const int64_t w = (int64_t)source * {c.post} + n;\n{body}") + "}\n"
        if c.windows is not None:
            return self._each_of_windows(i, c.windows, body, first, stride)
        start = f"t->c{i}_start"
        begin, end = f"{start}[source]", f"{start}[source + 1]"
        head = f"for (int32_t s = {begin}{first and f' + {first}'}; s < {end}; s += {stride}) {{\n"
        target, weight = f"t->c{i}_target", f"t->c{i}_weight_of"
        return head + indent(f"const int32_t n = {target}[s], w = {weight}[s];\n{body}") + "}\n"

    def _each_of_windows(self, i: int, rows: WindowRows, body: str, first: str, stride: int | str) -> str:
        """The same for windows: row by row, the targets of a row side by side."""
        down, across = self._window_axes(i)
        text = f"""\
{self._windows_over(i, rows)}for (int32_t a = {down.start}[y]; a < {down.start}[y + 1]; ++a) {{
    for (int32_t b = {across.start}[x]; b < {across.start}[x + 1]; ++b) {{
        const int32_t target = {down.target}[a] + {across.target}[b] + block;
        const int32_t weight = {down.weight}[a] + {across.weight}[b] + source % {rows.depth} * {rows.target[2]} + block;
        for (int32_t o = {first or 0}; o < {rows.width}; o += {stride}) {{
            const int32_t n = target + o, w = weight + o;
{indent(body, 3)}        }}
    }}
}}
"""
        return f"{{\n{indent(text)}}}\n"

    def _windows_over(self, i: int, rows: WindowRows) -> str:
        """Declares where in the image `source` is, and the first channel that its group leads to."""
        _, width, channels = rows.source
        return f"""\
const int32_t pixel = source / {channels}, y = pixel / {width}, x = pixel % {width};
const int32_t block = source % {channels} / {rows.depth} * {rows.width};
"""

    def _window_axes(self, i: int) -> tuple[Axis, Axis]:
        """The lists of windows of a connection, down and across its image."""
        down, across = (
            Axis(*(f"t->c{i}_{name}{part}" for part in ("", "_target", "_weight"))) for name in ("down", "across")
        )
        return down, across

    def _stored_weight(self, i: int, place: str) -> str:
        """A weight, by its place in those of a connection."""
        element = f"t->c{i}_weight[{place}]"
        return f"float_of({element})" if self.trial.buffers[f"c{i}_weight"].kind == "half" else element

    def _place_of_delay(self, i: int) -> str:
        """Index of the delay of a synapse."""
        delays = self.plan.connections[i].delays
        assert delays is not None
        return {"synaptic": "w", "axonal": "source", "dendritic": "n"}[delays.kind]

    def _delay_of(self, i: int) -> str:
        """Steps from a spike to its arrival through a synapse."""
        if self.plan.connections[i].delays:
            return f"t->c{i}_delays[{self._place_of_delay(i)}]"
        return f"t->c{i}_delay"

    def _ring(self, i: int, part: str, step: str, n: str = "n") -> str:
        """The element of the ring buffer for a target and a step of arrival."""
        delays, ring = self.trial.delays[i], f"t->c{i}_ring"
        assert delays is not None
        b, at = delays.arriving[part], f"{step} % {ring}"
        at = f"(sample * {ring} + {at})" if self._of_sample(b) else f"({at})"
        return f"t->{b.name}[{at} * {self.plan.connections[i].post} + {n}]"
