"""`genn`: the plan as two GeNN models, one forwards and one for the adjoint, run through pygenn 5.4.

Importing this needs no pygenn; making a `GennEngine` does.
"""

from .engine import GennEngine
from .show import model_texts, texts

__all__ = ["GennEngine", "model_texts", "texts"]
