"""A device in the loop: it is trained through, its deviations are what was asked for, and none of its faults loses
anything: nan, hanging, wrong shapes, exceptions, half an answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.errors import DeviceError, SettingError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy, SpikeCountCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import InTheLoop, SimulatedDevice

T, DT = 20.0, 1.0


def network(size: int = 8) -> tuple[Network, Any]:
    net = Network()
    hidden, out = net.population(LIF(), size, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(4), hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
    return net, IntegratedVoltageCrossEntropy(out)


def data(n: int = 24) -> Events:
    """Class 0: channels 0 and 1 first, class 1: 2 and 3 first."""
    rng, samples, labels = np.random.default_rng(3), [], np.arange(n) % 2
    for label in labels:
        times = np.concatenate([rng.uniform(0, 5, 6), rng.uniform(5, 10, 6)])
        channels = np.concatenate([rng.integers(0, 2, 6) + 2 * label, rng.integers(0, 2, 6) + 2 * (1 - label)])
        order = np.argsort(times)
        samples.append((times[order], channels[order]))
    return Events.from_samples(samples, n_channels=4, labels=labels)


def trainer(device: Any = None, run_dir: Path | None = None, **settings: Any) -> Trainer:
    net, loss = network()
    settings = {"engine": "reference_clock", "batch_size": 8, "optimiser": Adam(0.05), **settings}
    return Trainer(net, loss, duration=T, dt=DT, run_dir=run_dir, device=device, progress=False, **settings)


def simulated(**deviations: Any) -> SimulatedDevice:
    return SimulatedDevice(trainer(spike_times="grid").plan, engine="reference_clock", **deviations)


class Faulty:
    """A good device that answers what `fault` makes of the answer, in its first calls."""

    def __init__(self, fault: Callable[[list], Any], times: int = 10**9) -> None:
        self.good, self.fault, self.times, self.asked = simulated(), fault, times, []

    def run(self, parameters: Any, events: Any) -> Any:
        self.asked.append(len(events))
        answer = self.good.run(parameters, events)
        return self.fault(answer) if len(self.asked) <= self.times else answer


def broken(answer: list) -> Any:
    raise OSError("the link is down")


def changed(spikes: Callable[[Any], Any]) -> Callable[[list], list]:
    """The spikes of the last sample of a batch changed."""
    return lambda answer: [*answer[:-1], {"hidden": spikes(answer[-1]["hidden"])}]


class Late(Sequence[Any]):
    """An answer that is read only when somebody looks at it."""

    def __init__(self, answer: list) -> None:
        self.answer = answer

    def __len__(self) -> int:
        return len(self.answer)

    def __getitem__(self, index: Any) -> Any:
        raise OSError("the link is down")


class LateSpikes(dict):
    def __getitem__(self, name: str) -> Any:
        raise OSError("the link is down")


def ended(answer: list) -> Any:
    raise SystemExit(3)


FAULTS: dict[str, tuple[Callable[[list], Any], str]] = {
    "an exception": (broken, "OSError: the link is down"),
    "an end": (ended, "SystemExit: 3"),
    "an answer that cannot be read": (Late, "OSError: the link is down"),
    "spikes that cannot be read": (lambda a: [LateSpikes(x) for x in a], "cannot be read (OSError: the link is down)"),
    "lines": (lambda a: ["no power\nsince noon\n"] * len(a), "no power since noon;"),
    "nothing": (lambda _: None, "an answer of type NoneType"),
    "a word": (lambda _: "busy", "an answer of type str"),
    "half an answer": (lambda answer: answer[:4], "4 items for 8 samples"),
    "no population": (lambda answer: [{} for _ in answer], "no spikes of 'hidden'"),
    "another population": (lambda a: [{**x, "other": x["hidden"]} for x in a], "spikes of 'other', which this network"),
    "a reason": (lambda a: [*a[:-1], "neuron circuits saturated"], "circuits saturated"),
    "nan": (changed(lambda s: (s[0] * np.nan, s[1])), "a time is not a finite number"),
    "times out of order": (changed(lambda s: ([5.0, 4.0], [0, 1])), "comes after a later one"),
    "no such neuron": (changed(lambda s: ([5.0], [8])), "there is no neuron 8 among 8"),
    "a wrong shape": (changed(lambda s: (np.ones((2, 3)), np.ones((2, 3)))), "6 times and 6 neurons"),
    "other lengths": (changed(lambda s: ([1.0, 2.0], [0])), "2 times and 1 neurons"),
    "words as times": (changed(lambda s: (["a"], [0])), "hidden"),
    "no pair": (changed(lambda s: 7), "give a pair"),
}


def state_of(t: Trainer) -> list[np.ndarray]:
    return [np.array(v) for v in t.engine.parameters.values()] + [np.array(t.state.updates)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.one_in(12)
def test_a_fault_that_stays_ends_the_training_and_loses_nothing(fault: str, tmp_path: Path) -> None:
    make, says = FAULTS[fault]
    device = Faulty(make)
    t = trainer(InTheLoop(device, retries=2, wait=0.0), tmp_path / "run", spike_times="grid")
    before = state_of(t)
    with pytest.raises(
        DeviceError, match=r"epoch 1, batch 1: the device gave no usable answer for \d of 8 samples"
    ) as e:
        t.fit(data(), epochs=2)
    assert says in str(e.value) and "in 3 tries" in str(e.value) and "\n" not in str(e.value)
    assert len(device.asked) == 3
    for was, now in zip(before, state_of(t)):
        np.testing.assert_array_equal(now, was)
    device.times = 0  # repaired
    done = t.resume().fit(data(), epochs=2)["history"]
    assert done["train_loss"] == trainer(simulated()).fit(data(), epochs=2)["history"]["train_loss"]


@pytest.mark.parametrize("fault", ["an exception", "a reason", "nan", "half an answer"])
def test_a_fault_that_passes_is_asked_again_and_counted(fault: str, tmp_path: Path) -> None:
    device = Faulty(FAULTS[fault][0], times=2)
    t = trainer(InTheLoop(device, wait=0.0), tmp_path / "run")
    history = t.fit(data(), epochs=1)["history"]
    alone = fault in ("a reason", "nan")  # of which only the samples without an answer are asked again
    assert device.asked[:3] == ([8, 1, 1] if alone else [8, 8, 8])
    assert history["train_loss"] == trainer(simulated()).fit(data(), epochs=1)["history"]["train_loss"]
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["device_repeated"] >= 1 and line["device_calls"] == len(device.asked)


class Hanging:
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.good, self.free, self.calls, self.at_once = simulated(), threading.Event(), 0, 0

    def run(self, parameters: Any, events: Any) -> Any:
        self.calls += 1
        self.at_once += 1
        assert self.at_once == 1, "two calls at once"
        self.free.wait(30)
        self.at_once -= 1
        return self.good.run(parameters, events)


def test_a_device_that_hangs_is_given_up_and_never_called_twice_at_once(tmp_path: Path) -> None:
    device = Hanging()
    t = trainer(InTheLoop(device, timeout=1.0, retries=2, wait=0.0), tmp_path / "run")
    before, began = state_of(t), time.monotonic()
    with pytest.raises(DeviceError, match=r"samples .*: no answer within 1 s"):
        t.fit(data(), epochs=1)
    assert time.monotonic() - began < 5 and device.calls == 1
    for was, now in zip(before, state_of(t)):
        np.testing.assert_array_equal(now, was)
    device.free.set()  # its late answer is one to the same question
    history = t.fit(data(), epochs=1)["history"]
    assert history["train_loss"] == trainer(simulated()).fit(data(), epochs=1)["history"]["train_loss"]


def test_an_interruption_does_not_wait_for_the_device(tmp_path: Path) -> None:
    device = Hanging()
    t = trainer(InTheLoop(device, timeout=30.0), tmp_path / "run")
    threading.Timer(0.3, t.interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        t.fit(data(), epochs=1)
    assert time.monotonic() - began < 5
    device.free.set()
    assert t.resume().fit(data(), epochs=1)["epochs"] == 1


class Interrupts:
    """Interrupts its trainer at one of its calls."""

    def __init__(self, good: SimulatedDevice, at: int) -> None:
        self.good, self.at, self.calls, self.trainer = good, at, 0, None

    def run(self, parameters: Any, events: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.trainer.interrupt()  # type: ignore[attr-defined]
        return self.good.run(parameters, events)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_resumed_run_has_the_same_bits(at: int, tmp_path: Path) -> None:
    deviating = {"spread": {"tau_mem": 0.2, "v_thresh": 0.2}, "jitter": 0.3, "lost": 0.1, "surplus": 5.0}
    whole = trainer(simulated(**deviating), tmp_path / "whole")
    whole.fit(data(), data(8), epochs=2)
    device = Interrupts(simulated(**deviating), at)
    first = device.trainer = trainer(device, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        first.fit(data(), data(8), epochs=2)
    device.at = 0
    again = trainer(device, tmp_path / "cut").resume()
    again.fit(data(), data(8), epochs=2)
    for a, b in zip(state_of(whole), state_of(again)):
        np.testing.assert_array_equal(a, b)


def test_an_ideal_device_is_the_model() -> None:
    """Training, evaluation and prediction through it are those without it, bit for bit."""
    ideal, plain = trainer(simulated()), trainer(spike_times="grid")
    for t in (ideal, plain):
        t.fit(data(), data(8), epochs=3)
    for a, b in zip(state_of(ideal), state_of(plain)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ideal.predict(data(8)), plain.predict(data(8)))
    assert ideal.evaluate(data(8)).loss == plain.evaluate(data(8)).loss
    assert ideal.choice.name == "grid"


def test_it_may_run_some_populations_and_report_more() -> None:
    """A hidden layer on the device, spiking outputs by the model: with an ideal device as without."""
    net = Network()
    hidden, out = net.population(LIF(), 8, "hidden"), net.population(LIF(), 2, "output")
    net.connect(net.input(4), hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, out, Dense(Normal(1.0, 0.5)))
    how = {"duration": T, "dt": DT, "spike_times": "grid", "engine": "reference_clock", "progress": False}
    plain = Trainer(net, SpikeCountCrossEntropy(out), **how)
    device = SimulatedDevice(plain.plan, engine="reference_clock")
    assert device.populations == ["hidden", "output"]
    looped = Trainer(net, SpikeCountCrossEntropy(out), device=InTheLoop(device, populations=["hidden"]), **how)
    for t in (plain, looped):
        t.fit(data(), epochs=2)
    for a, b in zip(state_of(plain), state_of(looped)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", [{"engine": "reference_event"}, {"engine": "native", "dtype": "float64"}])
def test_in_exact_time(engine: dict[str, str]) -> None:
    how = {**engine, "spike_times": "exact", "batch_size": 4}
    plain = trainer(**how)
    looped = trainer(SimulatedDevice(plain.plan, engine=engine["engine"]), **how)
    for t in (plain, looped):
        t.fit(data(4), epochs=1)
    for a, b in zip(state_of(plain), state_of(looped)):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.ci
def test_a_device_that_deviates_is_learned_through() -> None:
    device = simulated(spread={"tau_mem": 0.3, "v_thresh": 0.3}, jitter=0.3, lost=0.1, weight_bits=5, weight_range=5.0)
    t = trainer(device, slope_floor=0.02)
    history = t.fit(data(40), epochs=20)["history"]
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
    assert t.evaluate(data(40)).accuracy > 0.9


def test_deviations_are_what_was_asked_for() -> None:
    net, loss = network(400)
    plan = Trainer(net, loss, duration=T, dt=0.1, spike_times="grid", engine="reference_clock", progress=False).plan
    parameters = net.initial_parameters(1)
    device = SimulatedDevice(
        plan, spread={"tau_mem": 0.2, "hidden.v_thresh": 0.1}, shift={"v_reset": 0.05}, weight_bits=4,
        weight_range=3.0, seed=5, engine="reference_clock",
    )  # fmt: skip
    actual = device.actual(parameters)
    tau, thresh, reset = (actual[f"hidden.{n}"] for n in ("tau_mem", "v_thresh", "v_reset"))
    assert tau.shape == thresh.shape == (400,)
    np.testing.assert_allclose([tau.mean(), tau.std()], [20.0, 4.0], rtol=0.1)
    np.testing.assert_allclose([thresh.mean(), thresh.std(), reset.std()], [1.0, 0.1, 0.05], rtol=0.12)
    assert abs(np.corrcoef(tau, thresh)[0, 1]) < 0.2
    levels = np.unique(actual["input_hidden.weight"] / (3.0 / 7))
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    assert levels.max() == 7
    again = SimulatedDevice(plan, spread={"tau_mem": 0.2}, seed=5, engine="reference_clock")
    np.testing.assert_array_equal(again.actual(parameters)["hidden.tau_mem"], tau)
    other = SimulatedDevice(plan, spread={"tau_mem": 0.2}, seed=6, engine="reference_clock")
    assert np.any(other.actual(parameters)["hidden.tau_mem"] != tau)


def test_spikes_move_get_lost_and_appear_as_often_as_asked() -> None:
    events = [data(40).sample(i) for i in range(40)]
    parameters = {k: np.array(v) for k, v in trainer().engine.parameters.items()}
    counts = lambda device: np.array([len(a["hidden"][0]) for a in device.run(parameters, events)])  # noqa: E731
    whole = counts(simulated()).sum()
    np.testing.assert_allclose(counts(simulated(lost=0.3)).sum() / whole, 0.7, atol=0.06)
    np.testing.assert_allclose((counts(simulated(surplus=20.0)).sum() - whole) / 40, 20.0 * 8 * T / 1000, rtol=0.35)
    moved = np.concatenate([a["hidden"][0] for a in simulated(jitter=0.2).run(parameters, events)])
    off = moved - np.rint(moved)
    np.testing.assert_allclose(off.std(), 0.2, rtol=0.15)


def test_what_cannot_be_is_refused() -> None:
    for settings, says in (
        ({"device": object()}, "has no method run"),
        ({"device": InTheLoop(simulated(), populations=["hiden"])}, "no population 'hiden' that spikes"),
        ({"device": simulated(), "carry": True}, "cannot be combined"),
    ):
        with pytest.raises(SettingError, match=says):
            trainer(**settings)
    for deviations, says in (
        ({"spread": {"tau": 0.2}}, "no parameter 'tau' of a neuron"),
        ({"lost": 1.5}, "a share of spikes"),
        ({"weight_bits": 1}, "weight_bits must be an integer >= 2"),
        ({"jitter": -1.0}, "jitter must be a finite number"),
        ({"populations": ["output"]}, "'output' does not spike"),
    ):
        with pytest.raises(SettingError, match=says):
            simulated(**deviations)
    for loop in ({"timeout": 0.0}, {"retries": -1}, {"wait": np.nan}):
        with pytest.raises(SettingError):
            InTheLoop(simulated(), **loop)
