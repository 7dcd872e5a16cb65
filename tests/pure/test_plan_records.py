"""Plans: the time grid, what is frozen, what no engine can run, coefficients against the equations."""

import dataclasses

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Mode, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.contract.features import ALL, LEARNED_RECEPTOR_GAIN, MODEL_FEATURES, THRESHOLD_JUMPS, refuse
from genn_eventprop.errors import EngineError, NetworkError, PlanError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import coefficients, make_plan
from genn_eventprop.plan.closed_form import why_no_closed_form


def network(hidden=None, output=None, **connect):
    net = Network()
    inp = net.input(5)
    hid = net.population(hidden or LIF(), 6, name="hidden")
    out = net.population(output or LI(), 3, name="output")
    net.connect(inp, hid, Dense(Normal(1.0, 0.5)), **connect)
    net.connect(hid, out, Dense(Normal(0.0, 1.0)))
    return net, losses.IntegratedVoltageCrossEntropy(out)


def plan_of(hidden=None, output=None, dt=0.5, duration=20.0, spike_times="grid", **connect):
    net, loss = network(hidden, output, **connect)
    return make_plan(net, loss, dt=dt, duration=duration, spike_times=spike_times)


def test_a_plan_holds_the_structure():
    plan = plan_of(LIF(tau_mem=Param(20.0, "ms", trainable=True), v_thresh=np.ones(6)), delay=1.3)
    hidden, output = plan.populations
    assert (plan.n_steps, plan.dt, plan.duration, plan.spike_times) == (40, 0.5, 20.0, "grid")
    assert hidden.trainable == ("tau_mem",) and hidden.per_neuron == {"tau_mem", "v_thresh"}
    assert hidden.spiking and hidden.stores_states and not output.spiking and not output.stores_states
    assert plan.output is output and plan.population("hidden") is hidden
    first, second = plan.connections
    assert (first.weight, first.pre, first.post, first.delay_steps) == ("input_hidden.weight", 5, 6, 3)
    assert plan.into("hidden") == (first,) and plan.out_of("hidden") == (second,)
    assert plan.trainable == ("input_hidden.weight", "hidden_output.weight", "hidden.tau_mem")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.dt = 1.0


@pytest.mark.parametrize(("delay", "dt", "steps"), [(0.0, 1.0, 0), (0.4, 1.0, 0), (0.5, 1.0, 1), (1.3, 0.1, 13)])
def test_delays_are_rounded_to_steps(delay, dt, steps):
    assert plan_of(delay=delay, dt=dt).connections[0].delay_steps == steps


@pytest.mark.parametrize("duration", [0.3, 60.0, 1000.0])
def test_steps_of_a_tenth_fit_although_they_are_not_binary(duration):
    assert plan_of(dt=0.1, duration=duration).n_steps == round(duration * 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.3}, r"duration 20 ms is not a whole number of steps of 0.3 ms; use duration=20.1 or dt=0.298507"),
        ({"dt": 50.0}, r"is not a whole number of steps of 50 ms; use duration=50 or dt=20"),
        ({"dt": 0.0}, r"dt and duration must be positive times in ms, got dt=0.0"),
        ({"dt": -1.0}, r"dt and duration must be positive"),
        ({"dt": np.nan}, r"dt and duration must be positive"),
        ({"duration": np.inf}, r"dt and duration must be positive"),
        ({"spike_times": "precise"}, r"spike_times='precise': choose one of grid, exact"),
        ({"delay": 20.0}, r"connection 'input_hidden': a delay of 20 ms never arrives in a trial of 20 ms"),
    ],
)
def test_wrong_grids_say_what_to_do(changes, message):
    with pytest.raises(PlanError, match=message):
        plan_of(**changes)


def test_networks_without_input_and_foreign_losses_are_refused():
    net, loss = network()
    with pytest.raises(PlanError, match="the loss reads 'output', which is not a population of this network"):
        make_plan(network()[0], loss, dt=1.0, duration=10.0)
    lonely = Network()
    out = lonely.population(LI(), 3, name="output")
    with pytest.raises(PlanError, match=r"the network has no input; add one with network.input\(n_channels\)"):
        make_plan(lonely, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=10.0)


def quadratic(**changes):
    arguments = {
        "state": {"V": 0.0, "I": 0.0}, "params": {"tau": Param(20.0, "ms")},
        "dynamics": {"V": "(V**2 + I) / tau", "I": "-I / tau"}, "threshold": "V - 1", "reset": {"V": 0}, "input": "I",
    }  # fmt: skip
    return NeuronModel("Quadratic", **(arguments | changes))


LINEAR = {"dynamics": {"V": "(I - V) / tau", "I": "-I / tau"}, "threshold": None, "reset": None}


@pytest.mark.parametrize(
    "feature, changes",
    [
        ("dynamics that are not linear in the state", {}),
        ("several events", LINEAR | {"events": [Event("spike", "V - 1", {"V": 0}), Event("burst", "V - 2", {"V": 0})]}),
        (
            "an event that sends no spike",
            LINEAR | {"events": [Event("on", "V - 0.5", {"V": 0}, emits=False), Event("spike", "V - 1", {"V": 0})]},
        ),
        (
            "modes other than a refractory period",
            LINEAR | {"events": [Event("spike", "V - 1", {"V": 0})], "modes": [Mode("resting", {"V": "0"})]},
        ),
    ],
)
def test_an_engine_refuses_what_it_cannot_run(feature, changes):
    """By name of the engine, the population, the model and the feature, when the engine is created."""
    with pytest.raises(EngineError, match=f"some_engine cannot run population 'hidden': Quadratic has {feature}; use"):
        refuse(plan_of(quadratic(**changes)), "some_engine", {"grid": ALL - {feature}})
    refuse(plan_of(), "some_engine", {"grid": ALL - MODEL_FEATURES.keys()})


def test_moved_thresholds_are_refused_and_gains_are_learned():
    delta = NeuronModel(
        "Delta", {"V": 0.0}, {"tau": Param(20.0, "ms")}, {"V": "-V / tau"}, "V - 1", {"V": 0}, input="V"
    )  # fmt: skip
    plan = dataclasses.replace(plan_of(delta), spike_times="exact")
    with pytest.raises(EngineError, match="cannot run connection 'input_hidden'.*Delta moves its threshold at once"):
        refuse(plan, "some_engine", {"exact": ALL - {THRESHOLD_JUMPS}})
    assert why_no_closed_form(plan) == "an arrival moves the threshold of 'hidden' at once"
    scaled = NeuronModel(
        "Scaled", {"V": 0.0, "I": 0.0}, {"tau": Param(20.0, "ms"), "gain": Param(1.0, trainable=True)},
        {"V": "(I - V) / tau", "I": "-I / 5"}, "V - 1", {"V": 0}, input={"exc": {"I": "gain"}},
    )  # fmt: skip
    plan = plan_of(scaled)
    with pytest.raises(EngineError, match="cannot learn hidden.gain: receptor 'exc' of connection 'input_hidden'"):
        refuse(plan, "some_engine", {"grid": ALL - {LEARNED_RECEPTOR_GAIN}})
    assert "hidden.gain" in ReferenceClock(plan, plan.network.initial_parameters(0)).gradients
    assert why_no_closed_form(plan) == "a learned parameter of 'hidden' scales its input"
    fixed = plan_of(scaled(gain=Param(2.0)))
    assert why_no_closed_form(fixed) == ""
    ReferenceClock(fixed, fixed.network.initial_parameters(0))


def test_coefficients_of_feedback_are_minus_a_e():
    """D = w (f(x-) - f(x+)) . lambda = w (-A e) . lambda for an arrival of weight w on a linear model."""
    plan = plan_of(LIF(tau_mem=np.linspace(10.0, 20.0, 6), tau_syn=4.0))
    values = {n: plan.network.initial_parameters(0)[f"hidden.{n}"] for n in LIF.params}
    k = coefficients(plan, plan.populations[0], values)
    np.testing.assert_array_equal(k.direction["input"], [[0.0, 1.0]])
    np.testing.assert_allclose(k.feedback["input"][:, 0], -1.0 / values["tau_mem"])
    np.testing.assert_allclose(k.feedback["input"][:, 1], 0.25)
    assert k.P.shape == (6, 2, 2) and k.u.shape[0] == 0 and not k.dP


def test_values_out_of_range_are_refused_before_use():
    """An optimiser may push a time constant without bounds below zero: the next run says so."""
    plan = plan_of(LIF(tau_mem=Param(20.0, "ms", trainable=True)))
    population = plan.populations[0]
    for bad, message in ((-1.0, "hidden.tau_mem: a time constant must be positive, got -1 ms"), (np.nan, "finite")):
        values = {n: np.array(plan.network.initial_parameters(0)[f"hidden.{n}"]) for n in LIF.params}
        values["tau_mem"][2] = bad
        with pytest.raises(NetworkError, match=message):
            coefficients(plan, population, values)
