"""A plan as one plain C99 file: scalar code, no threads, no library but the standard one; spikes on the grid.

The smallest target: the loops of `program.lower` as they are, with spikes as bits. It computes the same as the other
grid engines, in the same order for each neuron.
"""

from .standalone import Standalone, standalone, stream_source
from .target import Source, generate, generate_pieces, loops

__all__ = ["Source", "Standalone", "generate", "generate_pieces", "loops", "standalone", "stream_source"]
