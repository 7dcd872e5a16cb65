"""Records to text. `snippets` writes a model as GeNN-style code, `cpp` wraps it into a fused native trial."""

from .printer import CPP, DIALECTS, GENN, Dialect
from .snippets import Snippets, derive_snippets

__all__ = ["CPP", "DIALECTS", "GENN", "Dialect", "Snippets", "derive_snippets"]
