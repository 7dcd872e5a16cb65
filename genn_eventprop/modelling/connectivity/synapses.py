"""`Synapses`: which source reaches which target through which weight, as a table sorted by source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import NetworkError


@dataclass(frozen=True, eq=False)
class Synapses:
    """S synapses between M sources and N targets; those of source j are ``start[j]:start[j + 1]``.

    Args:
        pre, post: M and N.
        start: (M + 1,) int32.
        target: (S,) int32, rising within a source.
        weight_of: (S,) int32: where the weight of a synapse stands in the flat weight parameter; None: synapse s has
            weight s.

    Example:
        >>> from genn_eventprop.modelling import Synapses
        >>> table = Synapses.of_pairs([(1, 0), (0, 2), (1, 2)], pre=2, post=3)
        >>> table.source, table.target
        (array([0, 1, 1], dtype=int32), array([2, 0, 2], dtype=int32))
    """

    pre: int
    post: int
    start: np.ndarray
    target: np.ndarray
    weight_of: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def source(self) -> np.ndarray:
        """(S,) int32 the source of every synapse."""
        return np.repeat(np.arange(self.pre, dtype=np.int32), np.diff(self.start))

    @cached_property
    def weights(self) -> np.ndarray:
        """(S,) int32 `weight_of`, written out."""
        return np.arange(len(self), dtype=np.int32) if self.weight_of is None else self.weight_of

    @classmethod
    def of_pairs(cls, pairs: Any, pre: int, post: int, weight_of: np.ndarray | None = None) -> Synapses:
        """The table of (S, 2) pairs (source, target) in any order, none of them twice.

        Args:
            pairs: (S, 2) indices of neurons.
            pre, post: M and N.
            weight_of: of every pair; None: pair k has weight k.

        Raises:
            NetworkError: a pair outside of the populations, or a pair that is there twice.
        """
        pairs = _checked(pairs, pre, post)
        flat = pairs[:, 0].astype(np.int64) * post + pairs[:, 1]
        order = None if np.all(flat[1:] > flat[:-1]) else np.argsort(flat, kind="stable")
        if order is not None:
            flat, pairs = flat[order], pairs[order]
            weight_of = order if weight_of is None else weight_of[order]
            twice = np.flatnonzero(flat[1:] == flat[:-1])
            if len(twice):
                j, i = pairs[twice[0]]
                raise NetworkError(f"the synapse from neuron {j} to neuron {i} occurs twice; leave one out")
        start = np.searchsorted(pairs[:, 0], np.arange(pre + 1)).astype(np.int32)
        index = None if weight_of is None else np.ascontiguousarray(weight_of, np.int32)
        return cls(pre, post, start, np.ascontiguousarray(pairs[:, 1], np.int32), index)


def _checked(pairs: Any, pre: int, post: int) -> np.ndarray:
    """Pairs as an integer array (S, 2)."""
    array = np.asarray(pairs)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array) or array.dtype.kind not in "iuf":
        raise NetworkError(
            f"pairs must be a list (S, 2) of (source, target) with S >= 1, got an array of {array.shape}"
        )
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise NetworkError("pairs must be integers, the numbers of neurons")
    outside = np.flatnonzero((whole < 0).any(1) | (whole >= (pre, post)).any(1))
    if len(outside):
        j, i = whole[outside[0]]
        raise NetworkError(f"pair {outside[0]} is ({j}, {i}), but there are {pre} sources and {post} targets, from 0")
    return whole
