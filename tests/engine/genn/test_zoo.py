"""Neurons beyond one linear event on the genn engine: nonlinear dynamics, modes, several and silent events, delta
synapses, and the whole zoo, against `reference_clock`; on pygenn, and everywhere on the harness.
"""

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, losses, models
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.draw import Layout, draw
from support import eventful as E
from support import genn_harness as harness
from support.on_genn import on_genn
from support.problems import PLANS
from support.sweeps import sweep

ON_PYGENN = ("bursting", "delta", "two spikes", "exponential, Euler", "conductance")  # the others are slow tests
SLOW = (  # with Euler steps its functions are in every run; the losses are in genn/test_losses
    "every function", "quadratic, Euler", "exponential", "refractory counts",
    "refractory spike times",
)  # fmt: skip


def cases():
    real, slow = pytest.mark.needs_genn, pytest.mark.slow
    for name in PLANS:
        if name == "delta per step":  # refused by name, see genn/test_losses
            continue
        marks = [slow] if name in SLOW else []
        yield pytest.param(name, "harness", id=f"{name}-harness", marks=marks)
        yield pytest.param(name, "pygenn", id=f"{name}-pygenn", marks=[real] if name in ON_PYGENN else [real, slow])


def make(kind, plan, values, dtype="float64", **settings):
    if kind == "harness":
        return harness.HarnessEngine(plan, values, dtype=dtype, **settings)
    return on_genn(plan, values, dtype=dtype)


def check_same(engine, clock, events, tolerance=1e-9):
    samples = np.arange(len(events))
    a, b = (e.run(e.load(events), samples, training=True, record_spikes=True) for e in (clock, engine))
    for p, spikes in a.spikes.items():
        assert len(spikes.time) > 5, f"{p} is silent: the test would compare nothing"
        np.testing.assert_array_equal(b.spikes[p].time, spikes.time)
        np.testing.assert_array_equal(b.spikes[p].neuron, spikes.neuron)
    np.testing.assert_allclose(b.loss, a.loss, rtol=tolerance)
    assert b.guarded == a.guarded
    for key, gradient in clock.gradients.items():
        assert np.isfinite(gradient).all()
        error = np.linalg.norm(engine.gradients[key] - gradient)
        assert error <= tolerance * np.linalg.norm(gradient), key
    engine.close()


@pytest.mark.one_in(18)
@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_spikes_and_gradients_equal_the_reference(name, kind):
    plan = PLANS[name]()
    values, events = plan.network.initial_parameters(1), E.random_events(plan)
    check_same(make(kind, plan, values), ReferenceClock(plan, values), events)


@pytest.mark.parametrize("name", ["bursting", "exponential, Euler"])
@pytest.mark.needs_genn
def test_float32_agrees_to_1e_4(name):
    plan = PLANS[name]()
    values, events = plan.network.initial_parameters(1), E.random_events(plan)
    values = {k: v.astype(np.float32).astype(np.float64) for k, v in values.items()}
    check_same(make("pygenn", plan, values, "float32"), ReferenceClock(plan, values), events, tolerance=1e-4)


def test_more_events_than_the_store_holds():
    """The store grows by what it counted, events and not spikes."""
    plan = PLANS["two spikes"]()
    values, events = plan.network.initial_parameters(1), E.random_events(plan)
    engine = make("harness", plan, values, room=2)
    assert set(engine.room) == {2}
    check_same(engine, ReferenceClock(plan, values), events)
    assert engine.room[0] > 2


@pytest.mark.parametrize("name", sweep(["bursting", "delta"], ["delta"]))
def test_examples_side_by_side_give_the_same(name):
    """As on cuda and hip, where GeNN has a batch size."""
    plan = PLANS[name]()
    values, events = plan.network.initial_parameters(1), E.random_events(plan)
    check_same(make("harness", plan, values, batch_size=2), ReferenceClock(plan, values), events)


def test_arrivals_move_thresholds_by_the_state():
    bent = NeuronModel(
        name="Bent", state={"V": 0.1}, params={"tau_mem": Param(20.0, "ms")}, dynamics={"V": "-V / tau_mem"},
        threshold="V * V - 1", reset={"V": 0.0}, input="V",
    )  # fmt: skip
    net = Network()
    output = net.population(bent(), 3, name="output")
    net.connect(net.input(6), output, Dense(Normal(0.4, 0.3)))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output, silent="end"), dt=0.5, duration=40.0)
    start = net.initial_parameters(0)
    check_same(make("harness", plan, start), ReferenceClock(plan, start), E.random_events(plan))


# the zoo: each model in a small random network, everything learned and different for every neuron

STEPS = {"EIF": 600, "AdEx": 6000}  # of a trial, 150 of the others: their upstrokes diverge with fewer
LOSS = {True: ("first_spike", "max", "integral_exponential"), False: ("integral_exponential", "max", "per_step")}


def zoo():
    """Slow for the random networks, which `reference_event` tunes."""
    for name, model in models.ZOO.items():
        for loss in LOSS[model.spiking]:
            yield pytest.param(name, loss, "harness", id=f"{name}-{loss}-harness")
            yield pytest.param(name, loss, "pygenn", id=f"{name}-{loss}-pygenn", marks=pytest.mark.needs_genn)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss", "kind"), list(zoo()))
def test_every_model_of_the_zoo(name, loss, kind):
    model = models.ZOO[name]
    layout = Layout(1, loss != "first_spike", loss == "first_spike" or not model.spiking, loss)
    plan, values, events = draw(model, layout, np.random.default_rng([0, 0]))
    plan = make_plan(plan.network, plan.asked, dt=plan.duration / STEPS.get(name, 150), duration=plan.duration)
    check_same(make(kind, plan, values), ReferenceClock(plan, values), events)


def test_learned_initial_states_and_biases():
    """lambda(0) . dx0/dp and a constant drive, of one neuron each and shared."""
    model = NeuronModel(
        name="Started", state={"V": "v_start + v_reset", "I": "i_start"},
        params={
            "tau_mem": Param(20.0, "ms"), "v_start": Param(0.2), "i_start": Param(0.5), "bias": Param(0.6),
            "v_reset": Param(-0.1),
        },
        dynamics={"V": "(I + bias - V) / tau_mem", "I": "-I / 5"}, threshold="V - 1", reset={"V": "v_reset"}, input="I",
    )  # fmt: skip
    net = Network()
    values = {n: Param(p.value, p.unit, trainable=True, shared=n == "v_start") for n, p in model.params.items()}
    hidden = net.population(model(**values), 9, name="hidden0")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(6), hidden, Dense(Normal(0.8, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=40.0)
    start = net.initial_parameters(1)
    clock = ReferenceClock(plan, start)
    check_same(make("harness", plan, start, batch_size=3), clock, E.random_events(plan))
    assert all(clock.gradients[f"hidden0.{n}"].any() for n in model.params)


def test_names_that_the_code_of_a_loss_uses_itself():
    """A state r or a parameter p of a user's model means what the user means, in hidden and output neurons."""
    model = NeuronModel(
        name="Names", state={"V": 0.0, "r": 0.1, "top": 0.0},
        params={"p": Param(20.0, "ms"), "x": Param(0.6), "score": Param(0.9), "c": Param(-0.1)},
        dynamics={"V": "(top + x - V) / p", "r": "-r / p", "top": "-top / 5"}, threshold="V - score + r",
        reset={"V": "c", "r": "r + 0.1"}, input="top",
    )  # fmt: skip
    learned = {n: Param(p.value, p.unit, trainable=True) for n, p in model.params.items()}
    net = Network()
    hidden = net.population(model(**learned), 9, name="hidden0")
    output = net.population(model(**learned), 3, name="output")
    net.connect(net.input(6), hidden, Dense(Normal(0.8, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.4, 0.4)))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=0.5, duration=40.0)
    start = net.initial_parameters(1)
    check_same(make("harness", plan, start), ReferenceClock(plan, start), E.random_events(plan))
