"""Engines by name, on one network after another: drawn weights scaled until neurons spike, and what is asked besides
the numbers of a training run (`genn_eventprop.verify.engines`): the same bits forwards, no loss without a label, no
gradient where a mask is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from genn_eventprop.adjoint.propagator import numeric
from genn_eventprop.engines import create, engine_class
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.contract.data import Data
from genn_eventprop.engines.contract.engine import Engine
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.errors import EventPropError, Refusal, ToolchainError
from genn_eventprop.modelling import Connection, Dense, Network
from genn_eventprop.verify.engines.case import Case
from genn_eventprop.verify.engines.check import (
    MAX_SPIKES,
    PRECISION,
    Precision,
    Truth,
    Verdict,
    forward_alone,
    judged,
    loaded,
)
from genn_eventprop.verify.engines.outcome import HALVES, INPUT_TIMES, Outcome, outcome

from .mirror import Mirrored

ENGINES = ("native float64", "native float32")
TUNINGS = 10
ASKED = PRECISION | {"float64 as used": Precision("float64", 1e-6, 2.2e-16, 1e-9, 1e-3)}
"""By number format; as used: with the tolerances that an engine has by default, `Engine.when_compared` aside."""


def made(name: str, case: Case) -> Engine:
    """An engine by name and number format, "native float32"; "native float64 as used" has its default tolerance;
    "mirrored float64" is the reference with exact spike times on the network with its neurons in the opposite order."""
    kind, dtype, *as_used = name.split()
    if kind == "mirrored":
        return Mirrored(case.plan, case.parameters, max_spikes=MAX_SPIKES)
    options = {} if as_used else engine_class(kind).when_compared
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
    stopped = truth.outcome.stopped
    if not stopped and truth.engine is not None and (found := masked_gradients(truth.engine)):
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
    kind, reason = judged(truth, got, ASKED[name.partition(" ")[2]], case.strict)
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
