"""Auxiliary losses over the whole trial: as they are, and where an engine exchanges one with the main loss."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from genn_eventprop import (
    Delay,
    Dense,
    Events,
    FanIn,
    Network,
    NeuronModel,
    Normal,
    Param,
    Sparse,
    Trainer,
    load,
    losses,
)
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.wrapper import SwappedLosses, with_trajectory_loss_first
from genn_eventprop.errors import EngineError
from genn_eventprop.losses.readout import TimeWeight
from genn_eventprop.models import LI, LIF, QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine

S, T, STEPS = 5, 20.0, 20


def network(model=LIF):
    net = Network()
    hidden, output = net.population(model(), 5, name="hidden"), net.population(LI(), 2, name="output")
    aux, third = net.population(LI(), 3, name="aux"), net.population(LI(), 3, name="third")
    net.connect(net.input(4), hidden, Dense(FanIn(6.0, 6.0)))
    for target in (output, aux, third):
        net.connect(hidden, target, Dense(Normal(0.0, 1.0)))
    return net, hidden, output, aux, third


def events(side=(0, 1, 1, 2, 0)):
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0, 18, 30)), rng.integers(0, 4, 30)) for _ in range(S)]
    targets = {
        "label": rng.integers(0, 2, S), "side": np.array(side), "other": np.array([2, -1, 0, 1, -1]),
        "v": rng.normal(0, 0.1, (S, STEPS + 1, 3)), "times": np.sort(rng.uniform(0, T, (S, 5, 3)), -1),
    }  # fmt: skip
    return Events.from_samples(samples, 4, targets=targets)


OVER_THE_TRIAL = {
    "per step": lambda hidden, aux: losses.PerStepCrossEntropy(aux, "exponential").against("side"),
    "voltage": lambda hidden, aux: losses.VoltageSquaredError(aux).against("v"),
    "spike times": lambda hidden, aux: losses.SpikeTimeError(hidden).against("times"),
}


def several(name):
    net, hidden, output, aux, third = network()
    main = 0.7 * losses.MaxVoltageCrossEntropy(output)
    return net, [
        main,
        0.3 * OVER_THE_TRIAL[name](hidden, aux),
        0.2 * losses.EndVoltageCrossEntropy(third).against("other"),
    ]


@pytest.mark.ci
@pytest.mark.parametrize("name", OVER_THE_TRIAL)
@pytest.mark.parametrize(("engine", "spike_times"), [("native", "grid"), ("native", "exact"), ("c99", "grid")])
def test_it_is_what_the_reference_computes(name, engine, spike_times):
    found = []
    for which in (engine, {"grid": "reference_clock", "exact": "reference_event"}[spike_times]):
        net, asked = several(name)
        plan = make_plan(net, asked, dt=1.0, duration=T, spike_times=spike_times)
        made = create(plan, net.initial_parameters(1), engine=which, dtype="float64")
        data = made.load(events())
        result = made.run(data, [3, 0, 4, 1, 2], training=True)
        assert made.plan.loss.output == "output" and list(result.parts) == [loss.output for loss in plan.losses]
        found.append((result, {k: np.array(v) for k, v in made.gradients.items()}, data))
    (result, gradients, data), (wanted, right, same) = found
    np.testing.assert_allclose(result.loss, wanted.loss, rtol=1e-9)
    np.testing.assert_array_equal(result.prediction, wanted.prediction)
    np.testing.assert_allclose(result.readout, wanted.readout, rtol=1e-9)
    np.testing.assert_array_equal(data.labels, same.labels)
    for output, part in wanted.parts.items():
        np.testing.assert_allclose(result.parts[output].loss, part.loss, rtol=1e-9, err_msg=output)
    assert np.isnan(wanted.parts["third"].loss).sum() == 2
    for key, gradient in right.items():
        np.testing.assert_allclose(gradients[key], gradient, rtol=0, atol=1e-9 * max(np.abs(gradient).max(), 1e-30))


def test_a_trainer_with_it_and_its_run_folder(tmp_path):
    net, asked = several("per step")
    settings = {"duration": T, "dt": 1.0, "spike_times": "grid", "batch_size": 2, "threads": 1, "progress": False}
    made, data = Trainer(net, asked, run_dir=tmp_path / "run", class_weights="balanced", **settings), events()
    made.fit(data, validation=data, epochs=2)
    told = made.state.metrics[-1]["losses"]
    assert list(told) == ["output", "aux", "third"] and told["aux"]["validation_accuracy"] is not None
    model = load(tmp_path / "run")
    np.testing.assert_array_equal(model.predict(data), made.predict(data))
    assert set(model.predict(data).tolist()) <= {-1, 0, 1}


JUMPS = NeuronModel(
    name="Jumps", state={"V": 0.0}, params={"tau": Param(10.0, "ms", trainable=True)}, dynamics={"V": "-V / tau"},
    input="V",
)  # fmt: skip


def along_the_trial(model, spike_times, rows=False):
    """Losses along the trial: of outputs, of one whose V jumps at arrivals, of V and of the spikes of neurons.

    rows: what makes V jump arrives through dense weights alone.
    """
    net, hidden, output, aux, _ = network(model)
    jumps, timed = net.population(JUMPS(), 2, name="jumps"), net.population(LIF(), 5, name="timed")
    net.connect(hidden, timed, Dense(Normal(1.5, 0.5)))
    late = Delay(2.0, kind="synaptic", trainable=True, max=5.0)
    if not rows:
        net.connect(hidden, jumps, Sparse(Normal(0.3, 0.4), probability=0.7), delay=late)
    net.connect(hidden, jumps, Dense(Normal(0.3, 0.4)), name="rows")
    asked = [
        losses.PerStepCrossEntropy(output),
        0.7 * losses.PerStepCrossEntropy(jumps).against("other"),
        losses.SquaredError(hidden, "voltage").against("of_hidden"),
        losses.SquaredError(aux, "voltage", weight=TimeWeight("constant", input_tau=20.0)).against("v"),
        losses.SpikeTimeError(timed).against("times"),
    ]
    pushes = [SpikeCount(hidden, 2.0, 1e-3, published=True)]
    return net, make_plan(net, asked, dt=1.0, duration=T, regularisers=pushes, spike_times=spike_times)


def events_along_the_trial(rows=STEPS + 1):
    rng, data = np.random.default_rng(3), events()
    of_hidden = rng.normal(0.3, 0.5, (S, rows, 5))
    of_hidden[0, 4:9] = np.nan
    targets = {n: data.targets[n] for n in data.targets.dtype.names} | {"of_hidden": of_hidden}
    targets["other"] = np.where(targets["other"] == 2, 1, targets["other"])  # some have none
    return Events.from_samples([data.sample(i) for i in range(S)], 4, labels=data.labels, targets=targets)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("engine", "spike_times", "model"),
    [
        ("native", "grid", LIF),
        ("c99", "grid", LIF),
        pytest.param("cuda", "grid", LIF, marks=pytest.mark.ci),
        pytest.param("native", "exact", LIF, marks=pytest.mark.ci),
        pytest.param("native", "exact", QIF, marks=pytest.mark.ci),
    ],
)
def test_several_losses_over_the_trial(engine, spike_times, model):
    rows, samples = (37, [3, 1]) if spike_times == "exact" else (STEPS + 1, [3, 0, 4, 1, 2])
    data, found = events_along_the_trial(rows), []
    for which in (engine, {"grid": "reference_clock", "exact": "reference_event"}[spike_times]):
        net, plan = along_the_trial(model, spike_times, rows=engine == "cuda")
        make = ShimEngine if which == "cuda" else partial(create, engine=which)
        made = make(plan, net.initial_parameters(1), dtype="float64")
        result = made.run(made.load(data), samples, training=True)
        found.append((result.parts, {k: np.array(v) for k, v in made.gradients.items()}))
        made.close()
    (parts, gradients), (wanted, right) = found
    assert np.isnan(wanted["jumps"].loss).any() and wanted["hidden"].loss.any()
    for output, part in wanted.items():
        np.testing.assert_allclose(parts[output].loss, part.loss, rtol=1e-9, err_msg=output)
        np.testing.assert_allclose(parts[output].readout, part.readout, rtol=1e-9, err_msg=output)
    for key, gradient in right.items():
        assert gradient.any() or "third" in key, key
        np.testing.assert_allclose(
            gradients[key], gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max(), err_msg=key
        )


@pytest.mark.parametrize("model", [LIF, QIF], ids=["LIF", "QIF"])
@pytest.mark.ci
def test_the_gradient_of_several_exact_losses_is_that_of_the_engine(model):
    net, plan = along_the_trial(model, "exact")
    plan = replace(plan, pushes=())  # what is published is no derivative
    rng, made = np.random.default_rng(4), create(plan, net.initial_parameters(1), engine="native", dtype="float64")
    made.parameters["hidden_jumps.delay"][...] += rng.uniform(0, 1, made.parameters["hidden_jumps.delay"].shape)
    data = made.load(events_along_the_trial(rows=37))
    made.run(data, range(S), training=True)
    first = {k: np.array(v) for k, v in made.parameters.items() if k in made.gradients}
    along = {k: rng.normal(size=v.shape) for k, v in first.items()}
    slope = sum((made.gradients[k] * along[k]).sum() for k in first)

    def loss(by):
        for k, v in first.items():
            made.parameters[k][...] = v + by * along[k]
        return made.run(data, range(S)).loss.mean()

    h = 1e-4
    difference = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    assert slope == pytest.approx(difference, rel=1e-8)
    made.close()


@pytest.mark.ci
def test_samples_without_a_target_of_the_loss_that_is_exchanged():
    net, _, output, aux, _ = network()
    asked = [losses.MaxVoltageCrossEntropy(output), losses.PerStepCrossEntropy(aux).against("side")]
    plan, first = make_plan(net, asked, dt=1.0, duration=T), net.initial_parameters(1)
    engines = [create(plan, first, engine=name, dtype="float64") for name in ("reference_clock", "native", "c99")]
    inner = HarnessEngine(with_trajectory_loss_first(plan), first, dtype="float64")  # the text of genn
    (wanted, right), *found = [
        (made.run(made.load(events(side=(0, -1, 1, 2, -1))), range(S), training=True), made.gradients)
        for made in (*engines, SwappedLosses(inner, plan))
    ]
    assert "carries nothing beside an auxiliary loss over the trial" in engines[1].why_stateless()
    for result, gradients in found:
        assert np.isnan(result.parts["aux"].loss).tolist() == [False, True, False, False, True]
        np.testing.assert_allclose(result.loss, wanted.loss, rtol=1e-9)
        for key, gradient in right.items():
            np.testing.assert_allclose(
                gradients[key], gradient, rtol=0, atol=1e-9 * np.abs(gradient).max(), err_msg=key
            )
    made = create(plan, first, engine="native")
    data = made.load(replace(events(), labels=np.array([0, -1, 1, 0, 1])))
    with pytest.raises(EngineError, match="training needs a label for every sample"):  # of the main loss
        made.run(data, range(S), training=True)
