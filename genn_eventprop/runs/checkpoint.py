"""Checkpoints: arrays as safetensors, everything else as JSON in the same file's header, replaced in one step.

One file and one rename make it atomic: the new checkpoint is written under a temporary name, synced, and renamed over
the old one, so a full disk or a killed process leaves the last good checkpoint untouched. No pickle. A SHA-256 over
all contents detects damage that the format itself would not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ..atomic import replaced_file
from ..checksummed import parsed
from ..errors import CheckpointError
from ..output import say
from ..regular import read_regular
from .run_folder import jsonable

FORMAT = "genn_eventprop checkpoint 1"
_NAME = re.compile(r"[\w+-][\w .:+-]*(/[\w+-][\w .:+-]*)*", re.ASCII)
"""Of an array: exports make names of files of it, and pages show it."""
LONGEST = 250


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """arrays: name -> array; info: JSON-able state. Names are ``"parameters/input_hidden.weight"`` and the like."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]

    def section(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below ``prefix/``, without the prefix."""
        return {k[len(prefix) + 1 :]: v for k, v in self.arrays.items() if k.startswith(prefix + "/")}


def save_checkpoint(
    path: Path | str, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any], then: str = ""
) -> None:
    """Write a checkpoint atomically; an older one at `path` stays loadable until the very last step.

    Args:
        then: what to do once a full disk has space again.

    Raises:
        CheckpointError: if the file cannot be written, e.g. because the disk is full.
    """
    path = Path(path)
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(jsonable(info), allow_nan=False)
    header = {"format": FORMAT, "info": text, "sha256": _digest(tensors, text)}
    old = "; the previous checkpoint is untouched" if path.exists() else ""
    with replaced_file(path, CheckpointError, then, old, make_folder=False) as temporary:
        _remove_leftovers(path)
        temporary.write_bytes(save_tensors(tensors, metadata=header))


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        CheckpointError: missing, cut short, altered, or not a checkpoint of this package.
    """
    path = Path(path)
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror or error}") from None
    try:
        arrays = dict(sorted(load_tensors(content).items()))  # it comes in another order in every process
        header = _header(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged or not a checkpoint ({error})") from None
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this version ({FORMAT!r}), it says {header.get('format')!r}"
        )
    if header.get("sha256") != _digest(arrays, header.get("info", "")):
        raise CheckpointError(f"checkpoint {path} is damaged: its contents do not match its checksum")
    wrong = next((name for name in arrays if len(name) > LONGEST or not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise CheckpointError(
            f"checkpoint {path}: {wrong[:80]!r} cannot name an array; it was not written by this package"
        )
    try:
        info = parsed(header.get("info", ""))
        if not isinstance(info, dict):
            raise ValueError(f"expected a record, got a {type(info).__name__}")
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path} is damaged: the state of the training: {error}") from None
    return Checkpoint(arrays, info)


def load_latest(paths: Iterable[Path]) -> Checkpoint:
    """The first checkpoint of `paths` that is whole: training from an older one gives the same bits, later.

    Raises:
        CheckpointError: none is; what is wrong with the first.
    """
    first: CheckpointError | None = None
    for path in paths:
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            first = first or error
            continue
        if first is not None:
            say(f"note: {first}; continuing from {path.name}")
        return checkpoint
    assert first is not None
    raise first


def _header(content: bytes) -> dict[str, str]:
    """The ``__metadata__`` of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return dict(parsed(content[8 : 8 + length]).get("__metadata__") or {})


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _remove_leftovers(path: Path) -> None:
    """Temporary files of processes that were killed while writing this checkpoint."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)
