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

FREE, REST = "free.", "rest"
"""Before the names of arrays of the free run; the array of the text that holds what is no array."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What the stages of a fit so far have found; the following ones begin with it.

    Attributes:
        number: of stages. first: (M, P) where the starts began. minimum: where the last stage ended.
        simulations, best: as in `FitResult` and `FitTask`.
    """

    number: int
    first: np.ndarray
    minimum: Minimum
    simulations: int
    best: dict[str, Any]


def save_stage(stage: Stage, path: Path) -> None:
    """Write a stage, in one step.

    Raises:
        WriteError: it cannot be written.
    """
    rest = {"number": stage.number, "simulations": stage.simulations, "best": stage.best}
    arrays = {"first": stage.first, REST: np.array(json.dumps(rest)), **asdict(stage.minimum)}
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
        first, rest = values.pop("first"), json.loads(str(values.pop(REST)))
        return Stage(first=first, minimum=Minimum(**values), **rest)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no stage of a fit ({error}); remove it") from None


def save_result(result: FitResult, path: Path) -> None:
    """Write everything but the model and the recording, in one step.

    Raises:
        WriteError: it cannot be written.
    """
    arrays, rest = dict[str, np.ndarray](), dict[str, Any]()
    for part, prefix in ((result, ""), (result.free, FREE)):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                arrays[prefix + field.name] = value
            elif field.name == "spikes":  # one array, with the number of each sweep
                arrays[f"{prefix}spikes"] = np.concatenate(value)
                arrays[f"{prefix}counts"] = np.array([len(times) for times in value])
            elif field.name == "verdict":
                rest["verdict"] = asdict(value)
            elif field.name not in ("model", "recording", "free"):
                rest[prefix + field.name] = value
    arrays[REST] = np.array(json.dumps(rest))
    with replaced_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_result(path: Path, model: NeuronModel, recording: Recording) -> FitResult:
    """What `save_result` wrote.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    with open_npz(path) as file:
        values: dict[str, Any] = dict(read_arrays(file, file.files, path))
    try:
        values |= json.loads(str(values.pop(REST)))
        counts = values.pop(f"{FREE}counts")
        values[f"{FREE}spikes"] = tuple(np.split(values[f"{FREE}spikes"], np.cumsum(counts)[:-1]))
        verdict = values.pop("verdict")
        verdict |= {n: Score(**verdict[n]) for n in ("model", "null", "cell")}
        free = FreeRun(**{n.removeprefix(FREE): v for n, v in values.items() if n.startswith(FREE)})
        own = {n: v for n, v in values.items() if not n.startswith(FREE)}
        return FitResult(model=model, recording=recording, free=free, verdict=Verdict(**verdict), **own)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no result of a fit ({error}); remove it") from None
