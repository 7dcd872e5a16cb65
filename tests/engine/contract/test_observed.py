"""Spikes that others computed: own ones given back change no bit, others act as own, bad ones name their sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from genn_eventprop import Dense, Events, Network, Normal, Param
from genn_eventprop.engines import Spikes, create
from genn_eventprop.engines.contract.engine import Engine
from genn_eventprop.engines.contract.result import Result
from genn_eventprop.errors import DataError, EngineError, EventPropError, ModelError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy, PerStepCrossEntropy
from genn_eventprop.models.adex import AdEx
from genn_eventprop.models.alif import ALIF
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.verify.engines import Case
from genn_eventprop.verify.engines.check import loaded
from support.cuda_shim import ShimEngine
from support.engine_check import tuned
from support.random_networks import draw

GRID = ("reference_clock", "c99", "native", "cuda")
DT, T = 0.5, 30.0
MODELS = (LIF(tau_mem=Param(20.0, "ms", trainable=True)), ALIF(), AdEx(), LIFRefractory(t_ref=3.0), LIFDelta())


def made(plan: Plan, parameters: Mapping[str, np.ndarray], name: str, **settings: Any) -> Engine:
    """An engine by name; the text of `cuda` runs on the CPU."""
    if name == "cuda":
        return ShimEngine(plan, parameters, **settings)
    return create(plan, parameters, engine=name, **settings)


def eligible(case: Case) -> list[str]:
    """Populations whose spikes, as recorded, are all that resets them."""
    return [
        p.name
        for p in case.plan.populations
        if sum(e.emits for e in p.derived.events) == 1 and not (p.dropout and p.dropped_reset)
    ]


def numbers(engine: Engine, result: Result) -> dict[str, np.ndarray]:
    """All that a training run computes."""
    found = {f"d/d {name}": np.array(engine.gradients[name]) for name in engine.plan.trainable}
    found |= {f"spikes of {name}": counts for name, counts in result.spike_counts.items()}
    return found | {"loss": result.loss, "readout": result.readout, "guarded": np.array(result.guarded)}


def given_back(engine: Engine, data: Any, samples: Any, names: Collection[str]) -> int:
    """Asserts that the own spikes of populations, given back, change no bit, in exact time 1e-12; returns how many."""
    result = engine.run(data, samples, training=True, record_spikes=True)
    own = {name: result.spikes[name] for name in names}  # type: ignore[index]
    want = numbers(engine, result)
    again = engine.run(data, samples, training=True, observed=own)
    for key, value in numbers(engine, again).items():
        if engine.plan.spike_times == "grid":
            np.testing.assert_array_equal(value, want[key], err_msg=key)
        else:
            largest = np.abs(want[key][np.isfinite(want[key])]).max(initial=0.0)
            np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-12 * largest, err_msg=key)
    return sum(len(spikes.time) for spikes in own.values())


def drawn(structures: range, also: Collection[str] = (), spike_times: str = "grid") -> list[tuple[str, Case]]:
    """(what it is, network) of those that are not refused."""
    found = []
    for structure in structures:
        try:
            case = tuned(draw(spike_times, 46, structure, also=also))
        except EventPropError:
            continue
        if eligible(case) and not case.plan.spike_birth:
            found.append((f"{structure} {' '.join(also)}", case))
    return found


def check_networks(name: str, cases: list[tuple[str, Case]], **settings: Any) -> None:
    spikes = []
    for text, case in cases:
        engine = made(case.plan, case.parameters, name, **settings)
        try:
            spikes.append(given_back(engine, loaded(engine, case), np.arange(len(case.events)), eligible(case)))
        except EngineError as error:
            assert "diverged" in str(error), f"{text}: {error}"
        finally:
            engine.close()
    assert len(spikes) >= len(cases) / 2 and sum(spikes) >= 50, spikes


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("name", "settings"),
    [("reference_clock", {}), ("c99", {"dtype": "float64"}), ("native", {"threads": 1})],
)
def test_own_spikes_given_back_change_no_bit(name: str, settings: Mapping[str, Any]) -> None:
    """Random networks: models, readouts, losses, delays, tables, recurrence."""
    check_networks(name, drawn(range(3 if name == "reference_clock" else 2)), **settings)


ALSO = ((), ("modes",), ("sharp",), ("currents",), ("inputs",))


@pytest.mark.ci
@pytest.mark.parametrize(("name", "also"), [(n, also) for n in GRID for also in ALSO[: 4 if n == "cuda" else 5]])
def test_own_spikes_of_many_networks_given_back(name: str, also: Collection[str]) -> None:
    first = 190 if "sharp" in also else 100  # few of the sharp ones spike
    check_networks(
        name, drawn(range(first, first + 12), also), **({} if name == "reference_clock" else {"dtype": "float64"})
    )


EXACT: dict[str, dict[str, Any]] = {"reference_event": {}, "native": {"dtype": "float64", "threads": 1}}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("also", [(), ("modes",)], ids=lambda also: " ".join(also) or "plain")
@pytest.mark.one_in(4)
def test_own_spikes_in_exact_time_given_back(name: str, also: Collection[str]) -> None:
    check_networks(name, drawn(range(2), also, "exact"), **EXACT[name])


@pytest.mark.ci
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("also", [a for a in ALSO if a != ("sharp",)], ids=" ".join)  # whose V rounding of time moves
def test_own_spikes_of_many_networks_in_exact_time_given_back(name: str, also: Collection[str]) -> None:
    check_networks(name, drawn(range(100, 110), also, "exact"), **EXACT[name])


def small(
    model: Any = MODELS[0], name: str = "reference_clock", times: str = "grid", **settings: Any
) -> tuple[Engine, Any]:
    """Four inputs, five recurrent neurons, three outputs; three samples."""
    net, rng = Network(), np.random.default_rng(4)
    source, hidden = net.input(4), net.population(model, 5, "hidden")
    out = net.population(LI(tau_mem=Param(20.0, "ms", trainable=True)), 3, "output")
    scale, dt = (700.0, 0.05) if model.model.name == "AdEx" else (1.0, DT)  # pA
    net.connect(source, hidden, Dense(Normal(2.0 * scale, scale)))
    net.connect(hidden, hidden, Dense(Normal(0.3 * scale, 0.5 * scale)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.3, 0.5)))
    plan = make_plan(net, IntegratedVoltageCrossEntropy(out), dt=dt, duration=T, spike_times=times)
    samples = [(np.sort(rng.uniform(0, 20, 15)), rng.integers(0, 4, 15)) for _ in range(3)]
    engine = made(plan, net.initial_parameters(3), name, **settings)
    return engine, engine.load(Events.from_samples(samples, n_channels=4, labels=[0, 1, 2]))


def others(seed: int, per_neuron: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Spikes of five neurons in three samples that follow no model, in order."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(3):
        steps = np.sort([rng.choice(np.arange(1, int(T / DT) + 1), per_neuron, replace=False) for _ in range(5)])
        times, neurons = steps.ravel() * DT, np.repeat(np.arange(5), per_neuron)
        order = np.argsort(times, kind="stable")
        found.append((times[order], neurons[order]))
    return found


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.model.name)
@pytest.mark.one_in(6)
def test_own_spikes_of_each_kind_of_neuron_given_back(model: Any) -> None:
    """As a `Result` has them, and as pairs; in float32 as in float64."""
    for name in GRID:
        engine, data = small(model, name)
        assert given_back(engine, data, [0, 1, 2], ["hidden"]) >= 5
    own = engine.run(data, [2, 0], record_spikes=True).spikes["hidden"]  # type: ignore[index]
    pairs = [(own.time[own.sample == i], own.neuron[own.sample == i]) for i in range(2)]
    want = engine.run(data, [2, 0], training=True)
    np.testing.assert_array_equal(engine.run(data, [2, 0], observed={"hidden": pairs}).loss, want.loss)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", MODELS[:2] + MODELS[3:], ids=lambda m: m.model.name)
def test_spikes_of_others_act_alike_on_all_engines(model: Any) -> None:
    """They are the spikes of the trial, whatever V is and in every mode; the floor of slopes is counted."""
    want: dict[str, np.ndarray] = {}
    for name in GRID:
        settings = {} if name == "reference_clock" else {"dtype": "float64"}
        engine, data = small(model, name, slope_floor=0.02, **settings)
        result = engine.run(data, [0, 1, 2], training=True, record_spikes=True, observed={"hidden": others(1)})
        assert result.guarded > 0
        assert np.all(result.spike_counts["hidden"] == 4)
        sent = result.spikes["hidden"]  # type: ignore[index]
        for i, (times, neurons) in enumerate(others(1)):
            assert sorted(zip(sent.time[sent.sample == i], sent.neuron[sent.sample == i])) == sorted(
                zip(times, neurons)
            )
        found = numbers(engine, result)
        assert np.any(found["d/d input_hidden.weight"] != 0)
        want = want or found
        for key, value in found.items():
            np.testing.assert_allclose(value, want[key], rtol=1e-9, atol=1e-12, err_msg=f"{name}: {key}")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", MODELS[:2] + MODELS[3:], ids=lambda m: m.model.name)
def test_spikes_of_others_act_in_exact_time_as_in_the_reference(model: Any) -> None:
    """At any time: in refractory periods, at the start and the end, at arrivals that move V at once."""
    samples = [(np.r_[0.0, t + 0.1 * (t < 9), T], np.r_[1, k, (k[-1] + 1) % 5]) for t, k in others(1)]
    found = []
    engines = {"reference_event": {}, "native": {"dtype": "float64", "tolerance": 1e-13}, "cuda": {"dtype": "float64"}}
    for name, settings in engines.items():
        if name == "cuda" and model.model.name == "LIFDelta":
            continue  # an arrival moves its threshold
        engine, data = small(model, name, "exact", slope_floor=0.02, **settings)
        if name == "cuda":  # without a floor, which acts on spikes that are given
            assert given_back(*small(model, name, "exact", **settings), [0, 1, 2], ["hidden"]) >= 5
        result = engine.run(data, [0, 1, 2], training=True, observed={"hidden": samples})
        found.append(numbers(engine, result))
    assert found[0]["guarded"] > 0
    for key, want in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(other[key], want, rtol=0, atol=1e-10 * np.abs(want).max(), err_msg=key)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("model, engines", [(MODELS[0], ("native", "cuda")), (AdEx(), ("native",))])
def test_the_floor_is_not_for_own_spikes_in_exact_time(model: Any, engines: tuple[str, ...]) -> None:
    """Their slope is that of a crossing, known as exactly as their time."""
    for name in engines:
        found = []
        for floor in (0.0, 1e6):
            engine, data = small(model, name, "exact", slope_floor=floor, dtype="float64")
            result = engine.run(data, [0, 1, 2], training=True)
            assert result.guarded == 0
            assert result.spike_counts["hidden"].sum() > 5
            found.append(np.array(engine.gradients["input_hidden.weight"]))
        np.testing.assert_array_equal(*found)


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    "name, times",
    [(n, "grid") for n in GRID] + [(n, "exact") for n in ("reference_event", "native", "cuda")],
)
def test_spikes_of_others_act_alike_in_two_calls(name: str, times: str) -> None:
    """Forwards and backwards with dL/dr of the plan's loss, written here, are the training run."""
    settings = {} if name.startswith("reference") else {"dtype": "float64"}
    engine, data = small(LIFRefractory(t_ref=3.0), name, times, slope_floor=0.02, **settings)
    given = {"hidden": others(1)}
    result = engine.run(data, [0, 1, 2], training=True, observed=given)
    want = numbers(engine, result)
    readouts = engine.forward(data, [0, 1, 2], observed=given)
    np.testing.assert_allclose(readouts.value, result.readout, rtol=1e-12)
    engine.backward((softmax(readouts.value, axis=1) - np.eye(3)) / 3)
    for key in engine.plan.trainable:
        np.testing.assert_allclose(engine.gradients[key], want[f"d/d {key}"], rtol=1e-10, atol=1e-13, err_msg=key)
    without = engine.forward(data, [0, 1, 2])
    assert np.any(without.value != readouts.value)
    engine.backward(np.ones((3, 3)))
    with pytest.raises(DataError, match="sample 1"):
        engine.forward(data, [1], observed={"hidden": [([12.3], [99])]})


@pytest.mark.one_in(4)
@pytest.mark.parametrize("loss", [PerStepCrossEntropy, IntegratedVoltageCrossEntropy], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("model", [LIFRefractory(t_ref=3.0), LIFDelta()], ids=lambda m: m.model.name)
def test_an_output_may_be_observed_in_exact_time(model: Any, loss: Any) -> None:
    """V jumps at spikes that come in refractory periods, with arrivals, and at the end of the trial."""
    net, rng = Network(), np.random.default_rng(4)
    out = net.population(model, 5, "output")
    net.connect(net.input(4), out, Dense(Normal(2.0, 1.0)))
    net.connect(out, out, Dense(Normal(0.3, 0.5)), delay=2.0)
    plan = make_plan(net, loss(out), dt=DT, duration=T, spike_times="exact")
    samples = [(np.sort(rng.uniform(0, 20, 15)), rng.integers(0, 4, 15)) for _ in range(3)]
    events, want = Events.from_samples(samples, n_channels=4, labels=[0, 1, 2]), dict[str, np.ndarray]()
    for name in ("reference_event", "native", *(["cuda"] if model.model.name == "LIFRefractory" else [])):
        settings = {} if name == "reference_event" else {"dtype": "float64"}
        engine = made(plan, net.initial_parameters(3), name, slope_floor=0.02, **settings)
        result = engine.run(engine.load(events), [0, 1, 2], training=True, observed={"output": others(1)})
        found = numbers(engine, result)
        want = want or found
        for key, value in found.items():
            np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-10 * np.abs(want[key]).max(), err_msg=key)


@pytest.mark.ci
def test_what_a_spike_of_others_does_is_what_the_equations_say() -> None:
    """One LIF neuron, one spike below its threshold: lambda jumps by E / gdot there, gdot the secant of the step."""
    net = Network()
    source, hidden, out = net.input(1), net.population(LIF(), 1, "hidden"), net.population(LI(), 2, "output")
    net.connect(source, hidden, Dense(Normal(0.8, 0.0)))
    net.connect(hidden, out, Dense(Normal(0.5, 0.3)))
    plan = make_plan(net, IntegratedVoltageCrossEntropy(out), dt=0.01, duration=20.0)

    def gradient_and_loss(weight: float, spike: float, floor: float = 0.0) -> tuple[float, float, int]:
        parameters = net.initial_parameters(3) | {"input_hidden.weight": np.array([[weight]])}
        engine = create(plan, parameters, engine="reference_clock", slope_floor=floor)
        data = engine.load(Events.from_samples([([1.0], [0])], n_channels=1, labels=[0]))
        result = engine.run(data, [0], training=True, observed={"hidden": [([spike], [0])]})
        return float(engine.gradients["input_hidden.weight"][0, 0]), float(result.loss[0]), result.guarded

    w, t, tau_mem, tau_syn = 0.8, 4.0, 20.0, 5.0
    V = lambda s: w * tau_syn / (tau_mem - tau_syn) * (np.exp(-s / tau_mem) - np.exp(-s / tau_syn))  # noqa: E731
    I = w * np.exp(-(t - 1.0) / tau_syn)  # noqa: E741
    slope, by_weight = (I - V(t - 1.0)) / tau_mem, V(t - 1.0) / w
    got, _, guarded = gradient_and_loss(w, t)
    # the threshold plays no part: dt/dw = -(dV/dw) / (dV/dt) of a crossing at the V of that time
    by_time = (gradient_and_loss(w, t + 0.01)[1] - gradient_and_loss(w, t - 0.01)[1]) / 0.02
    assert V(3.0) < 0.2 and guarded == 0
    np.testing.assert_allclose(got, -by_weight / slope * by_time, rtol=2e-2)
    floored, _, guarded = gradient_and_loss(w, t, floor=4 * slope)
    assert guarded == 1
    np.testing.assert_allclose(floored, got / 4, rtol=1e-2)


LATE = 0.6  # ms between the peak and the spike


@pytest.mark.ci
def test_a_neuron_that_waits_at_its_peak_has_the_gradient_of_one_that_spikes_late() -> None:
    """Spikes come some time after V has stopped at its peak, by a model of its own, whose loss is differentiated; the
    waiting neuron that is given them has its gradient. With spikes lost it has one, too, where AdEx diverges."""

    def engine(model: Any, name: str) -> tuple[Engine, Any]:
        net = Network()
        hidden, out = net.population(model(), 2, "hidden"), net.population(LI(), 2, "output")
        net.connect(net.input(4), hidden, Dense(Normal(2500.0, 400.0)))
        net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
        plan = make_plan(net, IntegratedVoltageCrossEntropy(out), dt=DT, duration=10.0, spike_times="exact")
        engine = made(plan, net.initial_parameters(3), name, **EXACT[name])
        sample = (np.arange(1, 9, 2.0), np.arange(4))
        return engine, engine.load(Events.from_samples([sample], n_channels=4, labels=[0]))

    waiting = AdEx.waiting("delta_t")
    spike, peak = waiting.events
    spike = replace(spike, threshold=f"waited - {LATE}", modes=("waiting",))
    late, data = engine(replace(waiting, name="Late", events=(spike, peak)), "reference_event")
    result = late.run(data, [0], training=True, record_spikes=True)
    assert result.spikes is not None
    spikes, weight = result.spikes["hidden"], late.parameters["input_hidden.weight"]
    want = np.array(late.gradients["input_hidden.weight"])
    direction, h, losses = np.random.default_rng(1).normal(size=want.shape), 1e-1, []
    for sign in (1, -1):
        weight += sign * h * direction
        losses.append(late.run(data, [0]).loss.sum())
        weight -= sign * h * direction
    np.testing.assert_allclose((want * direction).sum(), (losses[0] - losses[1]) / (2 * h), rtol=1e-4)
    some = np.arange(len(spikes.time)) > 1
    lost = Spikes(spikes.sample[some], spikes.time[some], spikes.neuron[some])
    assert some.sum() > 1
    for name in EXACT:
        device, data = engine(waiting, name)
        observed = device.run(data, [0], training=True, observed={"hidden": spikes})
        np.testing.assert_allclose(observed.loss, result.loss, rtol=1e-9)
        got = np.array(device.gradients["input_hidden.weight"])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * np.abs(want).max())
        assert given_back(device, data, [0], ["hidden"]) > 2
        device.run(data, [0], training=True, observed={"hidden": lost})
        assert np.isfinite(device.gradients["input_hidden.weight"]).all()
    with pytest.raises(ModelError, match="one mode with one event"):
        LIFRefractory.waiting(0.1)
    device, data = engine(AdEx, "native")
    with pytest.raises(EngineError, match="diverge|followed"):
        device.run(data, [0], training=True, observed={"hidden": lost})


def test_exact_time_is_the_limit_of_the_grid() -> None:
    """Spikes of others: loss and gradients of a fine grid come to those of `reference_event`, floored slopes too."""
    net, rng = Network(), np.random.default_rng(4)
    hidden, out = net.population(ALIF(), 5, "hidden"), net.population(LI(), 3, "output")
    net.connect(net.input(4), hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, hidden, Dense(Normal(0.3, 0.5)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.3, 0.5)))
    samples = [(np.sort(rng.uniform(0, 20, 15)), rng.integers(0, 4, 15)) for _ in range(3)]
    events, found = Events.from_samples(samples, n_channels=4, labels=[0, 1, 2]), {}
    for name, dt in (("reference_event", 1.0), ("native", 0.02), ("native", 0.01)):
        times = "exact" if name == "reference_event" else "grid"
        plan = make_plan(net, IntegratedVoltageCrossEntropy(out), dt=dt, duration=T, spike_times=times)
        settings = {} if times == "exact" else {"dtype": "float64"}
        engine = made(plan, net.initial_parameters(3), name, slope_floor=0.02, **settings)
        result = engine.run(engine.load(events), [0, 1, 2], training=True, observed={"hidden": others(1)})
        found[dt] = numbers(engine, result)
        assert result.guarded >= 3
    for key, want in found[1.0].items():
        far, near = (np.abs(found[dt][key] - want).max() for dt in (0.02, 0.01))
        assert near <= 0.02 * np.abs(want).max() and (far < 1e-9 or near < 0.7 * far), (key, far, near)


BAD = {
    "out of order": ([5.0, 4.0], [0, 1], "sample 1: the spike at 4 ms comes after a later one"),
    "no such neuron": ([5.0], [5], "sample 1: there is no neuron 5 among 5"),
    "a negative neuron": ([5.0], [-1], "sample 1: there is no neuron -1 among 5"),
    "before the trial": ([-1.0], [0], "sample 1: a spike at -1 ms is before the trial"),
    "after the end": ([30.2], [0], "sample 1: a spike at 30.2 ms is after the end of the trial of 30 ms"),
    "twice in a step": ([5.1, 5.2], [3, 3], "sample 1: neuron 3 spikes twice at 5.2 ms, within one step of 0.5 ms"),
    "no number": ([np.nan], [0], "sample 1: a time is not a finite number"),
    "neurons that are no numbers": ([5.0], [0.5], "neurons must be integers, got 0.5"),
    "masked": (np.ma.masked_less([2.0, 5.0], 3.0), [0, 1], "sample 1 of the batch has masked values"),
    "lengths that differ": ([5.0, 6.0], [0], "sample 1 of the batch has 2 times and 1 neurons"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_spikes_are_refused_by_sample(name: str) -> None:
    times, neurons, says = BAD[name]
    engine, data = small()
    engine.run(data, [1], training=True)
    before = {k: np.array(g) for k, g in engine.gradients.items()}
    with pytest.raises(DataError, match=says):
        engine.run(data, [0, 1], training=True, observed={"hidden": [([], []), (times, neurons)]})
    for key, gradient in before.items():
        np.testing.assert_array_equal(engine.gradients[key], gradient)


def test_samples_are_those_of_the_data_set() -> None:
    engine, data = small()
    with pytest.raises(DataError, match="sample 2: a spike at -1 ms"):
        engine.run(data, [2], observed={"hidden": [([-1.0], [0])]})
    with pytest.raises(DataError, match="1 samples are given, the batch has 2"):
        engine.run(data, [0, 1], observed={"hidden": [([], [])]})
    with pytest.raises(DataError, match="samples must be numbers of the batch, from 0 to 1, in order"):
        engine.run(data, [0, 1], observed={"hidden": Spikes(np.array([2]), np.array([1.0]), np.array([0]))})
    with pytest.raises(DataError, match="give a pair"):
        engine.run(data, [0, 1], observed={"hidden": [3, 4]})


def test_what_takes_no_observed_spikes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, data = small()
    with pytest.raises(EngineError, match="there is no population 'hiden'"):
        engine.run(data, [0], observed={"hiden": [([], [])]})
    with pytest.raises(EngineError, match="'output' cannot be observed: LI has 0 kinds of spikes"):
        engine.run(data, [0], observed={"output": [([], [])]})
    net, loss = engine.plan.network, engine.plan.asked  # type: ignore[attr-defined]
    plan = make_plan(net, loss, dt=DT, duration=T, spike_times="exact")
    exact = create(plan, net.initial_parameters(3), engine="native")
    monkeypatch.setattr(type(exact), "observes", frozenset({"grid"}))
    with pytest.raises(EngineError, match="native takes no observed spikes .* use engine='cuda' or 'reference_event'"):
        exact.run(data, [0], observed={"hidden": [([], [])]})


def test_a_spike_in_the_first_half_step_belongs_to_the_first_step() -> None:
    engine, data = small()
    result = engine.run(data, [0], record_spikes=True, observed={"hidden": [([0.0, T], [0, 1])]})
    assert list(result.spikes["hidden"].time) == [DT, T]  # type: ignore[index]


@pytest.mark.parametrize("name", ["native", "reference_clock", "reference_event"])
def test_states_are_recorded_with_spikes_of_others(name: str) -> None:
    """V falls at the given spikes alone, and own spikes given back change nothing."""
    engine, data = small(LIF(), name, "exact" if name == "reference_event" else "grid")
    times = {"times": np.arange(0.0, T, DT)} if name == "reference_event" else {}
    own = engine.run(data, [0], record_spikes=True).spikes
    assert own is not None and len(own["hidden"].time)
    alone, back = (engine.record(data, [0], observed=given, **times) for given in (None, {"hidden": own["hidden"]}))
    for state, values in alone["hidden"].items():
        np.testing.assert_allclose(back["hidden"][state], values, rtol=1e-9, atol=1e-12, err_msg=state)
    given = engine.record(data, [0], adjoint=False, observed={"hidden": [([12.3], [1])]}, **times)["hidden"]["V"][0]
    assert given.max() > 1 and given[25, 1] < 0.2 * given[24, 1]
    with pytest.raises(DataError, match="sample 0"):
        engine.record(data, [0], observed={"hidden": [([12.3], [99])]}, **times)
