"""`IntegerNetwork`: a network whose weights, decays, thresholds and states are integers, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import NetworkError, check_known, whole
from .profile import Profile

READOUTS = ("integral", "end", "max", "first_spike", "count")


@dataclass(frozen=True, eq=False)
class IntegerPopulation:
    """N neurons. Constants are int64 arrays (N,), or (1,) where one value serves all.

    Args:
        name, size, spiking: of the population.
        decay_V, decay_I, decay_B: factors or shifts of the profile.
        threshold: V >= it is a spike. reset: V after one. jump: what B grows by at one.
        adaptive: whether the threshold is that plus B.
        start: V at the beginning of a trial.
        max_spikes: in one step.
        slots: steps of the ring of spikes on their way, longest delay + 1.
        unit: integers for 1 of V.
    """

    name: str
    size: int
    spiking: bool
    decay_V: np.ndarray
    decay_I: np.ndarray
    decay_B: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    jump: np.ndarray
    adaptive: bool
    start: np.ndarray
    max_spikes: int
    slots: int
    unit: float


@dataclass(frozen=True, eq=False)
class IntegerConnection:
    """Synapses from M sources to N targets.

    Args:
        name: of the connection.
        source: index of the population, -1 for input channels. first: its first channel.
        pre: M. target: index of the target population.
        weight: integers, (M, N) if dense, else flat.
        gain: factor of the weights, (1,) or (N,) one for each target.
        start, post, weight_of: of connections that are not dense: synapses of source j are start[j] to start[j + 1],
            each with its target and where its weight stands.
        delay: steps of all synapses. delays: or of each, (M, N) or (S,).
    """

    name: str
    source: int
    first: int
    pre: int
    target: int
    weight: np.ndarray
    gain: np.ndarray
    start: np.ndarray | None = None
    post: np.ndarray | None = None
    weight_of: np.ndarray | None = None
    delay: int = 0
    delays: np.ndarray | None = None

    def matrix(self, size: int) -> np.ndarray:
        """(M, N) int64, what a spike of source j adds to target i."""
        if self.start is None:
            return self.weight.astype(np.int64) * self.gain
        assert self.post is not None and self.weight_of is not None
        full = np.zeros((self.pre, size), np.int64)
        source = np.repeat(np.arange(self.pre), np.diff(self.start))
        np.add.at(full, (source, self.post), self.weight.ravel()[self.weight_of])
        return full * self.gain

    def delay_matrix(self, size: int) -> np.ndarray:
        """(M, N) steps from a spike of source j to its arrival at target i."""
        if self.delays is None:
            return np.full((self.pre, size), self.delay)
        if self.start is None:
            return self.delays
        full = np.zeros((self.pre, size), np.int64)
        full[np.repeat(np.arange(self.pre), np.diff(self.start)), self.post] = self.delays
        return full


@dataclass(frozen=True, eq=False)
class IntegerReadout:
    """What is read of every output, an integer: "integral" sum_k weight_k V_k over the ends of steps, "end" V at the
    end, "max" the largest V, "first_spike" the step at whose end the first spike is, -1 without one, "count" of spikes.

    weights: (T,) of an integral; None: 1."""

    population: int
    kind: str
    weights: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """What `Network.quantise` returns.

    Args:
        profile: how it computes. dt: ms of a step. n_channels: of the input.
        populations, connections: the records; connections of input channels come first.
        values: parameter -> the numbers that the integers stand for, in the shape of the network's parameters: weights
            without units, times in ms.
        readout: of the outputs, if any; see `reading`.
        n_steps: of a trial; 0: a trial may be of any length.

    Example:
        >>> integers = net.quantise("int8", dt=1.0)
        >>> integers.weight_bytes > 0 and sorted(integers.values)[0]
        'hidden.tau_mem'
    """

    profile: Profile
    dt: float
    n_channels: int
    populations: tuple[IntegerPopulation, ...]
    connections: tuple[IntegerConnection, ...]
    values: Mapping[str, np.ndarray]
    readout: IntegerReadout | None = None
    n_steps: int = 0

    def reading(
        self, population: str, kind: str, n_steps: int = 0, weights: np.ndarray | None = None
    ) -> IntegerNetwork:
        """The same network with a readout of `population`.

        Args:
            kind: see `IntegerReadout`. n_steps: of a trial.
            weights: (n_steps,) of an integral, any numbers: they become integers of 16 bits.

        Raises:
            NetworkError: an unknown population or kind, or spikes of neurons that have none.
        """
        index = {p.name: i for i, p in enumerate(self.populations)}
        check_known(population, index, NetworkError, f"no population {population!r} to read (")
        check_known(kind, READOUTS, NetworkError, f"integer networks have no readout {kind!r} (")
        if kind in ("first_spike", "count") and not self.populations[index[population]].spiking:
            raise NetworkError(f"{population!r} never spikes; read its V with 'max', 'end' or 'integral'")
        n_steps = whole(n_steps, "reading: n_steps", NetworkError, 0)
        if weights is not None:
            if n_steps < 1 or np.shape(weights) != (n_steps,):
                raise NetworkError(f"weights of a readout must be ({n_steps},), one a step, got {np.shape(weights)}")
            if not np.isfinite(weights).all():
                raise NetworkError("weights of a readout must be finite")
            largest = float(np.abs(weights).max())
            weights = np.rint(np.asarray(weights) * (32767 / largest if largest else 1.0)).astype(np.int64)
        return replace(self, readout=IntegerReadout(index[population], kind, weights), n_steps=n_steps)

    @cached_property
    def first_neuron(self) -> tuple[int, ...]:
        """Of every population, in the numbering of all neurons; behind the last, their number."""
        return tuple(np.cumsum([0, *(p.size for p in self.populations)]).tolist())

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as they are stored."""
        return sum(c.weight.size for c in self.connections) * (1 if self.profile.weight_bits <= 8 else 2)
