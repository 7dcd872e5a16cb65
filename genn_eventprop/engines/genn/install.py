"""Is pygenn here, is it the right version, which of its backends can run: with messages that say what to do."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from typing import Any

from ...errors import EngineError, SettingError, suggest

VERSION = "5.4"
BACKENDS = ("cuda", "hip", "single_threaded_cpu")
HOW = (
    "install GeNN 5.4.0 from its release archive with pip, as the README shows; every experiment also runs without it, "
    "with engine='native'"
)


def import_pygenn() -> Any:
    """The pygenn module.

    Raises:
        EngineError: if it is absent, cannot be loaded, or has another version.
    """
    if importlib.util.find_spec("pygenn") is None:
        raise EngineError(f"pygenn is not installed: {HOW}")
    try:
        pygenn = importlib.import_module("pygenn")
    except Exception as error:  # a broken installation fails in many ways: libraries, NumPy, backends
        raise EngineError(f"pygenn is installed but cannot be imported ({error}): {HOW}") from error
    installed = str(getattr(pygenn, "__version__", "unknown"))
    if installed.split(".")[:2] != VERSION.split("."):
        raise EngineError(f"pygenn {installed} is installed, but this engine is written for {VERSION}: {HOW}")
    return pygenn


def available_backends() -> tuple[str, ...]:
    """The backends that this pygenn was built with, best first."""
    import_pygenn()
    modules = importlib.import_module("pygenn.genn_model").backend_modules
    return tuple(b for b in BACKENDS if b in modules)


# library, function that starts it (or ""), function that counts devices
_DRIVERS = {
    "cuda": (("libcuda.so.1", "nvcuda.dll"), "cuInit", "cuDeviceGetCount"),
    "hip": (("libamdhip64.so",), "", "hipGetDeviceCount"),
}


def devices(backend: str) -> int:
    """How many devices a backend has here. GeNN itself ends the whole process where it finds none."""
    if backend not in _DRIVERS:
        return 1
    names, start, counter = _DRIVERS[backend]
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if (start and getattr(library, start)(0)) or getattr(library, counter)(ctypes.byref(count)):
            return 0
        return count.value
    return 0


def choose_backend(asked: str | None) -> str:
    """The backend to use: the one asked for, else the first that this pygenn has and that has a device.

    Raises:
        SettingError: for an unknown name. EngineError: if pygenn was built without it, or it has no device here.
    """
    if asked not in (None, "auto", *BACKENDS):
        raise SettingError(f"unknown GeNN backend {asked!r} ({suggest(str(asked), (*BACKENDS, 'auto'))})")
    built = available_backends()
    here = [b for b in built if devices(b) > 0]
    if asked in (None, "auto") and here:
        return here[0]
    other = f"use the engine genn(backend={here[0]})" if here else "use the engine native"
    if asked in built or asked in (None, "auto"):
        if asked in here:
            return str(asked)
        raise EngineError(f"no device for the GeNN backend {asked or built[0]} on this machine, or no driver; {other}")
    raise EngineError(
        f"this pygenn has no backend {asked!r} (it has: {', '.join(built)}): it was built where "
        f"{'CUDA_PATH' if asked == 'cuda' else 'HIP_PATH'} was not set, or its driver is missing here; {other}"
    )
