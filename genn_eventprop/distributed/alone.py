"""The trainer's interface to processes that train together, for a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Alone:
    """One process; `Ranks` is the same for several.

    Attributes:
        rank, size: number of this process and how many there are. `first` writes files and speaks.
        clipped: clipped spikes, before a batch of this rank, after it of all.
    """

    rank, size = 0, 1
    clipped = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, value: bool) -> bool:
        """Whether it is true on any rank; every rank must ask."""
        return value

    def same(self, what: str, value: str) -> None:
        """Raise `SettingError` on every rank if `value` is another one somewhere."""

    def of_first(self, value: Any) -> Any:
        """The first rank's value, which JSON can hold; every rank must ask."""
        return value

    def begin(self, interrupted: Callable[[], int]) -> None:
        """A training begins; `interrupted`: whether this process was asked to stop, as the number of a reason."""
        self._interrupted = interrupted

    def stop_here(self) -> int:
        """Whether to stop after the last batch, as the number of a reason; every rank says the same."""
        return self._interrupted()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """An exception inside ends the other ranks too, with its message."""
        yield
