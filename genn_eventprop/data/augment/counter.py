"""Random numbers without history: each is a function of (seed, purpose, epoch, sample, position).

A generator with a state, as NumPy's, would give a sample other numbers whenever its batch, the number of threads or the
epoch at which a run was resumed differ. A counter-based one is asked for the numbers of a sample, and always gives the
same.

Numbers are SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2714064.2660195): mix(key + counter * golden ratio), the
key itself mixed from seed, purpose, epoch and sample. Vectorised: one call for all events of a batch.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ...errors import DataError

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, on uint64 arrays; changes `x`."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@dataclass(frozen=True, eq=False)
class CounterRNG:
    """Random numbers for some samples in one epoch.

    Args:
        seed: of the run, not negative.
        epoch: not negative.
        samples: (B,) indices of the samples in their data set: what their numbers are tied to.
    """

    seed: int
    epoch: int
    samples: np.ndarray
    prefix: str = ""

    def __post_init__(self) -> None:
        for name in ("seed", "epoch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**63:
                raise DataError(f"{name} must be a non-negative integer, got {value!r}")

    def for_step(self, position: int) -> CounterRNG:
        """The numbers of the step at `position` of a chain: two steps of one kind get different numbers."""
        return CounterRNG(self.seed, self.epoch, self.samples, f"{self.prefix}{position} ")

    def for_input(self, name: str) -> CounterRNG:
        """The numbers of one of several inputs."""
        return CounterRNG(self.seed, self.epoch, self.samples, f"{self.prefix}{name}: ")

    def keys(self, purpose: str) -> np.ndarray:
        """(B,) uint64, one key a sample; different purposes are independent."""
        with np.errstate(over="ignore"):
            # one word after the other, each through the whole mixing function: keys of neighbouring samples or epochs
            # are as different as any two; + 1, since mix(0) is 0
            key = np.full(len(self.samples), self.seed, np.uint64)
            # crc32 and not hash(): Python's hash of a text differs between processes
            for word in (zlib.crc32((self.prefix + purpose).encode()), self.epoch):
                key = mix(key * GOLDEN + np.uint64(word) + np.uint64(1))
            return mix(key * GOLDEN + np.asarray(self.samples).astype(np.uint64) + np.uint64(1))

    def per_sample(self, purpose: str) -> np.ndarray:
        """(B,) uniform numbers in [0, 1)."""
        return to_unit(self.keys(purpose))

    def per_event(self, purpose: str, counts: np.ndarray) -> np.ndarray:
        """(E,) uniform numbers in [0, 1), counts[b] of them for sample b."""
        counts = np.asarray(counts)
        total = int(counts.sum())
        first = np.cumsum(counts) - counts
        with np.errstate(over="ignore"):
            # event j of a sample gets mix(key + GOLDEN (j + 1)); with positions counted over the whole batch, as arange
            # gives them, the first one of the sample is subtracted from its key (unsigned: it wraps, and back)
            base = self.keys(purpose) - first.astype(np.uint64) * GOLDEN
            return to_unit(mix(np.repeat(base, counts) + np.arange(1, total + 1, dtype=np.uint64) * GOLDEN))

    def normal(self, purpose: str, counts: np.ndarray) -> np.ndarray:
        """(E,) standard normal numbers (Box-Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.per_event(purpose + " radius", counts)))
        return radius * np.cos(2 * np.pi * self.per_event(purpose + " angle", counts))


def to_unit(bits: np.ndarray) -> np.ndarray:
    """Upper 53 bits as float64 in [0, 1)."""
    bits >>= np.uint64(11)  # the 53 that a float64 holds exactly: 1 - 2^-53 is the largest result, never 1
    return bits * 2.0**-53
