"""Noise on V and spike dropout: random numbers that every grid engine draws alike.

Each is a function of (seed, epoch, sample, step, neuron), with the sample's number in its data set: whatever the
batch, the order or the threads, a sample meets the same noise. The key of a trial comes from `data.augment.counter`;
then with SplitMix64 `mix` and the 32-bit mixer ``mix32`` (lowbias32 of C. Wellons' "hash-prospector"):

    step key = mix(key + (step + 1) GOLDEN) = (high, low);   bits = mix32(mix32(neuron ^ low) ^ high)

A spike of step `step` is dropped if bits < p 2^32. The normal number of a step is the sum of two entries of a table of
quantiles, picked by the lowest 12 bits and the 12 above: integers and one addition, so that NumPy and C++ agree bit
for bit. It is added to V at the end of the step, before the thresholds are tested: dV = f dt + noise dW.
Both act in training runs only.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np

from ...data.augment.counter import GOLDEN, CounterRNG, mix

TABLE_BITS = 12


def keys(kind: str, population: str, seed: int, epoch: int, numbers: np.ndarray) -> np.ndarray:
    """(B,) uint64, a key for each trial.

    Args:
        kind: "noise" or "dropout". numbers: (B,) of the samples in their data set.
    """
    return CounterRNG(seed, epoch, numbers).keys(f"{kind} of {population}")


def bits(key: np.ndarray, step: int, size: int) -> np.ndarray:
    """(B, size) uint32 of one step; key (B,)."""
    return words(key[:, None], step, np.arange(size))


def words(key: np.ndarray, step: int | np.ndarray, neuron: np.ndarray) -> np.ndarray:
    """Random numbers of 32 bits; key, step and neuron as NumPy broadcasts them."""
    low, high = step_words(key, step)
    return _mix32(_mix32(neuron.astype(np.uint32) ^ low) ^ high)


def step_words(key: np.ndarray, step: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high word (uint32) of the keys of steps; key and step as NumPy broadcasts them."""
    with np.errstate(over="ignore"):
        words = mix(key + (np.asarray(step, np.uint64) + np.uint64(1)) * GOLDEN)
    return words.astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)


def _mix32(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


@cache
def quantiles() -> np.ndarray:
    """(2^12,) float64; the sum of two drawn entries has mean 0 and variance 1."""
    n = 1 << TABLE_BITS
    half = np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n // 2, n)])
    table = np.concatenate([-half[::-1], half])
    return table / np.sqrt(2 * np.mean(table**2))


def normal(key: np.ndarray, step: int, size: int) -> np.ndarray:
    """(B, size) normal numbers of one step."""
    return normal_numbers(key[:, None], step, np.arange(size))


def normal_numbers(key: np.ndarray, step: int | np.ndarray, neuron: np.ndarray) -> np.ndarray:
    """Normal numbers; key, step and neuron as NumPy broadcasts them."""
    drawn, mask = words(key, step, neuron), np.uint32((1 << TABLE_BITS) - 1)
    return quantiles()[drawn & mask] + quantiles()[(drawn >> np.uint32(TABLE_BITS)) & mask]


def dropped(key: np.ndarray, step: int, size: int, p: float) -> np.ndarray:
    """(B, size) whether a spike of this step is dropped."""
    return bits(key, step, size) < limit(p)


def limit(p: float) -> int:
    """p 2^32."""
    return round(p * 2**32)
