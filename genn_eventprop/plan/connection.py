"""The record of a connection."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..modelling.connectivity import Synapses, WindowRows


@dataclass(frozen=True)
class DelayRecord:
    """Delays that are parameter values: an array of shape `shape`, in ms, between 0 and `limit`.

    kind: "synaptic": one per weight; "axonal": one per source, (M,); "dendritic": one per target, (N,).
    """

    kind: str
    shape: tuple[int, ...]
    limit: float
    trainable: bool


@dataclass(frozen=True)
class ConnectionRecord:
    """Synapses from `source` to `target`'s receptor, with weights of shape `weight_shape`.

    form: "dense": weights (M, N); "windows": rows of weights, `windows`, with one delay of all; "synapses": a table
    (`modelling.Synapses`), `table` where it follows from shapes, None where it comes from the parameter value `pairs`.
    `synapse_tables.Tables` has a table of everything that is not dense. delay: of all synapses in ms, `delay_steps` on
    the grid; delays: of single ones, as the parameter value `delays_name`; `delay` is 0 then. trainable: the weights
    are learned; learned: which of them, None: all; mask: which weights of a dense connection are synapses, None: all;
    sign: 1 or -1 that weights keep, of sources or weights, see `Connection`.
    channels: of several inputs (first, last + 1) of those that are its sources; None: all, or no input. shares: name of
    the connection whose weights these are; "" where they are not shared.
    """

    name: str
    source: str
    target: str
    pre: int
    post: int
    receptor: str
    delay: float
    delay_steps: int
    trainable: bool
    form: str
    weight_shape: tuple[int, ...]
    table: Synapses | None = field(default=None, compare=False)
    windows: WindowRows | None = field(default=None, compare=False)
    delays: DelayRecord | None = None
    learned: np.ndarray | None = field(default=None, compare=False)
    mask: np.ndarray | None = field(default=None, compare=False)
    sign: np.ndarray | None = field(default=None, compare=False)
    channels: tuple[int, int] | None = None
    shares: str = ""

    @property
    def weight(self) -> str:
        return f"{self.shares or self.name}.weight"

    @property
    def delays_name(self) -> str:
        return f"{self.name}.delay"

    @property
    def pairs(self) -> str:
        return f"{self.name}.pairs"

    @property
    def drawn(self) -> bool:
        """Whether the synapses are a parameter value."""
        return self.form == "synapses" and self.table is None

    @property
    def learns_delays(self) -> bool:
        return self.delays is not None and self.delays.trainable

    @property
    def synapses(self) -> int:
        """S, the number of synapses."""
        listed = self.table or self.windows
        return math.prod(self.weight_shape) if listed is None else len(listed)

    @property
    def values(self) -> dict[str, tuple[int, ...]]:
        """Parameter -> shape, for every parameter of this connection; shared weights belong to another one."""
        shapes: dict[str, tuple[int, ...]] = {self.pairs: (self.weight_shape[0], 2)} if self.drawn else {}
        shapes |= {} if self.shares else {self.weight: self.weight_shape}
        return shapes | ({self.delays_name: self.delays.shape} if self.delays else {})

    # how an arrival finds its weights: what `native` and its tables of synapses and delays are told by

    @property
    def by_rows(self) -> bool:
        """Whether an arrival adds a row of a matrix: dense weights with a single delay."""
        return self.form == "dense" and self.delays is None

    @property
    def by_synapses(self) -> bool:
        """Whether a spike is sent synapse by synapse: through a table, or dense weights with a delay for each."""
        return self.form == "synapses" or (self.delays is not None and self.delays.kind == "synaptic")

    @property
    def axonal(self) -> bool:
        """Whether dense weights have a delay for each source."""
        return not self.by_synapses and self.delays is not None and self.delays.kind == "axonal"

    @property
    def dendritic(self) -> bool:
        """Whether dense weights have a delay for each target."""
        return not self.by_synapses and self.delays is not None and self.delays.kind == "dendritic"

    @property
    def spread(self) -> bool:
        """Whether the weights that arrive at one time are not a row of a matrix."""
        return self.by_synapses or self.dendritic or self.windows is not None

    @property
    def learns(self) -> dict[str, tuple[int, ...]]:
        """Parameter -> shape, of what is learned."""
        shapes = {self.weight: self.weight_shape} if self.trainable else {}
        return shapes | ({self.delays_name: self.delays.shape} if self.delays and self.delays.trainable else {})

    @property
    def listed(self) -> bool:
        """Whether something is learned of a table of synapses, or of rows of windows."""
        return self.form != "dense" and bool(self.learns)
