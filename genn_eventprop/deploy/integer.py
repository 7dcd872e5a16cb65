"""Trained models in the integers of a `Profile`: predictions, and one C file without floats.

model = IntegerModel(genn_eventprop.load("runs/a"), "int8")
model.outputs(events).classes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..integer.c_file import IntegerFile, integer_file
from ..integer.compiled import CompiledNetwork
from ..integer.profile import Profile, as_profile
from ..training.evaluator import Samples, ready_to_predict
from ..training.integers import reading, step_counts
from .c_file import on_the_grid
from .trained import TrainedModel

SAMPLES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class IntegerOutputs:
    """Predictions for S samples.

    Args:
        classes: (S,) int64, -1 if no output decides. readout: (S, K) int64, see `integer.IntegerReadout`.
        spikes: population -> (S,) int64, how many.
        limited: (S,) how often a state was cut to its bits.
    """

    classes: np.ndarray
    readout: np.ndarray
    spikes: dict[str, np.ndarray]
    limited: np.ndarray


class IntegerModel:
    """A trained model that runs in integers, compiled on this machine.

    Args:
        model: the trained model. profile: how the integers compute, or the name of a profile.
        dt: ms of a step; None: that of the training, or after exact spike times a tenth of it.

    Raises:
        NetworkError: what the profile cannot do, or a loss that reads what integers do not have.
    """

    def __init__(self, model: TrainedModel, profile: Profile | str, dt: float | None = None) -> None:
        self.model = on_the_grid(model, dt)
        plan, values = self.model.plan, {k: np.array(v) for k, v in self.model.engine.parameters.items()}
        self.network = reading(self.model.described.network, plan, as_profile(profile), values)
        self.compiled = CompiledNetwork(self.network)

    def outputs(self, samples: Samples, *, prepared: bool = False) -> IntegerOutputs:
        """Classes and readouts; `samples` and `prepared` as for `TrainedModel.predict`."""
        parts = []
        for data in self.model.parts(samples, prepared, SAMPLES_AT_ONCE):
            loaded = self.model.engine.load(ready_to_predict(data, self.model.plan))
            parts.append(self.compiled.run(step_counts(loaded, np.arange(len(data)), self.model.plan)))
        names = [p.name for p in self.network.populations]
        return IntegerOutputs(
            np.concatenate([np.zeros(0, np.int64), *(p.classes for p in parts)]),
            np.concatenate([np.zeros((0, self.model.plan.output.size), np.int64), *(p.readout for p in parts)]),
            {n: np.concatenate([p.spikes[n].sum(axis=(1, 2), dtype=np.int64) for p in parts]) for n in names},
            np.concatenate([np.zeros(0, np.int64), *(p.limited for p in parts)]),
        )

    def c_file(self, title: str) -> IntegerFile:
        """The model as one C file."""
        return integer_file(self.network, title)
