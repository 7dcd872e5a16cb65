"""What the engine needs of a CUDA device: memory, compilation, launches. `driver.py` has the real one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ...errors import EngineError

MISSING = (
    "the cuda engine needs the extra [cuda]: pip install 'genn_eventprop[cuda]', and a driver for an NVIDIA GPU; "
    "native runs the same networks on the CPU"
)


class DeviceArray(ABC):
    """Memory of a device: `address`, and `read` back to the host."""

    address: int

    @abstractmethod
    def read(self) -> np.ndarray: ...


class Module(ABC):
    """Compiled text."""

    @abstractmethod
    def launch(self, kernel: str, blocks: int, threads: int, shared: int, fields: bytes) -> None:
        """Run a kernel whose only argument is the address of a struct with these bytes, and wait for it."""


class Device(ABC):
    """What the engine needs of a device. shared_memory: bytes that a block may have. free: bytes of its memory."""

    shared_memory: int

    @property
    @abstractmethod
    def free(self) -> int: ...

    @abstractmethod
    def compile(self, text: str) -> Module: ...

    @abstractmethod
    def array(self, value: np.ndarray) -> DeviceArray:
        """A copy of a host array."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray: ...


def open_device(number: int) -> Device:
    """The device with this number among those that are visible.

    Raises:
        EngineError: without the extra [cuda], a driver or that device.
    """
    try:
        from .driver import CudaDevice
    except ImportError as error:
        raise EngineError(f"{MISSING} ({error})") from None
    return CudaDevice(number)


def visible_devices() -> tuple[list[str], str]:
    """What there is, and why there is nothing."""
    try:
        from .driver import devices
    except ImportError:
        return [], MISSING
    found = devices()
    return found, "" if found else "the extra [cuda] is installed, but no driver or no NVIDIA GPU was found"
