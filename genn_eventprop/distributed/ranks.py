"""Messages between ranks. All are point to point and waited for by looking, so that a rank that died is known by name.

A collective call of MPI would wait for ever for a rank that hangs, and could not tell which one it is. Sums of
gradients cost what a collective would: each rank adds up one piece of the gradient for all ranks, then hands it out.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import EventPropError, SettingError, TrainingError

PATIENCE = 30.0  # s without a word after which a rank counts as hung
START = 600.0  # s the same before the first batch is done: data is read, code compiled
LONGEST_TEXT = 2000
MESSAGE, FAILURE = 1, 2  # tags


def default_patience() -> float:
    """Seconds after which a rank that says nothing is taken for hung: GENN_EVENTPROP_PATIENCE, or 30."""
    text = os.environ.get("GENN_EVENTPROP_PATIENCE", "")
    try:
        seconds = float(text or PATIENCE)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise SettingError(f"GENN_EVENTPROP_PATIENCE={text!r}: must be a positive number of seconds")
    return seconds


class RankError(TrainingError):
    """Another rank failed, was ended, or hangs."""


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


class Ranks(Alone):
    """The processes of an mpi4py communicator.

    Args:
        communicator: of mpi4py; it is duplicated, so that our messages meet no others.
        patience: seconds without a word after which a rank counts as hung; None: GENN_EVENTPROP_PATIENCE, or 30. Ten
            times the longest wait so far if that is more.

    Attributes:
        local_rank, local_size: number of this process among those of its machine, and how many those are.
    """

    def __init__(self, communicator: Any, patience: float | None = None) -> None:
        from mpi4py import MPI

        # A communicator of our own: messages that the user's program sends on the same one cannot be taken for ours.
        self._mpi, self._comm = MPI, communicator.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        machine = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = machine.Get_rank(), machine.Get_size()
        self.patience, self._longest, self.started = patience or default_patience(), 0.0, False
        self.broken = False
        self._stop_here = 0
        self._interrupted = lambda: 0
        # This receive stays open all the time: the message of a rank that fails can arrive at any moment, also while
        # this one waits for another.
        self._text = np.zeros(LONGEST_TEXT, np.uint8)
        self._failure = self._comm.Irecv([self._text, MPI.BYTE], source=MPI.ANY_SOURCE, tag=FAILURE)
        atexit.register(self._end)

    # messages

    def swap(self, out: Sequence[np.ndarray], into: Sequence[np.ndarray]) -> None:
        """Send out[q] to every other rank q and fill into[q] from it; arrays are contiguous, empty ones are not sent.

        Raises:
            RankError: a rank failed or did not respond for too long.
        """
        byte, others = self._mpi.BYTE, [q for q in range(self.size) if q != self.rank]
        receive = {
            q: self._comm.Irecv([into[q].view(np.uint8).reshape(-1), byte], source=q, tag=MESSAGE)
            for q in others
            if into[q].size
        }
        send = {
            q: self._comm.Isend([np.ascontiguousarray(out[q]).view(np.uint8).reshape(-1), byte], dest=q, tag=MESSAGE)
            for q in others
            if out[q].size
        }
        self._wait(receive, send)

    def _wait(self, receive: dict[int, Any], send: dict[int, Any]) -> None:
        requests, all_done = [*receive.values(), *send.values()], self._mpi.Request.Testall
        waited, looks, before = 0.0, 0, time.monotonic()
        while not all_done(requests):
            self._look_for_failure()
            looks += 1
            # Most messages arrive within microseconds, so first only yield; ranks often share processors with the
            # threads of the others, which a busy loop would slow down, so then sleep, ever longer.
            time.sleep(0 if looks < 200 else 1e-4 if waited < 1 else 5e-3)
            now = time.monotonic()
            waited += min(now - before, 1.0)  # a machine that slept in between is no rank that hangs
            before = now
            if waited > self._limit():
                self._give_up(receive, send, waited)
        self._longest = max(0.99 * self._longest, waited)  # one long pause (a slow disk) is forgotten in time

    def _limit(self) -> float:
        return max(self.patience, 10 * self._longest) if self.started else max(self.patience, START)

    def _look_for_failure(self) -> None:
        status = self._mpi.Status()
        if self._failure.Test(status):
            self.broken = True
            text = bytes(self._text[: status.Get_count(self._mpi.BYTE)]).decode(errors="replace")
            raise RankError(f"rank {status.Get_source()} of {self.size}: {text}")

    def _give_up(self, receive: dict[int, Any], send: dict[int, Any], waited: float) -> None:
        # Ranks whose messages are complete by now were only late; the others are named.
        silent = sorted({q for requests in (receive, send) for q, request in requests.items() if not request.Test()})
        self.broken = True
        names = ", ".join(map(str, silent))
        raise RankError(
            f"rank{'s' if len(silent) > 1 else ''} {names} of {self.size} did not respond for {waited:.0f} s: hung, "
            "stopped or cut off; if such a pause is normal here, set GENN_EVENTPROP_PATIENCE to more seconds"
        )

    # what is built from them

    def gather(self, values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
        """(n,) bytes of every rank; `sizes`: how many each sends."""
        into = [np.empty(n, np.uint8) for n in sizes]
        into[self.rank] = values
        self.swap([values] * self.size, into)
        return into

    def everyone(self, value: Any) -> list[Any]:
        """A JSON-able value of every rank."""
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = np.array([len(text)], np.int64)
        sizes = [int(n.view(np.int64)[0]) for n in self.gather(length.view(np.uint8), [8] * self.size)]
        return [json.loads(bytes(part)) for part in self.gather(text, sizes)]

    def any(self, value: bool) -> bool:
        return any(self.everyone(bool(value)))

    def of_first(self, value: Any) -> Any:
        return self.everyone(value)[0]

    def same(self, what: str, value: str) -> None:
        values = self.everyone(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise SettingError(
                    f"rank {rank} was given a different {what} than rank 0: {other} there, {values[0]} here"
                )

    @property
    def notes(self) -> list[int]:
        """What this rank tells the others with its part of a batch: asked to stop, clipped spikes."""
        return [int(self._interrupted()), self.clipped]

    def take_notes(self, notes: np.ndarray) -> None:
        """(ranks, 2) `notes` of all."""
        self._stop_here, self.clipped, self.started = int(notes[:, 0].max()), int(notes[:, 1].sum()), True

    def stop_here(self) -> int:
        return self._stop_here

    # the end

    @contextmanager
    def guard(self) -> Iterator[None]:
        try:
            yield
        except RankError:
            raise
        except KeyboardInterrupt:
            if not self._stop_here:  # that all have stopped together is no failure
                self.fail("interrupted")
            raise
        except BaseException as error:
            self.fail(str(error) if isinstance(error, EventPropError) else f"{type(error).__name__}: {error}")
            raise

    def fail(self, text: str) -> None:
        """Tell all other ranks, once, that this one cannot go on."""
        if self.broken:
            return
        self.broken = True
        message = np.frombuffer(text.encode()[:LONGEST_TEXT] or b"failed", np.uint8)
        others = [q for q in range(self.size) if q != self.rank]
        requests = [self._comm.Isend([message, self._mpi.BYTE], dest=q, tag=FAILURE) for q in others]
        deadline = time.monotonic() + 2
        while not self._mpi.Request.Testall(requests) and time.monotonic() < deadline:
            time.sleep(1e-3)

    def _end(self) -> None:
        """When Python exits: without this, a failed rank would wait for the others in MPI_Finalize, or they for it."""
        if not self.broken:
            self._failure.Cancel()
            self._failure.Wait()
            return
        # Abort ends every process of the job at once, also one that is writing a checkpoint. So rank 0 does it, after
        # it has saved and printed the message; the others wait, and do it only if rank 0 itself is gone.
        if not self.first:
            time.sleep(10)
        sys.stdout.flush()
        self._comm.Abort(1)
