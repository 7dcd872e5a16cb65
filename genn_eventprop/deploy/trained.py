"""A trained model loaded from its run folder: neither its experiment page nor its data is needed.

model = genn_eventprop.load("runs/a")
model.predict([(times, channels), ...])         # classes; readouts of a regression
model.outputs(samples).probabilities            # (S, K)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compile import create, make_plan
from ..data.currents import Currents
from ..data.inputs import DataSet, Inputs
from ..description import Described, build
from ..engines import NAMES, Engine
from ..engines.contract.half_rows import rounded_weights
from ..engines.registry import availability_of
from ..errors import DataError, DescriptionError, SettingError
from ..losses import Function, Loss, as_losses
from ..losses.label_steps import LabelSteps
from ..losses.outer import UnavailableLoss
from ..plan import Plan
from ..runs.checkpoint import load_checkpoint
from ..runs.run_folder import MODEL, RunFolder
from ..training.evaluator import Evaluation, Samples, as_data, evaluate, preprocessed, ready_to_predict, spike_counts
from ..training.label_steps import with_label_steps
from ..training.stateful import MEMORY, RecordingEngine, StatefulEngine, in_bytes

if TYPE_CHECKING:
    from .online import Stream

BATCH = 32
SAMPLES_AT_ONCE = 256
"""Samples that are preprocessed together."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Predictions of a model for S samples.

    Args:
        classes: (S,) int64, -1 if no output decides; of a label at each step (S, n_steps), scores and probabilities
            then are (S, n_steps, K).
        readout: (S, K), see `engines.Result`; of a regression in the units of its targets.
        scores: (S, K), larger is more likely, -inf for a silent output.
        probabilities: (S, K), nan if no output decides; None if the loss has none (`Loss.probabilities`).

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, run_dir="run", progress=False)
        >>> results = trainer.fit(events, epochs=1)
        >>> outputs = load("run").outputs([([1.0, 2.5], [0, 3])])  # one recording: times in ms, channels
        >>> outputs.probabilities.shape
        (1, 2)
    """

    classes: np.ndarray
    readout: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray | None


class TrainedModel:
    """A network with its trained weights, its preprocessing and the names of its classes.

    Args:
        described: the model.
        values: its parameters by name.
        engine: None: the one used in training if this machine has it, else the fastest that can run the model.
        threads: for engines with threads.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, run_dir="run", progress=False)
        >>> results = trainer.fit(events, epochs=1)
        >>> model = load("run")
        >>> model.predict(events).shape, model.class_names
        ((20,), ('0', '1'))
    """

    def __init__(
        self, described: Described, values: dict[str, np.ndarray], *, engine: str | None = None,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        self._threads = threads
        losses = [_without_function(loss) for loss in as_losses(described.loss)]
        self.described = described
        self.plan = make_plan(
            described.network, losses, dt=described.dt, duration=described.duration, spike_times=described.spike_times
        )
        if described.weight_rows == "float16":
            values = rounded_weights(self.plan, values)  # so any engine predicts what training saw
        self.engine = with_label_steps(create(
            self.plan, values, engine=engine or _runs_here(described.engine), dtype=described.dtype, threads=threads
        ))  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds the model and its weights; the copy makes its own engine."""
        values = {name: np.array(value) for name, value in self.engine.parameters.items()}
        settings: dict[str, Any] = {"engine": self.engine.name, "threads": self._threads}
        return partial(TrainedModel, **settings), (self.described, values)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs, numbers where none were given."""
        names = self.described.class_names
        return (*names, *(str(k) for k in range(len(names), self.plan.output.size)))

    @property
    def regression(self) -> bool:
        """Whether the loss compares with targets, so that readouts are what is predicted."""
        return self.plan.loss.compares == "targets" and not isinstance(self.plan.loss.outer, LabelSteps)

    @property
    def n_channels(self) -> int:
        """Channels of the data before the preprocessing."""
        return self.described.n_channels or self.plan.input.size

    def predict(self, samples: Samples, *, prepared: bool = False) -> np.ndarray:
        """Classes (S,) int64, -1 if no output decides; for a regression, the readouts (S, K).

        Args:
            samples: `Events`, or a list of (times in ms, channels), as they were recorded; `Currents`, or a dictionary
                of inputs by name, if the network has currents. Of a model trained with `carry`, chunks of recordings
                (with `groups`, see `data.events.chunks`) carry their state.
            prepared: whether they have already been preprocessed.
        """
        outputs = self.outputs(samples, prepared=prepared)
        return outputs.readout if self.regression else outputs.classes

    def outputs(self, samples: Samples, *, prepared: bool = False) -> Outputs:
        """Classes, readouts, scores and probabilities of the `samples`; they and `prepared` as for
        `predict`."""
        outputs = [self.evaluate(part, prepared=True) for part in self.parts(samples, prepared)]
        if isinstance(self.plan.loss.outer, LabelSteps):
            return _of_steps(outputs, self.plan)
        readout = np.concatenate([np.zeros((0, self.plan.output.size)), *(e.readout for e in outputs)])
        scores = np.concatenate([np.zeros_like(readout[:0]), *(e.scores for e in outputs)])
        classes = np.concatenate([np.zeros(0, np.int64), *(e.predictions for e in outputs)])
        probabilities = self.plan.loss.probabilities(readout, np.isfinite(readout), self.plan.duration)
        if (scale := self.described.target_scale) is not None:
            readout = scale.units(readout)
        return Outputs(classes, readout, scores, probabilities)

    def prepared(self, events: DataSet) -> DataSet:
        """`events` after the preprocessing used in training."""
        (data,) = self.parts(events, False, None)
        return data

    def evaluate(self, events: Samples, *, prepared: bool = False) -> Evaluation:
        """Run `events` forwards, with the loss if they have labels or targets; `prepared` as for `predict`."""
        (data,) = self.parts(events, prepared, None)
        engine = self._running(data)
        return evaluate(engine, engine.load(ready_to_predict(data, self.plan)), BATCH, np.inf)

    def spike_counts(self, events: Samples, *, prepared: bool = False) -> dict[str, np.ndarray]:
        """Population -> (S, N) int64, spikes of every neuron in every sample of `events`; `prepared` as for
        `predict`."""
        (data,) = self.parts(events, prepared, None)
        engine = self._running(data)
        return spike_counts(engine, engine.load(ready_to_predict(data, self.plan)), BATCH)

    def _carries(self, data: DataSet) -> bool:
        """Whether these are chunks of recordings, which carry their state as in training."""
        return bool(self.described.carry) and getattr(data, "groups", None) is not None

    def _running(self, data: DataSet) -> Engine:
        if not self._carries(data):
            return self.engine
        exact = self.described.carry == "exact"
        return RecordingEngine(self.engine, None, in_bytes(MEMORY, "memory")) if exact else StatefulEngine(self.engine)

    def stream(self, dtype: str = "float32") -> Stream:
        """A trial that takes preprocessed input spikes as they arrive, in precision `dtype`; see `Stream`."""
        from .online import Stream

        return Stream(self.plan, dict(self.engine.parameters), dtype=dtype)

    def close(self) -> None:
        """Free the engine's threads and memory."""
        self.engine.close()

    def parts(self, samples: Samples, prepared: bool, together: int | None = SAMPLES_AT_ONCE) -> Iterator[DataSet]:
        """The `samples` as the network takes them, `together` at a time; None: all. `prepared` as for `predict`."""
        width = self.plan.input.size if prepared else self.n_channels
        data = as_data(samples, width)
        both = self.plan.currents and self.plan.input.size
        if width and not both and not isinstance(data, Inputs) and data.n_channels != width:
            raise DataError(f"the data has {data.n_channels} channels, but this model was trained on {width}")
        together = len(data) or 1 if together is None or self._carries(data) else together
        for start in range(0, max(len(data), 1), together):
            part: DataSet = data[start : start + together]
            if not prepared:
                raw, part = part, preprocessed(self.described.preprocessing, part)
                self._check_length(raw, part)
                if self.described.target_scale is not None:
                    part = self.described.target_scale.scaled(part)
            yield part

    def _check_length(self, raw: DataSet, part: DataSet) -> None:
        """Raise `DataError` for curves of another length, whose parts then have another length as well."""
        if not (isinstance(raw, Currents) and isinstance(part, Currents) and len(self.plan.currents) == 1):
            return
        lasts, dt = raw.values.shape[1] * raw.dt, self.plan.currents[0].dt
        duration = dt * math.floor(self.plan.duration / dt + 1e-9)
        if math.isclose(raw.dt, part.dt) or math.isclose(part.dt, dt) or math.isclose(lasts, duration):
            return
        raise DataError(
            f"the samples last {lasts:g} ms ({raw.values.shape[1]} steps), those of the training {duration:g} ms; the "
            "preprocessing divides them into as many parts, so cut or fill them to the same length"
        )


def load(
    run: Path | str, *, checkpoint: str = "best", engine: str | None = None, threads: int | None = None,
    trust: bool = False,
) -> TrainedModel:  # fmt: skip
    """The trained model of a run folder.

    Args:
        run: the folder.
        checkpoint: "best", the weights chosen on validation, or "last".
        engine, threads: see `TrainedModel`.
        trust: also accept hand-written code from model.json, which is compiled and run. Only for your own folders.

    Raises:
        SettingError: not a run folder, or one without model.json.
        DescriptionError: a model.json that cannot be used, or not without `trust`.
        CheckpointError: no checkpoint, or a damaged one.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, run_dir="run", progress=False)
        >>> results = trainer.fit(events, epochs=1)
        >>> load("run").evaluate(events).predictions.shape
        (20,)
    """
    folder = RunFolder.open(run)
    if not (folder.path / MODEL).is_file():
        raise SettingError(
            f"{folder.path} has no {MODEL}: it was made by an older version, or its model cannot be described; "
            f"genn-eventprop resume {folder.path} (with --page, if the page is your own) writes it where it can"
        )
    values = load_checkpoint(folder.checkpoint(checkpoint)).section("parameters")
    try:
        described = build(folder.model, values, trust=trust)
    except DescriptionError as error:
        raise DescriptionError(f"{folder.path / MODEL}: {error}") from None
    return TrainedModel(described, values, engine=engine, threads=threads)


def _of_steps(parts: list[Evaluation], plan: Plan) -> Outputs:
    """Of labels of steps: probabilities are the softmax of each step."""
    T, K = plan.n_steps, plan.output.size
    classes = np.concatenate([np.zeros((0, T), np.int64), *(e.predictions for e in parts)])
    readout = np.concatenate([np.zeros((0, K)), *(e.readout for e in parts)])
    scores = np.concatenate([np.zeros((0, T, K)), *(e.scores for e in parts)])
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return Outputs(classes, readout, scores, e / e.sum(-1, keepdims=True))


def _without_function(loss: Loss) -> Loss:
    """An outer loss in Python says nothing about a prediction."""
    if not isinstance(loss.outer, Function) or isinstance(loss.outer, LabelSteps):
        return loss
    return dataclasses.replace(loss, outer=UnavailableLoss(loss.outer.compares, loss.outer.label))


def _runs_here(name: str) -> str:
    """The engine that trained the model, or "auto" where it does not run; others are not imported."""
    return name if name in NAMES and availability_of(name).runs else "auto"
