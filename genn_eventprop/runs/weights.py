"""Weights and other parameters to files and back: one ``.npz``, or a folder with a CSV file each."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from ..atomic import replaced_file, replaced_folder
from ..data.events.storage import open_npz, read_arrays
from ..errors import CheckpointError, DataError, suggest
from ..regular import open_regular
from .checkpoint import load_checkpoint
from .run_folder import RunFolder

NIR = ".nir"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,250}")


def save_weights(path: Path | str, parameters: Mapping[str, np.ndarray]) -> None:
    """Write ``file.npz``, or (any other name) a folder of CSV files, one a parameter.

    In a CSV file a line is one presynaptic neuron (a weight matrix of shape (M, N)) or one neuron (a vector (N,));
    numbers are written so that reading them gives the same bits.

    Raises:
        CheckpointError: a name that is no name of a file (checkpoints may come from anybody), or one of another kind.
    """
    path = Path(path)
    for name in parameters:
        if not _NAME.fullmatch(name):
            raise CheckpointError(f"{path}: {name!r} cannot name a parameter in a file; use letters, digits, _ and .")
    if path.suffix == ".npz":
        with replaced_file(path) as temporary, open(temporary, "wb") as content:
            np.savez(content, **{name: np.asarray(value) for name, value in parameters.items()})  # type: ignore[arg-type]
        return
    if path.suffix:
        raise CheckpointError(f"cannot tell the format of {path}: use a name ending in .npz, or a folder for CSV files")
    with replaced_folder(path) as folder:
        _write_csv(folder, parameters)


def _write_csv(folder: Path, parameters: Mapping[str, np.ndarray]) -> None:
    for name, value in parameters.items():
        digits = "%d" if value.dtype.kind in "iu" else "%.9g" if value.dtype == np.float32 else "%.17g"
        rows = "presynaptic neurons, columns: neurons" if value.ndim == 2 else "neurons"
        header = f"{name}, shape {' x '.join(map(str, value.shape))}, rows: {rows}"
        table = value.reshape(-1, value.shape[-1]) if value.ndim > 2 else value
        np.savetxt(folder / f"{name}.csv", table, fmt=digits, delimiter=",", header=header)


def load_weights(path: Path | str, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first part of `fitting_weights`, strictly."""
    return fitting_weights(path, parameters)[0]


def fitting_weights(
    path: Path | str, parameters: Mapping[str, np.ndarray], *, strict: bool = True
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read what `save_weights` wrote, a checkpoint, a NIR file or a run folder's checkpoint, for `parameters`.

    Args:
        strict: False leaves out what the network does not have or has in another shape, a new output layer say.

    Returns:
        name -> float64 array of what fits, and in words what was left: of the file, and of the network, whose other
        parameters keep their values.

    Raises:
        CheckpointError: values that are not finite, files that cannot be read; if `strict`, unknown names and wrong
            shapes.
    """
    values, fitting, problems = read_weights(Path(path), parameters), {}, []
    for name, value in sorted(values.items()):
        if Path(path).suffix == NIR and name in parameters and value.shape == (1,):  # equal values are one there
            value = np.broadcast_to(value, parameters[name].shape)
        problem = _misfit(name, value, parameters, path)
        if problem and strict:
            raise CheckpointError(f"{path}: {problem}")
        if problem:
            problems.append(problem)
            continue
        whole = parameters[name].dtype.kind in "iu"  # pairs of neurons
        fitting[name] = value.reshape(parameters[name].shape).astype(parameters[name].dtype if whole else np.float64)
    problems += [f"{name!r} is not in the file" for name in parameters if name not in values]
    return fitting, problems


def _misfit(name: str, value: np.ndarray, parameters: Mapping[str, np.ndarray], path: Path | str) -> str:
    """Why a value cannot be the parameter of its name; "" if it can."""
    if name not in parameters:
        return f"this network has no parameter {name!r}; {suggest(name, parameters)}"
    shape = parameters[name].shape
    flat = value.ndim < len(shape) and value.size == int(np.prod(shape))  # a CSV file with one line reads as a vector
    if value.shape != shape and not flat:
        return f"{name!r} has shape {value.shape}, this network needs {shape}"
    if value.dtype.kind not in "fiu" or not np.all(np.isfinite(value)):
        raise CheckpointError(f"{path}: {name!r} has values that are not finite numbers")
    return ""


def read_weights(path: Path, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Name -> array, of ``file.npz``, ``file.nir``, a folder of CSV files, a checkpoint or a run folder (its best).

    Args:
        names: those that are needed; of an npz, arrays of other names are not unpacked and come as empty ones.
    """
    if (path / "config.json").is_file():
        path = RunFolder.open(path).checkpoint("best")
    if path.suffix == NIR:
        from ..nir import from_nir

        return from_nir(path).values
    if path.suffix == ".safetensors":
        return load_checkpoint(path).section("parameters")
    return _read_npz(path, names) if path.suffix == ".npz" else _read_csv(path)


def _read_npz(path: Path, names: Container[str] | None) -> dict[str, np.ndarray]:
    if not path.exists():
        raise CheckpointError(f"there is no file {path}")
    try:
        with open_npz(path) as file:
            read = read_arrays(file, [n for n in file.files if names is None or n in names], path)
            return {name: read.get(name, np.empty(0)) for name in file.files}
    except DataError as error:
        raise CheckpointError(f"{path} is damaged or not an npz file: {error}") from None


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    files = sorted(path.glob("*.csv")) if path.is_dir() else []
    if not files:
        raise CheckpointError(
            f"{path} is not a run folder and not a folder with CSV files; give one, or a file ending in .npz or "
            ".safetensors"
        )
    arrays = {}
    for file in files:
        try:
            with open_regular(file) as content:
                arrays[file.stem] = np.loadtxt(content, delimiter=",", ndmin=1)
        except ValueError as error:
            raise CheckpointError(f"{file} is not a table of numbers ({error})") from None
    return arrays
