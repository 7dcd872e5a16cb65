"""An integer network run by NumPy: the definition of what the C file computes, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import NetworkError
from .network import IntegerNetwork, IntegerPopulation
from .profile import Profile


@dataclass(frozen=True, eq=False)
class IntegerTrial:
    """Samples run forwards.

    Args:
        spikes: population -> (B, T, N) uint8, spikes at the end of each step.
        V, I: population -> (B, T, N) int32, at the end of each step; empty unless recorded.
        limited: (B,) how often a state was cut to its bits.
        readout: (B, K) int64 if the network has one. classes: (B,) int64, -1 where no output decides.

    Example:
        >>> from genn_eventprop.integer import simulate
        >>> trial = simulate(net.quantise("loihi2"), np.ones((2, 10, 4), np.uint8), record=True)
        >>> trial.V["output"].shape, trial.V["output"].dtype
        ((2, 10, 2), dtype('int32'))
    """

    spikes: dict[str, np.ndarray]
    V: dict[str, np.ndarray]
    I: dict[str, np.ndarray]  # noqa: E741
    limited: np.ndarray
    readout: np.ndarray | None
    classes: np.ndarray | None


def as_counts(network: IntegerNetwork, counts: np.ndarray) -> np.ndarray:
    """Input spikes (B, T, M) uint8 of every channel in every step, checked.

    Raises:
        NetworkError: another shape or type, or a trial of another length.
    """
    array = np.asarray(counts)
    shape_fits = array.ndim == 3 and array.shape[2] == network.n_channels
    if not shape_fits or array.dtype.kind not in "iub" or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        raise NetworkError(
            f"input must be spike counts 0 to 255 of shape (samples, steps, {network.n_channels}), got "
            f"{array.dtype} {array.shape}"
        )
    if array.shape[1] != (network.n_steps or max(array.shape[1], 1)):
        raise NetworkError(f"a trial has {network.n_steps or 'one or more'} steps, the input has {array.shape[1]}")
    return np.ascontiguousarray(array, np.uint8)


def simulate(network: IntegerNetwork, counts: np.ndarray, *, record: bool = False) -> IntegerTrial:
    """Run input spikes through an integer network.

    Args:
        network: what `Network.quantise` returned.
        counts: (B, T, M) spikes of every channel in every step. record: also V and I.

    Raises:
        NetworkError: input of another shape.

    Example:
        >>> from genn_eventprop.integer import simulate
        >>> simulate(net.quantise("int8"), np.ones((2, 10, 4), np.uint8)).spikes["hidden"].shape
        (2, 10, 8)
    """
    counts = as_counts(network, counts)
    B, T, _ = counts.shape
    parts = [_Population(network, i, B) for i in range(len(network.populations))]
    ways = [_Way(network, k, parts) for k in range(len(network.connections))]
    spikes = {p.name: np.zeros((B, T, p.size), np.uint8) for p in network.populations}
    V = {p.name: np.zeros((B, T, p.size), np.int32) for p in network.populations}
    current = {p.name: np.zeros((B, T, p.size), np.int32) for p in network.populations}
    limit = network.profile.max_input_spikes
    for k in range(T):
        now = counts[:, k].astype(np.int64)
        now = np.minimum(now, limit) if limit else now
        for way in ways:
            way.deliver(now, k)
        for part in parts:
            part.step(k)
        for part in parts:
            name = part.record.name
            spikes[name][:, k], V[name][:, k], current[name][:, k] = part.spikes, part.V, part.I
    readout = _read(network, spikes, V) if network.readout is not None else None
    classes = None if readout is None else classes_of(readout, network.readout.kind)  # type: ignore[union-attr]
    limited = sum((part.limited for part in parts), np.zeros(B, np.int64))
    return IntegerTrial(spikes, V if record else {}, current if record else {}, limited, readout, classes)


class _Population:
    """B times N neurons."""

    def __init__(self, network: IntegerNetwork, index: int, batch: int) -> None:
        self.profile, self.record = network.profile, network.populations[index]
        self.first, self.total = network.first_neuron[index], network.first_neuron[-1]
        p, self.limited = self.record, np.zeros(batch, np.int64)
        self.V = np.broadcast_to(p.start, (batch, p.size)).astype(np.int64)
        self.I, self.B, self.spikes = (np.zeros((batch, p.size), np.int64) for _ in range(3))
        # a machine that limits every arrival adds it to I at once, if none is on its way for longer
        self.direct = self.profile.arrivals == "each" and p.slots == 1
        # what arrives in a step is added modulo 2^32 where it is added before it is limited
        kind = np.int32 if self.profile.arrivals == "sum" else np.int64
        self.ring = np.zeros((p.slots, batch, p.size), kind)

    def limit(self, x: np.ndarray) -> np.ndarray:
        cut = np.clip(x, self.profile.state_min, self.profile.state_max)
        self.limited += (cut != x).sum(axis=1)
        return cut

    def step(self, k: int) -> None:
        p, profile = self.record, self.profile
        for operation in profile.order:
            if operation == "arrive" and not self.direct:
                self._arrive(k % p.slots)
            elif operation == "decay":
                self.I = self._decayed(self.I, p.decay_I, k, 0)
            elif operation == "membrane":
                kept = self._decayed(self.V, p.decay_V, k, 1)
                if profile.decay == "shift":
                    self.V = self.limit(self.V + self.limit(self.I - (self.V - kept)))
                else:
                    self.V = self.limit(kept + self.I)
                if p.adaptive:
                    self.B = self._decayed(self.B, p.decay_B, k, 2)
        self._spike(p)

    def _arrive(self, slot: int) -> None:
        x, profile = self.I + self.ring[slot], self.profile
        self.ring[slot] = 0
        if profile.overflow == "saturate":
            self.I = self.limit(x)
            return
        top = profile.state_max + 1  # Lava's fixed-point LIF lets the current reach 2^23
        turned = (x + top - 1 & 2 * top - 1) - top + 1
        self.limited += (turned != x).sum(axis=1)
        self.I = turned

    def _decayed(self, x: np.ndarray, decay: np.ndarray, k: int, state: int) -> np.ndarray:
        profile, bits = self.profile, self.profile.decay_bits
        if profile.decay == "shift":
            change = x >> decay
            return x - np.where(change == 0, np.sign(x), change)
        product = x * decay
        if profile.rounding == "zero":
            return np.sign(product) * (np.abs(product) >> bits)
        if profile.rounding == "nearest":
            product = product + (1 << (bits - 1))
        elif profile.rounding == "stochastic":
            neurons = self.first + np.arange(self.record.size, dtype=np.uint64)
            product = product + (random_bits(profile, k, neurons, self.total, state) >> np.uint64(32 - bits)).astype(
                np.int64
            )
        return product >> bits

    def _spike(self, p: IntegerPopulation) -> None:
        self.spikes = np.zeros_like(self.V)
        if not p.spiking:
            return
        for _ in range(p.max_spikes):
            above = self.V >= p.threshold + (self.B if p.adaptive else 0)
            if not above.any():
                break
            self.spikes += above
            reset = self.V - p.threshold if self.profile.reset == "subtract" else p.reset
            self.V = np.where(above, reset, self.V)
            if p.adaptive:
                self.B = self.limit(np.where(above, self.B + p.jump, self.B))


class _Way:
    """A connection: what each of its spikes adds, by delay."""

    def __init__(self, network: IntegerNetwork, index: int, parts: list[_Population]) -> None:
        c = self.record = network.connections[index]
        self.each = network.profile.arrivals == "each"
        self.target, self.source = parts[c.target], None if c.source < 0 else parts[c.source]
        size = network.populations[c.target].size
        matrix, delays = c.matrix(size), c.delay_matrix(size)
        steps = np.unique(delays[matrix != 0]) if (matrix != 0).any() else np.zeros(0, np.int64)
        # products of whole numbers in float64 are exact below 2^53, and many times faster than those of integers
        self.by_delay = [(int(d), np.where(delays == d, matrix, 0).astype(np.float64)) for d in steps]

    def deliver(self, now: np.ndarray, k: int) -> None:
        c, to = self.record, self.target
        counts = now[:, c.first : c.first + c.pre] if self.source is None else self.source.spikes
        if not counts.any():
            return
        for delay, matrix in self.by_delay:
            slot = (k + delay) % to.record.slots
            reached = to.I if to.direct else to.ring[slot]
            reached[...] = self._each(reached, counts, matrix) if self.each else reached + _times(counts, matrix)

    def _each(self, x: np.ndarray, counts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """`x` after one arrival after the other, each of them limited."""
        profile = self.target.profile
        up, down = _times(counts, np.maximum(matrix, 0)), _times(counts, np.minimum(matrix, 0))
        # where even all positive, and all negative, arrivals alone stay within the bits, order does not matter
        if (x + up).max() <= profile.state_max and (x + down).min() >= profile.state_min:
            return x + up + down
        for j in np.flatnonzero(counts.any(axis=0)):
            row = matrix[j].astype(np.int64)
            for n in range(int(counts[:, j].max())):
                x = self.target.limit(x + row * (counts[:, j, None] > n))
        return x


def _times(counts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.rint(counts.astype(np.float64) @ matrix).astype(np.int64)


def random_bits(profile: Profile, step: int, neurons: np.ndarray, total: int, state: int) -> np.ndarray:
    """32 random bits for each of `neurons`, as uint64: MurmurHash3's finaliser of seed, step, neuron and state."""
    mask = np.uint64(0xFFFFFFFF)
    x = ((np.uint64(step * total & 0xFFFFFFFF) + neurons) * np.uint64(3) + np.uint64(state)) & mask
    x = (x * np.uint64(0x9E3779B9) + np.uint64(profile.seed)) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & mask
    return np.asarray(x ^ (x >> np.uint64(16)))


def _read(network: IntegerNetwork, spikes: dict[str, np.ndarray], V: dict[str, np.ndarray]) -> np.ndarray:
    read = network.readout
    assert read is not None
    p = network.populations[read.population]
    trace, own = V[p.name].astype(np.int64), spikes[p.name]
    if read.kind == "end":
        return np.asarray(trace[:, -1])
    if read.kind == "max":
        return np.maximum(trace.max(axis=1), np.broadcast_to(p.start, p.size))
    if read.kind == "count":
        return own.sum(axis=1, dtype=np.int64)
    if read.kind == "first_spike":
        return np.where(own.any(axis=1), (own > 0).argmax(axis=1) + 1, -1).astype(np.int64)
    weights = np.ones(trace.shape[1], np.int64) if read.weights is None else read.weights
    return np.asarray(np.einsum("btn,t->bn", trace, weights))


def classes_of(readout: np.ndarray, kind: str) -> np.ndarray:
    """(B,) the output with the largest readout, or the earliest spike; -1 if several have it, or none spiked."""
    score = readout
    if kind == "first_spike":
        score = np.where(readout < 0, np.iinfo(np.int64).min, -readout)
    best = score.max(axis=1, keepdims=True)
    decided = ((score == best).sum(axis=1) == 1) & (best[:, 0] > np.iinfo(np.int64).min)
    if kind == "count":
        decided &= best[:, 0] > 0
    return np.where(decided, score.argmax(axis=1), -1)
