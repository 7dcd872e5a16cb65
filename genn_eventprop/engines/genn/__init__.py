"""`genn`: the plan as a GeNN model that runs forwards and backwards in two phases, through pygenn 5.4.

Importing this needs no pygenn; making a `GennEngine` does.
"""

from ...codegen.genn import model_texts, texts
from .engine import GennEngine

__all__ = ["GennEngine", "model_texts", "texts"]
