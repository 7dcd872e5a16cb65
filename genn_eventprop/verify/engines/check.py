"""Engines against the reference on one network.

In float64 losses, readouts, spike times and gradients must agree to 1e-9 of the largest entry, in float32 to 1e-3,
and spike counts and predictions entirely; predictions where the best score is ahead by as much, gradients up to the
rounding of terms that cancel (`outcome.other_number`). An engine that runs a trial in halves has to give the
gradients of a random dL/dr, too, with those of input times; where the loss has no halves, `Case.probe` has them. A
gradient of a weight where a mask is 0 has to be 0, and a forward run has to give the same bits, of samples without a
label no loss. Where they do not agree, the reference answers whether
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

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...adjoint.propagator import numeric
from ...engines import ReferenceClock, create, engine_class
from ...engines.c99.engine import C99Engine
from ...engines.contract.data import Data
from ...engines.contract.engine import Engine
from ...engines.native.engine import NativeEngine
from ...engines.reference.exact.engine import ReferenceEvent
from ...errors import EventPropError, Refusal, ToolchainError
from ...modelling import Connection, Dense, Network
from ...plan import Plan
from .case import Case
from .mirror import Mirrored
from .outcome import HALVES, INPUT_TIMES, Outcome, distance, other_choice, other_number, outcome

ENGINES = ("native float64", "native float32")
MAX_SPIKES = 400  # of a population and trial in the reference
TUNINGS = 10
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
        self._engine: Engine | None = None

    @cached_property
    def outcome(self) -> Outcome:
        return self._run(self.case.parameters)

    @property
    def masked(self) -> str:
        """What `masked_gradients` says of the reference."""
        stopped = self.outcome.stopped
        return "" if stopped or self._engine is None else masked_gradients(self._engine)

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
        self._engine = self._engine or run[0]
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


def made(name: str, case: Case) -> Engine:
    """An engine by name and number format, "native float32"; "mirrored float64" is the reference with exact spike times
    on the network with its neurons in the opposite order."""
    kind, dtype = name.split()
    if kind == "mirrored":
        return Mirrored(case.plan, case.parameters, max_spikes=MAX_SPIKES)
    options = engine_class(kind).when_compared
    return create(case.plan, case.parameters, engine=kind, dtype=dtype, threads=1, **options)


def check(
    case: Case,
    engines: Iterable[str] = ENGINES,
    say: Callable[[str], None] = lambda _: None,
    make: Callable[[str, Case], Engine] = made,
) -> list[Verdict]:
    """One verdict per engine.

    Args:
        say: called with what runs next, so that a crash or an endless loop can be attributed to it.
        make: what makes an engine by its name and number format.
    """
    say("native float64")
    try:
        case = tuned(case) if case.tune else case
    except EventPropError as error:
        return [Verdict("native float64", *not_run(error))]
    if started := starts_above(case):
        return [Verdict("the network", "wrong", started)]
    say("the reference")
    truth, verdicts = Truth(case), []
    if found := truth.masked:
        verdicts.append(Verdict("the reference", "wrong", found))
    for name in engines:
        say(name)
        verdicts.append(Verdict(name, *_judge(name, case, truth, make)))
    return verdicts


def starts_above(case: Case) -> str:
    """Which neurons start at or above a threshold: engines that agree on what happens then would not show it."""
    for p in case.plan.populations:
        own = [case.parameters[f"{p.name}.{n}"] for n in p.derived.params]
        for event in (e for e in p.derived.events if 0 in e.modes):
            at_start = event.g.subs(dict(zip(p.derived.x, p.derived.x0)))
            if np.any(numeric([at_start], p.derived.p)(*own) >= 0):
                return f"a neuron of {p.name!r} starts at or above its threshold and is not refused"
    return ""


def _judge(name: str, case: Case, truth: Truth, make: Callable[[str, Case], Engine]) -> tuple[str, str, bool]:
    """(kind, reason, whether gradients of input times were compared)."""
    try:
        engine = make(name, case)
        data, probe = loaded(engine, case), None
        if case.probe is not None and engine.splits:
            probe = _probe(name, case, make)
        got = outcome(engine, data, probe)
    except EventPropError as error:
        return *not_run(error), False
    if (stopped := truth.outcome.stopped) and (got.stopped or f"more than {MAX_SPIKES}" in stopped):
        return "refused", stopped, False
    kind, reason = judged(truth, got, PRECISION[name.split()[1]], case.strict)
    if kind != "wrong" and not got.stopped and (other := _beside(engine, data, got)):
        kind, reason = "wrong", other
    for each in (engine, *(probe or ())[:1]):
        each.close()
    return kind, reason, all(HALVES + INPUT_TIMES in x.numbers for x in (truth.outcome, got))


def _probe(name: str, case: Case, make: Callable[[str, Case], Engine]) -> tuple[Engine, Data] | None:
    """The engine on the network that runs in two halves; None where it refuses it."""
    assert case.probe is not None
    asked = replace(case, plan=case.probe)
    try:
        engine = make(name, asked)
    except Refusal:
        return None
    return engine, loaded(engine, asked)


def _beside(engine: Engine, data: Data, got: Outcome) -> str:
    """What is wrong besides the numbers of a training run; "" if nothing is."""
    return masked_gradients(engine) or forward_alone(engine, data, got) or without_labels(engine, data, got)


def masked_gradients(engine: Engine) -> str:
    """Which gradient is not 0 where the mask of its weights is."""
    connections: Iterable[Connection] = getattr(engine.plan, "network", Network()).connections
    for c in connections:
        mask = c.connectivity.mask if isinstance(c.connectivity, Dense) else None
        if mask is not None and c.weight_name in engine.gradients:
            if np.any(np.asarray(engine.gradients[c.weight_name])[~mask]):
                return f"gradient of {c.weight_name} where its mask is 0"
    return ""


def not_run(error: EventPropError) -> tuple[str, str]:
    """(kind, reason) of an engine that does not start: it refuses the network by name, or else it is wrong, be it that
    its driver or its device is missing."""
    if isinstance(error, Refusal):
        return "refused", str(error)
    if not isinstance(error, ToolchainError):
        return "wrong", f"does not start: {error}"
    lines = str(error).splitlines()
    return "wrong", "; ".join(["does not compile", *[x for x in lines if "error:" in x][:1], lines[0]])


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


def without_labels(engine: Engine, data: Data, training: Outcome) -> str:
    """What differs where every second label is missing: the loss of these samples is nan, the rest as it was."""
    stochastic = any(p.noise or p.dropout for p in engine.plan.populations)
    if stochastic or engine.plan.auxiliary or engine.plan.loss.compares != "labels":
        return ""
    some = np.where(np.arange(len(data)) % 2 == 0, -1, data.labels)
    result = engine.run(replace(data, labels=some), np.arange(len(data)))
    want = np.where(some >= 0, training.numbers["loss"], np.nan)
    same = np.array_equal(result.loss, want, equal_nan=True)
    same &= np.array_equal(result.prediction, training.prediction)
    return "" if same else f"loss {result.loss} and predictions where labels are missing, for {want}"


def tuned(case: Case) -> Case:
    """The case with weights scaled layer by layer until a neuron spikes 1 to 3 times, in large layers less; weights of
    currents where there is nothing else."""
    engine = _tuner(case)
    data, scaled = loaded(engine, case), case.plan.connections if case.plan.input.size else case.plan.weighted
    for p in (p for p in case.plan.populations if p.spiking):
        first = {c.weight: np.array(engine.parameters[c.weight]) for c in scaled if c.target == p.name}
        for _ in range(TUNINGS if len(case.events.times) or case.beside else 0):
            rate, low = _rate(engine, data, p.name), min(1.0, 10 / p.size)
            if low <= rate <= 3 * low:
                break
            for key in first:
                engine.parameters[key][...] *= 3.0 if rate == 0 else 1.3 if rate < low else 0.7
        else:
            if not 0 < _rate(engine, data, p.name) < math.inf:
                for key, weight in first.items():
                    engine.parameters[key][...] = weight
    weights = {c.weight: engine.parameters[c.weight] for c in scaled}
    rounded = {k: w.astype(np.float32).astype(np.float64) for k, w in weights.items()}
    return replace(case, parameters=case.parameters | rounded)


def _tuner(case: Case) -> Engine:
    """native, or c99 where native refuses the network by name."""
    try:
        return NativeEngine(case.plan, case.parameters, threads=1, dtype="float64")
    except Refusal as refusal:
        try:
            return C99Engine(case.plan, case.parameters, dtype="float64")
        except Refusal:
            if case.mirrors and case.plan.spike_times == "exact":
                return ReferenceEvent(case.plan, case.parameters, max_spikes=MAX_SPIKES)
            raise refusal from None


def _rate(engine: Engine, data: Data, population: str) -> float:
    try:
        return float(engine.run(data, np.arange(len(data))).spike_counts[population].mean())
    except EventPropError:
        return math.inf
