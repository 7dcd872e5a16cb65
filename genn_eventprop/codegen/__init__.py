"""Plans and programs to text: `target` says what a target is, `cpp`, `c99`, `cuda` and `genn` are the languages.

`snippets` writes a single model as GeNN-style code, to be read and checked.
"""

from .printer import CPP, DIALECTS, GENN, Dialect
from .snippets import Snippets, derive_snippets

__all__ = ["CPP", "DIALECTS", "GENN", "Dialect", "Snippets", "derive_snippets"]
