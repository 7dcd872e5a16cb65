"""A batch cut into slices, whose gradients are added in a tree that neither threads nor processes change.

The tree over n slices is that of strides 1, 2, 4, ...: slice s takes the sum of slice s + stride, for every s that is a
multiple of twice the stride. A process that runs slices first .. last - 1 forms every subtree of sums that lies inside
them; adding the subtrees of all processes in the same order gives the bits of one process with all slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BatchShard:
    """What one process runs of a batch: slices first .. last - 1 of `slices`, of a batch of `batch` samples.

    A shard may be empty, where there are more processes than slices.
    """

    batch: int
    slices: int
    first: int
    last: int

    @classmethod
    def whole(cls, batch: int, slices: int) -> BatchShard:
        """All of a batch."""
        return cls(batch, slices, 0, slices)

    @classmethod
    def of_rank(cls, batch: int, slices: int, rank: int, ranks: int) -> BatchShard:
        """What process `rank` of `ranks` runs: as many slices as the others, or one more or less."""
        return cls(batch, slices, rank * slices // ranks, (rank + 1) * slices // ranks)

    @property
    def samples(self) -> slice:
        """Where its samples are in the batch."""
        return slice(self.first * self.batch // self.slices, self.last * self.batch // self.slices)

    def __len__(self) -> int:
        return self.samples.stop - self.samples.start

    @property
    def subtrees(self) -> list[int]:
        """The largest complete subtrees inside this shard, in order, each named by its first slice."""
        subtrees, start = [], self.first
        while start < self.last:
            span = 1
            # a subtree begins at a multiple of its span; the last one of the batch may be cut short by its end
            while start % (2 * span) == 0 and start + span < min(start + 2 * span, self.slices) <= self.last:
                span *= 2
            subtrees.append(start)
            start += span
        return subtrees

    def sums(self, slices: np.ndarray) -> dict[int, np.ndarray]:
        """The sum of each of `subtrees`, from (slices, n) of this shard, which are overwritten."""
        stride = 1
        while stride < self.slices:
            first = -(-self.first // (2 * stride)) * 2 * stride
            for s in range(first, self.last - stride, 2 * stride):
                if min(s + 2 * stride, self.slices) <= self.last:
                    slices[s - self.first] += slices[s - self.first + stride]
            stride *= 2
        return {root: slices[root - self.first] for root in self.subtrees}


def add_in_tree(sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
    """The sum over all slices, in the order of the tree: floating-point sums depend on it.

    Args:
        sums: first slice -> (n,) sum of that subtree, for all shards of the batch; overwritten.
    """
    stride = 1
    while stride < slices:
        for s in range(0, slices, 2 * stride):
            if s + stride in sums:
                sums[s] += sums.pop(s + stride)
        stride *= 2
    return sums[0]
