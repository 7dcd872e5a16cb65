"""Evaluation by a trainer: data sets run forwards with the current or the chosen weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engines import Data, Engine
from ..errors import DataError
from ..optimisers import Optimiser
from ..plan import NetworkPlan
from ..runs.run_folder import RunFolder
from ..runs.run_lock import check_writer
from .checks import check_labels
from .class_weights import ClassWeights
from .epoch_statistics import EpochStatistics
from .evaluation import Evaluation, evaluate, ready_to_predict, spike_counts
from .report import run_results
from .seeds import Streams
from .state import TrainingState, write_parameters

if TYPE_CHECKING:
    from ..data import Events
    from ..data.events.splits import HeldOutTestSet

Sample = tuple[Any, Any]
"""(times, channels) of one sample: two arrays or lists of one length, ms and channel numbers."""


class Evaluating:
    """The part of `Trainer` that evaluates and predicts; its attributes are set there."""

    plan: NetworkPlan
    engine: Engine
    optimiser: Optimiser
    batch_size: int
    class_weights: ClassWeights
    state: TrainingState
    statistics: EpochStatistics
    streams: Streams
    folder: RunFolder | None
    best_parameters: dict[str, np.ndarray] | None
    set_aside: dict[str, np.ndarray] | None = None
    """Parameters with which training goes on, while others are in their place."""

    def evaluate(self, events: Events | Sequence[Sample]) -> Evaluation:
        """Run a data set, or a list of samples (times in ms, channels), forwards with the current weights, or with
        their averages if the optimiser keeps some."""
        return self._run(self.class_weights.apply(self.engine.load(self._as_events(events))))

    def predict(self, events: Events | Sequence[Sample]) -> np.ndarray:
        """Predicted class of every sample, (S,) int64, -1 if no output decides; for a loss that compares with targets,
        the readouts (S, K)."""
        data = self.engine.load(ready_to_predict(self._as_events(events), self.plan))
        result = self._run(data)
        return result.readout if self.plan.loss.compares == "targets" else result.predictions

    def _as_events(self, events: Events | Sequence[Sample]) -> Events:
        from ..data import Events

        if isinstance(events, Events):
            return events
        return Events.from_samples(events, n_channels=self.plan.input.size)

    def spike_counts(self, events: Events) -> dict[str, np.ndarray]:
        """Population -> (S, N) int64, spikes of every neuron in every sample."""
        with self.averaged_weights():
            return spike_counts(self.engine, self.engine.load(events), self.batch_size)

    def _run(self, data: Data) -> Evaluation:
        with self.averaged_weights():
            return evaluate(self.engine, data, self.batch_size, self.statistics.runaway_spikes)

    @contextmanager
    def best_weights(self) -> Iterator[None]:
        """Use the best weights inside a ``with`` block; afterwards the current ones are restored."""
        with self.averaged_weights() if self.best_parameters is None else self._in_place(self.best_parameters):
            yield

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Use the averages that the optimiser keeps, if any, inside a ``with`` block, as evaluations do by themselves;
        inside `best_weights` the best ones stay."""
        with self.engine.lock:  # another thread may have put other weights in place, for as long as it holds this
            if self.optimiser.average is None or self.set_aside is not None:
                yield
            else:
                with self._in_place(self.averaged_parameters()):
                    yield

    def training_parameters(self) -> Mapping[str, np.ndarray]:
        """All parameters as training goes on with them, also while others are in their place."""
        return self.engine.parameters if self.set_aside is None else self.set_aside

    def averaged_parameters(self) -> dict[str, np.ndarray]:
        """All parameters, those learned as the averages that the optimiser keeps, if any."""
        current = self.training_parameters()
        return {**current, **self.optimiser.averages(current)}

    @contextmanager
    def _in_place(self, values: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Other values of the parameters inside a ``with`` block."""
        with self.engine.lock:
            outer, current = self.set_aside, {name: value.copy() for name, value in self.engine.parameters.items()}
            self.set_aside = current if outer is None else outer
            write_parameters(self.engine.parameters, values)
            try:
                yield
            finally:
                write_parameters(self.engine.parameters, current)
                self.set_aside = outer

    def _load(self, events: Events, what: str) -> Data:
        if isinstance(events, (list, tuple)):
            raise DataError(
                f"the {what} must be Events, got {type(events).__name__}; make them with "
                "Events.from_samples([(times, channels), ...], n_channels, labels=...)"
            )
        data = self.engine.load(events)
        check_labels(data.labels, what, needed=data.targets is None)
        return self.class_weights.apply(data)

    def _held_out_test(self, test: Events | HeldOutTestSet | None) -> HeldOutTestSet | None:
        """The test set out of reach until the end, once it is known to fit."""
        from ..data.events.splits import HeldOutTestSet

        if test is None:
            return None
        held_out_test = test if isinstance(test, HeldOutTestSet) else HeldOutTestSet(test)
        held_out_test.check(lambda events: self._load(events, "test"))
        return held_out_test

    def _results(self, held_out_test: HeldOutTestSet | None) -> dict[str, Any]:
        """Read the test set, with the last weights and the chosen ones."""
        final = chosen = groups = None
        if held_out_test is not None:
            test = held_out_test.open()
            data, groups = self._load(test, "test"), test.groups
            final = chosen = self._run(data)
            if self.best_parameters is not None:
                with self.best_weights():
                    chosen = self._run(data)
        sizes = {p.name: p.size for p in self.plan.populations}
        results = run_results(self.state, chosen, final, self.engine.name, self.streams.seed, groups, sizes)
        if self.folder is not None:
            check_writer(self.folder.name)
            self.folder.write_results(results)
        return results
