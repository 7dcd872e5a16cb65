"""One engine, many threads: calls that change what an engine remembers run one at a time.

An engine keeps the arrays of a batch, the addresses in its library, and, between the two halves of a
trial, the trial itself. So every engine has a lock that a thread may take again (a call within a call, an optimiser
that runs the engine), and every method marked `one_at_a_time`, or that overrides such a method, holds it: no engine
can forget. Several calls that belong together, such as `run` and `update`, hold it together: ``with engine.lock:``.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from ...errors import EngineError

Method = TypeVar("Method", bound=Callable[..., Any])
PATIENCE = 10.0
"""Seconds that a fork waits for batches of other threads: a child must not inherit an engine in the middle of one."""


class EngineLock:
    """The lock of one engine, or of engines that share their memory.

    Attributes:
        in_loss: whether the thread that holds it runs an outer loss in Python, between the two halves of a batch.
    """

    def __init__(self) -> None:
        self._lock, self._torn, self.in_loss = threading.RLock(), False, False
        _locks[id(self)] = self

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._torn:
            self._lock.release()
            raise EngineError(
                "this process was forked while another thread was running the engine; make a new engine in the child "
                "process, e.g. by loading the model there"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextmanager
    def running_loss(self) -> Iterator[None]:
        """While an outer loss in Python runs, under this lock: the loss may not run the same engine."""
        self.in_loss = True
        try:
            yield
        finally:
            self.in_loss = False

    def acquire(self, timeout: float) -> bool:
        """Whether the lock could be had within `timeout` seconds."""
        return self._lock.acquire(timeout=max(timeout, 0.0))

    def tear(self) -> None:
        """In a child process: the thread with this lock does not exist here, and what it was doing is half done."""
        self._lock, self._torn = threading.RLock(), True


_locks: weakref.WeakValueDictionary[int, EngineLock] = weakref.WeakValueDictionary()
_forking: dict[int, list[EngineLock]] = {}  # thread -> what it holds while it forks


def one_at_a_time(method: Method) -> Method:
    """A method that holds the lock of its engine."""

    @functools.wraps(method)
    def locked(self: Any, *args: Any, **settings: Any) -> Any:
        with self.lock:
            if self.lock.in_loss:
                raise EngineError(
                    f"the outer loss called {self.name}.{method.__name__} in the middle of a batch of the same engine; "
                    "use another engine in the loss"
                )
            return method(self, *args, **settings)

    locked.one_at_a_time = True  # type: ignore[attr-defined]
    return cast(Method, locked)


def mark_overrides(cls: type) -> None:
    """Make methods of a class that override one marked `one_at_a_time` hold the lock too."""
    for name, method in list(vars(cls).items()):
        overrides = (getattr(getattr(base, name, None), "one_at_a_time", False) for base in cls.__mro__[1:])
        if callable(method) and not hasattr(method, "one_at_a_time") and any(overrides):
            setattr(cls, name, one_at_a_time(method))


def _before_fork() -> None:
    """Wait for the batches that run; a thread that itself waits for this one may not make the fork wait for ever."""
    until, locks = time.monotonic() + PATIENCE, _forking.setdefault(threading.get_ident(), [])
    for ref in _locks.valuerefs():
        lock = ref()
        if lock is not None and lock.acquire(until - time.monotonic()):
            locks.append(lock)


def _after_in_parent() -> None:
    for lock in _forking.pop(threading.get_ident(), []):
        lock.__exit__()


def _after_in_child() -> None:
    locked = _forking.pop(threading.get_ident(), [])  # by this thread, which is the one that goes on here
    _forking.clear()
    numbers = set(map(id, locked))
    for ref in _locks.valuerefs():
        lock = ref()
        if lock is not None and id(lock) not in numbers:
            lock.tear()
    for lock in locked:
        lock.__exit__()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
