"""An engine around another one, which runs its batches in a way of its own."""

from __future__ import annotations

from typing import Any

from .data import Data
from .engine import Engine


class Around(Engine):
    """Shares parameters, gradients and settings with `inner`; a class derived from it adds `run`."""

    def __init__(self, engine: Engine) -> None:
        self.lock = engine.lock
        self.inner, self.plan, self.name, self.reason = engine, engine.plan, engine.name, engine.reason
        self.slope_floor, self.remarks = engine.slope_floor, engine.remarks
        self.parameters, self.gradients = engine.parameters, engine.gradients
        self.seed, self.epoch = engine.seed, engine.epoch

    def load(self, events: Any) -> Data:
        return self.inner.load(events)

    def use(self, optimiser: Any) -> None:
        self.inner.use(optimiser)

    def update(self, optimiser: Any) -> None:
        self.inner.update(optimiser)

    def settle(self, number: int, processes: int) -> None:
        self.inner.settle(number, processes)

    def close(self) -> None:
        self.inner.close()
