"""Figures of training and trials. Every function returns a matplotlib `Figure`; `save` writes it."""

from .activity import spike_counts, spike_histograms
from .compare import compare_runs
from .confusion import confusion
from .connections import connectivity, delays, kernels
from .curves import learning_curves
from .label_steps import label_steps
from .layers import layers
from .plane import disc, four_inputs, yin_yang_plane
from .predictions import in_units, predictions
from .raster import trial
from .standard import standard
from .style import save
from .weights import weights

__all__ = [
    "compare_runs",
    "confusion",
    "connectivity",
    "delays",
    "disc",
    "four_inputs",
    "in_units",
    "kernels",
    "layers",
    "learning_curves",
    "label_steps",
    "predictions",
    "save",
    "spike_counts",
    "spike_histograms",
    "standard",
    "trial",
    "weights",
    "yin_yang_plane",
]
