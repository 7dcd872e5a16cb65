"""`Loss`: readout x time weight x outer loss, written once and used by every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError, suggest
from ..modelling.expressions import parse, symbol
from ..modelling.names import usable
from ..modelling.network import Population
from .readout import KINDS, TimeWeight

# what stands beside a loss's constants in expressions and in the arguments of generated code
_TAKEN = frozenset(
    "r T dt duration slope_floor push n_steps batch n_slices training record steps shifts channels offsets samples "
    "labels time_weight integrand_weight loss readout prediction guarded slices gradient".split()
)


@dataclass(frozen=True, eq=False)
class Loss:
    """L = -log softmax_c(score(r_c))_y + term(r_y), averaged over the batch; y the label, r_c the readout of class c.

    Args:
        population: the output population, one neuron a class.
        readout: "integral" (r = 1/T int w(t) V dt), "max" (r = max_t V) or "first_spike" (r = time of the first
            spike in ms).
        weight: w(t) of an integral.
        score: expression in r, T and the constants: larger means more likely.
        term: extra loss of the right class, likewise.
        constants: name -> number used in score and term; they can change without compiling anything.
        silent: what a silent output of "first_spike" is. "exclude": left out of the softmax, and an example whose
            right class stays silent contributes nothing (Wunderlich & Pehle 2021). "end": it counts as r = T, and if
            the right class stays silent, lambda_V gets a push of -tau_mem dterm/dr(T) / B at T, a heuristic and not
            a gradient (Nowotny, Turner, Knight 2025).

    Raises:
        LossError: if the population cannot give that readout or an expression is wrong.
    """

    population: Population
    readout: str
    weight: TimeWeight = field(default_factory=TimeWeight)
    score: str = "r"
    term: str = "0"
    constants: Mapping[str, float] = field(default_factory=dict)
    silent: str = "exclude"

    def __post_init__(self) -> None:
        name, model = self.population.name, self.population.model
        if self.readout not in KINDS:
            raise LossError(f"unknown readout {self.readout!r} ({suggest(self.readout, KINDS)})")
        if self.readout == "first_spike" and not model.spiking:
            raise LossError(
                f"a first-spike loss needs spikes, but {name!r} is made of {model.name}, which never spikes"
            )
        if self.readout == "max" and model.spiking:
            raise LossError(
                f"a maximum-voltage loss needs an output that cannot spike; {name!r} is made of {model.name}: use LI()"
            )
        if self.readout != "first_spike" and model.readout not in model.state:
            raise LossError(f"{name!r}: {model.name} has no state {model.readout!r} to read")
        if self.silent not in ("exclude", "end"):
            raise LossError(f"silent={self.silent!r}: choose 'exclude' or 'end'")
        if self.silent == "end" and "tau_mem" not in model.params:
            raise LossError(f"silent='end' pushes V by tau_mem, which {model.name} does not have; use silent='exclude'")
        for key, value in self.constants.items():
            if key in _TAKEN or not usable(key, (), ()) or key.startswith("c_"):
                raise LossError(f"loss constant {key!r}: the generated code cannot use that name; give it another name")
            if not np.isfinite(value):
                raise LossError(f"loss constant {key} must be finite, got {value}")
        _ = self.expressions

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

    @cached_property
    def _evaluate(self) -> Callable[..., list[np.ndarray]]:
        """[score, term, dscore/dr, dterm/dr] as a NumPy function of r, T and the constants."""
        symbols = [symbol(n) for n in ("r", "T", *self.constants)]
        return sp.lambdify(symbols, [*self.expressions, *self.derivatives], "numpy")

    @property
    def n_classes(self) -> int:
        return self.population.size

    def outer(
        self, readout: np.ndarray, valid: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outer loss and its gradient.

        Args:
            readout: (B, K) r_c. valid: (B, K) False for a silent output. labels: (B,). duration: T in ms.

        Returns:
            loss (B,) and dL/dr (B, K), not divided by B.
        """
        in_softmax = valid if self.silent == "exclude" else np.ones_like(valid)
        r = np.where(valid, readout, duration)
        parts = self._evaluate(r, duration, *self.constants.values())
        score, term, dscore, dterm = (np.broadcast_to(np.asarray(v, dtype=np.float64), r.shape) for v in parts)
        rows = np.arange(len(labels))
        right = in_softmax[rows, labels]
        masked = np.where(in_softmax, score, -np.inf)
        top = np.where(right, masked.max(axis=1, initial=-np.inf), 0.0)
        e = np.where(in_softmax, np.exp(np.where(in_softmax, score, 0.0) - top[:, None]), 0.0)
        total = e.sum(axis=1)
        is_label = np.arange(r.shape[1]) == labels[:, None]
        loss = np.log(np.where(right, total, 1.0)) + top - score[rows, labels] + term[rows, labels]
        p = e / np.where(total > 0, total, 1.0)[:, None]
        gradient = (p - is_label) * dscore + is_label * dterm
        return np.where(right, loss, 0.0), np.where(right[:, None], gradient, 0.0)

    def push(self, duration: float) -> float:
        """dterm/dr at r = T: the size of the push on a silent right class, before -tau_mem / B."""
        return float(self._evaluate(np.float64(duration), duration, *self.constants.values())[3])

    def scores(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B, K) larger means more likely, -inf for a silent output."""
        score = self._evaluate(np.where(valid, readout, duration), duration, *self.constants.values())[0]
        return np.where(valid, score, -np.inf)

    def predict(self, readout: np.ndarray, valid: np.ndarray, duration: float) -> np.ndarray:
        """(B,) class of the largest score among valid outputs, -1 where there is none."""
        return np.where(valid.any(axis=1), self.scores(readout, valid, duration).argmax(axis=1), -1)
