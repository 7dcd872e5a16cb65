"""Is pygenn here, is it the right version, which of its backends can run: with messages that say what to do."""

from __future__ import annotations

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
    found = str(getattr(pygenn, "__version__", "unknown"))
    if found.split(".")[:2] != VERSION.split("."):
        raise EngineError(f"pygenn {found} is installed, but this engine is written for {VERSION}: {HOW}")
    return pygenn


def available_backends() -> tuple[str, ...]:
    """The backends that this pygenn was built with, best first."""
    import_pygenn()
    modules = importlib.import_module("pygenn.genn_model").backend_modules
    return tuple(b for b in BACKENDS if b in modules)


def choose_backend(asked: str | None) -> str:
    """The backend to use: the one asked for, else the first that this pygenn has.

    Raises:
        SettingError: for an unknown name. EngineError: if pygenn was built without it.
    """
    if asked not in (None, "auto", *BACKENDS):
        raise SettingError(f"unknown GeNN backend {asked!r} ({suggest(str(asked), (*BACKENDS, 'auto'))})")
    here = available_backends()
    if asked in (None, "auto"):
        return here[0]
    if asked not in here:
        raise EngineError(
            f"this pygenn has no backend {asked!r} (it has: {', '.join(here)}): it was built where "
            f"{'CUDA_PATH' if asked == 'cuda' else 'HIP_PATH'} was not set, or its driver is missing here; "
            f"use --genn-backend {here[0]}"
        )
    return str(asked)
