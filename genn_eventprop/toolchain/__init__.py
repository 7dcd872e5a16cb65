"""Find a C++ compiler, compile generated text into a content-hashed cache, load it."""

from .cache import Cache, cache_folder, clear
from .compiler import Compiler, NoCompilerError, find_compiler
from .load import build, require

__all__ = ["Cache", "Compiler", "NoCompilerError", "build", "cache_folder", "clear", "find_compiler", "require"]
