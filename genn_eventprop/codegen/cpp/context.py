"""What the generators of a network share: how the text calls things, sizes, and the layout of the gradient.

In the text, population i is called ``p<i>`` and connection i ``c<i>``; names of users stand only behind such a prefix,
or in comments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from importlib import resources
from typing import TypeVar

from ...modelling.connectivity import WindowRows
from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...program.host_values import prefixed_losses
from ...program.nodes import Buffer
from ...program.population import RECORD, RECORDED
from ...program.trial import make_trial
from ..layout import DATA
from ..printer import C_REAL

T = TypeVar("T")

INCLUDE = re.compile(r'^#include "(.*)"\n', re.M)

PAD = 16  # neurons are padded to a multiple of 16, one cache line of float32
POLL = "if (step % 64 == 0) args.host->poll();"
CALL = (
    "n_steps", "batch", "half", "n_slices", "first_slice", "whole_batch", "whole_slices", "training", "record", RECORDED,
)  # fmt: skip
"""Integers of every call; see `batch.hpp`."""


def read(name: str) -> str:
    """The text of a C++ file in this folder, with those of this folder that it includes."""
    text = resources.files(__package__).joinpath(name).read_text()
    return INCLUDE.sub(lambda file: read(file[1]), text)


def exists(name: str) -> bool:
    """Whether this folder has such a file."""
    return resources.files(__package__).joinpath(name).is_file()


def padded(size: int, to: int = PAD) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // to) * to


def unique(names: Iterable[T]) -> list[T]:
    """Without duplicates, in order."""
    return list(dict.fromkeys(names))


def windows_of(rows: WindowRows, prefix: str) -> str:
    """The windows of a connection for windows.hpp; prefix: of its arrays."""
    sizes = f"{rows.source[1]}, {rows.depth}, {rows.width}, {rows.groups}, {rows.cells}"
    axes = (f"{{{prefix}_{a}, {prefix}_{a}_target, {prefix}_{a}_weight}}" for a in ("down", "across"))
    return f"Windows<{sizes}>{{{', '.join(axes)}, {prefix}_weight}}"


def runs_in_halves(c: ConnectionRecord, plan: Plan) -> bool:
    """Whether native can run the rows of a connection as float16; elsewhere it has the rounded weights as float32."""
    return c.by_rows and plan.spike_times == "grid"


def stream(c: ConnectionRecord) -> str:
    """Prefix of the arrays of input spikes of a connection; "" if the network has a single input."""
    return f"in_{c.channels[0]}_{c.channels[1]}_" if c.channels else ""


def by_drive(population: str, drive: str) -> str:
    """The array of dL/d(drive), for the array of a drive."""
    receptor, _, part = drive.rpartition("_")
    return f"{population}_w_{receptor}_by_{part}"


def streams(plan: Plan) -> dict[str, tuple[int, int]]:
    """If there are several inputs: prefix -> channels, for all of them."""
    return {stream(c): c.channels for c in plan.connections if c.channels}


def ends(plan: Plan) -> list[str]:
    """Declares the input spikes of a trial and their range, `from` and `to`, for each of several inputs too."""
    lines = []
    for s in ("", *streams(plan)):
        at = f"args.{s}offsets[args.samples[sample]"
        lines.append(f"[[maybe_unused]] const int64_t {s}from = {at}], {s}to = {at} + 1];")
        spikes = f"args.{s}steps, args.{s}channels, {s}from, {s}to"
        lines.append(f"[[maybe_unused]] const InputSpikes {s}input{{{spikes}}};")
    return lines


class Context:
    """A plan, and what its generators look up in it.

    split: the way back is a call of its own, which gets dL/d(readout) and returns gradients of input times; see `engines/contract/split.py`.
    carry: trials may go on from the end of others; see `engines/contract/state.py`. halves: rows of weights are float16.
    pieces: a call runs a piece of a recording one way, see `grid/pieces.py`. device: weights and gradients have no padding.
    gradients: parameter -> (offset, rows, padded columns) in the flat gradient of `gradient_size` numbers.
    trial: the operations, with spikes on the grid; with exact spike times there is none.
    """

    def __init__(
        self, plan: Plan, dtype: str, split: bool = False, carry: bool = False, halves: bool = False,
        pieces: bool = False, device: bool = False,
    ) -> None:  # fmt: skip
        self.plan, self.split, self.carry, self.pieces, self.device = plan, split, carry, pieces, device
        self.exact = plan.spike_times == "exact"
        self.halves = halves and any(runs_in_halves(c, plan) for c in plan.connections)
        self.real = C_REAL[dtype]
        self.trial = None
        if not self.exact:
            self.trial = make_trial(plan, split=split, carry=carry, record=not pieces, evaluates=True, pieces=pieces)
        self.gradients, self.gradient_size = self.gradient_layout()

    def gradient_layout(self) -> tuple[dict[str, tuple[int, int, int]], int]:
        layout, offset = {}, 0
        pad = 1 if self.device else PAD
        for c in self.plan.weighted:  # those of currents are filled in by the host
            for name, shape in ((n, s) for n, s in c.learns.items() if n not in layout):
                rows, columns = (
                    (shape[0], padded(shape[1], pad)) if len(shape) == 2 else (1, padded(math.prod(shape), pad))
                )
                layout[name] = (offset, rows, columns)
                offset += rows * columns
        for p in self.plan.populations:
            for n in p.trainable:
                layout[f"{p.name}.{n}"] = (offset, 1, padded(p.size, pad))
                offset += padded(p.size, pad)
        return layout, offset

    # names in the text

    def p(self, name: str) -> str:
        """A population; "in" for the input."""
        return f"p{self.plan.numbers[name]}" if name in self.plan.numbers else "in"

    def c(self, c: ConnectionRecord) -> str:
        """A connection."""
        return f"c{[other.name for other in self.plan.connections].index(c.name)}"

    @property
    def out(self) -> str:
        """Prefix of the arrays of a trial (role `w`) of the population that the main loss reads."""
        return f"{self.p(self.plan.output.name)}_w_"

    def of_weights(self, c: ConnectionRecord) -> str:
        """Where the gradient of the weights of a connection stands in a slice."""
        return f"slice + AT_{self.c(c)}_gradient" if c.trainable else "nullptr"

    def of_delays(self, c: ConnectionRecord) -> str:
        """The same of its delays."""
        return f"slice + AT_{self.c(c)}_delay_gradient" if c.learns_delays else "nullptr"

    # facts

    @property
    def stochastic(self) -> list[tuple[str, PopulationRecord]]:
        """("noise" or "dropout", population) of all that is random; see `engines/contract/noise.py`."""
        return [(kind, p) for p in self.plan.populations for kind in ("noise", "dropout") if getattr(p, kind) > 0]

    @property
    def ahead(self) -> bool:
        """Whether arrivals are looked ahead for, through tables of synapses or with individual delays."""
        return not self.exact and not all(c.by_rows or c.windows for c in self.plan.connections)

    @property
    def spiking(self) -> list[PopulationRecord]:
        return [p for p in self.plan.populations if p.spiking]

    @property
    def delayed(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.delay > 0]

    @property
    def from_input(self) -> list[ConnectionRecord]:
        return [c for c in self.plan.connections if c.source == self.plan.input.name]

    def drives(self, p: PopulationRecord) -> dict[str, str]:
        """Name of each array of drives of a population -> the state that it sets: currents, and with exact spike times
        their slopes."""
        drives = {f"{r}_drive": state for r, (state, _) in p.drives.items()}
        return drives | {f"{r}_rise": slope for r, (_, slope) in p.drives.items() if slope and self.exact}

    # what the host hands over or takes back, whatever the spike times

    def arrays(self) -> list[Buffer]:
        """Of a batch: its input, readouts, losses and gradients."""
        real, buffers = "real", [*DATA[:4]]
        buffers += [DATA[4]] if any(kind == "noise" for kind, _ in self.stochastic) else []
        for prefix, loss in prefixed_losses(self.plan):
            buffers.append(Buffer(f"{self.p(loss.output)}_w_r", ("batch", loss.n_classes), "double", "result"))
            buffers += [] if self.split else [Buffer(f"{prefix}loss", ("batch",), "double", "result")]
        for name in self.plan.loss.also:
            rows = ("n_points",) if name == "trace" else ()
            buffers.append(Buffer(f"{self.out}r_{name}", ("batch", *rows, self.plan.output.size), "double", "result"))
        if self.split:
            buffers += [Buffer("input_gradient", ("input_spikes",), real, "result")]
            buffers += [Buffer("input_start", ("batch",), "long", "host")]
        buffers += [Buffer(f"{self.p(p.name)}_w_count", ("batch", p.size), "int", "result") for p in self.spiking]
        buffers += [Buffer("guarded", ("n_slices",), "long", "result")]
        for i, p in enumerate(self.plan.populations):
            axes = ("batch", RECORDED, 2 * len(p.derived.states), padded(p.size))
            buffers.append(Buffer(f"p{i}_{RECORD}", axes, real, "result"))
            each = ("batch", f"p{i}_changes" if self.exact else "n_steps", padded(p.size))
            buffers += [Buffer(by_drive(f"p{i}", n), each, real, "result") for n in self.drives(p)]
        size = self.gradient_size
        return [
            *buffers,
            Buffer("slices", ("n_slices", size), real, "gradient"),
            Buffer("gradient", (size,), real, "gradient"),
        ]

    def integers(self) -> list[str]:
        """Whole numbers of a call."""
        more = ["input_gradients"] if self.split else []
        stored = not self.exact and any(p.stores_states for p in self.plan.populations)
        more += ["segment"] if stored else []
        return [*CALL, *more]
