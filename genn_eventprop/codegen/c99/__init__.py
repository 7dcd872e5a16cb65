"""A plan as one plain C99 file: scalar code, no threads, no library but the standard one; spikes on the grid.

The smallest target: every operation of `program.trial` in its simplest form. It computes the same as the other grid
engines, in the same order for each neuron.
"""

from .standalone import Standalone, standalone, stream_source
from .target import Source, generate, of_sample

__all__ = ["Source", "Standalone", "generate", "of_sample", "standalone", "stream_source"]
