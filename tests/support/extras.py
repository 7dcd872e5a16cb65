"""Libraries of the extras: a test that needs one is skipped where it is not installed, with a reason that names it."""

from typing import Any

import pytest

EXTRA_OF = {
    "brian2": "brian",
    "cuda": "cuda",
    "faery": "dev",
    "jax": "jax",
    "lz4": "camera",
    "mpi4py": "mpi",
    "mypy": "dev",
    "neo": "ephys",
    "nir": "nir",
    "optuna": "search",
    "pynwb": "ephys",
    "quantities": "ephys",
    "sklearn": "baseline",
    "submitit": "cluster",
    "tonic": "data",
    "torch": "torch",
    "xylosim": "xylo",
    "ziglang": "compiler",
    "zstandard": "camera",
}
REASON = "needs the extra"


def needs(module: str) -> Any:
    """The module, imported."""
    reason = f"{REASON} [{EXTRA_OF[module.partition('.')[0]]}]"
    try:
        return pytest.importorskip(module, reason=reason)
    except AttributeError as error:
        if module != "brian2":
            raise
        pytest.skip(f"{reason}: {error}", allow_module_level=True)  # Brian beside a NumPy that its extra excludes
