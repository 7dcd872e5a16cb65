"""The CUDA devices of this machine. The driver is imported only when one is asked for."""

from __future__ import annotations

import os

from ...errors import EngineError
from .device import Device, NoDevice

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
    except Exception as error:  # ImportError, or libraries of another version
        raise EngineError(f"{MISSING} ({error})") from None
    return CudaDevice(number)


def visible_devices() -> tuple[list[str], str]:
    """What there is, and why there is nothing; in the words of an error, from "cuda: " on, if it is one."""
    try:
        from .driver import devices
    except Exception:  # as above
        return [], MISSING
    try:
        return devices(), ""
    except NoDevice as error:
        return [], str(error).removeprefix("cuda: ")
    except Exception as error:
        return [], str(error) if isinstance(error, EngineError) else f"cuda: looking for devices failed: {error}"


RANKS = (
    "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID",
    "FLUX_TASK_LOCAL_ID", "SLURM_LOCALID",
)  # fmt: skip


def local_rank() -> int:
    """The number of this process among those that a launcher started on this machine (torchrun, and `studies.jobs`;
    Open MPI, MVAPICH, MPICH and Intel MPI, PALS, Flux, SLURM); 0 for a process of its own."""
    return next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()), 0)
