"""Data sets run forwards with the weights of now, their averages, or the best ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engines import Data, Engine
from ..errors import DataError
from ..plan import NetworkPlan
from .checks import check_labels
from .class_weights import ClassWeights
from .evaluation import Evaluation, evaluate, ready_to_predict, spike_counts
from .parameter_sets import ParameterSets

if TYPE_CHECKING:
    from ..data import Events
    from ..data.events.splits import HeldOutTestSet

Sample = tuple[Any, Any]
"""(times, channels) of one sample: two arrays or lists of one length, ms and channel numbers."""


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

    def evaluate(self, events: Events | Sequence[Sample]) -> Evaluation:
        return self.run(self.class_weights.apply(self.engine.load(self._as_events(events))))

    def predict(self, events: Events | Sequence[Sample]) -> np.ndarray:
        result = self.run(self.engine.load(ready_to_predict(self._as_events(events), self.plan)))
        return result.readout if self.plan.loss.compares == "targets" else result.predictions

    def spike_counts(self, events: Events) -> dict[str, np.ndarray]:
        with self.parameter_sets.use_averages():
            return spike_counts(self.engine, self.engine.load(events), self.batch_size)

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

    def load(self, events: Events, what: str) -> Data:
        """A labelled data set, with class weights; `what` names it in errors.

        Raises:
            DataError: it is not `Events`, or labels are missing that the loss needs.
        """
        if isinstance(events, (list, tuple)):
            raise DataError(
                f"the {what} must be Events, got {type(events).__name__}; make them with "
                "Events.from_samples([(times, channels), ...], n_channels, labels=...)"
            )
        data = self.engine.load(events)
        check_labels(data.labels, what, needed=data.targets is None)
        return self.class_weights.apply(data)

    def hold_out(self, test: Events | HeldOutTestSet | None) -> HeldOutTestSet | None:
        """The test set out of reach until the end, once it is known to fit."""
        from ..data.events.splits import HeldOutTestSet

        if test is None:
            return None
        held_out = test if isinstance(test, HeldOutTestSet) else HeldOutTestSet(test)
        held_out.check(lambda events: self.load(events, "test"))
        return held_out

    def _as_events(self, events: Events | Sequence[Sample]) -> Events:
        from ..data import Events

        if isinstance(events, Events):
            return events
        return Events.from_samples(events, n_channels=self.plan.input.size)
