"""The time limit of a fit: whether there is time for a further step, and what ends a run that takes too long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator
from statistics import median

from ..engines import Engine
from ..errors import EngineError, Stopped

RESERVE, RECENT = 4, 5
"""Steps before the time limit after which no further one is made: that step, differences to both sides, a free run; and
how many recent ones say how long a step is."""
LEEWAY = 1.0
"""s after the time limit until which free runs of the result may go on."""
COMPILED = 0.4
"""Of the time until the first step, in which code is derived and compiled: what that of a free run takes."""


class Clock:
    """Whether there is no time for a further step, and for what follows the last: called before each.

    Args:
        limit: s, None without one. runs: free runs after the last step.
    """

    def __init__(self, limit: float | None, runs: int = 1) -> None:
        self.began = self.last = time.perf_counter()
        self.limit, self.runs, self.after = limit, runs, 0.0
        self.steps, self.late = list[float](), False

    def begin(self) -> None:
        """The first step comes now; what was compiled and drawn is none."""
        self.last = time.perf_counter()
        self.after = COMPILED * self.runs * (self.last - self.began)

    def __call__(self, ahead: int = 0) -> bool:
        """ahead: what comes now takes so many steps."""
        now = time.perf_counter()
        self.steps, self.last = [*self.steps[1 - RECENT :], now - self.last], now
        # the median: one step of a new stage compiles its code, and no further one does
        left = (ahead + RESERVE) * median(self.steps) + self.after
        self.late |= self.limit is not None and now + left > self.began + self.limit
        return self.late

    @contextlib.contextmanager
    def ends(self, engines: Collection[Engine], beyond: float = 0.0) -> Iterator[None]:
        """End what the engines run, by `Stopped`, when the time is over: nobody knows how long a run takes.

        Args:
            engines: which may become more. beyond: s after the limit; 0: before it, so that what follows is in time.
        """
        over = threading.Event()

        def watch() -> None:
            left = None
            if self.limit is not None:
                left = self.began + self.limit + (beyond or -self.after) - time.perf_counter()
            while not over.wait(left):
                self.late, left = True, 0.1
                for engine in engines:
                    engine.stop()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
            for engine in engines:
                engine.stop(False)

    @contextlib.contextmanager
    def within(self, engine: Engine) -> Iterator[None]:
        """The same for a free run of the result, which may take `LEEWAY` more; it is an error then."""
        try:
            with self.ends([engine], LEEWAY):
                yield
        except Stopped:
            if not self.late:
                raise
            raise EngineError("it would take more than the time limit") from None
