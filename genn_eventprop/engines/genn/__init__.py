"""`genn`: the plan as a GeNN model that runs forwards and backwards in two phases, through pygenn 5.4.

Importing this needs no pygenn; making a `GennEngine` does.
"""

from .engine import GennEngine
from .show import model_texts, texts

__all__ = ["GennEngine", "model_texts", "texts"]
