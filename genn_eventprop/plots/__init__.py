"""Figures of training and trials. Every function returns a matplotlib `Figure`; `save` writes it."""

from .activity import spike_counts
from .curves import learning_curves
from .plane import disc, four_inputs, yin_yang_plane
from .raster import trial
from .style import save

__all__ = ["disc", "four_inputs", "learning_curves", "save", "spike_counts", "trial", "yin_yang_plane"]
