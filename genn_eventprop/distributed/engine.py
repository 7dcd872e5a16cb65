"""An engine whose batches are run by all ranks together; for the trainer it is an engine like any other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engines import Data, Engine, Result
from ..engines.contract.data import batch_indices
from ..engines.contract.observed import Observed
from ..engines.contract.slices import BatchShard
from ..engines.contract.wrapper import EngineWrapper
from ..errors import EngineError
from .ranks import Ranks

PIECE = 1 << 22
"""Numbers of the gradient that a rank adds up at a time: 16 MiB of float32 from each subtree of slices."""


class RankedEngine(EngineWrapper):
    """`engine` on every rank of `ranks`; each runs its slices of a batch, and all get the result of the whole.

    Every rank must call `run` with the same samples. The bits are those of one rank where the engine has slices
    (native); elsewhere the last bits of a gradient depend on the number of ranks.
    """

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        n_remarks = len(engine.remarks)
        engine.share_machine(ranks.local_rank, ranks.local_size)
        super().__init__(engine)
        self.ranks = ranks
        self.reason = "; ".join([engine.reason, f"{ranks.size} ranks", *engine.remarks[n_remarks:]])
        self._spiking = {p.name: p.size for p in self.plan.populations if p.spiking}
        self._shards, self._sizes = list[BatchShard](), list[int]()  # samples of each shard
        engine.whole_counts = self._gather_counts  # type: ignore[method-assign]

    def notes(self, batch: int) -> list[str]:
        slices, size = self.inner.slices_of(batch), self.ranks.size
        idle = [f"{size - slices} of {size} ranks stay idle: a batch has {slices} slices"] if slices < size else []
        return idle + self.inner.notes(-(-batch // size))

    def shard(self, batch: int) -> BatchShard:
        return BatchShard.of_rank(batch, self.inner.slices_of(batch), self.ranks.rank, self.ranks.size)

    def local_samples(self, batch: int) -> slice:
        return self.shard(batch).samples

    def __reduce__(self) -> tuple[Any, ...]:
        raise EngineError(
            "an engine on several ranks cannot be pickled, nor its trainer; give each process its own, and "
            "call distribute there"
        )

    def stop(self, stopping: bool = True) -> None:
        """All ranks end a batch together."""

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        if observed:
            raise EngineError("an engine on several ranks takes no observed spikes; run it in one process")
        samples = batch_indices(data, samples)
        if record_spikes:  # every rank runs all of it
            return self.inner.run(data, samples, training=training, record_spikes=True)
        units = self.inner.units(data, samples)
        slices, size = self.inner.slices_of(len(units) - 1), self.ranks.size
        self._shards = [BatchShard.of_rank(len(units) - 1, slices, rank, size) for rank in range(size)]
        self._sizes = [int(units[p.samples.stop] - units[p.samples.start]) for p in self._shards]
        mine, sums = self._shards[self.ranks.rank], dict[int, np.ndarray]()
        result = self._nothing(training) if len(mine) == 0 else None
        if result is None:
            result, sums = self.inner.run_shard(data, samples, mine, training=training)
        words = self._pack(result)
        if training:
            total, everything = self._sum(sums, slices, words)
            self.inner.set_gradient(total)
        else:
            everything = self.ranks.gather(words, [self._bytes(n) for n in self._sizes])
        return self._unpack(everything)

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        # one rank may record by itself: it must not ask the others for their counts
        gather, self.inner.whole_counts = self.inner.whole_counts, lambda counts: counts  # type: ignore[method-assign]
        try:
            return super()._record(data, samples, times, adjoint)
        finally:
            self.inner.whole_counts = gather  # type: ignore[method-assign]

    # the gradient

    def _sum(self, sums: dict[int, np.ndarray], slices: int, words: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """(sum of the gradients of all slices, `words` of every rank): the two travel in one message."""
        size, subtrees = self.ranks.size, [self.inner.subtrees_of(p) for p in self._shards]
        like = self.inner.empty_gradient()
        total, everything = np.empty_like(like), [np.zeros(0, np.uint8)] * size
        for start in range(0, len(like), PIECE * size) or (0,):
            stop = min(start + PIECE * size, len(like))
            edges = [start + q * (stop - start) // size for q in range(size + 1)]
            mine = self._piece(sums, subtrees, slices, edges, like.dtype)
            tail = words if stop == len(like) else np.zeros(0, np.uint8)
            sizes = [(b - a) * like.itemsize for a, b in zip(edges, edges[1:])]
            sizes = [n + (self._bytes(m) if len(tail) else 0) for n, m in zip(sizes, self._sizes)]
            parts = self.ranks.gather(np.concatenate([mine.view(np.uint8), tail]), sizes)
            for q, (a, b) in enumerate(zip(edges, edges[1:])):
                cut = (b - a) * like.itemsize
                total[a:b] = parts[q][:cut].view(like.dtype)
                everything[q] = parts[q][cut:]
        return total, everything

    def _piece(
        self, sums: dict[int, np.ndarray], subtrees: list[list[int]], slices: int, edges: list[int], dtype: np.dtype
    ) -> np.ndarray:
        """The rank's own piece edges[rank] .. edges[rank + 1] of the gradient, added up over all ranks."""
        rank = self.ranks.rank
        n = edges[rank + 1] - edges[rank]
        out = [
            np.concatenate([s[a:b] for s in sums.values()]) if sums else np.zeros(0, dtype)
            for a, b in zip(edges, edges[1:])
        ]
        into = [np.empty(len(r) * n, dtype) for r in subtrees]
        into[rank] = out[rank]
        self.ranks.swap(out, into)
        rows = {s: row for r, part in zip(subtrees, into) for s, row in zip(r, part.reshape(len(r), n))}
        return self.inner.add_subtrees(rows, slices)

    # the result

    def _bytes(self, samples: int) -> int:
        outputs = self.plan.output.size
        return 24 + samples * (16 + 8 * outputs + 4 * sum(self._spiking.values()))

    def _pack(self, result: Result) -> np.ndarray:
        """Bytes: guarded slopes and notes, then of every sample loss, prediction, readout and spike counts."""
        counts = [result.spike_counts[name].astype(np.int32) for name in self._spiking]
        head = np.array([result.guarded, *self.ranks.notes], np.int64)
        arrays = [head, result.loss, result.prediction.astype(np.int64), result.readout.astype(np.float64), *counts]
        return np.concatenate([np.ascontiguousarray(a).view(np.uint8).reshape(-1) for a in arrays])

    def _unpack(self, everything: list[np.ndarray]) -> Result:
        parts = [self._one(words, n) for words, n in zip(everything, self._sizes)]
        heads = np.array([p["head"] for p in parts])
        self.ranks.take_notes(heads[:, 1:])
        stack = lambda name: np.concatenate([p[name] for p in parts])  # noqa: E731
        return Result(
            loss=stack("loss"), prediction=stack("prediction"), readout=stack("readout"),
            spike_counts={p: stack(p).astype(np.int64) for p in self._spiking},
            guarded=int(heads[:, 0].sum()), spikes=None,
        )  # fmt: skip

    def _one(self, words: np.ndarray, n: int) -> dict[str, np.ndarray]:
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "head": (np.int64, (3,)), "loss": (np.float64, (n,)), "prediction": (np.int64, (n,)),
            "readout": (np.float64, (n, self.plan.output.size)),
        }  # fmt: skip
        shapes |= {name: (np.int32, (n, size)) for name, size in self._spiking.items()}
        arrays, start = dict[str, np.ndarray](), 0
        words = words.copy()  # on a boundary that numbers may start at
        for name, (dtype, shape) in shapes.items():
            stop = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
            arrays[name] = words[start:stop].view(dtype).reshape(shape)
            start = stop
        return arrays

    def _nothing(self, training: bool) -> Result:
        """The result of a rank that has no slice of this batch; it answers where the others ask for counts."""
        counts = {name: np.zeros((0, n), np.int64) for name, n in self._spiking.items()}
        for name in self._spiking if training else ():
            for r in self.plan.spike_regularisers(name):
                if r.mean == "batch":
                    self._gather_counts(counts[name])
        return Result(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, self.plan.output.size)), counts, 0, None)

    def _gather_counts(self, counts: np.ndarray) -> np.ndarray:
        """Counts (B, N) of the whole batch."""
        n = counts.shape[1]
        words = np.ascontiguousarray(counts, np.int32).view(np.uint8).reshape(-1)
        parts = self.ranks.gather(words, [4 * n * len(p) for p in self._shards])
        return np.concatenate([part.view(np.int32).reshape(-1, n) for part in parts]).astype(np.int64)
