"""Find a C++ compiler, compile generated text into a content-hashed cache, load it."""

from .cache import Cache, cache_folder, clear
from .compiler import Compiler, find_compiler
from .load import build

__all__ = ["Cache", "Compiler", "build", "cache_folder", "clear", "find_compiler"]
