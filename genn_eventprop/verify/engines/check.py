"""Engines against the reference on one network.

In float64 losses, readouts, spike times and gradients must agree to 1e-9 of the largest entry, in float32 to 1e-3,
and spike counts and predictions entirely; predictions where the best score is ahead by as much, gradients up to the
rounding of terms that cancel (`outcome.other_number`). An engine that runs a trial in halves has to give the
gradients of a random dL/dr, too, with those of input times; where the loss has no halves, `Case.probe` has them. A
forward run has to give the same bits. Where they do not agree, the reference answers whether
this can be rounding: it runs some times more with every parameter (and, with exact spike times, every input time)
changed by a random relative 1e-11 (float32: 3e-7), and on the grid with every state, at both ends of every step,
changed by up to the format's epsilon; the same change for equal values, so that what is alike stays alike. On the
grid it runs once with nothing changed but that the format holds the states. If it then decides something otherwise
itself, the network is "undecided"; so too if a number of the reference is close to the largest that the format holds.
If its numbers move, three times as much is allowed; "undecided" too if they move by more than 1e-5 (float32: 0.1) of
their size, 10^6 times the change. Whatever is left is "wrong".

States are rounded at every step, however exact the rest of the arithmetic is: an upstroke that is exponential
multiplies the last bit of V by 10^5 within a step, which a change of parameters alone does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...engines import ReferenceClock
from ...engines.contract.data import Data
from ...engines.contract.engine import Engine
from ...engines.reference.exact.engine import ReferenceEvent
from ...errors import EventPropError
from ...plan import Plan
from .case import Case
from .outcome import Outcome, distance, other_choice, other_number, outcome

MAX_SPIKES = 400  # of a population and trial in the reference
LARGEST = 1e-3  # of what a format holds: a number that is larger may overflow on its way
TRIES = {"grid": 8, "exact": 3}  # by how the last bit of a single state falls, results differ a hundredfold


@dataclass(frozen=True)
class Precision:
    """format: of the numbers. relative: agreement asked for. eps: of the format. change: of the numbers that the
    reference is tried with. max_condition: how far its own numbers may move by it, relative to their size."""

    format: str
    relative: float
    eps: float
    change: float
    max_condition: float


PRECISION = {
    "float64": Precision("float64", 1e-9, 2.2e-16, 1e-11, 1e-5),
    "float32": Precision("float32", 1e-3, 1.2e-7, 3e-7, 0.1),
}


@dataclass(frozen=True)
class Verdict:
    """kind: "right", "undecided", "refused" or "wrong". input_times: whether gradients of these were compared."""

    engine: str
    kind: str
    reason: str = ""
    input_times: bool = False


class Truth:
    """The reference on a case, as it is and with other numbers."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._tried: dict[Precision, list[Outcome]] = {}
        self.engine: Engine | None = None

    @cached_property
    def outcome(self) -> Outcome:
        return self._run(self.case.parameters)

    def perturbed_runs(self, precision: Precision) -> list[Outcome]:
        """Runs with numbers changed as a number format may change them."""
        if precision not in self._tried:
            kind = self.case.plan.spike_times
            runs = [self._try(precision, i) for i in range(TRIES[kind])]
            held = lambda x: x.astype(precision.format).astype(np.float64)  # noqa: E731
            self._tried[precision] = runs + ([self._run(self.case.parameters, rounded=held)] if kind == "grid" else [])
        return self._tried[precision]

    def _try(self, precision: Precision, number: int) -> Outcome:
        rng, change = np.random.default_rng(number), precision.change
        values = perturbed_values(self.case.plan, self.case.parameters, change, rng)
        later = change * float(rng.uniform(-1, 1))
        return self._run(values, later, lambda x: moved(x, precision.eps, rng))

    def _run(
        self, values: dict[str, np.ndarray], later: float = 0.0,
        rounded: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Outcome:  # fmt: skip
        try:
            run, *probe = (self._ready(p, values, later, rounded) for p in _plans(self.case))
        except EventPropError as error:
            return Outcome.none(error)
        self.engine = self.engine or run[0]
        return outcome(*run, *probe)

    def _ready(
        self, plan: Plan, values: dict[str, np.ndarray], later: float,
        rounded: Callable[[np.ndarray], np.ndarray] | None,
    ) -> tuple[Engine, Data]:  # fmt: skip
        engine: Engine
        if plan.spike_times == "grid":
            engine = ReferenceClock(plan, values)
            engine.rounded = rounded
        else:
            engine = ReferenceEvent(plan, values, max_spikes=MAX_SPIKES)
        data = loaded(engine, self.case)
        if later and data.times is not None:
            data = replace(data, times=np.minimum(data.times * (1 + later), np.nextafter(plan.duration, 0)))
        return engine, data


def _plans(case: Case) -> tuple[Plan, ...]:
    return (case.plan,) if case.probe is None else (case.plan, case.probe)


def perturbed_values(
    plan: Plan, values: dict[str, np.ndarray], change: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Parameters with a relative change, the same for equal values. Not of times that are counted in steps, nor of
    the pairs of a table."""
    counted = {f"{p.name}.{m.lasts}" for p in plan.populations for m in p.derived.modes}
    counted |= {c.delays_name for c in plan.connections}
    return {
        key: values[key]
        if values[key].dtype.kind == "i"
        else moved(values[key], change * (plan.spike_times == "exact" or key not in counted), rng)
        for key in sorted(values)
    }


def moved(values: np.ndarray, change: float, rng: np.random.Generator) -> np.ndarray:
    """Values with a relative change of up to `change`, the same for equal values."""
    unique, where = np.unique(values, return_inverse=True)
    return (unique * (1 + change * rng.uniform(-1, 1, unique.size)))[where].reshape(values.shape)


def loaded(engine: Engine, case: Case) -> Data:
    data = engine.load(case.data)
    return data if case.weights is None else replace(data, weights=case.weights)


def judged(truth: Truth, got: Outcome, precision: Precision, strict: bool = False) -> tuple[str, str]:
    """(kind, reason) of an outcome; see the module. strict: rounding is no excuse."""
    want = truth.outcome
    close = precision.relative, precision.eps
    found = other_choice(want, got, precision.relative) or other_number(want, got, *close)
    if not found:
        return "right", ""
    if strict:
        return "wrong", found
    most = LARGEST * np.finfo(precision.format).max
    for key, value in want.numbers.items():
        if np.abs(value[np.isfinite(value)]).max(initial=0.0) > most:
            return "undecided", f"{precision.format} does not hold {key}"
    allowed: dict[str, float] = {}
    for run in truth.perturbed_runs(precision):
        if other := other_choice(want, run, precision.relative):
            return "undecided", f"rounding decides: {other}"
        for key, moved in distance(want, run).items():
            allowed[key] = max(allowed.get(key, 0.0), 3 * moved)
    size = {k: np.abs(want.numbers[k]).max(initial=0.0) for k in allowed}
    steep = [k for k, v in allowed.items() if v > 3 * precision.max_condition * size[k] and k in got.numbers]
    allowed |= dict.fromkeys(steep, np.inf)
    still = other_choice(want, got, precision.relative) or other_number(want, got, *close, allowed)
    if still:
        return "wrong", still
    return ("undecided", f"ill-conditioned: {steep[0]}") if steep else ("right", "")


def forward_alone(engine: Engine, data: Data, training: Outcome) -> str:
    """What differs in a run without the backward pass, which must give the same bits; "" for a stochastic network."""
    if any(p.noise or p.dropout for p in engine.plan.populations):
        return ""
    result = engine.run(data, np.arange(len(data)))
    there = np.isfinite(result.readout)
    same = np.array_equal(np.where(there, result.readout, 0.0), training.numbers["readout"])
    same &= np.array_equal(result.loss, training.numbers["loss"], equal_nan=True)
    same &= np.array_equal(result.prediction, training.prediction)
    return "" if same else "a forward run alone gives another loss, readout or prediction"
