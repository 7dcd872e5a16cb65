"""What the engine needs of a CUDA device: memory, compilation, launches. `driver.py` has the real one, `visible.py`
opens it.

What is done to a device is done in the order in which it is asked for. The host does not wait until it reads.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...errors import EngineError

FORKED = (
    "cuda: this process was forked from one that had started CUDA, which works in neither of two such processes; start "
    'processes with multiprocessing\'s "spawn", or fork before the first engine is made'
)


class Forked(EngineError):
    """CUDA cannot be used in this process."""

    def __init__(self) -> None:
        super().__init__(FORKED)


class NoDevice(EngineError):
    """There is no GPU for this process: nothing that "auto" would have to mention."""


class OutOfMemory(EngineError):
    """The device has no such piece of memory left."""


class DeviceMemory(Protocol):
    """A piece of a device's memory, `bytes` from `address` on; it is freed with the last reference to it."""

    address: int
    bytes: int

    def write(self, value: np.ndarray, *, ahead: bool = False) -> None:
        """Copy a host array, as it is now, to its beginning; `ahead`: beside what the device runs, and wait for it."""

    def read(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A host array from its beginning, once everything asked for before is done.

        Raises:
            EngineError: what went wrong since the last read.
        """

    def beside(self, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        """Whether an array of another library (DLPack) is on the same device, contiguous, of this shape and type."""
        return False

    def take(self, array: Any) -> None:
        """Copy such an array to the beginning, once what made it is done, and wait for the copy."""

    def give(self, array: Any) -> None:
        """Copy the beginning into such an array, once nothing else uses it, and wait for the copy."""

    def clear(self, count: int) -> None:
        """Set the first `count` bytes to 0."""

    def free(self) -> None:
        """Give it back; it cannot be used afterwards."""


class Module(Protocol):
    """Compiled text."""

    def launch(self, kernel: str, blocks: int, threads: int, shared: int, argument: np.ndarray) -> None:
        """Run a kernel whose only argument is a struct, `argument` its bytes as they are now."""


@runtime_checkable
class Device(Protocol):
    """name: for messages. shared_memory: bytes that a block may have. available: bytes of memory that are free."""

    name: str
    shared_memory: int

    @property
    def available(self) -> int: ...
    def compile(self, text: str) -> Module: ...

    def allocate(self, count: int) -> DeviceMemory:
        """`count` bytes, whatever is in them.

        Raises:
            OutOfMemory: if there is not so much.
        """

    def close(self) -> None:
        """Give back what is not memory."""
