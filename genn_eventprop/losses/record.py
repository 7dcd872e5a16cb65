"""What a loss knows without the network that it belongs to: `LossRecord` is the part a plan holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError
from ..modelling.expressions import parse, symbol
from .kinds import READOUTS
from .label_steps import LabelSteps
from .outer import NAMED, Function, cross_entropy, score_function, score_functions, squared_error
from .readout import TimeWeight
from .sums import SUMS


class LossFormulas:
    """The mathematics of a loss, for `Loss` and `LossRecord`; their fields say what is read and how it is scored."""

    readout: str
    weight: TimeWeight
    score: str
    term: str
    constants: Mapping[str, float]
    silent: str
    outer: str | Function
    also: tuple[str, ...]
    factor: float
    answer: str

    @property
    def output(self) -> str:
        """Name of the population that is read."""
        raise NotImplementedError

    @property
    def n_classes(self) -> int:
        """K, the number of outputs."""
        raise NotImplementedError

    @property
    def readouts(self) -> tuple[str, ...]:
        """All that is read, the loss's own readout first."""
        return (self.readout, *self.also)

    @property
    def integrates(self) -> bool:
        """True if the readout is an integral over the trial."""
        return READOUTS[self.readout].integrates

    @property
    def of_spikes(self) -> bool:
        """True if the readout is made of spikes."""
        return bool(READOUTS[self.readout].spikes)

    @property
    def compares(self) -> str:
        """ "labels" or "targets": what a data set must have."""
        return self.outer.compares if isinstance(self.outer, Function) else NAMED[self.outer]

    @property
    def host(self) -> str | Function | None:
        """The outer loss, unless every engine has it in its trial: the host computes it between forward and
        backward."""
        return self.outer if isinstance(self.outer, Function) or self.outer in SUMS else None

    @property
    def surrogate(self) -> bool:
        """True if the gradient is a surrogate, which differences do not show."""
        return self.readout == "count"

    @cached_property
    def expressions(self) -> tuple[sp.Expr, sp.Expr]:
        """(score, term) as sympy expressions in r, T and the constants."""
        table = {n: symbol(n) for n in ("r", "T", *self.constants)}
        try:
            return parse(self.score, table, "loss score"), parse(self.term, table, "loss term")
        except ModelError as error:
            raise LossError(str(error)) from None

    @cached_property
    def derivatives(self) -> tuple[sp.Expr, sp.Expr]:
        """d/dr of `expressions`."""
        score, term = self.expressions
        return sp.diff(score, symbol("r")), sp.diff(term, symbol("r"))

    def basis(self, dt: float, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`TimeWeight.basis` of an integral on `n_steps` steps of `dt` ms; for V(t) every phi_j is one node, where V is
        needed."""
        return self.weight.basis(dt, n_steps, nodal=self.readout == "voltage")

    def basis_size(self, dt: float) -> int:
        """J of `basis` for steps of `dt` ms, 0 if nothing is integrated."""
        return self.weight.size(dt, nodal=self.readout == "voltage") if self.integrates else 0

    def target_shape(self, n_steps: int) -> tuple[int | None, ...]:
        """Shape of one sample's targets in a trial of `n_steps`: (K,); of V(t) (n_steps + 1, K) at k dt; of spike times
        (K, any number); of labels of steps (n_steps,)."""
        K = self.n_classes
        if isinstance(self.outer, LabelSteps):
            return (n_steps,)
        return {"voltage": (n_steps + 1, K), "spike_times": (K, None)}.get(self.readout, (K,))

    def _parts(self, r: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """score, term, dscore/dr, dterm/dr at r."""
        evaluate = score_functions(*self.expressions, ("r", "T", *self.constants))
        score, term, dscore, dterm = (
            np.broadcast_to(np.asarray(v, dtype=np.float64), np.shape(r))
            for v in evaluate(r, duration, *self.constants.values())
        )
        return score, term, dscore, dterm

    def pointwise(self, r: np.ndarray, y: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
        """The outer loss of values that are all there: r (..., K), y labels (...,) or targets (..., K); `duration` T in
        ms."""
        if self.outer == "squared_error":
            return squared_error(r, y)
        return cross_entropy(*self._parts(r, duration), np.ones(r.shape, bool), y)

    def evaluate(
        self, readout: np.ndarray, valid: np.ndarray, y: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outer loss and its gradient.

        Args:
            readout: (B, K) r_c; of "spike_times" (B, K, M), the first M spikes. valid: the same shape, False for a
                spike that did not happen. y: labels (B,) or targets (B, K), (B, K, M). duration: T in ms.

        Returns:
            loss (B,) and dL/dr in the shape of readout, not divided by B.
        """
        r = np.where(valid, readout, duration)  # the latest time that a spike could have had
        if isinstance(self.outer, Function):
            loss, gradient = self.outer(r, y)
            return loss, np.where(valid, gradient, 0.0)
        used = valid if self.silent == "exclude" else np.ones_like(valid)
        if self.outer in SUMS:
            return SUMS[self.outer].evaluate(r, used, y, duration, self.constants)
        if self.outer == "squared_error":
            loss, gradient = squared_error(r, np.where(used, y, np.nan))
            return loss.reshape(len(r), -1).sum(1), gradient
        return cross_entropy(*self._parts(r, duration), used, y)

    def push(self, readout: np.ndarray, valid: np.ndarray, y: np.ndarray, duration: float) -> np.ndarray:
        """(B, K) dl/dr at T of spikes that did not happen: the push on lambda_V, before -tau_mem / B.

        Args:
            readout, valid, y, duration: as for `evaluate`.
        """
        shape = valid.shape[:2]
        if self.silent != "end":
            return np.zeros(shape)
        if self.outer == "squared_error":
            missing = ~valid & ~np.isnan(y)
            return np.where(missing, duration - np.nan_to_num(y), 0.0).reshape(*shape, -1).sum(2)
        if isinstance(self.outer, Function):
            return np.where(valid, 0.0, self.outer(np.where(valid, readout, duration), y)[1])
        return np.where(~valid & (np.arange(shape[1]) == y[:, None]), self.end_slope(duration), 0.0)

    def end_slope(self, duration: float) -> float:
        """dterm/dr at r = T = `duration`, the published push of a silent right class before -tau_mem / B."""
        return float(self._parts(np.array(duration), duration)[3])

    def scores(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B, K) larger means more likely, -inf for a silent output; `readout`, `valid` and `duration` as for
        `evaluate`."""
        score = score_function(self.expressions[0], ("r", "T", *self.constants))
        if valid.all():
            scores = np.asarray(score(readout, duration, *self.constants.values()))
            return scores if scores.shape == readout.shape else np.broadcast_to(scores, readout.shape)
        return np.where(valid, score(np.where(valid, readout, duration), duration, *self.constants.values()), -np.inf)

    def probabilities(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray | None:
        """(B, K) the softmax inside the cross-entropy, nan where no output spikes; None for losses without one.

        `readout`, `valid` and `duration` as for `evaluate`.
        The cross-entropy of V(t) all the time has one at every instant and none of the trial.
        """
        if self.outer != "cross_entropy" or self.readout == "voltage":
            return None
        used = valid if self.silent == "exclude" else np.ones_like(valid)
        score = np.where(used, self._parts(np.where(valid, readout, duration), duration)[0], -np.inf)
        some = valid.any(axis=1, keepdims=True)
        e = np.exp(score - np.where(some, score.max(axis=1, keepdims=True), 0.0))
        return np.where(some, e / np.where(some, e.sum(axis=1, keepdims=True), 1.0), np.nan)

    def predict(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B,) class of the largest score among valid outputs, -1 where there is none or several have it;
        `readout`, `valid` and `duration` as for `evaluate`."""
        scores = self.scores(readout, valid, duration)
        # a tie is no prediction: argmax alone would call every trial in which all outputs are equal class 0
        best = (scores == np.maximum.reduce(scores, axis=1, keepdims=True)) & valid
        return np.where(np.add.reduce(best, axis=1) == 1, best.argmax(axis=1), -1)


@dataclass(frozen=True, eq=False)
class LossRecord(LossFormulas):
    """A loss as a plan holds it: names instead of objects.

    Args:
        population: name of the output. size: K.
        readout, weight, score, term, constants, silent, outer, also, factor, answer: those of `Loss`.
    """

    population: str
    size: int
    readout: str
    weight: TimeWeight
    score: str
    term: str
    constants: Mapping[str, float]
    silent: str
    outer: str | Function
    also: tuple[str, ...] = ()
    factor: float = 1.0
    answer: str = ""

    @property
    def output(self) -> str:
        return self.population

    @property
    def n_classes(self) -> int:
        return self.size
