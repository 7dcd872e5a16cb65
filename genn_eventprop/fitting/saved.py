"""The result of one cell as one file, and until then its last stage, after which a command that was stopped goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replaced_file
from ..data.events.storage import open_npz, read_arrays
from ..errors import DataError
from ..modelling import NeuronModel
from .compare import FreeRun
from .levenberg import Minimum
from .recording import Recording
from .result import FitResult
from .verdict import Score, Verdict

FREE, TESTED, REST = "free.", "tested.", "rest"
"""Before the names of arrays of the free runs; the array of the text that holds what is no array."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What the stages of a fit so far have found; the following ones begin with it.

    Attributes:
        number: of stages. first: (M, P) where the starts began. minimum: where the last stage ended. ends: (N, P) where
            all of them did.
        simulations, best: as in `FitResult` and `FitTask`.
    """

    number: int
    first: np.ndarray
    minimum: Minimum
    ends: np.ndarray
    simulations: int
    best: dict[str, Any]


def save_stage(stage: Stage, path: Path) -> None:
    """Write a stage, in one step.

    Raises:
        WriteError: it cannot be written.
    """
    rest = {"number": stage.number, "simulations": stage.simulations, "best": stage.best}
    arrays = {"first": stage.first, "ends": stage.ends, REST: np.array(json.dumps(rest)), **asdict(stage.minimum)}
    with replaced_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_stage(path: Path) -> Stage:
    """What `save_stage` wrote.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    with open_npz(path) as file:
        values: dict[str, Any] = dict(read_arrays(file, file.files, path))
    try:
        first, ends, rest = values.pop("first"), values.pop("ends"), json.loads(str(values.pop(REST)))
        return Stage(first=first, ends=ends, minimum=Minimum(**values), **rest)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no stage of a fit ({error}); remove it") from None


def save_result(result: FitResult, path: Path) -> None:
    """Write everything but the model and the recordings, in one step.

    Raises:
        WriteError: it cannot be written.
    """
    arrays, rest = dict[str, np.ndarray](), dict[str, Any]()
    for part, prefix in ((result, ""), (result.free, FREE), (result.tested, TESTED)):
        for field in () if part is None else fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                arrays[prefix + field.name] = value
            elif field.name == "spikes":  # one array, with the number of each sweep
                arrays[f"{prefix}spikes"] = np.concatenate(value)
                arrays[f"{prefix}counts"] = np.array([len(times) for times in value])
            elif field.name == "verdict":
                rest["verdict"] = asdict(value)
            elif field.name not in ("model", "recording", "free", "test", "tested"):
                rest[prefix + field.name] = value
    arrays[REST] = np.array(json.dumps(rest))
    with replaced_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_result(path: Path, model: NeuronModel, recording: Recording, test: Recording | None = None) -> FitResult:
    """What `save_result` wrote.

    Args:
        test: the sweeps that were held out.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    with open_npz(path) as file:
        values: dict[str, Any] = dict(read_arrays(file, file.files, path))
    try:
        values |= json.loads(str(values.pop(REST)))
        free, tested = (_run(values, prefix) for prefix in (FREE, TESTED))
        verdict = values.pop("verdict")
        values["window"] = tuple(values["window"])
        verdict |= {n: Score(**verdict[n]) for n in ("model", "null", "cell")}
        if free is None or (tested is None) != (test is None):
            raise KeyError("a free run")
        return FitResult(
            model=model, recording=recording, free=free, test=test, tested=tested, verdict=Verdict(**verdict), **values
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no result of a fit ({error}); remove it") from None


def _run(values: dict[str, Any], prefix: str) -> FreeRun | None:
    """The free run that is taken out of these values; None if there is none."""
    own = {n.removeprefix(prefix): values.pop(n) for n in [*values] if n.startswith(prefix)}
    if not own:
        return None
    counts = own.pop("counts")
    return FreeRun(**{**own, "spikes": tuple(np.split(own["spikes"], np.cumsum(counts)[:-1]))})
