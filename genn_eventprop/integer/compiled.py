"""An integer network run by its own C file, compiled here: the results of `simulate`, bit for bit, and much faster."""

from __future__ import annotations

import ctypes

import numpy as np

from ..errors import NetworkError
from ..toolchain.load import build
from .c_file import runner_source, table_values
from .network import IntegerNetwork
from .simulate import IntegerTrial, as_counts


class CompiledNetwork:
    """The C file of an integer network.

    Args:
        network: what to run.

    Raises:
        ToolchainError: no C compiler.

    Example:
        >>> compiled = CompiledNetwork(net.quantise("int8", dt=1.0))
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self._library = build(runner_source(network), "c")
        self._library.model_size.restype = ctypes.c_ulong
        self._library.model_run.restype = None
        p, n = ctypes.c_void_p, ctypes.c_int64
        self._library.model_run.argtypes = [p, n, n, *([p] * 8)]

    def load(self, network: IntegerNetwork) -> None:
        """Take the numbers of another network of the same shape, without a compilation.

        Raises:
            NetworkError: of another shape or profile.
        """
        old, new = table_values(self.network), table_values(network)
        shapes = [[(name, values.shape, kind) for name, values, kind in tables] for tables in (old, new)]
        rest = [(n.profile, n.n_steps, [p.slots for p in n.populations]) for n in (self.network, network)]
        if shapes[0] != shapes[1] or rest[0] != rest[1]:
            raise NetworkError("the numbers of another integer network do not fit into the compiled one")
        addresses = (ctypes.c_void_p * len(new)).in_dll(self._library, "model_tables")
        for address, (_, values, kind) in zip(addresses, new):
            bits = np.ascontiguousarray(values.ravel(), np.dtype(kind.removesuffix("_t")))
            ctypes.memmove(address, bits.ctypes.data, bits.nbytes)
        self.network = network

    @property
    def ram(self) -> int:
        """Bytes of the state, as the compiler lays it out."""
        return int(self._library.model_size())

    def run(self, counts: np.ndarray, *, record: bool = False) -> IntegerTrial:
        """As `simulate`."""
        network, counts = self.network, as_counts(self.network, counts)
        batch, steps, _ = counts.shape
        shape = (batch, steps, network.first_neuron[-1])
        spikes = np.zeros(shape, np.uint8)
        V, current = (np.zeros(shape if record else (0, 0, 0), np.int32) for _ in range(2))
        read = network.readout
        outputs = network.populations[read.population].size if read else 1
        limited, classes = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        readout = np.zeros((batch, outputs), np.int64)
        now = np.zeros(int(counts.sum(axis=2).max(initial=0)) + 1, np.intc)
        memory = np.zeros(self.ram, np.uint8)
        arrays = (now, memory, spikes, V if record else None, current if record else None, limited, readout, classes)
        at = (None if a is None else a.ctypes.data for a in arrays)
        self._library.model_run(counts.ctypes.data, batch, steps, *at)
        return IntegerTrial(
            self._parts(spikes), self._parts(V) if record else {}, self._parts(current) if record else {}, limited,
            readout if read else None, classes if read else None,
        )  # fmt: skip

    def _parts(self, array: np.ndarray) -> dict[str, np.ndarray]:
        first = self.network.first_neuron
        return {p.name: array[:, :, first[i] : first[i + 1]] for i, p in enumerate(self.network.populations)}
