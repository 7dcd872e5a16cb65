"""Data sets run forwards with the weights of now, their averages, or the best ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Events
from ..data.augment.encodings import apply
from ..data.events import check
from ..data.events.events import as_events
from ..data.inputs import DataSet, Inputs, require_data, with_targets
from ..data.target_scale import explained_variance
from ..engines import Data, Engine
from ..engines.contract.result import LossPart
from ..errors import DataError
from ..losses import Function
from ..losses.label_steps import LabelSteps
from ..losses.record import LossRecord
from ..plan import NetworkPlan, Plan
from .checks import check_labels
from .class_weights import ClassWeights
from .epoch_statistics import Activity, EpochStatistics
from .label_steps import StepResult
from .parameter_sets import ParameterSets
from .stateful import in_order

if TYPE_CHECKING:
    from ..data.currents import Currents
    from ..data.events.splits import HeldOutTestSet

Sample = tuple[Any, Any]
"""(times, channels) of one sample: two arrays or lists of one length, ms and channel numbers."""
Samples = DataSet | Mapping[str, "Events | Currents"] | Sequence[Sample]
"""A data set, a dictionary of inputs by name, or a list of samples."""


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Evaluates and predicts for a `Trainer`, see the methods of the same names there.

    Args:
        engine, plan: what runs. parameter_sets: whose averages are used, if there are some.
        runaway_spikes: a neuron with more spikes per trial on average is counted as runaway.
    """

    engine: Engine
    plan: NetworkPlan
    parameter_sets: ParameterSets
    class_weights: ClassWeights
    batch_size: int
    runaway_spikes: float

    def evaluate(self, events: Samples) -> Evaluation:
        return self.run(self.class_weights.apply(self.engine.load(self._as_events(events))))

    def predict(self, events: Samples) -> np.ndarray:
        result = self.run(self.engine.load(ready_to_predict(self._as_events(events), self.plan)))
        steps = isinstance(self.plan.loss.outer, LabelSteps)
        return result.readout if self.plan.loss.compares == "targets" and not steps else result.predictions

    def spike_counts(self, events: Samples) -> dict[str, np.ndarray]:
        with self.parameter_sets.use_averages():
            return spike_counts(self.engine, self.engine.load(self._as_events(events)), self.batch_size)

    def run(self, data: Data, between: Callable[[], None] = lambda: None) -> Evaluation:
        """Evaluate loaded data; `between` is called between batches."""
        with self.parameter_sets.use_averages():
            return evaluate(self.engine, data, self.batch_size, self.runaway_spikes, between)

    def test(self, data: Data) -> tuple[Evaluation, Evaluation]:
        """(with the best weights, with the last ones), one evaluation for both where no best ones were chosen."""
        last = self.run(data)
        if self.parameter_sets.best is None:
            return last, last
        with self.parameter_sets.use_best():
            return self.run(data), last

    def load(self, events: Any, what: str) -> Data:
        """A labelled data set, with class weights; `what` names it in errors.

        Raises:
            DataError: it is no data set, or labels are missing that the loss needs.
        """
        data = self.engine.load(require_data(events, f"{what} set"))
        check_labels(data.labels, what, needed=data.targets is None and not data.whole)
        return self.class_weights.apply(data)

    def hold_out(self, test: Any) -> HeldOutTestSet | None:
        """The test set out of reach until the end, once it is known to fit."""
        from ..data.events.splits import HeldOutTestSet

        if test is None:
            return None
        held_out = test if isinstance(test, HeldOutTestSet) else HeldOutTestSet(require_data(test, "test set"))
        held_out.check(lambda events: self.load(events, "test"))
        return held_out

    def _as_events(self, events: Samples) -> DataSet:
        return as_data(events, self.plan.input.size)


@dataclass(frozen=True, eq=False)
class PartEvaluation:
    """One of several losses over a data set: mean loss without its factor, accuracy, predictions (S,), readout (S, K);
    see `Evaluation`."""

    loss: float
    accuracy: float
    predictions: np.ndarray
    readout: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A data set of S samples run forwards.

    Args:
        loss: mean, nan without labels and targets.
        accuracy: in 0..1; an undecided sample is wrong; nan without labels.
        undecided: number of samples in which no output decides: no readout, or several equal largest scores.
        predictions: (S,) int64, -1 where undecided; of a label at each step predictions and labels are (S, n_steps) and
            scores (S, n_steps, K), and the accuracy is that of all steps with a label.
        readout: (S, K), see `engines.Result`.
        scores: (S, K), larger is more likely, -inf for a silent output.
        labels: (S,) int64, -1 without one.
        explained: explained variance of the targets (S, K) that readouts are compared with, 1 for a perfect prediction
            and 0 for their mean; nan without such targets.
        activity: population -> spikes per neuron, silent and runaway neurons. spikes: population -> (N,)
            spikes of every neuron in all samples.
        parts: of several losses, by the population that each reads; loss is their sum, the other numbers are those of
            the main one.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, progress=False)
        >>> result = trainer.evaluate(events)
        >>> result.predictions.shape, result.readout.shape
        ((20,), (20, 2))
    """

    loss: float
    accuracy: float
    undecided: int
    predictions: np.ndarray
    readout: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    activity: dict[str, Activity]
    parts: dict[str, PartEvaluation] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    explained: float = float("nan")

    def __repr__(self) -> str:
        undecided = f", {self.undecided} undecided" if self.undecided else ""
        numbers = [f"accuracy {100 * self.accuracy:.2f} %"] * (not np.isnan(self.accuracy)) + [f"loss {self.loss:.5g}"]
        numbers += [f"explained variance {self.explained:.3f}"] * (not np.isnan(self.explained))
        populations = (
            f"{name} {a.spikes_per_neuron:.2f} spikes a neuron, {a.silent} silent" for name, a in self.activity.items()
        )
        return (
            f"<Evaluation: {', '.join(numbers)}, {len(self.predictions)} samples{undecided}; {'; '.join(populations)}>"
        )


def as_data(value: Any, n_channels: int) -> DataSet:
    """A data set of any kind, a dictionary of inputs, or a list of samples (times in ms, channels), as a data set.

    Raises:
        DataError: something else.
    """
    if isinstance(value, (Events, Mapping)) or not isinstance(value, (list, tuple)):
        return require_data(value, "data")
    return as_events(value, n_channels)


def preprocessed(steps: Sequence[Any], data: DataSet) -> DataSet:
    """What a model whose `steps` of preprocessing these are takes of `data` as they were recorded.

    Of several inputs only one, of spikes, may have steps.

    Raises:
        DataError: currents for steps of spikes, or the other way round.
    """
    if steps and (takes := getattr(steps[0], "takes", (Events,))) and not isinstance(data, (*takes, Inputs)):
        kinds = " or ".join(kind.__name__ for kind in takes)
        raise DataError(f"this model was trained on {kinds}, which it encodes; got {type(data).__name__}")
    if not steps or not isinstance(data, Inputs):
        applied: DataSet = apply(steps, data)
        return applied
    spikes = [name for name, part in data.parts.items() if isinstance(part, Events)]
    if len(spikes) != 1:
        raise DataError("this model was trained with preprocessed spikes: give a dictionary with its spike input")
    return data.with_parts({spikes[0]: apply(steps, data[spikes[0]])})


def ready_to_predict(events: DataSet, plan: Plan) -> DataSet:
    """`events` with targets that say nothing, where a loss compares with targets that are not there."""
    targets, named = events.targets, dict[str, np.ndarray]()
    for loss in plan.losses:
        shape = (len(events), *(1 if n is None else n for n in loss.target_shape(plan.n_steps)))
        nothing = np.full(shape, 0.0 if knows_no_nan(loss.outer) else np.nan)
        if loss.answer not in ("", "label"):
            named[loss.answer] = nothing if loss.compares == "targets" else np.full(len(events), -1)
        elif loss.compares == "targets" and targets is None:
            targets = nothing
    if named:
        fields = {} if events.targets is None else {n: events.targets[n] for n in events.targets.dtype.names or ()}
        targets = check.targets(named | fields, len(events), events.name)
    if targets is events.targets:
        return events
    return with_targets(events, targets)


def knows_no_nan(outer: str | Function) -> bool:
    """Whether it is a user's function, which may not know what nan means."""
    return isinstance(outer, Function) and not isinstance(outer, LabelSteps)


def spike_counts(engine: Engine, data: Data, batch_size: int) -> dict[str, np.ndarray]:
    """Population -> (S, N) int64, spikes of every neuron in every sample."""
    chunks = in_order(data, None, batch_size) or [np.zeros(0, np.int64)]
    counts, place = [engine.run(data, samples).spike_counts for samples in chunks], np.argsort(np.concatenate(chunks))
    return {name: np.concatenate([c[name] for c in counts])[place] for name in counts[0]}


def evaluate(
    engine: Engine, data: Data, batch_size: int, runaway_spikes: float, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Run all samples of `data`, `batch_size` at a time, with the engine's current parameters.

    Args:
        engine: what runs. data: as the engine loaded it.
        batch_size: samples of one run.
        runaway_spikes: a neuron with more spikes per trial on average is counted as runaway.
        between: called after each batch; may end the evaluation by an exception.
    """
    statistics = EpochStatistics(runaway_spikes)
    predictions, readouts = [np.zeros(0, np.int64)], [np.zeros((0, engine.plan.output.size))]
    others: dict[str, list[LossPart]] = {}
    of_steps = list[StepResult]()
    order = in_order(data, None, batch_size)
    for samples in order:
        result = engine.run(data, samples)
        statistics.add(result, data, samples)
        for name, part in result.parts.items():
            others.setdefault(name, []).append(part)
        if isinstance(result, StepResult):
            of_steps.append(result)
        predictions.append(result.prediction)
        readouts.append(result.readout)
        between()
    place = np.argsort(np.concatenate([np.zeros(0, np.int64), *order]))
    readout, prediction, loss_of = np.concatenate(readouts)[place], np.concatenate(predictions)[place], engine.plan.loss
    labels, scores = data.labels, loss_of.scores(readout, np.isfinite(readout), engine.plan.duration)
    if of_steps:
        prediction, labels, scores = (
            np.concatenate([getattr(r, name) for r in of_steps])[place]
            for name in ("step_predictions", "step_labels", "step_scores")
        )
    return Evaluation(
        loss=statistics.loss,
        accuracy=statistics.accuracy,
        undecided=statistics.undecided,
        predictions=prediction,
        readout=readout,
        scores=scores,
        labels=labels,
        activity=statistics.activity(),
        parts={
            name: PartEvaluation(
                *statistics.of_losses()[name],
                np.concatenate([p.prediction for p in parts])[place],
                np.concatenate([p.readout for p in parts])[place],
            )
            for name, parts in others.items()
        },
        spikes=statistics.spikes,
        explained=_explained(loss_of, data.targets, readout),
    )


def _explained(loss: LossRecord, targets: np.ndarray | None, readout: np.ndarray) -> float:
    """Explained variance, if the loss is a squared error of one readout a trial."""
    if loss.outer != "squared_error" or targets is None or targets.shape != readout.shape:
        return float("nan")
    return explained_variance(targets, np.where(np.isfinite(readout), readout, 0.0))
