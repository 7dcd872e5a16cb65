"""A batch cut into slices, whose gradients are added in a tree that neither threads nor processes change.

The tree over n slices is that of strides 1, 2, 4, ...: slice s takes the sum of slice s + stride, for every s that is a
multiple of twice the stride. A process that runs slices first .. last - 1 forms all sums of the tree that lie inside
them, its roots; adding the roots of all processes in the same order gives the bits of one process with all slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """Slices first .. last - 1 of a batch of `batch` samples in `slices` slices; it may be empty."""

    batch: int
    slices: int
    first: int
    last: int

    @classmethod
    def whole(cls, batch: int, slices: int) -> Part:
        """All of a batch."""
        return cls(batch, slices, 0, slices)

    @classmethod
    def of_rank(cls, batch: int, slices: int, rank: int, ranks: int) -> Part:
        """What process `rank` of `ranks` runs: as many slices as the others, or one more or less."""
        return cls(batch, slices, rank * slices // ranks, (rank + 1) * slices // ranks)

    @property
    def own(self) -> slice:
        """Where its samples are in the batch."""
        return slice(self.first * self.batch // self.slices, self.last * self.batch // self.slices)

    def __len__(self) -> int:
        return self.own.stop - self.own.start

    @property
    def roots(self) -> list[int]:
        """First slice of every sum that this part can form, the largest complete subtrees in it, in order."""
        found, start = [], self.first
        while start < self.last:
            span = 1
            while start % (2 * span) == 0 and start + span < min(start + 2 * span, self.slices) <= self.last:
                span *= 2
            found.append(start)
            start += span
        return found


def add_in_tree(sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
    """The sum over all slices, in the order of the tree.

    Args:
        sums: first slice -> (n,) sum of that subtree, the roots of parts that make up the whole batch; overwritten.
    """
    stride = 1
    while stride < slices:
        for s in range(0, slices, 2 * stride):
            if s + stride in sums:
                sums[s] += sums.pop(s + stride)
        stride *= 2
    return sums[0]
