"""From C++ text to a loaded library, through the cache."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
from pathlib import Path

from ..errors import ToolchainError
from .cache import VARIABLE, Cache
from .compiler import Compiler, cpu_features, find_compiler

_loaded: dict[str, ctypes.CDLL] = {}


def key_of(source: str, compiler: Compiler) -> str:
    """Hash of source, flags, compiler version, CPU features, operating system and machine."""
    parts = (source, " ".join(compiler.flags), compiler.version, cpu_features(), sys.platform, platform.machine())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def build(source: str) -> ctypes.CDLL:
    """Compile `source` unless the cache has it, and load it.

    Raises:
        ToolchainError: no compiler; a failed compilation (source and message are kept in the cache); a cache folder
            that cannot be used or forbids execution.
    """
    compiler = find_compiler()
    key = key_of(source, compiler)
    if key not in _loaded:
        cache = Cache()
        path = cache.hit(key) or _compile(source, compiler, cache, key)
        _loaded[key] = _load(path, cache)
    return _loaded[key]


def _compile(source: str, compiler: Compiler, cache: Cache, key: str) -> Path:
    try:
        with cache.scratch() as folder:
            text, built = Path(folder) / "network.cpp", Path(folder) / "network.so"
            text.write_text(source)
            try:
                compiler.compile(text, built)
            except ToolchainError as error:
                kept = cache.keep_failure(key, source, str(error))
                raise ToolchainError(
                    f"the generated code did not compile; source and log kept at {kept}\n{error}"
                ) from None
            return cache.publish(built, key)
    except OSError as error:
        raise ToolchainError(
            f"cannot write to the code cache {cache.folder} ({error.strerror}); set {VARIABLE} to move it"
        ) from None


def _load(path: Path, cache: Cache) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolchainError(
            f"{path} cannot be loaded ({error}). If its file system forbids execution, set {VARIABLE} to a folder on "
            "one that allows it; if the file is damaged, run: genn-eventprop cache clear"
        ) from None
