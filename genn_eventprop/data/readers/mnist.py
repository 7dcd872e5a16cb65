"""MNIST images: the original IDX files (plain or .gz) or an npz file."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...arguments import explain
from ...errors import DataError, suggest
from ...modelling.memory import physical_memory
from ..events.encode import latency_linear
from ..events.storage import open_npz, read_arrays

IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/ (the four .gz files, in a folder mnist)"
"""The copy of yann.lecun.com/exdb/mnist, which no longer answers, that torchvision reads."""
PACKED = 1100
"""Bytes that gzip makes one of, at most."""
HELD_OUT = 5000
"""Images that Wunderlich & Pehle 2021 keep for validation: the first of the training set."""


def load_events(
    path: str | Path,
    split: str,
    encoder: Callable[..., Any] = latency_linear,
    size: int | None = None,
    held_out: int = HELD_OUT,
    **settings: Any,
) -> Any:
    """Events, or what else the encoder makes, of a split.

    It is "train", "validation" (the first `held_out` training images) or "test".

    Args:
        path: npz file, or folder of IDX files.
        encoder: of data.events.encode, called with the images, the labels and `settings`.
        size: the first `size` images of the split only.
    """
    splits = {
        "train": ("train", slice(held_out, None)),
        "validation": ("train", slice(0, held_out)),
        "test": ("test", slice(None)),
    }
    if split not in splits:
        raise DataError(f"mnist: no split {split!r}; {suggest(split, splits)}")
    part, rows = splits[split]
    arrays = load(path)
    images, labels = arrays[f"x_{part}"][rows][:size], arrays[f"y_{part}"][rows][:size]
    return encoder(images, labels, n_classes=10, name=f"mnist {split}", **settings)


def read_idx(path: str | Path) -> np.ndarray:
    """Array of an IDX file: two zero bytes, type, number of axes, big-endian sizes, data.

    Raises:
        DataError: absent, foreign, or shorter or longer than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _idx(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); download it again") from error


def _idx(file: gzip.GzipFile | IO[bytes], path: Path) -> np.ndarray:
    """What `read_idx` reads; no more is unpacked than the header asks for."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or start[3] == 0:
        raise DataError(f"{path}: not an IDX file (it starts with {start!r})")
    sides = file.read(4 * start[3])
    shape = tuple(np.frombuffer(sides, ">u4").astype(int).tolist()) if len(sides) == 4 * start[3] else ()
    dtype = np.dtype(IDX_TYPES[start[2]])
    wanted = math.prod(shape) * dtype.itemsize
    most = path.stat().st_size * (PACKED if path.suffix == ".gz" else 1)
    if physical_memory() < wanted <= most:
        raise DataError(f"{path}: its header asks for {wanted} bytes, more than the memory of this machine")
    data = file.read(min(wanted, most) + 1)
    if len(shape) != start[3] or len(data) != wanted:
        head = 4 + len(sides)
        got = f"more than {head + wanted}" if len(data) > wanted else str(head + len(data))
        raise DataError(f"{path}: {got} bytes instead of the {head + wanted} of its header; download it again")
    return np.frombuffer(data, dtype).reshape(shape)


def load(path: str | Path) -> dict[str, np.ndarray]:
    """x_train (60000, 28, 28) uint8, y_train (60000,) int64, x_test, y_test, from an npz file or a folder of IDX files.

    Raises:
        DataError: files absent (with what to place where), foreign, or of sizes that do not match.
    """
    path = Path(path)
    arrays = _from_folder(path) if path.is_dir() else _from_npz(path)
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DataError(f"{path}: x_{part} must be (images, rows, columns) uint8, is {images.shape} {images.dtype}")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(f"{path}: y_{part} must be {len(images)} integers, is {labels.shape} {labels.dtype}")
        arrays[f"y_{part}"] = labels.astype(np.int64)
    return arrays


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    with open_npz(path) as file:
        return read_arrays(file, FILES, path)


def _from_folder(folder: Path) -> dict[str, np.ndarray]:
    if (folder / "mnist.npz").is_file():
        return _from_npz(folder / "mnist.npz")
    arrays = {}
    for name, base in FILES.items():
        candidates = [folder / f"{base}{end}" for end in ("", ".gz") if (folder / f"{base}{end}").is_file()]
        if not candidates:
            raise DataError(
                f"{folder}: neither mnist.npz nor {base} (or {base}.gz); place the four MNIST files "
                f"{', '.join(FILES.values())} there, packed or not, or an mnist.npz with {', '.join(FILES)}"
            )
        arrays[name] = read_idx(candidates[0])
    return arrays


explain(globals(), ("load_events", "read_idx", "load"), DataError)
