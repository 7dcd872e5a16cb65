"""Readouts of one trial in continuous time: integrals, maxima, spikes, and where they act on lambda.

A readout answers for itself: `value` and `valid` go into the outer loss, or it evaluates that itself, by `score`. With
dL/dr, `sources` is what it adds to the adjoint of every output segment, `spike_term` and `arrival_term` are the loss
terms in E and D (docs/equations.md, sections 2 and 3).

Axis letters: n states, K classes (output neurons), C copies (see `flow.py`), L = C K lanes, G segments of the
output, Q Gauss-Legendre nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....losses.readout import gauss_legendre
from ....plan import Plan
from .population import PopulationModel
from .records import Arrival, Recording, Segments, Spike

NODES = 20


@dataclass(eq=False)
class Sources:
    """dL/dx that enters inside segments: spread over time, or at points.

    density: (G, Q) dl/dV at the nodes of every segment, or None. segment (J,), offset (J,), size (J,): points where
    lambda_V jumps, offset in ms from the start of the segment.
    """

    density: np.ndarray | None
    segment: np.ndarray
    offset: np.ndarray
    size: np.ndarray


NONE = np.zeros(0, np.int64)


class Readout:
    """The readout of a loss on one recording; see the subclasses.

    value, valid: (L,), copy by copy. inputs: (E,) times of the sample's input spikes, ascending, for time weights that
    follow the input.
    """

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> None:
        self.plan, self.model, self.recording, self.inputs = plan, model, recording, inputs
        self.segments: Segments = recording.segments[model.name]
        states, v = model.record.derived.states, plan.output.derived.model.readout
        self.v = states.index(v) if v in states else 0
        self.value, self.valid = np.zeros(model.lanes), np.ones(model.lanes, bool)
        self.evaluate()

    compared: np.ndarray | None = None  # with what, of the sample, if the trial has the outer loss
    factor = 0.0  # of the loss in that of the batch

    # births of spikes, see docs/spike_birth.md

    @property
    def adds_up(self) -> bool:
        """Whether the outer loss says what L becomes by a spike that is born: it changes readouts by what is known."""
        return self.plan.scores_births and self.compared is not None

    def change_of_loss(self, moved: np.ndarray, valid: np.ndarray | None = None) -> float:
        """L with readouts changed by `moved` (K,) minus L."""
        T, there = self.plan.duration, self.valid[None]
        assert self.compared is not None
        before = self.plan.loss.evaluate(self.value[None], there, self.compared[None], T)[0]
        after = self.plan.loss.evaluate(
            self.value[None] + moved, there if valid is None else valid[None], self.compared[None], T
        )[0]
        return self.factor * float(after[0] - before[0])

    def read_changed(self, neuron: int, by: float, dr: np.ndarray) -> float:
        """Change of L if the readout of one output changes by `by`, and there is one."""
        if self.plan.loss.silent == "exclude" and not self.valid[neuron]:
            return 0.0  # a silent output has no loss that could be compared with
        if self.compared is None or self.plan.loss.host:  # the loss is known by its slope alone
            return float(dr[neuron]) * by
        moved, valid = np.zeros(self.model.size), self.valid.copy()
        moved[neuron], valid[neuron] = by, True
        return self.change_of_loss(moved, valid)

    def birth(self, neuron: int, time: float, dr: np.ndarray) -> float:
        """By how much a spike of an output would change the loss by being read."""
        return 0.0

    scores = False  # whether it evaluates the outer loss itself, by `score`

    def evaluate(self) -> None:
        raise NotImplementedError

    def halves(self, y: np.ndarray | None) -> np.ndarray:
        """Times (ms) at which segments must end besides, for what is integrated along them to be exact. y: what the
        sample is compared with, None if it has no loss."""
        return np.zeros(0)

    def signature(self) -> tuple[object, ...]:
        """What must not change under a small change of parameters for differences to be a derivative."""
        return ()

    def changed(self) -> np.ndarray:
        """(C,) copies with another `signature` than the first."""
        return np.zeros(self.copies, bool)

    @property
    def copies(self) -> int:
        return self.model.lanes // self.model.size

    def score(self, y: np.ndarray) -> np.ndarray:
        """Outer loss (C,) of this trial; y: its label () or targets. Then `dr` is a factor on its gradient."""
        raise NotImplementedError

    def silent_push(self, y: np.ndarray) -> np.ndarray:
        """(K,) `Loss.push` for spikes that did not happen, of the first copy."""
        K = self.model.size
        return self.plan.loss.push(self.value[None, :K], self.valid[None, :K], y[None], self.plan.duration)[0]

    def sources(self, dr: np.ndarray) -> Sources:
        """dr: (K,) dL/dr."""
        return Sources(None, NONE, np.zeros(0), np.zeros(0))

    def spike_term(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        """dl_p/dt + l(x-) - l(x+) of an own spike of an output neuron; after: x+ (n,)."""
        return 0.0

    def arrival_term(self, arrival: Arrival, jump: np.ndarray, dr: np.ndarray) -> float:
        """Sum over output neurons of l(x-) - l(x+) at an arrival; jump: x+ - x- (n, P) of its `neurons`."""
        return 0.0


def density_rows(psi: np.ndarray, length: np.ndarray, density: np.ndarray, v: int) -> np.ndarray:
    """int_0^L psi(s)^T e_V density ds of segments: what it adds to lambda at their start, (G, n).

    psi: (n, n, G, Q) dx(s)/dx(0) at the nodes. density: (G, Q). length: (G,) ms.
    """
    _, weights = gauss_legendre(NODES, 1.0)
    return np.einsum("gq,jgq->gj", density * weights, psi[v]) * length[:, None]
