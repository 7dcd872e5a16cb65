"""An engine on the user's own machine: right on representative networks? how fast? Written for `cuda`, which its
authors could not run on a GPU; any engine on the grid will do.

    genn-eventprop engines --selftest cuda

Every network of `representative` runs in float64 and float32 against `reference_clock`, or with exact spike times
against `reference_event`, by the rules of `check`, and on `native` too where there is a compiler, which tells a fault
of the machine from one of the engine. Then a network of the shape of spoken digits is timed, and run twice for the
same bits. The report is plain text, made to be sent.
"""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ...engines import availability, engine_class
from ...engines.contract.data import Data
from ...engines.contract.engine import Engine
from ...engines.contract.features import refuse
from ...engines.registry import engine_and_options
from ...errors import EngineError, EventPropError
from ...optimisers import Adam
from .case import Case
from .check import PRECISION, Truth, Verdict, forward_alone, judged, loaded
from .outcome import outcome
from .representative import EXACT, LARGE, RECIPES, Shape, case

BATCHES = (32, 256)
LEARNING = "LIF, integral of V, delays, learned time constants"
REPEATS = 5
PACKAGES = ("genn_eventprop", "numpy", "cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc", "pygenn")
Make = Callable[..., Engine]


def selftest(
    engine: str,
    say: Callable[[str], None] = print,
    *,
    settings: dict[str, Any] | None = None,
    names: Iterable[str] = (*RECIPES, *EXACT, *LARGE),
    shape: Shape | None = None,
    batches: Iterable[int] = BATCHES,
) -> bool:
    """Run the test; True if nothing is wrong.

    Args:
        say: is given the report, line by line. settings: further arguments of the engine. names, shape, batches: what
            to run, for a quick look.

    Raises:
        EngineError: it does not run here, or has no spikes on the grid. SettingError: for an unknown name.
    """  # fmt: skip
    began, faults, kind = time.perf_counter(), 0, engine_class(engine)
    engine, options = engine_and_options(engine)
    settings = options | (settings or {})
    here = kind.availability()
    if not here.runs:
        raise EngineError(f"{engine} does not run here: {here.detail}")
    if "grid" not in kind.features:
        raise EngineError(f"{engine} has exact spike times, the self-test is for engines on the grid; see gradcheck")
    say(f"selftest of {engine}")
    for line in (*_machine(), f"{engine}: {here.detail}"):
        say(line)
    others = [a.name for a in availability() if a.runs and engine_class(a.name).automatic and a.name != engine]
    say(f"\nspikes, losses, gradients against the references{''.join(f', beside {n}' for n in others)}")
    for name in names:
        if name in EXACT and "exact" not in kind.features:
            continue
        verdicts = list(_verdicts(name, kind, settings, others))
        faults += sum(v.kind == "wrong" for v in verdicts)
        say(f"  {name}: " + ", ".join(f"{v.engine} {v.kind}" for v in verdicts))
        for v in verdicts:
            if v.reason:
                say(f"    {v.engine}: {v.reason}")
    for what, same in (("steps of Adam", _steps(kind, settings)), ("a batch in groups", _groups(kind, settings))):
        faults += same is False
        say(f"  {what}: {'not of this engine' if same is None else 'right' if same else 'WRONG'}")
    say("\ntraining steps, float32")
    for batch in batches:
        try:
            faults += not _timed(kind, settings, shape or Shape(), batch, say)
        except EventPropError as error:
            faults += 1
            say(f"  batch {batch} failed: {error}")
    say(f"\n{'all right' if not faults else f'{faults} wrong'}, {time.perf_counter() - began:.0f} s")
    return not faults


def _machine() -> Iterator[str]:
    """The machine it ran on."""
    yield f"{time.strftime('%Y-%m-%d')}, {platform.platform()}, Python {platform.python_version()}"
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    yield ", ".join(found)


def _verdicts(name: str, kind: type[Engine], settings: dict[str, Any], others: list[str]) -> Iterator[Verdict]:
    one = case(name)
    truth = Truth(one)
    runs: list[tuple[type[Engine], str, dict[str, Any]]] = [(kind, dtype, settings) for dtype in PRECISION]
    for made, dtype, more in [*runs, *((engine_class(n), "float64", {}) for n in others)]:
        label = f"{made.name} {dtype}"
        try:
            refuse(one.plan, made.name, made.features)
        except EngineError as error:
            yield Verdict(label, "refused", str(error))
            continue
        try:
            verdict, reason = _verdict(one, truth, made, dtype, more)
        except EventPropError as error:  # of the compiler, the driver, or the device
            verdict, reason = "wrong", str(error)
        yield Verdict(label, verdict, reason)


def _verdict(one: Case, truth: Truth, made: type[Engine], dtype: str, more: dict[str, Any]) -> tuple[str, str]:
    engine = made(one.plan, one.parameters, dtype=dtype, **more)  # type: ignore[call-arg]
    data = loaded(engine, one)
    got = outcome(engine, data)
    verdict, reason = judged(truth, got, PRECISION[dtype])
    if verdict != "wrong" and not got.stopped and (other := forward_alone(engine, data, got)):
        verdict, reason = "wrong", other
    engine.close()
    return verdict, reason


def _steps(kind: type[Engine], settings: dict[str, Any]) -> bool:
    """Whether three training steps give the parameters that NumPy's steps with the same gradients do."""
    one = case(LEARNING)
    engine = kind(one.plan, one.parameters, dtype="float64", **settings)  # type: ignore[call-arg]
    data, here, there = loaded(engine, one), Adam(0.01, clip_norm=0.1), Adam(0.01, clip_norm=0.1)
    wanted = {k: np.array(engine.parameters[k]) for k in one.plan.trainable}
    there.prepare(wanted, one.plan.bounds(), one.plan.decay())
    for _ in range(3):
        engine.run(data, np.arange(len(data)), training=True)
        there.update(wanted, {k: np.array(engine.gradients[k]) for k in wanted})
        engine.update(here)
    same = all(np.allclose(engine.parameters[k], v, rtol=1e-10, atol=1e-13) for k, v in wanted.items())
    engine.close()
    return same


def _groups(kind: type[Engine], settings: dict[str, Any]) -> bool | None:
    """Whether a batch that runs in groups, as one too large for the memory, has the same bits; None: it has none."""
    if "group" not in inspect.signature(kind).parameters:
        return None
    one, bits = case(LEARNING), []
    for group in (None, 2):
        engine = kind(one.plan, one.parameters, dtype="float32", group=group, **settings)  # type: ignore[call-arg]
        data = loaded(engine, one)
        bits.append(_bits(engine, data, np.arange(len(data))))
        engine.close()
    return bits[0] == bits[1]


def _timed(kind: type[Engine], settings: dict[str, Any], shape: Shape, batch: int, say: Callable[[str], None]) -> bool:
    """Time a training step with Adam, inference, and say whether two runs had the same bits."""
    plan, values = shape.network()
    began = time.perf_counter()
    engine = kind(plan, values, dtype="float32", **settings)  # type: ignore[call-arg]
    data, samples, optimiser = engine.load(shape.events(batch)), np.arange(batch), Adam(0.0)  # keeps the weights
    first = _bits(engine, data, samples)
    engine.update(optimiser)
    ready = time.perf_counter() - began
    training, inference = [], []

    def step() -> None:
        engine.run(data, samples, training=True)
        engine.update(optimiser)

    for _ in range(REPEATS):
        training.append(_seconds(step))
        inference.append(_seconds(lambda: engine.run(data, samples)))
    same = _bits(engine, data, samples) == first
    spikes = engine.run(data, samples).spike_counts["hidden"].mean()
    each = [1e3 * float(np.median(seconds)) / batch for seconds in (training, inference)]
    say(
        f"  {shape.inputs} - {shape.hidden} - {shape.outputs}, {shape.steps} steps, {shape.spikes} input spikes, "
        f"{spikes:.1f} spikes per hidden neuron, batch {batch}: training {each[0]:.4f} ms per sample, inference "
        f"{each[1]:.4f}, ready after {ready:.1f} s, repeated run {'has the same bits' if same else 'IS DIFFERENT'}"
    )
    for remark in engine.remarks:
        say(f"    {remark}")
    engine.close()
    return same


def _bits(engine: Engine, data: Data, samples: np.ndarray) -> bytes:
    result = engine.run(data, samples, training=True)
    return b"".join([result.loss.tobytes(), *(np.array(g).tobytes() for g in engine.gradients.values())])


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
