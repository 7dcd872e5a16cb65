"""A plan as one CUDA file: a thread block runs a whole trial, forwards and backwards; spikes on the grid.

Neurons are spread over the threads of a block and keep their states in registers; spikes are bits, in a fixed order,
so that every sum is the same in every run. Weight gradients are gathered afterwards, a block for each row of weights,
from the adjoint rows that the trials have stored: no atomic additions, and no gradient for each sample.
"""

from .events import LEFT, LENGTH, NO_ROOM, ON_DEVICE, POPULATION
from .exact import RUNAWAY
from .exact_population import CHUNK
from .gathers import FLIGHT, GATHERING, WARP
from .pieces import generate_pieces
from .target import (
    DATA_SET,
    OF_DOUBLE,
    ROUND,
    ROUND_BLOCKS,
    Source,
    generate,
    of_neurons,
    of_sample,
    place_of,
    side_by_side,
    threads_of,
)

__all__ = [
    "CHUNK", "DATA_SET", "FLIGHT", "GATHERING", "LEFT", "LENGTH", "NO_ROOM", "ON_DEVICE", "POPULATION", "OF_DOUBLE", "ROUND", "ROUND_BLOCKS", "RUNAWAY", "WARP", "Source", "generate",
    "generate_pieces", "of_neurons", "of_sample", "place_of", "side_by_side", "threads_of",
]  # fmt: skip
