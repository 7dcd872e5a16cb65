"""Was this process started by mpiexec, and the communicator of all that were."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from ..errors import SettingError
from .ranks import Alone, Ranks

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # set by MPICH and Intel MPI (also by SLURM's srun), by Open MPI
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
HOW = 'training on several ranks needs mpi4py and an MPI library: pip install "genn_eventprop[mpi]" mpich'


def launched() -> tuple[int, int]:
    """(rank, size) as the environment tells it, (0, 1) for a process of its own; mpi4py is not needed to know."""
    sizes = (*SIZES, "SLURM_NTASKS") if "PMIX_RANK" in os.environ else SIZES  # srun --mpi=pmix tells no size
    size = next((int(os.environ[name]) for name in sizes if os.environ.get(name, "").isdecimal()), 1)
    rank = next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdecimal()), 0)
    return rank, max(size, 1)


@cache
def world() -> Alone | Ranks:
    """All processes that mpiexec started together with this one.

    Raises:
        SettingError: there are several, but mpi4py is missing, or belongs to another MPI than mpiexec.
    """
    size = launched()[1]
    if size == 1:
        return Alone()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise SettingError(f"mpiexec started {size} processes, but {HOW} ({error})") from None
    if MPI.COMM_WORLD.Get_size() != size:
        raise SettingError(
            f"mpiexec started {size} processes, but mpi4py sees {MPI.COMM_WORLD.Get_size()}: it uses another MPI "
            f"({MPI.Get_library_version().splitlines()[0][:60]}); use the mpiexec of that MPI"
        )
    return Ranks(MPI.COMM_WORLD)


def ranks_of(communicator: Any) -> Alone | Ranks:
    """The ranks of an mpi4py communicator, or of what `world` gave.

    Raises:
        SettingError: it is neither.
    """
    if isinstance(communicator, (Alone, Ranks)):
        return communicator
    if not hasattr(communicator, "Get_rank"):
        raise SettingError(
            f"communicator must come from mpi4py, e.g. MPI.COMM_WORLD, got {communicator!r}; "
            'pip install "genn_eventprop[mpi]" mpich'
        )
    return Ranks(communicator) if communicator.Get_size() > 1 else Alone()
