"""From C++ text to a loaded library, through the cache."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..atomic import advice, is_full
from ..errors import ToolchainError, WriteError
from ..output import say
from .cache import VARIABLE, Cache
from .compiler import Compiler, NoCompilerError, cpu_features, find_compiler, more_flags

_loaded: dict[str, ctypes.CDLL] = {}


def key_of(source: str, compiler: Compiler | None) -> str:
    """Hash of source, CPU features, operating system, machine and flags asked for; behind it one of compiler and flags.

    Without a compiler the first half alone: then the library of any compiler that ran for such a processor will do.
    """
    place = _hash(source, cpu_features(), sys.platform, platform.machine(), *more_flags(), length=32)
    return place if compiler is None else f"{place}-{_hash(compiler.version, *compiler.flags, length=12)}"


def _hash(*parts: str, length: int) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def build(source: str, language: str = "c++") -> ctypes.CDLL:
    """Compile `source`, "c++" or "c", unless the cache has it, and load it.

    Raises:
        ToolchainError: no compiler, and the cache has it not; a failed compilation (source and message are kept in the
            cache); a cache folder that cannot be used or forbids execution.
    """
    compiler = _compiler_or(source)
    compiler = compiler and replace(compiler, language=language)
    key = key_of(source, compiler)
    if key not in _loaded:
        cache = Cache()
        path = cache.hit(key)
        if path is None:
            path = _compile(source, compiler or replace(find_compiler(), language=language), cache, key)
        _loaded[key] = _load(path, cache)
    return _loaded[key]


def device_code(source: str, options: Sequence[str], compile_it: Callable[[], bytes]) -> bytes:
    """A GPU's machine code of `source`, from the cache or made by `compile_it`; options: all else that it depends on.

    Raises:
        ToolchainError: a cache folder that is not to be trusted.
    """
    key, cache = _hash(source, *options, length=32), Cache()
    path = cache.hit(key, ".cubin")
    if path is not None:
        return path.read_bytes()
    code = compile_it()
    try:
        with cache.scratch() as folder:
            built = Path(folder) / "network.cubin"
            built.write_bytes(code)
            cache.publish(built, key, source, ".cu", ".cubin")
    except OSError as error:  # it runs all the same
        why = error.strerror or error
        say(
            f"note: the code cache {cache.folder} cannot be written ({why}); the GPU code will be compiled "
            "again next time"
        )
    return code


def require(source: str) -> None:
    """Raise now what `build` would raise later for want of a compiler."""
    _compiler_or(source)


def _compiler_or(source: str) -> Compiler | None:
    """The compiler; None where there is none but the cache has what was built from `source` elsewhere."""
    try:
        return find_compiler()
    except NoCompilerError as error:
        cache = Cache()
        if key_of(source, None) in _loaded or cache.hit(key_of(source, None)):
            return None
        raise ToolchainError(
            f"{error}. The code cache {cache.folder} does not have this network either. It may be built there by a "
            "machine with a compiler and the same kind of processor, e.g. a login node"
        ) from None


def _compile(source: str, compiler: Compiler, cache: Cache, key: str) -> Path:
    try:
        with cache.scratch() as folder:
            text, built = Path(folder) / "network.cpp", Path(folder) / "network.so"
            text.write_text(source)
            try:
                compiler.compile(text, built)
            except ToolchainError as error:
                if is_full(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
                what = _saved(cache, key, source, error)
                raise ToolchainError(f"the generated code did not compile; {what}") from None
            return cache.publish(built, key, source, ".c" if compiler.language == "c" else ".cpp")
    except OSError as error:
        raise ToolchainError(
            f"cannot write to the code cache {cache.folder} ({error.strerror or error}); set {VARIABLE} to move it, or "
            f"{advice(error)}"
        ) from None


def _saved(cache: Cache, key: str, source: str, error: ToolchainError) -> str:
    try:
        return f"source and log kept at {cache.keep_failure(key, source, str(error))}\n{error}"
    except (OSError, WriteError) as problem:
        return f"its source could not be kept ({problem})\n{error}"


def _load(path: Path, cache: Cache) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolchainError(
            f"{path} cannot be loaded ({error}). If its file system forbids execution, set {VARIABLE} to a folder on "
            "one that allows it; if a machine with other system libraries built it, run: genn-eventprop cache clear"
        ) from None
