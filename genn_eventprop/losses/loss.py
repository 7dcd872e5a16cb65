"""`Loss`: readout x time weight x outer loss, written once and used by every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError, suggest
from ..modelling.expressions import parse, symbol
from ..modelling.names import usable
from ..modelling.network import Population
from .outer import NAMED, Function, cross_entropy, score_functions, squared_error
from .readout import TimeWeight

KINDS = ("integral", "voltage", "end", "max", "first_spike", "spike_times", "count")
OF_SPIKES = ("first_spike", "spike_times", "count")
INTEGRATED = ("integral", "voltage")

# what stands beside a loss's constants in expressions and in the arguments of generated code
_TAKEN = frozenset(
    "r T dt duration slope_floor push n_steps batch n_slices first_slice whole_batch whole_slices training record "
    "steps shifts channels offsets samples "
    "labels time_weight integrand_weight loss readout prediction guarded slices gradient targets given given_loss "
    "n_targets node_scale node_part activity_decay activity_jump activity_rate checkpoint times delta weight_series "
    "gauss window_start window_end series_size exact_steps segment given_dr given_last quantiles".split()
)


@dataclass(frozen=True, eq=False)
class Loss:
    """A readout r_c of every output c, and an outer loss of the readouts, averaged over the batch.

    Readouts:
        "integral" r = 1/T int w(t) V dt. "end" r = V(T). "max" r = max_t V. "first_spike" r = time of the first
        spike in ms. "count" r = number of spikes, with a surrogate gradient: at each own spike, and for a silent
        output at T, the costate lambda_V gets dL/dr. "voltage": the outer loss l is taken of V(t) all the time,
        L = 1/T int w(t) l(V(t)) dt, and r is the integral. "spike_times": every spike against a target of its own.

    Outer losses:
        "cross_entropy" L = -log softmax_c(score(r_c))_y + term(r_y), y the label. "squared_error"
        L = 1/2 sum_c (r_c - y_c)^2, y the targets of the data set, nan for none. Or a `Function` of the readouts.

    Args:
        population: the output population, one neuron a class.
        weight: w(t) of an integral.
        score: expression in r, T and the constants: larger means more likely; the prediction is the largest, -1 if
            several outputs have it, or none spikes where spikes are what is read.
        term: extra loss of the right class, likewise.
        constants: name -> number used in score and term; they can change without compiling anything.
        silent: what a spike that does not happen is to a loss of spike times. "exclude": it is left out, and if it is
            the right class of a cross-entropy the example contributes nothing (Wunderlich & Pehle 2021). "end": it
            counts as r = T, and lambda_V gets a push of -tau_mem dl/dr(T) / B at T, l the term of the right class
            or the squared error; a heuristic and not a gradient (Nowotny, Turner, Knight 2025).

    Raises:
        LossError: if the population cannot give that readout, an expression is wrong, or the parts do not go together.
    """

    population: Population
    readout: str
    weight: TimeWeight = field(default_factory=TimeWeight)  # or its expression
    score: str = "r"
    term: str = "0"
    constants: Mapping[str, float] = field(default_factory=dict)
    silent: str = "exclude"
    outer: str | Function = "cross_entropy"

    def __post_init__(self) -> None:
        if isinstance(self.weight, str):
            object.__setattr__(self, "weight", TimeWeight(self.weight))
        if self.readout not in KINDS:
            raise LossError(f"unknown readout {self.readout!r} ({suggest(self.readout, KINDS)})")
        if not isinstance(self.outer, Function) and self.outer not in NAMED:
            raise LossError(f"unknown outer loss {self.outer!r} ({suggest(str(self.outer), NAMED)}), or a Function")
        self._check_population()
        self._check_parts()
        for key, value in self.constants.items():
            if key in _TAKEN or not usable(key, (), ()) or key.startswith("c_"):
                raise LossError(f"loss constant {key!r}: the generated code cannot use that name; give it another name")
            if not np.isfinite(value):
                raise LossError(f"loss constant {key} must be finite, got {value}")
        _ = self.expressions

    def _check_population(self) -> None:
        name, model = self.population.name, self.population.model
        what = {"first_spike": "first-spike", "spike_times": "spike-time", "count": "spike-count"}.get(self.readout)
        if what is not None and not model.spiking:
            raise LossError(f"a {what} loss needs spikes, but {name!r} is made of {model.name}, which never spikes")
        if self.readout == "max" and model.spiking:
            raise LossError(
                f"a maximum-voltage loss needs an output that cannot spike; {name!r} is made of {model.name}: use LI()"
            )
        if (what is None or self.readout == "count") and model.readout not in model.state:
            raise LossError(f"{name!r}: {model.name} has no state {model.readout!r} to read")
        if self.silent not in ("exclude", "end"):
            raise LossError(f"silent={self.silent!r}: choose 'exclude' or 'end'")
        if self.silent == "end" and "tau_mem" not in model.params:
            raise LossError(f"silent='end' pushes V by tau_mem, which {model.name} does not have; use silent='exclude'")

    def _check_parts(self) -> None:
        if self.readout == "spike_times" and self.outer != "squared_error":
            raise LossError("readout 'spike_times' compares with target times; use outer='squared_error'")
        if self.readout == "voltage" and isinstance(self.outer, Function):
            raise LossError(
                "a Function is taken once a trial, and the outer loss of V(t) all the time; "
                "use 'cross_entropy' or 'squared_error', or the readout 'integral'"
            )
        if self.silent == "end" and self.readout not in ("first_spike", "spike_times"):
            raise LossError(f"silent='end' is for losses of spike times, not for readout {self.readout!r}")
        if self.weight != TimeWeight() and not self.integrates:
            raise LossError(f"a time weight needs an integral, but the readout is {self.readout!r}")

    @property
    def integrates(self) -> bool:
        """True if the readout is an integral over the trial."""
        return self.readout in INTEGRATED

    @property
    def of_spikes(self) -> bool:
        """True if the readout is made of spikes."""
        return self.readout in OF_SPIKES

    @property
    def compares(self) -> str:
        """ "labels" or "targets": what a data set must have."""
        return self.outer.compares if isinstance(self.outer, Function) else NAMED[self.outer]

    @property
    def host(self) -> Function | None:
        """The outer loss, if it is a Python function that the host has to call between forward and backward."""
        return self.outer if isinstance(self.outer, Function) else None

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

    @property
    def n_classes(self) -> int:
        return self.population.size

    def basis(self, dt: float, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`TimeWeight.basis` of an integral; for V(t) every phi_j is one node, where V is needed."""
        return self.weight.basis(dt, n_steps, nodal=self.readout == "voltage")

    def basis_size(self, dt: float) -> int:
        """J of `basis`, 0 if nothing is integrated."""
        return self.weight.size(dt, nodal=self.readout == "voltage") if self.integrates else 0

    def target_shape(self, n_steps: int) -> tuple[int | None, ...]:
        """Shape of one sample's targets: (K,); of V(t) (n_steps + 1, K) at k dt; of spike times (K, any number)."""
        K = self.n_classes
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
        """The outer loss of values that are all there: r (..., K), y labels (...,) or targets (..., K)."""
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
        r = np.where(valid, readout, duration)
        if isinstance(self.outer, Function):
            loss, gradient = self.outer(r, y)
            return loss, np.where(valid, gradient, 0.0)
        used = valid if self.silent == "exclude" else np.ones_like(valid)
        if self.outer == "squared_error":
            loss, gradient = squared_error(r, np.where(used, y, np.nan))
            return loss.reshape(len(r), -1).sum(1), gradient
        return cross_entropy(*self._parts(r, duration), used, y)

    def push(self, readout: np.ndarray, valid: np.ndarray, y: np.ndarray, duration: float) -> np.ndarray:
        """(B, K) dl/dr at T of spikes that did not happen: the push on lambda_V, before -tau_mem / B."""
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
        """dterm/dr at r = T, the published push of a silent right class before -tau_mem / B."""
        return float(self._parts(np.array(duration), duration)[3])

    def scores(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B, K) larger means more likely, -inf for a silent output."""
        return np.where(valid, self._parts(np.where(valid, readout, duration), duration)[0], -np.inf)

    def predict(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B,) class of the largest score among valid outputs, -1 where there is none or several have it."""
        scores = self.scores(readout, valid, duration)
        best = (scores == scores.max(axis=1, keepdims=True)) & valid
        return np.where(best.sum(axis=1) == 1, best.argmax(axis=1), -1)
