"""One training on several processes, the ranks of MPI: each runs slices of every batch, all hold the same weights.

Nothing here is imported without a communicator; mpi4py is the extra ``[mpi]``.
"""

from .launch import launched, ranks_of, world
from .ranks import Alone, RankError, Ranks

__all__ = ["Alone", "RankError", "Ranks", "launched", "ranks_of", "world"]
