"""The CUDA devices of this machine. The driver is imported only when one is asked for."""

from __future__ import annotations

from ...errors import EngineError
from .device import Device

MISSING = (
    "the cuda engine needs the extra [cuda]: pip install 'genn_eventprop[cuda]', and a driver for an NVIDIA GPU; "
    "native runs the same networks on the CPU"
)


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
    return found, "" if found else "the extra [cuda] is installed, but no GPU whose driver knows its CUDA (13) is there"
