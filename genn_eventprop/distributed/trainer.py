"""A trainer among the ranks of an MPI program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..engines import Engine
from ..errors import SettingError
from ..optimisers import Optimiser
from ..plan import NetworkPlan
from . import Alone, Ranks, ranks_of
from .engine import RankedEngine


class Distributing:
    """The part of `Trainer` that trains on several ranks; its attributes are set there."""

    plan: NetworkPlan
    engine: Engine
    optimiser: Optimiser
    ranks: Alone | Ranks
    callbacks: list[Any]  # of Callback, which is made for the trainer as a whole
    run_dir: Path | None
    settings: dict[str, Any]
    network_description: Any
    _notes: list[str]
    _wants_estimate: bool

    def distribute(self, communicator: Any) -> None:
        """Train together with the other ranks of `communicator`, all of which call this with the same trainer.

        Each rank runs some slices of every batch, also in evaluation, and all hold the same weights. On `native`
        results are bit-identical to those of one rank. Only rank 0 writes files and shows progress.

        Raises:
            SettingError: the trainers of the ranks differ, or it is not a communicator.
        """
        ranks = ranks_of(communicator)
        if not isinstance(ranks, Ranks):
            return
        if self.plan.auxiliary:
            raise SettingError("several losses can be trained only on one rank; use mpiexec -n 1, or one loss")
        self.ranks = ranks
        with self.ranks.guard():
            self.ranks.same("network", repr(self.network_description))
            self.ranks.same("trainer", repr([self.settings, self.optimiser.state_dict()[1], self._wants_estimate]))
        self.engine = RankedEngine(self.engine, self.ranks)
        self._notes.append(f"{self.ranks.size} ranks, {self.ranks.local_size} of them on this machine")
        if not self.ranks.first:
            self.run_dir = None
            self.callbacks = [c for c in self.callbacks if not c.first_rank_only]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Evaluate on this rank alone inside a ``with`` block, without the other ranks."""
        engine = self.engine
        self.engine = engine.inner if isinstance(engine, RankedEngine) else engine
        try:
            yield
        finally:
            self.engine = engine
