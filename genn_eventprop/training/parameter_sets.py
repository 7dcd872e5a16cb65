"""Which values the live parameters of an engine hold: those in training, their averages, or the best on validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..engines.contract.lock import EngineLock
from ..optimisers import Optimiser
from .state import write_parameters


class ParameterSets:
    """Exchanges the values of the live arrays inside ``with`` blocks, which may be nested.

    Args:
        live: the parameters of the engine, written in place.
        optimiser: averages the learned ones, or not.
        lock: of the engine, held while other values may be in place: another thread would compute with them, or find
            them gone half-way.

    Attributes:
        best: the values that were best on validation, None before the first validation.
    """

    def __init__(self, live: Mapping[str, np.ndarray], optimiser: Optimiser, lock: EngineLock) -> None:
        self.live, self.optimiser, self.lock = live, optimiser, lock
        self.best: dict[str, np.ndarray] | None = None
        self._set_aside: dict[str, np.ndarray] | None = None  # those in training, while others are in their place

    def training(self) -> Mapping[str, np.ndarray]:
        """All parameters as training goes on with them, also while others are in their place."""
        return self.live if self._set_aside is None else self._set_aside

    def averages(self) -> dict[str, np.ndarray]:
        """All parameters, the learned ones as the averages that the optimiser keeps, if any."""
        current = self.training()
        return {**current, **self.optimiser.averages(current)}

    @contextmanager
    def use_averages(self) -> Iterator[None]:
        """The averages, if the optimiser keeps some; inside `use_best` the best ones stay."""
        with self.lock:
            if self.optimiser.average is None or self._set_aside is not None:
                yield
            else:
                with self._use(self.averages()):
                    yield

    @contextmanager
    def use_best(self) -> Iterator[None]:
        """The best values on validation, the averages before there are any."""
        with self.lock, self.use_averages() if self.best is None else self._use(self.best):
            yield

    @contextmanager
    def _use(self, values: Mapping[str, np.ndarray]) -> Iterator[None]:
        outer, current = self._set_aside, {name: value.copy() for name, value in self.live.items()}
        self._set_aside = current if outer is None else outer
        write_parameters(self.live, values)
        try:
            yield
        finally:
            write_parameters(self.live, current)
            self._set_aside = outer
