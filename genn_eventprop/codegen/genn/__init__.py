"""The target of GeNN: neuron models, weight updates and custom updates made of the statements of `program`.

GeNN has its own loop over steps, spikes and memory; what is computed comes from `program.trial`.
"""

from .show import model_texts, network_texts, texts
from .target import network_text

__all__ = ["model_texts", "network_text", "network_texts", "texts"]
