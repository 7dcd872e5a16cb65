"""Weights and other parameters to files and back: one ``.npz``, or a folder with a CSV file each."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, suggest


def save_weights(path: Path | str, parameters: Mapping[str, np.ndarray]) -> None:
    """Write ``file.npz``, or (any other name) a folder of CSV files, one a parameter.

    In a CSV file a line is one presynaptic neuron (a weight matrix of shape (M, N)) or one neuron (a vector (N,));
    numbers are written so that reading them gives the same bits.
    """
    path = Path(path)
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: np.asarray(value) for name, value in parameters.items()})  # type: ignore[arg-type]
        return
    if path.suffix:
        raise CheckpointError(f"cannot tell the format of {path}: use a name ending in .npz, or a folder for CSV files")
    path.mkdir(parents=True, exist_ok=True)
    for name, value in parameters.items():
        digits = "%.9g" if value.dtype == np.float32 else "%.17g"
        rows = "presynaptic neurons, columns: neurons" if value.ndim == 2 else "neurons"
        header = f"{name}, shape {' x '.join(map(str, value.shape))}, rows: {rows}"
        np.savetxt(path / f"{name}.csv", value, fmt=digits, delimiter=",", header=header)


def load_weights(path: Path | str, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Read what `save_weights` wrote, for a network with these `parameters`.

    Returns:
        name -> float64 array, for the names that the file has; missing ones keep their value in the network.

    Raises:
        CheckpointError: unknown names, wrong shapes, values that are not finite, files that cannot be read.
    """
    path = Path(path)
    found = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    for name, value in found.items():
        if name not in parameters:
            raise CheckpointError(f"{path}: this network has no parameter {name!r}; {suggest(name, parameters)}")
        shape = parameters[name].shape
        if value.ndim < len(shape) and value.size == int(np.prod(shape)):
            value = value.reshape(shape)  # a CSV file with one line or one column reads as a vector
        if value.shape != shape:
            raise CheckpointError(f"{path}: {name!r} has shape {value.shape}, this network needs {shape}")
        if not np.all(np.isfinite(value)):
            raise CheckpointError(f"{path}: {name!r} has values that are not finite")
        found[name] = value.astype(np.float64)
    return found


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged or not an npz file ({error})") from None


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    files = sorted(path.glob("*.csv")) if path.is_dir() else []
    if not files:
        raise CheckpointError(f"{path} is not a folder with CSV files; give it, or a file ending in .npz")
    found = {}
    for file in files:
        try:
            found[file.stem] = np.loadtxt(file, delimiter=",", ndmin=1)
        except ValueError as error:
            raise CheckpointError(f"{file} is not a table of numbers ({error})") from None
    return found
